"""How much goes into one message: what the line carries in half a second, so that an alarm waits no longer behind a backlog."""

from __future__ import annotations

import math

IN_FLIGHT = 0.5  # seconds
LEAST, MOST = 16_000, 1_000_000  # bytes of records


class Pace:
    """Told of each exchange, `room` follows. One for each time that the line stands: the next one may be another."""

    def __init__(self) -> None:
        self.room = LEAST
        self._least = math.inf  # seconds that the line takes for nothing

    def took(self, size: int, seconds: float) -> None:
        """A message of `size` bytes was answered after `seconds`. One that was not full says only how far away the plane is."""
        self._least = min(self._least, seconds)
        if size >= self.room // 2:
            carried = IN_FLIGHT * size / max(seconds - self._least, 1e-3)
            self.room = int(min(MOST, max(LEAST, min(carried, 2 * self.room))))
