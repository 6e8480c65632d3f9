"""How long an asset ran, in each hour: out of the plane's own history of a tag that says it runs, or of a counter of its hours.

Whatever settles an hour of a device (rollup.py) leaves a mark for the assets on it in its own transaction; a worker counts that
hour and takes the mark away. What is counted stays when samples and roll-ups are forgotten. Each sample stands until the next one,
eleven minutes at most: a device tells a value that does not change every ten.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, RowMapping, delete, func, select, update

from edge import SECOND

from . import tables
from .access import place_of
from .asset_marks import reaches
from .asset_tables import asset, asset_hour, asset_mark
from .database import upsert
from .history import of_stream
from .repeat import repeat
from .rollup import HOUR, MINUTE, minutes
from .store import Store

EVERY = 30.0  # seconds between looks
AT_ONCE, EACH = 50, 24  # assets a look, hours of each
HOLD = 11 * MINUTE  # ns for which a sample stands at most
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}  # of a counter, in seconds
SAYS = ("device", "running", "above", "counter")  # how long it runs
COUNTED = (*SAYS, "begun")
A, H, M = asset, asset_hour, asset_mark
NOTHING = (np.zeros(0, np.int64), np.zeros(0), "")


class Counted(NamedTuple):
    """Of one hour, in seconds: for how long it ran, for how long that is known, and the counter's last reading in it."""

    hour: int
    ran: float
    known: float
    reading: float | None = None


class Waits(NamedTuple):
    """An asset (its row), its marked hours with when each was marked, and how far its history is counted with these hours of it."""

    row: RowMapping
    marks: dict[int, int]
    history: list[int]
    behind: int

    @property
    def hours(self) -> set[int]:
        return {*self.marks, *self.history}


# Counting


