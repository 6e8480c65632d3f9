"""Assets: machines and their parts, each at a place of the tree. What is built in, what was done, what is due."""

from __future__ import annotations

import difflib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, delete, exists, func, select, update

from edge import LinesideError

from . import hold, running, tables
from .access import place_of
from .asset import Asset, Deed, DueRule, Part
from .asset_marks import reaches
from .asset_tables import asset as A
from .asset_tables import asset_due, asset_hour, asset_mark
from .asset_tables import asset_part as P
from .asset_tables import maintenance as D
from .asset_tables import work_order as W
from .database import among
from .numbers import keep, next_of
from .tree import enterprise, node

DAY = 86_400.0
SAID = ("id", "place", "name", "class", "device", "tags", "running", "above", "counter", "before", "begun", "retired")


NOT_HERE = "there is no such asset here"


def reads(connection: Connection, row: RowMapping) -> bool:
    """Whether the device of an asset is still of its enterprise; one that was moved away tells it nothing."""
    site = place_of(connection, row["device"]) if row["device"] else None
    return site is not None and reaches(row["place"], site)


class NotHere(LinesideError):
    """No asset, part or work order of that number."""


def number_of(connection: Connection, table: Table) -> int:
    """The next one of a table."""
    hold.assets(connection)
    return next_of(connection, table)


def add(connection: Connection, given: Asset) -> int:
    """A new one; its number. Raises LinesideError."""
    row = row_of(told_of(connection, [given]), given, float(int(time.time())))
    number = number_of(connection, A)
    _once(connection, row, 0)
    connection.execute(A.insert().values(number=number, **row))
    running.anew(connection, number, row["begun"])
    return number


def change(connection: Connection, number: int, given: Asset, recount: bool = False) -> None:
    """What an asset is from now on; what was built in, done and counted stays, unless its history is to be counted once more (as it
    is where it began at another time). Raises LinesideError."""
    hold.assets(connection)
    was = found(connection, number)
    row = row_of(told_of(connection, [given]), given, was["begun"], reads_as_before(was, given))
    _once(connection, row, number)
    connection.execute(update(A).where(A.c.number == number).values(**row))
    counts_otherwise(connection, number, was, row, recount)


def counts_otherwise(
    connection: Connection, number: int, was: Mapping[Any, Any], row: Mapping[Any, Any], recount: bool = False
) -> None:
    """What follows for the hours of an asset that was changed."""
    if any(was[name] != row[name] for name in running.SAYS):
        running.other(connection, number)
    if recount or was["begun"] != row["begun"]:
        running.anew(connection, number, row["begun"])
    elif was["retired"] != row["retired"]:
        running.anew(connection, number, min(filter(None, (was["retired"], row["retired"]))))


def remove(connection: Connection, number: int) -> None:
    """One of which nothing was told yet. Raises LinesideError."""
    hold.assets(connection)
    row = found(connection, number)
    if any(connection.scalar(select(exists().where(t.c.asset == number))) for t in (P, D, W)):
        hint = "say since when it is `retired`: then it is counted and due no more"
        raise LinesideError(f"{row['id']} has a history of parts, maintenance or work orders, which stays", hint=hint)
    for t in (asset_hour, asset_mark):
        connection.execute(delete(t).where(t.c.asset == number))
    connection.execute(update(asset_due).where(asset_due.c.asset == number).values(asset=0))
    keep(connection, A)
    connection.execute(delete(A).where(A.c.number == number))


