"""What several processes on one PostgreSQL must not change at the same time. On SQLite there is one process, with one writer, and
commands beside it that write now and then.

What is read here and written back stands on these: where the streams of a device stand, its alarms, the hours that wait for their
roll-up, the number of the next order. They are held until the end of the transaction, and devices before all else, in one order.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from . import tables
from .database import among, on_postgresql

ORDERS = 0x6F726472  # PostgreSQL's advisory lock of who gives an order its number
AUDIT = 0x61756469  # and of who adds to the chain of the audit
ASSETS = 0x61737374  # and of who gives an asset, a part or a work order its number
CASES = 0x63617365  # and of who gives a case its number, and counts them
CLASHES = ("40001", "40P01")  # SQLSTATE: two transactions that wait for each other; one of them is done again
BUSY = (5, 517)  # SQLite: a command beside the plane wrote since this transaction had read


def devices(connection: Connection, names: Iterable[str]) -> None:
    """Wait until nobody else writes of these devices. Whoever reads where they stand after this reads what is true."""
    t, wanted = tables.device, set(names)
    if wanted and on_postgresql(connection):
        held = select(t.c.id).where(among(connection, t.c.id, wanted)).order_by(t.c.id)
        connection.execute(held.with_for_update(key_share=True)).all()


def orders(connection: Connection) -> None:
    """Wait until nobody else queues an order: numbers become visible in their order, since a device asks for those above one."""
    if on_postgresql(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ORDERS})")


def assets(connection: Connection) -> None:
    """Wait until nobody else gives a number to an asset or to what belongs to one."""
    if on_postgresql(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ASSETS})")


def audit(connection: Connection) -> None:
    """Wait until nobody else adds to the chain of the audit."""
    if on_postgresql(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({AUDIT})")


def cases(connection: Connection) -> None:
    """Wait until nobody else writes a fault case: how many there are of a place is counted before one more is taken."""
    if on_postgresql(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({CASES})")


def clashed(error: Exception) -> bool:
    """Whether the database gave this transaction up for another one's sake."""
    if not isinstance(error, DBAPIError):
        return False
    return getattr(error.orig, "sqlstate", None) in CLASHES or getattr(error.orig, "sqlite_errorcode", None) in BUSY
