"""A clock that is not set, is set late, or jumps: what was stamped by it is marked, told of, and moved once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .batch import Batch, Quality
from .clock import SECOND, Clock, is_set
from .event import Event
from .log import log

OURS = 60 * SECOND  # a stamp that is nearer to our clock than this is by our clock


@runtime_checkable
class Settable(Clock, Protocol):
    """A clock that somebody else may set."""

    sure: bool

    def look(self) -> int: ...


class Timekeeper:
    """Looks at the clock each second. Intervals are monotonic everywhere, so rules and cycles go on whatever it shows; while it is
    not believed, samples are CLOCK_UNSURE, and a step moves those that are in no sealed block yet."""

    def __init__(
        self, clock: Settable, journal: Any, accept: Callable[[Event], None], believed: Callable[[int], bool] = is_set
    ) -> None:
        self._clock, self._journal, self._accept, self._believed = clock, journal, accept, believed
        self._newest = journal.newest
        self._since = clock.utc()
        clock.sure = believed(self._newest)
        if not clock.sure:
            log.warning("the clock of this machine is not set: samples are CLOCK_UNSURE until it is")

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.look()

    def look(self) -> None:
        """Take over what happened to the clock, and say so."""
        clock, before = self._clock, self._clock.utc()
        if (step := clock.look()) and not clock.sure:
            self._journal.rebase(self._since - OURS, before + OURS, step)
            self._since = min(self._since, before) + step
        known = not clock.sure and self._believed(self._newest)
        clock.sure = clock.sure or known
        if not step and not known:
            return
        data = {"by": step / SECOND, "from": self._since, "to": clock.utc()}
        if known:
            text, state = "the clock is set: what was stamped before, since the start, may not be right", "set"
        else:
            text, state = f"the clock was set by {step / SECOND:+,.1f} s", "stepped"
        log.warning("%s", text)
        self._accept(Event("clock", "clock", state, clock.utc(), "info" if known else "low", text, data))


def unsure(batch: Batch, now: int) -> Batch:
    """What is stamped by a clock that is not believed says so; what a device stamped itself stays as it is."""
    ours = (batch.quality == Quality.GOOD) & (np.abs(batch.ts - now) < OURS)
    if not ours.any():
        return batch
    quality = np.where(ours, np.uint8(Quality.CLOCK_UNSURE), batch.quality)
    return Batch(batch.source, batch.tag, batch.ts, batch.value, quality, batch.mono)


def moved(batch: Batch, first: int, last: int, step: int) -> Batch:
    """Samples between two times, moved by a step of the clock that stamped them."""
    by_it = (batch.ts >= first) & (batch.ts <= last)
    if not by_it.any():
        return batch
    return Batch(batch.source, batch.tag, batch.ts + by_it * np.int64(step), batch.value, batch.quality, batch.mono)
