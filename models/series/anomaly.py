"""The stage `anomaly`: one score for several tags that belong together. Above 1 is not normal: alarm on `NAME.score > 1`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from edge import TRUSTED, Batch, ConfigFault, Event, LinesideError, Point, Quality, Setting, StageConfig

from .baseline import Baseline, Scorer, Settings, fit


class AnomalyConfig(StageConfig):
    """What belongs together, and how normal is learned."""

    tags: list[str] = Field(min_length=1, max_length=64, description="the tags, best of one source")
    rows: int = Field(
        3600, ge=50, le=100_000, description="rows learned from after the first start, if there is no `baseline`"
    )
    baseline: str = Field("", description="file beside the site, written by `lineside fit`")
    span: float = Field(30, ge=1, le=10_000, description="rows the smoothing looks back")
    clip: float = Field(8, gt=0, description="standard deviations a single row may count for")
    shrink: float = Field(0.05, gt=0, lt=1, description="how far the covariance is drawn towards independence")
    median: int = Field(1, ge=1, le=99, description="rows of the rolling median")
    quantile: float = Field(0.99, gt=0.5, lt=1, description="of the learned rows' own distances")
    factor: float = Field(2.5, gt=0, description="the limit is this many times that quantile")

    @field_validator("tags")
    @classmethod
    def _once(cls, tags: list[str]) -> list[str]:
        for tag in tags:
            if tags.count(tag) > 1:
                raise ValueError(f"{tag!r} stands there twice")
        return tags

    def points(self) -> dict[str, Any]:
        return {"score": Point()}

    def reads(self) -> tuple[str, ...]:
        return tuple(self.tags)

    def settings(self) -> Settings:
        return Settings(self.span, self.clip, self.shrink, self.median, self.quantile, self.factor)


class Anomaly:
    """Batches in, `NAME.score` out at the same times; while it learns the score is SUBSTITUTED and empty."""

    Config = AnomalyConfig

    def __init__(self, config: AnomalyConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        self.inputs = frozenset(config.tags)
        self.outputs = frozenset({f"{setting.name}.score"})
        for tag in config.tags:
            if tag not in setting.table:
                raise ConfigFault(f"{setting.name}: no tag is called {tag!r}", hint="tags are called source.name")
        self._ids = np.array([setting.table[name].id for name in config.tags])
        self._out = setting.table[f"{setting.name}.score"].id
        self._last = np.full(len(self._ids), np.nan)
        self._quality = np.full(len(self._ids), Quality.BAD, np.uint8)
        self._learned: list[np.ndarray] = []
        self._n = 0
        self._scorer: Scorer | None = None
        if config.baseline:
            self._scorer = Scorer(load(setting.folder / config.baseline, config.tags), config.settings())

    @classmethod
    def fit(
        cls, config: AnomalyConfig, columns: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> dict[str, Any]:
        """A baseline document from history: (ts, value, quality) by tag. Raises ValueError."""
        times = [set(columns[tag][0][columns[tag][2] <= TRUSTED].tolist()) for tag in config.tags]
        shared = np.array(sorted(set.intersection(*times)), np.int64)
        rows = np.empty((len(shared), len(config.tags)))
        for j, tag in enumerate(config.tags):
            ts, value, _ = columns[tag]
            order = np.argsort(ts, kind="stable")
            rows[:, j] = value[order][np.searchsorted(ts[order], shared)]
        return {"tags": list(config.tags), **fit(rows, config.settings()).as_json()}

    def __call__(self, item: Any) -> Iterator[Any]:
        if not isinstance(item, Batch):
            return
        ts, rows, quality = self._rows(item)
        if not len(ts):
            return
        score = np.full(len(ts), np.nan)
        good = quality <= TRUSTED
        if self._scorer is None:
            yield from self._learn(rows[good], int(ts[-1]))
            quality = np.where(good, Quality.SUBSTITUTED, quality)
        elif good.any():
            score[good] = self._scorer(rows[good])
        yield Batch.of(self.name, np.full(len(ts), self._out), score, ts, quality, item.mono)

    def _rows(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(times, rows, worst quality): a row for each time at which one of the tags changed; the others hold."""
        mine = np.isin(batch.tag, self._ids)
        times, at = np.unique(batch.ts[mine], return_inverse=True)
        c = len(self._ids)
        rows, quality = np.full((len(times), c), np.nan), np.full((len(times), c), 255, np.uint8)
        column = np.argmax(batch.tag[mine][:, None] == self._ids[None, :], axis=1)
        rows[at, column], quality[at, column] = batch.value[mine], batch.quality[mine]
        for i in range(len(times)) if (quality == 255).any() else ():
            held = quality[i] == 255
            rows[i, held], quality[i, held] = self._last[held], self._quality[held]
            self._last, self._quality = rows[i], quality[i]
        if len(times):
            self._last, self._quality = rows[-1].copy(), quality[-1].copy()
        return times, rows, quality.max(axis=1, initial=0)

    def _learn(self, rows: np.ndarray, ts: int) -> Iterator[Event]:
        self._learned.append(rows)
        self._n += len(rows)
        if self._n < self.config.rows:
            return
        known = np.concatenate(self._learned)[: self.config.rows]
        self._learned, self._n = [], 0
        try:
            self._scorer = Scorer(fit(known, self.config.settings()), self.config.settings())
        except ValueError as error:
            yield Event("model", self.name, "not_learned", ts, "medium", f"{self.name} begins anew: {error}")
            return
        # so that the first score after learning looks back on the learned rows
        self._scorer(known[-round(2 * self.config.span) :])
        yield Event(
            "model", self.name, "learned", ts, text=f"{self.name} learned what is normal from {len(known)} rows"
        )

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        if self._scorer is None or self.config.baseline:
            return None
        return json.dumps({"tags": self.config.tags, **self._scorer.baseline.as_json()}).encode()

    def restore(self, state: bytes) -> None:
        """Take up what was learned before, unless the tags are others now."""
        document = json.loads(state)
        if document.pop("tags") == self.config.tags and not self.config.baseline:
            self._scorer = Scorer(Baseline.from_json(document), self.config.settings())


def load(path: Path, tags: list[str]) -> Baseline:
    """The baseline of a file that `lineside fit` wrote. Raises LinesideError."""
    try:
        document = json.loads(path.read_text())
        if document.pop("tags") != tags:
            raise ValueError("it was fitted for other tags")
        return Baseline.from_json(document)
    except FileNotFoundError:
        raise LinesideError(f"there is no {path}", hint="`lineside fit SITE STAGE` writes it") from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise LinesideError(f"{path}: {error}", hint="fit it anew with `lineside fit SITE STAGE`") from None
