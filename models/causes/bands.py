"""The bands of a column that are looked at: from a value on, up to one, between two; a name, or hours that follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .parts import CODES, Column, spelt

LEAST = 10  # parts of a band, and outside of it
QUANTILES = np.array([0.01, 0.025, 0.05, *np.arange(0.1, 0.95, 0.05), 0.95, 0.975, 0.99])
NEAR = 0.006  # of the parts: by so much a cut may lie beside its quantile, to be a round number
INNER = 0.8  # what a band with two ends counts: they find more by chance
MOST_NAMES = 60  # of lots and the like, the most frequent ones
PAIRED = 4, CODES  # names, of which two together are looked at, too; of three the third alone says the same


@dataclass(frozen=True)
class Bands:
    """`code` int64[n]: the cell of each part, -1 where its value is not known. `holds` bool[k, cells]: the cells of each band,
    `weight` float64[k] what its evidence counts. `edges` float64[cells - 1] lie between the cells of a measured column."""

    column: Column
    code: np.ndarray
    holds: np.ndarray
    weight: np.ndarray
    edges: np.ndarray

    @property
    def cells(self) -> int:
        return self.holds.shape[1]

    @property
    def each(self) -> bool:
        """Whether a cell is one name or whole number."""
        return self.column.labels is not None or self.column.codes is not None

    def inside(self, band: int) -> np.ndarray:
        """bool[n]: which parts lie in it; not those that are not known."""
        return np.asarray((self.code >= 0) & self.holds[band][np.maximum(self.code, 0)])

    def words(self, band: int, turned: bool) -> str:
        """As a person reads it: `mould.temp < 23.5 °C`. `turned`: what lies outside of it."""
        holds, name = self.holds[band] != turned, self.column.name
        if self.column.labels is not None:
            return f"{name} {self._names(holds)}"
        if self.column.codes is not None:
            return f"{name} = {either([self.label(k) for k in np.flatnonzero(holds).tolist()])}"
        unit = f" {self.column.unit}" if self.column.unit else ""
        first, last = holds.argmax(), len(holds) - 1 - holds[::-1].argmax()
        if first == 0 and last == len(holds) - 1:  # both ends and not the middle
            low, high = np.flatnonzero(~holds)[[0, -1]]
            return f"{name} < {self.edges[low - 1]:.6g} or >= {self.edges[high]:.6g}{unit}"
        if first == 0:
            return f"{name} < {self.edges[last]:.6g}{unit}"
        if last == len(holds) - 1:
            return f"{name} >= {self.edges[first - 1]:.6g}{unit}"
        return f"{name} {self.edges[first - 1]:.6g} to {self.edges[last]:.6g}{unit}"

    def label(self, cell: int) -> str:
        """A name, or where a measured cell begins."""
        if self.column.labels is not None:
            return self.column.labels[cell]
        if (codes := self.column.codes) is not None:
            return spelt(float(codes[cell]))
        return f"{self.edges[cell - 1]:.4g}" if cell else f"< {self.edges[0]:.4g}"

    def _names(self, holds: np.ndarray) -> str:
        labels = self.column.labels or ()
        if not self.column.ring:
            sign, some = ("=", holds) if 2 * holds.sum() <= len(holds) else ("!=", ~holds)
            return f"{sign} {either([labels[k] for k in np.flatnonzero(some).tolist()])}"
        begin = int(np.flatnonzero(holds & ~np.roll(holds, 1))[0])
        there = np.bincount(self.code[self.code >= 0], minlength=len(holds)) > 0  # hours without a part are not told
        places = [k % len(holds) for k in range(begin, begin + int(holds.sum())) if there[k % len(holds)]]
        begin, end = places[0], places[-1]
        return f"{labels[begin]}" if begin == end else f"{labels[begin]} to {labels[end]}"


def bands_of(column: Column) -> Bands | None:
    """None where it does not move, or too few parts are on one of its sides."""
    if column.labels is not None:
        code, holds, weight, edges = _of_names(column)
    else:
        code, holds, weight, edges = _of_sizes(column.value)
    count = np.bincount(code[code >= 0], minlength=holds.shape[1] if holds.size else 1)
    if not holds.size:
        return None
    parts = holds @ count
    enough = (parts >= LEAST) & (count.sum() - parts >= LEAST)
    if not enough.any():
        return None
    return Bands(column, code, holds[enough], weight[enough], edges)


def _of_names(column: Column) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    known = np.isfinite(column.value)
    code = np.where(known, column.value, -1).astype(np.int64)
    n = len(column.labels or ())
    if column.ring:
        place = np.arange(n)
        long = np.arange(1, n // 2 + 1)
        first, wide = (grid.ravel() for grid in np.meshgrid(place, long, indexing="ij"))
        holds = (place[None] - first[:, None]) % n < wide[:, None]
        return code, holds, np.where(wide == 1, 1.0, INNER), np.empty(0)
    most = np.argsort(-np.bincount(code[known], minlength=n), kind="stable")[:MOST_NAMES]
    single = np.eye(n, dtype=bool)
    if not PAIRED[0] <= n <= PAIRED[1]:
        return code, single[most], np.ones(len(most)), np.empty(0)
    first, second = np.triu_indices(n, 1)
    holds = np.concatenate([single, single[first] | single[second]])
    return code, holds, np.repeat([1.0, INNER], [n, len(first)]), np.empty(0)


def either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _of_sizes(value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    known = np.isfinite(value)
    distinct = np.unique(value[known])
    if len(distinct) < 2:
        return np.full(len(value), -1), np.empty((0, 1), bool), np.empty(0), np.empty(0)
    upper = distinct[1:]
    before = distinct[:-1]
    if len(distinct) > len(QUANTILES) + 1:
        before = np.quantile(value[known], np.maximum(QUANTILES - NEAR, 0), method="lower")
        upper = np.quantile(value[known], np.minimum(QUANTILES + NEAR, 1), method="higher")
    pairs = zip(before.tolist(), upper.tolist(), strict=True)
    edges = np.unique([_round_between(a, b) for a, b in pairs if a < b])
    code = np.where(known, np.searchsorted(edges, np.where(known, value, 0.0), side="right"), -1)
    cells = len(edges) + 1
    last, first = np.meshgrid(np.arange(cells), np.arange(cells))
    first, last = first[first <= last], last[first <= last]
    whole = (first == 0) & (last == cells - 1)
    first, last = first[~whole], last[~whole]
    place = np.arange(cells)
    holds = (place >= first[:, None]) & (place <= last[:, None])
    # what ends with the last cell is the other side of what begins with the first
    kept = (last < cells - 1) | (first == 0)
    return code, holds[kept], np.where(first[kept] == 0, 1.0, INNER), edges


def _round_between(low: float, high: float) -> float:
    """The number of fewest digits above `low` and up to `high`."""
    for digits in range(1, 17):
        for value in (float(f"{high:.{digits}g}"), float(f"{(low + high) / 2:.{digits}g}")):
            if low < value <= high:
                return value
    return high
