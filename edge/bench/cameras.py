"""`pipeline`, `memory_opcua` and `memory_camera`: what needs parts that are found by name."""

from __future__ import annotations

import argparse
import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..clock import SystemClock
from ..config.load import load_text
from ..errors import LinesideError
from ..flow import Flow
from ..frame import Frame
from ..health import Health
from ..stage import Setting
from ..tags import TagTable
from ..work import Pool
from .process import free_port
from .small import memory

FRAMES = 64
TURNS = 10  # in turns, so that both see the same machine
UNDER_WAY = 16  # `buffers` of a fast camera

OPCUA = """device: {{id: bench}}
drivers:
  plc: {{driver: modbus, url: "tcp://127.0.0.1:{modbus}", every: 100ms, tags: {{a: {{address: "holding:0"}}}}}}
  oven: {{driver: opcua, url: "opc.tcp://127.0.0.1:{opcua}", every: 200ms, tags: {{{tags}}}}}
simulate: {{oven.t0: {{mean: 70, swing: 20, period: 10s}}, plc.a: {{mean: 70, swing: 20, period: 10s}}}}
"""
CAMERA = """device: {{id: bench}}
drivers:
  top: {{driver: camera, url: "http://127.0.0.1:{port}/top", every: 500ms}}
stages: {{washer: {{stage: inspect, camera: top, model: washer, keep: ng}}}}
simulate: {{top.trigger: {{mean: 1, ramp: 1, period: 1s}}}}
"""


def memory_opcua(options: argparse.Namespace) -> dict[str, object]:
    tags = ", ".join(f't{i}: {{node: "ns=2;s=T{i}"}}' for i in range(20))
    return memory(options, "memory_opcua", OPCUA.format(modbus=free_port(), opcua=free_port(), tags=tags))


def memory_camera(options: argparse.Namespace) -> dict[str, object]:
    return memory(options, "memory_camera", CAMERA.format(port=free_port()))


def pipeline(options: argparse.Namespace) -> dict[str, object]:
    """Preloaded frames a second through flow, pool and inspection stage to the event, with one model on one thread.
    Baseline: a bare loop of the same prepare, invoke and verdict on the same preloaded frames."""
    render = plugins.find("sims", "parts").render
    images = [render(k) for k in range(FRAMES)]
    config = load_text(CAMERA.format(port=1)).stages["washer"].model_copy(update={"keep": "none"})
    stage = plugins.find("stages", "inspect")(config, Setting("washer", TagTable(), Path(".")))
    seconds = (options.seconds or 20) / 2 / TURNS
    turns = [(asyncio.run(_through(stage, images, seconds)), _bare(stage, images, seconds)) for _ in range(TURNS)]
    value, baseline = (float(np.median(rates)) for rates in zip(*turns, strict=True))
    ratio = float(np.median([flow / bare for flow, bare in turns]))
    return {"bench": "pipeline", "value": value, "unit": "frames/s", "baseline": baseline, "ratio": ratio}


def _bare(stage: Any, images: list[np.ndarray], seconds: float) -> float:
    """The stage's own job on one thread, with nothing around it."""
    n, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        frame = Frame("top", n, 10**18, images[n % FRAMES], n, mono=1)
        for job in stage(frame):
            job.run()
        frame.release()
        n += 1
    return n / (time.perf_counter() - began)


class _Counted:
    """A journal that counts, and says that something came."""

    def __init__(self) -> None:
        self.events, self.unjudged, self.came = 0, 0, asyncio.Event()

    def append(self, batches: Any = (), events: Any = (), pictures: Any = (), snapshots: Any = None) -> None:
        self.events += len(events)
        self.unjudged += sum(not event.data["took_ms"] for event in events)
        self.came.set()


async def _through(stage: Any, images: list[np.ndarray], seconds: float) -> float:
    """The same through flow and pool, `UNDER_WAY` frames at once."""
    clock, loop = SystemClock(), asyncio.get_running_loop()
    health = Health(clock)
    pool = Pool(clock, health, 1)
    pool.start(loop)
    flow = Flow(TagTable(), [("washer", stage)], kept := _Counted(), clock, health, submit=pool.submit)
    free = list(range(UNDER_WAY))
    givers = [partial(lambda slot, _: free.append(slot), slot) for slot in free]
    n, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        while free:
            slot = free.pop()
            flow.accept(Frame("top", n, clock.utc(), images[n % FRAMES], n, 0, givers[slot], clock.mono()))
            n += 1
        kept.came.clear()
        await kept.came.wait()
    while kept.events < n:
        kept.came.clear()
        await kept.came.wait()
    took = time.perf_counter() - began
    pool.close()
    if kept.unjudged:
        raise LinesideError("frames were not judged", hint="is the extra vision installed?")
    return n / took


BENCHES = {"pipeline": pipeline, "memory_opcua": memory_opcua, "memory_camera": memory_camera}
