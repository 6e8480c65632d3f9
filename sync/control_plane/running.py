"""How long an asset ran, in each hour: out of the plane's own history of a tag that says it runs, or of a counter of its hours.

Whatever settles an hour of a device (rollup.py) leaves a mark for the assets on it in its own transaction; a worker counts that
hour and takes the mark away. What is counted stays when samples and roll-ups are forgotten. Each sample stands until the next one,
eleven minutes at most: a device tells a value that does not change every ten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, RowMapping, delete, func, select, update

from edge import SECOND

from . import tables
from .asset_marks import add
from .asset_tables import asset, asset_hour, asset_mark
from .database import upsert
from .history import samples
from .repeat import repeat
from .rollup import HOUR, MINUTE, minutes
from .store import Store

EVERY = 30.0  # seconds between looks
AT_ONCE, EACH = 50, 24  # assets a look, hours of each
HOLD = 11 * MINUTE  # ns for which a sample stands at most
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}  # of a counter, in seconds
COUNTED = ("device", "running", "above", "counter", "begun", "place", "retired")  # on which the hours stand
A, H, M = asset, asset_hour, asset_mark


class Counted(NamedTuple):
    """Of one hour, in seconds: for how long it ran, for how long that is known, and the counter's last reading in it."""

    hour: int
    ran: float
    known: float
    reading: float | None = None


# Counting


