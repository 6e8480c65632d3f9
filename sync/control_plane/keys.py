"""What the plane keeps of the secrets of devices, at hand. What is not is asked for together with all that is asked at that time:
after a start, thousands of devices come at once."""

from __future__ import annotations

import asyncio

from sqlalchemy import select

from .. import wire
from . import tables
from .database import among
from .store import Store

AT_ONCE = 500  # devices in one question


class Keys:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, str] = {}  # device -> hash of its secret
        self._turn = 0  # how often what is known has changed in other ways than by asking
        self._names: set[str] = set()  # to be asked for next
        self._next: asyncio.Task[dict[str, str]] | None = None
        self._asking = asyncio.Lock()

    async def of(self, device: str, anew: bool = False) -> str | None:
        """None of a stranger. `anew`: it may have been enrolled again at another process. Raises StoreFault."""
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

    async def _ask(self, names: set[str]) -> dict[str, str]:
        async with self._asking:
            if names is self._names:  # who comes from now on is of the next question
                self._next = None
            turn, t = self._turn, tables.device
            found = await self._store.glance(
                lambda c: dict(c.execute(select(t.c.id, t.c.secret).where(among(c, t.c.id, names))).all())
            )
        if turn == self._turn:
            for device in names - found.keys():
                self._known.pop(device, None)
            self._known |= found
        return found

    def put(self, device: str, key: str) -> None:
        self._turn += 1
        self._known[device] = key

    def forget(self, device: str = "") -> None:
        """The secret of that device, or of any, may be another one by now."""
        self._turn += 1
        if device:
            self._known.pop(device, None)
        else:
            self._known.clear()


def _heard(task: asyncio.Task[dict[str, str]]) -> None:
    _ = task.cancelled() or task.exception()  # whoever still waits is told
