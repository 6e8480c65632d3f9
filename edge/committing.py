"""The committing half of the journal: what waits becomes durable on one writer thread, one transaction at a time, and a file that
turns out to be damaged is mended first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw

from . import disk, heap, retention, rows, salvage, standing, tail
from .clock import SECOND, Clock, is_sure
from .config.journal import JournalConfig
from .errors import LinesideError
from .event import Event
from .log import log
from .pending import Pending
from .reader import Cursor
from .reading import Reading
from .records import Place
from .texts import Texts

TRIM_EVERY = 10 * SECOND
HELD = 900 * SECOND  # blocks are kept open so long for a clock that is not set yet
MEND_AFTER, MEND_AT_MOST = 60 * SECOND, 3600 * SECOND
T = TypeVar("T")


@dataclass(slots=True)
class Totals:
    """Counted since start. `durable` of the samples appended are safe; `dropped` never were, and a gap says so."""

    appended: int = 0
    durable: int = 0
    dropped: int = 0
    sealed: int = 0
    sealed_bytes: int = 0
    tail_bytes: int = 0
    tail_samples: int = 0
    commits: int = 0


class Committing(Reading):
    """`run()` commits. Its other half opens the file and takes in what is to be committed."""

    epoch: str
    texts: Texts
    _db: apsw.Connection
    _given: dict[str, int]
    _open: tail.Open
    _torn: dict[Place, tuple[str, int]]
    _taken_out: set[Place]

    def __init__(self, path: Path, clock: Clock, config: JournalConfig) -> None:
        super().__init__()
        self.path, self.clock, self.config = path, clock, config
        self._writer = ThreadPoolExecutor(1, "journal")
        self._urgent = asyncio.Event()
        self.news = asyncio.Event()  # set when there is more to read than now: take it, look, then wait for it
        self._committing = asyncio.Lock()
        self._age = retention.Age()
        self._next_retention = self._next_trim = self._next_mend = 0
        self._mend_wait = MEND_AFTER
        self._held_until = clock.mono() + HELD
        self.totals = Totals()
        self.trouble = ""  # why samples wait in memory
        self.readers: set[str] = set()

    def _connect(self) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Commit at every window, and at once for events, until cancelled; then what waits is committed once more."""
        try:
            while True:
                try:
                    async with asyncio.timeout(self.config.durable_within if not self.trouble else 1.0):
                        await self._urgent.wait()
                except TimeoutError:
                    pass
                self._urgent.clear()
                await self.commit()
                if self.trouble:
                    await asyncio.sleep(0.5)
        finally:
            await asyncio.shield(self.commit())

    async def commit(self, *, seal: bool = False) -> bool:
        """Make everything appended so far durable; false (and `trouble` says why) if the disk refused. A caller that is
        cancelled does not cancel the commit: what it took would be lost."""
        return await asyncio.shield(asyncio.ensure_future(self._commit_all(seal)))

    async def _commit_all(self, seal: bool) -> bool:
        async with self._committing:
            pending, self._pending = self._pending, Pending()
            loop = asyncio.get_running_loop()
            try:
                sealed = await loop.run_in_executor(self._writer, self._write, pending, seal)
            except apsw.Error as error:
                self._take_back(pending)
                if not self.trouble and not self.room.tight:
                    fault = disk.unwritable(f"journal: cannot write {self.path}", error)
                    log.error("%s; samples are kept in memory for a while and rules go on", fault)
                self.trouble = disk.why(error)
                self._tell()  # events may have found room
                return False
            except LinesideError as error:
                self._take_back(pending)
                if not self.trouble:
                    log.error("journal: %s", error)
                self.trouble = str(error)
                return False
            except BaseException as error:
                self._take_back(pending)
                if not isinstance(error, Exception):
                    raise
                if not self.trouble:
                    log.exception("journal: what came cannot be written; nothing is durable until it can")
                self.trouble = f"{type(error).__name__}: {error}"
                return False
            if self.trouble and not self.room.tight:
                log.warning("journal: writing again")
            self.trouble = ""
            if pending.texts:
                self.texts.durable = pending.texts[-1][0]
            if sealed or pending.texts or pending.events or pending.pictures or pending.damaged:
                self._tell()
            return True

    async def withdraw(self, events: Sequence[Event]) -> bool:
        """Take back what waits after a commit that failed, as though it had never been appended. False where it does not wait: it
        is durable, or gave way."""
        async with self._committing:
            return self._pending.withdraw(events)

    def _tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    @property
    def complaint(self) -> str:
        """What is wrong with the disk; empty where nothing is."""
        return self.trouble or ("the disk is full" if self.room.tight else "")

    def _take_back(self, pending: Pending) -> None:
        pending.follow(self._pending)
        self._pending = pending
        self.totals.dropped += pending.give_way(self.clock.utc())

    def _write(self, pending: Pending, seal: bool) -> int:
        """On the writer thread: commit; a file that turns out to be damaged is mended first."""
        if mended := self._suspect and self._mend(pending):
            self._suspect = False
        try:
            with disk.reading():
                rows.check(self._db, self._given)
                return self._find_room(pending, seal) + mended
        except disk.Damaged:
            if not self._mend(pending):
                raise
            return self._find_room(pending, seal) + 1

    def _find_room(self, pending: Pending, seal: bool) -> int:
        sealing = sum(block.n for block in self._open.values())
        return self.room.commit(
            self._db, pending, sealing, self.readers, self.config.at_most, lambda p: self._commit(p, seal)
        )

    def _sound(self, work: Callable[..., T], *arguments: Any) -> T:
        """On the writer thread: `work(connection, ...)`, a second time on a file that was mended."""
        try:
            with disk.reading():
                rows.check(self._db, self._given)
                return work(self._db, *arguments)
        except disk.Damaged:
            if not self._mend(self._pending):
                raise
            return work(self._db, *arguments)

    def _mend(self, pending: Pending) -> bool:
        """Move what is good to a new file, under the same epoch; the open blocks are whole in memory. False soon after the last
        time, and later each time: a disk that damages what is written is not mended by writing."""
        if (now := self.clock.mono()) < self._next_mend:
            return False
        with contextlib.suppress(*disk.Damaged), disk.reading():
            if standing.look(self._db, self.clock.utc(), self.epoch, self._given, tags=True):
                return True
        self._next_mend = now + MEND_AFTER  # a disk that is too full for it may have room soon
        lost = [self._torn[place] for place in pending.damaged & self._torn.keys()]  # and no commit has told of it
        with self._reader_held():
            self._db.close()
            try:
                salvage.salvage(self.path, self.clock.utc(), self.epoch, self._given, self._open, lost)
            finally:
                self._connect()
        self._next_mend, self._mend_wait = now + self._mend_wait, min(2 * self._mend_wait, MEND_AT_MOST)
        pending.damaged.clear()
        self._taken_out.clear()
        return True

    def _commit(self, pending: Pending, seal: bool) -> int:
        """On the writer thread: one transaction. What is kept in memory changes only after it succeeded."""
        now, utc, totals = self.clock.mono(), self.clock.utc(), self.totals
        with disk.transaction(self._db):
            gone = self._taken_out if now >= self._next_mend else self._taken_out | pending.damaged
            damaged = retention.quarantine(
                self._db, pending.damaged, utc, gone
            )  # first: to seal a stream empties its tail
            rows.add_texts(self._db, pending.texts)
            longest, seal = round(self.config.block * SECOND), seal and not pending.urgent
            hold = pending.urgent or (not is_sure(self.clock) and now < self._held_until)
            open_ = self._open
            if pending.steps or (hold and not pending.urgent):
                open_ = tail.close_earlier(self._db, open_, now, utc)
            if pending.steps:
                open_ = tail.moved(self._db, open_, pending.steps)
            done = tail.write(self._db, open_, pending.batches, now, utc, longest, seal, hold)
            rows.add_events(self._db, [*pending.events, *damaged], utc)
            rows.add_pictures(self._db, pending.pictures, utc)
            rows.add_snapshots(self._db, pending.snapshots)
            rows.add_cursors(self._db, pending.cursors)
            if now >= self._next_retention:
                self._next_retention = now + 10 * SECOND
                keep = round(self.config.keep * SECOND)
                cut = utc - keep if self._age.trusted(now, utc) else 0
                evicted = retention.evict(self._db, self.readers, utc, cut, self.room.budget.pages)
                rows.add_events(self._db, evicted, utc)
            given = rows.given(self._db)
        self._given = given
        self._open = {**open_, **done.after}
        self._taken_out |= pending.damaged
        totals.durable += sum(map(len, pending.batches))
        totals.sealed += done.sealed
        totals.sealed_bytes += done.sealed_bytes
        totals.tail_bytes += done.tail_bytes
        totals.tail_samples += done.tail_samples
        totals.commits += 1
        if now >= self._next_trim and (done.sealed or pending.nbytes > 1_000_000):
            self._next_trim = now + TRIM_EVERY
            heap.trim()  # columns were joined and encoded, many times the size of what is kept
        return done.sealed

    async def on_writer(self, work: Any, *arguments: Any) -> Any:
        """Run `work(connection, ...)` on the writer thread, outside any transaction of ours."""
        async with self._committing:
            return await asyncio.get_running_loop().run_in_executor(self._writer, self._sound, work, *arguments)

    def moved(self, reader: str, stream: str, cursor: Cursor) -> None:
        """Remember how far a reader got; safe with the next commit (a repeat after a crash does no harm). The cursor is read on
        another thread, at any time from now on: who goes on gives a new one."""
        self._pending.cursors[reader, stream] = cursor

    async def revise(
        self, reader: str, look: Callable[..., tuple[Mapping[str, Cursor], list[Event]]], *arguments: Any
    ) -> tuple[Mapping[str, Cursor], list[Event]]:
        """Put a reader's cursors where `look(connection, ...)` says, by stream, with the events that tell why: one transaction, so
        that nothing is deleted between the look and the move. Raises Unwritable."""

        def step(db: apsw.Connection) -> tuple[Mapping[str, Cursor], list[Event]]:
            with disk.transaction(db):
                cursors, events = look(db, *arguments)
                rows.add_cursors(db, {(reader, stream): cursor for stream, cursor in cursors.items()})
                rows.add_events(db, events, self.clock.utc())
            return cursors, events

        async with self._committing:
            try:
                cursors, events = await asyncio.get_running_loop().run_in_executor(self._writer, self._sound, step)
            except apsw.Error as error:
                raise disk.unwritable(f"journal: cannot write {self.path}", error) from None
            for stream, cursor in cursors.items():
                self.moved(reader, stream, cursor)  # over a newer one that waits for its commit
        self._tell()
        return cursors, events
