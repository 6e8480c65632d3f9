"""A station on virtual time, with a PLC that keeps the handshake and cameras that answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge import Batch, Event, Frame, FramePool, Job, ManualClock, Picture, Quality, TagTable, Writable, Write
from edge.flow import Flow
from edge.health import Health
from edge.stage import Setting
from edge.tags import Tag
from models.vision.lines import TOTALS, Lines, StationConfig
from models.vision.outputs import ORDER
from models.vision.plc import Plc
from models.vision.station import ASKED, Station

MS = 1_000_000
SCAN = 20 * MS
RECIPE = """\
recipe: board {code}
views:
  top: {{camera: top, template: good.png, tools: {{copper: {{tool: template}}}}}}
{more}"""
SIDE = "  side: {camera: side, template: good.png, tools: {copper: {tool: template}}, optional: true}\n"
LINES = {"trigger", "ack", *ORDER}
NAMES = ["plc.product", "plc.part", *(f"plc.{name}" for name in sorted(LINES))]


def board(blot: bool = False, noise: int = 0) -> np.ndarray:
    image = np.full((64, 80, 3), 230, np.uint8)
    for x in range(12, 80, 16):
        cv2.line(image, (x, 8), (x, 56), (20, 20, 20), 5)
    if blot:
        cv2.circle(image, (36, 30), 4, (20, 20, 20), -1)
    image[0, 0] = noise % 256, noise // 256 % 256, 230
    return image


@dataclass
class Cell:
    """A site of one station. `look(camera, part id)` is the picture that a camera takes (None: none); `takes` ms a job."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    look: Callable[[str, int], np.ndarray | None] = lambda camera, number: board(noise=number)
    takes: int = 50
    cable: bool = True
    product: float = 7
    number: float = 500
    events: list[Event] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)  # of the station
    asked: list[tuple[str, int]] = field(default_factory=list)
    states: dict[str, bytes] = field(default_factory=dict)
    shape: tuple[int, int, int] = (64, 80, 3)
    open: frozenset[str] = frozenset({"top", "side"})  # cameras
    ahead: int = 0  # ns, the PLC's clock of ours

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        tags = [Tag(name, source="plc", writable=Writable(range=(0, 65535))) for name in NAMES]
        tags += [Tag(f"{c}.trigger", source=c, writable=Writable(range=(0, 2**31))) for c in ("top", "side")]
        said = (*TOTALS, *self.options.get("measured", {}))
        self.table = TagTable.numbered([*tags, *(Tag(f"aoi.{name}", source="aoi") for name in said)])
        self.plc = Plc(1000 * MS, memory=dict.fromkeys(ORDER, 0.0))
        self.later: list[tuple[int, Callable[[], None]]] = []
        self.pool = FramePool(self.shape, 8)
        self.frames = 0
        self.start()

    def start(self) -> None:
        """The daemon starts, with what survived."""
        lines = {name: f"plc.{name}" for name in LINES} | {"product": "plc.product", "part": "plc.part"}
        lines |= self.options.pop("plc", {})
        given = {"takt": 1.0, "recipes": {7: "a.yaml"}, **self.options}
        config = StationConfig(stage="station", plc=Lines(**{k: v for k, v in lines.items() if v}), **given)
        self.station = Station(config, Setting("aoi", self.table, self.folder, self.open))
        self.flow = Flow(
            self.table,
            [("aoi", self.station)],
            self,
            self.clock,
            Health(self.clock),
            write=self.write,
            submit=self.submit,
        )
        self.flow.restore(self.states)
        self.later = []

    def append(self, batches: Any = (), events: Any = (), pictures: Any = (), snapshots: Any = None) -> None:
        self.batches += [batch for batch in batches if batch.source == "aoi"]
        self.events += events
        self.pictures += pictures
        self.states |= snapshots or {}

    def write(self, write: Write) -> list[Event]:
        tag = self.table.by_id(write.tag)
        source, _, name = tag.name.partition(".")
        if source == "plc" and (tag.writable is None or tag.writable.why_not(write.value, tag.name)):
            return []  # refused
        if source == "plc" and self.cable:
            self.plc.memory[name] = float(write.value)
        elif source != "plc":
            number = int(write.value) - ASKED
            self.asked.append((source, number))
            self.after(30, lambda: self.shoot(source, number))
        return []

    def shoot(self, camera: str, number: int) -> None:
        image = self.look(camera, number)
        if image is not None:
            self.frames += 1
            buffer = self.pool.take()
            assert buffer is not None, "a frame was not given back"
            buffer[:] = image
            self.flow.accept(
                Frame(
                    camera,
                    self.frames,
                    self.clock.utc(),
                    buffer,
                    ASKED + number,
                    0,
                    self.pool.give,
                    self.clock.mono(),
                    {"serial": f"{camera}-17", "exposure_us": 800.0},
                )
            )

    def after(self, ms: int, do: Callable[[], None]) -> None:
        self.later.append((self.clock.mono() + ms * MS, do))

    def submit(self, job: Job, done: Callable[[Any], None]) -> None:
        due = self.clock.mono() + self.takes * MS
        late = bool(job.deadline) and due - self.takes * MS // 2 > job.deadline
        self.after(self.takes, lambda: done(job.expired() if late else job.run()))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        for _ in range(round(seconds * 1e9 / SCAN)):
            if until():
                return
            self.step()

    def step(self) -> None:
        end = self.clock.mono() + SCAN
        for at, do in sorted((x for x in self.later if x[0] <= end), key=lambda x: x[0]):
            self.later.remove((at, do))
            self.tick_to(at)
            do()
        self.tick_to(end)
        self.plc.step(self.clock.mono())
        values = {"product": self.product, "part": self.number, "trigger": self.plc.trigger, "ack": self.plc.ack}
        values |= self.plc.memory
        ids = [self.table[f"plc.{name}"].id for name in values]
        quality = Quality.GOOD if self.cable else Quality.TIMEOUT
        given = [float(v) if self.cable else np.nan for v in values.values()]
        self.flow.accept(Batch.of("plc", ids, given, self.clock.utc() + self.ahead, quality))

    def tick_to(self, mono: int) -> None:
        while (due := self.flow.due()) <= mono:
            self.clock.advance_to(due)
            self.flow.tick()
        self.clock.advance_to(mono)

    def parts(self, count: int, within: float = 30) -> list[tuple[int, str]]:
        """Wait until the PLC has so many verdicts more."""
        wanted = len(self.plc.results) + count
        self.run(within, lambda: len(self.plc.results) >= wanted)
        return self.plc.results[wanted - count : wanted]

    def began(self, number: int) -> int:
        return self.station._parts[number].began

    def told(self, kind: str) -> list[tuple[str, str]]:
        return [(event.key, event.state) for event in self.events if event.kind == kind]

    def texts(self, kind: str) -> str:
        return " | ".join(event.text for event in self.events if event.kind == kind)
