"""The wiring: source -> stages -> journal. The only fan-out and the only timer heap; knows no event loop."""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any, Protocol

import numpy as np

from .batch import Batch
from .clock import SECOND, Clock
from .errors import ConfigFault
from .event import Answer, Event, Job, Picture, Tick, Write
from .frame import Frame
from .health import Health
from .late import Late
from .log import log
from .memo import PerColumn, distinct
from .reduce import Deadband
from .stage import Item, Stage
from .tags import TagTable

SNAPSHOT_EVERY = 60 * SECOND
BUDGET = SECOND // 20  # of one stage for one item; beyond it the delay of all others shows
AFTER_FAILURE = SECOND  # a stage whose Tick failed is asked again then, not at once


class Sink(Protocol):
    """Where everything that survives goes (the journal). `append` never waits."""

    def append(
        self,
        batches: Sequence[Batch] = (),
        events: Sequence[Event] = (),
        pictures: Sequence[Picture] = (),
        snapshots: Mapping[str, bytes] | None = None,
    ) -> None: ...


def in_order(stages: Sequence[tuple[str, Stage]]) -> list[tuple[str, Stage]]:
    """Stages sorted so that each comes after those whose outputs it reads. A cycle is a ConfigFault that names it."""
    makers: dict[str, set[str]] = {}
    for name, stage in stages:
        for output in stage.outputs:
            for wanted in {output, output.partition(" ")[0]}:  # `event:alarm oil_hot` and all of `event:alarm`
                makers.setdefault(wanted, set()).add(name)
    graph = {name: set().union(*(makers.get(i, ()) for i in stage.inputs)) - {name} for name, stage in stages}
    selfish = [name for name, stage in stages if stage.inputs & stage.outputs]
    if selfish:
        raise ConfigFault(f"{selfish[0]} reads itself")
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise ConfigFault(f"these need each other in a circle: {' -> '.join(error.args[1])}") from None
    by_name = dict(stages)
    return [(name, by_name[name]) for name in order]


def identities() -> Callable[[], str]:
    """Numbers for events: a random beginning for each start of the daemon, then a count."""
    beginning, count = uuid.uuid4().hex[:10], itertools.count()
    return lambda: f"{beginning}{next(count):06x}"


