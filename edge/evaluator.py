"""Expressions over tags of several sources, evaluated as batches arrive."""

from __future__ import annotations

from typing import Any

import numpy as np

from .batch import TRUSTED, Batch, Quality
from .clock import SECOND
from .expressions import Column, Expression, column_of
from .memo import PerColumn, distinct
from .tags import TagTable


class Evaluator:
    """Evaluates expressions over several tags as batches arrive: the last value of each input holds.

    An output comes at each time at which an input got a sample, from the latest inputs not newer than that and not older
    than their `stale_after`, with the worst quality of them. A LATE sample changes nothing. An input never seen gives no
    output.
    """

    def __init__(self, expressions: list[Expression], table: TagTable) -> None:
        self._expressions = expressions
        self._inputs = [sorted(e.names) for e in expressions]
        self._table = table
        self._ids = {name: table[name].id for names in self._inputs for name in names}
        self._stale = {name: round(table[name].stale_after * SECOND) or np.iinfo(np.int64).max for name in self._ids}
        self._last: dict[str, tuple[int, float, int]] = {}
        self._wanted = PerColumn(self._plan)

    def _plan(self, tag: np.ndarray) -> tuple[dict[str, np.ndarray], list[int]]:
        where = {name: np.flatnonzero(tag == number) for name, number in self._ids.items()}
        where = {name: found for name, found in where.items() if len(found)}
        return where, [i for i, names in enumerate(self._inputs) if any(name in where for name in names)]

    def __call__(self, batch: Batch) -> list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """(index of the expression, ts[k], value[k], quality[k]) for each expression that this batch moves."""
        where, moved = self._wanted(batch.tag)
        if not where:
            return []
        series = {name: self._series(name, batch, found) for name, found in where.items()}
        out = []
        for index in moved:
            result = self._one(index, series)
            if result is not None:
                out.append((index, *result))
        for name, (ts, value, quality) in series.items():
            if len(ts):
                self._last[name] = (int(ts[-1]), float(value[-1]), int(quality[-1]))
        return out

    def _series(self, name: str, batch: Batch, found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ts = batch.ts[found]
        if len(found) > 1:
            found = found[np.argsort(ts, kind="stable")]
            ts = batch.ts[found]
        newer = batch.quality[found] != Quality.LATE
        if name in self._last:
            at, _, cause = self._last[name]
            newer &= (ts != at) | (batch.quality[found] != cause)
        return ts[newer], batch.value[found][newer], batch.quality[found][newer]

    def _one(self, index: int, series: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        names = self._inputs[index]
        times = distinct(np.concatenate([series[name][0] for name in names if name in series]))
        if not len(times):
            return None
        columns: dict[str, Column] = {}
        worst = np.zeros(len(times), np.uint8)
        known = np.ones(len(times), bool)
        for name in names:
            value, quality, seen = self._as_of(name, times, series.get(name))
            columns[name] = value
            worst = np.maximum(worst, quality)
            known &= seen
        for name, text in self._expressions[index].texts:  # a string that never came is found as soon as it does
            columns[column_of(name, text)] = self._table.texts.find(self._ids[name], text)
        value = np.broadcast_to(self._expressions[index].evaluate(columns), times.shape)
        worst = np.where(np.isfinite(value) | (worst > TRUSTED), worst, Quality.RANGE).astype(np.uint8)
        return times[known], value[known], worst[known]

    def _as_of(self, name: str, times: np.ndarray, fresh: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ts, value, quality = fresh if fresh is not None else (np.empty(0, np.int64), np.empty(0), np.empty(0, np.uint8))
        if name in self._last:
            t, v, q = self._last[name]
            t = min(t, int(ts[0]) - 1) if len(ts) else t  # its clock was set back
            ts, value = np.concatenate(([t], ts)), np.concatenate(([v], value))
            quality = np.concatenate(([q], quality)).astype(np.uint8)
        at = np.searchsorted(ts, times, side="right") - 1
        seen = at >= 0
        if not len(ts):
            return np.full(len(times), np.nan), np.zeros(len(times), np.uint8), seen
        old = times - ts[at] > self._stale[name]
        return value[at], np.where(old, np.maximum(quality[at], Quality.STALE), quality[at]).astype(np.uint8), seen
