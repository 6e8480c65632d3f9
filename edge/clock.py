"""Time, passed in."""

from __future__ import annotations

import time
from typing import Protocol

SECOND = 1_000_000_000


class Clock(Protocol):
    def utc(self) -> int:
        """Nanoseconds since 1970, UTC, in whole microseconds."""
        ...

    def mono(self) -> int:
        """Nanoseconds that never jump; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clock. Stamps are whole microseconds: nothing here samples faster, and they compress."""

    def utc(self) -> int:
        return time.time_ns() // 1000 * 1000

    def mono(self) -> int:
        return time.monotonic_ns()


class ManualClock:
    """A clock that stands still until moved: for tests, rehearsals and backtests."""

    def __init__(self, utc: int = 1_700_000_000 * SECOND, mono: int = SECOND) -> None:
        self._utc, self._mono = utc, mono

    def utc(self) -> int:
        return self._utc

    def mono(self) -> int:
        return self._mono

    def advance(self, seconds: float) -> None:
        step = round(seconds * SECOND)
        self._utc += step
        self._mono += step

    def advance_to(self, mono: int) -> None:
        step = max(0, mono - self._mono)
        self._utc += step
        self._mono += step
