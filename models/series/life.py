"""The stage `life`: health and remaining life from one slow number that rises with wear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from edge import TRUSTED, Batch, ConfigFault, Duration, Event, Point, Quality, Setting, StageConfig

from .wear import Settings, Told, Wear

POINTS = ("health", "remaining", "low", "high")
HOUR = 3600e9  # ns
KEPT = 5000  # samples of the point under way, over a restart


class LifeConfig(StageConfig):
    """What shows the wear, how much of it is the end, and how normal is known."""

    anew: ClassVar[bool] = True
    tag: str = Field(description="a level that rises with wear: a vibration's rms, a temperature over ambient")
    running: str | None = Field(
        None, description="tag that is above 0 while the machine runs, as its speed; what comes meanwhile counts alone"
    )
    every: Duration = Field(600.0, description="one point of the trend: the median of the good samples in that time")
    learn: int = Field(144, ge=12, le=100_000, description="points from which the healthy level is learned")
    healthy: float | None = Field(None, gt=0, description="the healthy level, instead of learning it")
    rise: float = Field(0.35, gt=0, description="worn when it is above the healthy level by this share of it")
    limit: float = Field(5, gt=1, description="life ends at this many times the healthy level")
    end: float | None = Field(None, gt=0, description="life ends at this level, instead of `limit`")
    trend: int = Field(144, ge=24, le=10_000, description="points that the trend is taken from at most")

    @model_validator(mode="after")
    def _makes_sense(self) -> LifeConfig:
        if self.end is None and self.limit <= 1 + self.rise:
            raise ValueError(
                f"limit: at {self.limit:g} times the healthy level life ends before it is worn ({1 + self.rise:g})"
            )
        if self.end is not None and self.healthy is not None and self.end <= self.healthy * (1 + self.rise):
            raise ValueError(f"end: {self.end:g} lies below the worn level, {self.healthy * (1 + self.rise):g}")
        return self

    def points(self) -> dict[str, Any]:
        old = 3 * self.every  # what it is made of comes far more often
        return {name: Point(unit="%" if name == "health" else "h", stale_after=old) for name in POINTS}

    def reads(self) -> tuple[str, ...]:
        return (self.tag, self.running) if self.running else (self.tag,)

    def settings(self) -> Settings:
        return Settings(self.learn, self.healthy, self.end, self.rise, self.limit, self.trend)


class Life:
    """Batches in; a value of each tag at the end of each time of `every` that had a good sample. SUBSTITUTED and empty is what is
    not known: all while it learns, the life left while nothing rises."""

    Config = LifeConfig

    def __init__(self, config: LifeConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        for tag in config.reads():
            if tag not in setting.table:
                raise ConfigFault(f"{setting.name}: no tag is called {tag!r}", hint="tags are called source.name")
        self.inputs = frozenset(config.reads())
        self.outputs = frozenset({f"{setting.name}.{name}" for name in POINTS} | {f"event:anomaly {setting.name}"})
        self._tag = setting.table[config.tag].id
        self._running = setting.table[config.running].id if config.running else None
        self._runs = not config.running  # as far as is known
        self._out = np.array([setting.table[f"{setting.name}.{name}"].id for name in POINTS], np.int32)
        self._every = round(config.every * 1e9)
        self._wear = Wear(config.settings())
        self._slot, self._values = -1, np.empty(0)
        self._worn = False

    def __call__(self, item: Any) -> Iterator[Batch | Event]:
        if not isinstance(item, Batch):
            return
        mine = (item.tag == self._tag) & (item.quality <= TRUSTED) & (item.value > 0) & np.isfinite(item.value)
        if self._running is not None:
            mine &= self._meanwhile(item)
        if not mine.any():
            return
        slot, value = item.ts[mine] // self._every, item.value[mine]
        for one in np.unique(slot):
            if one != self._slot and len(self._values):
                yield from self._point((self._slot + 1) * self._every, item.mono)
                self._values = np.empty(0)
            self._slot = int(one)
            self._values = np.concatenate([self._values, value[slot == one]])

    def _meanwhile(self, batch: Batch) -> np.ndarray:
        """Which samples come while the machine runs, by the last that was said; a speed that is not known is none."""
        said = np.flatnonzero(batch.tag == self._running)
        said = said[np.argsort(batch.ts[said], kind="stable")]
        runs = np.concatenate([[self._runs], (batch.value[said] > 0) & (batch.quality[said] <= TRUSTED)])
        self._runs = bool(runs[-1])
        return np.asarray(runs[np.searchsorted(batch.ts[said], batch.ts, side="right")])

    def _point(self, ts: int, mono: int) -> Iterator[Batch | Event]:
        learning, repaired = self._wear.level is None, self._wear.repaired
        told = self._wear(ts / HOUR, float(np.median(self._values)))
        if learning and self._wear.level is not None:
            text = f"{self.name} learned a healthy level of {self.config.tag}: {np.exp(self._wear.level):.4g}"
            yield Event("model", self.name, "learned", ts, text=text)
        if told is not None:
            yield from self._news(told, ts, self._wear.repaired > repaired)
        value = np.array([100 * told.health, told.left, told.low, told.high] if told else [np.nan] * len(POINTS))
        quality = np.where(np.isfinite(value), Quality.GOOD, Quality.SUBSTITUTED)
        yield Batch.of(self.name, self._out, value, ts, quality, mono)

    def _news(self, told: Told, ts: int, repaired: bool) -> Iterator[Event]:
        if told.worn and not self._worn:
            assert self._wear.level is not None
            more = np.median(self._values) / np.exp(self._wear.level) - 1
            when = f"; at its limit in {told.left:.0f} h ({told.low:.0f} to {told.high:.0f})" if told.low >= 0 else ""
            text = f"{self.config.tag} is {more:.0%} above its healthy level{when}"
            data = {"tag": self.config.tag, "health": round(told.health, 3)}
            yield Event("anomaly", self.name, "raised", ts, "medium", text, data)
        elif repaired:
            text = f"{self.config.tag} has been at its healthy level for {self.config.learn} points; taken for repaired"
            yield Event("anomaly", self.name, "cleared", ts, text=text)
        self._worn = told.worn

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        kept = {"tag": self.config.tag, "worn": self._worn, "wear": self._wear.as_json(), "runs": self._runs}
        if len(self._values) <= KEPT:
            kept |= {"slot": [self._every, self._slot], "values": self._values.tolist()}
        return json.dumps(kept).encode()

    def restore(self, state: bytes) -> None:
        """Take up what was learned and how far it was, unless tag or settings are others now."""
        document = json.loads(state)
        if document.get("tag") == self.config.tag and self._wear.resume(document["wear"]):
            self._worn = bool(document["worn"])
            if self._running is not None:
                self._runs = bool(document.get("runs", False))
            values = np.array(document.get("values", []), float)
            every, slot = document.get("slot", [0, -1])
            if every == self._every and values.ndim == 1 and (values > 0).all():
                self._slot, self._values = int(slot), values
