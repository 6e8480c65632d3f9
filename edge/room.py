"""What the journal may take of its disk, what it gives up when that is full, and what it costs the flash."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import apsw

from . import retention, rows
from .clock import SECOND, Clock
from .disk import transaction
from .log import log
from .pending import Pending

DAY = 86_400 * SECOND
BRIEF = 60 * SECOND  # of counting, before which no day is foretold from it
UPKEEP = 10 * SECOND


@dataclass(frozen=True, slots=True)
class Budget:
    """`at_most` bytes: the file's `pages`, its write-ahead `log`, and a `reserve` that is given back when the disk is full.
    The reserve is larger than the log, so that a log that is full can always be written back."""

    at_most: int

    @classmethod
    def on(cls, folder: Path, at_most: int) -> Budget:
        """The same, on a disk that may be smaller than that."""
        return cls(min(at_most, shutil.disk_usage(folder).total))

    @property
    def reserve(self) -> int:
        return min(32_000_000, self.at_most // 10)

    @property
    def log(self) -> int:
        return min(8_000_000, self.at_most // 20)

    @property
    def pages(self) -> int:
        return self.at_most - self.log - self.reserve

    def hold(self, db: apsw.Connection) -> None:
        """Keep SQLite to it. A file that is larger already stays as it is, and shrinks no further."""
        (page,) = next(db.execute("PRAGMA page_size"))
        for pragma in (
            f"wal_autocheckpoint={max(8, self.log // page // 2)}",
            f"journal_size_limit={self.log}",
            f"max_page_count={max(64, self.pages // page)}",
        ):
            db.execute(f"PRAGMA {pragma}")


class Reserve:
    """A file that holds a part of the disk: given back when the disk is full, so that what has to be written still can be."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def held(self) -> int:
        """Bytes."""
        with contextlib.suppress(OSError):
            return self.path.stat().st_size
        return 0

    def release(self) -> bool:
        """Whether there was one."""
        with contextlib.suppress(OSError):
            self.path.unlink()
            return True
        return False

    def take(self, size: int) -> bool:
        """Hold `size` bytes, where as much again stays free; false where it does not."""
        if (held := self.held()) >= size:
            return True
        try:
            if shutil.disk_usage(self.path.parent).free + held < 2 * size:
                return False
            line = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(line, 0, size)
            finally:
                os.close(line)
        except OSError as error:
            log.warning("journal: no reserve can be held: %s", error.strerror)
            self.release()
            return False
        return True


class Wear:
    """Bytes that the writer's thread puts on the disk, as the kernel counts them: pages of file and log, each time anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first: tuple[int, int] | None = None
        self._last = (0, 0)

    def note(self) -> None:
        """On the writer's thread, now and then."""
        try:
            lines = Path("/proc/thread-self/io").read_text("ascii").split()
            self._last = self._clock.mono(), int(lines[lines.index("write_bytes:") + 1])
        except (OSError, ValueError):
            return
        self._first = self._first or self._last

    def per_day(self) -> int | None:
        """None in the first minute, and where nothing is counted (a disk in memory, a kernel that does not say)."""
        if self._first is None or self._last[0] - self._first[0] < BRIEF or self._last[1] == self._first[1]:
            return None
        return round((self._last[1] - self._first[1]) * DAY / (self._last[0] - self._first[0]))


