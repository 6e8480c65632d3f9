"""Orders of Sparkplug hosts (DCMD): carried out where the site allows it, as docs/writes.md has it, else refused and told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from edge import SECOND, Event, Host, Tag, Write, WriteRefused, log

from .orders import LONGEST_KEY, refused
from .sparkplug_heard import Order, value_of
from .sparkplug_payload import DATATYPES, DOUBLE

NAME = CAUSE = "sparkplug"
MOST_WAITING = 64
TOLD_EVERY = 10 * SECOND  # at most one event in this time of orders to a site that takes none
NOT_HERE = "this site takes no orders of Sparkplug hosts; `sparkplug: {writes: true}` allows them"


class Orders:
    """`take` on the loop, without blocking; `serve` carries out one after another. Each is journaled before it goes out, and
    counts its age from when it came."""

    def __init__(self, allowed: bool, host: Host) -> None:
        self._allowed, self._host = allowed, host
        self._waiting: asyncio.Queue[tuple[str, Order, int]] = asyncio.Queue(MOST_WAITING)
        self._told_at = 0

    def take(self, source: str, orders: Iterable[Order]) -> None:
        """Orders to the device `source` of the node."""
        now = self._host.clock.mono()
        for order in orders:
            if not self._allowed:
                self._host.health.count(NAME, "orders_refused")
                if now >= self._told_at:
                    self._told_at = now + TOLD_EVERY
                    self._refuse(_called(source, order), order.value, NOT_HERE)
            elif self._waiting.full():
                self._host.health.count(NAME, "orders_dropped")
                log.warning("%s: an order to %s is dropped: %d wait already", NAME, source[:LONGEST_KEY], MOST_WAITING)
            else:
                self._waiting.put_nowait((source, order, now))

    async def serve(self) -> None:
        """For ever."""
        while True:
            await self._carry_out(*await self._waiting.get())

    async def _carry_out(self, source: str, order: Order, came: int) -> None:
        try:
            tag = self._tag(source, order)
            if (value := value_of(order, DATATYPES.get(tag.fits, DOUBLE))) is None:
                raise WriteRefused(f"{str(order.value)[:LONGEST_KEY]!r} is no {tag.fits}, which {tag.name} is")
        except WriteRefused as error:
            self._refuse(_called(source, order), order.value, str(error))
            return
        self._host.accept(Event("command", "write", data={"tag": tag.name, "value": value, "by": CAUSE}))
        if not await self._host.journal.commit():
            self._refuse(tag.name, value, f"the journal cannot keep it: {self._host.journal.trouble}")
            return
        lives = tag.writable.expires if tag.writable else 0.0
        self._host.accept(Write(tag.id, value, expires=came + round(lives * SECOND), cause=CAUSE))

    def _tag(self, source: str, order: Order) -> Tag:
        """Raises WriteRefused."""
        table = self._host.live.table
        dotted, found = order.name.replace("/", "."), None
        for name in (f"{source}.{dotted}", dotted):
            if order.name and found is None and name in table:
                found = table[name]
        if not order.name:
            with contextlib.suppress(KeyError):
                found = table.by_id(order.alias)
        if found is None or found.source != source:
            raise WriteRefused("this device has no such metric")
        return found

    def _refuse(self, name: str, value: float | str, why: str) -> None:
        self._host.accept(refused(name, value, CAUSE, why))


def _called(source: str, order: Order) -> str:
    return f"{source}.{order.name.replace('/', '.') or order.alias}"
