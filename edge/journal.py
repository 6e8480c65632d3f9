"""Everything that survives: one SQLite file, one writer thread, a durable tail and sealed blocks, cursors.

Opened only through apsw, `synchronous=FULL`. Samples go to the tail at each commit window and are encoded once into a
sealed block per source when it closes; events, pictures, snapshots and commands are committed at once. Only sealed
things have sequence numbers. Streams are called `tag`, `text`, `event`, `picture` and `samples:<source>`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw

from . import disk, heap, migrations, numbers, records, retention, rows, salvage, standing, tail
from .batch import Batch
from .clock import SECOND, Clock, is_sure
from .codec import NewerVersion
from .config.journal import JournalConfig
from .errors import LinesideError
from .event import Event, Picture
from .log import log
from .pending import Pending
from .reader import Cursor
from .reading import Reading
from .records import Place
from .room import Room
from .state import owned
from .tags import Tag
from .texts import Row as Text
from .texts import Texts

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "cache_size=-500",  # kB: what is appended is seldom read again
)
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


class Journal(Reading):
    """`append` is for the loop's thread and never waits; `run()` commits; `read()` and friends are coroutines."""

    def __init__(self, path: Path, clock: Clock, config: JournalConfig | None = None) -> None:
        super().__init__()
        self.path, self.clock, self.config = Path(path), clock, config or JournalConfig()
        self._lock = owned(self.path)
        try:
            self.room = Room(self.path, clock, self.config.at_most)
            self._begin_anyhow()
        except apsw.Error as error:
            os.close(self._lock)
            raise disk.unwritable(f"the journal {self.path} cannot be opened", error) from None
        except BaseException:
            os.close(self._lock)
            raise
        self._writer = ThreadPoolExecutor(1, "journal")
        self._urgent = asyncio.Event()
        self._sealed = asyncio.Event()
        self._committing = asyncio.Lock()
        self._age = retention.Age()
        self._next_retention = self._next_trim = self._next_mend = 0
        self._mend_wait = MEND_AFTER
        self._held_until = clock.mono() + HELD
        self.totals = Totals()
        self.trouble = ""  # why samples wait in memory
        self.readers: set[str] = set()

    def _begin_anyhow(self) -> None:
        """`_begin`; a damaged file is mended, and where the disk is full the reserve is given back first."""
        try:
            self._begin()
        except disk.Damaged as error:
            log.error("journal: %s is damaged: %s", self.path, error)
            self._db.close()
            salvage.salvage(self.path, self.clock.utc())
            self._begin()
        except (apsw.FullError, apsw.IOError, apsw.CantOpenError) as error:
            if not self.room.reserve.release():
                raise
            log.warning("journal: %s cannot be opened: %s; its reserve is given back", self.path, disk.why(error))
            self._begin_anyhow()

    def _begin(self) -> None:
        """Open the file and read what a start needs of it."""
        self._pending = Pending()
        self._taken_out: set[Place] = set()  # damaged records: two readers may have come upon the same one
        with disk.reading():
            self._connect()
            self._take_in()

    def _take_in(self) -> None:
        standing.look(self._db, self.clock.utc())
        self.epoch = numbers.name(self._db)
        self._given = rows.given(self._db)  # known here too: a row that is gone must not begin again
        self.newest = records.newest(self._db)
        self._open = self._replay()
        self.texts = self._texts()

    def _connect(self) -> None:
        self._db = apsw.Connection(str(self.path))
        self._db.set_busy_timeout(5_000)
        try:
            for pragma in PRAGMAS:
                self._db.execute(f"PRAGMA {pragma}")
        except apsw.SQLError as error:
            raise apsw.CorruptError(f"its first page is not what was written: {error}") from None
        migrations.migrate(self._db)
        closed = self._db.readonly("main") and os.access(self.path, os.W_OK)
        if closed or not migrations.sound(self._db):
            raise apsw.CorruptError("its first page is not what was written")
        self.room.budget.hold(self._db)

    def _replay(self) -> tail.Open:
        """The tail that a stop or a power cut left behind, as open blocks again, to be sealed with the next commit. What is damaged
        becomes a gap event."""
        try:
            found, damaged = tail.replay(self._db, self.clock.mono() - round(self.config.block * SECOND))
        except NewerVersion as error:
            hint = "install the release that wrote it again; the data is untouched"
            raise LinesideError(f"the journal {self.path} was written by a newer release: {error}", hint=hint) from None
        self._pending.damaged |= damaged.keys()
        self._torn = damaged
        return found

    def _texts(self) -> Texts:
        return Texts(records.texts(self._db), rows.last_given(self._db, "text"), self._record_text)

    def _record_text(self, text: Text) -> None:
        """A new string goes at once, and in any case ahead of the samples that use it."""
        self._pending.texts.append(text)
        self._urgent.set()

    # Tags and states, before the loop runs

    def tag_ids(self, tags: Sequence[Tag]) -> list[int]:
        """Ids of tags, given on first sight and recorded before first use. Blocks; called at start and on apply. Runs on
        the writer's thread, so that it never falls into the middle of a commit."""
        try:
            return self._writer.submit(self._number, tags).result()
        except apsw.Error as error:
            raise disk.unwritable(f"the journal {self.path} cannot take new tags", error) from None

    def _number(self, tags: Sequence[Tag]) -> list[int]:
        """On the writer thread. A start must not fail for a disk that is full: new tags need little."""
        try:
            return self._sound(rows.tag_ids, tags)
        except apsw.FullError:
            self.room.make_way(self._db, self.readers, 65_536 + 256 * len(tags))
            return self._sound(rows.tag_ids, tags)

    def snapshots(self) -> dict[str, bytes]:
        return self._writer.submit(self._sound, records.snapshots).result()

    # Appending

    def append(
        self,
        batches: Sequence[Batch] = (),
        events: Sequence[Event] = (),
        pictures: Sequence[Picture] = (),
        snapshots: Mapping[str, bytes] | None = None,
    ) -> None:
        """Take these for the next commit; events, pictures and the snapshots with them go at once."""
        pending = self._pending
        self.totals.appended += sum(map(len, batches))
        pending.add(batches, events, pictures, snapshots or {})
        if events or pictures or pending.half_full():
            self._urgent.set()
        self.totals.dropped += pending.give_way(self.clock.utc())

    def rebase(self, first: int, last: int, step: int) -> None:
        """The clock that stamped samples between two times was off by `step` (ns): move those that are in no sealed block yet."""
        self._pending.rebase(first, last, step)
        self._urgent.set()

    def ready(self) -> bool:
        """False while half of the waiting room is taken: pollers then skip grid slots, so that a slow disk catches up. With
        a disk that refuses they go on, for the rules; then the oldest gives way."""
        return bool(self.trouble) or not self._pending.half_full()

    def moved(self, reader: str, stream: str, cursor: Cursor) -> None:
        """Remember how far a reader got; safe with the next commit (a repeat after a crash does no harm). The cursor is read on
        another thread, at any time from now on: who goes on gives a new one."""
        self._pending.cursors[reader, stream] = cursor

    # Committing

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

    def _tell(self) -> None:
        self._sealed.set()
        self._sealed = asyncio.Event()

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

    async def wait_sealed(self) -> None:
        """Wait until there is something new to read."""
        await self._sealed.wait()

    def close(self) -> None:
        """Close the file and give up the lock. Commit first."""
        self._writer.shutdown()
        self._reading.shutdown()
        self._forget_reader()
        self._db.close()
        os.close(self._lock)
