"""Settings to look at: random ones that are allowed, everywhere and round the best of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .space import Space

CANDIDATES, PARENTS = 400, 16  # settings looked at first; those that are refined
WIDTHS, NEAR = (0.05, 0.03, 0.015, 0.01, 0.005), 150  # by which they are moved in turn; how many of them
WAIT = 0.6  # of what a setting gains, for each further trial that the way to it takes
SAME = 0.01  # of its range within which a setting is not worth a change
ON_A_WAY = 12  # settings


class Search:
    """Of one space, where a trial may change so many settings."""

    def __init__(self, space: Space, changes: int, rng: np.random.Generator) -> None:
        self._space, self._changes, self._rng = space, changes, rng

    def sought(
        self, now: np.ndarray, round_: np.ndarray, worth: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Settings float64[n, d] and their worth: everywhere, then round the best of those. What is hardly another setting than
        `now` stays as it is."""
        space, rng = self._space, self._rng
        x = self._stay(now, self._scattered(np.vstack([now, round_]), CANDIDATES, 0.3))
        found = worth(x)
        for width in WIDTHS:
            good = space.unit(x[np.argsort(-found)[:PARENTS]])
            if not len(good):
                break
            one, two, three = good[rng.integers(len(good), size=(3, NEAR))]
            along = rng.random((NEAR, 1)) < 0.5  # as two good ones differ: where good ones are a ridge, along it
            moved = one + np.where(along, 0.8 * (two - three), 0.0) + width * rng.standard_normal(one.shape)
            near = self._stay(now, space.settings(moved))
            x, found = np.vstack([x, near]), np.concatenate([found, worth(near)])
        return x, found

    def _stay(self, now: np.ndarray, x: np.ndarray) -> np.ndarray:
        space = self._space
        x = np.where(np.abs(space.unit(x) - space.unit(now)) < SAME, now, x)
        return x[space.allowed(x)]

    def _scattered(self, round_: np.ndarray, n: int, near: float) -> np.ndarray:
        """Allowed settings float64[at most n, d]: most round those given, float64[k, d], the rest anywhere."""
        space, rng, d = self._space, self._rng, len(self._space)
        unit = space.unit(round_)[rng.integers(len(round_), size=n)]
        width = near * 10 ** rng.uniform(-1.5, 0, (n, 1))
        moves = rng.random((n, d)) < rng.uniform(0.3, 1, (n, 1))
        unit = np.where(
            rng.random((n, 1)) < 0.7, unit + width * moves * rng.standard_normal((n, d)), rng.random((n, d))
        )
        x = space.settings(unit)
        return x[space.allowed(x)]

    def between(self, best: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Settings on the ways from the best to what may be better, float64[n, d]."""
        space = self._space
        part = self._rng.random((len(there), ON_A_WAY, 1))
        unit = space.unit(best) + part * (space.unit(there) - space.unit(best))[:, None]
        ways = space.settings(unit.reshape(-1, len(space)))
        return ways[space.allowed(ways)]

    def patience(self, now: np.ndarray, x: np.ndarray) -> np.ndarray:
        """What is some trials away counts for less, float64[n]."""
        trials = np.ceil((x != now).sum(axis=1) / self._changes)
        return np.asarray(WAIT ** np.maximum(trials - 1, 0))

    def reached(self, now: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Of settings float64[n, d] what one trial can reach of each."""
        x = x.copy()
        for row in x:
            differ = np.flatnonzero(row != now)
            row[differ[self._changes :]] = now[differ[self._changes :]]
        fine = [self._space.order(now, row) is not None for row in x]
        return x[fine] if any(fine) else now[None]
