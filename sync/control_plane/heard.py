"""Which devices ask and tell without delivering anything: they are heard too, which the database is told once a minute of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sqlalchemy import Connection, update

from . import tables
from .database import among

EVERY = 60.0  # seconds


class Heard:
    """`saw` is called for each message; `due` is what the database does not know yet."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told: dict[str, float] = {}
        self._fresh: set[str] = set()

    def saw(self, device: str) -> None:
        if self._now() - self._told.get(device, -EVERY) >= EVERY:
            self._fresh.add(device)

    def due(self) -> set[str]:
        """Those that were seen, and not told of in the last minute; they count as told now."""
        fresh, self._fresh = self._fresh, set()
        self._told.update(dict.fromkeys(fresh, self._now()))
        return fresh


def note(connection: Connection, devices: Iterable[str], now: float) -> None:
    """They were heard at `now` (s UTC). What is much later was noted before the clock was set back."""
    t = tables.device
    newer = ~t.c.seen.between(now, now + EVERY)
    connection.execute(update(t).where(among(connection, t.c.id, devices), newer).values(seen=now))