class Room:
    """The journal's place on its disk. All of it is used on the writer's thread. `tight` while the disk is full: what is new
    then takes the place of what counts least."""

    def __init__(self, path: Path, clock: Clock, at_most: int) -> None:
        self._path, self._clock = path, clock
        self.budget = Budget.on(path.parent, at_most)
        self.reserve, self.wear = Reserve(path.with_suffix(".reserve")), Wear(clock)
        self.tight = self._said = False
        self._next = clock.mono() + UPKEEP

    def tighten(self, db: apsw.Connection, need: int) -> None:
        """For a disk that was found to be full, by `need` bytes. Where it is the file that is as large as it may be, nothing but
        `clear` is needed."""
        pages, size = (next(db.execute(f"PRAGMA {name}"))[0] for name in ("page_count", "page_size"))
        most = 8 * need  # of noise, of which nothing is saved by its encoding
        its_own = pages * size + most > self.budget.pages and self._free() > most + self.budget.log
        if self.tight or its_own or (pages + 1) * size > self.budget.pages:
            return
        self.tight = True
        self.reserve.release()
        for old in self._path.parent.glob(f"{self._path.name}.damaged*"):  # what was good in it has been saved
            old.unlink(missing_ok=True)
        db.execute(f"PRAGMA max_page_count={pages}")  # what was given back is for the log
        words = (
            "the disk is full (free some space); events go on, samples take the place of the oldest or wait in memory"
        )
        if not self._said:
            log.error("journal: cannot write %s: %s", self._path, words)
        self._said = True

    def _free(self) -> int:
        """Bytes of the disk; 0 where it does not say."""
        with contextlib.suppress(OSError):
            return shutil.disk_usage(self._path.parent).free
        return 0

    def commit(
        self,
        db: apsw.Connection,
        pending: Pending,
        sealing: int,
        readers: Collection[str],
        at_most: int,
        commit: Callable[[Pending], int],
    ) -> int:
        """What `commit` returns. On a full disk what is new takes the place of what every reader has; where that is not enough,
        events go alone and samples wait in memory, and take the place of the oldest only when that is half full.
        `sealing`: samples whose block may close with this. Raises apsw.FullError where samples have to wait."""
        need = pending.weight() + 3 * sealing
        if self.tight:
            self.upkeep(db, at_most)
        try:
            try:
                if self.tight:
                    self._clear(db, readers, need, pending)
                done = commit(pending)
            except apsw.FullError:
                self.tighten(db, need)
                self._clear(db, readers, need, pending)
                done = commit(pending)
        except apsw.FullError:
            self._commit_urgent(db, pending, readers, commit)
            raise
        self.upkeep(db, at_most)
        if self._said and not self.tight:
            self._said = False
            log.warning("journal: the disk has room, writing again")
        return done

    def _clear(self, db: apsw.Connection, readers: Collection[str], need: int, pending: Pending) -> None:
        with contextlib.suppress(apsw.FullError):
            self.clear(db, readers, need, unsent=pending.half_full() or not self.tight)

    def _commit_urgent(
        self, db: apsw.Connection, pending: Pending, readers: Collection[str], commit: Callable[[Pending], int]
    ) -> None:
        """Events, states and cursors need little: they find room even where samples have to go for them."""
        urgent = pending.split()
        if not urgent:
            return
        try:
            try:
                commit(urgent)
            except apsw.FullError:
                self.clear(db, readers, urgent.weight(), unsent=True)
                commit(urgent)
        except BaseException:
            pending.follow(urgent)
            raise

    def clear(self, db: apsw.Connection, readers: Collection[str], need: int, *, unsent: bool) -> None:
        """Free `need` bytes inside the file, as far as there is something to give up: what is not delivered only if `unsent`."""
        utc = self._clock.utc()
        with transaction(db):
            rows.add_events(db, retention.clear(db, readers, utc, need, unsent=unsent), utc)

    def make_way(self, db: apsw.Connection, readers: Collection[str], need: int) -> None:
        """For what has to be written at once: `need` bytes, on a disk that was found to be full."""
        self.tighten(db, need)
        self.clear(db, readers, need, unsent=True)

    def upkeep(self, db: apsw.Connection, at_most: int) -> None:
        """Beside a commit, now and then (on a full disk always): count what was written, hold a part of the disk."""
        now = self._clock.mono()
        if now < self._next and not self.tight:
            return
        self._next = now + UPKEEP
        try:
            self._look(db, at_most)
        except (OSError, apsw.Error) as error:  # what was committed stays committed
            log.warning("journal: its disk cannot be looked at: %s", error)

    def _look(self, db: apsw.Connection, at_most: int) -> None:
        self.wear.note()
        allowed, before = Budget.on(self._path.parent, at_most), self.budget
        if self.reserve.take(allowed.reserve) and self.tight:
            self.tight, before = False, Budget(0)
        elif not self.tight:
            self.reserve.take(allowed.log)  # better than none
        if allowed != before and not self.tight:
            self.budget = allowed
            allowed.hold(db)
