"""How far each target has come: a cursor for each journal, and what it refused."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, func, or_, select, update

from . import forward_tables, tables, unfiled
from .database import insert_new, upsert, word
from .forward_target import Happened, Later
from .own import PLANE

AT_ONCE = 100  # events read at a time
OWN = "alert "  # how the names of targets begin that take events of the plane's own alone
Journal = tuple[str, str]  # device, epoch


def begin(connection: Connection, name: str) -> None:
    """Note a target. A new one gets what comes from now on."""
    t, f, a = forward_tables.target, forward_tables.forwarded, tables.applied
    if connection.execute(update(t).where(t.c.name == name).values(trouble="", since=0.0)).rowcount:
        return  # there already; what its trouble was at an earlier start shows again
    insert_new(connection, t, [{"name": name, "delivered": 0, "trouble": "", "since": 0.0}])
    rows = connection.execute(select(a.c.device, a.c.epoch, a.c.watermark).where(a.c.stream == "event")).all()
    insert_new(connection, f, [{"target": name, "device": d, "epoch": e, "watermark": w} for d, e, w in rows])


def names(connection: Connection) -> list[str]:
    """Of all targets."""
    return list(connection.scalars(select(forward_tables.target.c.name)))


def end(connection: Connection, wanted: set[str]) -> list[str]:
    """Forget the cursors of targets that are no more, and what they refused; returns their names."""
    t, f, u = forward_tables.target, forward_tables.forwarded, forward_tables.undelivered
    gone = [name for name in names(connection) if name not in wanted]
    for name in gone:
        unfiled.end(connection, name)
        connection.execute(delete(f).where(f.c.target == name))
        connection.execute(delete(u).where(u.c.target == name))
        connection.execute(delete(t).where(t.c.name == name))
    return gone


def pending(connection: Connection, name: str) -> dict[Journal, tuple[int, int]]:
    """Of each journal that has news for a target: after which number they begin, and up to which they are here without holes."""
    a, f = tables.applied, forward_tables.forwarded
    own = and_(f.c.target == name, f.c.device == a.c.device, f.c.epoch == a.c.epoch)
    after = func.coalesce(f.c.watermark, -1)
    joined = select(a.c.device, a.c.epoch, after, a.c.watermark).select_from(a.outerjoin(f, own))
    wanted = joined.where(a.c.stream == "event", a.c.watermark > after, *_journals(name))
    rows = connection.execute(wanted.order_by(a.c.device, a.c.epoch))
    return {(device, epoch): (first, last) for device, epoch, first, last in rows}


def _journals(name: str) -> list[ColumnElement[bool]]:
    """Those that a target reads."""
    return [tables.applied.c.device == PLANE] if name.startswith(OWN) else []


def read(
    connection: Connection, journal: Journal, after: int, to: int, kinds: list[str], key: str = ""
) -> list[Happened]:
    """The next events of a journal, in its order."""
    e = tables.event
    own = [e.c.device == journal[0], e.c.epoch == journal[1], e.c.seq > after, e.c.seq <= to]
    own += [e.c.kind.in_(kinds)] if kinds else []
    own += [e.c.key == key] if key else []
    rows = connection.execute(select(e).where(*own).order_by(e.c.seq).limit(AT_ONCE)).mappings()
    return [_happened(row) for row in rows]


def _happened(row: Any) -> Happened:
    said = {name: row[name] for name in ("ts", "kind", "key", "state", "severity", "text")}
    data, refs = json.loads(row["data"]), json.loads(row["refs"])
    return Happened(row["device"], row["epoch"], row["seq"], said | {"data": data, "refs": refs})


def move(connection: Connection, name: str, happened: Happened, after: int, why: str, tries: int) -> None:
    """The cursor stands at this event; where it was not taken, it is set aside. Raises Later where another plane moved it."""
    f = forward_tables.forwarded
    place = {"target": name, "device": happened.device, "epoch": happened.epoch}
    insert_new(connection, f, [{**place, "watermark": -1}])
    own = [f.c[column] == value for column, value in place.items()]
    moved = connection.execute(
        update(f).where(*own, f.c.watermark >= after, f.c.watermark < happened.seq).values(watermark=happened.seq)
    )
    if not moved.rowcount:
        raise Later("its cursor was moved elsewhere")
    if why:
        aside = {**place, "seq": happened.seq, "why": word(why, 500), "tries": tries}
        upsert(connection, forward_tables.undelivered, {**aside, "at": time.time()})
    else:
        count(connection, name, 1)


def count(connection: Connection, name: str, more: int) -> None:
    """A target has taken them."""
    t = forward_tables.target
    connection.execute(update(t).where(t.c.name == name).values(delivered=t.c.delivered + more))


def again(connection: Connection, name: str) -> int:
    """Mark what a target refused to be sent once more: its `tries` are 0 until then. How many; what is forgotten by now is not."""
    u, e = forward_tables.undelivered, tables.event
    place = (e.c.device == u.c.device, e.c.epoch == u.c.epoch, e.c.seq == u.c.seq)
    there = exists(select(e.c.seq).where(*place).correlate(u))
    connection.execute(delete(u).where(u.c.target == name, ~there))
    return connection.execute(update(u).where(u.c.target == name, u.c.tries > 0).values(tries=0)).rowcount


def marked(connection: Connection, name: str) -> list[Happened]:
    """Some of those, the oldest first."""
    u, e = forward_tables.undelivered, tables.event
    mine = (u.c.target == name, u.c.tries == 0)
    place = and_(e.c.device == u.c.device, e.c.epoch == u.c.epoch, e.c.seq == u.c.seq)
    found = select(e).select_from(e.join(u, place)).where(*mine).order_by(e.c.ts, e.c.seq).limit(AT_ONCE)
    return [_happened(row) for row in connection.execute(found).mappings()]


def sent_again(connection: Connection, name: str, happened: Happened, why: str, tries: int) -> None:
    """It was taken, or is aside again."""
    t, u = forward_tables.target, forward_tables.undelivered
    place = {"target": name, "device": happened.device, "epoch": happened.epoch, "seq": happened.seq}
    own = [u.c[column] == value for column, value in place.items()]
    if why:
        aside = {"why": word(why, 500), "tries": tries, "at": time.time()}
        connection.execute(update(u).where(*own).values(**aside))
    elif connection.execute(delete(u).where(*own)).rowcount:
        connection.execute(update(t).where(t.c.name == name).values(delivered=t.c.delivered + 1))


def pass_by(connection: Connection, name: str, journals: Mapping[Journal, int]) -> None:
    """Move cursors over what the target does not want; never back."""
    if not journals:
        return
    f = forward_tables.forwarded
    insert_new(connection, f, [{"target": name, "device": d, "epoch": e, "watermark": -1} for d, e in journals])
    own = (f.c.target == name, f.c.device == bindparam("whose"), f.c.epoch == bindparam("which"))
    moved = update(f).where(*own, f.c.watermark < bindparam("up_to")).values(watermark=bindparam("up_to"))
    connection.execute(moved, [{"whose": d, "which": e, "up_to": to} for (d, e), to in journals.items()])


def holding(connection: Connection, name: str, kinds: list[str]) -> set[Journal]:
    """Which journals that have news for a target have some of these kinds."""
    a, f, e = tables.applied, forward_tables.forwarded, tables.event
    own = and_(f.c.target == name, f.c.device == a.c.device, f.c.epoch == a.c.epoch)
    after = func.coalesce(f.c.watermark, -1)
    news = (e.c.device == a.c.device, e.c.epoch == a.c.epoch, e.c.seq > after, e.c.seq <= a.c.watermark)
    some = exists(select(e.c.seq).where(*news, e.c.kind.in_(kinds)).correlate(a, f))
    joined = select(a.c.device, a.c.epoch).select_from(a.outerjoin(f, own))
    rows = connection.execute(joined.where(a.c.stream == "event", a.c.watermark > after, *_journals(name), some))
    return {(device, epoch) for device, epoch in rows}


def wanted() -> ColumnElement[bool]:
    """That an event still waits for one of the targets, or is to be sent once more: it is not forgotten, however old."""
    t, f, e = forward_tables.target, forward_tables.forwarded, tables.event
    own = and_(f.c.target == t.c.name, f.c.device == e.c.device, f.c.epoch == e.c.epoch)
    takes = ~t.c.name.startswith(unfiled.PREFIX) & (~t.c.name.startswith(OWN) | (e.c.device == PLANE))
    waits = select(t.c.name).select_from(t.outerjoin(f, own)).where(takes, e.c.seq > func.coalesce(f.c.watermark, -1))
    u = forward_tables.undelivered
    place = and_(u.c.device == e.c.device, u.c.epoch == e.c.epoch, u.c.seq == e.c.seq)
    return or_(exists(waits.correlate(e)), exists(select(u.c.target).where(place, u.c.tries == 0).correlate(e)))


def told(connection: Connection) -> list[dict[str, Any]]:
    """Every target for people: what it has got, what waits, what it refused, and why nothing goes there."""
    t, u = forward_tables.target, forward_tables.undelivered
    counted = connection.execute(select(u.c.target, func.count()).group_by(u.c.target))
    aside = {row[0]: row[1] for row in counted}
    rows = connection.execute(select(t).order_by(t.c.name)).mappings().all()
    return [{**row, "waits": _waits(connection, row["name"]), "aside": aside.get(row["name"], 0)} for row in rows]


def _waits(connection: Connection, name: str) -> int:
    """How many events have not been looked at for a target yet, or how many files are not stored there."""
    if name.startswith(unfiled.PREFIX):
        return unfiled.waits(connection, name)
    a, f, e = tables.applied, forward_tables.forwarded, tables.event
    own = and_(f.c.target == name, f.c.device == a.c.device, f.c.epoch == a.c.epoch)
    news = and_(e.c.device == a.c.device, e.c.epoch == a.c.epoch, e.c.seq <= a.c.watermark)
    after = func.coalesce(f.c.watermark, -1)
    joined = a.outerjoin(f, own).join(e, and_(news, e.c.seq > after))
    where = (a.c.stream == "event", a.c.watermark > after, *_journals(name))
    return connection.execute(select(func.count()).select_from(joined).where(*where)).scalar_one()
