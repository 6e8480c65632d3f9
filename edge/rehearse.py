"""`lineside test`: the `tests:` of a site, run through the real flow on virtual time. No driver, no disk, no network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import plugins
from .alarms import Alarms
from .batch import Batch, Quality
from .clock import SECOND, ManualClock
from .config.site import Config, TestCase
from .event import Event, Picture, Write
from .flow import Flow
from .health import Health
from .live import Live
from .stage import Setting
from .state import state_folder
from .tags import TagTable
from .trigger import Trigger
from .virtual import layered
from .writes import Writes


def rules(config: Config, table: TagTable) -> list[tuple[str, Any]]:
    """The stages that come from `tags:`, `alarms:` and each `trigger:`. `alarms` is there without any alarm too: it clears
    those that stood when the last one left the site."""
    triggers = [
        (f"{name}.trigger", Trigger(name, table, when, getattr(part, "part", None)))
        for name, part in config.drivers.items()
        if (when := getattr(part, "trigger", None))
    ]
    return [*layered(config.virtual, table), ("alarms", Alarms(config.alarms, table)), *triggers]


@dataclass
class Kept:
    """A journal that only remembers."""

    batches: list[Batch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def append(
        self,
        batches: Sequence[Batch] = (),
        events: Sequence[Event] = (),
        pictures: Sequence[Picture] = (),
        snapshots: Mapping[str, bytes] | None = None,
    ) -> None:
        self.batches += batches
        self.events += events


@dataclass(frozen=True)
class Outcome:
    """How one test ended; `faults` is empty when it passed."""

    name: str
    faults: list[str]


def rehearse_all(config: Config) -> Iterator[Outcome]:
    """Every test of a site, then those that its stages bring along (the pictures of a recipe). Blocks."""
    for test in config.tests:
        yield rehearse(config, test)
    for name, entry in config.stages.items():
        for called, faults in entry.rehearse(config.folder):
            yield Outcome(f"{name}: {called}", faults)


def rehearse(config: Config, test: TestCase) -> Outcome:
    """Run one test to its last step plus one `every`, or to its `until`."""
    clock = ManualClock()
    table = TagTable.numbered(config.tags(period=test.every))
    kept, writes, guard = Kept(), [], Writes(table, clock)
    held: dict[int, float] = {}  # what was written last, by tag

    def write(order: Write) -> list[Event]:
        writes.append(order)
        said = guard(order)
        if said and not said[0].text.endswith("cannot write"):
            return said
        guard.written[order.tag] = clock.mono()
        held[order.tag] = _number(table, table.by_id(order.tag).name, order.value)
        return []

    live = Live(table)
    try:
        stages = rules(config, table) + [(name, _built(config, table, name)) for name in test.stages]
    except Exception as error:  # whatever a stage's own parts raise, as in the daemon
        return Outcome(test.name, [f"a stage cannot be built: {error}"])
    flow = Flow(table, stages, kept, clock, Health(clock), write=write, watch=live)
    start = clock.mono()
    steps = max(map(len, test.given.values()), default=0)
    every = round(test.every * SECOND)
    end = start + (round(test.until * SECOND) if test.until else steps * every)

    def run_to(mono: int) -> None:
        while (due := flow.due()) <= mono:
            clock.advance_to(due)
            flow.tick()
        clock.advance_to(mono)

    for step in range(steps):
        if start + step * every > end:
            break
        run_to(start + step * every)
        for source in sorted({table[name].source for name in test.given}):
            now = {n: v[step] for n, v in test.given.items() if table[n].source == source and step < len(v)}
            given = {tag: v for tag, v in held.items() if test.stages and table.by_id(tag).source == source}
            given |= {table[n].id: _number(table, n, v) for n, v in now.items() if v is not None}
            if given:
                flow.accept(Batch.of(source, list(given), list(given.values()), clock.utc(), Quality.GOOD))
    run_to(end)
    return Outcome(test.name, _compare(test, kept.events, writes, table, live))


def _built(config: Config, table: TagTable, name: str) -> Any:
    entry = config.stages[name]
    state = state_folder(config.device.id)
    setting = Setting(name, table, config.folder, frozenset(config.drivers), state, alone=True)
    return plugins.find("stages", entry.stage)(entry, setting)


def _number(table: TagTable, name: str, value: float | str) -> float:
    return table.texts.value(table[name].id, value) if isinstance(value, str) else value


def _compare(test: TestCase, events: list[Event], writes: list[Write], table: TagTable, live: Live) -> list[str]:
    faults = []
    wanted = [(w.event, w.state) for w in test.expect if w.event is not None]
    seen = [(e.key, e.state) for e in events if e.kind == "alarm" or test.is_of_stage(e.key)]
    matched = len(wanted) == len(seen) and all(
        key == k and state in (None, s) for (key, state), (k, s) in zip(wanted, seen, strict=True)
    )
    if not matched:
        faults.append(f"expected {_list(wanted)}; happened {_list(seen)}")
    orders = [(table.by_id(w.tag).name, w.value) for w in writes]
    position = 0
    for want in test.expect:
        if want.write is None:
            continue
        rest = orders[position:]
        hit = next((i for i, (n, v) in enumerate(rest) if n == want.write and want.value in (None, v)), None)
        if hit is None:
            value = "" if want.value is None else f" = {_shown(want.value)}"
            faults.append(f"expected a write {want.write}{value}; written {_list(orders)}")
        else:
            position += hit + 1
    for want in test.expect:
        if want.tag is None:
            continue
        last = live.show(want.tag)["value"]
        if not _same(last, want.value):
            faults.append(f"expected {want.tag} = {want.value} at the end, it is {last}")
    faults += [f"refused: {e.text}" for e in events if e.kind == "write" and e.state == "refused"]
    return faults


def _same(last: float | str | None, wanted: float | str | None) -> bool:
    if isinstance(last, float) and isinstance(wanted, float):
        return math.isclose(last, wanted, rel_tol=1e-9, abs_tol=1e-12)
    return last == wanted and last is not None


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _list(pairs: list[Any]) -> str:
    return ", ".join(f"{name} {state if state is not None else ''}".strip() for name, state in pairs) or "nothing"
