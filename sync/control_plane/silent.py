"""A device of an older release passes over an order of a kind that it does not know, without a word: the plane answers for it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, desc, select

from edge import Event

from .. import wire
from . import hold, tables
from .live import Hub
from .own import PLANE, tell
from .store import Store

TOLD = ("epoch", "seq", "part", "state", "by")
MOST = 1000  # orders, and answers, that are looked through


class Silent:
    """Of those devices."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store, self._hub = store, hub
        self._looked: set[str] = set()

    async def look(self, device: str, orders: Iterable[Any]) -> None:
        """Refuse what of these orders, which it is about to get, it does not know; at first of all that it ever got."""
        numbers = [order.number for order in orders if order.verb not in wire.ALWAYS_KNOWN]
        if device not in self._looked:
            numbers += await self._store.glance(lambda c: _unknown(c, device))
        if numbers:
            new = await self._store.write(lambda c: _refuse(c, device, numbers))
            if new:
                self._hub.tell({"kind": "events", "device": device})
        self._looked.add(device)


def _unknown(connection: Connection, device: str) -> list[int]:
    t = tables.command
    wanted = select(t.c.number).where(t.c.device == device, t.c.verb.not_in(wire.ALWAYS_KNOWN))
    return list(connection.scalars(wanted.order_by(desc(t.c.number)).limit(MOST)))


def _refuse(connection: Connection, device: str, numbers: list[int]) -> int:
    """Each once, in an event of the plane; how many are new. In the writer's transaction."""
    hold.orders(connection)
    t = tables.command
    orders = connection.execute(select(t.c.number, t.c.verb, t.c.data).where(t.c.number.in_(numbers))).all()
    answered = _answered(connection)
    events = [_refusal(device, n, verb, json.loads(data)) for n, verb, data in orders if n not in answered]
    tell(connection, events)
    return len(events)


def _answered(connection: Connection) -> set[Any]:
    e = tables.event
    ours = (e.c.device == PLANE, e.c.kind == "command", e.c.state == "refused")
    told = connection.scalars(select(e.c.data).where(*ours).order_by(desc(e.c.ts), desc(e.c.seq)).limit(2 * MOST))
    return {json.loads(data).get("number") for data in told}


def _refusal(device: str, number: int, verb: str, data: Mapping[str, Any]) -> Event:
    said = {"device": device, "number": number} | {name: data[name] for name in TOLD if name in data}
    text = f"the release that runs on {device} does not know such an order; update it, then give the order again"
    return Event("command", verb, "refused", time.time_ns(), "low", text, said)
