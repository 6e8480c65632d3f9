"""Alarm rules over what the journal holds: which alarms another set of them would have raised, through the real flow
in the samples' own time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .batch import TRUSTED, Batch, Quality
from .clock import SECOND, ManualClock
from .config.site import Config
from .errors import LinesideError
from .event import Event
from .expressions import expression_names
from .flow import Flow
from .health import Health
from .live import Live
from .records import batches, reading, sound_events, tag_names, texts
from .rehearse import Kept, rules
from .tags import TagTable
from .texts import TYPE as TEXT
from .told import QUIET

WINDOW = 3600 * SECOND  # of the journal that is held at once
REFRESH = 60 * SECOND  # an unchanged value is told again this often
NEAR = 5 * SECOND  # by which the same alarm may begin or end elsewhere
BINS = 400  # of a drawn signal
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]  # ts int64[n], value float64[n] or strings, quality uint8[n]
Read = Callable[[int, int], Iterable[tuple[str, Columns]]]
Row = tuple[int, str, float | str, int]  # ts, tag, value, quality


@dataclass(frozen=True)
class Stood:
    """One alarm from when it was raised to when it cleared (ns UTC); the end of what was looked at where it still stood."""

    key: str
    t0: int
    t1: int


@dataclass(frozen=True)
class Drawn:
    """Lowest and highest value of a tag in each of BINS equal spans, NaN where there is none."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def empty(cls) -> Drawn:
        return cls(np.full(BINS, np.nan), np.full(BINS, np.nan))

    def add(self, ts: np.ndarray, value: np.ndarray, t0: int, t1: int) -> None:
        at = np.clip((ts - t0) * BINS // max(1, t1 - t0), 0, BINS - 1)
        np.fmin.at(self.low, at, value)
        np.fmax.at(self.high, at, value)


def needs(config: Config) -> dict[str, frozenset[str]]:
    """The measured tags that each alarm of a site is made of, through any computed ones."""

    def measured(names: Iterable[str], seen: frozenset[str] = frozenset()) -> Iterator[str]:
        for name in names:
            if name not in config.virtual:
                yield name
            elif name not in seen:
                yield from measured(expression_names(config.virtual[name].expression), seen | {name})

    said = {key: (a.when, a.clear or a.when) for key, a in config.alarms.items()}
    return {
        key: frozenset(measured(n for words in both for n in expression_names(words))) for key, both in said.items()
    }


class Retry:
    """One set of rules, to be fed with what was measured, along time. What a rule would have written is written nowhere."""

    def __init__(self, config: Config, t0: int) -> None:
        longer = (replace(tag, stale_after=tag.stale_after and tag.stale_after + QUIET) for tag in config.tags())
        self.table, self._clock, self._kept = TagTable.numbered(longer), ManualClock(utc=t0), Kept()
        stages, health = rules(config, self.table), Health(self._clock)
        self._flow = Flow(
            self.table, stages, self._kept, self._clock, health, write=lambda _: [], watch=Live(self.table)
        )
        self._behind = self._clock.mono() - t0
        self._fed: dict[str, set[int]] = {}

    def run_to(self, utc: int) -> None:
        mono = utc + self._behind
        while (due := self._flow.due()) <= mono:
            self._clock.advance_to(due)
            self._flow.tick()
        self._clock.advance_to(mono)

    def feed(self, ts: int, names: Sequence[str], values: Sequence[float | str], quality: Sequence[int]) -> None:
        """What was read at one moment."""
        self.run_to(ts)
        by_source: dict[str, list[tuple[int, float, int]]] = {}
        for name, value, how in zip(names, values, quality, strict=True):
            if name in self.table:
                tag = self.table[name]
                number = self.table.texts.value(tag.id, value) if isinstance(value, str) else float(value)
                by_source.setdefault(tag.source, []).append((tag.id, number, how))
        for source, read in by_source.items():
            ids, numbers, hows = zip(*read, strict=True)
            self._fed.setdefault(source, set()).update(ids)
            self._flow.accept(Batch.of(source, list(ids), list(numbers), ts, np.array(hows, np.uint8)))

    def cut(self) -> None:
        """Nothing was read from here on: the daemon ended."""
        for source, ids in self._fed.items():
            nothing = np.full(len(ids), np.nan)
            self._flow.accept(Batch.of(source, sorted(ids), nothing, self._clock.utc(), Quality.BAD))

    @property
    def events(self) -> list[Event]:
        return [event for event in self._kept.events if event.kind == "alarm"]


def stood(events: Iterable[Event], end: int, start: int = 0) -> list[Stood]:
    """Of alarm events in their order. One that had been raised before counts from `start`."""
    out: list[Stood] = []
    since: dict[str, int] = {}
    for event in events:
        if event.state == "raised":
            since.setdefault(event.key, max(start, event.ts))
        elif event.state == "cleared" and (began := since.pop(event.key, None)) is not None and event.ts >= start:
            out.append(Stood(event.key, began, event.ts))
    out += [Stood(key, began, end) for key, began in since.items()]
    return sorted((one for one in out if one.t0 <= end), key=lambda one: (one.t0, one.key))


def compare(before: Iterable[Stood], now: Iterable[Stood]) -> tuple[list[Stood], list[Stood]]:
    """(gained, lost): those of now that no alarm of the same key stood at before, and the other way round."""
    old, new = list(before), list(now)

    def alone(some: list[Stood], others: list[Stood]) -> list[Stood]:
        return [a for a in some if not any(_same(a, b) for b in others)]

    return alone(new, old), alone(old, new)


def _same(a: Stood, b: Stood) -> bool:
    return a.key == b.key and a.t0 <= b.t1 + NEAR and b.t0 <= a.t1 + NEAR


class Tried:
    """Several sets of rules over the same samples: what each would have raised (`stood`, in their order), how many samples there
    were of each tag, and how those went."""

    def __init__(self, configs: Sequence[Config], t0: int, t1: int) -> None:
        self.t0, self.t1 = t0, t1
        self.counts: dict[str, int] = {}
        self.drawn: dict[str, Drawn] = {}
        self._retries = [Retry(config, t0) for config in configs]
        self._last: dict[str, Columns] = {}

    def run(self, read: Read, cuts: Iterable[int], watch: Callable[[float], None]) -> Tried:
        """`read(a, b)` gives (tag, columns) of a span in any order, texts as strings; `cuts` are times at which a daemon ended or
        began; `watch` is told the share that is done."""
        left = sorted(cuts)
        for a in range(self.t0, self.t1 + 1, WINDOW):
            parts: dict[str, list[Columns]] = {}
            for name, columns in read(a, min(a + WINDOW - 1, self.t1)):
                parts.setdefault(name, []).append(columns)
            rows = [row for name, found in sorted(parts.items()) for row in self._rows(name, found)]
            rows.sort(key=lambda row: row[0])
            _feed(rows, self._retries, left)
            watch(min(1.0, (a + WINDOW - self.t0) / max(1, self.t1 - self.t0)))
        for one in self._retries:
            one.run_to(self.t1)
        return self

    @property
    def stood(self) -> list[list[Stood]]:
        return [stood(one.events, self.t1) for one in self._retries]

    def _rows(self, name: str, found: list[Columns]) -> Iterator[Row]:
        """What one tag says in a window, as far as it says anything."""
        ts, value, quality = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(ts, kind="stable")
        ts, value, quality = ts[order], value[order], quality[order]
        self.counts[name] = self.counts.get(name, 0) + len(ts)
        if value.dtype.kind == "f":
            good = np.where(quality <= TRUSTED, value, np.nan)
            self.drawn.setdefault(name, Drawn.empty()).add(ts, good, self.t0, self.t1)
        kept = _moves((ts, value, quality), self._last.get(name))
        self._last[name] = ts[-1:], value[-1:], quality[-1:]
        columns = ts[kept].tolist(), value[kept].tolist(), quality[kept].tolist()
        yield from ((at, name, said, how) for at, said, how in zip(*columns, strict=True))


def _moves(now: Columns, last: Columns | None) -> np.ndarray:
    """bool[n]: which samples say anything new, or are told again so that silence is told from a flat line."""
    ts, value, quality = (np.concatenate(pair) for pair in zip(last, now, strict=True)) if last else now
    same = (value[1:] == value[:-1]) | ((value[1:] != value[1:]) & (value[:-1] != value[:-1]))
    moved = ~same.astype(bool) | (quality[1:] != quality[:-1]) | (ts[1:] // REFRESH != ts[:-1] // REFRESH)
    return moved if last else np.concatenate([[True], moved])


def _feed(rows: list[Row], retries: Sequence[Retry], cuts: list[int]) -> None:
    at = 0
    while at < len(rows):
        end = at
        while end < len(rows) and rows[end][0] == rows[at][0]:
            end += 1
        ts, (_, names, values, quality) = rows[at][0], zip(*rows[at:end], strict=True)
        while cuts and cuts[0] <= ts:
            cuts.pop(0)
            for one in retries:
                one.cut()
        for one in retries:
            one.feed(ts, names, values, quality)
        at = end


def from_journal(
    path: Path, configs: Sequence[Config], t0: int, t1: int, watch: Callable[[float], None]
) -> tuple[Tried, list[Stood]]:
    """The rules of `configs` over the samples of a journal's file, and the alarms that it tells of itself. Blocks. An open end of
    the span is where the samples end. Raises LinesideError where there are none."""
    wanted = frozenset(name for config in configs for names in needs(config).values() for name in names)
    with reading(path) as db:
        ends = next(db.execute("SELECT min(t0), max(t1) FROM block"))
        if ends[0] is None:
            raise LinesideError("the journal holds no sealed samples yet", hint="a block is sealed each minute")
        t0, t1 = max(t0, ends[0]), min(t1, ends[1])
        if t0 > t1:
            raise LinesideError("the journal holds no samples of that time")
        names = {number: name for number, (name, *_) in tag_names(db).items() if name in wanted}
        texts_of = {number for number, (_, kind, _) in tag_names(db).items() if kind == TEXT}
        strings = {float(seq): text for seq, _, text in texts(db)} if texts_of & names.keys() else {}

        def read(a: int, b: int) -> Iterator[tuple[str, Columns]]:
            for batch in batches(db, a, b):
                inside = (batch.ts >= a) & (batch.ts <= b) & np.isin(batch.tag, list(names))
                for number in np.unique(batch.tag[inside]).tolist():
                    its = inside & (batch.tag == number)
                    value: np.ndarray = batch.value[its]
                    if number in texts_of:
                        value = np.array([strings.get(v, "") for v in value.tolist()], object)
                    yield names[number], (batch.ts[its], value, batch.quality[its])

        told = list(sound_events(db, "WHERE kind IN ('alarm', 'device') ORDER BY seq"))
        cuts = [e.ts for e in told if e.kind == "device" and e.state in ("started", "stopped") and t0 <= e.ts <= t1]
        tried = Tried(configs, t0, t1).run(read, cuts, watch)
    return tried, stood(
        (e for e in told if e.kind == "alarm" and e.ts <= t1 and (e.state != "raised" or "when" in e.data)), t1, t0
    )
