"""Rows of a damaged file: SQLite reads each table from wherever its pages can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw

from .log import log

FAR = 1 << 20  # rows that are stepped over at once, at most
UNREADABLE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.FormatError)
Row = tuple[Any, ...]


def named(db: apsw.Connection, table: str, columns: str) -> Iterator[Row]:
    """Rows of a small table from both ends, as far as they can be read."""
    for order in ("", "DESC"):
        try:
            yield from db.execute(f"SELECT {columns} FROM {table} ORDER BY 1 {order}")
            return
        except UNREADABLE as error:
            log.error("journal: the table %s cannot be read whole: %s", table, error)


def numbered(db: apsw.Connection, table: str, columns: str) -> Iterator[Row]:
    """Rows by their number. Where a page cannot be read it goes on behind it, at the first number that can be."""
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
