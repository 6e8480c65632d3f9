"""The stage `novelty`: one score and one alarm for one signal, by how unlike its own past it is, also at that time of day. Nothing
is learned beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from edge import TRUSTED, Batch, ConfigFault, Point, Setting, StageConfig

from .baseline import ABSURD
from .novelty import FIRST, Novelty

DAY = 86_400e9  # ns


class NoveltyConfig(StageConfig):
    """Which signal, and how rare an alarm is."""

    anew: ClassVar[bool] = True
    tag: str = Field(description="the signal")
    limit: float = Field(
        10.5, ge=7, le=50, description="score from which on an alarm begins; 10.5 was best on recorded signals"
    )
    rest: int = Field(300, ge=1, le=100_000, description="rows for which an alarm holds back others that are no worse")

    def points(self) -> dict[str, Any]:
        return {"score": Point(), "alarm": Point(labels={0: "normal", 1: "unlike normal"})}

    def reads(self) -> tuple[str, ...]:
        return (self.tag,)


class SingleNovelty:
    """Batches in, `NAME.score` and `NAME.alarm` out at the same times. The alarm is 1 in the rows in which it begins, and 0 else.
    The past is kept in memory alone: a restart begins a new one, of which nothing is told for 80 rows."""

    Config = NoveltyConfig

    def __init__(self, config: NoveltyConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        self.inputs = frozenset({config.tag})
        self.outputs = frozenset({f"{setting.name}.score", f"{setting.name}.alarm"})
        if config.tag not in setting.table:
            raise ConfigFault(f"{setting.name}: no tag is called {config.tag!r}", hint="tags are called source.name")
        self._id = setting.table[config.tag].id
        self._out = np.array([setting.table[f"{setting.name}.{name}"].id for name in ("score", "alarm")], np.int32)
        self._novelty = Novelty(config.rest)
        self._first = np.empty(0, np.int64)  # times of the first rows, until they tell how many a day has

    def __call__(self, item: Any) -> Iterator[Any]:
        if not isinstance(item, Batch):
            return
        mine = np.flatnonzero(item.tag == self._id)
        if not len(mine):
            return
        mine = mine[np.argsort(item.ts[mine], kind="stable")]
        value, quality = item.value[mine], item.quality[mine]
        good = (quality <= TRUSTED) & (np.abs(value) < ABSURD)
        out = np.full((len(mine), 2), np.nan)
        if good.any():
            learns = max(0, FIRST + 1 - len(self._first))
            ts, rows = item.ts[mine][good], value[good]
            told = [self._novelty(rows[:learns])]
            self._of_day(ts[:learns])
            told.append(self._novelty(rows[learns:]))
            score, new = (np.concatenate([getattr(one, name) for one in told]) for name in ("score", "new"))
            out[good] = np.column_stack([score, new & (score > self.config.limit)])
        ts = np.repeat(item.ts[mine], 2)
        yield Batch.of(self.name, np.tile(self._out, len(mine)), out.ravel(), ts, np.repeat(quality, 2), item.mono)

    def _of_day(self, ts: np.ndarray) -> None:
        """How many rows a day has, by the usual step between the first ones, as soon as they are all there."""
        if len(ts):
            self._first = np.concatenate([self._first, ts])
            step = float(np.median(np.diff(self._first))) if len(self._first) > FIRST else 0.0
            self._novelty.of_day(round(DAY / step) if step > 0 else 0)

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        return None

    def restore(self, state: bytes) -> None:
        pass
