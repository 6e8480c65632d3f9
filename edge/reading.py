"""The reading half of the journal: a second connection, on a thread of its own, so that asking never waits for a commit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw

from . import disk, outlook, records, retention
from .clock import Clock
from .pending import Pending
from .reader import Cursor, Record
from .room import Room


class Reading:
    """What a journal can be asked. Its other half says where the file is, and mends it when pages cannot be read."""

    path: Path
    clock: Clock
    room: Room
    readers: set[str]
    _pending: Pending
    _urgent: asyncio.Event

    def __init__(self) -> None:
        self._reading = ThreadPoolExecutor(1, "journal-read")
        self._read_db: apsw.Connection | None = None
        self._suspect = False  # a page could not be read

    async def commit(self, *, seal: bool = False) -> bool:
        raise NotImplementedError

    async def ask(self, work: Any, *arguments: Any) -> Any:
        """Run a read-only `work(connection, ...)` on the reading thread; keep it short, it holds back the checkpoint. Where a page
        cannot be read, also not at the second try, the file is mended and asked again. Raises JournalDamaged if that does
        not help."""
        loop = asyncio.get_running_loop()
        for attempt in range(3):
            try:
                return await loop.run_in_executor(self._reading, self._with_reader, work, *arguments)
            except disk.Damaged as error:
                fault = error
            if attempt == 1:
                self._suspect = True
                await self.commit()
        words = f"the journal {self.path} cannot be read: {fault}"
        raise disk.JournalDamaged(words, hint="replace the disk") from None

    def _with_reader(self, work: Any, *arguments: Any) -> Any:
        with disk.reading():
            if self._read_db is None:
                self._read_db = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
                self._read_db.set_busy_timeout(5_000)
                self._read_db.execute("PRAGMA cache_size=-500")
            return work(self._read_db, *arguments)

    async def read(self, stream: str, after: int = 0, limit: int = 64, most_bytes: int = 1_000_000) -> list[Record]:
        """Up to `limit` records of a stream above sequence number `after`, in order, about `most_bytes` together. A damaged one is
        put right or taken out, with a gap event in its place, before any behind it is given: its number may be another one. Where
        the disk does not let that happen yet, nothing is given. Numbers that are missing without a word are told of."""
        before: list[records.Place] = []
        while True:
            found, damaged, holes = await self.ask(records.read_stream, stream, after, limit, most_bytes)
            if damaged or holes:
                utc = self.clock.utc()
                runs = [(first, last, t0 or utc, t1 or utc, 0) for first, last, t0, t1 in holes]
                self._pending.damaged.update(damaged)
                self._pending.events += [retention.lack(utc, stream, run, "damaged") for run in runs]
                self._urgent.set()
            if found or damaged == before or not await self.commit():
                return found
            before = damaged

    async def streams(self) -> dict[str, int]:
        """Sample streams with their last sequence number."""
        return await self.ask(records.sample_streams)

    async def cursors(self, reader: str) -> dict[str, Cursor]:
        """How far a reader got, by stream."""
        return await self.ask(records.cursors, reader)

    async def backlog(self, reader: str) -> dict[str, int]:
        """{"records", "samples"} that are durable here and this reader has not delivered."""
        ahead = {stream: cursor.watermark for (r, stream), cursor in self._pending.cursors.items() if r == reader}
        return await self.ask(records.backlog, reader, ahead)

    async def outlook(self) -> outlook.Outlook:
        """What the file takes, and how long it lasts without a link."""
        budget, folder = self.room.budget, self.path.parent
        return await self.ask(outlook.foretell, budget, tuple(self.readers), self.clock.utc(), folder)

    async def picture(self, digest: str) -> tuple[str, bytes] | None:
        """(media type, body) of a kept picture."""
        return await self.ask(records.picture, digest)

    @contextlib.contextmanager
    def _reader_held(self) -> Iterator[None]:
        """Nobody reads within, and who asks waits: the file is replaced, and a connection would go on with the old one."""
        still, on = threading.Event(), threading.Event()
        self._reading.submit(self._stand_still, still, on)
        still.wait()
        try:
            yield
        finally:
            on.set()

    def _stand_still(self, still: threading.Event, on: threading.Event) -> None:
        try:
            self._forget_reader()
        finally:
            still.set()
            on.wait()

    def _forget_reader(self) -> None:
        db, self._read_db = self._read_db, None
        if db is not None:
            db.close()