def given_as(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What was said of an asset, as `Asset` takes it."""
    return {**{name: row[name] for name in SAID}, "rules": json.loads(row["rules"])}


def found(connection: Connection, number: int) -> RowMapping:
    """Raises NotHere."""
    row = connection.execute(select(A).where(A.c.number == number)).mappings().first()
    if row is None:
        raise NotHere(NOT_HERE)
    return row


def reads_as_before(was: Mapping[Any, Any], given: Asset) -> bool:
    """Whether the same tags of the same device say how long it runs, at the same place: also one that was moved away may stay."""
    return node(given.place) == was["place"] and all(getattr(given, it) == was[it] for it in running.SAYS)


class Told(NamedTuple):
    """What is known of the devices that assets name: where each stands, the kinds (names of types) of those of its tags that are
    asked for, and which have told any tag."""

    sites: Mapping[str, str]
    kinds: Mapping[tuple[str, str], set[str]]
    tell: set[str]
    tags: Callable[[str], Sequence[str]]  # of a device, for a hint


def told_of(connection: Connection, those: Sequence[Asset]) -> Told:
    """In one look for all of them."""
    d, t = tables.device, tables.tag
    devices = {one.device for one in those if one.device}
    names = {name for one in those for name in (one.running, one.counter) if name}
    sites = dict(connection.execute(select(d.c.id, d.c.site).where(among(connection, d.c.id, devices))).tuples().all())
    kinds = defaultdict[tuple[str, str], set[str]](set)
    tell = set[str]()
    if names:
        own = among(connection, t.c.device, devices)
        asked = select(t.c.device, t.c.name, t.c.type).where(own, among(connection, t.c.name, names)).distinct()
        for device, name, kind in connection.execute(asked):
            kinds[device, name].add(kind)
        any_tag = exists().where(t.c.device == d.c.id)
        tell = set(connection.scalars(select(d.c.id).where(among(connection, d.c.id, devices), any_tag)))

    def tags(device: str) -> Sequence[str]:
        return connection.scalars(select(t.c.name).where(t.c.device == device).distinct()).all()

    return Told(sites, kinds, tell, tags)


def row_of(told: Told, given: Asset, begun: float, known: bool = False) -> dict[str, Any]:
    """An asset as it is kept, but for its number; it began at `begun` (s UTC) where it does not say; `known`: what it
    reads needs no look. Raises LinesideError."""
    place = node(given.place)
    row = given.model_dump(by_alias=True)
    if given.retired > time.time() + 60:
        raise LinesideError("that time is still to come", hint="say since when it is out of service")
    if given.device and not known:
        site = told.sites.get(given.device)
        if site is None:
            raise LinesideError(f"{given.device} is not enrolled here", hint="`lineside plane devices` lists them")
        if not reaches(place, site):
            hint = "an asset and its device belong to one enterprise; `lineside plane place` moves a device"
            raise LinesideError(f"{given.device} stands at {site or 'the root'}, and the asset at {place}", hint=hint)
    for name in () if known else filter(None, (given.running, given.counter)):
        _tag(told, given.device, name)
    rules = json.dumps([rule.model_dump(exclude_none=True) for rule in given.rules], ensure_ascii=False)
    said = {"place": place, "enterprise": enterprise(place), "rules": rules}
    began = begun if given.begun is None else given.begun
    return row | said | {"begun": float(int(began)), "retired": float(int(given.retired))}  # as a file says them


def _tag(told: Told, device: str, name: str) -> None:
    """Whether a device may have a tag of this name that is a number: one that has told no tag yet may. Raises LinesideError."""
    kinds = told.kinds.get((device, name), set())
    if kinds == {"text"}:
        raise LinesideError(f"{name} of {device} is a text, and says in no number whether it runs")
    if not kinds and device in told.tell:
        near = difflib.get_close_matches(name, told.tags(device), 1)
        raise LinesideError(f"no tag of {device} is called {name!r}", hint=f"did you mean {near[0]!r}?" if near else "")


def _once(connection: Connection, row: Mapping[str, Any], number: int) -> None:
    same = (A.c.enterprise == row["enterprise"], A.c.id == row["id"], A.c.number != number)
    if connection.scalar(select(exists().where(*same))):
        raise LinesideError(f"there is an asset {row['id']} in {row['enterprise'] or 'the whole plane'} already")


# What was built in, and what was done


def do(connection: Connection, number: int, deed: Deed, by: str, work_order: int = 0) -> int:
    """Keep what was done, with its parts; the number of the maintenance. Raises LinesideError."""
    hold.assets(connection)
    row, at = found(connection, number), when(deed.at)
    if deed.rule and deed.rule not in [rule.what for rule in rules_of(row)]:
        raise LinesideError(
            f"{row['id']} has no rule {deed.rule!r}", hint="its rules say what is due; leave it out else"
        )
    for part in deed.parts:
        exchange(connection, number, part, by, at, work_order)
    mine = number_of(connection, D)
    values = {"rule": deed.rule, "did": deed.did, "at": at, "by": by[:80], "work_order": work_order}
    connection.execute(D.insert().values(number=mine, asset=number, **values))
    return mine


def exchange(connection: Connection, number: int, part: Part, by: str, at: float, work_order: int = 0) -> None:
    """Remove what is at a position, and build in what is given. Raises LinesideError."""
    hold.assets(connection)
    row = found(connection, number)
    own = (P.c.asset == number, P.c.position == part.position, P.c.removed == 0)
    there = connection.execute(select(P).where(*own)).mappings().first()
    if not part.part and there is None:
        raise LinesideError(
            f"nothing is built in at {part.position!r} of {row['id']}", hint="which `part` comes there?"
        )
    if there is not None and at < there["installed"]:
        hint = "say when it was, after that"
        raise LinesideError(f"{there['part']} came to {part.position!r} later than that", hint=hint)
    later = connection.scalar(
        select(P.c.part).where(P.c.asset == number, P.c.position == part.position, P.c.removed > at)
    )
    if later is not None:
        raise LinesideError(f"{later} was at {part.position!r} until after that", hint="say when it was, after that")
    connection.execute(update(P).where(*own).values(removed=at, removed_by=by[:80], removed_order=work_order))
    if part.part:
        values = part.model_dump() | {"installed": at, "installed_by": by[:80], "installed_order": work_order}
        values |= {"removed": 0.0, "removed_by": "", "removed_order": 0}
        connection.execute(P.insert().values(number=number_of(connection, P), asset=number, **values))


def when(at: float | None) -> float:
    """A time that somebody says, or now. Raises LinesideError."""
    now = time.time()
    if at is not None and at > now + 60:
        raise LinesideError("that time is still to come", hint="say when it was done")
    return min(now, at) if at is not None else now


# What is due


def rules_of(row: RowMapping) -> list[DueRule]:
    return [DueRule(**rule) for rule in json.loads(row["rules"])]


def due(connection: Connection, row: RowMapping, hours: running.Hours, now: float) -> list[dict[str, Any]]:
    """Each rule with when it was done last (s UTC; None: never), running hours and days since, whether it is due, and when it was
    or will be, by the hours a day of the last thirty days (None: not known)."""
    out = []
    done = select(D.c.rule, func.max(D.c.at)).where(D.c.asset == row["number"], D.c.rule != "").group_by(D.c.rule)
    last = dict(connection.execute(done).tuples().all())
    for rule in rules_of(row):
        since = last.get(rule.what, row["begun"])
        before = running.since(connection, row["number"], since) if rule.what in last else 0.0
        ran = max(0.0, hours.hours - row["before"] - before / 3600)
        times = [since + rule.days * DAY] if rule.days else []
        if rule.hours:
            left = rule.hours - ran
            times += [now if left <= 0 else now + left / hours.daily * DAY] if left <= 0 or hours.daily > 1e-6 else []
        at = min(times, default=None)
        said = {**rule.model_dump(), "last": last.get(rule.what), "ran": ran, "passed": (now - since) / DAY}
        out.append({**said, "due": at is not None and at <= now, "at": at})
    return out


# Lists


def listed(
    connection: Connection, those: Sequence[ColumnElement[bool]], limit: int, now: float, only_due: bool = False
) -> list[dict[str, Any]]:
    """Assets in the order of places, with their hours, what is due, and how many work orders are open."""
    those = [*those, A.c.rules != "[]"] if only_due else those
    rows = connection.execute(select(A).where(*those).order_by(A.c.place, A.c.id)).mappings()
    opened = select(W.c.asset, func.count()).where(W.c.state == "open").group_by(W.c.asset)
    many: dict[int, int] = dict(connection.execute(opened).tuples().all())
    out = list[dict[str, Any]]()
    for row in rows.all():
        one = summary(connection, row, now) | {"open": many.get(row["number"], 0)}
        if not only_due or any(rule["due"] for rule in one["due"]):
            out.append(one)
        if len(out) == limit:
            break
    return out


def rows(connection: Connection, those: Sequence[ColumnElement[bool]]) -> list[RowMapping]:
    """As they are kept, for an export."""
    return list(connection.execute(select(A).where(*those).order_by(A.c.place, A.c.id)).mappings())


def summary(connection: Connection, row: RowMapping, now: float) -> dict[str, Any]:
    hours = running.hours(connection, row, now)
    told = {"hours": hours.hours if hours.until or row["before"] else None, "until": hours.until, "waits": hours.waits}
    told["daily"] = None if hours.daily != hours.daily else hours.daily
    rules = [] if row["retired"] else due(connection, row, hours, now)
    return {"number": row["number"], **{name: row[name] for name in SAID}, **told, "due": rules}


def parts_of(connection: Connection, row: RowMapping) -> list[dict[str, Any]]:
    """What is built in, and after that what was, the newest first; each with the hours that it ran there."""
    number, told = row["number"], []
    last = running.since(connection, number, time.time())
    own = select(P).where(P.c.asset == number).order_by(P.c.removed > 0, P.c.position, P.c.installed.desc()).limit(500)
    for part in connection.execute(own).mappings():
        end = running.since(connection, number, part["removed"]) if part["removed"] else last
        ran = (end - running.since(connection, number, part["installed"])) / 3600
        told.append({**part, "ran": max(0.0, ran) if row["running"] or row["counter"] else None})
    return told


def maintained(connection: Connection, row: RowMapping) -> list[dict[str, Any]]:
    """What was done, the newest first; each with the hours that it ran since."""
    number, told = row["number"], list[dict[str, Any]]()
    last = running.since(connection, number, time.time())
    own = select(D).where(D.c.asset == number).order_by(D.c.at.desc(), D.c.number.desc()).limit(500)
    for deed in connection.execute(own).mappings():
        ran = (last - running.since(connection, number, deed["at"])) / 3600
        told.append({**deed, "ran": max(0.0, ran) if row["running"] or row["counter"] else None})
    return told
