"""Deadband: keep what moved. Runs after the rules and before the journal, so rules always see every sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from .batch import Batch
from .clock import SECOND
from .memo import PerColumn, distinct, occurrences
from .tags import TagTable

TURNS = 8  # samples of one tag in a batch, from which on each tag is worked through by itself
WINDOW = 64  # samples in which the next one to pass is looked for first
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
        if rank is not None and int(rank.max()) >= TURNS:
            for slot in distinct(slots[slots >= 0]):
                at = np.flatnonzero(slots == slot)
                keep[at[self._passing(int(slot), batch.value[at], batch.quality[at], batch.ts[at])]] = True
            return batch if keep.all() else batch.where(keep)
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

    def _passing(self, slot: int, value: np.ndarray, quality: np.ndarray, ts: np.ndarray) -> np.ndarray:
        """bool[n]: which of the samples of one tag pass, in their order. Works from one stretch in which all pass to the next, so
        that a block of a fast signal costs by what passes."""
        passes, i, size = np.zeros(len(value), bool), 0, WINDOW
        while i < len(value):
            v, q, t = value[i : i + size], quality[i : i + size], ts[i : i + size]
            stays = self._stays(slot, v, q, t, self._value[slot], self._quality[slot], self._ts[slot])
            first = int(stays.argmin())
            if stays[first]:
                i, size = i + size, 2 * size
                continue
            v, q, t = v[first:], q[first:], t[first:]
            same = self._stays(slot, v[1:], q[1:], t[1:], v[:-1], q[:-1], t[:-1])
            run = 1 + (
                int(same.argmax()) if same.any() else len(same)
            )  # each moved away from the one before, which passed
            passes[i + first : i + first + run] = True
            self._value[slot], self._quality[slot], self._ts[slot] = v[run - 1], q[run - 1], t[run - 1]
            i, size = i + first + run, WINDOW
        return passes

    def _stays(self, slot: int, v: np.ndarray, q: np.ndarray, t: np.ndarray, *last: Any) -> np.ndarray:
        """Of each sample, whether it tells nothing that `last` (value, quality, time) did not."""
        near = (np.abs(v - last[0]) <= self._band[slot]) | (np.isnan(v) & np.isnan(last[0]))
        return np.asarray(near & (q == last[1]) & (np.abs(t - last[2]) < HEARTBEAT))
