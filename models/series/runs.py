"""Remaining life learned from runs to failure: what machines showed on their way to the end, and how long they had left.

A row of one run is described by means of its signals over several windows up to it, by what they were a while before, by their
mean since the start, and by its age. A kernel ridge regression (C. Saunders, A. Gammerman, V. Vovk, 1998) on some of these rows
as centres (C. Williams, M. Seeger, 2001) maps that to the life left, once with a wide and once with a narrow kernel; the
answer is their mean. What it was wrong by in runs that it was not fitted on gives the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

WINDOWS = (5, 10, 20, 40)  # rows, each a mean up to now
BEFORE = ((20, 20), (40, 40))  # a mean of so many rows, and how many rows ago
KERNELS = ((0.3, 0.03), (2.0, 0.2))  # 1 / squared width in standard deviations per feature, and the ridge
RELATED = 0.2  # correlation with the life left below which a signal is left out
FOLDS = 5
LEVELS = 13  # predictions at which the interval is kept
KEEP = max(rows + ago for rows, ago in BEFORE)  # rows that later ones are described by
UNKNOWN = (
    3.0  # standard deviations per feature from the nearest centre, from which on a row is like none that was learned
)


@dataclass(frozen=True)
class Settings:
    """`cap`: life left is not told beyond that many rows; `first`: rows of a run that are too few to judge; `centres` of the
    kernels; every `step`-th row is learned from; `share`: of the truths that the interval is to hold."""

    cap: float = 125.0
    first: int = 25
    centres: int = 1000
    step: int = 2
    share: float = 0.8


@dataclass(frozen=True)
class Kernel:
    width: float
    centre: np.ndarray
    weight: np.ndarray
    middle: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return _alike(x, self.centre, self.width) @ self.weight + self.middle


@dataclass(frozen=True)
class Past:
    """What goes on of the earlier rows of a run: the last KEEP of them float64[k, c], the sum of all float64[c], and how many."""

    rows: np.ndarray
    total: np.ndarray
    age: int = 0

    @classmethod
    def new(cls, columns: int) -> Past:
        return cls(np.empty((0, columns)), np.zeros(columns))

    def then(self, rows: np.ndarray) -> Past:
        """After more rows [n, c]."""
        kept = np.concatenate([self.rows, rows])[-KEEP:]
        return Past(kept, self.total + rows.sum(axis=0), self.age + len(rows))


@dataclass(frozen=True)
class Model:
    """Fitted. `signal` indexes the columns that say anything; `mean`, `spread` of them and, as `middle`, `scale`, of the features.
    At a predicted life `level` float64[k], `low` and `high` float64[k] are what to add for the interval."""

    settings: Settings
    signal: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    middle: np.ndarray
    scale: np.ndarray
    kernels: tuple[Kernel, ...]
    level: np.ndarray = field(default_factory=lambda: np.zeros(1))
    low: np.ndarray = field(default_factory=lambda: np.zeros(1))
    high: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def __call__(self, rows: np.ndarray, past: Past | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(left, low, high), each float64[n], in rows, of one run float64[n, c] from its start, or its `past`, on, none looking
        ahead."""
        return self._told(self._features(rows, past))

    def known(self, rows: np.ndarray, past: Past | None = None) -> tuple[np.ndarray, ...]:
        """(left, low, high, known): as a call, and bool[n] whether a row is like any that was learned. What is not is told what
        machines have left on average, which says nothing of it."""
        x = self._features(rows, past)
        return (*self._told(x), _alike(x, self.kernels[0].centre, 1.0).max(axis=1) >= np.exp(-(UNKNOWN**2)))

    def whole(self) -> tuple[float, float, float]:
        """(left, low, high) in rows of one that is new: `cap` at least, as far as lives that were learned go."""
        left, low, high = self._interval(np.array([self.settings.cap]))
        return float(left[0]), float(low[0]), float(high[0])

    def _features(self, rows: np.ndarray, past: Past | None) -> np.ndarray:
        z, past = (rows[:, self.signal] - self.mean) / self.spread, past or Past.new(rows.shape[1])
        tail = (past.rows[:, self.signal] - self.mean) / self.spread
        total = (past.total[self.signal] - past.age * self.mean) / self.spread
        return (described(z, tail, total, past.age) - self.middle) / self.scale

    def _told(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._interval(self._left(x))

    def _interval(self, left: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        low, high = (np.interp(left, self.level, edge) for edge in (self.low, self.high))
        return left, np.clip(np.floor(left + low), 0, left), np.clip(np.ceil(left + high), left, self.settings.cap)

    def _left(self, x: np.ndarray) -> np.ndarray:
        return np.clip(np.mean([kernel(x) for kernel in self.kernels], axis=0), 0, self.settings.cap)


def fit(runs: Sequence[np.ndarray], settings: Settings | None = None) -> Model:
    """A model of runs, each float64[n, c], whose last row is the last one before the end. Raises ValueError for too little of
    them. Takes memory of rows times centres."""
    settings = settings or Settings()
    if len(runs) < 2 * FOLDS:
        raise ValueError(f"{len(runs)} runs to failure; {2 * FOLDS} are the least to learn from")
    fold = np.random.default_rng(0).permutation(len(runs)) % FOLDS
    errors, told = [], []
    for k in range(FOLDS):
        model = fitted([run for run, f in zip(runs, fold, strict=True) if f != k], settings)
        for run in (run for run, f in zip(runs, fold, strict=True) if f == k):
            left = model(run)[0][settings.first :]
            told.append(left)
            errors.append(_truth(run, settings)[settings.first :] - left)
    level, low, high = _edges(np.concatenate(told), np.concatenate(errors), settings.share)
    model = fitted(runs, settings)
    return Model(**{**vars(model), "level": level, "low": low, "high": high})


def described(
    z: np.ndarray, tail: np.ndarray | None = None, total: np.ndarray | float = 0.0, age: int = 0
) -> np.ndarray:
    """Features float64[n, k] of rows z float64[n, c] of one run, each of what came up to its row. Before them came `age` others:
    `tail`, the last KEEP of them, and `total`, the sum of all."""
    joined = z if tail is None else np.concatenate([tail, z])
    at = np.arange(len(joined) - len(z), len(joined))
    mean = {rows: trailing(joined, rows) for rows in {*WINDOWS, *(rows for rows, _ in BEFORE)}}
    before = [mean[rows][np.maximum(0, at - ago)] for rows, ago in BEFORE]
    lived = age + np.arange(1, len(z) + 1)[:, None]
    whole = (total + np.cumsum(z, axis=0)) / lived
    return np.hstack([*(mean[rows][at] for rows in WINDOWS), *before, whole, lived / 100])


def trailing(x: np.ndarray, rows: int) -> np.ndarray:
    """The mean of up to `rows` rows that end at each row of x [n, c]."""
    total = np.vstack([np.zeros(x.shape[1]), np.cumsum(x, axis=0)])
    end = np.arange(1, len(x) + 1)
    start = np.maximum(0, end - rows)
    return np.asarray((total[end] - total[start]) / (end - start)[:, None])


def _truth(run: np.ndarray, settings: Settings) -> np.ndarray:
    return np.minimum(np.arange(len(run) - 1, -1, -1, dtype=float), settings.cap)


def fitted(runs: Sequence[np.ndarray], settings: Settings) -> Model:
    """As `fit`, without an interval."""
    if all(len(run) < settings.first + 10 for run in runs):
        raise ValueError(
            f"no run is longer than {settings.first + 10} rows; the first {settings.first} are too few to judge"
        )
    everything, left = np.concatenate(runs), np.concatenate([_truth(run, settings) for run in runs])
    told = np.array([_correlation(column, left) for column in everything.T])
    signal = np.flatnonzero(np.abs(told) >= RELATED)
    if not len(signal):
        raise ValueError("no signal goes with the life that is left")
    mean, spread = everything[:, signal].mean(axis=0), everything[:, signal].std(axis=0)
    x = np.vstack([described((run[:, signal] - mean) / spread)[settings.first - 1 :] for run in runs])
    y = np.concatenate([_truth(run, settings)[settings.first - 1 :] for run in runs])
    middle, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    x, y = ((x - middle) / scale)[:: settings.step], y[:: settings.step]
    kernels = tuple(_ridge(x, y, width, ridge, settings.centres, i) for i, (width, ridge) in enumerate(KERNELS))
    return Model(settings, signal, mean, spread, middle, scale, kernels)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if np.ptp(a) > 1e-9 and size else 0.0


def _ridge(x: np.ndarray, y: np.ndarray, width: float, ridge: float, centres: int, seed: int) -> Kernel:
    centre = x[np.random.default_rng(seed).choice(len(x), min(centres, len(x)), replace=False)]
    near, middle = _alike(x, centre, width), float(y.mean())
    left = near.T @ near + ridge * _alike(centre, centre, width) + 1e-6 * np.eye(len(centre))
    return Kernel(width, centre, np.linalg.solve(left, near.T @ (y - middle)), middle)


def _alike(x: np.ndarray, centre: np.ndarray, width: float) -> np.ndarray:
    far = (x * x).sum(axis=1)[:, None] + (centre * centre).sum(axis=1) - 2 * x @ centre.T
    return np.asarray(np.exp(-width / x.shape[1] * np.maximum(far, 0)))


def _edges(told: np.ndarray, error: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels of what was told, and at each the two quantiles of the errors of the tenth of the rows nearest to it."""
    order = np.argsort(told, kind="stable")
    told, error = told[order], error[order]
    near = max(10, len(told) // 10)
    at = np.linspace(0, max(0, len(told) - near), LEVELS).astype(int)
    quantiles = [np.quantile(error[i : i + near], [(1 - share) / 2, (1 + share) / 2]) for i in at]
    level = np.array([np.median(told[i : i + near]) for i in at])
    return level, np.array([q[0] for q in quantiles]), np.array([q[1] for q in quantiles])
