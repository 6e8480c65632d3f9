"""Boosted trees in numpy: which class a row of parameters belongs to, and which parameters say so.

Friedman, Greedy function approximation, Annals of Statistics 29, 2001, with second-order steps on binned values (Chen and Guestrin,
XGBoost, 2016). One tree per class and round, all classes of a level grown at once. A prediction is a sum over the nodes that a row
comes through, so the share of each parameter in it is exact (Saabas, 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

RAREST = 1e-3  # share of a class, below which it begins no less likely


@dataclass(frozen=True)
class Growth:
    """How the trees are grown. `columns` and `rows` are the shares that each tree sees."""

    rounds: int = 150
    depth: int = 5
    rate: float = 0.1
    bins: int = 64
    ridge: float = 1.0
    least: float = 1.0  # sum of second derivatives in a leaf
    columns: float = 0.6
    rows: float = 0.8


@dataclass(frozen=True)
class Trees:
    """`feature` int16 and `cut` float64 [t, k, nodes], right where a value is above the cut; `value` float64[t, k, 2 * nodes + 1]
    of every node; `start` float64[k]. Node i has the children 2i + 1 and 2i + 2."""

    feature: np.ndarray
    cut: np.ndarray
    value: np.ndarray
    start: np.ndarray

    def _walk(self, x: np.ndarray) -> Any:
        """Each level: (feature that is asked, node, its child), int64[n, t, k]."""
        t, k, nodes = self.feature.shape
        tree, kind = np.arange(t)[None, :, None], np.arange(k)[None, None]
        at = np.zeros((len(x), t, k), np.int64)
        while at.flat[0] < nodes:
            asked = self.feature[tree, kind, at].astype(np.int64)
            right = x[np.arange(len(x))[:, None, None], asked] > self.cut[tree, kind, at]
            below = 2 * at + 1 + right
            yield asked, at, below
            at = below

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Log odds float64[n, k] of rows float64[n, d]."""
        below = np.zeros((len(x), *self.feature.shape[:2]), np.int64)
        for _, _, step in self._walk(x):
            below = step
        t, k, _ = self.feature.shape
        ends = self.value[np.arange(t)[None, :, None], np.arange(k)[None, None], below]
        return np.asarray(self.start + ends.sum(axis=1))

    def chances(self, x: np.ndarray) -> np.ndarray:
        """Of each class, float64[n, k]."""
        return softmax(self.scores(x))

    def reasons(self, x: np.ndarray, kind: int) -> np.ndarray:
        """What each parameter adds to the log odds of a class, float64[n, d]; with `start` and the roots they sum to the score."""
        found = np.zeros(x.shape)
        t = np.arange(len(self.feature))[None]
        rows = np.arange(len(x))[:, None]
        for asked, at, below in self._walk(x):
            moved = self.value[t, kind, below[..., kind]] - self.value[t, kind, at[..., kind]]
            np.add.at(found, (np.broadcast_to(rows, moved.shape), asked[..., kind]), moved)
        return found


def softmax(scores: np.ndarray) -> np.ndarray:
    """Chances float64[n, k] of log odds float64[n, k]."""
    power = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def grown(x: np.ndarray, y: np.ndarray, kinds: int, rng: np.random.Generator, how: Growth | None = None) -> Trees:
    """Of rows float64[n, d] with class int64[n] below `kinds`. Seconds for a few thousand rows. Raises ValueError for no rows."""
    how = how or Growth()
    if not len(x):
        raise ValueError("there are no rows to learn from")
    edges = [_edges(column, how.bins) for column in x.T]
    binned = np.column_stack([np.searchsorted(edge, column, "left") for edge, column in zip(edges, x.T, strict=True)])
    truth = np.eye(kinds)[y]
    start = np.log(np.maximum(truth.mean(axis=0), RAREST))
    scores = np.tile(start, (len(x), 1))
    trees = []
    for _ in range(how.rounds):
        chance = softmax(scores)
        rows = rng.random(len(x)) < how.rows
        steep, bent = (chance - truth) * rows[:, None], np.maximum(chance * (1 - chance), 1e-6) * rows[:, None]
        tree = _Round(binned, steep, bent, how, rng)
        scores += np.take_along_axis(tree.value, tree.leaf, axis=1).T
        trees.append(tree)
    table = [np.append(edge, np.full(how.bins - len(edge), np.inf)) for edge in edges]
    feature, at = np.array([tree.feature for tree in trees]), np.array([tree.cut for tree in trees])
    cut = np.where(at < how.bins, np.array(table)[feature, np.minimum(at, how.bins - 1)], np.inf)
    return Trees(feature.astype(np.int16), cut, np.array([tree.value for tree in trees]), start)


