"""One identity that speaks from two places: a state folder was copied, or a whole disk.

Each run of a device says a number of its own when it asks for orders. A restart brings a new one, and the old one never again;
where two devices are the same, theirs take turns. Once or twice that may be a late message of a run that has ended: several times
it is not.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

RETURNS, WITHIN = 3, 600.0  # so often within so many seconds the number of another run comes back
OVER = 3600.0  # seconds without that, after which there is one again
RUNS = 4  # numbers that are kept of a device


class Clones:
    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._runs: dict[str, deque[str]] = {}
        self._returns: dict[str, deque[float]] = {}
        self.standing: set[str] = set()

    def saw(self, device: str, run: str) -> bool:
        """A run of that device has asked. Whether it turns out now that there are two."""
        runs = self._runs.setdefault(device, deque(maxlen=RUNS))
        if not run or (runs and runs[-1] == run):
            return False
        back = run in runs
        if back:
            runs.remove(run)
        runs.append(run)
        if not back:
            return False
        returns = self._returns.setdefault(device, deque(maxlen=RETURNS))
        returns.append(self._now())
        if device in self.standing or len(returns) < RETURNS or returns[-1] - returns[0] > WITHIN:
            return False
        self.standing.add(device)
        return True

    def stood(self, device: str) -> None:
        """There were two when the plane ended; from now on it is seen whether there still are."""
        self.standing.add(device)
        self._returns[device] = deque([self._now()], maxlen=RETURNS)

    def over(self) -> Iterator[str]:
        """Of which devices there is one again."""
        for device in sorted(self.standing):
            if self._now() - self._returns[device][-1] > OVER:
                self.standing.discard(device)
                yield device

    def forget(self, device: str) -> bool:
        """It was enrolled anew. Whether there were two."""
        self._runs.pop(device, None)
        self._returns.pop(device, None)
        standing = device in self.standing
        self.standing.discard(device)
        return standing
