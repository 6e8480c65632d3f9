"""The stage `station`: a part arrives, its cameras are asked, its views are judged, and the PLC has its verdict within the takt.

The handshake (handshake.py), what stands in the PLC (outputs.py), the recipes (shelf.py) and one part (part.py) are machines of
their own; here they meet the tags, the frames and the jobs. docs/aoi-station.md tells what the PLC sees.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from edge import SECOND, TRUSTED, Answer, Batch, ConfigFault, Event, Frame, Job, Quality, Setting, Tick, Write

from ..quality.chain import Chain
from .handshake import Handshake, Result, Told
from .lines import TOTALS, StationConfig
from .masters import Masters
from .outputs import Outputs
from .part import Judged, Load, Part, given_up, judge, missing
from .recipe import Recipe
from .shadow import Shadowed, Shadows
from .shelf import Shelf
from .view import Viewer
from .watch import Watch

ASKED = 10_000_000  # on top of an inspection id: the number of a picture that a station asked for, and of no other one
WORDS = {
    "lost": "the PLC does not answer; verdicts wait",
    "unacked": "a verdict stands without its acknowledgement",
    "ack_stuck": "the acknowledgement does not fall; the next verdict waits",
    "full": "eight parts are under way or wait for their acknowledgement; no trigger is taken",
}


class Station:
    """Batches of the PLC, frames of the cameras, answers of its jobs in; writes, jobs and one inspection event per part out.

    `faults` are the recipes that cannot be used: the station runs without them, and is not ready for their products.
    """

    Config = StationConfig

    def __init__(self, config: StationConfig, setting: Setting) -> None:
        self.config, self.name, self._table = config, setting.name, setting.table
        self._shelf = Shelf(config.recipes, setting.folder, (config.takt - config.reserve) * 1e3)
        self.faults = self._shelf.faults
        if not config.plc.part and any(recipe.masters for recipe in self._shelf.recipes.values()):
            self.faults.append("master samples are known by their part numbers: add `plc: {part: TAG}`")
        cameras = self._shelf.cameras | ({config.starts} if config.starts else set())
        self._triggers = {name: self._tag(f"{name}.trigger") for name in sorted(cameras)}
        self._names = {self._tag(tag): name for name, tag in (config.plc.read() | config.plc.written()).items()}
        self._numbers = np.array(sorted(self._names), np.int32)
        self._totals = {name: self._tag(f"{setting.name}.{name}") for name in TOTALS}
        told = {f"event:{kind} {key}" for c in cameras for kind, key in (("source", c), ("write", f"{c}.trigger"))}
        self.inputs = frozenset({*config.plc.read().values(), *config.plc.written().values(), *cameras, *told})
        self.outputs = frozenset({f"{setting.name}.{name}" for name in TOTALS} | {f"event:inspection {setting.name}"})
        self._outputs = Outputs({n: self._tag(t) for n, t in config.plc.written().items()}, setting.name)
        self._handshake = self._new_handshake()
        self._values: dict[str, float] = {}
        self._parts: dict[int, Part] = {}
        self._owed: list[Result] = []  # rechecks of parts that a restart overtook
        self._restored = self._met = False  # from a snapshot; the PLC, since the start
        self._recipe: Recipe | None = None
        self._said: str | None = None  # why it is not ready, as an event told it
        self._watch = Watch(setting.name, frozen=config.frozen)
        self._load = Load(self._order())
        self._counts = dict.fromkeys(TOTALS, 0)
        self._chain, self._masters, self._shadows = Chain(), Masters(), Shadows(setting.name)
        self._now = self._utc = 0

    def _tag(self, name: str) -> int:
        if name not in self._table:
            hint = "a camera that this site does not have" if name.endswith(".trigger") else ""
            raise ConfigFault(f"{self.name}: no tag is called {name!r}", hint=hint)
        return self._table[name].id

    def _new_handshake(self) -> Handshake:
        within = self.config.takt if self.config.ack_within is None else self.config.ack_within
        return Handshake(round(within * SECOND), round(self.config.heartbeat * SECOND))

    def _order(self) -> list[str]:
        """What may be given up; what no recipe calls optional is a fault, unless it stands in one that is refused."""
        optional = {v.name for recipe in self._shelf.recipes.values() for v in recipe.views.values() if v.optional}
        odd = [name for name in self.config.degrade if name != "pictures" and name not in optional]
        if odd and not self.faults:
            known = ", ".join(["pictures", *sorted(optional)])
            self.faults.append(f"degrade: {odd[0]!r} cannot be given up; there are {known}")
        return [name for name in self.config.degrade if name not in odd]

    # The contract of a stage

    def __call__(self, item: Any) -> Iterator[Any]:
        before = dict(self._counts)
        if isinstance(item, Batch):
            yield from self._scanned(item)
        elif isinstance(item, Frame):
            yield from self._pictured(item)
        elif isinstance(item, Answer) and isinstance(item.value, Shadowed):
            yield from filter(None, [self._shadows.answered(item.value)])
        elif isinstance(item, Answer):
            yield from self._answered(item.value)
        elif isinstance(item, Event):
            yield from self._heard(item)
        elif isinstance(item, Tick):
            self._now, self._utc = max(self._now, item.mono), item.utc
            yield from self._ticked()
        self._handshake.acquiring = any(part.waits() for part in self._parts.values())
        if self._handshake.connected:
            shown = self._handshake.shown()._replace(interlock=bool(self._wanted()))
            yield from self._outputs.write(shown, self._now)
        if not self._parts and (job := self._shadows.job()):
            yield job
        if self._counts != before:
            numbers = list(self._totals.values())
            yield Batch.of(
                self.name, numbers, [float(self._counts[n]) for n in self._totals], self._utc, mono=self._now
            )

    def due(self) -> int | None:
        return min([self._handshake.due(), *(part.due() for part in self._parts.values())])

    def snapshot(self) -> bytes | None:
        kept = {"handshake": self._handshake.snapshot(), "counts": self._counts, "chain": self._chain.last}
        kept["masters"] = self._masters.proved
        return json.dumps({"version": 1, **kept}).encode()

    def restore(self, state: bytes) -> None:
        said = json.loads(state)
        if said["version"] != 1:
            raise ValueError(f"its version is {said['version']}")
        handshake = self._new_handshake()
        owed, counts = handshake.restore(said["handshake"]), {n: int(said["counts"].get(n, 0)) for n in TOTALS}
        self._handshake, self._owed, self._counts, self._restored = handshake, owed, counts, True
        self._chain = Chain(str(said["chain"]))
        known = {recipe.digest for recipe in self._shelf.recipes.values()}
        proved = {
            d: {int(n): int(utc) for n, utc in each.items()}
            for d, each in said.get("masters", {}).items()
            if d in known
        }
        self._masters = Masters(proved)

    # What arrives

    def _scanned(self, batch: Batch) -> Iterator[Any]:
        """The tags of the PLC, moment after moment."""
        mine = np.isin(batch.tag, self._numbers) & (batch.quality != Quality.LATE)
        self._now = max(self._now, batch.mono)
        for ts in np.unique(batch.ts[mine]):
            now = mine & (batch.ts == ts)
            self._utc = int(ts)
            yield from self._moment(batch.tag[now], batch.value[now], batch.quality[now])

    def _moment(self, tags: np.ndarray, values: np.ndarray, qualities: np.ndarray) -> Iterator[Any]:
        asked = self.config.plc.read()
        for tag, value, quality in zip(tags.tolist(), values.tolist(), qualities.tolist(), strict=True):
            name = self._names[tag]
            if quality > TRUSTED:
                self._values.pop(name, None)
            else:
                self._values[name] = value
                self._outputs.see(name, value)
        if not self._values.keys() >= asked.keys():
            if self._handshake.connected:
                self._outputs.forget()
                yield from self._follow(self._handshake.lost(self._now))
            return
        if not self._met:
            self._met = True
            taken = int(self._values.get("taken_id", self._values.get("result_id", 0)))
            self._owed += self._handshake.catch_up(taken, restored=self._restored)
        yield from self._paid()
        yield from self._permitted()
        part = round(self._values["part"]) if "part" in asked else None
        trigger, ack = bool(self._values.get("trigger", 0)), bool(self._values["ack"])
        told = self._handshake.plc(trigger, ack, self._now, part, standing=self._outputs.standing())
        yield from self._follow(told)

    def _pictured(self, frame: Frame) -> Iterator[Any]:
        self._now = max(self._now, frame.mono)
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
        keep = "none" if "pictures" in self._load.given_up or not opens else self.config.keep
        for view in part.views(frame.source):
            if view.lasts or opens:
                part.out[view.name] += bool(view.lasts)
                yield self._job(part, view, frame.hold(), keep)

    def _job(self, part: Part, view: Viewer, frame: Frame, keep: str) -> Job:
        number = part.id
        return Job(
            lambda: [Answer(judge(number, view, frame, keep, part.began))],
            lambda: [Answer(given_up(number, view, frame))],
            part.deadline,
            f"{self.name} {view.name}",
        )

    def _answered(self, judged: Judged) -> Iterator[Any]:
        yield from self._watch.looked(judged)
        part = self._parts.get(judged.id)
        if part is None:
            return
        if judged.camera in self._watch.hanging:
            told = f"{judged.camera} shows the same picture as for the part before: it hangs"
            judged = Judged(
                judged.id, judged.camera, missing(judged.seen.view, told), judged.check, judged.frame, judged.ts
            )
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
        camera = event.key.removesuffix(".trigger") if event.kind == "write" else event.key
        if event.kind == "source":
            self._watch.away.pop(camera, None)
            if event.state == "lost":
                self._watch.away[camera] = event.text
            yield from self._permitted()
        elif event.state not in ("failed", "refused", "superseded"):
            return
        if event.kind == "source" and event.state != "lost":
            return
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
        code = self._product()
        why = "the PLC has not said which product" if code is None else self._shelf.why_not(code)
        self._recipe = None if why or code is None else self._shelf.recipes[code]
        if self._recipe is not None:
            lost = [camera for camera in self._recipe.cameras if camera in self._watch.away]
            why = f"{lost[0]} is lost: {self._watch.away[lost[0]]}" if lost else ""
        self._handshake.permit(why, self._recipe.checksum if self._recipe else 0)
        said = why or f"ready for {self._recipe.name if self._recipe else ''}, recipe {self._handshake.shown().recipe}"
        if said == self._said:
            return
        self._said = said
        data = {"product": code, "digest": self._recipe.digest if self._recipe else ""}
        if code in self._shelf.certificates:
            data["takt"] = str(self._shelf.certificates[code])
        yield Event("station", self.name, "not_ready" if why else "ready", 0, "high" if why else "info", said, data)

    def _product(self) -> str | None:
        """The code that chooses the recipe; None before the PLC has said one."""
        if not self.config.plc.product:
            return str(next(iter(self.config.recipes)))
        value = self._values.get("product")
        if value is None or value != value:
            return None
        if self._table[self.config.plc.product].type == "text":
            return self._table.texts.show(value)
        return f"{value:.15g}"

    def _follow(self, told: Iterable[Told], *, asks: bool = True) -> Iterator[Any]:
        for what, number, state in told:
            if what == "taken":
                part = self._begin(number)
                if asks:
                    yield from self._asked(part)
            elif what == "refused":
                self._counts["refused"] += 1
                before = "the part before is still before its cameras" if self._handshake.acquiring else ""
                why = self._handshake.why_not_ready or before or "it rose while `ready` was low, or unseen"
                text = f"a trigger was refused: {why}"
                yield Event("handshake", f"{self.name}.refused", "refused", 0, "medium", text)
            elif what in ("raised", "cleared"):
                severity = "high" if what == "raised" else "info"
                text = WORDS[state] if what == "raised" else f"over: {WORDS[state]}"
                yield Event("handshake", f"{self.name}.{state}", what, 0, severity, text, {"result_id": number})

    def _begin(self, number: int) -> Part:
        assert self._recipe is not None
        deadline = self._now + round((self.config.takt - self.config.reserve) * SECOND)
        given = self._handshake.part_of(number)
        left_out = tuple(name for name in self._load.given_up if name in self._recipe.views)
        part = Part(number, given, self._recipe, self._now, self._utc, deadline, left_out, tuple(self._wanted()))
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
        decision = part.decide()
        if self.config.keep != "none":
            yield from (shot.picture for shot in part.judged.values() if shot.picture)
        record = part.record(self.name, decision, self._now)
        if part.is_master:
            yield from self._proved(part, record)
        else:
            self._count(decision.state)
            record = self._chain.link(record)
            yield record
            self._shadows.offer(record, part)
        result = Result(part.id, part.number, decision.state, part.recipe.checksum)
        yield from self._follow(self._handshake.judged(result, self._now))
        share = (self._now - part.began) / (part.deadline - part.began)
        if step := self._load.saw(share if part.complete() else 1.0):
            given_up = ", ".join(self._load.given_up) or "nothing"
            text = f"verdicts come {'late' if step > 0 else 'in time again'}; given up: {given_up}"
            yield Event("station", self.name, "degraded" if step > 0 else "restored", 0, "medium", text)

    def _wanted(self) -> list[int]:
        """Master samples that have to be shown before parts of this recipe are judged."""
        return self._masters.wanted(self._recipe.masters, self._recipe.digest, self._utc) if self._recipe else []

    def _proved(self, part: Part, record: Event) -> Iterator[Event]:
        """A master sample was judged: what that proves. It is no part of the line, and counts nowhere."""
        assert part.recipe.masters is not None
        yield record
        recipe, known = part.recipe, part.recipe.masters
        if not self._masters.judged(known, recipe.digest, part.number, record.state, self._utc):
            text = f"master sample {part.number} is {known.parts[part.number]}, and was judged {record.state}: no part is judged"
            yield Event("station", self.name, "interlock", 0, "high", text)
        elif not self._masters.wanted(known, recipe.digest, self._utc):
            yield Event(
                "station", self.name, "proved", text=f"all master samples of {recipe.name} were judged as they should"
            )

    def _count(self, state: str) -> None:
        self._counts["parts"] += 1
        self._counts[state] += 1

    def _paid(self) -> Iterator[Event]:
        """The records of parts that were under way when the station ended."""
        owed, self._owed = self._owed, []
        for result in owed:
            self._count("recheck")
            data = {"part": result.part, "inspection": result.id, "label": "", "score": 0.0, "boxes": []}
            text = "the station ended before it was judged"
            yield self._chain.link(Event("inspection", self.name, "recheck", self._utc, "low", text, data))
