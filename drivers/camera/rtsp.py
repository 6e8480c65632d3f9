"""Under which path a host serves its stream: the usual ones are asked for, one after another (RTSP 1.0, RFC 2326)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from dataclasses import dataclass

PATHS = (
    "/",
    "/Streaming/Channels/101",
    "/cam/realmonitor?channel=1&subtype=0",
    "/axis-media/media.amp",
    "/onvif1",
    "/live",
    "/live.sdp",
    "/live/ch00_0",
    "/live/main",
    "/h264",
    "/h264Preview_01_main",
    "/stream",
    "/stream1",
    "/stream/main",
    "/stream0",
    "/media/video1",
    "/video1",
    "/video.mp4",
    "/videoMain",
    "/profile1/media.smp",
    "/MediaInput/h264",
    "/ufirststream",
    "/11",
    "/1",
    "/ch0_0.h264",
    "/cam1/h264",
    "/mpeg4",
    "/test",
)
NOBODYS = "/lineside-asks-for-what-no-camera-has"
MOST_BYTES = 65536  # of one answer
WITHIN = 3.0  # seconds for one answer
_HEAD = re.compile(r"RTSP/1\.\d (\d{3})\b")


@dataclass(frozen=True, slots=True)
class Stream:
    path: str
    allowed: bool  # it was described; else it wants a user


class Client:
    """One connection, one question at a time. Raises OSError, TimeoutError or ValueError for what is no RTSP."""

    def __init__(self, host: str, port: int, user: str = "", password: str = "") -> None:
        self.host, self.port, self._user, self._password = host, port, user, password
        self._number = 0
        self._wire: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def describe(self, path: str) -> int:
        """The status that the host answers with, after logging in where it asks for it."""
        status, answer = await self._ask(path, "")
        if status == 401 and self._user and (login := self._login(path, answer)):
            status, _ = await self._ask(path, login)
        return status

    async def _ask(self, path: str, login: str) -> tuple[int, str]:
        self._number += 1
        words = [f"DESCRIBE {self._url(path)} RTSP/1.0", f"CSeq: {self._number}", "Accept: application/sdp", login]
        ask = "\r\n".join([*filter(None, words), "", ""]).encode()
        for last in (False, True):  # a host may hang up after each answer
            try:
                async with asyncio.timeout(WITHIN):
                    reader, writer = await self._open()
                    writer.write(ask)
                    await writer.drain()
                    return await self._answer(reader)
            except (ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError) as error:
                self.close()
                if last:
                    raise ConnectionError("it hangs up") from error
        raise AssertionError

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, str]:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError:
            raise ValueError("an answer without an end") from None
        found = _HEAD.match(head)
        if found is None:
            raise ValueError("something else than RTSP answers")
        size = re.search(r"^content-length:\s*(\d{1,6})\s*$", head, re.I | re.M)
        if size and int(size[1]) > MOST_BYTES:
            raise ValueError("an answer of more bytes than a description has")
        await reader.readexactly(int(size[1]) if size else 0)
        return int(found[1]), head

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._wire is None:
            self._wire = await asyncio.open_connection(self.host, self.port, limit=MOST_BYTES)
        return self._wire

    def _url(self, path: str) -> str:
        return f"rtsp://{at(self.host, self.port)}{path}"

    def _login(self, path: str, answer: str) -> str:
        """Basic or Digest (RFC 2617, MD5 as cameras use it); empty where it asks for something else."""
        if digest := re.search(r"^www-authenticate:\s*digest (.*)$", answer, re.I | re.M):
            given = dict(re.findall(r'(\w+)="([^"\r\n]*)"', digest[1]))
            realm, nonce = given.get("realm", ""), given.get("nonce", "")
            who, what = _md5(f"{self._user}:{realm}:{self._password}"), _md5(f"DESCRIBE:{self._url(path)}")
            said = f'username="{self._user}", realm="{realm}", nonce="{nonce}", uri="{self._url(path)}"'
            return f'Authorization: Digest {said}, response="{_md5(f"{who}:{nonce}:{what}")}"'
        if re.search(r"^www-authenticate:\s*basic", answer, re.I | re.M):
            return "Authorization: Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return ""

    def close(self) -> None:
        if self._wire is not None:
            self._wire[1].transport.abort()
            self._wire = None


async def streams(client: Client) -> list[Stream]:
    """The paths that the host has. One that takes any path has one, the first. Raises as `Client`."""
    try:
        any_path = await client.describe(NOBODYS)
        if any_path in (200, 401):
            return [Stream("/", any_path == 200)]
        out = []
        for path in PATHS:
            status = await client.describe(path)
            if status in (200, 401):
                out.append(Stream(path, status == 200))
        return out
    finally:
        client.close()


def at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
