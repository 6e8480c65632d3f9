"""Who may see a picture: it has no place of its own, so what names it decides. And who may have a fault case name it: a case
shows its pictures to all who see the case, so nobody lends by it what they do not see."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import Connection, select

from edge import Case

from . import tables
from .access import Scope
from .cases import T, of, seen_by
from .database import among

Place = tuple[str, str, int]  # of an event: device, epoch, seq


def by_event(connection: Connection, asks: Scope, digest: str, at: Place) -> bool:
    """Whether that event is of a device of theirs, and names the picture."""
    return digest in _refs(connection, asks, at)


def by_case(connection: Connection, asks: Scope, digest: str, number: int) -> bool:
    """Whether the fault case of that number is one that they see, and names the picture."""
    row = of(connection, number, *seen_by(asks))
    return row is not None and digest in row.case.pictures


def not_theirs(connection: Connection, asks: Scope, cases: Iterable[Case], at: Place = ("", "", 0)) -> list[str]:
    """The pictures here of these cases that neither that event of a device of theirs names, nor a case that they see."""
    wanted = {digest for case in cases for digest in case.pictures}
    if asks.whole or not wanted or not (wanted := wanted - _refs(connection, asks, at)):
        return []
    bodies = connection.scalars(select(T.c.body).where(*seen_by(asks), T.c.body.contains('"pictures":["')))
    wanted -= {digest for body in bodies for digest in Case.model_validate_json(body).pictures}
    t = tables.picture
    return sorted(connection.scalars(select(t.c.digest).where(among(connection, t.c.digest, wanted))))


def _refs(connection: Connection, asks: Scope, at: Place) -> set[str]:
    t = tables.event
    where = zip((t.c.device, t.c.epoch, t.c.seq), at, strict=True)
    named = select(t.c.refs).where(*(column == value for column, value in where), *asks.narrow(t.c.device))
    return set(json.loads(connection.scalar(named) or "[]"))
