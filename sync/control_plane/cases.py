"""Fault cases at nodes of the tree: those of a place serve the devices there and below it, and those of the places above do, too.

What a device gets is one document, the same bytes for the same cases, named by the beginning of its SHA-256. Where cases of one id
stand at several of its places, the one nearest to the device goes there.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, update

from edge import MOST_CASE_BYTES, MOST_CASES, Case, LinesideError, joined_cases, packed_case, words_of_case

from .. import wire
from . import hold, tables
from .access import Scope, place_of
from .database import upsert
from .tree import above, is_below
from .twin import Want, want

KIND = "cases"  # of what is wanted of a device, and its name there
T = tables.fault_case
DIGITS = 16  # of a SHA-256, by which a document is called
EMPTY = len(joined_cases(()))  # bytes of a document without cases
NODES = ("asset", "component", "symptom", "cause", "remedy")


class Kept(NamedTuple):
    """A case, where it stands, who wrote it last and when (s UTC); `version` is another one for each text of it."""

    number: int
    place: str
    at: float
    by: str
    version: str
    case: Case

    def as_json(self) -> dict[str, Any]:
        head = {"number": self.number, "place": self.place, "at": self.at, "by": self.by, "version": self.version}
        return {**head, "case": self.case.model_dump(mode="json")}


_COLUMNS = (T.c.number, T.c.place, T.c.id, T.c.at, T.c.by, T.c.body)


def _kept(row: Any) -> Kept:
    version = _version(row.body.encode())
    return Kept(row.number, row.place, row.at, row.by, version, Case.model_validate_json(row.body))


def seen_by(asks: Scope) -> list[ColumnElement[bool]]:
    """What a query of cases needs so that it finds those of somebody: at their nodes and below, and those of the places above,
    which serve there. Nothing for who sees all."""
    if asks.whole:
        return []
    higher = {place for top in asks.places for place in above(top)}
    return [or_(is_below(T.c.place, asks.places), T.c.place.in_(sorted(higher)))]


def serves(place: str) -> ColumnElement[bool]:
    """That a case serves the devices of a place."""
    return T.c.place.in_(above(place))


def listed(connection: Connection, *where: ColumnElement[bool], skip: int = 0, most: int = MOST_CASES) -> list[Kept]:
    """Cases by their ids."""
    rows = connection.execute(select(*_COLUMNS).where(*where).order_by(T.c.id, T.c.place).offset(skip).limit(most))
    return [_kept(row) for row in rows]


def counted(connection: Connection, *where: ColumnElement[bool]) -> int:
    return connection.scalar(select(func.count()).select_from(T).where(*where)) or 0


def served(connection: Connection, place: str) -> list[Kept]:
    """The cases that serve a place, by id; of the same id the nearest alone."""
    return [_kept(row) for row in _nearest(connection, place)]


def document(connection: Connection, place: str) -> bytes:
    """The same as a device there gets them; empty where there are none."""
    rows = _nearest(connection, place)
    return joined_cases(row.body for row in rows) if rows else b""


def _nearest(connection: Connection, place: str) -> list[Any]:
    rows = connection.execute(select(*_COLUMNS).where(serves(place))).all()
    found = {row.id: row for row in sorted(rows, key=lambda row: len(row.place))}
    return [found[name] for name in sorted(found)]


# Changes, within the writer. Each says also of which devices something else is wanted by it: they are to be nudged


def ready(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Cases as rows, for `take_in`. Of a whole file it takes a while: beside the writer."""
    return [_row(case) for case in cases]


def take_in(connection: Connection, place: str, rows: Sequence[dict[str, Any]], by: str) -> tuple[int, int, set[str]]:
    """Keep what is `ready` at a place; one with an id that is there takes its place. (new, anew, devices). Raises LinesideError,
    and keeps none, where a device would have to take too many."""
    hold.cases(connection)
    there = dict(connection.execute(select(T.c.id, T.c.number).where(T.c.place == place)).tuples().all())
    anew = sum(row["id"] in there for row in rows)
    numbers = itertools.count(_next(connection))
    more = {"place": place, "at": time.time(), "by": by[:80]}
    upsert(connection, T, *({**row, **more, "number": there.get(row["id"]) or next(numbers)} for row in rows))
    _fits(connection, place)
    return len(rows) - anew, anew, spread(connection, place)


def add(connection: Connection, place: str, case: Case, by: str) -> tuple[Kept, set[str]]:
    """One more. Raises LinesideError where its id is there already."""
    hold.cases(connection)
    if connection.scalar(select(T.c.number).where(T.c.place == place, T.c.id == case.id)):
        raise LinesideError(f"there is a case {case.id!r} at {place or 'the root'} already", hint="change that one")
    _, _, devices = take_in(connection, place, ready([case]), by)
    (row,) = listed(connection, T.c.place == place, T.c.id == case.id)
    return row, devices


def change(connection: Connection, number: int, case: Case, by: str, version: str) -> tuple[Kept, set[str]]:
    """Another text for one that is there, which stays at its place. Raises LinesideError, also where it is not that version."""
    hold.cases(connection)
    before = _as_read(of(connection, number), version)
    same = select(T.c.number).where(T.c.place == before.place, T.c.id == case.id, T.c.number != number)
    if connection.scalar(same):
        raise LinesideError(f"there is another case {case.id!r} at {before.place or 'the root'}")
    connection.execute(update(T).where(T.c.number == number).values(**_row(case), at=time.time(), by=by[:80]))
    _fits(connection, before.place)
    (row,) = listed(connection, T.c.number == number)
    return row, spread(connection, before.place)


