"""Numbers that people say to each other, of rollouts, assets and work orders: 1, 2, 3, and none a second time. What a plane gave
after its last backup the restored one does not know, so it leaves room for that."""

from __future__ import annotations

from sqlalchemy import Connection, Table, func, select

from . import tables
from .asset_tables import asset, asset_part, maintenance, work_order
from .database import upsert

ROOM = 1000  # numbers that may have been given between a backup and its restoration
COUNTED = (tables.rollout, asset, asset_part, maintenance, work_order)
F = tables.first_number


def next_of(connection: Connection, table: Table) -> int:
    """Where nobody else gives one at the same time."""
    last = connection.scalar(select(func.max(table.c.number))) or 0
    first = connection.scalar(select(F.c.number).where(F.c.name == table.name)) or 1
    return int(max(last + 1, first))


def keep(connection: Connection, table: Table) -> None:
    """To be called before a row goes, where nobody else gives a number at the same time: what was said of it is of nothing else."""
    upsert(connection, F, {"name": table.name, "number": next_of(connection, table)})


def restored(connection: Connection) -> None:
    """To be called in a database that was filled from a backup."""
    upsert(connection, F, *({"name": t.name, "number": next_of(connection, t) + ROOM} for t in COUNTED))
