"""Parts as a device's own journal tells of them: each inspection, with what every process tag was at it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Literal

import numpy as np

from edge import (
    SECOND,
    Batch,
    Event,
    LinesideError,
    Quality,
    journal_batches,
    journal_reading,
    journal_texts,
    numbered_events,
    tag_names,
)

from ..quality.ledger import Part, parts_of
from .parts import CODES, Column, Parts, named, spelt

DAY = 86_400 * SECOND
MOST = 8_000_000  # parts times tags that are held at once
STRETCH = 3.0  # times the usual way from part to part, from which on a sample no longer tells of a part's cycle
RISES = 0.99  # of all steps: such a column is a counter, and says no more than the time
NEVER = -(2**63)


@dataclass(frozen=True)
class Asked:
    """What is looked at. `tags`: those alone (none: all), `without` these; `lots`: tags whose values are names; `delay` ns by which
    a part went through the process before it was inspected; `at`: what a tag counts for, its mean over the cycle or its last
    value; `begin` of the shifts (minutes of the day) in a `zone`; `labels`: what the numbers of some tags mean."""

    t0: int
    t1: int
    zone: tzinfo
    tags: Collection[str] = ()
    without: Collection[str] = ()
    lots: Collection[str] = ()
    delay: int = 0
    at: Literal["mean", "last"] = "mean"
    begin: tuple[int, ...] = (6 * 60, 14 * 60, 22 * 60)
    labels: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


def from_journal(path: Path, asked: Asked, stage: str | None = None) -> dict[str, Parts]:
    """By stage that inspects. A part counts as what a person's review says, or else the stage; those that nobody knows (RECHECK)
    are left out. Blocks. Raises LinesideError."""
    recipe: dict[str, str] = {}

    def events() -> Iterator[Event]:
        """One after the other: a record is large, and a year has millions."""
        for _, event in numbered_events(path, "inspection", "review"):
            if event.kind == "inspection" and asked.t0 <= event.ts <= asked.t1:
                recipe[event.id] = str(event.data.get("recipe", ""))
            yield event

    by_stage: dict[str, list[Part]] = {}
    for part in parts_of(events()):
        known = (part.truth or part.verdict) in ("ok", "ng")
        if known and part.id in recipe and stage in (None, part.stage):
            by_stage.setdefault(part.stage, []).append(part)
    if not by_stage:
        of = f" of {stage}" if stage else ""
        raise LinesideError(
            f"the journal holds no part{of} with a verdict in that time", hint="`lineside tail` shows it"
        )
    return {name: _parts(path, by_stage[name], recipe, asked) for name in sorted(by_stage)}


def _parts(path: Path, parts: list[Part], recipe: Mapping[str, str], asked: Asked) -> Parts:
    parts.sort(key=lambda part: part.ts)
    ts = np.array([part.ts for part in parts], np.int64)
    ng = np.array([(part.truth or part.verdict) == "ng" for part in parts])
    kind = np.array([(p.found or p.label) if bad else "" for p, bad in zip(parts, ng, strict=True)], object)
    columns, left_out = tags_at(path, ts - asked.delay, asked)
    recipes = named("recipe", [recipe[part.id] for part in parts])
    told = [recipes] if len(recipes.labels or ()) > 1 else []
    return Parts(ts, ng, kind, [*columns, *told, *_times(ts, asked)], left_out)


def _times(ts: np.ndarray, asked: Asked) -> Iterator[Column]:
    """Hour of the day and shift, by the clock of a place."""
    quarter, at = np.unique(ts // (900 * SECOND), return_inverse=True)
    minute = np.array([_minute(q * 900, asked.zone) for q in quarter.tolist()])[at]
    hours = tuple(f"{h:02}:00" for h in range(24))
    yield Column("hour", (minute // 60).astype(float), labels=hours, ring=True)
    begin = sorted(asked.begin)
    if len(begin) > 1:
        shift = (np.searchsorted(begin, minute, side="right") - 1) % len(begin)
        names = tuple(f"from {m // 60:02}:{m % 60:02}" for m in begin)
        yield Column("shift", shift.astype(float), labels=names)


def _minute(second: int, zone: tzinfo) -> int:
    when = datetime.fromtimestamp(second, zone)
    return when.hour * 60 + when.minute


@dataclass
class _At:
    """What tags said at parts: `total`, `count` of the cycle that ends with each, `last` (at `said` ns), all [n, tags]. `last` is
    NaN where what was said last was not to be trusted."""

    total: np.ndarray
    count: np.ndarray
    last: np.ndarray
    said: np.ndarray
    cycle: np.ndarray
    whole: np.ndarray  # bool[tags]: nothing but whole numbers was said

    @classmethod
    def nothing(cls, n: int, c: int, cycle: np.ndarray) -> _At:
        said = np.full((n, c), NEVER)
        return cls(np.zeros((n, c)), np.zeros((n, c), np.int32), np.full((n, c), np.nan), said, cycle, np.ones(c, bool))

    def add(self, batch: Batch, column: np.ndarray, ts: np.ndarray) -> None:
        """Samples of columns (-1: none of them), in any order of batches."""
        order = np.flatnonzero(column >= 0)
        order = order[np.argsort(batch.ts[order], kind="stable")]
        at, value, column = batch.ts[order], batch.value[order], column[order]
        part = np.searchsorted(ts, at, side="left")
        inside = part < len(ts)
        at, value, column, part = at[inside], value[inside], column[inside], part[inside]
        good = (batch.quality[order][inside] <= Quality.LATE) & np.isfinite(value)
        new = at >= self.said[part, column]
        self.last[part[new], column[new]] = np.where(good, value, np.nan)[new]
        self.said[part[new], column[new]] = at[new]
        self.whole[column[good & (value != np.rint(value))]] = False
        near = good & (ts[part] - at <= self.cycle[part])
        np.add.at(self.total, (part[near], column[near]), value[near])
        np.add.at(self.count, (part[near], column[near]), 1)

    def held(self, stretch: np.ndarray) -> np.ndarray:
        """The last value of each tag at each part, [n, tags]; of another stretch (after a start of the daemon) none is held."""
        n = len(self.last)
        from_ = np.maximum.accumulate(np.where(self.said != NEVER, np.arange(n)[:, None], -1), axis=0)
        known = (from_ >= 0) & (stretch[from_] == stretch[:, None])
        held = np.take_along_axis(self.last, np.maximum(from_, 0), axis=0)
        return np.where(known, held, np.nan)


def tags_at(path: Path, ts: np.ndarray, asked: Asked) -> tuple[list[Column], dict[str, str]]:
    """Of parts at `ts` int64[n], rising: a column of each tag, and why some are none. Blocks. Raises LinesideError."""
    way = np.diff(ts, prepend=ts[:1])
    usual = float(np.median(way[1:])) if len(ts) > 1 else float(60 * SECOND)
    cycle = np.minimum(np.where(way > 0, way, usual), STRETCH * max(usual, SECOND))
    with journal_reading(path) as db:
        known = {number: told for number, told in tag_names(db).items() if _wanted(told[0], asked)}
        names = sorted({name for name, *_ in known.values()})
        if missing := sorted({*asked.tags, *asked.lots} - set(names)):
            raise LinesideError(
                f"the journal holds no tag {missing[0]!r}", hint=f"it holds {', '.join(names[:8]) or 'none'}"
            )
        if len(names) * len(ts) > MOST:
            hint = f"a shorter time (--since, --until), or name tags: {MOST // len(ts):,} of them go with so many parts"
            raise LinesideError(f"{len(ts):,} parts with {len(names):,} tags each are too many at once", hint=hint)
        column_of = np.full(max(known, default=0) + 1, -1)
        for number, (name, *_) in known.items():
            column_of[number] = names.index(name)
        at = _At.nothing(len(ts), len(names), cycle)
        for batch in journal_batches(db, max(NEVER, int(ts[0]) - DAY), int(ts[-1])):
            inside = batch.tag < len(column_of)
            at.add(batch, np.where(inside, column_of[np.where(inside, batch.tag, 0)], -1), ts)
        texts = {float(seq): text for seq, _, text in journal_texts(db)}
    cuts = [e.ts for _, e in numbered_events(path, "device") if e.state in ("started", "stopped")]
    stretch = np.searchsorted(np.sort(np.array(cuts, np.int64)), ts, side="right")
    told = {name: (kind, unit) for name, kind, unit in known.values()}
    return _columns(names, told, at, at.held(stretch), texts, asked)


def _wanted(name: str, asked: Asked) -> bool:
    if name in asked.lots:
        return True
    return (not asked.tags or name in asked.tags) and name not in asked.without


def _columns(
    names: Iterable[str],
    told: Mapping[str, tuple[str, str]],
    at: _At,
    held: np.ndarray,
    texts: Mapping[float, str],
    asked: Asked,
) -> tuple[list[Column], dict[str, str]]:
    columns, left_out = [], {}
    for k, name in enumerate(names):
        kind, unit = told[name]
        if kind == "text":
            columns.append(named(name, ["" if v != v else texts.get(v, "") for v in held[:, k].tolist()]))
        elif name in asked.lots or name in asked.labels:
            labels = {float(number): text for number, text in asked.labels.get(name, {}).items()}
            columns.append(named(name, ["" if v != v else labels.get(v) or spelt(v) for v in held[:, k].tolist()]))
        else:
            mean = at.total[:, k] / np.maximum(at.count[:, k], 1)
            value = held[:, k]
            codes = at.whole[k] and len(np.unique(value[np.isfinite(value)])) <= CODES
            if asked.at == "mean" and not codes:
                value = np.where(at.count[:, k] > 0, mean, value)
            if only_rises(value):
                left_out[name] = "it only rises, as a counter does, and says no more than the time"
            else:
                columns.append(Column(name, value, unit))
    return columns, left_out


def only_rises(value: np.ndarray) -> bool:
    """Whether it is a counter; one that begins anew now and then is one, too."""
    step = np.diff(value[np.isfinite(value)])
    moved = step[step != 0]
    return len(moved) >= 20 and float((moved > 0).mean()) >= RISES
