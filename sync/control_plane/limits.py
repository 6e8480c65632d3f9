"""How often somebody may ask: a bucket for each, that fills again with time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KNOWN = 100_000  # whoever was not heard longest is forgotten, and so begins with a full bucket


class Limits:
    """`rate` a second, `burst` at once. Of one process: several replicas let as many times that through."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when that was

    def take(self, who: str, cost: float = 1.0) -> float:
        """0.0 where it may be done now, else the seconds until it may. What costs more than a whole bucket waits for a full one."""
        now = self._clock()
        left, then = self._left.pop(who, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        wanted = min(cost, self._burst)
        wait = max(0.0, (wanted - left) / self._rate)
        self._left[who] = (left if wait else left - cost, now)
        if len(self._left) > MOST_KNOWN:
            self._left.popitem(last=False)
        return wait