def _edges(column: np.ndarray, bins: int) -> np.ndarray:
    """At most bins - 1 cuts between values."""
    values = np.unique(column)
    if len(values) > bins:
        values = np.unique(np.quantile(column, np.linspace(0, 1, bins)))
    return (values[:-1] + values[1:]) / 2


class _Round:
    """One tree of each class. `leaf` int64[k, n] is where each row ends."""

    def __init__(self, binned: np.ndarray, steep: np.ndarray, bent: np.ndarray, how: Growth, rng: np.random.Generator):
        n, d = binned.shape
        k, nodes, self._how = steep.shape[1], 2**how.depth - 1, how
        self.feature, self.cut = np.zeros((k, nodes), np.int64), np.full((k, nodes), how.bins)
        self.value = np.zeros((k, 2 * nodes + 1))
        seen = rng.random((k, d)) < how.columns
        seen[np.arange(k), rng.integers(d, size=k)] = True
        self.leaf = np.zeros((k, n), np.int64)
        self.value[:, 0] = how.rate * -steep.sum(axis=0) / (bent.sum(axis=0) + how.ridge)
        for level in range(how.depth):
            self._grow(level, binned, steep, bent, seen)

    def _grow(self, level: int, binned: np.ndarray, steep: np.ndarray, bent: np.ndarray, seen: np.ndarray) -> None:
        how, (n, d), k = self._how, binned.shape, len(self.leaf)
        first, wide = 2**level - 1, 2**level
        cell = ((np.arange(k)[:, None] * wide + self.leaf - first)[:, :, None] * d + np.arange(d)) * how.bins + binned
        size = k * wide * d * how.bins
        shape = (k, wide, d, how.bins)
        g = np.bincount(cell.ravel(), np.repeat(steep.T.ravel(), d), size).reshape(shape).cumsum(axis=3)
        h = np.bincount(cell.ravel(), np.repeat(bent.T.ravel(), d), size).reshape(shape).cumsum(axis=3)
        all_g, all_h = g[..., -1:], h[..., -1:]
        gain = g**2 / (h + how.ridge) + (all_g - g) ** 2 / (all_h - h + how.ridge) - all_g**2 / (all_h + how.ridge)
        gain[(h < how.least) | (all_h - h < how.least)] = -1
        gain[np.broadcast_to(~seen[:, None, :, None], shape)] = -1
        best = gain.reshape(k, wide, -1).argmax(axis=2)
        some = np.take_along_axis(gain.reshape(k, wide, -1), best[..., None], axis=2)[..., 0] > 1e-9
        feature, cut = best // how.bins, np.where(some, best % how.bins, how.bins)
        self.feature[:, first : first + wide], self.cut[:, first : first + wide] = feature, cut
        self._values(first, wide, g, h, feature, np.minimum(cut, how.bins - 1), some)
        kind, rows = np.arange(k)[:, None], np.arange(n)[None]
        asked, limit = feature[kind, self.leaf - first], cut[kind, self.leaf - first]
        self.leaf = 2 * self.leaf + 1 + (binned[rows, asked] > limit)

    def _values(self, first: int, wide: int, g: Any, h: Any, feature: Any, cut: Any, some: np.ndarray) -> None:
        """Of both children; where nothing was split, the parent's goes on to the left."""
        how, k = self._how, len(self.leaf)
        kind, node = np.arange(k)[:, None], np.arange(wide)[None]
        left_g, left_h = g[kind, node, feature, cut], h[kind, node, feature, cut]
        all_g, all_h = g[kind, node, feature, -1], h[kind, node, feature, -1]
        own = self.value[:, first : first + wide]
        left = np.where(some, -how.rate * left_g / (left_h + how.ridge), own)
        right = np.where(some, -how.rate * (all_g - left_g) / (all_h - left_h + how.ridge), own)
        below = 2 * np.arange(first, first + wide) + 1
        self.value[:, below], self.value[:, below + 1] = left, right
