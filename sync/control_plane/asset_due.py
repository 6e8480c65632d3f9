"""What is due of an asset is an alarm of the plane's own, seen where the asset stands. It is raised once, and cleared when it was
done, or when the rule or the asset is no more. Whether it stands is what the alarm says: a start tells nothing again."""

from __future__ import annotations

import itertools
import time
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, RowMapping, and_, case, cast, func, select

from edge import Event

from . import hold, tables
from .asset import DueRule
from .asset_tables import asset as A
from .asset_tables import asset_due as U
from .asset_tables import asset_hour as H
from .asset_tables import maintenance as D
from .assets import DAY, rules_of
from .database import upsert
from .live import Hub
from .own import PLANE, tell
from .repeat import repeat
from .store import Store

EVERY = 60.0  # seconds between looks
AT_ONCE = 100  # alarms a transaction
LEAST = 1.0  # hours by which a count has to fall below its limit before that alone clears: samples come late


class Stands(NamedTuple):
    """A rule of an asset (its row): from when on it counts (s UTC), whether it is due, and whether it is so far from it that no
    late sample tells."""

    row: RowMapping
    rule: DueRule
    since: float
    due: bool
    clear: bool


class Change(NamedTuple):
    """An alarm that is to be raised (`key` is "" where it never was), or to be cleared (without `stands`: for good)."""

    asset: int
    rule: str
    key: str
    stands: Stands | None
    up: bool


async def tell_due(store: Store, hub: Hub) -> None:
    """Keep telling. Runs until cancelled."""

    async def work() -> None:
        await look(store, hub, time.time())

    await repeat(work, EVERY, "nobody is told what is due for now")


async def look(store: Store, hub: Hub, now: float) -> None:
    """Raise and clear what is due, and what is no more, at `now` (s UTC). Raises StoreFault."""
    found = await store.read(lambda c: changes(c, now))
    for k in range(0, len(found), AT_ONCE):
        those = {one.asset for one in found[k : k + AT_ONCE]}
        places = await store.write(lambda c, t=those: say(c, t, now))  # type: ignore[misc]
        if places is not None:
            hub.tell({"kind": "events", "device": PLANE, "places": sorted(places)})


def say(connection: Connection, those: set[int], now: float) -> set[str] | None:
    """Tell what has changed of these assets; the places at which they stand, None where nothing did. In the writer's transaction:
    nobody else tells it meanwhile, and what was done by now is done."""
    hold.assets(connection)
    found = changes(connection, now, those)
    taken = set(connection.scalars(select(U.c.key))) if any(not one.key for one in found) else set()
    events, rows = [], []
    for one in found:
        key = one.key or _key(one, taken)
        taken.add(key)
        events.append(_event(key, one, round(now * 1e9)))
        if one.up and one.stands is not None:
            rows.append({"key": key, "asset": one.asset, "rule": one.rule, "since": one.stands.since})
    upsert(connection, U, *rows)
    tell(connection, events)
    numbers = {one.asset for one in found}
    return set(connection.scalars(select(A.c.place).where(A.c.number.in_(numbers)))) if found else None


def changes(connection: Connection, now: float, those: set[int] | None = None) -> list[Change]:
    """What is to be raised and cleared, of all assets or of these."""
    t = tables.alarm
    own = select(U, t.c.active).select_from(U).outerjoin(t, and_(t.c.device == PLANE, t.c.key == U.c.key))
    rows = connection.execute(own if those is None else own.where(U.c.asset.in_(those))).mappings().all()
    known = {(row["asset"], row["rule"]): row for row in rows if row["asset"]}
    out = [Change(0, row["rule"], row["key"], None, False) for row in rows if row["active"] and not row["asset"]]
    stands = {(one.row["number"], one.rule.what): one for one in standing(connection, now, those)}
    for place, one in stands.items():
        told = known.get(place)
        if told is None or not told["active"]:
            out += [Change(*place, told["key"] if told else "", one, True)] if one.due else []
        elif not one.row["behind"] and (one.clear or (not one.due and one.since != told["since"])):
            out.append(Change(*place, told["key"], one, False))  # while its history is counted less may be known
    gone = [place for place, told in known.items() if told["active"] and place not in stands]
    return out + [Change(*place, known[place]["key"], None, False) for place in gone]


