"""Blocks by day on PostgreSQL: what has aged leaves as one table, and a chart reads the tables of its days.

A day (UTC) of the last sample of a block has a partition of its own, made when the first block of it comes. What is far from today
(a clock that was never set) shares `block_other`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from sqlalchemy import Connection, select

from . import tables
from .database import on_postgresql

DAY, HOUR = 86_400 * 10**9, 3600 * 10**9  # ns
BACK, AHEAD = 400, 1  # days before and after today that get a partition
LOCK = 0x64617973  # PostgreSQL's advisory lock of who makes one


def prepare(connection: Connection, times: Iterable[int], now: int) -> None:
    """Make the partitions that are missing for blocks of these times (ns UTC). On SQLite there is nothing to do."""
    if not on_postgresql(connection):
        return
    known: set[int] = connection.info.setdefault("days", set())
    today = now // DAY
    for day in sorted({t // DAY for t in times} - known):
        if today - BACK <= day <= today + AHEAD:
            if _is_there(connection, day):
                known.add(day)  # one made just now might be rolled back
            else:
                _make(connection, day)


def drop(connection: Connection, before: int) -> int:
    """Drop the days that ended before `before` (ns UTC) and of which no hour is stale; returns how many."""
    stale = {hour * HOUR // DAY for hour in connection.execute(select(tables.stale.c.hour).distinct()).scalars()}
    listed = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'block'::regclass"
    found = {name: _day(name) for name in connection.exec_driver_sql(listed).scalars() if name != "block_other"}
    gone = [name for name, day in found.items() if (day + 1) * DAY <= before and day not in stale]
    for name in gone:
        connection.exec_driver_sql(f"DROP TABLE {name}")
    return len(gone)


def _name(day: int) -> str:
    return f"block_{datetime.date(1970, 1, 1) + datetime.timedelta(days=day):%Y%m%d}"


def _day(name: str) -> int:
    return (datetime.datetime.strptime(name, "block_%Y%m%d").date() - datetime.date(1970, 1, 1)).days


def _is_there(connection: Connection, day: int) -> bool:
    return connection.exec_driver_sql(f"SELECT to_regclass('{_name(day)}')").scalar() is not None


def _make(connection: Connection, day: int) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    if _is_there(connection, day):  # another plane was quicker
        return
    name, first, last = _name(day), day * DAY, (day + 1) * DAY
    strays = f"DELETE FROM block_other WHERE t1 >= {first} AND t1 < {last} RETURNING *"
    for statement in (
        f"CREATE TABLE {name} (LIKE block INCLUDING ALL)",
        f"WITH moved AS ({strays}) INSERT INTO {name} SELECT * FROM moved",
        f"ALTER TABLE block ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({last})",
    ):
        connection.exec_driver_sql(statement)
