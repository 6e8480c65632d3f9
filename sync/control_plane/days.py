"""Blocks by day on PostgreSQL: what has aged leaves as one table, and a chart reads the tables of its days.

A day (UTC) of the last sample of a block has a partition of its own, made when the first block of it comes. What is far from today
(a clock that was never set) shares `block_other`.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import OperationalError

from . import forward_tables, tables
from .database import on_postgresql

DAY, HOUR = 86_400 * 10**9, 3600 * 10**9  # ns
BACK, AHEAD = 400, 1  # days before and after today that get a partition
WAIT, AGAIN = 0.5, 30.0  # seconds for which others are held up at most, and before that is tried again
LONGEST = 48  # hours of a block; what spans more had a clock that jumped, and counts at its end only
T = TypeVar("T")
LOCK = 0x64617973  # PostgreSQL's advisory lock of who makes one


def prepare(connection: Connection, times: Iterable[int], now: int) -> None:
    """Make the partitions that are missing for blocks of these times (ns UTC). Whoever reads long holds that up: then they share
    `block_other`, from where they move once it can be made. On SQLite there is nothing to do."""
    if not on_postgresql(connection):
        return
    known: set[int] = connection.info.setdefault("days", set())
    today = now // DAY
    for day in sorted({t // DAY for t in times} - known):
        if today - BACK <= day <= today + AHEAD:
            if _is_there(connection, day):
                known.add(day)  # one made just now might be rolled back
            elif time.monotonic() >= connection.info.get("days_wait", 0.0) and not _briefly(
                connection, partial(_make, connection, day)
            ):
                connection.info["days_wait"] = time.monotonic() + AGAIN


def ahead(connection: Connection) -> None:
    """Make those of today and the days to come, before a block needs them."""
    now = time.time_ns()
    prepare(connection, [now + k * DAY for k in range(AHEAD + 1)], now)


def drop(connection: Connection, before: int) -> int | None:
    """Drop the days that ended before `before` (ns UTC) and of which no hour is stale or waits to be written as a file; returns how
    many. None while somebody reads long: they wait for the next time."""
    listed = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'block'::regclass"
    found = {name: _day(name) for name in connection.exec_driver_sql(listed).scalars() if name != "block_other"}
    old = {name: day for name, day in found.items() if (day + 1) * DAY <= before}
    return _briefly(connection, partial(_drop, connection, old)) if old else 0


def _drop(connection: Connection, old: dict[str, int]) -> int:
    connection.exec_driver_sql("LOCK TABLE ONLY block IN ACCESS EXCLUSIVE MODE")  # no block comes after this look
    stale = {hour * HOUR // DAY for hour in connection.execute(select(tables.stale.c.hour).distinct()).scalars()}
    unfiled = connection.execute(select(forward_tables.unfiled.c.hour).distinct()).scalars().all()
    stale |= {day for hour in unfiled for day in range(hour * HOUR // DAY, (hour + LONGEST) * HOUR // DAY + 1)}
    gone = [name for name, day in old.items() if day not in stale]
    for name in gone:
        connection.exec_driver_sql(f"DROP TABLE {name}")
    return len(gone)


def _briefly(connection: Connection, work: Callable[[], T]) -> T | None:
    """What `work` returns; None, and nothing done, where it would have to wait for another one longer than `WAIT`: behind it all
    others wait too."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT * 1000:.0f}ms'")
            done = work()
            connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")
            return done
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != "55P03":  # lock_not_available
            raise
        return None


def _name(day: int) -> str:
    return f"block_{datetime.date(1970, 1, 1) + datetime.timedelta(days=day):%Y%m%d}"


def _day(name: str) -> int:
    return (datetime.datetime.strptime(name, "block_%Y%m%d").date() - datetime.date(1970, 1, 1)).days


def _is_there(connection: Connection, day: int) -> bool:
    return connection.exec_driver_sql(f"SELECT to_regclass('{_name(day)}')").scalar() is not None


def _make(connection: Connection, day: int) -> bool:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    if _is_there(connection, day):  # another plane was quicker
        return True
    name, first, last = _name(day), day * DAY, (day + 1) * DAY
    strays = f"DELETE FROM block_other WHERE t1 >= {first} AND t1 < {last} RETURNING *"
    for statement in (
        "LOCK TABLE block_other IN ACCESS EXCLUSIVE MODE",  # as the last step needs it: before there is anything to undo
        f"CREATE TABLE {name} (LIKE block INCLUDING ALL)",
        f"WITH moved AS ({strays}) INSERT INTO {name} SELECT * FROM moved",
        f"ALTER TABLE block ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({last})",
    ):
        connection.exec_driver_sql(statement)
    return True
