"""The newest sample of each tag of a server, and batches out of what came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge import Batch, Quality, Source

Arrived = tuple[int, int, float, int]  # index of the tag, ns UTC, value, quality


class Newest:
    """Emits what came, and says again what did not change."""

    def __init__(self, source: Source, ids: Sequence[int]) -> None:
        self._source, self._ids = source, np.array(ids, np.int32)
        n = len(self._ids)
        self._value, self._quality = np.full(n, np.nan), np.full(n, Quality.BAD, np.uint8)
        self.ts = np.zeros(n, np.int64)
        self._known, self._fresh = np.zeros(n, bool), np.zeros(n, bool)

    def take(self, arrived: Sequence[Arrived]) -> None:
        """All of one notification or answer as one batch."""
        if not arrived:
            return
        index, ts, value, quality = (np.array(column) for column in zip(*arrived, strict=True))
        self._value[index], self._quality[index], self.ts[index] = value, quality, ts
        self._known[index] = self._fresh[index] = True
        self._source.emit(Batch.of(self._source.name, self._ids[index], value, ts, quality.astype(np.uint8)))

    def again(self, now: int) -> None:
        """What did not come since the last call still holds at `now` (ns UTC by the server's clock, as its changes are stamped)."""
        still = np.flatnonzero(self._known & ~self._fresh)
        self._fresh[:] = False
        if len(still):
            ts = np.maximum(now, self.ts[still])
            name, quality = self._source.name, self._quality[still]
            self._source.emit(Batch.of(name, self._ids[still], self._value[still], ts, quality))
