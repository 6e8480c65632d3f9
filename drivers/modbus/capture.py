"""Captures of a network (pcap, pcapng) -> what went over each Modbus TCP connection, as recorded frames.

The formats are those of tcpdump and Wireshark: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. A capture may be cut off or
hostile: what is no whole packet is left out, and counted.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edge import ConfigFault, WireFrame

PORT = 502
MOST_BYTES = 128_000_000
_PCAP = {b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000), b"\x4d\x3c\xb2\xa1": ("<", 1)}
_PCAP[b"\xa1\xb2\x3c\x4d"] = (">", 1)  # nanoseconds
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_LINKS = {
    0: 4,
    1: 14,
    12: 0,
    101: 0,
    113: 16,
    276: 20,
}  # bytes before the IP header: loopback, Ethernet, raw, Linux "any"
_VLAN = (b"\x81\x00", b"\x88\xa8")


def is_one(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (*_PCAP, _PCAPNG)


class Segment(NamedTuple):
    """What one TCP packet carries. Ends are (address, port)."""

    source: tuple[str, int]
    target: tuple[str, int]
    number: int
    data: bytes


@dataclass
class Stream:
    """One connection. A piece that was sent again is taken once; one that the capture missed is a gap, counted."""

    frames: list[WireFrame] = field(default_factory=list)
    _next: dict[str, int] = field(default_factory=dict)

    def add(self, ts: int, way: str, segment: Segment, left_out: Counter[str]) -> None:
        wanted = self._next.get(way, segment.number)
        ahead = (segment.number - wanted + 2**31) % 2**32 - 2**31
        ahead = ahead if abs(ahead) < 2**20 else 0  # a new connection between the same ports
        known = max(0, -ahead)
        if known >= len(segment.data):
            left_out["packets sent again"] += 1
            return
        left_out["gaps: the capture missed packets"] += ahead > 0
        self._next[way] = (segment.number + len(segment.data)) % 2**32
        self.frames.append(WireFrame(ts, way, segment.data[known:]))


def connections(path: Path, port: int, left_out: Counter[str]) -> dict[str, list[list[WireFrame]]]:
    """By device (its address), the connections to its `port`. Raises ConfigFault for a file that is none or too large."""
    if path.stat().st_size > MOST_BYTES:
        raise ConfigFault(
            f"{path}: more than {MOST_BYTES // 10**6} MB",
            hint=f"keep what matters: tcpdump -r {path.name} -w small.pcap tcp port {port}",
        )
    found: dict[str, dict[tuple[str, int], Stream]] = {}
    for ts, link, packet in packets(path.read_bytes(), left_out):
        segment = _segment(link, packet)
        if segment is None or port not in (segment.source[1], segment.target[1]) or not segment.data:
            continue
        out = segment.target[1] == port
        device, client = (segment.target, segment.source) if out else (segment.source, segment.target)
        stream = found.setdefault(device[0], {}).setdefault(client, Stream())
        stream.add(ts, "out" if out else "in", segment, left_out)
    return {device: [stream.frames for stream in streams.values()] for device, streams in found.items()}


def packets(raw: bytes, left_out: Counter[str]) -> Iterator[tuple[int, int, bytes]]:
    """(ns UTC, kind of link, bytes) of each packet."""
    if raw[:4] == _PCAPNG:
        yield from _blocks(raw, left_out)
        return
    order, unit = _PCAP[raw[:4]]
    if len(raw) < 24:
        left_out["packets cut off"] += 1
        return
    link, at = struct.unpack_from(f"{order}I", raw, 20)[0] & 0xFFFF, 24
    head = struct.Struct(f"{order}IIII")
    while at + 16 <= len(raw):
        seconds, parts, size, _ = head.unpack_from(raw, at)
        if at + 16 + size > len(raw):
            break
        yield seconds * 10**9 + parts * unit, link, raw[at + 16 : at + 16 + size]
        at += 16 + size
    left_out["packets cut off"] += at < len(raw)


def _blocks(raw: bytes, left_out: Counter[str]) -> Iterator[tuple[int, int, bytes]]:
    """Of pcapng: sections, the interfaces of each, and their packets."""
    at, order = 0, "<"
    interfaces: list[tuple[int, int]] = []  # kind of link, ticks a second
    while at + 12 <= len(raw):
        if raw[at : at + 4] == _PCAPNG:
            order, interfaces = "<" if raw[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">", []
        kind, size = struct.unpack_from(f"{order}II", raw, at)
        if size < 12 or size % 4 or at + size > len(raw):
            break
        body = raw[at + 8 : at + size - 4]
        if kind == 1 and len(body) >= 8:
            interfaces.append((struct.unpack_from(f"{order}H", body)[0], _ticks(order, body[8:])))
        elif kind == 6 and len(body) >= 20:
            number, high, low, length, _ = struct.unpack_from(f"{order}IIIII", body)
            if number < len(interfaces) and 20 + length <= len(body):
                link, ticks = interfaces[number]
                yield ((high << 32) + low) * 10**9 // ticks, link, body[20 : 20 + length]
        at += size
    left_out["packets cut off"] += at < len(raw)


def _ticks(order: str, options: bytes) -> int:
    """Ticks a second of an interface: its option 9, else a million."""
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from(f"{order}HH", options, at)
        if code == 9 and size == 1 and at + 4 < len(options):
            power = options[at + 4]
            return 2 ** (power & 0x7F) if power & 0x80 else 10 ** min(power, 18)
        at += 4 + size + -size % 4
    return 10**6


def _segment(link: int, packet: bytes) -> Segment | None:
    """The TCP part of a packet; None where it is something else, a fragment, or cut off."""
    at = _LINKS.get(link)
    if at is None:
        return None
    if link == 1:
        while packet[at - 2 : at] in _VLAN:
            at += 4
    ip = packet[at:]
    version = ip[0] >> 4 if ip else 0
    if version == 4 and len(ip) >= 20 and ip[9] == 6 and not int.from_bytes(ip[6:8], "big") & 0x3FFF:
        ends, start, total = (ip[12:16], ip[16:20]), 4 * (ip[0] & 15), int.from_bytes(ip[2:4], "big")
    elif version == 6 and len(ip) >= 40 and ip[6] == 6:
        ends, start, total = (ip[8:24], ip[24:40]), 40, 40 + int.from_bytes(ip[4:6], "big")
    else:
        return None
    tcp = ip[start : max(total, start)] if total else ip[start:]  # 0: left to the network card
    if len(tcp) < 20 or total > len(ip):
        return None
    source, target, number = struct.unpack_from(">HHI", tcp)
    here, there = (str(ipaddress.ip_address(end)) for end in ends)
    return Segment((here, source), (there, target), number, tcp[4 * (tcp[12] >> 4) :])
