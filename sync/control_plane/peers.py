"""What the processes of one plane tell each other, through their PostgreSQL (LISTEN and NOTIFY). On SQLite there is nobody to tell.

Only hints go this way: live values for the pages, that there are events to look at, that an order waits, that a device has another
secret. Whatever counts is in the tables; a hint that is lost costs time. No transaction that a device waits for sends any.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import zstandard
from sqlalchemy import Engine

from edge import LinesideError, log

from .database import own_line

NEWS, LIVE = "lineside", "lineside_live"  # channels; the second one for those that have pages
PIECE = 7000  # characters of one notification; PostgreSQL takes less than 8000 bytes
MOST_WAITING, MOST_BATCH = 32 * 2**20, 64 * 2**20  # bytes of hints that wait to go out, and of those that come as one
GATHER, LOOK, AGAIN = 0.1, 5.0, 2.0  # seconds: between two batches, two looks whether anybody listens, two attempts
NAME = "lineside plane"  # of our connections, as pg_stat_activity shows them

Heard = Callable[[str, str, bytes], None]  # kind, device, body


class Peers:
    """`run()` hears and sends until cancelled; `tell()` never waits. `lost()` is called when hints may have been missed."""

    def __init__(self, engine: Engine, channels: Sequence[str], heard: Heard, lost: Callable[[], None]) -> None:
        self._engine, self._channels, self._heard, self._lost = engine, channels, heard, lost
        self._me, self._batch = secrets.token_hex(4), 0
        self._out: dict[str, list[tuple[str, str, bytes]]] = {NEWS: [], LIVE: []}
        self._size = 0
        self._parts: dict[tuple[str, str], list[str]] = {}  # of batches that are not whole yet, by channel and sender
        self._others = False

    def tell(self, channel: str, kind: str, device: str, body: bytes = b"") -> None:
        """Also where nobody listens: then it is kept for nobody."""
        if not self._others or self._size + len(body) > MOST_WAITING:
            return
        hint = (kind, device, body)
        if body or hint not in self._out[channel][-100:]:  # that there is something new needs no saying twice
            self._out[channel].append(hint)
            self._size += len(body) + 64

    async def run(self) -> None:
        said = ""
        while True:
            try:
                async with (
                    own_line(self._engine, NAME) as ear,
                    own_line(self._engine, f"{NAME} tells") as mouth,
                ):
                    for channel in self._channels:
                        await ear.execute(f"LISTEN {channel}")
                    self._parts.clear()
                    self._lost()
                    self._others = True
                    self.tell(NEWS, "here", "")
                    said = ""
                    async with asyncio.TaskGroup() as both:
                        both.create_task(self._hears(ear))
                        both.create_task(self._tells(mouth))
            except (LinesideError, OSError, ExceptionGroup) as error:
                why = " ".join(str(_first(error)).split())
                if why != said:
                    log.warning("plane: nothing is heard of other processes for now: %s", why)
                said, self._others = why, False
            await asyncio.sleep(AGAIN)

    async def _hears(self, ear: Any) -> None:
        async for note in ear.notifies():
            try:
                self._piece(note.channel, note.payload)
            except (LinesideError, ValueError, zstandard.ZstdError, msgpack.UnpackException) as error:
                log.warning("plane: a hint of another process cannot be read: %s", error)
        raise OSError("the connection ended")

    def _piece(self, channel: str, payload: str) -> None:
        """A notification: a piece of a batch of hints."""
        sender, number, many, piece = payload.split("/", 3)
        if sender == self._me:
            return
        self._others = True
        parts = self._parts.setdefault((channel, sender), [])
        if number == "0":
            parts.clear()
        parts.append(piece)
        if len(parts) == int(many):
            del self._parts[channel, sender]
            self._take("".join(parts))

    def _take(self, batch: str) -> None:
        body = zstandard.ZstdDecompressor().decompress(base64.b64decode(batch), MOST_BATCH)
        for kind, device, hint in msgpack.unpackb(body):
            self._heard(kind, device, hint)

    async def _tells(self, mouth: Any) -> None:
        looked = 0.0
        wanted = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
        while True:
            await asyncio.sleep(GATHER)
            for channel, hints in self._out.items():
                if hints:
                    self._out[channel] = []
                    await mouth.execute(
                        "SELECT pg_notify(%s, piece) FROM unnest(%s::text[]) piece", (channel, self._cut(hints))
                    )
            if not any(self._out.values()):
                self._size = 0
            if (now := asyncio.get_running_loop().time()) > looked + LOOK:
                looked = now
                (listening,) = await (await mouth.execute(wanted, (NAME,))).fetchone()
                self._others = listening > 1

    def _cut(self, hints: list[tuple[str, str, bytes]]) -> list[str]:
        body = base64.b64encode(zstandard.ZstdCompressor(1).compress(msgpack.packb(hints))).decode()
        pieces = [body[k : k + PIECE] for k in range(0, len(body), PIECE)]
        return [f"{self._me}/{k}/{len(pieces)}/{piece}" for k, piece in enumerate(pieces)]


def _first(error: BaseException) -> BaseException:
    """What went wrong, of a group of tasks."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
