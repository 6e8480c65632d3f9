"""The stage `quality`: which class a part will be, from the parameters that made it, with how sure that is and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from edge import TRUSTED, Batch, ConfigFault, Event, Point, Quality, Setting

from ..series.distinct import Distinct
from ..series.document import read
from .cuts import Cuts, CutsConfig, known
from .judge import Judge, learned, words

TABLE = " --table FILE --target COLUMN"
REASONS = 4  # parameters that an event names
LEAST = 0.05  # log odds that a reason has to move


class _Text(Point):
    type: Literal["text"] = "text"


class QualityConfig(CutsConfig):
    """What is measured of a part, and when it is done."""

    tags: Distinct
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="how a tag is called in the table that is learned from, where it is not as the tag",
    )
    good: list[str] = Field(min_length=1, description="classes that are fine, as the table calls them")
    learned: str = Field("", description="file beside the site, written by `lineside fit` (NAME.json)")
    at: Literal["last", "mean"] = Field(
        "last", description="what a tag counts for: its last value, or its mean since the part before"
    )
    say: Literal["likeliest", "balanced"] = Field(
        "likeliest",
        description="which class: the likeliest, or the one that stands out most against how frequent it was in the table, which"
        " finds more of rare ones and is wrong more often of frequent ones",
    )
    tell: Literal["all", "ng"] = Field(
        "all", description="of which parts an event tells: all, or those that are not fine"
    )

    @model_validator(mode="after")
    def _columns_of_tags(self) -> QualityConfig:
        if strange := sorted(self.columns.keys() - {*self.tags}):
            raise ValueError(f"columns: {strange[0]!r} is none of `tags`")
        return self

    def points(self) -> dict[str, Any]:
        old = self.holds
        shares = {name: Point(unit="%", stale_after=old) for name in ("chance", "ng")}
        return {"kind": _Text(stale_after=old), **shares}

    def reads(self) -> tuple[str, ...]:
        return (*self.tags, self.ends())


class PartQuality:
    """Batches in; at the end of each part `NAME.kind`, its `chance`, and `ng`, that of all classes that are not fine; and an event
    with the reasons. SUBSTITUTED where a parameter is beyond all that was learned, empty where one is not known."""

    Config = QualityConfig

    def __init__(self, config: QualityConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        known(setting, *config.reads())
        self.inputs = frozenset(config.reads())
        names = config.points()
        self.outputs = frozenset(f"{setting.name}.{name}" for name in names) | {f"event:quality {setting.name}"}
        self._ids = np.array([setting.table[name].id for name in config.tags])
        self._units = [setting.table[name].unit for name in config.tags]
        self._out = [setting.table[f"{setting.name}.{name}"].id for name in names]
        self._texts = setting.table.texts
        self._judge = _fitting(
            read(setting.folder / (config.learned or f"{setting.name}.json"), Judge.from_json, TABLE), config
        )
        self._fine = np.isin(self._judge.kinds, config.good)
        self._cuts = Cuts(config, setting)
        c = len(self._ids)
        self._last, self._how = np.full(c, np.nan), np.full(c, Quality.BAD, np.uint8)
        self._sum, self._n = np.zeros(c), np.zeros(c)
        self._parts = 0

    @classmethod
    def columns(cls, config: QualityConfig, name: str) -> list[str]:
        """Of the table of `lineside fit`."""
        return [config.columns.get(tag, tag) for tag in config.tags]

    @classmethod
    def fit_table(cls, config: QualityConfig, rows: np.ndarray, target: list[str]) -> tuple[dict[str, Any], list[str]]:
        """A document for `learned`, and what it is worth, in words. Raises ValueError where it is worth nothing."""
        if strange := sorted({*config.good} - {*target}):
            there = ", ".join(sorted({*target})[:8])
            raise ValueError(f"good: no row of the table is {strange[0]!r}; there are {there}")
        judge, told, later = learned(rows, target, config.tags)
        return judge.as_json(), words(judge, told, later, config.say == "balanced")

    def __call__(self, item: Any) -> Iterator[Batch | Event]:
        if not isinstance(item, Batch):
            return
        ends, count = self._cuts(item)
        rows, quality = self._rows(item, ends)
        if not len(ends):
            return
        known = (quality <= TRUSTED).all(axis=1) & np.isfinite(rows).all(axis=1)
        out = np.full((len(ends), 3), np.nan)
        how = np.maximum(quality.max(axis=1), np.where(known, 0, Quality.SUBSTITUTED)).astype(np.uint8)
        numbers = self._parts + count.cumsum()
        self._parts = int(numbers[-1])
        at = np.flatnonzero(known)
        if len(at):
            chances = self._judge.chances(rows[at])
            kind = self._judge.said(chances, self.config.say == "balanced")
            outside = self._judge.outside(rows[at])
            out[at, 0] = [self._texts.value(self._out[0], self._judge.kinds[k]) for k in kind.tolist()]
            out[at, 1] = 100 * chances[np.arange(len(at)), kind]
            out[at, 2] = 100 * chances[:, ~self._fine].sum(axis=1)
            how[at] = np.where(outside.any(axis=1), Quality.SUBSTITUTED, how[at])
            for i, place in enumerate(at.tolist()):  # parts, not samples
                if self.config.tell == "all" or not self._fine[kind[i]]:
                    number = float(numbers[place])
                    yield self._told(int(ends[place]), rows[place], int(kind[i]), chances[i], outside[i], number)
        tag = np.tile(np.array(self._out, np.int32), len(ends))
        yield Batch.of(self.name, tag, out.ravel(), np.repeat(ends, 3), np.repeat(how, 3), item.mono)

    def _rows(self, batch: Batch, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What each tag counts for at each end, float64 and uint8 [k, tags]; a sample of the moment of an end belongs to it."""
        mine = np.flatnonzero(np.isin(batch.tag, self._ids) & (batch.quality != Quality.LATE))
        mine = mine[np.argsort(batch.ts[mine], kind="stable")]
        value, quality = batch.value[mine], batch.quality[mine]
        column = np.argmax(batch.tag[mine][:, None] == self._ids[None, :], axis=1)
        part = np.searchsorted(ends, batch.ts[mine], side="left")
        k, c = len(ends) + 1, len(self._ids)
        said = np.zeros((k + 1, c), np.intp)
        last, how = np.empty((k + 1, c)), np.empty((k + 1, c), np.uint8)
        last[0], how[0] = self._last, self._how
        last[part + 1, column], how[part + 1, column] = value, quality
        said[part + 1, column] = part + 1
        said = np.maximum.accumulate(said, axis=0)
        last, how = np.take_along_axis(last, said, axis=0), np.take_along_axis(how, said, axis=0)
        good = (quality <= TRUSTED) & np.isfinite(value)
        cell = part * c + column
        total = np.bincount(cell, np.where(good, value, 0.0), k * c).reshape(k, c)
        n = np.bincount(cell, good, k * c).reshape(k, c)
        total[0], n[0] = total[0] + self._sum, n[0] + self._n
        self._last, self._how, self._sum, self._n = last[-1].copy(), how[-1].copy(), total[-1], n[-1]
        if self.config.at == "last":
            return last[1:-1], how[1:-1]
        return np.where(n > 0, total / np.maximum(n, 1), last[1:])[:-1], how[1:-1]

    def _told(
        self, ts: int, row: np.ndarray, kind: int, chances: np.ndarray, outside: np.ndarray, number: float
    ) -> Event:
        judge, tags = self._judge, self.config.tags
        shares = judge.reasons(row[None], kind)[0]
        first = [int(i) for i in np.argsort(-np.abs(shares))[:REASONS] if abs(shares[i]) >= LEAST]
        reasons = [
            {
                "tag": tags[i],
                "value": float(row[i]),
                "usual": float(judge.usual[i]),
                "share": round(float(shares[i]), 2),
            }
            for i in first
        ]
        data = {
            "kind": judge.kinds[kind],
            "part": number,
            "chances": {name: round(float(p), 4) for name, p in zip(judge.kinds, chances, strict=True)},
            "reasons": reasons,
            "outside": [tags[i] for i in np.flatnonzero(outside)],
        }
        fine = bool(self._fine[kind])
        sure = "over 99%" if chances[kind] > 0.99 else f"{chances[kind]:.0%}"
        text = f"{judge.kinds[kind]} ({sure}): " + ", ".join(self._reason(i, row, shares) for i in first)
        beyond = [
            f"{tags[i]} {row[i]:.5g} ({judge.least[i]:.5g} to {judge.most[i]:.5g})" for i in np.flatnonzero(outside)
        ]
        text += f"; beyond what was learned: {', '.join(beyond)}" if beyond else ""
        return Event("quality", self.name, "ok" if fine else "ng", ts, "info" if fine else "medium", text, data)

    def _reason(self, i: int, row: np.ndarray, shares: np.ndarray) -> str:
        unit = f" {self._units[i]}" if self._units[i] else ""
        side = "for" if shares[i] > 0 else "against"
        return f"{self.config.tags[i]} {row[i]:.5g}{unit}, usually {self._judge.usual[i]:.5g} ({side} it, {shares[i]:+.2f})"

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        last = [None if np.isnan(value) else value for value in self._last.tolist()]
        rows = {"last": last, "how": self._how.tolist(), "sum": self._sum.tolist(), "n": self._n.tolist()}
        return json.dumps(
            {"version": 1, "of": self._of(), "cut": self._cuts.snapshot(), "parts": self._parts, **rows}
        ).encode()

    def _of(self) -> list[Any]:
        return [self.config.tags, self.config.ends()]

    def restore(self, state: bytes) -> None:
        """Go on where it was, unless tags are others now. Raises ValueError for a state that is damaged."""
        kept = json.loads(state)
        if kept.get("version") != 1 or kept.get("of") != self._of():
            return
        last, total, n = (np.array(kept[name], float) for name in ("last", "sum", "n"))
        how, shape = np.array(kept["how"], np.uint8), self._last.shape
        if not all(column.shape == shape for column in (last, total, n, how)):
            raise ValueError("a damaged part under way")
        self._cuts.restore(kept["cut"])
        self._last, self._sum, self._n, self._how, self._parts = last, total, n, how, int(kept["parts"])


def _fitting(judge: Judge, config: QualityConfig) -> Judge:
    """What was learned of these tags and classes. Raises ConfigFault."""
    if judge.names != tuple(config.tags):
        raise ConfigFault("what was learned is of other `tags`", hint="fit it anew, or name them as they were")
    if strange := sorted({*config.good} - {*judge.kinds}):
        raise ConfigFault(f"good: {strange[0]!r} was not learned", hint=f"there are {', '.join(judge.kinds)}")
    return judge
