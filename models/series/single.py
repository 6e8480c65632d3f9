"""The stage `novelty`: one score and one alarm for one signal, by how unlike its own past it is, also at that time of day. Nothing
is learned beforehand."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from edge import TRUSTED, Batch, ConfigFault, Point, Setting, StageConfig

from .baseline import ABSURD
from .novelty import FIRST, RANKS, Novelty

DAY = 86_400e9  # ns
RENEWED = 0.1  # of the past: by so much it grows until it is kept anew


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
    A restart goes on; the newest rows of the past, a tenth of it at most, may be missing."""

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
        self._first = np.empty(0, np.int64)  # times of the first rows since the start: how many has a day?
        self._last, self._resumed = 0, False  # time of the newest row; whether that was before a restart
        self._kept: tuple[int, bytes] | None = None  # how many rows, and the state

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
            if self._resumed and self._novelty.day:
                self._novelty.miss(round((int(ts[0]) - self._last) / DAY * self._novelty.day) - 1)
            self._last, self._resumed = int(ts[-1]), False
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
        """Made anew when the past has grown by a tenth: it is asked for once a minute, and may have megabytes."""
        rows = len(self._novelty)
        if not rows:
            return None
        if self._kept is None or rows - self._kept[0] >= min(rows, RANKS) * RENEWED:
            file, of = io.BytesIO(), {"tag": np.array(self.config.tag), "last": np.array(self._last)}
            first = self._first if len(self._first) <= FIRST else self._first[:0]  # else a start looks anew
            kept: dict[str, Any] = {**of, "first": first, **self._novelty.state()}
            np.savez(file, **kept)
            self._kept = rows, file.getvalue()
        return self._kept[1]

    def restore(self, state: bytes) -> None:
        """Go on with the past that there was. Raises ValueError where the tag is another one now, and for what is damaged."""
        with np.load(io.BytesIO(state), allow_pickle=False) as file:
            kept = {name: file[name] for name in file.files}
        if str(kept["tag"]) != self.config.tag:
            raise ValueError(f"it is of {kept['tag']}")
        first = kept.get("first", self._first)
        if first.ndim != 1 or first.dtype != np.int64:
            raise ValueError("damaged times")
        self._novelty.go_on(kept)
        self._first = first
        self._last, self._resumed = int(kept["last"]), True
        self._kept = len(self._novelty), state
