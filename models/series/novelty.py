"""How new one signal is: how unlike anything it did before, and how far beyond what it reached before.

Three distances to the nearest past rows (of the value alone, of its last 5 and of its last 20 rows), two extremes (of the value and
of its mean over 10 rows) and how far that mean is from those at the same time of the days before are each turned into the rank that
they have among their own past: -log10 of the share of the past that was as far out (a conformal p-value, Laxhammar and Falkman,
2010), more where it lies beyond all of it. The score is their weighted sum. No distribution and no training part is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

STEP = 40  # rows between two looks at the past
PAST = 4000  # rows that neighbours are looked for among
RANKS = 20_000  # rows that a rank is taken among
FIRST = 80  # rows before anything is said
NEAREST = 5
ALIKE = 1e-12  # of the squared size of two rows: no difference
SPANS = (1, 5, 20)  # rows of the three distances
MEAN = 10  # rows of the mean
# of the three distances, the value's and the mean's extreme, and the time of day
WEIGHTS = (1.09, 0.11, 0.38, 1.19, 0.09, 1.88)
DAYS = 5  # of which the middle one counts, from two on
DAY = range(48, 20_001)  # rows that a day may have
ALMOST = 0.01  # of its rows, by which a day may differ from what it was found to have before
BEYOND = 3.0  # decades that lying beyond all of the past can add
AGAIN = 1.1  # how much more it has to be than what was told within `rest` rows
FLOOR = 7.0  # what is less than that is not told, and holds nothing back
STATE = ("values", "ranks", "many", "fresh", "days", "rows", "told")


@dataclass(frozen=True)
class Told:
    """`score` float64[n]; `new` bool[n]: whether it is more than all that was told within the last `rest` rows."""

    score: np.ndarray
    new: np.ndarray


class Novelty:
    """Scores values as they come; the same whether they come one by one or in blocks."""

    def __init__(self, rest: int, day: int = 0) -> None:
        self._rest = rest
        self._days, self._weights = np.empty(0), np.array([*WEIGHTS[:-1], 0.0]) * sum(WEIGHTS) / sum(WEIGHTS[:-1])
        self._missing = 0  # rows that others of the days came before
        self.of_day(day)
        self._values = np.empty(0)  # the last PAST + the longest span
        self._ranks = [np.empty(0) for _ in WEIGHTS]  # each the last RANKS of its own kind, in their order
        self._sorted = [np.empty(0) for _ in WEIGHTS]
        self._fresh: list[np.ndarray] = []  # what was measured since the last look
        self._n = 0
        self._kept: list[tuple[int, float]] = []  # (row, score) told within `rest`, falling

    def of_day(self, rows: int) -> None:
        """A day has so many rows, or about what was said before; another number than of DAY: nothing is known of days, and the
        other parts weigh more."""
        if rows in DAY and abs(rows - self.day) > ALMOST * self.day:
            self._days, self._weights = (
                np.full(DAYS * rows, np.nan),
                np.array(WEIGHTS),
            )  # the means of the last days, in a ring

    @property
    def day(self) -> int:
        """Rows of a day; 0: nothing is known of days."""
        return len(self._days) // DAYS

    def __len__(self) -> int:
        """Rows so far."""
        return self._n

    def miss(self, rows: int) -> None:
        """So many did not come, or -1: one came early; below: nobody knows which time of day it is."""
        if -1 <= rows < len(self._days):
            self._days[(self._n + self._missing + np.arange(rows)) % len(self._days)] = np.nan
            self._missing += max(rows, 0)
        else:
            self._days[:] = np.nan

    def state(self) -> dict[str, np.ndarray]:
        """Everything that the next row needs, for `go_on`: at most 1.2 MB and 0.8 MB of days."""
        ranks, fresh = np.concatenate(self._ranks), np.concatenate([np.empty((len(WEIGHTS), 0)), *self._fresh], axis=1)
        many = np.array([len(one) for one in self._ranks])
        told = np.array(self._kept, float).reshape(-1, 2)
        rows = np.array([self._n, self._missing])
        return {"values": self._values, "ranks": ranks, "many": many, "fresh": fresh, "days": self._days} | {
            "rows": rows,
            "told": told,
        }

    def go_on(self, state: Mapping[str, np.ndarray]) -> None:
        """As if it had never stopped. Raises ValueError for what is damaged."""
        values, ranks, many, fresh, days, rows, told = (state[name] for name in STATE)
        n, missing = map(int, rows)
        whole = values.ndim == ranks.ndim == days.ndim == 1 and np.isfinite(values).all() and np.isfinite(ranks).all()
        whole = whole and many.shape == (len(WEIGHTS),) and (many >= 0).all() and many.sum() == len(ranks)
        whole = whole and fresh.shape == (len(WEIGHTS), n % STEP) and told.ndim == 2 and told.shape[1] == 2
        whole = whole and min(n, PAST) <= len(values) <= n and (not len(days) or len(days) // DAYS in DAY)
        if not whole or len(days) % DAYS or missing < 0:
            raise ValueError("a damaged past")
        self.of_day(len(days) // DAYS)
        self._values, self._days, self._n, self._missing = values, days.copy(), n, missing
        self._ranks = np.split(ranks, np.cumsum(many)[:-1])
        self._sorted = [np.sort(one) for one in self._ranks]
        self._fresh = [fresh]
        self._kept = [(int(row), float(score)) for row, score in told]

    def __call__(self, values: np.ndarray) -> Told:
        """Of finite values [n] in their order."""
        score = np.empty(len(values))
        at = 0
        while at < len(values):
            part = values[at : at + STEP - self._n % STEP]
            score[at : at + len(part)] = self._part(part)
            at += len(part)
        return Told(score, self._told(score))

    def _part(self, part: np.ndarray) -> np.ndarray:
        seen = len(self._values)
        self._values = np.concatenate([self._values, part])
        value, mean = self._extremes(seen)
        found = np.array([*(self._distance(span, seen) for span in SPANS), value, mean, self._than_usual(mean)])
        score = np.zeros(len(part))
        if self._n - self._n % STEP >= FIRST:
            for kind, weight in enumerate(self._weights):
                score += weight * self._rank(kind, found[kind])
        self._fresh.append(found)
        self._n += len(part)
        if self._n % STEP == 0:
            self._look()
        return score

    def _look(self) -> None:
        """Take what was measured since the last look into the past."""
        fresh = np.concatenate(self._fresh, axis=1)
        self._fresh = []
        for kind, measured in enumerate(fresh):
            measured = measured[np.isfinite(measured)]
            self._ranks[kind] = np.concatenate([self._ranks[kind], measured])
            if len(self._ranks[kind]) > RANKS + PAST:
                self._ranks[kind] = self._ranks[kind][-RANKS:]
                self._sorted[kind] = np.sort(self._ranks[kind])
            else:  # two runs, which a stable sort merges
                self._sorted[kind] = np.sort(np.concatenate([self._sorted[kind], np.sort(measured)]), kind="stable")
        self._values = self._values[-(PAST + SPANS[-1]) :]

    def _distance(self, span: int, seen: int) -> np.ndarray:
        """The mean distance of the last `span` rows to the nearest ones of the past; 0 where there is no past yet."""
        n = len(self._values) - seen
        looked = seen - self._n % STEP  # the past ends where the last look did
        if looked < FIRST // 2:
            return np.zeros(n)
        rows = np.lib.stride_tricks.sliding_window_view(self._values, span)
        past, mine = rows[: looked - span + 1][-PAST:], rows[-n:]
        middle = past.mean()
        past, mine = past - middle, mine - middle
        size = (mine**2).sum(axis=1)[:, None] + (past**2).sum(axis=1)[None, :]
        square = size - 2 * mine @ past.T
        square[square < ALIKE * size] = 0.0  # what is the same has no distance by rounding
        k = min(NEAREST, len(past))
        return np.asarray(np.sqrt(np.maximum(np.partition(square, k - 1, axis=1)[:, :k].mean(axis=1), 0)))

    def _extremes(self, seen: int) -> tuple[np.ndarray, np.ndarray]:
        tail = self._values[max(0, seen - MEAN + 1) :]
        total = np.concatenate([[0], np.cumsum(tail)])
        end = np.arange(len(tail) - (len(self._values) - seen), len(tail)) + 1
        begin = np.maximum(end - MEAN, 0)
        return self._values[seen:], (total[end] - total[begin]) / (end - begin)

    def _than_usual(self, mean: np.ndarray) -> np.ndarray:
        """float64[n]: the mean less the middle one of those at this time of the days before; NaN where they are fewer than two."""
        if not len(self._days):
            return np.full(len(mean), np.nan)
        at = (self._n + self._missing + np.arange(len(mean))) % len(self._days)
        before = self._days[(at[:, None] - self.day * np.arange(1, DAYS + 1)) % len(self._days)]
        known = np.isfinite(before).sum(axis=1) > 1
        usual = np.full(len(mean), np.nan)
        usual[known] = np.nanmedian(before[known], axis=1)
        self._days[at] = mean
        return mean - usual

    def _rank(self, kind: int, measured: np.ndarray) -> np.ndarray:
        past = self._sorted[kind]
        if len(past) <= STEP:
            return np.zeros(len(measured))
        n, low, high = len(past), past[0], past[-1]
        wide = max(high - low, 1e-12)
        above = n - np.searchsorted(past, measured, "left")
        if kind < len(SPANS):
            beyond = np.where(measured > high, 2 * np.log10(np.maximum(measured, 1e-12) / max(high, 1e-12)), 0)
        else:
            above = np.minimum(above, np.searchsorted(past, measured, "right"))
            out = np.maximum(measured - high, low - measured)
            beyond = np.where(out > 0, 2 * np.log10(1 + np.maximum(out, 0) / wide), 0)
        rank = -np.log10((above + 1) / (n + 1)) + np.minimum(beyond, BEYOND)
        return np.asarray(np.where(np.isfinite(measured), rank, 0.0))

    def _told(self, score: np.ndarray) -> np.ndarray:
        new = np.zeros(len(score), bool)
        first = self._n - len(score)
        for i in np.flatnonzero(score > FLOOR):  # few
            row = first + int(i)
            self._kept = [(at, told) for at, told in self._kept if at >= row - self._rest]
            if score[i] > AGAIN * max((told for _, told in self._kept), default=0.0):
                self._kept.append((row, float(score[i])))
                new[i] = True
        return new
