"""What lies between a device and the plane, with all that a network does to a message."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from edge import Cursor, DeviceLost
from sync import wire
from sync.control_plane import pieces
from sync.device import pace
from sync.device.transport import understood

if TYPE_CHECKING:
    from .plane import Answer, Plane
    from .world import World


class Link:
    """A `Transport`. The chances (0 to 1) are per message; `known` is what the plane's answers have said to this device."""

    def __init__(self, world: World, device: str, plane: Plane) -> None:
        self._world, self._device, self._plane = world, device, plane
        self._rng = random.Random(world.rng.random())
        pace.LEAST, pace.FIRST, pieces.LEAST_PIECE = 300, 1000, 300  # bytes: blocks go in pieces, too
        self.scope: dict[str, Any] = {}  # what its connection has shown
        self.known: dict[tuple[str, str], Cursor] = {}
        self._wholes: dict[str, bytearray] = {}  # by digest, what passed of them
        self._late: set[asyncio.Task[None]] = set()
        self.heal()

    def heal(self) -> None:
        self.cut = self.half_open = self.proxy = False
        self.delay = 0.05  # seconds each way, at most
        self.repeat = self.stray = self.deaf = 0.0

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                status, said = await self._round(method, path, body)
        except TimeoutError:
            raise DeviceLost("no whole answer in time") from None
        up = path.startswith("/d/v1/up")
        epochs = {frame.epoch for frame in wire.unpack(self._message(path, body))} if up else {path[-16:]}
        if status == wire.REJECTED:
            self._world.note(self._device, "rejected", said[:200])
        understood(status, said, path, "plane")
        if up or path.startswith("/d/v1/stands"):
            for stream, cursor in wire.unpack_ack(said).items():
                known = self.known.setdefault((next(iter(epochs)), stream), Cursor())
                for first, last in [(1, cursor.watermark), *cursor.ranges]:
                    known.add(first, last)
        return said

    async def _round(self, method: str, path: str, body: bytes) -> Answer:
        forever = asyncio.get_running_loop().create_future()
        if self.cut or not self._plane.up:
            await asyncio.sleep(self._rng.uniform(0.01, 0.2))
            raise DeviceLost("nobody is there")
        if self.half_open:
            await forever
        await asyncio.sleep(self._rng.uniform(0, self.delay))
        scope = self.scope
        if self._rng.random() < self.repeat:
            self._later(self._rng.uniform(0.01, 60), method, path, body, scope)
        if self._rng.random() < self.stray:
            self._later(self._rng.uniform(20, 150), method, path, body, scope)
            await forever
        if self.half_open or self.cut:
            await forever
        if self.proxy and len(body) > 20_000:
            return 413, b"too large"
        answer = await self._deliver(method, path, body, scope)
        if self.half_open or self._rng.random() < self.deaf:
            await forever
        await asyncio.sleep(self._rng.uniform(0, self.delay))
        if self.cut or answer is None:
            raise DeviceLost("the connection was reset")
        return answer

    async def _deliver(self, method: str, path: str, body: bytes, scope: dict[str, Any]) -> Answer | None:
        if not self._plane.up:
            return None
        answer = await self._plane.serve(method, path, scope, body)
        if path.startswith("/d/v1/piece/"):
            digest, at = path[12:76], int(path.partition("&at=")[2])
            whole = self._wholes.setdefault(digest, bytearray())
            whole[at : at + len(body)] = body
        if answer is not None and answer[0] == 200 and path.startswith("/d/v1/up"):
            self._plane.acknowledged(self._device, self._message(path, body))
        return answer

    def _message(self, path: str, body: bytes) -> bytes:
        """Of what came in pieces, what they make."""
        whole = path.partition("?whole=")[2]
        return bytes(self._wholes[whole]) if whole else body

    def _later(self, wait: float, method: str, path: str, body: bytes, scope: dict[str, Any]) -> None:
        """The same message once more, when nobody waits for its answer any longer; over the connection that it was sent on."""

        async def arrive() -> None:
            await asyncio.sleep(wait)
            await self._deliver(method, path, body, scope)

        if method != "GET":
            task = asyncio.ensure_future(arrive())
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    def drop(self) -> None:
        """What is still under way never arrives."""
        for task in self._late:
            task.cancel()

    async def quiet(self) -> None:
        """Until no old message is under way any more."""
        while self._late:
            await asyncio.wait(list(self._late))

    def close(self) -> None: ...
