"""What a load will be, with an interval: a profile of the week, what is off it by now, and what such forecasts were wrong by.

A value is forecast as its slot's profile (an exponential mean over weeks) plus a linear mix of what was off the profile lately, a
day and a week before. The mix is learned slot by slot by least squares that forget (Plackett, 1950). While a slot runs, its rest is
forecast anew from how far it is off so far.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .intervals import NONE, USUAL, Interval, packed, unpacked

PROFILE = 0.25  # of a new value, in its slot of the week's profile
OUTLIER = 10.0  # usual distances from the profile, beyond which a value counts for no more
FIRST = 20.0  # the same in a first week, in which days may be unlike, or times the mean
MEMORY = 4  # weeks after which an error weighs a third as much in the mix
SLOW = 10.0  # slots for each slot ahead, that the mix trusts the profile alone for; errors of a lead are alike for that long
FAR = 4.0  # usual errors, beyond which one pulls the mix no further
MOST = 2.0  # times what was off lately, that a forecast is off the profile
LEVEL = 1e-3  # of the mean, below which no error is usual: a load may repeat itself to the last digit
QUARTERS = 4  # of a slot, after each of which its rest is forecast anew
FEATURES = 9
DAY = 86_400
LARGEST = 3e38  # that a state holds
VERSION = 1
FINITE = {"off": "_off", "mix": "_mix", "doubt": "_doubt", "pull": "_pull", "pulled": "_pulled"}
HOLES = {"week": "_week", "day": "_day", "numbers": "_numbers"}


@dataclass(frozen=True)
class Settings:
    """`every`: seconds of a slot, which divide a day; `leads`: slots ahead; `coverage`: share of values that intervals are to
    hold; `zone`: whose clock the slots are of."""

    every: int
    leads: tuple[int, ...]
    coverage: float = 0.8
    zone: str = "UTC"

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
    """Made for a slot: what was seen, float64[FEATURES] or what was off so far, float64[1], and what was told."""

    seen: np.ndarray
    expected: float
    usual: float
    low: float
    high: float

    def outside(self, value: float) -> tuple[bool, bool] | None:
        """Below, above; None where nothing was told."""
        return (value < self.low, value > self.high) if np.isfinite(self.low) else None


class Seasonal:
    """Takes the mean of each slot in their order; slots that are left out are not known."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        day, week, n = settings.day, 7 * settings.day, len(settings.leads)
        self._long = week + max(settings.leads) + 1
        self._off = np.zeros(self._long)  # the profile, by slot; 0 where nothing is known
        self._week, self._day = np.full(week, np.nan), np.full(day, np.nan)
        self._numbers = np.array(
            [np.nan, np.nan, 0.0]
        )  # level, usual distance from the profile, profile of the last slot
        self._mix = np.zeros((n, FEATURES))
        self._doubt = np.eye(FEATURES) / (SLOW * np.array(settings.leads))[:, None, None]
        self._intervals = [Interval(day, settings.coverage, lead) for lead in settings.leads]
        self._pull, self._pulled = (
            np.zeros(QUARTERS - 1),
            np.full(QUARTERS - 1, 1e-9),
        )  # what a slot off so far is off later
        self._rests = [Interval(day, settings.coverage, 1) for _ in range(QUARTERS - 1)]
        self._held: deque[bool] = deque(maxlen=week)
        self._open: dict[tuple[int, int], Forecast] = {}  # by slot and lead
        self._running: dict[int, Forecast] = {}  # of the slot that runs, by quarter
        self.slot: int | None = None

    def __call__(self, slot: int, value: float) -> Told:
        """Slots are counted from any midnight of a Monday; one that is not after the last one is a ValueError."""
        if self.slot is not None:
            if slot <= self.slot:
                raise ValueError(f"slot {slot} is not after {self.slot}")
            for one in range(max(self.slot + 1, slot - self._long), slot):
                self._off[one % self._long] = 0.0
            self._open = {key: made for key, made in self._open.items() if key[0] >= slot}
        self._ran(slot, value)
        self.slot = slot
        for i in range(len(self.settings.leads)):
            if (made := self._open.pop((slot, i), None)) is not None:
                self._learn(i, slot, made, value)
        self._follow(slot, value)
        expected, low, high = np.array([self._ahead(i, lead) for i, lead in enumerate(self.settings.leads)]).T
        covered = float(np.mean(self._held)) if self._held else np.nan
        return Told(expected, low, high, covered)

    def running(self, slot: int, quarter: int, mean: float) -> tuple[float, float, float]:
        """(expected, low, high) of the mean that a slot will have whose first quarters have that mean; NaN while too little is
        known, or where the slot before it is not. One of the leads has to be the next slot."""
        made = self._open.get((slot, self.settings.leads.index(1))) if self.slot == slot - 1 else None
        if made is None:
            return np.nan, np.nan, np.nan
        k, share = quarter - 1, quarter / QUARTERS
        off = mean - made.expected
        expected = share * mean + (1 - share) * (made.expected + self._pull[k] * off)
        usual = self._rests[k].usual_at(slot % len(self._day), LEVEL * abs(self._numbers[0]))
        low, high = self._rests[k].around(expected, usual)
        self._running[quarter] = Forecast(np.array([off]), expected, usual, low, high)
        return (expected, low, high) if np.isfinite(low) else (np.nan, np.nan, np.nan)

    def forget_lately(self) -> None:
        """What was learned stays; what came last is as if it had not been, since time went on elsewhere."""
        self.slot, self._off, self._open = None, np.zeros(self._long), {}

    def profile(self, slot: int) -> float:
        """What is usual at that time of the week; before a week was seen, of the day."""
        day, week = self._day[slot % len(self._day)], self._week[slot % len(self._week)]
        return float(week if np.isfinite(week) else day if np.isfinite(day) else self._numbers[0])

    def as_json(self) -> dict[str, Any]:
        """Everything that the next slot needs, but for what was told of it while it runs."""
        kept = {name: packed(getattr(self, of)) for name, of in {**FINITE, **HOLES}.items()}
        parts = {"leads": self._intervals, "rests": self._rests}
        more: dict[str, Any] = {name: [each.as_json() for each in of] for name, of in parts.items()}
        held = "".join("01"[one] for one in self._held)
        rows = [[*one.seen, one.expected, one.usual, one.low, one.high] for one in self._open.values()]
        more["open"] = [[*map(list, self._open)], packed(np.clip(rows, -LARGEST, LARGEST))]
        return {"version": VERSION, "settings": asdict(self.settings), "slot": self.slot, "held": held, **kept, **more}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], settings: Settings) -> Seasonal:
        """Raises ValueError for anything that is none of these settings, or damaged."""
        found = cls(settings)
        try:
            asked = {**asdict(settings), "leads": list(settings.leads)}
            if document["version"] != VERSION or document["settings"] != asked:
                raise ValueError("it was learned with other settings")
            for name, of in {**FINITE, **HOLES}.items():
                setattr(found, of, unpacked(document[name], getattr(found, of).shape, name in HOLES))
            for mine, theirs in (
                *zip(found._intervals, document["leads"], strict=True),
                *zip(found._rests, document["rests"], strict=True),
            ):
                mine.resume(theirs)
            found._held.extend(one == "1" for one in document["held"])
            found.slot = None if document["slot"] is None else int(document["slot"])
            keys, rows = document.get("open", ([], ""))
            found._open = _opened(keys, rows, found.slot, settings.leads) if found.slot is not None else {}
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"no forecast: {type(error).__name__} {error}") from None
        return found

    def _follow(self, slot: int, value: float) -> None:
        level, scale, _ = self._numbers
        known = self.profile(slot)
        known = known if np.isfinite(known) else value
        if np.isnan(level):
            level, scale = value, 0.0
        seen = np.isfinite(self._week[slot % len(self._week)])
        most = OUTLIER * max(scale, LEVEL * abs(level)) if seen else FIRST * max(scale, abs(level))
        most = most or np.inf  # of what was 0 so far nobody knows how large it gets
        off = float(np.clip(value - known, -most, most))
        self._off[slot % self._long] = off
        week, day = slot % len(self._week), slot % len(self._day)
        self._week[week], self._day[day] = (
            _moved(self._week[week], self._day[day], value, known + off, most),
            _moved(self._day[day], self._week[week], value, known + off, most),
        )
        scale += USUAL * (abs(off) - scale)
        level += (known + off - level) / len(self._day)
        self._numbers = np.array([level, scale, known])

    def _ahead(self, i: int, lead: int) -> tuple[float, float, float]:
        assert self.slot is not None
        target = self.slot + lead
        seen = self._features(target)
        most = MOST * float(np.abs(seen[:-2]).max())
        expected = self.profile(target) + float(np.clip(self._mix[i] @ seen, -most, most))
        usual = self._intervals[i].usual_at(target % len(self._day), LEVEL * abs(self._numbers[0]))
        low, high = self._intervals[i].around(expected, usual)
        if np.isfinite(self._week[target % len(self._week)]):  # a first week teaches its profile alone
            self._open[target, i] = Forecast(seen, expected, usual, low, high)
        return (expected, low, high) if np.isfinite(low) else (np.nan, np.nan, np.nan)

    def _features(self, target: int) -> np.ndarray:
        assert self.slot is not None
        t, day, week = self.slot, len(self._day), len(self._week)
        lead = target - t
        lately = self._off[np.arange(t - day + 1, t + 1) % self._long]
        days, weeks = -(-lead // day) * day, -(-lead // week) * week
        known, other = self.profile(target), self._day[target % day]
        more = other - known if np.isfinite(other) else 0.0
        back = self._off[np.array([t, t - 1, t - 2, target - days, target - weeks]) % self._long]
        return np.array([*back, float(lately.mean()), more, self._numbers[2] - known, self._numbers[1]])

    def _learn(self, i: int, slot: int, made: Forecast, value: float) -> None:
        """From what one forecast was wrong by."""
        outside = made.outside(value)
        if i == 0 and outside is not None:
            self._held.append(not any(outside))
        error, least = value - made.expected, LEVEL * abs(self._numbers[0])
        usual = self._intervals[i].learn(slot % len(self._day), error, made.usual, outside, max(least, NONE))
        self._mixed(i, made, error, usual)

    def _mixed(self, i: int, made: Forecast, error: float, usual: float) -> None:
        level, scale = map(float, self._numbers[:2])
        if not scale > 0:
            return
        most = min(FAR * usual, OUTLIER * max(scale, LEVEL * abs(level)))
        seen, error = made.seen / scale, float(np.clip(error, -most, most)) / scale
        sure = float(np.trace(self._doubt[i])) <= FEATURES / (SLOW * self.settings.leads[i])
        keep = 1 - 1 / (MEMORY * len(self._week)) if sure else 1.0  # what was not seen lately is not forgotten either
        way = self._doubt[i] @ seen
        gain = way / (keep + float(seen @ way))
        self._mix[i] += gain * error
        left = (self._doubt[i] - np.outer(gain, way)) / keep
        self._doubt[i] = (left + left.T) / 2

    def _ran(self, slot: int, value: float) -> None:
        """From what was told while the slot ran."""
        if self.slot == slot - 1:
            for quarter, made in self._running.items():
                k, share, off = quarter - 1, quarter / QUARTERS, float(made.seen[0])
                self._rests[k].learn(slot % len(self._day), value - made.expected, made.usual, made.outside(value))
                later = self._pull[k] * off + (value - made.expected) / (1 - share)  # by which its rest was off
                keep = 1 - 1 / (MEMORY * len(self._week))
                self._pulled[k] = keep * self._pulled[k] + off**2
                self._pull[k] += off / self._pulled[k] * (later - self._pull[k] * off)
        self._running = {}


def _opened(keys: list[list[int]], rows: str, slot: int, leads: tuple[int, ...]) -> dict[tuple[int, int], Forecast]:
    """Forecasts whose slots are still to come. Raises ValueError or TypeError for damaged ones."""
    numbers = unpacked(rows, (len(keys), FEATURES + 4), holes=True)
    found = {}
    for (of, i), (*seen, expected, usual, low, high) in zip(keys, numbers.tolist(), strict=True):
        sound = np.isfinite([*seen, expected]).all() and usual >= 0
        if not (sound and 0 <= i < len(leads) and slot < of <= slot + leads[i]):
            raise ValueError("a damaged forecast")
        found[of, i] = Forecast(np.array(seen), expected, usual, low, high)
    return found


def _moved(one: float, other: float, value: float, first: float, most: float) -> float:
    """A profile's number after another value: `first` where there was none; moved by no more than `most` counts for, but as far as
    the `other` profile lies, since one that an absurd value began with has to find back."""
    if np.isnan(one):
        return first
    way = other - one if np.isfinite(other) else 0.0
    return one + PROFILE * float(np.clip(value - one, min(-most, way), max(most, way)))
