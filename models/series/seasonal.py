"""What a load will be, with an interval: a profile of the week, what is off it by now, and what such forecasts were wrong by.

A value is forecast as its slot's profile (an exponential mean over weeks) plus a linear mix of what was off the profile lately, a
day and a week before. The mix is learned slot by slot by least squares that forget (Plackett, 1950). The interval is conformal:
quantiles of the past errors, each divided by the usual error of its time of day, at levels that are shifted after each miss so
that in the long run the asked share is held, whatever the series does (Gibbs and Candès, 2021).
"""

from __future__ import annotations

import base64
import bisect
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

PROFILE = 0.25  # of a new value, in its slot of the week's profile
USUAL = 0.05  # of a new error, in the usual one of its time of day
PRIOR = 5.0  # slots that the usual error of the whole day counts for, in one of a time of day
MEMORY = 4  # weeks after which an error weighs a third as much in the mix
SLOW = 10.0  # slots for each slot ahead, that the mix trusts the profile alone for; errors of a lead are alike for that long
FAR = 4.0  # usual errors, beyond which one pulls the mix no further
LEVEL = 1e-3  # of the mean, below which no error is usual: a load may repeat itself to the last digit
SCORES = 1000  # past errors of each lead
LEAST = 50  # of those, beyond a first week, before anything is told
SHIFT = 0.01  # of a level, after a value outside; for a lead of n slots, which hears of it late, by the root of n
FEATURES = 9
DAY = 86_400
VERSION = 1
KEPT = ("off", "week", "day", "mix", "doubt", "usual", "usual_all", "seen", "levels")


@dataclass(frozen=True)
class Settings:
    """`every`: seconds of a slot, which divide a day; `leads`: slots ahead; `coverage`: share of values that intervals are to
    hold."""

    every: int
    leads: tuple[int, ...]
    coverage: float = 0.8

    @property
    def day(self) -> int:
        """Slots."""
        return DAY // self.every


@dataclass(frozen=True)
class Told:
    """For each lead: float64[leads]; NaN while too little is known. `covered`: share of the last week's values that the first
    lead's intervals held, NaN before there were any."""

    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray
    covered: float


@dataclass(frozen=True)
class Forecast:
    """Made for a slot: what was seen, float64[FEATURES], and what was told."""

    seen: np.ndarray
    expected: float
    usual: float
    low: float
    high: float


class Scores:
    """The last SCORES numbers, in their order and sorted."""

    def __init__(self) -> None:
        self.kept: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self.kept)

    def add(self, score: float) -> None:
        if len(self.kept) == SCORES:
            del self._sorted[bisect.bisect_left(self._sorted, self.kept.popleft())]
        self.kept.append(score)
        bisect.insort(self._sorted, score)

    def at(self, level: float) -> float:
        """The number below which that share lies, with room for one more (Vovk, 2005): the farthest one beyond it."""
        n = len(self._sorted)
        rank = (level - 0.5) * (n + 1) + (n - 1) / 2
        return self._sorted[min(max(math.floor(rank) if level < 0.5 else math.ceil(rank), 0), n - 1)]


