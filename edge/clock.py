"""Time, passed in."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Protocol

SECOND = 1_000_000_000
SMALLEST_STEP = SECOND // 20
RELEASED = 1_735_689_600 * SECOND  # 2025: a clock that says less was not set


class Clock(Protocol):
    def utc(self) -> int:
        """Nanoseconds since 1970, UTC, in whole microseconds."""
        ...

    def mono(self) -> int:
        """Nanoseconds that never jump; only differences mean anything."""
        ...


def is_sure(clock: Clock) -> bool:
    """Whether its UTC can be believed. One that says nothing of it can."""
    return getattr(clock, "sure", True)


class SystemClock:
    """The machine's own clock, carried on by the monotonic one: it is stepped by `look` alone, at a moment that is known. Stamps
    are whole microseconds: nothing here samples faster, and they compress."""

    def __init__(self) -> None:
        self.sure = True
        self._offset = _offset()

    def utc(self) -> int:
        return (time.monotonic_ns() + self._offset) // 1000 * 1000

    def mono(self) -> int:
        return time.monotonic_ns()

    def look(self) -> int:
        """Take over a step of the machine's clock; nanoseconds, 0 where there was none. NTP that only slews moves both alike."""
        found = _offset()
        step = found - self._offset
        if abs(step) < SMALLEST_STEP:
            return 0
        self._offset = found
        return step


def _offset() -> int:
    """UTC less monotonic time; read again where something came in between."""
    for _ in range(5):
        before, utc, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after - before < 1_000_000:
            break
    return utc - (before + after) // 2


def is_set(newest: int) -> bool:
    """Whether the machine's clock can be believed: NTP has set it, or it is not behind `newest` (what was recorded, ns) and the
    board has a clock that runs without power."""
    if synchronized():
        return True
    return time.time_ns() > max(RELEASED, newest - 60 * SECOND) and not _board_without_clock()


def synchronized() -> bool:
    """Whether the kernel says that NTP keeps its clock. False where it cannot be asked."""
    state = ctypes.create_string_buffer(512)  # struct timex, zeros: nothing is set
    try:
        return ctypes.CDLL(None).adjtimex(state) in range(5)  # 5: not synchronized
    except (OSError, AttributeError):
        return False


def _board_without_clock() -> bool:
    return Path("/proc/device-tree").exists() and not any(Path("/sys/class/rtc").glob("rtc*"))


class ManualClock:
    """A clock that stands still until moved: for tests, rehearsals and backtests."""

    def __init__(self, utc: int = 1_700_000_000 * SECOND, mono: int = SECOND) -> None:
        self.sure, self._step = True, 0
        self._utc, self._mono = utc, mono

    def utc(self) -> int:
        return self._utc

    def mono(self) -> int:
        return self._mono

    def advance(self, seconds: float) -> None:
        step = round(seconds * SECOND)
        self._utc += step
        self._mono += step

    def step(self, nanoseconds: int) -> None:
        """Somebody sets the machine's clock; `look` takes it over."""
        self._step += nanoseconds

    def look(self) -> int:
        step, self._step = self._step, 0
        self._utc += step
        return step

    def advance_to(self, mono: int) -> None:
        step = max(0, mono - self._mono)
        self._utc += step
        self._mono += step
