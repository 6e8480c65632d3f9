"""What the plane keeps of the keys and secrets of devices, at hand. What is not is asked for together with all that is asked at
that time: after a start, thousands of devices come at once."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from sqlalchemy import select

from .. import wire
from . import tables
from .database import among
from .store import Store

AT_ONCE = 500  # devices in one question


class Known(NamedTuple):
    """Of one device: the hash of its secret, which proves its messages through a broker, and that of its key, which its certificate
    is for."""

    secret: str
    key: str


class Keys:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Known] = {}
        self.revoked: frozenset[str] = frozenset()
        self._turn = 0  # how often what is known has changed in other ways than by asking
        self._names: set[str] = set()  # to be asked for next
        self._next: asyncio.Task[dict[str, Known]] | None = None
        self._asking = asyncio.Lock()

    async def of(self, device: str, anew: bool = False) -> Known | None:
        """None of a stranger. `anew`: it may have been enrolled again at another process. Raises StoreFault."""
        if device in self.revoked:
            return None
        if not anew and device in self._known:
            return self._known[device]
        if not wire.DEVICE.fullmatch(device):
            return None
        if self._next is None or len(self._names) >= AT_ONCE:
            self._names = set()
            self._next = asyncio.create_task(self._ask(self._names))
            self._next.add_done_callback(_heard)
        self._names.add(device)
        return (await asyncio.shield(self._next)).get(device)

    async def _ask(self, names: set[str]) -> dict[str, Known]:
        async with self._asking:
            if names is self._names:  # who comes from now on is of the next question
                self._next = None
            turn, t = self._turn, tables.device
            wanted = select(t.c.id, t.c.secret, t.c.key).where(t.c.revoked == 0)
            rows = await self._store.glance(lambda c: c.execute(wanted.where(among(c, t.c.id, names))).all())
            found = {row.id: Known(row.secret, row.key) for row in rows}
        if turn == self._turn:
            for device in names - found.keys():
                self._known.pop(device, None)
            self._known |= found
        return found

    async def look(self) -> None:
        """Who is revoked by now, whoever did that. Raises StoreFault."""
        t = tables.device
        wanted = select(t.c.id).where(t.c.revoked > 0)
        self.revoked = frozenset(await self._store.glance(lambda c: c.scalars(wanted).all()))
        for device in self.revoked & self._known.keys():
            self.forget(device)

    def put(self, device: str, known: Known) -> None:
        self._turn += 1
        self._known[device] = known
        self.revoked -= {device}

    def forget(self, device: str = "") -> None:
        """What is known of that device, or of any, may be otherwise by now."""
        self._turn += 1
        if device:
            self._known.pop(device, None)
        else:
            self._known.clear()


def _heard(task: asyncio.Task[dict[str, Known]]) -> None:
    _ = task.cancelled() or task.exception()  # whoever still waits is told
