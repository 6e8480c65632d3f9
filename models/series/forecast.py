"""The stage `forecast`: what a load or a demand will be, with an interval, from its own past."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from edge import TRUSTED, Batch, ConfigFault, Duration, Identifier, Point, Quality, Setting, StageConfig

from ..vision.shifts import Zone, zone_of
from .document import read
from .seasonal import DAY, QUARTERS, Seasonal, Settings, Told

HOUR = 3600 * 10**9  # ns
MONDAY = 3 * DAY  # seconds: 1970 began on a Thursday
ABSURD = 1e30
MOST = 8 * DAY  # seconds ahead
SIDES = ("", "_low", "_high")
COVERED, RUNNING = "covered", "running"


class ForecastConfig(StageConfig):
    """What is forecast, how far ahead, and how sure."""

    anew: ClassVar[bool] = True
    tag: str = Field(description="the load or demand, read at an even period")
    every: Duration = Field(900.0, description="a slot, of which the mean is forecast; it has to divide a day")
    ahead: dict[Identifier, Duration] = Field(
        default_factory=dict, max_length=8, description="how far ahead, by name; unset: `next`, the next slot"
    )
    coverage: float = Field(0.8, ge=0.5, le=0.98, description="share of values that the interval is to hold")
    running: bool = Field(
        False, description="also tell the mean that the slot that runs will have, anew after each quarter of it"
    )
    zone: Zone = Field("UTC", description="time zone by whose clock people work, as Europe/Berlin")
    unit: str = Field("", description="of the tag, for people")
    baseline: str = Field("", description="file beside the site, written by `lineside fit`")

    @model_validator(mode="after")
    def _slots(self) -> ForecastConfig:
        if self.every < 60 or self.every != int(self.every) or DAY % int(self.every):
            raise ValueError(f"every: {self.every:g} s do not divide a day into slots of a minute and more")
        for name, ahead in self.ahead.items():
            if not 0 < ahead <= MOST or ahead % self.every:
                raise ValueError(f"ahead.{name}: {ahead:g} s are no slots of {self.every:g} s, or more than eight days")
        if self.running and 1 not in self.leads().values():
            raise ValueError(f"running: it needs a name in `ahead` for the next slot, {self.every:g} s")
        clash = sorted(name for name in self.points() if list(self._names()).count(name) > 1)
        if clash:
            raise ValueError(f"ahead: two tags would be called {clash[0]!r}")
        return self

    def leads(self) -> dict[str, int]:
        """Slots ahead, by name."""
        return {name: round(ahead / self.every) for name, ahead in (self.ahead or {"next": self.every}).items()}

    def _names(self) -> Iterator[str]:
        names = (*self.leads(), RUNNING) if self.running else self.leads()
        yield from (name + side for name in names for side in SIDES)
        yield COVERED

    def points(self) -> dict[str, Any]:
        old = 2 * self.every  # what it is made of comes far more often
        return {name: Point(unit="%" if name == COVERED else self.unit, stale_after=old) for name in self._names()}

    def reads(self) -> tuple[str, ...]:
        return (self.tag,)

    def settings(self) -> Settings:
        return Settings(int(self.every), tuple(self.leads().values()), self.coverage, self.zone)


class Slots:
    """Samples in; the mean of what a slot has so far out as soon as a sample of its next quarter comes, and that of all of it as
    soon as one of a later slot comes."""

    def __init__(self, every: int, zone: str = "UTC") -> None:
        self._every, self._zone = every, zone_of(zone)
        self.behind = 0  # ns, by which UTC is behind the clock of the slot that was told last
        self._behind = 0  # of the one that runs
        self._slot: int | None = None
        self._quarter = 0
        self._sum, self._n, self._whole = 0.0, 0, False

    def __call__(self, ts: np.ndarray, value: np.ndarray, quality: np.ndarray) -> Iterator[tuple[int, int, float]]:
        """(slot, quarters that are over, their mean) of samples: ns UTC, values, qualities. What comes for a quarter that is over
        is let be, unless all time went back by more than a week."""
        good = (quality <= TRUSTED) & (np.abs(value) < ABSURD)  # which leaves out what is no number, too
        value, ts = value[good], ts[good]
        behind = self._clock(ts)
        quarters = (ts + behind + MONDAY * 10**9) // (self._every * 10**9 // QUARTERS)
        for one in np.unique(quarters):
            slot, quarter = divmod(int(one), QUARTERS)
            mine = quarters == one
            if self._slot is None or slot > self._slot or slot < self._slot - 7 * DAY // self._every:
                yield from self._over(QUARTERS)
                self._whole = self._slot is not None or quarter == 0  # else the first one began in its midst
                self._slot, self._quarter, self._sum, self._n = slot, quarter, 0.0, 0
                self._behind = int(behind[mine][0])
            elif slot == self._slot and quarter > self._quarter:
                yield from self._over(quarter)
                self._quarter = quarter
            if (slot, quarter) == (self._slot, self._quarter):
                self._sum, self._n = self._sum + float(value[mine].sum()), self._n + int(mine.sum())

    def _clock(self, ts: np.ndarray) -> np.ndarray:
        """int64[n] ns by which UTC is behind; it changes with an hour."""
        hours, at = np.unique(ts // HOUR, return_inverse=True)
        offsets = (datetime.fromtimestamp(int(hour) * 3600, self._zone).utcoffset() for hour in hours)
        return np.array([round(o.total_seconds() * 1e9) if o else 0 for o in offsets], np.int64)[at]

    def _over(self, quarters: int) -> Iterator[tuple[int, int, float]]:
        self.behind = self._behind
        if self._slot is not None and self._whole:
            yield self._slot, quarters, self._sum / self._n


class Forecast:
    """Batches in; at the end of each slot that had a good sample the forecasts from there, at that time, and after each quarter of
    one what it will be. SUBSTITUTED and empty until a week and fifty more forecasts have come true."""

    Config = ForecastConfig

    def __init__(self, config: ForecastConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        if config.tag not in setting.table:
            raise ConfigFault(f"{setting.name}: no tag is called {config.tag!r}", hint="tags are called source.name")
        self.inputs = frozenset({config.tag})
        self.outputs = frozenset(f"{setting.name}.{name}" for name in config.points())
        self._id = setting.table[config.tag].id
        self._out = np.array([setting.table[f"{setting.name}.{name}"].id for name in config.points()], np.int32)
        self._runs = self._out[-1 - len(SIDES) : -1]  # the slot that runs, where it is told
        self._next = [*config.leads().values(), 1].index(1)
        self._slots = Slots(int(config.every), config.zone)
        self._seasonal = (
            load(setting.folder / config.baseline, config) if config.baseline else Seasonal(config.settings())
        )
        self._kept: tuple[int | None, bytes] = (None, b"")

    @classmethod
    def fit_stream(
        cls, config: ForecastConfig, parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> dict[str, Any]:
        """A document from history, (ts, value, quality) in the order of time. Raises ValueError."""
        seasonal, slots = Seasonal(config.settings()), Slots(int(config.every), config.zone)
        rows, told = 0, None
        for part in parts:
            for slot, quarters, mean in slots(*part):
                if quarters == QUARTERS:
                    told, rows = _next(seasonal, slot, mean), rows + 1
                elif config.running:
                    seasonal.running(slot, quarters, mean)
        if told is None or np.isnan(told.covered):
            need = f"{rows} slots of {config.every:g} s are too few; it takes a week and fifty more, better four weeks"
            raise ValueError(need)
        words = f"{told.covered:.0%} of the last week's values lay within the interval (asked for are {config.coverage:.0%})"
        return {"tag": config.tag, "rows": rows, **seasonal.as_json(), "told": words}

    def __call__(self, item: Any) -> Iterator[Batch]:
        if not isinstance(item, Batch):
            return
        mine = item.tag == self._id
        if not mine.any():
            return
        for slot, quarters, mean in self._slots(item.ts[mine], item.value[mine], item.quality[mine]):
            if quarters == QUARTERS:
                yield self._batch(slot + 1, 0, self._ended(slot, mean), self._out, item.mono)
            elif self.config.running:
                told = np.array(self._seasonal.running(slot, quarters, mean))
                yield self._batch(slot, quarters, told, self._runs, item.mono)

    def _ended(self, slot: int, mean: float) -> np.ndarray:
        """In the order of the tags."""
        told = _next(self._seasonal, slot, mean)
        ahead = np.column_stack([told.expected, told.low, told.high])
        runs = ahead[self._next : self._next + 1] if self.config.running else ahead[:0]
        return np.append(np.concatenate([ahead, runs]).ravel(), 100 * told.covered)

    def _batch(self, slot: int, quarters: int, value: np.ndarray, of: np.ndarray, mono: int) -> Batch:
        """At that place in time."""
        every = int(self.config.every) * 10**9
        ts = slot * every + quarters * every // QUARTERS - MONDAY * 10**9 - self._slots.behind
        return Batch.of(self.name, of, value, ts, np.where(np.isfinite(value), Quality.GOOD, Quality.SUBSTITUTED), mono)

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        slot = self._seasonal.slot
        if slot is None:
            return None
        if self._kept[0] != slot:  # asked for once a minute
            self._kept = slot, json.dumps({"tag": self.config.tag, **self._seasonal.as_json()}).encode()
        return self._kept[1]

    def restore(self, state: bytes) -> None:
        """Go on from what was learned, unless tag or settings are others now, or a file was learned from more."""
        document = json.loads(state)
        if document.get("tag") != self.config.tag:
            return
        found = Seasonal.from_json(document, self.config.settings())
        if self._seasonal.slot is None or (found.slot is not None and found.slot >= self._seasonal.slot):
            self._seasonal = found


def _next(seasonal: Seasonal, slot: int, mean: float) -> Told:
    if seasonal.slot is not None and slot <= seasonal.slot:
        seasonal.forget_lately()
    return seasonal(slot, mean)


def load(path: Path, config: ForecastConfig) -> Seasonal:
    """Of a file that `lineside fit` wrote; blocks. Raises LinesideError."""

    def parsed(document: Any) -> Seasonal:
        if not isinstance(document, dict) or document.get("tag") != config.tag:
            raise ValueError(f"it was learned from another tag than {config.tag}")
        return Seasonal.from_json(document, config.settings())

    return read(path, parsed)