def anew(connection: Connection, number: int, when: float) -> None:
    """Count an asset's history from `when` (s UTC) on once more. Hours of which there are no roll-ups any more stay as they are,
    but for those before it began and after it went out of service."""
    row = connection.execute(select(A).where(A.c.number == number)).mappings().one()
    first, last = (int(row[name] // 3600) for name in ("begun", "retired"))
    outside = (H.c.hour < first) | (H.c.hour > last) if last else H.c.hour < first
    connection.execute(delete(H).where(H.c.asset == number, outside))
    _sum_up(connection, number, first, counter=False)
    site = place_of(connection, row["device"])  # one that went to another enterprise is counted no more
    hour = behind(row, when) if site is not None and reaches(row["place"], site) else 0
    hour = min(hour, row["behind"]) if hour and row["behind"] else hour
    connection.execute(update(A).where(A.c.number == number).values(behind=hour))


def behind(row: Mapping[Any, Any], when: float = 0.0) -> int:
    """From which hour on an asset is to be counted, from `when` (s UTC) or its beginning on; 0: nothing says how long it runs."""
    counts = row["device"] and (row["running"] or row["counter"])
    return max(1, int(row["begun"] // 3600), int(when // 3600)) if counts else 0


def other(connection: Connection, number: int) -> None:
    """Another device, tag or counter says from now on how long it runs. What was counted stays; two counters have no difference."""
    connection.execute(update(H).where(H.c.asset == number).values(reading=None))


async def count(store: Store) -> None:
    """Keep counting what waits. Runs until cancelled."""

    async def work() -> None:
        while await count_once(store):
            pass

    await repeat(work, EVERY, "no running hours are counted for now")


async def count_once(store: Store) -> int:
    """Count some hours of some assets, those that have waited longest first; how many assets. Raises StoreFault."""
    waiting = await store.read(_waiting)
    for device, some in itertools.groupby(waiting, key=lambda one: one.row["device"]):
        those = list(some)
        found = await store.read(lambda c, d=device, w=those: _counted(c, d, w))  # type: ignore[misc]
        await store.write(lambda c, w=those, f=found: _settled(c, w, f))  # type: ignore[misc]
    return len(waiting)


def _waiting(connection: Connection) -> list[Waits]:
    """By their devices."""
    marked = (
        select(M.c.asset)
        .join(A, A.c.number == M.c.asset)
        .group_by(M.c.asset)
        .order_by(func.min(M.c.marked))
        .limit(AT_ONCE)
    )
    behind = select(A.c.number).where(A.c.behind > 0).order_by(A.c.behind).limit(AT_ONCE)
    numbers = {*connection.scalars(marked), *connection.scalars(behind)}
    rows = (
        connection.execute(select(A).where(A.c.number.in_(numbers)).order_by(A.c.device, A.c.number)).mappings().all()
    )
    out = []
    for row in rows:
        own = select(M.c.hour, M.c.marked).where(M.c.asset == row["number"]).order_by(M.c.hour).limit(EACH)
        marks = dict(connection.execute(own).tuples().all())
        history = _rolled(connection, row) if row["behind"] else []
        out.append(Waits(row, marks, history, history[-1] + 1 if history else 0))
    return out


def _rolled(connection: Connection, row: RowMapping) -> list[int]:
    """The next hours from which its history is behind, and of which there are roll-ups."""
    t, r, name = tables.tag, tables.rollup, row["counter"] or row["running"]
    named = select(t.c.epoch, t.c.source).where(t.c.device == row["device"], t.c.name == name).distinct()
    hours = set[int]()
    last = int(row["retired"] // 3600) if row["retired"] else 2**53
    for epoch, source in connection.execute(named).all():
        there = (r.c.device == row["device"], r.c.epoch == epoch, r.c.stream == f"samples:{source}")
        own = select(r.c.hour).where(*there, r.c.hour.between(row["behind"], last)).order_by(r.c.hour).limit(EACH)
        hours |= set(connection.scalars(own))
    return sorted(hours)[:EACH]


def _counted(connection: Connection, device: str, waiting: Sequence[Waits]) -> dict[int, list[Counted]]:
    """What the hours of assets on one device come to, by asset. Blocks while it decodes their samples."""
    out: dict[int, list[Counted]] = {one.row["number"]: [] for one in waiting}
    for hour in sorted({hour for one in waiting for hour in one.hours}):
        those = [one.row for one in waiting if hour in one.hours]
        names = {row["counter"] or row["running"] for row in those}
        found = _values(connection, device, names, max(0, hour * HOUR - HOLD), (hour + 1) * HOUR - 1)
        for row in those:
            out[row["number"]].append(counted(row, hour, *found.get(row["counter"] or row["running"], NOTHING)))
    return out


def counted(row: RowMapping, hour: int, ts: np.ndarray, value: np.ndarray, unit: str = "") -> Counted:
    """What an hour (of UTC, from 1970) of an asset comes to, by the samples (times ns, nan: not to be trusted) of its tag."""
    start, end = hour * HOUR, (hour + 1) * HOUR
    since = max(start, int(row["begun"] * SECOND))
    until = max(since, min(end, int(row["retired"] * SECOND))) if row["retired"] else end
    good = ~np.isnan(value)
    if row["counter"]:
        mine = good & (ts >= since) & (ts < until)
        if not mine.any():
            return Counted(hour, 0.0, 0.0)
        return Counted(hour, 0.0, 3600.0, float(value[mine][-1]) * UNITS.get(unit, 3600.0))
    stop = np.minimum(np.append(ts[1:], end), ts + HOLD)
    width = np.clip(stop, since, until) - np.clip(ts, since, until)
    ran = width[good & (np.where(good, value, 0.0) > row["above"])].sum()
    return Counted(hour, float(ran) / SECOND, float(width[good].sum()) / SECOND)


def _values(
    connection: Connection, device: str, names: set[str], t0: int, t1: int
) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """(times ns, values, unit) of tags by name, nan where one is not to be trusted; of minutes where the samples are forgotten."""
    t, parts, units = tables.tag, defaultdict[str, list[tuple[np.ndarray, np.ndarray]]](list), dict[str, str]()
    wanted = select(t).where(t.c.device == device, t.c.name.in_(names), t.c.type != "text")
    rows = connection.execute(wanted.order_by(t.c.epoch, t.c.source)).mappings().all()
    for (epoch, source), some in itertools.groupby(rows, key=lambda row: (row["epoch"], row["source"])):
        mine = {row["id"]: row for row in some}
        stream, seen = {"device": device, "epoch": epoch, "stream": f"samples:{source}"}, set[int]()
        for number, ts, value in of_stream(connection, device, list(mine.values()), t0, t1):
            parts[mine[number]["name"]].append((ts, value))
            seen |= {number} if len(ts) else set()
        for number, row in mine.items():
            units[row["name"]] = row["unit"]
            if number not in seen:
                parts[row["name"]] += minutes(connection, stream, number, t0, t1)
    return {name: (*_in_order(some), units[name]) for name, some in parts.items() if some}


def _in_order(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    ts, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(ts, kind="stable")
    return ts[order], value[order]


def _settled(connection: Connection, waiting: Sequence[Waits], found: dict[int, list[Counted]]) -> None:
    for one in waiting:
        _settle(connection, one, found[one.row["number"]])


def _settle(connection: Connection, waited: Waits, found: Sequence[Counted]) -> None:
    """Keep what hours came to, unless the asset is another one by now; a mark that was made meanwhile stays."""
    row, number = waited.row, waited.row["number"]
    connection.execute(update(A).where(A.c.number == number).values(number=A.c.number))  # one at a time
    now = connection.execute(select(A).where(A.c.number == number)).mappings().first()
    if now is None or any(now[name] != row[name] for name in (*COUNTED, "retired")):
        return
    for hour, marked in waited.marks.items():
        connection.execute(delete(M).where(M.c.asset == number, M.c.hour == hour, M.c.marked == marked))
    connection.execute(update(A).where(A.c.number == number, A.c.behind == row["behind"]).values(behind=waited.behind))
    here = select(H.c.hour, H.c.known).where(H.c.asset == number, H.c.hour.in_(set(waited.marks) - set(waited.history)))
    known = dict(connection.execute(here).tuples().all())
    # what comes late to an hour whose other samples are forgotten by now tells less than was counted
    found = [one for one in found if known.get(one.hour, 0.0) - one.known <= HOLD / SECOND]
    if found:
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
        if counter and row.reading is not None:
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
    """Hours of running since it began (with those before), up to `until` (s UTC, 0.0: none are counted yet); how many hours of
    history are to be counted yet; and of the last thirty days, hours a day (nan: not known)."""

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


def hours(connection: Connection, row: RowMapping, now: float) -> Hours:
    number = row["number"]
    own = select(H.c.hour, H.c.total).where(H.c.asset == number).order_by(H.c.hour.desc()).limit(1)
    last = connection.execute(own).first()
    waits = connection.scalar(select(func.count()).where(M.c.asset == number)) or 0
    waits += int(now // 3600) - row["behind"] if row["behind"] else 0
    if last is None:
        return Hours(row["before"], 0.0, waits, np.nan)
    until = (last.hour + 1) * 3600.0
    first = max(row["begun"], until - 30 * 86_400)
    days = max((until - first) / 86_400, 1 / 24)
    daily = (last.total - since(connection, number, first)) / 3600 / days
    return Hours(row["before"] + last.total / 3600, until, waits, daily)