def remove(connection: Connection, number: int, version: str) -> set[str]:
    """The devices of one that is removed. Raises LinesideError where it is not that version."""
    hold.cases(connection)
    before = _as_read(of(connection, number), version)
    connection.execute(delete(T).where(T.c.number == number))
    return spread(connection, before.place)


def _as_read(row: Kept | None, version: str) -> Kept:
    """A case as somebody read it who changes it now. Raises LinesideError."""
    if row is None:
        raise LinesideError("there is no such case any more", hint="somebody has removed it")
    if row.version != version:
        hint = "read what it says now, and change that"
        raise LinesideError(f"{row.by} has written this case anew since you read it", hint=hint)
    return row


def of(connection: Connection, number: int, *where: ColumnElement[bool]) -> Kept | None:
    """One case."""
    row = connection.execute(select(*_COLUMNS).where(T.c.number == number, *where)).first()
    return _kept(row) if row else None


def _row(case: Case) -> dict[str, Any]:
    body = packed_case(case)
    texts = {name: getattr(case, name).strip() for name in NODES}
    return {"id": case.id, **texts, "words": words_of_case(case), "body": body, "size": len(body.encode())}


def _next(connection: Connection) -> int:
    """Numbers follow the clock (ms), so that none comes a second time after a restored backup either."""
    last: int = connection.scalar(select(func.max(T.c.number))) or 0
    return max(last + 1, time.time_ns() // 1_000_000)


def _fits(connection: Connection, changed: str) -> None:
    """Raises LinesideError where a device at that place or below would have more to take than it can."""
    sums = select(T.c.place, func.count(), func.sum(T.c.size + 1)).group_by(T.c.place)
    here = {place: (many, int(size)) for place, many, size in connection.execute(sums).tuples()}
    for place in sorted({changed, *here}):
        if changed not in above(place):
            continue
        of_nodes = [here[one] for one in above(place) if one in here]
        if _too_much(*map(sum, zip(*of_nodes, strict=True))) and _too_much(*(taken := _taken(connection, place))):
            most = f"{MOST_CASES:,} cases and {MOST_CASE_BYTES:,} bytes are the most"
            many, size = taken[0], taken[1] + EMPTY
            said = f"with those of the places above it {place or 'the root'} would have {many:,} cases, {size:,} bytes"
            raise LinesideError(said, hint=f"{most} that a device takes; remove some, or put them further down")


def _too_much(many: int = 0, size: int = 0) -> bool:
    return many > MOST_CASES or size + EMPTY > MOST_CASE_BYTES


def _taken(connection: Connection, place: str) -> tuple[int, int]:
    """How many cases a device there takes, and how many bytes they are: of the same id the nearest alone."""
    rows = connection.execute(select(T.c.id, T.c.place, T.c.size).where(serves(place))).all()
    sizes = {row.id: row.size + 1 for row in sorted(rows, key=lambda row: len(row.place))}
    return len(sizes), sum(sizes.values())


# What devices are to have


def spread(connection: Connection, place: str) -> set[str]:
    """Want of each device there and below that takes cases what serves it by now; of which devices that is something else.
    Within the writer."""
    hold.cases(connection)
    w, d = tables.want, tables.device
    takes = select(d.c.id, d.c.site, w.c.version).join(w, w.c.device == d.c.id).where(w.c.kind == KIND)
    rows = connection.execute(takes.where(*([is_below(d.c.site, (place,))] if place else []))).all()
    having = set(connection.scalars(select(T.c.place).distinct())) if rows else set()
    made: dict[tuple[str, ...], str] = {}
    wants = []
    for device, site, version in rows:
        nodes = tuple(one for one in above(site) if one in having)
        if nodes not in made:
            made[nodes] = _version(document(connection, site))
        if made[nodes] != version:
            wants.append(Want(device, KIND, KIND, made[nodes]))
    if wants:
        want(connection, wants)
    return {one.device for one in wants}


def lacks(connection: Connection, device: str) -> bool:
    """Whether a device that takes cases is wanted to have others than those that serve it now, or never was asked to have any."""
    w = tables.want.c
    version = connection.scalar(select(w.version).where(w.device == device, w.kind == KIND))
    return version != _version(document(connection, place_of(connection, device) or ""))


def give(connection: Connection, device: str) -> None:
    """Want of it what serves it now, even where that is nothing: from then on it hears of each change. Within the writer."""
    hold.cases(connection)  # a change under way knows nothing of it yet
    if lacks(connection, device):
        version = _version(document(connection, place_of(connection, device) or ""))
        want(connection, [Want(device, KIND, KIND, version)])


def _version(body: bytes) -> str:
    return wire.digest(body)[:DIGITS] if body else ""


def part(connection: Connection, device: str, version: str, at: int, most: int) -> tuple[int, bytes] | None:
    """(bytes in all, those from `at` on) of what serves a device now, if that is what it is called."""
    body = document(connection, place_of(connection, device) or "")
    return (len(body), body[at : at + most]) if body and _version(body) == version else None
