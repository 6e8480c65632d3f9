"""Four views of 2 MP of one part, each judged by the shipped detector and a variation model: first picture to verdict.

    python -m tests.bench.views [--parts 10] [--threads 2] [--steps]

The stage `station` with its flow, its pool and a recipe, as a line has them: four cameras of 1920 x 1080 in colour, each view
registered, judged at full resolution by `pcb-rendered` and by a model that was taught the same board, its picture stored as JPEG.
Boards are rendered; every second part has a blot in each view. CPU time is that of the whole process; two free cores take
about half of it. With `--steps` also what each step of a view takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge import Batch, Event, Frame, SystemClock, TagTable, Writable, Write, heap
from edge.flow import Flow
from edge.health import Health
from edge.stage import Setting
from edge.tags import Tag
from edge.work import Pool
from models.train.boards import drawn
from models.vision import certificate
from models.vision.judging import encoded
from models.vision.lines import TOTALS, Lines, StationConfig
from models.vision.outputs import ORDER
from models.vision.placing import RegistrationConfig
from models.vision.recipe import Recipe, load
from models.vision.station import Station
from models.vision.teaching import learn
from models.vision.variation import Allowance

HEIGHT, WIDTH, SIDES = 1080, 1920, 4
PLACE = RegistrationConfig(search=16)
VIEW = """\
  {name}:
    camera: {name}
    template: board/template.png
    registration: {{search: 16}}
    tools: {{defects: {{tool: detect, model: pcb-rendered}}, varies: {{tool: variation, model: board}}}}
