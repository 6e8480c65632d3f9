"""Everything that survives: one SQLite file, one writer thread, a durable tail and sealed blocks, cursors.

Opened only through apsw, `synchronous=FULL`. Samples go to the tail at each commit window and are encoded once into a
sealed block per source when it closes; events, pictures, snapshots and commands are committed at once. Only sealed
things have sequence numbers. Streams are called `tag`, `text`, `event`, `picture` and `samples:<source>`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw

from . import disk, migrations, numbers, records, rows, salvage, standing, tail
from .batch import Batch
from .clock import SECOND, Clock
from .codec import NewerVersion
from .committing import Committing
from .config.journal import JournalConfig
from .errors import LinesideError
from .event import Event, Picture
from .log import log
from .pending import Pending
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


class Journal(Committing):
    """`append` is for the loop's thread and never waits; `run()` commits; `read()` and friends are coroutines. `began`: the last
    numbers when it was opened, for a reader whose far side may know more; None once that was compared."""

    began: dict[str, int] | None

    def __init__(self, path: Path, clock: Clock, config: JournalConfig | None = None) -> None:
        super().__init__(Path(path), clock, config or JournalConfig())
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
        self.began = records.last_numbers(self._db)
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
        pending.add(batches, events, pictures, snapshots or {}, [self.clock.utc()] * len(pictures))
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

    def close(self) -> None:
        """Close the file and give up the lock. Commit first."""
        self._writer.shutdown()
        self._reading.shutdown()
        self._forget_reader()
        self._db.close()
        os.close(self._lock)
