"""Cameras that answer to WS-Discovery, as ONVIF asks for (ONVIF Core specification, chapter 7)."""

from __future__ import annotations

import asyncio
import re
import socket
import uuid
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

GROUP = ("239.255.255.250", 3702)
MOST_BYTES = 65536  # of one answer
MOST_ANSWERS = 512
_PROBE = """<?xml version="1.0" encoding="UTF-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
<e:Header><w:MessageID>urn:uuid:{id}</w:MessageID><w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>
<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>
<e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One camera: its host, and what its scopes call it."""

    host: str
    name: str


def read_answer(data: bytes, question: str, sender: str) -> list[Answer]:
    """The cameras of a ProbeMatches message. Empty for anything else: a network is full of it."""
    if len(data) > MOST_BYTES or re.search(rb"<!(DOCTYPE|ENTITY)", data, re.I) or b"\0" in data:
        return []
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return []
    if _text(root, "RelatesTo").strip() != f"urn:uuid:{question}":
        return []
    out = []
    for match in (element for element in root.iter() if _local(element.tag) == "ProbeMatch"):
        hosts = [host for address in _text(match, "XAddrs").split()[:16] if (host := _host(address))]
        scopes = dict(_scope(scope) for scope in _text(match, "Scopes").split()[:64])
        name = " ".join(filter(None, (scopes.get("name", ""), scopes.get("hardware", ""))))[:80]
        out.append(Answer(sender if sender in hosts or not hosts else hosts[0], _printable(name)))
    return out[:16]


async def discover(seconds: float = 3.0, to: tuple[str, int] = GROUP, interface: str = "") -> list[Answer]:
    """Ask the network once, gather answers for `seconds`. Raises OSError where nothing can be sent."""
    loop = asyncio.get_running_loop()
    question = str(uuid.uuid4())
    found: dict[str, Answer] = {}
    heard = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        if interface:
            line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        await loop.sock_sendto(line, _PROBE.format(id=question).encode(), to)
        try:
            async with asyncio.timeout(seconds):
                while heard < MOST_ANSWERS:
                    data, (sender, *_) = await loop.sock_recvfrom(line, MOST_BYTES)
                    heard += 1
                    found |= {answer.host: answer for answer in read_answer(data, question, sender)}
        except TimeoutError:
            pass
    return list(found.values())


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2]


def _text(root: ElementTree.Element, name: str) -> str:
    return next((e.text or "" for e in root.iter() if _local(e.tag) == name), "")


def _host(address: str) -> str:
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return ""
    return host if re.fullmatch(r"[A-Za-z0-9.:-]{1,255}", host) else ""


def _scope(scope: str) -> tuple[str, str]:
    """`onvif://www.onvif.org/name/Cam%201` -> ("name", "Cam 1")."""
    kind, _, value = scope.removeprefix("onvif://www.onvif.org/").partition("/")
    return kind.lower(), unquote(value)


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())