class Flow:
    """Takes items one at a time, lets the stages answer, routes writes, and appends what survives.

    Runs on one thread; `accept` and `tick` do not block. `write` gets each Write at once, before anything is journaled;
    `submit(job, done)` runs a Job elsewhere and calls `done(results)` back on this thread.
    """

    def __init__(
        self,
        table: TagTable,
        stages: Sequence[tuple[str, Stage]],
        sink: Sink,
        clock: Clock,
        health: Health,
        *,
        write: Callable[[Write], Iterable[Event]] = lambda write: (),
        submit: Callable[[Job, Callable[[Iterable[Any]], None]], None] | None = None,
        identify: Callable[[], str] | None = None,
        watch: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self.table, self.clock, self.health = table, clock, health
        self.stages = in_order(stages)
        self._sink, self._write, self._identify, self._watch = sink, write, identify or identities(), watch
        self._submit = submit or (lambda job, done: done(job.run()))
        self._deadband, self._late = Deadband(table), Late(table)
        self._interested = PerColumn(self._readers_of)
        self._on_events = [i for i, (_, s) in enumerate(self.stages) if any(n.startswith("event:") for n in s.inputs)]
        self._back = [partial(self._came_back, index) for index in range(len(self.stages))]
        self._due: list[int | None] = [stage.due() for _, stage in self.stages]
        self._last_snapshot = clock.mono()
        self._fallen: set[str] = set()  # stages whose last call failed
        self.samples = 0

    # What arrives

    def accept(self, item: Item) -> None:
        """One item from a source, or a command. A frame's hold passes to the flow."""
        now = self.clock.mono()
        if isinstance(item, Batch) and not item.mono:
            item = item.stamped(now)
        if isinstance(item, Batch):
            item = self._late(item)
        self._run([(0, item)])
        if isinstance(item, Frame):
            item.release()

    def tick(self) -> None:
        """Give the stages whose time has come their Tick."""
        tick = Tick(self.clock.mono(), self.clock.utc())
        ripe = [i for i, due in enumerate(self._due) if due is not None and due <= tick.mono]
        if ripe:
            self._run([], tick, ripe)
        if tick.mono - self._last_snapshot >= SNAPSHOT_EVERY:
            self.snapshot()

    def tell(self, name: str, value: Any) -> None:
        """Something for one stage, as an Answer; for none where it has no place here (any more)."""
        for index, (called, _) in enumerate(self.stages):
            if called == name:
                self._came_back(index, [Answer(value)])

    def taking(self, event: str) -> list[str]:
        """The stages that read such an event, as in `event:command normal`."""
        return [name for name, stage in self.stages if event in stage.inputs]

    def forget_times(self) -> None:
        """The clock was set: what is newest by it counts no more."""
        self._late = Late(self.table)

    def due(self) -> int:
        """Monotonic time of the next wanted tick."""
        return min((d for d in self._due if d is not None), default=self._last_snapshot + SNAPSHOT_EVERY)

    def snapshot(self) -> None:
        """Journal the state of every stage that keeps one."""
        self._last_snapshot = self.clock.mono()
        kept = {name: state for name, stage in self.stages if (state := self._snapshot_of(name, stage)) is not None}
        if kept:
            self._sink.append(snapshots=kept)

    def restore(self, states: Mapping[str, bytes]) -> None:
        for index, (name, stage) in enumerate(self.stages):
            if name in states:
                try:
                    stage.restore(states[name])
                except Exception as error:
                    log.warning("%s: its saved state does not fit and is not used: %s", name, error)
            self._due[index] = stage.due()

    # How it goes on

    def _run(self, todo: list[tuple[int, Any]], tick: Tick | None = None, ripe: Sequence[int] = ()) -> None:
        batches: list[Batch] = []
        events: list[Event] = []
        pictures: list[Picture] = []
        jobs: list[tuple[Job, Callable[[Iterable[Any]], None]]] = []
        touched: set[int] = set()
        queue: deque[tuple[int, Any]] = deque()

        def follow(index: int, results: Iterable[Any]) -> None:
            for result in results:
                if isinstance(result, (Event, Write)):
                    touched.add(index)
                queue.append((index + 1, result))

        for index in ripe:
            follow(index, self._call(index, tick))
        queue.extend(todo)
        while queue:
            index, item = queue.popleft()
            if isinstance(item, Batch):
                for i in self._interested(item.tag):
                    if i >= index:
                        follow(i, self._call(i, item))
                self.samples += len(item)
                self._watch(item)
                kept = self._deadband(item)
                if len(kept):
                    batches.append(kept)
            elif isinstance(item, Write):
                queue.extend((len(self.stages), event) for event in self._write(item))
            elif isinstance(item, Event):
                item = item if item.id and item.ts else self._identified(item)
                wanted = {f"event:{item.kind}", f"event:{item.kind} {item.key}"} if self._on_events else ()
                for i in self._on_events:
                    if i >= index and not self.stages[i][1].inputs.isdisjoint(wanted):
                        follow(i, self._call(i, item))
                events.append(item)
            elif isinstance(item, Frame):
                for i, (_, stage) in enumerate(self.stages):
                    if item.source in stage.inputs:
                        follow(i, self._call(i, item))
            elif isinstance(item, Picture):
                pictures.append(item)
            elif isinstance(item, Job):
                jobs.append((item, self._back[index - 1]))
            elif isinstance(item, Answer):
                follow(index, self._call(index, item))
        states = {self.stages[i][0]: s for i in touched if (s := self._snapshot_of(*self.stages[i])) is not None}
        if batches or events or pictures or states:
            self._sink.append(batches, events, pictures, states)
        for job, back in jobs:  # last: what comes of it stands behind what it is about
            self._submit(job, back)

    def _came_back(self, index: int, results: Iterable[Any]) -> None:
        now = self.clock.mono()
        self._run([(index, replace(r, mono=now)) if isinstance(r, Answer) else (index + 1, r) for r in results])

    def _call(self, index: int, item: Any) -> list[Any]:
        """One stage, one item. A stage that raises is counted and shown; it stops nothing else."""
        name, stage = self.stages[index]
        began = self.clock.mono()
        try:
            results = list(stage(item))
            self._due[index] = stage.due()
            if (took := self.clock.mono() - began) > BUDGET:
                self._slow(name, took)
            if name in self._fallen:
                self._fallen.remove(name)
                self.health.state(name, "running")
            return results
        except Exception as error:
            if isinstance(item, Tick):
                self._due[index] = item.mono + AFTER_FAILURE
            self._failed(name, error)
            return []

    def _slow(self, name: str, took: int) -> None:
        if not self.health.part(name).counts["over_budget"]:
            log.warning(
                "%s: took %d ms at once and held up all others; slow work belongs on the pool", name, took // 10**6
            )
            self.health.state(name, "running")
        self.health.count(name, "over_budget")

    def _failed(self, name: str, error: Exception) -> None:
        if not self.health.part(name).counts["failed"]:
            log.error("%s: this stage failed; the other rules go on", name, exc_info=error)
        self._fallen.add(name)
        self.health.count(name, "failed")
        self.health.state(name, "waiting", f"{type(error).__name__}: {error}")

    def _identified(self, event: Event) -> Event:
        ts, number = event.ts or self.clock.utc(), event.id or self._identify()
        return Event(event.kind, event.key, event.state, ts, event.severity, event.text, event.data, event.refs, number)

    def _snapshot_of(self, name: str, stage: Stage) -> bytes | None:
        try:
            state = stage.snapshot()
            if not isinstance(state, bytes | None):
                raise TypeError(f"its snapshot is {type(state).__name__}, not bytes")
            return state
        except Exception as error:
            self._failed(name, error)
            return None

    def _readers_of(self, tag: np.ndarray) -> tuple[int, ...]:
        tags = [self.table.by_id(int(i)) for i in distinct(tag[self.table.slots(tag) >= 0])]
        names = {t.name for t in tags} | {t.source for t in tags} | {"*"}
        return tuple(i for i, (_, stage) in enumerate(self.stages) if names & stage.inputs)
