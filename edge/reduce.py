"""Deadband: keep what moved. Runs after the rules and before the journal, so rules always see every sample."""

from __future__ import annotations

import numpy as np

from .batch import Batch
from .clock import SECOND
from .memo import PerColumn, occurrences
from .tags import TagTable

HEARTBEAT = 600 * SECOND  # an unchanged value is kept this often, so that a flat line is told from silence


class Deadband:
    """Passes a sample when it moved by more than its tag's deadband since the last one passed, when its quality changed, or
    after ten minutes. Tags without a deadband pass whole, at no cost per sample."""

    def __init__(self, table: TagTable) -> None:
        self._table = table
        self._band = np.array([-1.0 if tag.deadband is None else tag.deadband for tag in table])
        self._value = np.full(len(table), np.nan)
        self._quality = np.full(len(table), 255, np.uint8)
        self._ts = np.zeros(len(table), np.int64)
        self._plan = PerColumn(self._columns)

    def _columns(self, tag: np.ndarray) -> tuple[np.ndarray, np.ndarray | None] | None:
        slots = self._table.slots(tag)
        banded = (slots >= 0) & (self._band[slots] >= 0)
        return (np.where(banded, slots, -1), occurrences(tag)) if banded.any() else None

    def __call__(self, batch: Batch) -> Batch:
        plan = self._plan(batch.tag)
        if plan is None:
            return batch
        slots, rank = plan
        keep = slots < 0
        for turn in range(1 if rank is None else int(rank.max()) + 1):
            at = np.flatnonzero((slots >= 0) if rank is None else ((slots >= 0) & (rank == turn)))
            slot = slots[at]
            value, quality, ts = batch.value[at], batch.quality[at], batch.ts[at]
            moved = ~(np.abs(value - self._value[slot]) <= self._band[slot])
            moved &= ~(np.isnan(value) & np.isnan(self._value[slot]))
            passed = moved | (quality != self._quality[slot]) | (np.abs(ts - self._ts[slot]) >= HEARTBEAT)
            slot, picked = slot[passed], at[passed]
            self._value[slot], self._quality[slot], self._ts[slot] = value[passed], quality[passed], ts[passed]
            keep[picked] = True
        return batch if keep.all() else batch.where(keep)
