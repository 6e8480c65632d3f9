"""Names of objects that no picture has yet, or no longer: noted before they are put and in the transaction that forgets their
picture, so that none lies in the store for ever after a kill."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import Connection, delete, exists, select, update

from . import tables
from .database import insert_new

AT_ONCE = 500
CLAIMED = 0.0  # `at` of those that are being dropped


def note(connection: Connection, names: Iterable[str]) -> None:
    insert_new(connection, tables.loose, [{"name": name, "at": time.time()} for name in names])


def placed(connection: Connection, name: str) -> bool:
    """A picture has it now; not where it waited so long that it is being dropped."""
    t = tables.loose
    return connection.execute(delete(t).where(t.c.name == name, t.c.at > CLAIMED)).rowcount > 0


def claimed(connection: Connection, before: float) -> list[str]:
    """Some noted before that time (seconds) which no picture has: from now on none gets them, and they can be dropped."""
    t, p = tables.loose, tables.picture
    some = select(t.c.name).where(t.c.at < before, ~exists().where(p.c.place == t.c.name)).limit(AT_ONCE)
    names = list(connection.scalars(some))
    connection.execute(update(t).where(t.c.name.in_(names)).values(at=CLAIMED))
    return names


def dropped(connection: Connection, names: Iterable[str]) -> None:
    t = tables.loose
    connection.execute(delete(t).where(t.c.name.in_(list(names))))
