"""The stage `lifetime`: health and remaining life of a machine, learned from others of its kind that ran to failure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import Field

from edge import TRUSTED, Batch, ConfigFault, Duration, Event, Point, Quality, Setting, StageConfig

from .distinct import Distinct
from .document import RUNS, read
from .learned import Learned
from .runs import KEEP, Model, Past, Settings, fit

POINTS = ("health", "remaining", "low", "high")
ABSURD = 1000.0  # learned spreads from the learned mean, beyond which a value is no measurement; or ELSE of what was not learned
ELSE = 1e12
ROWS = 256  # described at once, so that a long history that is replayed takes no more memory than a day


class LifetimeConfig(StageConfig):
    """What is measured of the machine, and how its life is counted."""

    tags: Distinct
    every: Duration = Field(600.0, description="one row: the mean of the good samples of each tag in that time")
    running: str | None = Field(
        None, description="tag that is above 0 while the machine runs, as its speed; what comes meanwhile counts alone"
    )
    replaced: str | None = Field(None, description="tag that rises above 0 when the machine, or its part, is a new one")
    learned: str = Field("", description="file beside the site, written by `lineside fit` (NAME.json)")
    cap: int = Field(125, ge=10, le=100_000, description="rows of life left, beyond which no more are told")
    first: int = Field(25, ge=5, le=10_000, description="rows of a life that are too few to judge by")

    def points(self) -> dict[str, Any]:
        old = 3 * self.every  # what it is made of comes far more often
        return {name: Point(unit="%" if name == "health" else "h", stale_after=old) for name in POINTS}

    def reads(self) -> tuple[str, ...]:
        return (*self.tags, *(tag for tag in (self.running, self.replaced) if tag))

    def settings(self) -> Settings:
        return Settings(cap=float(self.cap), first=self.first)


class Lifetime:
    """Batches in; a value of each tag at the end of each row. SUBSTITUTED is what rests on a tag whose last sample was bad, or is
    like nothing that was learned; SUBSTITUTED and empty what is not known: in the first rows of a life."""

    Config = LifetimeConfig

    def __init__(self, config: LifetimeConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        for tag in config.reads():
            if tag not in setting.table:
                raise ConfigFault(f"{setting.name}: no tag is called {tag!r}", hint="tags are called source.name")
        self.inputs = frozenset(config.reads())
        self.outputs = frozenset(f"{setting.name}.{name}" for name in POINTS)
        self._ids = np.array([setting.table[name].id for name in config.tags])
        self._running = setting.table[config.running].id if config.running else None
        self._replaced = setting.table[config.replaced].id if config.replaced else None
        self._out = np.array([setting.table[f"{setting.name}.{name}"].id for name in POINTS], np.int32)
        self._every = round(config.every * 1e9)
        self._model = _fitting(
            read(setting.folder / (config.learned or f"{setting.name}.json"), Learned.from_json, RUNS), config
        ).model
        self._least, self._most = _range(self._model, len(self._ids))
        self._runs = not config.running  # as far as is known
        self._new: bool | None = None  # what `replaced` said last
        c = len(self._ids)
        self._bad = np.ones(c, bool)  # tags whose last sample was none to go by
        self._last = np.full(c, np.nan)
        self._begin()

    @classmethod
    def columns(cls, config: LifetimeConfig, name: str) -> list[str]:
        """Of a file of `lineside fit`."""
        return list(config.tags)

    @classmethod
    def fit_runs(cls, config: LifetimeConfig, runs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """A document for `learned` from whole runs float64[n, tags] that end with the failure. Raises ValueError."""
        return Learned(fit(list(runs.values()), config.settings()), tuple(config.tags), config.every).as_json()

    def _begin(self) -> None:
        """A new life."""
        self._past, self._best = Past.new(len(self._ids)), 1.0
        self._slot, self._sum, self._count = -1, np.zeros(len(self._ids)), np.zeros(len(self._ids))

    def __call__(self, item: Any) -> Iterator[Batch | Event]:
        if not isinstance(item, Batch):
            return
        mine = self._meanwhile(item) & np.isin(item.tag, self._ids) & (item.quality != Quality.LATE)
        cuts = self._cuts(item)
        for i, cut in enumerate(cuts):  # before the first new life, in each of them
            after = cuts[i + 1] if i + 1 < len(cuts) else None
            within = mine & (item.ts >= cut if i else True) & (item.ts < after if after is not None else True)
            if i:
                yield from self._renewed(cut, item.mono)
            if within.any():
                yield from self._gathered(item, within)

    def _meanwhile(self, batch: Batch) -> np.ndarray:
        """Which samples come while the machine runs, by the last that was said; a speed that is not known is none."""
        if self._running is None:
            return np.ones(len(batch.ts), bool)
        ts, up = _said(batch, self._running, batch.quality != Quality.LATE)
        runs = np.concatenate([[self._runs], up])
        self._runs = bool(runs[-1])
        return np.asarray(runs[np.searchsorted(ts, batch.ts, side="right")])

    def _cuts(self, batch: Batch) -> list[int]:
        """0, and the times at which a new life begins; the first that is heard of `replaced` begins none."""
        if self._replaced is None:
            return [0]
        ts, up = _said(batch, self._replaced, batch.quality <= TRUSTED)
        if not len(up):
            return [0]
        before = np.concatenate([[bool(up[0]) if self._new is None else self._new], up[:-1]])
        self._new = bool(up[-1])
        return [0, *ts[up & ~before].tolist()]

    def _renewed(self, ts: int, mono: int) -> Iterator[Batch | Event]:
        """With what a new one has left, by those that were learned: an alarm about the old one ends."""
        rows = self._past.age
        self._begin()
        text = f"{self.name} begins a new life; the one before had {rows} rows, {rows * self.config.every / 3600:.4g} h"
        yield Event("life", self.name, "replaced", ts, text=text, data={"rows": rows})
        hours = np.array(self._model.whole()) * self.config.every / 3600
        yield Batch.of(self.name, self._out, [100.0, *hours], ts, Quality.GOOD, mono)

    def _gathered(self, batch: Batch, mine: np.ndarray) -> Iterator[Batch]:
        """Samples into rows: of each slot that is over the mean of each tag; one without a sample holds its last row's."""
        slot = batch.ts // self._every
        # A slot that another source has ended already is history; one that is further back: the clock was set.
        mine = mine & (slot != self._slot - 1)
        column = np.argmax(batch.tag[mine][:, None] == self._ids[None, :], axis=1)
        slots, at = np.unique(slot[mine], return_inverse=True)
        if not len(slots):
            return
        value = batch.value[mine]
        good = (batch.quality[mine] <= TRUSTED) & (value >= self._least[column]) & (value <= self._most[column])
        shape = (len(slots), len(self._ids))
        cell = at * shape[1] + column
        total = np.bincount(cell, np.where(good, value, 0.0), shape[0] * shape[1]).reshape(shape)
        count = np.bincount(cell, good, shape[0] * shape[1]).reshape(shape)
        bad = self._still_bad(cell, good, shape)
        if slots[0] == self._slot:
            total[0], count[0] = total[0] + self._sum, count[0] + self._count
        elif self._slot >= 0:
            slots = np.concatenate([[self._slot], slots])
            total, count = np.vstack([self._sum, total]), np.vstack([self._count, count])
            bad = np.vstack([self._bad, bad])
        self._slot, self._sum, self._count = int(slots[-1]), total[-1], count[-1]
        self._bad = bad[-1]
        if len(slots) > 1:
            yield from self._rows((slots[:-1] + 1) * self._every, total[:-1], count[:-1], bad[:-1], batch.mono)

    def _still_bad(self, cell: np.ndarray, good: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """bool[slots, tags]: whether what a tag said last, up to the end of the slot, was bad."""
        said = np.full(shape[0] * shape[1], -1)
        said[cell] = ~good  # the last one of a cell stays
        said = np.vstack([self._bad.astype(int), said.reshape(shape)])
        known = np.maximum.accumulate(np.where(said >= 0, np.arange(len(said))[:, None], 0), axis=0)
        return np.take_along_axis(said, known, axis=0)[1:] > 0

    def _rows(
        self, ts: np.ndarray, total: np.ndarray, count: np.ndarray, bad: np.ndarray, mono: int
    ) -> Iterator[Batch]:
        rows = np.vstack([self._last, np.where(count > 0, total / np.maximum(count, 1), np.nan)])
        known = np.maximum.accumulate(np.where(np.isfinite(rows), np.arange(len(rows))[:, None], 0), axis=0)
        rows = np.take_along_axis(rows, known, axis=0)[1:]
        self._last = rows[-1].copy()
        whole = np.isfinite(rows).all(axis=1) & (count > 0).any(axis=1)  # from when on each tag has said something
        sure = ~((count == 0) & bad).any(axis=1)
        for i in range(0, len(rows), ROWS):
            part = np.flatnonzero(whole[i : i + ROWS]) + i
            if len(part):
                yield self._told(ts[part], rows[part], sure[part], mono)

    def _told(self, ts: np.ndarray, rows: np.ndarray, sure: np.ndarray, mono: int) -> Batch:
        age = self._past.age + np.arange(1, len(rows) + 1)
        left, low, high, known = self._model.known(rows, self._past)
        self._past = self._past.then(rows)
        judged = age >= self.config.first
        good = sure & known & judged
        best = np.minimum.accumulate(np.where(good, left / self.config.cap, 1.0))
        best = np.minimum(best, self._best)
        self._best = float(best[-1])
        hours = self.config.every / 3600
        value = np.column_stack([100 * best, left * hours, low * hours, high * hours])
        value[~judged] = np.nan
        quality = np.where(good, Quality.GOOD, Quality.SUBSTITUTED)
        n = len(POINTS)
        return Batch.of(
            self.name, np.tile(self._out, len(rows)), value.ravel(), np.repeat(ts, n), np.repeat(quality, n), mono
        )

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        kept = {"rows": self._past.rows.tolist(), "total": self._past.total.tolist(), "age": self._past.age}
        slot = {"slot": self._slot, "sum": self._sum.tolist(), "count": self._count.tolist()}
        last = [None if np.isnan(value) else value for value in self._last.tolist()]
        said = {"last": last, "bad": self._bad.tolist(), "runs": self._runs, "new": self._new, "best": self._best}
        return json.dumps({"version": 1, **self._same(), **kept, **slot, **said}).encode()

    def _same(self) -> dict[str, Any]:
        return {"tags": self.config.tags, "every": self.config.every}

    def restore(self, state: bytes) -> None:
        """Go on with the life that there was, also by a model that was fitted anew, unless tags or the time of a row are others
        now. Raises ValueError for one that is damaged."""
        document = json.loads(state)
        if document.get("version") != 1 or any(document.get(name) != value for name, value in self._same().items()):
            return
        c = len(self._ids)
        rows = np.array(document["rows"], float).reshape(-1, c)
        total, added, count = (np.array(document[name], float) for name in ("total", "sum", "count"))
        last, bad = np.array(document["last"], float), np.array(document["bad"], bool)
        age, slot, best = int(document["age"]), int(document["slot"]), float(document["best"])
        sound = all(column.shape == (c,) for column in (total, added, count, last, bad))
        sound = sound and all(np.isfinite(column).all() for column in (rows, total, added, count))
        if not sound or len(rows) != min(age, KEEP) or not 0 <= best <= 1:
            raise ValueError("a damaged life")
        self._past, self._best = Past(rows, total, age), best
        self._slot, self._sum, self._count, self._last, self._bad = slot, added, count, last, bad
        self._new = None if document["new"] is None else bool(document["new"])
        if self.config.running:
            self._runs = bool(document["runs"])


def _range(model: Model, tags: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and the most, float64[tags], that a sample of each may say; what is no number lies in none."""
    middle, far = np.zeros(tags), np.full(tags, ELSE)
    middle[model.signal], far[model.signal] = model.mean, ABSURD * model.spread
    return middle - far, middle + far


def _said(batch: Batch, tag: int, only: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(times, whether above 0 and to be trusted) of what a batch says of a tag, in order."""
    said = np.flatnonzero((batch.tag == tag) & only)
    said = said[np.argsort(batch.ts[said], kind="stable")]
    return batch.ts[said], (batch.value[said] > 0) & (batch.quality[said] <= TRUSTED)


def _fitting(learned: Learned, config: LifetimeConfig) -> Learned:
    """What was fitted for these options. Raises ConfigFault."""
    s = learned.model.settings
    if learned.tags != tuple(config.tags) or (learned.every, s.cap, s.first) != (
        config.every,
        config.cap,
        config.first,
    ):
        raise ConfigFault(
            "what was learned is of other `tags`, `every`, `cap` or `first`",
            hint="fit it anew, or set them as they were",
        )
    return learned
