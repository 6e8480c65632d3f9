"""The stage `per_part`: how much energy (gas, air, water) a part took, and how much was drawn while nothing was made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from edge import SECOND, TRUSTED, Batch, ConfigFault, Duration, Point, Quality, Setting

from ..series.baseline import ABSURD
from .cuts import Cuts, CutsConfig, known
from .drawn import HOUR, Drawn, blips, counted, integrated

POINTS = ("each", "idle", "total")
KWH = {"Wh": 1e-3, "kWh": 1.0, "MWh": 1e3}
KW = {"W": 1e-3, "kW": 1.0, "MW": 1e3}
MOST = 1000  # ends of parts that wait for a meter that is silent; then the oldest become one
TOLD = 60 * SECOND  # `idle` and `total` are told this often where no part ends


class PerPartConfig(CutsConfig):
    """What is drawn, and by what a part is known to be done."""

    counter: str | None = Field(None, description="counter of what is drawn, such as a meter's energy: it only rises")
    power: str | None = Field(None, description="instead of a counter: a power in W, kW or MW, summed over time")
    unit: str = Field(
        "kWh", max_length=16, description="of what is told; of a counter that counts no Wh, kWh or MWh: its own"
    )
    running: str | None = Field(
        None, description="tag that is above 0 while parts are made; what is drawn else is idle"
    )
    idle_below: float | None = Field(
        None, gt=0, description="of a power: what is drawn at less than this many units an hour (kW) is idle"
    )
    rollover: float | None = Field(None, gt=0, description="reading of the counter at which it begins again at 0")
    at_most: float | None = Field(
        None,
        gt=0,
        description="units an hour (kW), since the counter stepped last, beyond which a step is a jump, and no draw",
    )
    gap: Duration | None = Field(
        None, description="longest way between two good samples (default: until the tag is stale, or 60s)"
    )
    wait: Duration = Field(2.0, description="so much later other sources may tell of the same moment")

    @model_validator(mode="after")
    def _one_meter(self) -> PerPartConfig:
        if (self.counter is None) == (self.power is None):
            raise ValueError("say what is drawn: either `counter` or `power`")
        if self.power is not None and (self.rollover or self.at_most):
            raise ValueError("`rollover` and `at_most` are of a counter")
        if self.counter is not None and self.idle_below is not None:
            raise ValueError(
                "`idle_below` is of a power: a counter stands still between two steps; name a tag under `running`"
            )
        return self

    def points(self) -> dict[str, Any]:
        return {name: Point(unit=self.unit, stale_after=self.holds) for name in POINTS}

    def reads(self) -> tuple[str, ...]:
        return tuple(tag for tag in (self.counter, self.power, self.ends(), self.running) if tag)


class PerPart:
    """Batches in; `each` at the end of each part, its share where several ended at once, and `idle` and `total` (counters since
    the first start) with it, or once a minute. What was drawn = parts times `each` + idle + what the part under way took so far.

    SUBSTITUTED is what rests on a guess: samples were missing, the counter fell. BAD and empty: of more than half of the time
    there was no power. The part that is under way at the first start is not told."""

    Config = PerPartConfig

    def __init__(self, config: PerPartConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        known(setting, *config.reads())
        self.inputs = frozenset(config.reads())
        self.outputs = frozenset(f"{setting.name}.{name}" for name in POINTS)
        meter = setting.table[config.counter or config.power or ""]
        self._scale = _scale(config, meter.unit)
        self._meter, self._cuts = meter.id, Cuts(config, setting)
        self._running = setting.table[config.running].id if config.running else None
        self._out = {name: setting.table[f"{setting.name}.{name}"].id for name in POINTS}
        self._gap = (config.gap or meter.stale_after or 60.0) * SECOND
        self._ts, self._value = np.empty(0, np.int64), np.empty(0)  # of the meter, from the last that was worked off on
        self._stepped: np.ndarray = np.zeros(1, np.int64)  # when the counter had stepped last, at the first of these
        self._ends: np.ndarray = np.empty(0, np.int64)  # of parts
        self._count: np.ndarray = np.empty(0)
        self._changes, self._runs = np.empty(0, np.int64), np.empty(0, bool)  # of `running`
        self._ran = not config.running
        self._whole = False  # the part under way was seen from its beginning
        self._part = np.zeros(3)  # of it: drawn, ns, ns not sure
        self._idle = self._total = 0.0
        self._sure = True  # what `idle` and `total` were told last was all measured
        self._done = self._told = 0  # up to here (ns) it is worked off, and was told

    def __call__(self, item: Any) -> Iterator[Batch]:
        if not isinstance(item, Batch):
            return
        self._hear(item)
        drawn = self._drawn()
        if drawn is not None:
            yield from self._worked(drawn, item.mono)

    def _hear(self, batch: Batch) -> None:
        ends, count = self._cuts(batch)
        # one that comes later than `wait` counts from where everything is worked off on
        every = np.concatenate([self._ends, np.maximum(ends, self._done)])
        self._ends, at = np.unique(every, return_inverse=True)
        self._count = np.bincount(at, np.concatenate([self._count, count]), len(self._ends))
        if (over := len(self._ends) - MOST) > 0:
            self._count[over] += self._count[:over].sum()
            self._ends, self._count = self._ends[over:], self._count[over:]
        if self._running is not None:
            mine = np.flatnonzero((batch.tag == self._running) & (batch.quality <= TRUSTED))
            mine = mine[np.argsort(batch.ts[mine], kind="stable")]
            runs = batch.value[mine] > 0
            last = self._runs[-1] if len(self._runs) else self._ran
            new = runs != np.concatenate([[last], runs[:-1]])
            self._changes = np.concatenate([self._changes, np.maximum(batch.ts[mine][new], self._done)])
            self._runs = np.concatenate([self._runs, runs[new]])
        good = (batch.tag == self._meter) & (batch.quality <= TRUSTED) & (np.abs(batch.value) < ABSURD)
        good &= batch.value >= 0 if self.config.counter else True
        mine = np.flatnonzero(good)
        mine = mine[np.argsort(batch.ts[mine], kind="stable")]
        if len(self._ts) and len(mine):
            if batch.ts[mine[-1]] < self._ts[-1]:
                self._clock_went_back(batch)
            mine = mine[batch.ts[mine] > self._ts[-1]] if len(self._ts) else mine
        self._ts = np.concatenate([self._ts, batch.ts[mine]])
        self._value = np.concatenate([self._value, batch.value[mine] * self._scale])

    def _clock_went_back(self, batch: Batch) -> None:
        """What is late is marked so: this is newer, and its time is not. The part under way is not told."""
        kept = (self._ends <= batch.ts.max()) & (self._ends > self._done)
        self._ends, self._count = self._ends[kept], self._count[kept]
        self._ran = bool(self._runs[-1]) if len(self._runs) else self._ran
        self._changes, self._runs = self._changes[:0], self._runs[:0]
        self._ts, self._value, self._stepped = self._ts[:0], self._value[:0], np.zeros(1, np.int64)
        self._part, self._whole, self._sure, self._done = np.zeros(3), False, False, 0

    def _drawn(self) -> Drawn | None:
        """What is known by now of the ways between samples; of a counter whose last sample fell only up to the one before."""
        if self.config.counter and len(self._ts) > 2:
            kept = ~blips(self._value)
            self._ts, self._value = self._ts[kept], self._value[kept]
        n = len(self._ts)
        if self.config.counter and n > 1 and self._value[-1] < self._value[-2]:
            n -= 1
        if n < 2:
            return None
        if self.config.power:
            return integrated(self._ts[:n], self._value[:n], self._gap)
        over = self.config.rollover * self._scale if self.config.rollover else None
        drawn, last = counted(self._ts[:n], self._value[:n], self._gap, over, self.config.at_most, self._stepped[0])
        self._stepped = np.concatenate([last, np.full(len(self._ts) - n, last[-1])])
        return drawn

    def _worked(self, drawn: Drawn, mono: int) -> Iterator[Batch]:
        """Everything from `done` up to `wait` before the last sample, cut where a part ends, or begins to run or rest."""
        begin = max(self._done, drawn.begin)
        end = int(drawn.ts[-1]) - round(self.config.wait * SECOND)
        if end <= begin:
            return
        if not self._done:
            self._ends, self._count = self._ends[self._ends >= begin], self._count[self._ends >= begin]
        ends = int(np.searchsorted(self._ends, end, side="right"))
        changes = int(np.searchsorted(self._changes, end, side="right"))
        inner = np.concatenate([drawn.ts, self._ends[:ends], self._changes[:changes]])
        cut = np.unique(np.clip(np.concatenate([[begin, end], inner]), begin, end))
        at = np.concatenate([[0.0], np.cumsum(drawn.much)])
        known_at = np.concatenate([[drawn.begin], drawn.ts]) - begin
        much = np.diff(np.interp(cut - begin, known_at, at))
        way, way_of = np.diff(cut), np.searchsorted(drawn.ts, cut[1:], side="left")
        unsure = ~drawn.sure[way_of]
        runs = np.concatenate([[self._ran], self._runs])[np.searchsorted(self._changes, cut[:-1], side="right")]
        if self.config.idle_below is not None:
            runs = runs & (drawn.much[way_of] / (np.diff(known_at)[way_of] / HOUR) >= self.config.idle_below)
        yield from self._ended(cut, much, way, unsure, runs, ends, mono)
        self._ran = bool(self._runs[changes - 1]) if changes else self._ran
        self._changes, self._runs = self._changes[changes:], self._runs[changes:]
        self._ends, self._count = self._ends[ends:], self._count[ends:]
        last = max(0, int(np.searchsorted(self._ts, end, side="right")) - 1)
        self._ts, self._value, self._done = self._ts[last:], self._value[last:], end
        if self.config.counter:
            self._stepped = self._stepped[last : last + 1]

    def _ended(
        self,
        cut: np.ndarray,
        much: np.ndarray,
        way: np.ndarray,
        unsure: np.ndarray,
        runs: np.ndarray,
        ends: int,
        mono: int,
    ) -> Iterator[Batch]:
        part = np.searchsorted(self._ends[:ends], cut[:-1], side="right")  # which one each piece belongs to
        sums = [np.bincount(part, x, ends + 1) for x in (much * runs, way, way * unsure)]
        of = np.column_stack(sums)
        of[0] += self._part
        self._part = of[-1]
        resting = np.bincount(part, much * ~runs, ends + 1).cumsum() + self._idle
        total = np.bincount(part, much, ends + 1).cumsum() + self._total
        self._idle, self._total = float(resting[-1]), float(total[-1])
        self._sure &= not unsure.any()
        if not ends:
            if cut[-1] // TOLD != self._told // TOLD:
                yield self._counters(int(cut[-1]), mono)
            return
        n = slice(0 if self._whole else 1, ends)  # nobody saw the first one begin
        self._whole = True
        if n.start < ends:
            yield self._each(of[n], self._count[n], self._ends[n], mono)
        yield self._counters(int(self._ends[ends - 1]), mono, resting[ends - 1], total[ends - 1])

    def _each(self, of: np.ndarray, count: np.ndarray, ts: np.ndarray, mono: int) -> Batch:
        drawn, way, unsure = of.T
        value = drawn / count
        quality = np.where(unsure > 0, Quality.SUBSTITUTED, Quality.GOOD)
        if self.config.power:
            lost = unsure > way / 2
            value, quality = np.where(lost, np.nan, value), np.where(lost, Quality.BAD, quality)
        return Batch.of(self.name, [self._out["each"]] * len(value), value, ts, quality, mono)

    def _counters(self, ts: int, mono: int, idle: float | None = None, total: float | None = None) -> Batch:
        self._told = ts
        quality = Quality.GOOD if self._sure else Quality.SUBSTITUTED
        self._sure = True
        values = [self._idle if idle is None else idle, self._total if total is None else total]
        return Batch.of(self.name, [self._out["idle"], self._out["total"]], values, ts, int(quality), mono)

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        meter = {"ts": self._ts.tolist(), "value": self._value.tolist()}
        ends = {"ends": self._ends.tolist(), "count": self._count.tolist(), "last": self._cuts.snapshot()}
        runs = {"changes": self._changes.tolist(), "runs": self._runs.tolist(), "ran": self._ran}
        sums = {"part": self._part.tolist(), "idle": self._idle, "total": self._total, "sure": self._sure}
        sums["stepped"] = self._stepped[:1].tolist()
        when = {"done": self._done, "told": self._told, "whole": self._whole}
        return json.dumps({"version": 1, "of": self._of(), **meter, **ends, **runs, **sums, **when}).encode()

    def _of(self) -> list[str | None]:
        c = self.config
        return [c.counter, c.power, c.parts, c.trigger, c.lot, c.running, c.unit]

    def restore(self, state: bytes) -> None:
        """Go on where it was, unless it is about other tags now. Raises ValueError for a state that is damaged."""
        kept = json.loads(state)
        if kept.get("version") != 1 or kept.get("of") != self._of():
            return
        whole, real = ("ts", "ends", "changes", "stepped"), ("value", "count", "part")
        new = {name: np.array(kept[name], np.int64) for name in whole}
        new |= {name: np.array(kept[name], float) for name in real} | {"runs": np.array(kept["runs"], bool)}
        pairs = ("ts", "value"), ("ends", "count"), ("changes", "runs")
        if any(new[a].shape != new[b].shape for a, b in pairs) or (new["part"].shape, new["stepped"].shape) != (
            (3,),
            (1,),
        ):
            raise ValueError("a damaged count of what parts took")
        for name, column in new.items():
            setattr(self, f"_{name}", column)
        self._cuts.restore(kept["last"])
        self._ran, self._whole, self._sure = bool(kept["ran"]), bool(kept["whole"]), bool(kept["sure"])
        self._idle, self._total = float(kept["idle"]), float(kept["total"])
        self._done, self._told = int(kept["done"]), int(kept["told"])


def _scale(config: PerPartConfig, unit: str) -> float:
    """From the meter's unit to that which is told. Raises ConfigFault."""
    if config.power:
        if unit not in KW or config.unit not in KWH:
            hint = "write `unit:` at the tag, and scale it; what is told is Wh, kWh or MWh"
            raise ConfigFault(f"power: {config.power} is in {unit or 'no unit'}; it takes W, kW or MW", hint=hint)
        return KW[unit] / KWH[config.unit]
    if unit in KWH and config.unit in KWH:
        return KWH[unit] / KWH[config.unit]
    if unit and unit != config.unit:
        raise ConfigFault(
            f"counter: {config.counter} counts {unit}, and {config.unit} is told", hint=f"write `unit: {unit}`"
        )
    return 1.0
