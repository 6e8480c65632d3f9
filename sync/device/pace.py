"""How much goes into one message: what the line carries in half a second, so that an alarm waits no longer behind a backlog.
And how long to wait before knocking again."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .transport import Transport

IN_FLIGHT = 0.5  # seconds
LEAST, FIRST, MOST = 4_000, 16_000, 1_000_000  # bytes


class Pace:
    """Told of each exchange, `room` follows: bytes for the next one. One Pace for each time that the line stands, since the next
    line may be another."""

    def __init__(self, a_second: int = 0) -> None:
        """`a_second`: bytes that the site allows (0: any)."""
        self._most = min(MOST, max(LEAST, int(IN_FLIGHT * a_second))) if a_second else MOST
        self.room = min(FIRST, self._most)
        self._least = math.inf  # seconds that the line takes for nothing

    async def timed(
        self, transport: Transport, method: str, path: str, body: bytes = b"", timeout: float = 30.0
    ) -> bytes:
        """An exchange that counts. Raises what it does."""
        time = asyncio.get_running_loop().time
        began = time()
        answer = await transport.exchange(method, path, body, timeout)
        self.took(len(body) + len(answer), time() - began)
        return answer

    def took(self, size: int, seconds: float) -> None:
        """A message of `size` bytes was answered after `seconds`. One that was not full says only how far away the plane is."""
        self._least = min(self._least, seconds)
        if size >= self.room // 2:
            carried = IN_FLIGHT * size / max(seconds - self._least, 1e-3)
            self.room = int(min(self._most, max(LEAST, min(carried, 2 * self.room))))

    def refused(self, size: int) -> None:
        """Something on the way takes no message of `size` bytes."""
        self._most = max(LEAST, min(self._most, size // 2))
        self.room = min(self.room, self._most)


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