"""


def board() -> np.ndarray:
    """uint8[1160, 2000]: a rendered board, larger than a picture of it."""
    drawing = drawn(np.random.default_rng(3), 2000)[400 : 400 + HEIGHT + 80]
    return cv2.convertScaleAbs(cv2.GaussianBlur(drawing, (0, 0), 1.2), alpha=0.7, beta=40)


def shot(whole: np.ndarray, seed: int, bad: bool = False) -> np.ndarray:
    """uint8[1080, 1920, 3]: up to 6 px off, light 3 % off, noise of 2 levels; a bad one with a blot of 13 px somewhere."""
    rng = np.random.default_rng([seed, 7])
    dx, dy = rng.uniform(-6, 6, 2)
    clean = whole.copy()
    if bad:
        x, y = int(rng.integers(200, WIDTH - 200)), int(rng.integers(200, HEIGHT - 200))
        cv2.circle(clean, (x + 40, y + 40), 6, 220 if clean[y + 40, x + 40] < 130 else 45, -1)
    move = np.array([[1, 0, dx - 40], [0, 1, dy - 40]], np.float32)
    seen = cv2.warpAffine(clean, move, (WIDTH, HEIGHT)).astype(np.float32) * rng.uniform(0.97, 1.03)
    seen += rng.standard_normal(seen.shape, np.float32) * 2
    return cv2.cvtColor(np.clip(seen, 0, 255).round().astype(np.uint8), cv2.COLOR_GRAY2BGR)


class Line:
    """A station whose first camera is the trigger: what it writes to a camera's trigger brings that camera's picture at once."""

    def __init__(self, folder: Path, threads: int) -> None:
        names = [f"side{k}" for k in range(SIDES)]
        (folder / "board.yaml").write_text("recipe: board\nviews:\n" + "".join(VIEW.format(name=n) for n in names))
        bits = ("ack", "valid", "result_id", "ready", "ok", "ng", "recheck")
        tags = [Tag(f"plc.{name}", source="plc", writable=Writable(range=(0, 65535))) for name in bits]
        tags += [Tag(f"{n}.trigger", source=n, writable=Writable(range=(0, 2**31))) for n in names]
        self.table = TagTable.numbered([*tags, *(Tag(f"aoi.{name}", source="aoi") for name in TOTALS)])
        self.plc = dict.fromkeys([name for name in ORDER if name in bits], 0.0)
        lines = Lines(**{name: f"plc.{name}" for name in bits})
        config = StationConfig(
            stage="station", plc=lines, starts=names[0], recipes={1: "board.yaml"}, takt=30.0, frozen=False
        )
        self.station = Station(config, Setting("aoi", self.table, folder, frozenset(names)))
        if self.station.faults:
            raise SystemExit("\n".join(self.station.faults))
        self.clock, self.images, self.seq = SystemClock(), dict[str, np.ndarray](), 0
        self.records: list[Event] = []
        self.done = asyncio.Event()
        health = Health(self.clock)
        self.pool = Pool(self.clock, health, threads)
        self.flow = Flow(
            self.table, [("aoi", self.station)], self, self.clock, health, write=self.write, submit=self.pool.submit
        )

    def append(self, batches: Any = (), events: Any = (), pictures: Any = (), snapshots: Any = None) -> None:
        self.records += [event for event in events if event.kind == "inspection"]
        if self.records:
            self.done.set()

    def write(self, write: Write) -> list[Event]:
        source, _, name = self.table.by_id(write.tag).name.partition(".")
        if source == "plc":
            self.plc[name] = float(write.value)
        else:
            asyncio.get_running_loop().call_soon(self.shoot, source, int(write.value))
        return []

    def shoot(self, camera: str, part: int | None = None) -> None:
        self.seq += 1
        now = self.clock
        self.flow.accept(Frame(camera, self.seq, now.utc(), self.images[camera], part, mono=now.mono()))

    def scan(self, ack: bool) -> None:
        values = {"ack": float(ack), **self.plc}
        ids = [self.table[f"plc.{name}"].id for name in values]
        self.flow.accept(Batch.of("plc", ids, list(values.values()), self.clock.utc(), mono=self.clock.mono()))

    async def part(self, images: list[np.ndarray]) -> tuple[Event, float, float]:
        """Its record, and wall and CPU milliseconds from its first picture to its verdict."""
        self.images = {f"side{k}": image for k, image in enumerate(images)}
        self.records, self.done = [], asyncio.Event()
        self.scan(ack=False)
        cpu, wall = time.process_time(), time.perf_counter()
        self.shoot("side0")
        try:
            await asyncio.wait_for(self.done.wait(), 60)
        except TimeoutError:
            raise SystemExit(f"no verdict within a minute; the PLC sees {self.plc}") from None
        took = (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3
        for ack in (False, True, True, False, False):  # each bit stands before it is answered
            self.scan(ack)
        return self.records[0], *took


async def judged(folder: Path, whole: np.ndarray, parts: int, threads: int) -> dict[str, Any]:
    line = Line(folder, threads)
    line.pool.start(asyncio.get_running_loop())
    states: dict[str, int] = {}
    took: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(-2, 2 * parts):  # the first two warm everything up
        bad = number % 2 == 1
        record, wall, cpu = await line.part([shot(whole, 1000 + SIDES * number + k, bad) for k in range(SIDES)])
        if number >= 0:
            took[bad].append((wall, cpu))
            key = f"{'bad' if bad else 'good'} {record.state}"
            states[key] = states.get(key, 0) + 1
    line.pool.close()
    return {"verdicts": states, "good": spread(took[False]), "bad": spread(took[True])}


def spread(took: list[tuple[float, float]]) -> dict[str, list[float]]:
    """Least, middle and 95th of a hundred, in ms."""
    columns = zip(("wall_ms", "cpu_ms"), np.array(took).T, strict=True)
    return {name: [round(float(x), 1) for x in np.percentile(column, (0, 50, 95))] for name, column in columns}


def steps(folder: Path, whole: np.ndarray) -> dict[str, float]:
    """CPU ms of one view's steps, the middle of nine."""
    recipe = load(folder / "board.yaml")
    if not isinstance(recipe, Recipe):
        raise SystemExit("\n".join(recipe.faults))
    viewer, image = next(iter(recipe.views.values())), shot(whole, 5000)
    view, _ = viewer.prepared(image)
    doing: dict[str, Callable[[], Any]] = {"prepared": lambda: viewer.prepared(image), "jpeg": lambda: encoded(image)}
    doing |= {name: (lambda tool=tool: tool(view)) for name, tool in viewer.tools.items()}  # type: ignore[misc]
    found = {}
    for name, do in doing.items():
        each = []
        for _ in range(9):
            began = time.process_time()
            do()
            each.append((time.process_time() - began) * 1e3)
        found[name] = round(float(np.median(each)), 1)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.views", description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, default=10, help="good ones, and as many with a defect")
    parser.add_argument("--threads", type=int, default=2, help="of the pool")
    parser.add_argument("--steps", action="store_true")
    options = parser.parse_args()
    heap.one()  # as `lineside run` does
    whole = board()
    with tempfile.TemporaryDirectory(prefix="views-") as name:
        folder = Path(name)
        taught = [cv2.cvtColor(shot(whole, k), cv2.COLOR_BGR2GRAY) for k in range(6)]
        lesson = learn(taught, [str(k) for k in range(6)], PLACE, Allowance())
        day, began = datetime.now(UTC), time.monotonic()
        certificate.write(folder / "board", lesson, taught, PLACE, Allowance(), day, began, str)
        found = asyncio.run(judged(folder, whole, options.parts, options.threads))
        found |= {"threads": options.threads, "load": round(os.getloadavg()[0], 1)}
        print(json.dumps(found), flush=True)
        if options.steps:
            print(json.dumps({"steps_cpu_ms": steps(folder, whole)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
