"""How much goes into one message: what the line carries in half a second, so that an alarm waits no longer behind a backlog.
And how long to wait before knocking again."""

from __future__ import annotations

import math
import random

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


FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0  # seconds, at most


class Waits:
    """Full jitter: any time up to a bound that doubles with each failure. A plane that comes back is met by a few devices at a
    time, however many lost it at the same moment."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self._most = rng, FIRST_WAIT

    def next(self) -> float:
        wait = self._rng.uniform(0, self._most)
        self._most = min(LONGEST_WAIT, 2 * self._most)
        return wait

    def over(self) -> None:
        """It went well."""
        self._most = FIRST_WAIT
