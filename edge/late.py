"""Late samples: what arrives after newer data of the same tag is history only."""

from __future__ import annotations

import numpy as np

from .batch import LATE, TRUSTED, Batch
from .clock import SECOND
from .memo import PerColumn, joined
from .tags import TagTable

FORGET_AFTER = 60 * SECOND  # for tags that never grow stale


class Late:
    """Marks late samples LATE. What is newest counts only until it is stale by the monotonic clock, so that a clock that was
    set back (the device's or ours) disturbs the rules no longer than that. Bad samples carry our time, not the
    device's, and so make nothing late."""

    def __init__(self, table: TagTable) -> None:
        self._table, n = table, len(table)
        self._newest = np.full(n + 1, np.iinfo(np.int64).min)  # the last row is that of unknown tags
        self._until = np.zeros(n + 1, np.int64)
        ages = [round(tag.stale_after * SECOND) or FORGET_AFTER for tag in table]
        self._age = np.array([*ages, 0], np.int64)
        self._rows = PerColumn(lambda tag: joined(table.slots(tag)))

    def __call__(self, batch: Batch) -> Batch:
        rows = self._rows(batch.tag)
        late = batch.ts < self._newest[rows]
        if late.any():
            late &= batch.mono < self._until[rows]
        elif batch.worst <= TRUSTED:
            self._newest[rows] = batch.ts
            self._until[rows] = batch.mono + self._age[rows]
            return batch
        fresh = ~late & (batch.quality <= TRUSTED)
        moved = self._table.slots(batch.tag)[fresh]
        self._newest[moved] = batch.ts[fresh]
        self._until[moved] = batch.mono + self._age[moved]
        if not late.any():
            return batch
        quality = np.where(late, np.maximum(batch.quality, np.uint8(LATE)), batch.quality)
        return Batch(batch.source, batch.tag, batch.ts, batch.value, quality, batch.mono)