def anew(connection: Connection, number: int) -> None:
    """Count all hours of an asset once more: it is new, or another tag says how long it ran."""
    for t in (H, M):
        connection.execute(delete(t).where(t.c.asset == number))
    row = connection.execute(select(A).where(A.c.number == number)).mappings().one()
    if not row["device"] or not (row["running"] or row["counter"]) or row["retired"]:
        return
    t, r = tables.tag, tables.rollup
    named = select(t.c.epoch, t.c.source).where(
        t.c.device == row["device"], t.c.name.in_((row["running"], row["counter"]))
    )
    hours = set[int]()
    for epoch, source in connection.execute(named.distinct()):
        there = (r.c.device == row["device"], r.c.epoch == epoch, r.c.stream == f"samples:{source}")
        hours |= set(connection.scalars(select(r.c.hour).where(*there, r.c.hour >= int(row["begun"] // 3600))))
    add(connection, [(number, hour) for hour in sorted(hours)])


async def count(store: Store) -> None:
    """Keep counting what is marked. Runs until cancelled."""

    async def work() -> None:
        while await count_once(store):
            pass

    await repeat(work, EVERY, "no running hours are counted for now")


async def count_once(store: Store) -> int:
    """Count some hours of each asset that waits, its oldest first; how many hours. Raises StoreFault."""
    waiting = await store.read(_waiting)
    for number, marks in waiting.items():
        row, found = await store.read(lambda c, n=number, m=marks: _looked(c, n, sorted(m)))  # type: ignore[misc]
        await store.write(lambda c, n=number, m=marks, r=row, f=found: _settle(c, n, m, r, f))  # type: ignore[misc]
    return sum(map(len, waiting.values()))


def _waiting(connection: Connection) -> dict[int, dict[int, int]]:
    """Hours that wait, with when each was marked, by asset."""
    found = defaultdict[int, dict[int, int]](dict)
    for number in connection.scalars(select(M.c.asset).distinct().limit(AT_ONCE)).all():
        own = select(M.c.hour, M.c.marked).where(M.c.asset == number).order_by(M.c.hour).limit(EACH)
        found[number] = dict(connection.execute(own).tuples().all())
    return found


def _looked(connection: Connection, number: int, hours: Sequence[int]) -> tuple[RowMapping | None, list[Counted]]:
    row = connection.execute(select(A).where(A.c.number == number)).mappings().first()
    if row is None:
        return None, []
    return row, [counted(connection, row, hour) for hour in hours]


def counted(connection: Connection, row: RowMapping, hour: int) -> Counted:
    """What an hour (of UTC, from 1970) of an asset comes to. Blocks while it decodes the samples of that hour."""
    start, end, name = hour * HOUR, (hour + 1) * HOUR, row["counter"] or row["running"]
    ts, value, unit = _values(connection, row["device"], name, max(0, start - HOLD), end - 1)
    since = max(start, int(row["begun"] * SECOND))
    if row["counter"]:
        good = (ts >= since) & ~np.isnan(value)
        if not good.any():
            return Counted(hour, 0.0, 0.0)
        return Counted(hour, 0.0, 3600.0, float(value[good][-1]) * UNITS.get(unit, 3600.0))
    stop = np.minimum(np.append(ts[1:], end), ts + HOLD)
    width = np.clip(stop, since, end) - np.clip(ts, since, end)
    good = ~np.isnan(value)
    ran = width[good & (np.where(good, value, 0.0) > row["above"])].sum()
    return Counted(hour, float(ran) / SECOND, float(width[good].sum()) / SECOND)


def _values(connection: Connection, device: str, tag: str, t0: int, t1: int) -> tuple[np.ndarray, np.ndarray, str]:
    """(times ns, values, unit) of a tag, nan where it is not to be trusted; of minutes where the samples are forgotten."""
    t, parts, unit = tables.tag, list[tuple[np.ndarray, np.ndarray]](), ""
    for row in connection.execute(
        select(t).where(t.c.device == device, t.c.name == tag, t.c.type != "text")
    ).mappings():
        unit = row["unit"]
        found = list(samples(connection, device, row, t0, t1))
        if not sum(len(ts) for ts, _ in found):
            stream = {"device": device, "epoch": row["epoch"], "stream": f"samples:{row['source']}"}
            found = list(minutes(connection, stream, row["id"], t0, t1))
        parts += found
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0), unit
    ts, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(ts, kind="stable")
    return ts[order], value[order], unit


def _settle(
    connection: Connection, number: int, marks: dict[int, int], row: RowMapping | None, found: Sequence[Counted]
) -> None:
    """Keep what hours came to, unless the asset is another one by now; a mark that was made meanwhile stays."""
    connection.execute(update(A).where(A.c.number == number).values(number=A.c.number))  # one at a time
    now = connection.execute(select(A).where(A.c.number == number)).mappings().first()
    if now is None or row is None:
        connection.execute(delete(M).where(M.c.asset == number))
        return
    if any(now[name] != row[name] for name in COUNTED):
        return
    for hour, marked in marks.items():
        connection.execute(delete(M).where(M.c.asset == number, M.c.hour == hour, M.c.marked == marked))
    upsert(connection, H, *({"asset": number, **one._asdict(), "total": 0.0} for one in found))
    _sum_up(connection, number, min(one.hour for one in found), bool(now["counter"]))


def _sum_up(connection: Connection, number: int, first: int, counter: bool) -> None:
    """The totals from an hour on."""
    wanted = select(H.c.hour, H.c.ran, H.c.reading, H.c.total).where(H.c.asset == number)
    before = connection.execute(wanted.where(H.c.hour < first).order_by(H.c.hour.desc()).limit(1)).first()
    total = before.total if before else 0.0
    last, reading = _reading_before(connection, number, first) if counter else (first, None)
    changed = []
    for row in connection.execute(wanted.where(H.c.hour >= first).order_by(H.c.hour)).all():
        ran = row.ran
        if counter:
            ran = 0.0
            if row.reading is not None:
                # one that falls was set back or changed; what is more than the clock allows is no running
                ran = 0.0 if reading is None else min(max(0.0, row.reading - reading), (row.hour - last + 1) * 3600.0)
                reading, last = row.reading, row.hour
        total += ran
        if (ran, total) != (row.ran, row.total):
            changed.append((row.hour, ran, total))
    for hour, ran, total in changed:
        connection.execute(update(H).where(H.c.asset == number, H.c.hour == hour).values(ran=ran, total=total))


def _reading_before(connection: Connection, number: int, first: int) -> tuple[int, float | None]:
    own = select(H.c.hour, H.c.reading).where(H.c.asset == number, H.c.hour < first, H.c.reading.is_not(None))
    row = connection.execute(own.order_by(H.c.hour.desc()).limit(1)).first()
    return (row.hour, row.reading) if row else (first, None)


# What people see


class Hours(NamedTuple):
    """Hours of running since it began (with those before), up to `until` (s UTC, 0.0: none are counted yet); how many hours wait to
    be counted; and of the last thirty days, hours a day (nan: not known)."""

    hours: float
    until: float
    waits: int
    daily: float


def since(connection: Connection, number: int, when: float) -> float:
    """Seconds that it had run at `when` (s UTC) since it began, as far as is counted."""
    own = select(H.c.hour, H.c.ran, H.c.total).where(H.c.asset == number, H.c.hour <= int(when // 3600))
    row = connection.execute(own.order_by(H.c.hour.desc()).limit(1)).first()
    if row is None:
        return 0.0
    left = max(0.0, 1.0 - (when / 3600.0 - row.hour))
    return float(row.total - row.ran * left)


def hours(connection: Connection, row: RowMapping) -> Hours:
    number = row["number"]
    own = select(H.c.hour, H.c.total).where(H.c.asset == number).order_by(H.c.hour.desc()).limit(1)
    last = connection.execute(own).first()
    waits = connection.scalar(select(func.count()).where(M.c.asset == number)) or 0
    if last is None:
        return Hours(row["before"], 0.0, waits, np.nan)
    until = (last.hour + 1) * 3600.0
    first = max(row["begun"], until - 30 * 86_400)
    days = max((until - first) / 86_400, 1 / 24)
    daily = (last.total - since(connection, number, first)) / 3600 / days
    return Hours(row["before"] + last.total / 3600, until, waits, daily)
