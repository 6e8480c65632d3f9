"""How many requests to have on the wire at once, found by trying (`in_flight: auto`)."""

from __future__ import annotations

import statistics

MOST = 16
SCANS = 8  # that are looked at before each step
FASTER = 0.9  # of the time before: less is no gain


class Window:
    """`size` starts at 1 and is doubled as long as scans get faster by a tenth. A request that is not answered, or refused because
    the device is busy, halves it, and it is not raised again: for good, since such a device drops what it cannot take."""

    def __init__(self, known: int = 0) -> None:
        """`known`: what was found in an earlier run."""
        self.size = known or 1
        self._took: list[float] = []
        self._before: float | None = None
        self.settled = bool(known)

    def scan(self, seconds: float, requests: int, whole: bool) -> bool:
        """One scan of all requests ended; `whole`: each was answered. True when it is to be repeated, with fewer at once."""
        if not whole:
            self._took.clear()
            if self.size == 1:
                return False
            self.size, self.settled = self.size // 2, True
            return True
        if self.settled or requests < 2:
            return False
        self._took.append(seconds)
        if len(self._took) == SCANS:
            self._step(statistics.median(self._took), min(MOST, requests))
            self._took.clear()
        return False

    def _step(self, took: float, most: int) -> None:
        if self._before is not None and took > FASTER * self._before:
            self.size, self.settled = self.size // 2, True
        elif self.size >= most:
            self.settled = True
        else:
            self.size, self._before = 2 * self.size, took
