"""The stages that judge samples (detectors), run anew over old ones, a stretch of columns at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from . import plugins
from .batch import Batch
from .clock import ManualClock
from .config.site import Config
from .event import Event
from .expressions import expression_names
from .flow import Flow
from .health import Health
from .rehearse import Kept
from .stage import Setting
from .state import state_folder
from .tags import TagTable
from .virtual import layered

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]  # ts int64[n], value float64[n] or strings, quality uint8[n]
STAGE = "stage "  # before the name of a detector, where it stands beside alarms
ROWS = 5000  # times that a detector is given at once


def detectors(config: Config) -> dict[str, tuple[str, ...]]:
    """The stages that run anew, with the tags that each reads. What others said is taken from the journal."""
    return {name: tuple(entry.reads()) for name, entry in config.stages.items() if entry.anew}  # type: ignore[attr-defined]


def needs(config: Config) -> dict[str, frozenset[str]]:
    """The measured tags that each alarm of a site, and each of its detectors, is made of, through any computed ones."""
    made = {name: tuple(expression_names(point.expression)) for name, point in config.virtual.items()}
    made |= {f"{name}.{tag}": read for name, read in detectors(config).items() for tag in config.stages[name].points()}
    wanted = {**_looked_at(config), **{f"{STAGE}{name}": read for name, read in detectors(config).items()}}
    return {key: frozenset(_ends(names, made)) for key, names in wanted.items()}


def direct(config: Config) -> frozenset[str]:
    """The measured tags, and those of detectors, that the alarms look at themselves or through computed ones."""
    made = {name: tuple(expression_names(point.expression)) for name, point in config.virtual.items()}
    return frozenset(name for names in _looked_at(config).values() for name in _ends(names, made))


def _looked_at(config: Config) -> dict[str, tuple[str, ...]]:
    both = {key: (a.when, a.clear or a.when) for key, a in config.alarms.items()}
    return {key: tuple(name for words in said for name in expression_names(words)) for key, said in both.items()}


def _ends(names: Iterable[str], made: Mapping[str, Iterable[str]], seen: frozenset[str] = frozenset()) -> Iterator[str]:
    for name in names:
        if name not in made:
            yield name
        elif name not in seen:
            yield from _ends(made[name], made, seen | {name})


class Anew:
    """The detectors of one site, with the computed tags that they read. None of them knows a clock: rows come when they come."""

    def __init__(self, config: Config, table: TagTable) -> None:
        self._table, self._kept, clock = table, Kept(), ManualClock()
        self._names = set(detectors(config))
        stages: list[tuple[str, Any]] = list(layered(config.virtual, table))
        for name in self._names:
            setting = Setting(name, table, config.folder, frozenset(config.drivers), state_folder(config.device.id))
            stages.append((name, plugins.find("stages", config.stages[name].stage)(config.stages[name], setting)))
        self._flow = Flow(table, stages, self._kept, clock, Health(clock), write=lambda _: [])
        ended = {name: names for key, names in needs(config).items() if (name := key.removeprefix(STAGE)) != key}
        self._reads = frozenset(name for names in ended.values() for name in names)

    def __call__(self, read: Mapping[str, Columns]) -> tuple[dict[str, Columns], list[Event]]:
        """What the detectors make of a stretch: columns by tag, and what they told, both along time."""
        parts = [self._numbers(name, columns) for name, columns in sorted(read.items()) if name in self._reads]
        if not parts:
            return {}, []
        tag, ts, value, quality = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(ts, kind="stable")
        tag, ts, value, quality = tag[order], ts[order], value[order], quality[order]
        starts = np.flatnonzero(np.diff(ts, prepend=ts[0] - 1))[::ROWS].tolist()
        for a, b in zip(starts, [*starts[1:], len(ts)], strict=True):
            self._flow.accept(Batch.of("anew", tag[a:b], value[a:b], ts[a:b], quality[a:b]))
        made, events = [b for b in self._kept.batches if b.source in self._names], self._kept.events[:]
        self._kept.batches.clear()
        self._kept.events.clear()
        return self._by_tag(made), sorted(events, key=lambda event: event.ts)

    def _numbers(self, name: str, columns: Columns) -> tuple[np.ndarray, ...]:
        ts, value, quality = columns
        number = self._table[name].id
        if value.dtype.kind != "f":
            value = np.array([self._table.texts.value(number, text) for text in value.tolist()], float)
        return np.full(len(ts), number, np.int32), ts, value, quality

    def _by_tag(self, made: list[Batch]) -> dict[str, Columns]:
        if not made:
            return {}
        tag, ts, value, quality = (
            np.concatenate([getattr(b, n) for b in made]) for n in ("tag", "ts", "value", "quality")
        )
        columns = ((number, tag == number) for number in np.unique(tag).tolist())
        return {self._table.by_id(number).name: (ts[its], value[its], quality[its]) for number, its in columns}
