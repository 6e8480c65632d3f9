"""A plane in its own process, a device that runs version 1 of an artefact, and somebody hostile between them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgpack

from edge import ManualClock
from edge.bench.process import running
from sync.control_plane.ca import Authority
from sync.control_plane.updates import Updates as Served
from sync.device.certificate import Certificate
from sync.device.enrolment import enroll
from sync.device.floor import Floors
from sync.device.identity import Identity
from sync.device.transport import Https
from sync.device.update_source import AtPlane, Source
from sync.device.updates import Updates
from tests.sync.signers import Signers
from tests.waiting import until

Wicked = Callable[[str, int, int], tuple[int, bytes] | None]


class Hall:
    """The plane's process and a device that has enrolled; scenes take turns in it."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder, self.identity = folder, identity
        self.plane = folder / "plane"

    def serve(self, repository: Path) -> None:
        """From now on the plane gives what lies in that folder."""
        shutil.rmtree(self.plane / "updates", ignore_errors=True)
        shutil.copytree(repository, self.plane / "updates")

    @contextlib.asynccontextmanager
    async def hostile(self, wicked: Wicked) -> AsyncIterator[Identity]:
        """A server of TLS with a certificate that the device believes, which answers as `wicked(path, at, most)` says."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*Authority(self.plane).server(["127.0.0.1"], self.folder, "hostile"))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while asked := re.match(
                    rb"GET /d/v1/updates/(\S+)\?at=(\d+)&most=(\d+) ", await reader.readuntil(b"\r\n\r\n")
                ):
                    said = wicked(asked[1].decode(), int(asked[2]), int(asked[3]))
                    status, body = (b"200 OK", msgpack.packb(said)) if said else (b"404 Not Found", b"{}")
                    writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        try:
            yield replace(self.identity, url=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        finally:
            server.close()


@contextlib.contextmanager
def hall(folder: Path) -> Iterator[Hall]:
    plane, log = folder / "plane", folder / "plane.log"
    command = ("plane", "--folder", plane, "--port", "0", "--page-port", "0")
    with running(*command, log=log) as process:

        async def started() -> None:
            async with asyncio.timeout(120):
                await until(lambda: (plane / "url").exists() or process.poll() is not None)

        asyncio.run(started())
        invite = [sys.executable, "-m", "edge.cli", "plane", "invite", "--folder", str(plane)]
        token = subprocess.run(invite, check=True, capture_output=True, text=True).stdout.strip()
        yield Hall(folder, enroll(token, "press-4", folder / "state"))


class Scene:
    """A device of class `press` that has taken KIND/part-1; version 2 is signed and published, and not taken yet."""

    old, new = b"version one " * 400, os.urandom(5000)

    def __init__(self, hall: Hall, folder: Path, kind: str) -> None:
        self.hall, self.folder, self.kind = hall, folder, kind
        self.one, self.two = f"{kind}/part-1", f"{kind}/part-2"
        self.clock = ManualClock(time.time_ns())
        folder.mkdir()
        self.signers = Signers(folder / "genuine").begin()
        self.signers.add(self.one, self.old, ["press"])
        shutil.copytree(self.repository, folder / "first")
        hall.serve(self.repository)
        self.updates = self.device()
        self.updates.trust((self.repository / "metadata" / "1.root.json").read_bytes())
        self.run(self.take(self.one))
        self.signers.add(self.two, self.new, ["press"])
        self.mirror = folder / "mirror"
        shutil.copytree(self.repository, self.mirror)

    @property
    def repository(self) -> Path:
        return self.signers.folder

    def device(self, takes: tuple[str, ...] = ("press",)) -> Updates:
        floors = Floors((self.folder / "state", self.folder / "second"))
        return Updates(self.folder / "state" / "updates", floors, self.clock, takes)

    def take(self, path: str) -> Callable[[Source], None]:
        def work(source: Source) -> None:
            self.updates.refresh(source)
            self.updates.bring(source, path)

        return work

    def run(self, work: Callable[[Source], None], wicked: Wicked | None = None) -> None:
        """Let the device work with the plane, or with somebody who answers for it."""

        async def main() -> None:
            async with asyncio.timeout(120):
                if wicked is None:
                    await self._with(self.hall.identity, work)
                else:
                    async with self.hall.hostile(wicked) as identity:
                        await self._with(identity, work)

        asyncio.run(main())

    async def _with(self, identity: Identity, work: Callable[[Source], None]) -> None:
        line = Https(identity, Certificate(self.hall.folder / "state", identity))
        try:
            await asyncio.to_thread(work, AtPlane(line))
        finally:
            line.close()

    def part(self, path: str, at: int, most: int) -> tuple[int, bytes] | None:
        """What an honest server would answer of the mirror."""
        served = Served(self.folder)
        served._folder = self.mirror
        return served.part(path, at, most)

    def believed(self) -> str:
        """All that the device believes and runs, as one word; raises where what runs is not what was signed."""
        assert self.updates.verified(self.one).read_bytes() == self.old
        seal = hashlib.sha256()
        for path in sorted((self.folder / "state" / "updates" / "metadata").rglob("*.json")):
            seal.update(path.name.encode() + path.read_bytes())
        return seal.hexdigest()

    def later(self, days: float) -> None:
        self.clock.advance(days * 86400)