class Seasonal:
    """Takes the mean of each slot in their order; slots that are left out are not known."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        day, week, n = settings.day, 7 * settings.day, len(settings.leads)
        self._long = week + max(settings.leads) + 1
        self._off = np.zeros(self._long)  # the profile, by slot; 0 where nothing is known
        self._week, self._day, self._level = np.full(week, np.nan), np.full(day, np.nan), np.nan
        self._mix = np.zeros((n, FEATURES))
        self._doubt = np.eye(FEATURES) / (SLOW * np.array(settings.leads))[:, None, None]
        self._scale, self._known = np.nan, 0.0  # usual distance from the profile; what that said of the last slot
        self._usual, self._seen = np.zeros((n, day)), np.zeros((n, day), int)
        self._usual_all = np.zeros(n)
        self._scores = [Scores() for _ in settings.leads]
        self._levels = np.full((n, 2), (1 - settings.coverage) / 2)
        self._held: deque[bool] = deque(maxlen=week)
        self._open: dict[tuple[int, int], Forecast] = {}  # by slot and lead
        self.slot: int | None = None

    def __call__(self, slot: int, value: float) -> Told:
        """Slots are counted from any midnight of a Monday; one that is not after the last one is a ValueError."""
        if self.slot is not None:
            if slot <= self.slot:
                raise ValueError(f"slot {slot} is not after {self.slot}")
            for one in range(max(self.slot + 1, slot - self._long), slot):
                self._off[one % self._long] = 0.0
            self._open = {key: made for key, made in self._open.items() if key[0] >= slot}
        self.slot = slot
        for i in range(len(self.settings.leads)):
            if (made := self._open.pop((slot, i), None)) is not None:
                self._learn(i, slot, made, value)
        self._follow(slot, value)
        expected, low, high = np.array([self._ahead(i, lead) for i, lead in enumerate(self.settings.leads)]).T
        covered = float(np.mean(self._held)) if self._held else np.nan
        return Told(expected, low, high, covered)

    def forget_lately(self) -> None:
        """What was learned stays; what came last is as if it had not been, since time went on elsewhere."""
        self.slot, self._off, self._open = None, np.zeros(self._long), {}

    def profile(self, slot: int) -> float:
        """What is usual at that time of the week; before a week was seen, of the day."""
        day, week = self._day[slot % len(self._day)], self._week[slot % len(self._week)]
        return float(week if np.isfinite(week) else day if np.isfinite(day) else self._level)

    def as_json(self) -> dict[str, Any]:
        """All but the forecasts whose slots are still to come."""
        kept = {name: base64.b64encode(getattr(self, f"_{name}").astype("<f4").tobytes()).decode() for name in KEPT}
        plain = {"slot": self.slot, "held": [int(x) for x in self._held]}
        scores = [[round(score, 4) for score in one.kept] for one in self._scores]
        numbers = [None if np.isnan(x) else x for x in (self._level, self._scale, self._known)]
        return (
            {"version": VERSION, "settings": asdict(self.settings)}
            | kept
            | plain
            | {"numbers": numbers, "scores": scores}
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any], settings: Settings) -> Seasonal:
        """Raises ValueError for anything that is none of these settings, or damaged."""
        found = cls(settings)
        try:
            if document["version"] != VERSION or document["settings"] != {
                **asdict(settings),
                "leads": list(settings.leads),
            }:
                raise ValueError("it was learned with other settings")
            for name in KEPT:
                have = getattr(found, f"_{name}")
                body = np.frombuffer(base64.b64decode(document[name]), "<f4").astype(have.dtype)
                setattr(found, f"_{name}", body.reshape(have.shape))
            numbers = [np.nan if x is None else float(x) for x in document["numbers"]]
            found._level, found._scale, found._known = numbers
            found._held.extend(bool(x) for x in document["held"])
            for mine, theirs in zip(found._scores, document["scores"], strict=True):
                for score in theirs[-SCORES:]:
                    mine.add(float(score))
            found.slot = None if document["slot"] is None else int(document["slot"])
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"no forecast: {type(error).__name__} {error}") from None
        sound = [getattr(found, f"_{name}") for name in ("off", "mix", "doubt", "usual", "usual_all", "levels")]
        if not all(np.isfinite(x).all() for x in (*sound, *(one.kept for one in found._scores))):
            raise ValueError("a damaged forecast")
        return found

    def _follow(self, slot: int, value: float) -> None:
        known = self.profile(slot)
        known = known if np.isfinite(known) else value
        self._known, off = known, value - known
        self._off[slot % self._long] = off
        self._scale = abs(off) if np.isnan(self._scale) else self._scale + USUAL * (abs(off) - self._scale)
        for of, at in ((self._week, slot % len(self._week)), (self._day, slot % len(self._day))):
            of[at] = value if np.isnan(of[at]) else of[at] + PROFILE * (value - of[at])
        self._level = value if np.isnan(self._level) else self._level + (value - self._level) / len(self._day)

    def _ahead(self, i: int, lead: int) -> tuple[float, float, float]:
        assert self.slot is not None
        target = self.slot + lead
        seen = self._features(target)
        expected = self.profile(target) + float(self._mix[i] @ seen)
        at = target % len(self._day)
        n = self._seen[i, at]
        usual = float((n * self._usual[i, at] + PRIOR * self._usual_all[i]) / (n + PRIOR))
        usual = max(usual, LEVEL * abs(self._level), 1e-12)
        low = high = np.nan
        if len(self._scores[i]) >= LEAST:
            low, high = (expected + usual * self._scores[i].at(level) for level in self._levels[i] * (1, -1) + (0, 1))
        if np.isfinite(self._week[target % len(self._week)]):  # a first week teaches its profile alone
            self._open[target, i] = Forecast(seen, expected, usual, low, high)
        return (expected, low, high) if np.isfinite(low) else (np.nan, np.nan, np.nan)

    def _features(self, target: int) -> np.ndarray:
        assert self.slot is not None
        t, day, week = self.slot, len(self._day), len(self._week)
        lead = target - t
        lately = self._off[np.arange(t - day + 1, t + 1) % self._long]
        days, weeks = -(-lead // day) * day, -(-lead // week) * week
        other = self._day[target % day]
        more = other - self.profile(target) if np.isfinite(other) else 0.0
        back = self._off[np.array([t, t - 1, t - 2, target - days, target - weeks]) % self._long]
        scale = self._scale if np.isfinite(self._scale) else 0.0
        return np.array([*back, float(lately.mean()), more, self._known - self.profile(target), scale])

    def _learn(self, i: int, slot: int, made: Forecast, value: float) -> None:
        """From what one forecast was wrong by."""
        error = value - made.expected
        if np.isfinite(made.low):
            outside = np.array([value < made.low, value > made.high])
            shift = SHIFT / math.sqrt(self.settings.leads[i])
            self._levels[i] += shift * ((1 - self.settings.coverage) / 2 - outside)
            if i == 0:
                self._held.append(not outside.any())
        self._scores[i].add(error / made.usual)
        at, n = slot % len(self._day), self._seen[i, slot % len(self._day)]
        step = max(USUAL, 1 / (n + 1))
        self._usual[i, at] += step * (abs(error) - self._usual[i, at])
        self._usual_all[i] += max(USUAL / 5, 1 / (len(self._scores[i]) + 1)) * (abs(error) - self._usual_all[i])
        self._seen[i, at] += 1
        self._mixed(i, made, error)

    def _mixed(self, i: int, made: Forecast, error: float) -> None:
        if not self._scale > 0:
            return
        most = FAR * max(made.usual, 1e-12)
        seen, error = made.seen / self._scale, float(np.clip(error, -most, most)) / self._scale
        unsure = float(np.trace(self._doubt[i])) > FEATURES / (
            SLOW * self.settings.leads[i]
        )  # what has not been seen lately is not forgotten either
        keep = 1.0 if unsure else 1 - 1 / (MEMORY * len(self._week))
        way = self._doubt[i] @ seen
        gain = way / (keep + float(seen @ way))
        self._mix[i] += gain * error
        left = (self._doubt[i] - np.outer(gain, way)) / keep
        self._doubt[i] = (left + left.T) / 2
