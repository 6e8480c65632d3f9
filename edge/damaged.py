"""Rows of a damaged file: SQLite reads each table from wherever its pages can be read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from . import migrations
from .log import log
from .scattered import PAGE

FAR = 1 << 20  # rows that are stepped over at once, at most
UNREADABLE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.FormatError, UnicodeDecodeError)
Row = tuple[Any, ...]


class _Grafted(apsw.VFSFile):
    """A database whose first page is read from elsewhere."""

    def __init__(self, name: Any, flags: list[int], first: bytes) -> None:
        super().__init__("", name, flags)
        self._first = first if flags[0] & apsw.SQLITE_OPEN_MAIN_DB else b""

    def xRead(self, amount: int, offset: int) -> bytes:
        ours = self._first[offset : offset + amount]
        return ours + super().xRead(amount - len(ours), offset + len(ours)) if len(ours) < amount else ours


class _Graft(apsw.VFS):
    def __init__(self, name: str, first: bytes) -> None:
        super().__init__(name, "")
        self._first = first

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _Grafted(name, flags, self._first)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[apsw.Connection]:
    """To read from. Where the first page, on which stands where each table begins, is not what was written, that of a new journal
    is read in its place: they begin alike."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    graft = None
    try:
        if not migrations.sound(db):
            log.error("journal: the first page of %s is not what was written", path)
            db.close()
            graft = _Graft("lineside-graft", _first_page())
            db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs="lineside-graft")
        yield db
    finally:
        with contextlib.suppress(apsw.Error):  # nothing of it is needed any more
            db.close()
        if graft is not None:
            graft.unregister()


def _first_page() -> bytes:
    with contextlib.closing(migrations.new(migrations.STEPS)) as db:
        page = bytearray(db.serialize("main")[:PAGE])
    page[18:20] = b"\2\2"  # it has a write-ahead log
    page[24:28], page[92:96] = b"\0\0\0\1", bytes(4)  # how many pages there are is told by the size of the file
    page[32:40] = bytes(8)  # nothing is said to be free
    return bytes(page)


def named(db: apsw.Connection, table: str, columns: str) -> Iterator[Row]:
    """Rows of a small table from both ends, as far as they can be read."""
    for order in ("", "DESC"):
        try:
            yield from db.execute(f"SELECT {columns} FROM {table} ORDER BY 1 {order}")
            return
        except UNREADABLE as error:
            log.error("journal: the table %s cannot be read whole: %s", table, error)


def numbered(db: apsw.Connection, table: str, columns: str, torn: set[str]) -> Iterator[Row]:
    """Rows by their number. Where a page cannot be read it goes on behind it, at the first number that can be, and the table is
    `torn`."""
    sql = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid"
    after, step, failed = 0, 1, None
    while after < 2**62:
        try:
            if failed is not None:
                after, failed = _first(db, sql, failed, after), None
            for number, *row in db.execute(sql, (after,)):
                after, step = number, 1
                yield tuple(row)
            return
        except UNREADABLE:
            torn.add(table)
            failed = after
            after, step = after + step, min(2 * step, FAR)
            if step == FAR and after > _most(db, table):
                return


def _first(db: apsw.Connection, sql: str, bad: int, good: int) -> int:
    """The smallest number between both behind which a row can be read; raises apsw.Error if not even behind `good`."""
    next(iter(db.execute(sql, (good,))), None)
    while good - bad > 1:
        middle = (bad + good) // 2
        try:
            next(iter(db.execute(sql, (middle,))), None)
            good = middle
        except UNREADABLE:
            bad = middle
    return good


def _most(db: apsw.Connection, table: str) -> int:
    try:
        return int(next(db.execute(f"SELECT max(rowid) FROM {table}"))[0] or 0)
    except UNREADABLE:
        return 1 << 26