def standing(connection: Connection, now: float, those: set[int] | None = None) -> list[Stands]:
    """Each rule of each asset in service, in two looks however many there are; as `assets.due` says it of one."""
    own = [A.c.rules != "[]", A.c.retired == 0, *([] if those is None else [A.c.number.in_(those)])]
    total = select(H.c.total).where(H.c.asset == A.c.number).order_by(H.c.hour.desc()).limit(1)
    wanted = select(A, total.correlate(A).scalar_subquery().label("total")).where(*own)
    done, out = _done(connection, those), []
    for row in connection.execute(wanted).mappings():
        for rule in rules_of(row):
            since, before = done.get((row["number"], rule.what), (row["begun"], 0.0))
            ran = max(0.0, (row["total"] or 0.0) - before) / 3600
            late = rule.days is not None and since + rule.days * DAY <= now
            due = late or (rule.hours is not None and ran >= rule.hours)
            below = rule.hours is None or ran < rule.hours - min(LEAST, rule.hours / 10)
            out.append(Stands(row, rule, since, due, below and not due))
    return out


def _done(connection: Connection, those: set[int] | None) -> dict[tuple[int, str], tuple[float, float]]:
    """When each rule was done last (s UTC), and for how many seconds its asset had run by then, as `running.since` says it."""
    own = [D.c.rule != "", *([] if those is None else [D.c.asset.in_(those)])]
    last = (
        select(D.c.asset, D.c.rule, func.max(D.c.at).label("at")).where(*own).group_by(D.c.asset, D.c.rule).subquery()
    )
    left = H.c.hour + 1 - last.c.at / 3600.0  # of the hour in which it was done
    by_then = case((left <= 0, H.c.total), (left >= 1, H.c.total - H.c.ran), else_=H.c.total - H.c.ran * left)
    upto = (H.c.asset == last.c.asset, H.c.hour <= cast(last.c.at, BigInteger) // 3600)
    ran = select(by_then).where(*upto).order_by(H.c.hour.desc()).limit(1).correlate(last).scalar_subquery()
    rows = connection.execute(select(last, ran.label("ran"))).all()
    return {(row.asset, row.rule): (row.at, row.ran or 0.0) for row in rows}


def _key(one: Change, taken: set[str]) -> str:
    """What a new alarm is called: by the names that people know, of which another enterprise may have the same."""
    assert one.stands is not None
    name = f"due {one.stands.row['id']} {one.rule}".replace("/", "-")[:180].strip()
    names = itertools.chain([name], (f"{name} ({k})" for k in itertools.count(2)))
    return next(it for it in names if it not in taken)


def _event(key: str, one: Change, ts: int) -> Event:
    data: dict[str, Any] = {"asset": one.asset, "maintenance": one.rule}
    if one.stands is None:
        return Event("alarm", key, "cleared", ts, "low", data=data)
    row, rule = one.stands.row, one.stands.rule
    data |= {"place": row["place"], "class": row["class"]}
    return Event("alarm", key, "raised" if one.up else "cleared", ts, "low", said(row, rule), data)


def said(row: RowMapping, rule: DueRule) -> str:
    """For people; the console says it in Chinese, too."""
    name = f"{row['id']} {row['name']}".strip()
    if not rule.hours:
        return f"maintenance of {name} is due: {rule.what} (every {rule.days:g} days)"
    if not rule.days:
        return f"maintenance of {name} is due: {rule.what} (every {rule.hours:g} running hours)"
    spans = f"{rule.hours:g} running hours or {rule.days:g} days"
    return f"maintenance of {name} is due: {rule.what} (every {spans}, whichever comes first)"
