"""Which hours of which device wait to be written as a file for which target, and which blocks the files there hold.

The work that settles an hour (see rollup.py) leaves a mark for each target in its own transaction; it goes when the file is stored.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select, update

from edge import SECOND

from . import forward_tables, tables
from .database import among, insert_new, upsert, word
from .days import HOUR, LONGEST

PREFIX = "parquet "  # of the names of targets that take hours; the others take events

Held = dict[str, list[list[int]]]  # numbers of blocks [first, last] by "EPOCH STREAM", in order, none of which touch


class Mark(NamedTuple):
    """`marked` is another one whenever there is something new: since when it waits, or until when it is put off (ns UTC)."""

    device: str
    hour: int
    marked: int


def begin(connection: Connection, name: str) -> None:
    """Note a target. A new one gets what is settled from now on."""
    insert_new(connection, forward_tables.target, [{"name": name, "delivered": 0, "trouble": "", "since": 0.0}])
    trouble(connection, name, "")  # of an earlier start


def mark(connection: Connection, device: str, hour: int) -> None:
    """An hour of a device has something new for all targets."""
    t, now = forward_tables.target, time.time_ns()
    names = connection.scalars(select(t.c.name).where(t.c.name.startswith(PREFIX))).all()
    upsert(connection, forward_tables.unfiled, *(_row(name, Mark(device, hour, now)) for name in names))


def _row(name: str, mark: Mark) -> dict[str, object]:
    return {"target": name, **mark._asdict()}


def waiting(connection: Connection, name: str, now: int, longest: float, most: int) -> list[Mark]:
    """Hours that wait and are not put off (for `longest` seconds at most), those that have waited longest first; none that has
    samples which are not settled."""
    u, s = forward_tables.unfiled, tables.stale
    settled = ~exists().where(s.c.device == u.c.device, s.c.hour == u.c.hour)
    due = (u.c.marked <= now) | (u.c.marked > now + int(longest * SECOND))  # the second: before the clock was set back
    wanted = select(u.c.device, u.c.hour, u.c.marked).where(u.c.target == name, due, settled)
    return [Mark(*row) for row in connection.execute(wanted.order_by(u.c.marked).limit(most))]


def put_off(connection: Connection, name: str, mark: Mark, seconds: float) -> None:
    """Others first."""
    until = time.time_ns() + int(seconds * SECOND)
    connection.execute(update(forward_tables.unfiled).where(*_mine(name, mark)).values(marked=until))


def devices(connection: Connection, name: str) -> list[str]:
    """Of which devices hours wait."""
    u = forward_tables.unfiled
    return list(connection.scalars(select(u.c.device).where(u.c.target == name).distinct()))


def passed(connection: Connection, name: str, unwanted: Collection[str]) -> None:
    """A target wants nothing of these devices: their blocks are not kept for it."""
    u = forward_tables.unfiled
    connection.execute(delete(u).where(u.c.target == name, among(connection, u.c.device, unwanted)))


def parts(connection: Connection, name: str, device: str, hour: int) -> list[Held]:
    """What each of the files of an hour holds."""
    t = forward_tables.filed
    where = (t.c.target == name, t.c.device == device, t.c.hour == hour)
    return json.loads(connection.scalar(select(t.c.parts).where(*where)) or "[]")


def filed(connection: Connection, name: str, mark: Mark, held: list[Held] | None) -> None:
    """The files of an hour hold that now (None: as before). Where another process took the mark meanwhile, and maybe stored an
    older file after ours or we after it, the hour waits anew."""
    t, u = forward_tables.target, forward_tables.unfiled
    there = connection.execute(select(t.c.name).where(t.c.name == name)).first()
    if there and held is not None:
        row = {"target": name, "device": mark.device, "hour": mark.hour, "parts": json.dumps(held)}
        upsert(connection, forward_tables.filed, row)
        connection.execute(update(t).where(t.c.name == name).values(delivered=t.c.delivered + 1))
    if not connection.execute(delete(u).where(*_mine(name, mark))).rowcount and there:
        insert_new(connection, u, [_row(name, mark._replace(marked=time.time_ns()))])


def _mine(name: str, mark: Mark) -> list[ColumnElement[bool]]:
    u = forward_tables.unfiled
    return [u.c.target == name, *(u.c[column] == value for column, value in mark._asdict().items())]


def trouble(connection: Connection, name: str, why: str) -> None:
    """Why nothing goes there ("": it goes), for people."""
    t = forward_tables.target
    values = {"trouble": word(why, 500), "since": time.time() if why else 0.0}
    connection.execute(update(t).where(t.c.name == name).values(**values))


def end(connection: Connection, name: str) -> None:
    for t in (forward_tables.unfiled, forward_tables.filed):
        connection.execute(delete(t).where(t.c.target == name))


def waits(connection: Connection, name: str) -> int:
    """How many files a target waits for."""
    return connection.scalar(select(func.count()).where(forward_tables.unfiled.c.target == name)) or 0


def wanted() -> ColumnElement[bool]:
    """That a block may be needed for a file that is not stored yet: it is not forgotten, however old."""
    b, u = tables.block, forward_tables.unfiled
    last = b.c.t1 // HOUR
    return exists().where(u.c.device == b.c.device, u.c.hour <= last, u.c.hour >= last - LONGEST)


# Which blocks are where


def place(epoch: str, stream: str) -> str:
    return f"{epoch} {stream}"


def edges(connection: Connection, device: str, epoch: str, stream: str, hour: int) -> set[int]:
    """The numbers of a stream before which what a file of an hour holds begins or ends."""
    t, here = forward_tables.filed, place(epoch, stream)
    files = connection.scalars(select(t.c.parts).where(t.c.device == device, t.c.hour == hour)).all()
    spans = (span for parts in files for part in json.loads(parts) for span in part.get(here, ()))
    return {number for first, last in spans for number in (first, last + 1)}


def held(blocks: Iterable[tuple[str, int, int]]) -> Held:
    """Of (place, first, last)."""
    found: Held = {}
    for place, first, last in sorted(blocks):
        spans = found.setdefault(place, [])
        if spans and first <= spans[-1][1] + 1:
            spans[-1][1] = max(spans[-1][1], last)
        else:
            spans.append([first, last])
    return found


def holds(held: Held, place: str, first: int, last: int) -> bool:
    return any(a <= first and last <= b for a, b in held.get(place, ()))


def within(one: Held, other: Held) -> bool:
    """Whether all of one is in the other."""
    return all(holds(other, place, first, last) for place, spans in one.items() for first, last in spans)
