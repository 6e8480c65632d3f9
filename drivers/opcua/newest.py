"""The newest sample of each tag of a server, and batches out of what came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge import SECOND, Batch, Quality, Source, log

Arrived = tuple[int, int, float, int]  # index of the tag, ns UTC, value, quality
APART = 60 * SECOND  # that the clocks of server and source may be apart
AHEAD = "a value's source time is more than a minute ahead of the server's clock, which is taken in its place"
BEHIND = "a change's source time is more than a minute behind, so that it is LATE until it is said again; `time: server` helps"


class Newest:
    """Emits what came, and says again what did not change, stamped by the server's clock.

    A time that lies before what was said again meanwhile, by no more than APART, is raised to that, and one that lies more
    than APART ahead of the server's clock is lowered to it, both as CLOCK_UNSURE: else rules would take the news for
    history, or what follows it. What is older than that is history, unless it was polled: then it is what holds now.
    """

    def __init__(self, source: Source, ids: Sequence[int]) -> None:
        self._source, self._ids = source, np.array(ids, np.int32)
        n = len(self._ids)
        self._value, self._quality = np.full(n, np.nan), np.full(n, Quality.BAD, np.uint8)
        self._known, self._fresh = np.zeros(n, bool), np.zeros(n, bool)
        self.seen = np.zeros(n, np.int64)  # ns UTC, as the server told it last
        self._ts = np.zeros(n, np.int64)  # as it was emitted last
        self._told = np.zeros(n, np.int64)  # as it was said again last
        self._said: set[str] = set()
        self._now, self._mono = 0, 0  # the server's clock (0: none was seen) when ours, monotonic, was this

    def forget(self) -> None:
        """A new session: what an older one said holds no longer."""
        self._known[:] = self._fresh[:] = False
        self.seen[:] = 0

    def see_clock(self, now: int) -> None:
        """What the server's clock shows now, ns UTC; 0 for none. Where it was set back, what it stamped before bounds nothing."""
        if not now:
            return
        if now < self._now:
            for column in (self.seen, self._ts, self._told):
                np.minimum(column, now, out=column)
        self._now, self._mono = now, self._source.clock.mono()

    def take(self, arrived: Sequence[Arrived], *, polled: bool = False) -> None:
        """All of one notification or answer as one batch. `polled`: a time that stands still says that the value was read
        again, now."""
        if not arrived:
            return
        index, ts, value, quality = (np.array(column) for column in zip(*arrived, strict=True))
        ahead = ts > self.clock() + APART if self._now else np.zeros(len(ts), bool)
        ts = np.where(ahead, self.clock(), ts)
        if polled:
            same = ts <= self.seen[index]
            self.seen[index] = np.maximum(ts, self.seen[index])
            ts = np.where(same, np.maximum(self.clock(), self._ts[index]), ts)
            self._told[index[same]] = ts[same]
        else:
            self.seen[index] = ts
        told = self._told[index]
        behind = (ts < told) & (polled | (ts >= told - APART))
        self._count("source_time_ahead", ahead, AHEAD)
        self._count("source_time_behind", self._known[index] & (ts < told) & ~behind, BEHIND)
        ts, unsure = np.where(behind, told, ts), ahead | behind
        self._value[index], self._quality[index], self._ts[index] = value, quality, ts
        self._known[index] = self._fresh[index] = True
        self._emit(index, ts, value, np.where(unsure, np.maximum(quality, Quality.CLOCK_UNSURE), quality))

    def again(self, behind: int = 0) -> None:
        """What did not come since the last call still held `behind` ns ago: what changed since then may be on its way."""
        still = np.flatnonzero(self._known & ~self._fresh)
        self._fresh[:] = False
        if len(still):
            ts = self._ts[still] = self._told[still] = np.maximum(self.clock() - behind, self._ts[still])
            self._emit(still, ts, self._value[still], self._quality[still])

    def _emit(self, index: np.ndarray, ts: np.ndarray, value: np.ndarray, quality: np.ndarray) -> None:
        self._source.emit(Batch.of(self._source.name, self._ids[index], value, ts, quality.astype(np.uint8)))

    def _count(self, cause: str, which: np.ndarray, words: str) -> None:
        """Counted each time, said once."""
        self._source.count(cause, n := int(np.count_nonzero(which)))
        if n and cause not in self._said:
            self._said.add(cause)
            log.warning("%s: %s", self._source.name, words)

    def clock(self) -> int:
        """The server's clock in ns UTC, or ours where it has none."""
        return self._now + self._source.clock.mono() - self._mono if self._now else self._source.clock.utc()
