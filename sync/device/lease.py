"""Live mode: for some minutes chosen tags go to the page more often than the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from edge import SECOND, Clock

from ..either import either


class Lease:
    """It ends by itself, on the clock that nobody sets."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = self._next = 0
        self.every, self._begun = 0.0, asyncio.Event()
        self.slots = np.zeros(0, np.int64)

    def begin(self, slots: Sequence[int], every: float, seconds: float) -> None:
        """The newest one counts; 0 seconds end it."""
        self.slots, self.every = np.array(sorted(set(slots)), np.int64), every
        self._until = self._clock.mono() + round(seconds * SECOND)
        self._begun.set()

    async def wait(self, usual: float) -> None:
        """Until the next round; one that begins meanwhile is not waited for."""
        self._begun.clear()
        await either(self._begun, timeout=min(usual, self.every) if self.runs else usual)

    @property
    def runs(self) -> bool:
        return self._clock.mono() < self._until

    def only(self, usual: float) -> np.ndarray | None:
        """The slots that go in this round; None: all, as every `usual` seconds."""
        now = self._clock.mono()
        if not self.runs or now >= self._next:
            self._next = now + round(usual * SECOND)
            return None
        return self.slots
