"""Orders that wait in the database for their devices."""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy import Connection, func, select

from . import hold, tables
from .standing import FURTHEST
from .twin import newest


def orders(connection: Connection, device: str, after: int, twin: int) -> list[tuple[int, str, str, float]]:
    """(number, verb, data, when) of what a device does not know yet."""
    t = tables.command
    asked = select(t.c.number, t.c.verb, t.c.data, t.c.created).where(t.c.device == device, t.c.number > after)
    rows = [row._tuple() for row in connection.execute(asked.order_by(t.c.number).limit(50))]
    generation = newest(connection, device) if twin < FURTHEST else 0
    hint = [(0, "twin", json.dumps({"generation": generation}), time.time())] if generation > twin else []
    return hint + rows


def queue(connection: Connection, device: str, verb: str, data: dict[str, Any]) -> int:
    """Queue an order for a device; its number. One with an `id` that was queued already is that one. Numbers follow the clock (ms),
    so that a plane restored from a backup gives none a second time. In the writer's transaction."""
    hold.orders(connection)
    t = tables.command
    if same := data.get("id"):
        named = t.c.data.contains(f'"id": {json.dumps(same)}', autoescape=True)
        known = select(t.c.number).where(t.c.device == device, t.c.verb == verb, named)
        if (found := connection.scalar(known.order_by(t.c.number.desc()).limit(1))) is not None:
            return int(found)
    last = connection.scalar(select(func.max(t.c.number))) or 0
    row = {"device": device, "verb": verb, "data": json.dumps(data), "created": time.time()}
    number = max(last + 1, time.time_ns() // 1_000_000)
    connection.execute(t.insert().values(**row, number=number))
    return number


def since(connection: Connection, number: int | None) -> tuple[int, set[str]]:
    """(the highest number of an order, the devices with orders above `number`; None: just the number)."""
    t = tables.command
    if number is None:
        return connection.scalar(select(func.max(t.c.number))) or 0, set()
    rows = connection.execute(select(t.c.number, t.c.device).where(t.c.number > number).order_by(t.c.number)).all()
    return (rows[-1][0] if rows else number), {device for _, device in rows}
