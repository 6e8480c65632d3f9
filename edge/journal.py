"""Everything that survives: one SQLite file, one writer thread, a durable tail and sealed blocks, cursors.

Opened only through apsw, `synchronous=FULL`. Samples go to the tail at each commit window and are encoded once into a
sealed block per source when it closes; events, pictures, snapshots and commands are committed at once. Only sealed
things have sequence numbers. Streams are called `tag`, `text`, `event`, `picture` and `samples:<source>`.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import apsw
from pydantic import BaseModel, Field

from . import heap, migrations, records, retention, rows
from .batch import Batch, concatenate
from .clock import SECOND, Clock
from .codec import CodecFault, NewerVersion, decode
from .config.types import Period, Size
from .errors import LinesideError
from .event import Event, Picture
from .log import log
from .pending import Pending
from .reader import Cursor, Record
from .state import owned
from .tags import Tag
from .texts import Row as Text
from .texts import Texts

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=1000",
    "journal_size_limit=8000000",
    "cache_size=-500",  # kB: what is appended is seldom read again
)
TRIM_EVERY = 10 * SECOND
T = TypeVar("T")


class JournalConfig(BaseModel):
    """How much is kept, and how soon it is safe."""

    model_config = {"extra": "forbid", "frozen": True}
    keep: Period = Field(72 * 3600.0, description="history kept on the device after it was delivered")
    at_most: Size = Field(4 * 10**9, description="size of the file; beyond it the oldest goes, delivered first")
    durable_within: Period = Field(2.0, description="longest time a sample waits for the disk")
    block: Period = Field(60.0, description="time a sealed block of samples spans")


@dataclass(slots=True)
class OpenBlock:
    """A source's samples since its last sealed block; they stand in the tail already."""

    batches: list[Batch] = field(default_factory=list)
    n: int = 0
    since: int = 0  # monotonic ns


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


