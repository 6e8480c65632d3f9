"""Alarm rules and detectors over what the journal holds: which alarms another set of them would have raised, through the real
flow in the samples' own time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .anew import STAGE, Anew, Columns, detectors, direct, needs
from .batch import TRUSTED, Batch, Quality
from .clock import SECOND, ManualClock
from .config.site import Config
from .errors import LinesideError
from .event import Event
from .flow import Flow
from .health import Health
from .live import Live
from .records import batches, reading, sound_events, tag_names, tail, texts
from .rehearse import Kept, rules
from .tags import TagTable
from .texts import TYPE as TEXT
from .told import QUIET

WINDOW = 3600 * SECOND  # of the journal that is held at once
REFRESH = 60 * SECOND  # an unchanged value is told again this often
NEAR = 5 * SECOND  # by which the same alarm may begin or end elsewhere
BINS = 400  # of a drawn signal
TOLD = ("alarm", "anomaly", "model")  # kinds of events that are compared or shown
Read = Callable[[int, int], Iterable[tuple[str, Columns]]]
Row = tuple[int, str, float | str, int]  # ts, tag, value, quality


@dataclass(frozen=True)
class Stood:
    """One alarm from when it was raised to when it cleared (ns UTC); the end of what was looked at where it still stood."""

    key: str
    t0: int
    t1: int
    why: str = field(default="", compare=False)  # the reasons that it gave


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


class Retry:
    """One set of rules, to be fed with what was measured, along time. What a rule would have written is written nowhere.
    `detectors` make of stretches what the rules look at; `looked_at` are the tags of both that they need."""

    def __init__(self, config: Config, t0: int) -> None:
        longer = (replace(tag, stale_after=tag.stale_after and tag.stale_after + QUIET) for tag in config.tags())
        self.table, self._clock, self._kept = TagTable.numbered(longer), ManualClock(utc=t0), Kept()
        stages, health = rules(config, self.table), Health(self._clock)
        self._flow = Flow(
            self.table, stages, self._kept, self._clock, health, write=lambda _: [], watch=Live(self.table)
        )
        self._behind = self._clock.mono() - t0
        self._fed: dict[str, set[int]] = {}
        self.detectors, self.looked_at = Anew(config, self.table) if detectors(config) else None, direct(config)

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
        self._kept.batches.clear()

    def tell(self, event: Event) -> None:
        """What a detector said."""
        self.run_to(max(event.ts, self._clock.utc()))
        self._flow.accept(event)

    def cut(self) -> None:
        """Nothing was read from here on: the daemon ended."""
        for source, ids in self._fed.items():
            nothing = np.full(len(ids), np.nan)
            self._flow.accept(Batch.of(source, sorted(ids), nothing, self._clock.utc(), Quality.BAD))

    @property
    def events(self) -> list[Event]:
        """Alarms, and what the stages said of themselves."""
        return [event for event in self._kept.events if event.kind in TOLD]


def stood(events: Iterable[Event], end: int, start: int = 0) -> list[Stood]:
    """Of the events of alarms and detectors in their order. One that had been raised before counts from `start`."""
    out: list[Stood] = []
    since: dict[str, tuple[int, str]] = {}
    for event in events:
        key = f"{STAGE}{event.key}" if event.kind == "anomaly" else event.key
        if event.kind not in ("alarm", "anomaly"):
            continue
        if event.state == "raised":
            since.setdefault(key, (max(start, event.ts), event.text))
        elif event.state == "cleared" and (began := since.pop(key, None)) is not None and event.ts >= start:
            out.append(Stood(key, began[0], event.ts, began[1]))
    out += [Stood(key, began, end, why) for key, (began, why) in since.items()]
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
        self._last: dict[tuple[int, str], Columns] = {}

    def run(self, read: Read, cuts: Iterable[int], watch: Callable[[float], None]) -> Tried:
        """`read(a, b)` gives (tag, columns) of a span in any order, texts as strings; `cuts` are times at which a daemon ended or
        began; `watch` is told the share that is done."""
        ended = sorted(cuts)
        left = [list(ended) for _ in self._retries]
        for a in range(self.t0, self.t1 + 1, WINDOW):
            found: dict[str, list[Columns]] = {}
            for name, columns in read(a, min(a + WINDOW - 1, self.t1)):
                found.setdefault(name, []).append(columns)
            parts = {name: _along(some) for name, some in sorted(found.items())}
            for name, columns in parts.items():
                self.counts[name] = self.counts.get(name, 0) + len(columns[0])
                self._draw(name, columns)
            for k, one in enumerate(self._retries):
                self._window(k, one, parts, left[k])
            watch(min(1.0, (a + WINDOW - self.t0) / max(1, self.t1 - self.t0)))
        for one in self._retries:
            one.run_to(self.t1)
        return self

    @property
    def stood(self) -> list[list[Stood]]:
        return [stood(one.events, self.t1) for one in self._retries]

    @property
    def learned(self) -> list[Event]:
        """What the detectors of the first set said of their learning."""
        return [event for event in self._retries[0].events if event.kind == "model"]

    def _window(self, k: int, one: Retry, parts: dict[str, Columns], cuts: list[int]) -> None:
        made, events = one.detectors(parts) if one.detectors else ({}, [])
        if k == 0:
            for name, columns in made.items():
                self._draw(name, columns)
        both = {**parts, **made}
        rows = [row for name in sorted(both.keys() & one.looked_at) for row in self._rows(k, name, both[name])]
        rows.sort(key=lambda row: row[0])
        _feed(rows, one, cuts, events)

    def _draw(self, name: str, columns: Columns) -> None:
        ts, value, quality = columns
        if value.dtype.kind == "f":
            good = np.where(quality <= TRUSTED, value, np.nan)
            self.drawn.setdefault(name, Drawn.empty()).add(ts, good, self.t0, self.t1)

    def _rows(self, k: int, name: str, now: Columns) -> Iterator[Row]:
        """What one tag says to one set of rules in a window, as far as it says anything."""
        kept = _moves(now, self._last.get((k, name)))
        ts, value, quality = now
        self._last[k, name] = ts[-1:], value[-1:], quality[-1:]
        columns = ts[kept].tolist(), value[kept].tolist(), quality[kept].tolist()
        yield from ((at, name, said, how) for at, said, how in zip(*columns, strict=True))


def _along(found: list[Columns]) -> Columns:
    ts, value, quality = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(ts, kind="stable")
    return ts[order], value[order], quality[order]


def _moves(now: Columns, last: Columns | None) -> np.ndarray:
    """bool[n]: which samples say anything new, or are told again so that silence is told from a flat line."""
    ts, value, quality = (np.concatenate(pair) for pair in zip(last, now, strict=True)) if last else now
    same = (value[1:] == value[:-1]) | ((value[1:] != value[1:]) & (value[:-1] != value[:-1]))
    moved = ~same.astype(bool) | (quality[1:] != quality[:-1]) | (ts[1:] // REFRESH != ts[:-1] // REFRESH)
    return moved if last else np.concatenate([[True], moved])


def _feed(rows: list[Row], one: Retry, cuts: list[int], events: list[Event]) -> None:
    at, told = 0, iter([*events, None])
    event = next(told)
    while at < len(rows):
        end, ts = at, rows[at][0]
        while end < len(rows) and rows[end][0] == ts:
            end += 1
        while cuts and cuts[0] <= ts:
            cuts.pop(0)
            one.cut()
        while event and event.ts <= ts:  # the reasons before the value that raises an alarm
            one.tell(event)
            event = next(told)
        _, names, values, quality = zip(*rows[at:end], strict=True)
        one.feed(ts, names, values, quality)
        at = end
    while event:
        one.tell(event)
        event = next(told)


def from_journal(
    path: Path, configs: Sequence[Config], t0: int, t1: int, watch: Callable[[float], None]
) -> tuple[Tried, list[Stood]]:
    """The rules of `configs` over the samples of a journal's file, and the alarms that it tells of itself. Blocks. An open end of
    the span is where the samples end. Raises LinesideError where there are none."""
    wanted = frozenset(name for config in configs for names in needs(config).values() for name in names)
    with reading(path) as db:
        ends = [row for row in db.execute("SELECT min(t0), max(t1) FROM block") if row[0] is not None]
        ends += [(int(batch.ts.min()), int(batch.ts.max())) for batch in tail(db) if len(batch)]
        if not ends:
            raise LinesideError("the journal holds no samples yet")
        t0, t1 = max(t0, min(a for a, _ in ends)), min(t1, max(b for _, b in ends))
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

        told = list(sound_events(db, "WHERE kind IN ('alarm', 'anomaly', 'device') ORDER BY seq"))
        cuts = [e.ts for e in told if e.kind == "device" and e.state in ("started", "stopped") and t0 <= e.ts <= t1]
        tried = Tried(configs, t0, t1).run(read, cuts, watch)
    known = {name for config in configs for name in detectors(config)}
    alarms = (e for e in told if e.kind == "alarm" and (e.state != "raised" or "when" in e.data))
    anomalies = (e for e in told if e.kind == "anomaly" and e.key in known)
    return tried, [*stood((e for some in (alarms, anomalies) for e in some if e.ts <= t1), t1, t0)]
