"""Assets of a file taken in at once: read and checked beside the writer, which only keeps what came of it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import Connection, bindparam, select, update

from edge import LinesideError

from . import assets, running
from .access import ELSEWHERE, Scope
from .asset import Asset
from .asset_files import Line, refuse
from .asset_tables import asset as A
from .database import among
from .store import Store
from .tree import enterprise, node

Id = tuple[str, str]  # its enterprise, and how it is called there


class Plan(NamedTuple):
    """What is to be kept, by what stood (the assets of these ids, each with its number): new rows, and changed ones."""

    stood: Mapping[Id, Mapping[str, Any]]
    new: list[dict[str, Any]]
    changed: Mapping[Id, dict[str, Any]]


async def take(store: Store, given: Sequence[Line], at: str = "", asks: Scope | None = None) -> tuple[int, int]:
    """Keep assets of a file, all or none: one whose id is there in its enterprise is changed in what the file says. `at` is where
    those stand that say no place, `asks` who asks, if not who looks after the whole plane. How many are new, and how many are
    changed. Raises LinesideError that says which are wrong."""
    plan = await store.read(lambda c: planned(c, given, at, asks))
    return await store.write(lambda c: keep(c, plan, given, at, asks))


def planned(connection: Connection, given: Sequence[Line], at: str, asks: Scope | None = None) -> Plan:
    """Raises LinesideError with what is wrong, by line."""
    faults, ids, whole, first = dict[str, str](), dict[str, Id](), dict[str, Asset](), dict[Id, str]()
    for line in given:
        with _told(line, faults):
            name = ids[line.where] = (enterprise(node(line.asset.place or at)), line.asset.id)
            if (before := first.setdefault(name, line.where)) != line.where:
                raise LinesideError("it stands twice in the file", hint=f"first at {before}")
    stood, devices = _stood(connection, list(first)), asks.devices(connection) if asks else None
    sound = [line for line in given if line.where not in faults]
    for line in sound:
        with _told(line, faults):
            was = stood.get(ids[line.where])
            one = _merged(line.asset, was, at)
            if asks:
                _theirs(asks, devices, one, was)
            whole[line.where] = one
    told, now, new, changed = assets.told_of(connection, [*whole.values()]), float(int(time.time())), [], {}
    for line in (line for line in sound if line.where in whole):
        with _told(line, faults):
            one = whole[line.where]
            if was := stood.get(name := ids[line.where]):
                changed[name] = assets.row_of(told, one, was["begun"], assets.reads_as_before(was, one))
            else:
                new.append(assets.row_of(told, one, now))
    refuse([faults[line.where] for line in given if line.where in faults])
    return Plan(stood, new, changed)


def keep(
    connection: Connection, plan: Plan, given: Sequence[Line], at: str, asks: Scope | None = None
) -> tuple[int, int]:
    """In the writer's transaction. Where somebody changed one of these assets meanwhile it is planned once more. Raises
    LinesideError."""
    first = assets.number_of(connection, A)
    if _stood(connection, [*plan.stood, *((row["enterprise"], row["id"]) for row in plan.new)]) != plan.stood:
        plan = planned(connection, given, at, asks)
    if plan.new:
        rows = [{"number": n, **row, "behind": running.behind(row)} for n, row in enumerate(plan.new, first)]
        connection.execute(A.insert(), rows)
    other = [(plan.stood[name], row) for name, row in plan.changed.items() if _unlike(plan.stood[name], row)]
    if other:
        names: dict[str, Any] = {name: bindparam(f"its_{name}") for name in other[0][1]}
        rows = [{"of_number": was["number"], **{f"its_{name}": row[name] for name in names}} for was, row in other]
        connection.execute(update(A).where(A.c.number == bindparam("of_number")).values(**names), rows)
    for was, row in other:
        assets.counts_otherwise(connection, was["number"], was, row)
    return len(plan.new), len(plan.changed)


def _stood(connection: Connection, ids: Sequence[Id]) -> dict[Id, dict[str, Any]]:
    """Of all that people say of an asset; how far it is counted changes by itself."""
    names = {name for _, name in ids}
    own = select(A).where(A.c.enterprise.in_({it for it, _ in ids}), among(connection, A.c.id, names))
    wanted = set(ids)
    return {
        name: {key: value for key, value in row.items() if key != "behind"}
        for row in connection.execute(own).mappings()
        if (name := (row["enterprise"], row["id"])) in wanted
    }


def _merged(one: Asset, was: Mapping[str, Any] | None, at: str) -> Asset:
    """An asset of a file with what stood in columns that the file does not have."""
    if was is None:
        return one if one.place else one.model_copy(update={"place": at})
    said = one.model_dump(by_alias=True, include=one.model_fields_set - (set() if one.place else {"place"}))
    return Asset.model_validate({**assets.given_as(was), **said})


def _unlike(was: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return any(was[name] != value for name, value in row.items())


def _theirs(asks: Scope, devices: Collection[str] | None, one: Asset, was: Mapping[str, Any] | None) -> None:
    """Whether somebody may make an asset so; `devices` are all of theirs (None: every one). Raises LinesideError."""
    if was is not None and not asks.holds(was["place"]):
        where = was["enterprise"] or "the whole plane"
        raise LinesideError(f"there is an asset {one.id} in {where} already", hint="at a place that is not yours")
    if not asks.holds(node(one.place)):
        raise LinesideError(f"your roles do not reach {one.place or 'the root'}", hint="name a place below your own")
    known = was is not None and assets.reads_as_before(was, one)
    if one.device and not known and devices is not None and one.device not in devices:
        raise LinesideError(ELSEWHERE)


@contextmanager
def _told(line: Line, faults: dict[str, str]) -> Iterator[None]:
    """What is wrong with one asset comes to the faults, by where it stands."""
    try:
        yield
    except (LinesideError, ValidationError) as error:
        said_of = error.errors() if isinstance(error, ValidationError) else [{"msg": error}]
        why = "; ".join(str(fault["msg"]).removeprefix("Value error, ") for fault in said_of)
        faults[line.where] = f"{line.where}: {line.asset.id}: {why}"