class Journal:
    """`append` is for the loop's thread and never waits; `run()` commits; `read()` and friends are coroutines."""

    def __init__(self, path: Path, clock: Clock, config: JournalConfig | None = None) -> None:
        self.path, self.clock, self.config = Path(path), clock, config or JournalConfig()
        self._lock = owned(self.path)
        self._pending = Pending()
        try:
            self._db = apsw.Connection(str(self.path))
            self._db.set_busy_timeout(5_000)
            for pragma in PRAGMAS:
                self._db.execute(f"PRAGMA {pragma}")
            migrations.migrate(self._db)
            self.epoch = self._epoch()
            self._open = self._replay()
            self.texts = self._texts()
        except (apsw.NotADBError, apsw.CorruptError) as error:
            os.close(self._lock)
            hint = "keep a copy, then restore a backup or move it away: the daemon begins a new one"
            raise LinesideError(f"the journal {self.path} is damaged: {error}", hint=hint) from None
        except apsw.Error as error:
            os.close(self._lock)
            raise _unwritable(f"the journal {self.path} cannot be opened", error) from None
        except BaseException:
            os.close(self._lock)
            raise
        self._writer = ThreadPoolExecutor(1, "journal")
        self._reading = ThreadPoolExecutor(1, "journal-read")
        self._read_db: apsw.Connection | None = None
        self._urgent = asyncio.Event()
        self._sealed = asyncio.Event()
        self._committing = asyncio.Lock()
        self._next_retention = self._next_trim = 0
        self.totals = Totals()
        self.trouble = ""
        self.readers: set[str] = set()

    def _epoch(self) -> str:
        """The random name of this database: a wiped disk starts a new series instead of colliding with the old one."""
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?)", (uuid.uuid4().hex[:16],))
        return str(next(self._db.execute("SELECT value FROM meta WHERE key = 'epoch'"))[0])

    def _replay(self) -> dict[str, OpenBlock]:
        """The tail that a stop or a power cut left behind, as open blocks again, to be sealed with the next commit. What is damaged
        becomes a gap event."""
        found: dict[str, OpenBlock] = {}
        long_ago = self.clock.mono() - round(self.config.block * SECOND)
        for row, stream, n, crc, body in self._db.execute("SELECT id, stream, n, crc, body FROM tail ORDER BY id"):
            try:
                if zlib.crc32(body) != crc:
                    raise CodecFault("wrong checksum")
                batch = decode(stream.removeprefix("samples:"), body)
            except NewerVersion as error:
                hint = "install the release that wrote it again; the data is untouched"
                raise LinesideError(
                    f"the journal {self.path} was written by a newer release: {error}", hint=hint
                ) from None
            except CodecFault as error:
                log.error("journal: a tail record of %s is damaged, %d samples are gone: %s", stream, n, error)
                self._pending.damaged.add(("tail", row))
                continue
            block = found.setdefault(stream, OpenBlock(since=long_ago))
            block.batches.append(batch)
            block.n += n
        return found

    def _texts(self) -> Texts:
        (last,) = next(self._db.execute("SELECT coalesce(max(seq), 0) FROM stream WHERE name = 'text'"))
        return Texts(records.texts(self._db), last, self._record_text)

    def _record_text(self, text: Text) -> None:
        """A new string goes at once, and in any case ahead of the samples that use it."""
        self._pending.texts.append(text)
        self._urgent.set()

    # Tags and states, before the loop runs

    def tag_ids(self, tags: Sequence[Tag]) -> list[int]:
        """Ids of tags, given on first sight and recorded before first use. Blocks; called at start and on apply. Runs on
        the writer's thread, so that it never falls into the middle of a commit."""
        try:
            return self._writer.submit(rows.tag_ids, self._db, tags).result()
        except apsw.Error as error:
            raise _unwritable(f"the journal {self.path} cannot take new tags", error) from None

    def snapshots(self) -> dict[str, bytes]:
        return dict(self._db.execute("SELECT name, body FROM snapshot"))

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

    def ready(self) -> bool:
        """False while half of the waiting room is taken: pollers then skip grid slots, so that a slow disk catches up. With
        a disk that refuses they go on, for the rules; then the oldest gives way."""
        return bool(self.trouble) or not self._pending.half_full()

    def moved(self, reader: str, stream: str, cursor: Cursor) -> None:
        """Remember how far a reader got; safe with the next commit (a repeat after a crash does no harm)."""
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
                sealed = await loop.run_in_executor(self._writer, self._commit, pending, seal)
            except apsw.Error as error:
                self._take_back(pending)
                if not self.trouble:
                    fault = _unwritable(f"journal: cannot write {self.path}", error)
                    log.error("%s; samples are kept in memory for a while and rules go on", fault)
                self.trouble = _why(error)
                return False
            except BaseException as error:
                self._take_back(pending)
                if not isinstance(error, Exception):
                    raise
                if not self.trouble:
                    log.exception("journal: what came cannot be written; nothing is durable until it can")
                self.trouble = f"{type(error).__name__}: {error}"
                return False
            if self.trouble:
                log.warning("journal: writing again")
                self.trouble = ""
            if pending.texts:
                self.texts.durable = pending.texts[-1][0]
            if sealed or pending.texts or pending.events or pending.pictures or pending.damaged:
                self._sealed.set()
                self._sealed = asyncio.Event()
            return True

    def _take_back(self, pending: Pending) -> None:
        pending.follow(self._pending)
        self._pending = pending
        self.totals.dropped += pending.give_way(self.clock.utc())

    def _commit(self, pending: Pending, seal: bool) -> int:
        """On the writer thread: one transaction. What is kept in memory changes only after it succeeded."""
        now, utc, before = self.clock.mono(), self.clock.utc(), self.totals
        fresh: dict[str, list[Batch]] = {}
        for batch in pending.batches:
            fresh.setdefault(f"samples:{batch.source}", []).append(batch)
        after: dict[str, OpenBlock] = {}
        sealed = tail_bytes = tail_samples = sealed_bytes = 0
        self._db.execute("BEGIN IMMEDIATE")
        try:
            damaged = retention.quarantine(self._db, pending.damaged, utc)  # first: to seal a stream empties its tail
            rows.add_texts(self._db, pending.texts)
            for stream in {*fresh, *self._open}:
                block = self._open.get(stream, OpenBlock(since=now))
                added = fresh.get(stream, [])
                n = block.n + sum(map(len, added))
                old = stream not in self._open or now - block.since >= self.config.block * SECOND
                if n and (seal or old or n >= rows.SEAL_SAMPLES):  # what comes first after a start is not kept waiting
                    sealed += 1
                    sealed_bytes += rows.seal(self._db, stream, [*block.batches, *added], utc)
                    after[stream] = OpenBlock(since=now)
                elif added:
                    joined = concatenate(added)
                    tail_bytes += rows.tail(self._db, stream, joined)
                    tail_samples += len(joined)
                    after[stream] = OpenBlock([*block.batches, joined], n, block.since if block.n else now)
            rows.add_events(self._db, [*pending.events, *damaged], utc)
            rows.add_pictures(self._db, pending.pictures, utc)
            self._db.executemany("INSERT OR REPLACE INTO snapshot VALUES (?, ?)", pending.snapshots.items())
            self._db.executemany(
                "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?)",
                [(*key, cursor.watermark, json.dumps(cursor.ranges)) for key, cursor in pending.cursors.items()],
            )
            if now >= self._next_retention:
                self._next_retention = now + 10 * SECOND
                keep = round(self.config.keep * SECOND)
                evicted = retention.evict(self._db, self.readers, utc, keep, self.config.at_most)
                rows.add_events(self._db, evicted, utc)
            self._db.execute("COMMIT")
        except BaseException:
            if not self._db.get_autocommit():
                self._db.execute("ROLLBACK")
            raise
        self._open.update(after)
        before.durable += sum(map(len, pending.batches))
        before.sealed += sealed
        before.sealed_bytes += sealed_bytes
        before.tail_bytes += tail_bytes
        before.tail_samples += tail_samples
        before.commits += 1
        if now >= self._next_trim and (sealed or pending.nbytes > 1_000_000):
            self._next_trim = now + TRIM_EVERY
            heap.trim()  # columns were joined and encoded, many times the size of what is kept
        return sealed

    async def on_writer(self, work: Any, *arguments: Any) -> Any:
        """Run `work(connection, ...)` on the writer thread, outside any transaction of ours."""
        async with self._committing:
            return await asyncio.get_running_loop().run_in_executor(self._writer, work, self._db, *arguments)

    # Reading

    async def _ask(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._with_reader, work, *arguments)

    def _with_reader(self, work: Any, *arguments: Any) -> Any:
        if self._read_db is None:
            self._read_db = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
            self._read_db.set_busy_timeout(5_000)
            self._read_db.execute("PRAGMA cache_size=-500")
        return work(self._read_db, *arguments)

    async def read(self, stream: str, after: int = 0, limit: int = 64, most_bytes: int = 1_000_000) -> list[Record]:
        """Up to `limit` records of a stream above sequence number `after`, in order, about `most_bytes` together. A damaged
        one is left out, and a gap event takes its place."""
        found, damaged = await self._ask(records.read_stream, stream, after, limit, most_bytes)
        if damaged:
            self._pending.damaged.update(damaged)
            self._urgent.set()
        return found

    async def streams(self) -> dict[str, int]:
        """Sample streams with their last sequence number."""
        return await self._ask(lambda db: dict(db.execute("SELECT name, seq FROM stream WHERE name LIKE 'samples:%'")))

    async def cursors(self, reader: str) -> dict[str, Cursor]:
        """How far a reader got, by stream."""
        rows = await self._ask(
            lambda db: list(db.execute("SELECT stream, watermark, ranges FROM cursor WHERE reader = ?", (reader,)))
        )
        return {s: Cursor(w, [(a, b) for a, b in json.loads(r)]) for s, w, r in rows}

    async def backlog(self, reader: str) -> dict[str, int]:
        """{"records", "samples"} that are durable here and this reader has not delivered."""
        ahead = {stream: cursor.watermark for (r, stream), cursor in self._pending.cursors.items() if r == reader}
        return await self._ask(records.backlog, reader, ahead)

    async def picture(self, digest: str) -> tuple[str, bytes] | None:
        """(media type, body) of a kept picture."""
        find = "SELECT media, body FROM picture WHERE digest = ?"
        return await self._ask(lambda db: next(db.execute(find, (digest,)), None))

    async def ask(self, work: Any, *arguments: Any) -> Any:
        """Run a read-only `work(connection, ...)` on the reading thread; keep it short, it holds back the checkpoint."""
        return await self._ask(work, *arguments)

    async def wait_sealed(self) -> None:
        """Wait until there is something new to read."""
        await self._sealed.wait()

    def close(self) -> None:
        """Close the file and give up the lock. Commit first."""
        self._writer.shutdown()
        self._reading.shutdown()
        if self._read_db is not None:
            self._read_db.close()
        self._db.close()
        os.close(self._lock)


def _unwritable(what: str, error: apsw.Error) -> LinesideError:
    hint = "free some space" if isinstance(error, apsw.FullError) else "look at the disk and the folder's owner"
    return LinesideError(f"{what}: {_why(error)}", hint=hint)


def _why(error: apsw.Error) -> str:
    if isinstance(error, apsw.FullError):
        return "the disk is full"
    if isinstance(error, apsw.IOError):
        return "the disk reports an error"
    if isinstance(error, apsw.ReadOnlyError):
        return "the disk is read-only"
    return str(error)
