"""The stage `station`: a part arrives, its cameras are asked, its views are judged, and the PLC has its verdict within the takt.

The handshake (handshake.py), what stands in the PLC (outputs.py), which recipe judges (changeover.py) and one part (part.py) are
machines of their own; here they meet the tags, the frames and the jobs. docs/aoi-station.md tells what the PLC sees.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edge import SECOND, Answer, Batch, Event, Frame, Quality, Setting, Tick, Write

from ..quality.chain import Chain
from .changeover import Changeover
from .handshake import Handshake, Result, Told
from .judging import Judged, job
from .lines import StationConfig, Wired, nowhere, part_number, strange_codes
from .load import Load, left, order
from .masters import Masters, unknown
from .outputs import Outputs
from .part import Part
from .scanned import Scanned
from .shadow import Shadowed, Shadows
from .shelf import Shelf
from .telling import UNSEEN, event_of, load_event, overtaken
from .totals import Totals
from .watch import Watch

ASKED = 10_000_000  # on top of an inspection id: the number of a picture that a station asked for, and of no other one


class Station:
    """Batches of the PLC, frames of the cameras, answers of its jobs in; writes, jobs and one inspection event per part out.

    `faults` are the recipes that cannot be used: the station runs without them, and is not ready for their products.
    """

    Config = StationConfig

    def __init__(self, config: StationConfig, setting: Setting) -> None:
        self.config, self.name, self._table = config, setting.name, setting.table
        room_ms, there = (config.takt - config.reserve) * 1e3, config.cameras(setting.table)
        self._shelf = Shelf(config.recipes, setting.folder, room_ms, there)
        self.faults = self._shelf.faults
        if not self._shelf.refused:  # else it may stand in a recipe that is
            self.faults += nowhere(setting.name, config.measured, self._shelf.recipes.values())
        self.faults += unknown(self._shelf.recipes.values(), numbered=bool(config.plc.part))
        wired = Wired(setting.name, setting.table)
        cameras = self._shelf.cameras | ({config.starts} if config.starts else set())
        self._triggers = {name: wired.camera(name, there) for name in sorted(cameras)}
        self._totals = Totals(setting.name, setting.table, config.lot, config.measured)
        told = {f"event:{kind} {key}" for c in cameras for kind, key in (("source", c), ("write", f"{c}.trigger"))}
        self.inputs = frozenset({*config.plc.read().values(), *config.plc.written().values(), *cameras, *told})
        said = {f"{setting.name}.{name}" for name in config.points()}
        self.outputs = frozenset({*said, f"event:inspection {setting.name}"})
        self._outputs = Outputs({n: wired.tag(t) for n, t in config.plc.written().items()}, setting.name)
        names = {wired.tag(tag): name for name, tag in (config.plc.read() | config.plc.written()).items()}
        self._plc = Scanned(names, config.plc.read(), self._outputs.see)
        if config.plc.product:
            self.faults += strange_codes(config.recipes, setting.table[config.plc.product])
        self._part_done = setting.table[config.plc.part_done] if config.plc.part_done else None
        self._handshake = self._new_handshake()
        self._parts: dict[int, Part] = {}
        self._owed: list[Result] = []  # rechecks of parts that a restart overtook
        self._restored = self._met = False  # from a snapshot; the PLC, since the start
        first = str(next(iter(config.recipes)))
        self._changeover = Changeover(setting.name, self._shelf, setting.table, config.plc.product, first)
        self._watch = Watch(setting.name, cameras - setting.running, frozen=config.frozen)
        degrade, odd = order(config.degrade, self._shelf.recipes.values())
        if not self._shelf.refused:  # else it may stand in a recipe that is
            self.faults += odd
        self._load = Load(degrade)
        self._chain, self._masters, self._shadows = Chain(), Masters(setting.name, config.shifts), Shadows(setting.name)
        self._code = ""  # of the last part that was OK
        self._now = self._utc = 0
        self._clock = 0  # at the last tick, ns UTC; `_utc` may be a scan's, by the PLC's clock

    @property
    def _own_clock(self) -> int:
        """What a shift goes by, ns UTC: never the PLC's clock, except before our own has ticked."""
        return self._clock or self._utc

    def _new_handshake(self) -> Handshake:
        within = self.config.takt if self.config.ack_within is None else self.config.ack_within
        return Handshake(round(within * SECOND), round(self.config.heartbeat * SECOND))

    # The contract of a stage

    def __call__(self, item: Any) -> Iterator[Any]:
        if isinstance(item, Batch):
            yield from self._scanned(item)
        elif isinstance(item, Frame):
            yield from self._pictured(item)
        elif isinstance(item, Answer) and isinstance(item.value, Shadowed):
            yield from filter(None, [self._shadows.answered(item.value)])
        elif isinstance(item, Answer):
            self._now = max(self._now, item.mono)
            yield from self._answered(item.value)
        elif isinstance(item, Event):
            yield from self._heard(item)
        elif isinstance(item, Tick):
            self._now, self._utc, self._clock = max(self._now, item.mono), item.utc, item.utc
            yield from self._ticked()
            yield from self._totals.ended(item.utc)
        self._handshake.acquiring = any(part.waits() for part in self._parts.values())
        if self._handshake.connected:
            yield from self._masters.look(self._changeover.recipe, self._own_clock)
            shown = self._handshake.shown()
            # an old snapshot may have one that cannot be shown
            number, _ = part_number(float(shown.part_done), self._part_done)
            shown = shown._replace(interlock=self._masters.due, part_done=number)
            yield from self._outputs.write(shown, self._now)
        if not self._parts and (shadow := self._shadows.job()):
            yield shadow
        yield from self._totals.changed(self._utc, self._now)

    def due(self) -> int | None:
        return min([self._handshake.due(), *(part.due() for part in self._parts.values())])

    def snapshot(self) -> bytes | None:
        kept = {"handshake": self._handshake.snapshot(), **self._totals.snapshot(), "chain": self._chain.last}
        kept |= {"masters": self._masters.proved, "code": self._code}
        return json.dumps({"version": 1, **kept}).encode()

    def restore(self, state: bytes) -> None:
        said = json.loads(state)
        if said["version"] != 1:
            raise ValueError(f"its version is {said['version']}")
        handshake = self._new_handshake()
        owed = handshake.restore(said["handshake"])
        totals = Totals(self.name, self._table, self.config.lot, self.config.measured, said)
        self._handshake, self._owed, self._totals, self._restored = handshake, owed, totals, True
        self._chain, self._code = Chain(str(said["chain"])), str(said.get("code", ""))
        self._masters = Masters(self.name, self.config.shifts, said.get("masters"))
        self._masters.forget({recipe.digest for recipe in self._shelf.recipes.values()})

    # What arrives

    def _scanned(self, batch: Batch) -> Iterator[Any]:
        """The tags of the PLC, moment after moment; of a camera only that it is open."""
        self._now = max(self._now, batch.mono)
        if (batch.quality != Quality.BAD).any():
            yield from self._opened(batch.source)
        for utc in self._plc.moments(batch):
            self._utc = utc
            yield from self._moment(self._plc.values)

    def _moment(self, values: Mapping[str, float]) -> Iterator[Any]:
        if not self._plc.whole:
            if self._handshake.connected:
                self._outputs.forget()
                yield from self._follow(self._handshake.lost(self._now))
            return
        if not self._met:
            self._met = True
            taken = int(values.get("taken_id", values.get("result_id", 0)))
            self._owed += self._handshake.catch_up(taken, restored=self._restored)
        yield from self._paid()
        yield from self._permitted()
        part, self._handshake.doubt = None, ""
        if self.config.plc.part:
            part, self._handshake.doubt = part_number(values["part"], self._part_done)
        trigger, ack = bool(values.get("trigger", 0)), bool(values["ack"])
        told = self._handshake.plc(trigger, ack, self._now, part, standing=self._outputs.standing())
        yield from self._follow(told)

    def _pictured(self, frame: Frame) -> Iterator[Any]:
        self._now = max(self._now, frame.mono)
        yield from self._opened(frame.source)
        part = self._parts.get((frame.part or 0) - ASKED)
        if frame.source == self.config.starts:
            yield from self._permitted()
            (first, *rest) = self._handshake.take(self._now)
            yield from self._follow([first], asks=False)
            part = self._parts.get(first.id)
            yield from self._follow(rest)
            if part is not None:
                yield from self._asked(part)
        if (
            part is None
            or frame.source in part.arrived
            or (frame.mono < part.began and frame.source != self.config.starts)
        ):
            return  # of a part that has its verdict, or not of a part at all
        films, opens = frame.source in part.rounds, frame.source not in part.started
        part.started.add(frame.source)
        if not films:
            part.arrived.add(frame.source)
        keep = "none" if "pictures" in part.left_out or not opens else part.keeps(self.config.keep)
        for view in part.views(frame.source):
            if view.lasts or opens:
                part.out[view.name] += bool(view.lasts)
                told = (part.recipe.rules, part.began, part.deadline, f"{self.name} {view.name}")
                yield job(part.id, view, frame.hold(), keep, *told)

    def _answered(self, judged: Judged) -> Iterator[Any]:
        yield from self._watch.looked(judged)
        part = self._parts.get(judged.id)
        if part is None:
            return
        judged = self._watch.believed(judged)
        if judged.seen.view in part.films:
            part.films[judged.seen.view].append(judged)
            part.out[judged.seen.view] -= 1
            part.develop()
        else:
            part.judged[judged.seen.view] = judged
        if part.complete():
            yield from self._finish(part)

    def _heard(self, event: Event) -> Iterator[Any]:
        """A camera is lost or back, or did not take the picture it was asked for."""
        camera = self._watch.heard(event)
        if event.kind == "source":
            yield from self._permitted()
        asked = event.data.get("value")
        for part in list(self._parts.values()):
            waits = camera in part.cameras() and camera not in part.arrived
            if waits and (event.kind == "source" or asked == ASKED + part.id):
                part.failed[camera] = f"{camera} gives no picture: {event.text}"
                if part.complete():
                    yield from self._finish(part)

    def _ticked(self) -> Iterator[Any]:
        yield from self._paid()
        for part in list(self._parts.values()):
            for camera in part.asks(self._now):
                yield self._ask(part, camera)
            part.develop()
            if part.deadline <= self._now or part.complete():
                yield from self._finish(part)
        yield from self._follow(self._handshake.tick(self._now))

    # What follows

    def _permitted(self) -> Iterator[Event]:
        """Whether parts can be judged now, and by which recipe; told when it changes."""
        yield from self._changeover.look(self._plc.values.get("product"), self._watch.away)
        self._handshake.permit(self._changeover.why, self._changeover.checksum)

    def _opened(self, camera: str) -> Iterator[Event]:
        """A camera is open: `ready` waits for no further word of a PLC that speaks only when something changes."""
        if self._watch.opened(camera) and self._plc.whole:
            yield from self._permitted()

    def _follow(self, told: Iterable[Told], *, asks: bool = True) -> Iterator[Any]:
        for one in told:
            if one.what == "taken":
                part = self._begin(one.id)
                if asks:
                    yield from self._asked(part)
            elif one.what == "refused":
                self._totals.refused()
            before = "the part before is still before its cameras" if self._handshake.acquiring else ""
            why = self._handshake.why_not_ready or before or self._handshake.doubt or UNSEEN
            if event := event_of(self.name, one, why):
                yield event

    def _begin(self, number: int) -> Part:
        recipe = self._changeover.recipe
        assert recipe is not None
        deadline = self._now + round((self.config.takt - self.config.reserve) * SECOND)
        given = self._handshake.part_of(number)
        wanted = tuple(self._masters.wanted(recipe, self._own_clock))
        out = [
            name for name in self._load.given_up if name == "pictures" or not wanted
        ]  # masters prove the whole recipe
        left_out = tuple(name for name in out if name == "pictures" or name in recipe.views.keys() - left(recipe, out))
        part = Part(number, given, recipe, self._now, self._utc, deadline, left_out, wanted)
        part.numbered = bool(self.config.plc.part)
        self._parts[number] = part
        return part

    def _asked(self, part: Part) -> Iterator[Write]:
        """The cameras of a part take their pictures; the frame carries the inspection id back."""
        part.roll()
        for camera in part.cameras():
            if camera != self.config.starts:
                yield self._ask(part, camera)

    def _ask(self, part: Part, camera: str) -> Write:
        return Write(self._triggers[camera], float(ASKED + part.id), expires=part.deadline, cause=self.name, quiet=True)

    def _finish(self, part: Part) -> Iterator[Any]:
        del self._parts[part.id]
        part.masters = tuple(dict.fromkeys((*part.masters, *self._masters.wanted(part.recipe, self._own_clock))))
        decision = part.decide(self._code)
        if self.config.keep == "ng":
            part.clear(decision.state)
        if self.config.keep != "none":
            yield from (shot.picture for shot in part.judged.values() if shot.picture)
        record = part.record(self.name, decision, self._now)
        if part.is_master:
            yield record  # no part of the line: it counts nowhere
            yield from self._masters.judged(part, record.state, self._own_clock)
        else:
            self._totals.part(decision.state, decision.measured)
            self._code = part.code if decision.state == "ok" and part.code else self._code
            record = self._chain.link(record)
            yield record
            self._shadows.offer(record, part)
        result = Result(part.id, part.number, decision.state, part.recipe.checksum)
        yield from self._follow(self._handshake.judged(result, self._now))
        share = (self._now - part.began) / (part.deadline - part.began)
        if step := self._load.saw(share if part.complete() else 1.0):
            yield load_event(self.name, step, self._load.given_up)

    def _paid(self) -> Iterator[Event]:
        """The records of parts that were under way when the station ended."""
        owed, self._owed = self._owed, []
        for result in owed:
            self._totals.part("recheck", {})
            yield self._chain.link(overtaken(self.name, result, self._utc))
