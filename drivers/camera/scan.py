"""`lineside scan cameras`: cameras on this machine and on the network, a look at each, and the lines for the site."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
from pydantic import ValidationError

from edge import ConfigFault, DeviceLost, reason_of

from . import onvif, quality, rtsp, v4l2
from .driver import CameraConfig
from .sources import source_of

HELP = "cameras: on this machine, on the network (ONVIF), and under the usual RTSP paths of a host"
PICTURES = 12  # looked at for the frame rate
_LOGIN = re.compile(r"\w+://([^:/@]*):[^/@]*@")
SECRET = "LINESIDE_SECRET_CAMERA"  # in the environment: the password, where nobody can type it


@dataclass
class Found:
    """One camera; `url` opens it, with the password in it where it has one."""

    kind: str
    name: str
    url: str = ""
    shown: str = ""
    size: tuple[int, int] = (0, 0)
    rate: float = 0.0
    seen: quality.Look | None = None
    said: list[str] = field(default_factory=list)
    snapshot: str = ""

    @property
    def entry(self) -> str:
        """Its name below `drivers:`."""
        plain = re.sub(r"\W+", "_", re.sub(r"^\w+:(//)?(/dev/)?", "", self.shown or self.name)).strip("_")
        return plain if re.match(r"[^\W\d]", plain) else f"camera_{plain}"

    def as_json(self) -> dict[str, Any]:
        seen = self.seen
        figures = {"focus": seen.focus, "white": seen.white, "black": seen.black} if seen else {}
        return {
            "kind": self.kind,
            "name": self.name,
            "url": self.shown,
            "size": list(self.size),
            **{key: round(value, 4) for key, value in {"rate": self.rate, **figures}.items()},
            "said": self.said,
            "snapshot": self.snapshot,
        }


def arguments(parser: argparse.ArgumentParser) -> None:
    told = "look for an RTSP stream there too (port 554 unless named); may be given several times"
    parser.add_argument("--host", action="append", default=[], metavar="HOST[:PORT]", help=told)
    told = "look at this camera too, as a site names it (http://..., rtsp://..., v4l2:...); may be given several times"
    parser.add_argument("--url", action="append", default=[], metavar="URL", help=told)
    parser.add_argument("--only-hosts", action="store_true", help="look at nothing that is not named")
    told = "user of the network cameras; the password is asked for, or taken from $" + SECRET
    parser.add_argument("--user", default="", metavar="NAME", help=told)
    told = "address of our own network adapter that asks the network, where there are several"
    parser.add_argument("--interface", default="", metavar="ADDRESS", help=told)
    told = "how long to wait for answers of the network (default: 3)"
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help=told)
    told = "folder for a picture of each camera (default: here)"
    parser.add_argument("--snapshots", type=Path, default=Path(), metavar="FOLDER", help=told)
    parser.add_argument("--json", action="store_true", help="one JSON object per camera on standard output")


def run(options: argparse.Namespace) -> int:
    if not 0 < options.seconds <= 60:
        raise ConfigFault("--seconds is out of range", hint="more than 0, at most 60")
    if not options.snapshots.is_dir():
        raise ConfigFault(f"there is no folder {options.snapshots}", hint="make it, or name another with --snapshots")
    hosts, named = [_host(text) for text in options.host], [_named(url) for url in options.url]
    password = ""
    if options.user:
        password = os.environ.get(SECRET) or (
            getpass.getpass("Password of the cameras: ") if sys.stdin.isatty() else ""
        )
    cameras = asyncio.run(_scan(options, named, hosts, password))
    _print(cameras, options)
    return 0 if any(camera.size[0] for camera in cameras) else 1


async def _scan(
    options: argparse.Namespace, named: list[Found], hosts: list[tuple[str, int, str]], password: str
) -> list[Found]:
    cameras = list(named)
    if not options.only_hosts:
        local, said = await asyncio.to_thread(v4l2.devices)
        for line in said:
            _say(line)
        cameras += [Found("v4l2", d.name, f"v4l2:{d.path}", f"v4l2:{d.path}") for d in local]
        hosts = [*hosts, *await _network(options, {host for host, _, _ in hosts})]
    for host, port, name in hosts:
        _say(f"{rtsp.at(host, port)}: trying the usual paths")
        cameras += await _tried(host, port, name, options.user, password)
    for camera in cameras:
        if camera.url:
            await _look(camera, options.snapshots)
    return cameras


async def _network(options: argparse.Namespace, known: set[str]) -> list[tuple[str, int, str]]:
    _say(f"asking the network for cameras, {options.seconds:g} s")
    try:
        answers = await onvif.discover(options.seconds, interface=options.interface)
    except OSError as error:
        _say(f"the network cannot be asked: {reason_of(error)}; is --interface an address of this machine?")
        return []
    return [(answer.host, 554, answer.name) for answer in answers if answer.host not in known]


async def _tried(host: str, port: int, name: str, user: str, password: str) -> list[Found]:
    """The streams of a host, or what is in the way."""
    where = rtsp.at(host, port)
    try:
        found = await rtsp.streams(rtsp.Client(host, port, user, password))
    except TimeoutError:
        return [Found("rtsp", name or where, said=[f"{where} does not answer"])]
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        return [Found("rtsp", name or where, said=[f"{where}: {reason}"])]
    out = []
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    for stream in found:
        shown = f"rtsp://{where}{stream.path}"
        if stream.allowed:
            out.append(Found("rtsp", name or where, f"rtsp://{login}{where}{stream.path}", shown))
        else:
            why = "refuses this user and password" if user else "wants a user: give it with --user"
            out.append(Found("rtsp", name or where, said=[f"{shown} {why}"]))
    return out or [Found("rtsp", name or where, said=[f"{where}: no usual path leads to a stream; see its manual"])]


async def _look(camera: Found, folder: Path) -> None:
    """Take pictures one after another, judge the last, keep it."""
    _say(f"{camera.shown}: looking")
    shots = source_of(camera.url, 1, 5.0)
    stamps: list[int] = []
    try:
        slots = await shots.open()
        camera.size = slots.shape[2], slots.shape[1]
        for _ in range(PICTURES):
            stamps.append((await shots.take(0, 0))[0])
        image = slots[0].copy()
    except DeviceLost as error:
        camera.said.append(str(error))
        return
    finally:
        await shots.close()
    camera.seen, camera.rate = quality.look(image), quality.rate(stamps)
    camera.said += quality.words(camera.seen, stamps)
    path = folder / f"{camera.entry}.jpg"
    if cv2.imwrite(str(path), image):
        camera.snapshot = str(path)
    else:
        camera.said.append(f"its picture cannot be written to {path}")


# What is printed


def _print(cameras: list[Found], options: argparse.Namespace) -> None:
    if options.json:
        for camera in cameras:
            print(json.dumps(camera.as_json(), ensure_ascii=False))
        return
    good = [camera for camera in cameras if camera.seen]
    for camera in (camera for camera in cameras if not camera.seen):
        _say(f"{camera.name}: {'; '.join(camera.said)}")
    if not good:
        _say("no camera gave a picture" if cameras else "no camera was found; name its address with --host")
        return
    print("drivers:")
    for camera in good:
        print(f"  # {_plain(camera.name)}: {camera.size[0]} x {camera.size[1]}, {'; '.join(camera.said)}")
        if camera.snapshot:
            print(f"  # picture: {_plain(camera.snapshot)}")
        url = json.dumps(camera.shown, ensure_ascii=False)
        if login := _LOGIN.match(camera.url):
            full = camera.shown.replace("://", f"://{login[1]}:PASSWORD@", 1)
            print(f"  # in secrets.yaml: {camera.entry}: {_plain(full)}")
            url = f"!secret {camera.entry}"
        print(f"  {camera.entry}: {{driver: camera, url: {url}, every: 1s}}")


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _say(text: str) -> None:
    print(_plain(text), file=sys.stderr, flush=True)


def _named(url: str) -> Found:
    """A camera whose address is known. Raises ConfigFault."""
    try:
        CameraConfig(driver="camera", url=url)
    except ValidationError as error:
        raise ConfigFault(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    shown = re.sub(r"//[^/@]*@", "//", url, count=1)
    return Found(url.partition(":")[0], shown, url, shown)


def _host(text: str) -> tuple[str, int, str]:
    found = re.fullmatch(r"(?:rtsp://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?/?", text)
    if found is None or not 0 < int(found[2] or 554) < 65536:
        raise ConfigFault(f"{text!r} is no host", hint="write 192.168.1.20, or 192.168.1.20:8554 for another port")
    return found[1].strip("[]"), int(found[2] or 554), ""
