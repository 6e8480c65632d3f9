"""How far forecasts of one kind go wrong: intervals that hold the share that they say, by past errors alone.

Conformal: quantiles of the past errors, each divided by the usual error of its time of day (Papadopoulos and others, 2002), at
levels that are shifted after each value outside, so that in the long run the asked share is held, whatever the series does (Gibbs
and Candès, 2021).
"""

from __future__ import annotations

import base64
import bisect
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

USUAL = 0.05  # of a new error, in the usual one of its time of day
PRIOR = 5.0  # values that the usual error of the whole day counts for, in one of a time of day
OUTLIER = 30.0  # usual errors, beyond which one makes none more usual
SHIFT = 0.01  # of a level, after a value outside
LOWEST = -0.2  # level: so many values outside are paid back, and no more
SCORES = 1000  # past errors, at most
DAYS = 14  # of so many days: those of the first weeks, in which the mix learns, are far larger
FEWEST = 300  # where those are fewer
ALIKE = 0.5  # of the values that come before one is known, a day's at most: so many errors in a row are worth one
NONE = 1e-12  # in place of a usual error of 0
LEAST = 50  # of those, before anything is told
SHAPES = ("usual", "times", "levels")


class Scores:
    """The last `most` numbers, in their order and sorted."""

    def __init__(self, most: int = SCORES) -> None:
        self.most = most
        self.kept: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self.kept)

    def add(self, score: float) -> None:
        if len(self.kept) == self.most:
            del self._sorted[bisect.bisect_left(self._sorted, self.kept.popleft())]
        self.kept.append(score)
        bisect.insort(self._sorted, score)

    def at(self, level: float, alike: float = 1.0) -> float:
        """The number below which that share lies, with room for one more (Vovk, 2005), and where `alike` of them come together, for
        so many more: the farthest one beyond it."""
        n = len(self._sorted)
        rank = (level - 0.5) * (n + alike) + (n - 1) / 2
        return self._sorted[min(max(math.floor(rank) if level < 0.5 else math.ceil(rank), 0), n - 1)]


class Interval:
    """Of forecasts of one kind; `day`: times of day that are told apart, `behind`: values that come before one is known to be
    outside. By then as many, a day's at most, were told in the same way, so one of them shifts a level by as much less: else what
    the first weeks held too often is given back in the next ones."""

    def __init__(self, day: int, coverage: float, behind: int) -> None:
        self.usual, self.times = np.zeros(day), np.zeros(day)
        self.levels = np.full(2, (1 - coverage) / 2)
        self.whole = 0.0  # usual error of the whole day
        self.scores = Scores(min(SCORES, max(FEWEST, DAYS * day)))
        together = min(behind, day)
        self._asked, self._shift = (1 - coverage) / 2, SHIFT / together
        self._alike = max(1.0, ALIKE * together)

    def usual_at(self, at: int, least: float) -> float:
        """Of errors at that time of day, at least `least`; 0 while none is known."""
        if not len(self.scores):
            return 0.0
        n = self.times[at]
        return max(float((n * self.usual[at] + PRIOR * self.whole) / (n + PRIOR)), least, NONE)

    def around(self, expected: float, usual: float) -> tuple[float, float]:
        """(low, high), NaN while too little is known."""
        if len(self.scores) < LEAST:
            return np.nan, np.nan
        below, above = self.levels
        low, high = (self.scores.at(level, self._alike) for level in (below, 1 - above))
        return expected + usual * low, expected + usual * high

    def learn(
        self, at: int, error: float, usual: float, outside: tuple[bool, bool] | None, least: float = NONE
    ) -> float:
        """What a forecast was wrong by, where `usual` was usual, and whether the value lay below or above its interval, if it had
        one. One that was made while nothing was known is held against what is usual by now, and where none was ever wrong against
        itself. Returns that."""
        known = max(usual, 0 if usual > NONE else self.usual_at(at, least))
        usual = known if known > NONE else max(abs(error), least)
        if outside is not None:
            self.levels = np.clip(self.levels + self._shift * (self._asked - np.array(outside)), LOWEST, 0.5)
        self.scores.add(error / usual)
        size = abs(error) if self.whole == 0 else min(abs(error), OUTLIER * usual)
        self.usual[at] += max(USUAL, 1 / (self.times[at] + 1)) * (size - self.usual[at])
        self.whole += max(USUAL / 5, 1 / len(self.scores)) * (size - self.whole)
        self.times[at] = min(self.times[at] + 1, 1e6)
        return usual

    def as_json(self) -> dict[str, Any]:
        return {
            "whole": self.whole,
            "scores": packed(self.scores.kept),
            **{n: packed(getattr(self, n)) for n in SHAPES},
        }

    def resume(self, document: Mapping[str, Any]) -> None:
        """Go on from what another one kept. Raises ValueError, KeyError or TypeError."""
        for name in SHAPES:
            setattr(self, name, unpacked(document[name], getattr(self, name).shape))
        self.whole = float(document["whole"])
        for score in unpacked(document["scores"], (-1,))[-self.scores.most :]:
            self.scores.add(float(score))
        if not (np.isfinite(self.whole) and self.whole >= 0 and min(self.usual.min(), self.times.min()) >= 0):
            raise ValueError("a damaged interval")


def packed(numbers: Any) -> str:
    """As float32, which text of JSON holds in a third of the room."""
    return base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode()


def unpacked(text: str, shape: tuple[int, ...], holes: bool = False) -> np.ndarray:
    """Raises ValueError where there are not so many numbers, or one is none and no `holes` are allowed."""
    found = np.frombuffer(base64.b64decode(text), "<f4").astype(float).reshape(shape)
    if np.isinf(found).any() or (np.isnan(found).any() and not holes):
        raise ValueError("a damaged forecast")
    return found
