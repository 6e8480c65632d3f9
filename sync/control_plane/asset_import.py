"""Assets of a file taken in at once: read and checked beside the writer, which only keeps what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import Connection, bindparam, select, update

from edge import LinesideError

from . import assets, running
from .asset import Asset
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


async def take(store: Store, given: Sequence[Asset], at: str = "") -> tuple[int, int]:
    """Keep assets of a file, all or none: one whose id is there in its enterprise is changed in what the file says. `at` is where
    those stand that say no place. How many are new, and how many are changed. Raises LinesideError that says which one is wrong."""
    plan = await store.read(lambda c: planned(c, given, at))
    return await store.write(lambda c: keep(c, plan, given, at))


def planned(connection: Connection, given: Sequence[Asset], at: str) -> Plan:
    """Raises LinesideError."""
    ids: list[Id] = []
    for one in given:
        with _named(one):
            ids.append((enterprise(node(one.place or at)), one.id))
    stood, seen, whole = _stood(connection, ids), set[Id](), list[Asset]()
    for name, one in zip(ids, given, strict=True):
        with _named(one):
            if name in seen:
                raise LinesideError("it stands twice in the file")
            seen.add(name)
            whole.append(_merged(one, stood.get(name), at))
    told, now, new, changed = assets.told_of(connection, whole), float(int(time.time())), list[dict[str, Any]](), {}
    for name, one in zip(ids, whole, strict=True):
        with _named(one):
            if was := stood.get(name):
                changed[name] = assets.row_of(told, one, was["begun"], assets.reads_as_before(was, one))
            else:
                new.append(assets.row_of(told, one, now))
    return Plan(stood, new, changed)


def keep(connection: Connection, plan: Plan, given: Sequence[Asset], at: str) -> tuple[int, int]:
    """In the writer's transaction. Where somebody changed one of these assets meanwhile it is planned once more. Raises
    LinesideError."""
    first = assets.number_of(connection, A)
    if _stood(connection, [*plan.stood, *((row["enterprise"], row["id"]) for row in plan.new)]) != plan.stood:
        plan = planned(connection, given, at)
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


@contextmanager
def _named(one: Asset) -> Iterator[None]:
    """A fault of one asset says which it is of. Raises LinesideError."""
    try:
        yield
    except (LinesideError, ValidationError) as error:
        said_of = error.errors() if isinstance(error, ValidationError) else [{"msg": error}]
        why = "; ".join(str(fault["msg"]).removeprefix("Value error, ") for fault in said_of)
        raise LinesideError(f"asset {one.id}: {why}; nothing of the file is kept") from None
