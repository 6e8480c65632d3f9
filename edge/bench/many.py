"""`load_10k`, `memory_10k` and `grid`: many tags, and many devices of which some are dead."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import tempfile
import time
from pathlib import Path

import numpy as np

from ..commands.export import batches
from ..records import journal_of
from . import small
from .process import cpu, free_port, running, wait_for
from .stack import stack

TAGS, UNITS = 10_000, 4
DEVICES, DEAD, EVERY = 100, 5, 1.0


def site_10k(port: int) -> str:
    """10,000 int16 tags in four units of one device, ten times a second."""
    lines = ["device: {id: bench}", "drivers:", "  plc:", "    driver: modbus", f"    url: tcp://127.0.0.1:{port}"]
    lines += ["    every: 100ms", "    in_flight: 16", "    units:"]
    for unit in range(1, UNITS + 1):
        tags = (f'          t{i}: {{address: "holding:{i}", type: int16}}' for i in range(TAGS // UNITS))
        lines += [f"      u{unit}:", f"        unit: {unit}", "        tags:", *tags]
    lines += ["simulate:", *(f"  plc.u1.t{i}: {{mean: 500, swing: 300, period: 20s}}" for i in range(20))]
    return "\n".join([*lines, ""])


def load_10k(options: argparse.Namespace) -> dict[str, object]:
    """Share of one core that 10,000 tags at 10 Hz take, journaled and acknowledged. Baseline: ten times the share of the same tags
    at 1 Hz."""
    shares = {}
    for every in ("100ms", "1s"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            text = site_10k(free_port()).replace("every: 100ms", f"every: {every}") + 'sync: {url: "{url}"}\n'
            simulated = folder / "sim.yaml"
            simulated.write_text(text.replace("{url}", "https://127.0.0.1:1"))
            with running("sim", simulated, log=folder / "sim.log"), stack(folder, text) as it:
                time.sleep(5)
                seconds = options.seconds or 20
                used = cpu(it.pid)
                time.sleep(seconds)
                shares[every] = (cpu(it.pid) - used) / seconds
    value, baseline = shares["100ms"], 10 * shares["1s"]
    return {"bench": "load_10k", "value": value, "unit": "cores", "baseline": baseline, "ratio": value / baseline}


def memory_10k(options: argparse.Namespace) -> dict[str, object]:
    return small.memory(options, "memory_10k", site_10k(free_port()))


def grid(options: argparse.Namespace) -> dict[str, object]:
    """p99 of how late the samples of 95 devices come that are read once a second while five others accept and never answer, in
    ms against their own grid. Baseline: the same 95 timers with nothing to do."""
    ports = [free_port() for _ in range(DEVICES)]
    drivers = [
        f"  d{i}: {{driver: modbus, url: tcp://127.0.0.1:{port}, every: {EVERY:g}s, timeout: 500ms,"
        ' tags: {a: {address: "holding:0"}, b: {address: "holding:1"}}}'
        for i, port in enumerate(ports)
    ]
    text = "\n".join(["device: {id: bench}", "journal: {block: 5s}", "drivers:", *drivers, ""])
    alive = "\n".join(["device: {id: bench}", "drivers:", *drivers[DEAD:], ""])
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as until_end:
        folder = Path(name)
        for port in ports[:DEAD]:
            until_end.enter_context(socket.create_server(("127.0.0.1", port)))
        (folder / "sim.yaml").write_text(alive)
        until_end.enter_context(running("sim", folder / "sim.yaml", log=folder / "sim.log"))
        wait_for(lambda: b"all devices" in (folder / "sim.log").read_bytes(), 60, "the devices' start")
        (folder / "site.yaml").write_text(text)
        with running("run", folder / "site.yaml", "--state", folder / "state", log=folder / "run.log"):
            time.sleep(options.seconds or 30)
        late = lateness(folder / "state" / "journal.db")
    baseline = asyncio.run(_timers(10))
    value = float(np.percentile(late, 99)) * 1000
    return {"bench": "grid", "value": value, "unit": "ms", "baseline": baseline, "ratio": value / baseline}


def lateness(journal: Path) -> np.ndarray:
    """Seconds that each good sample came after its slot; the grid of a source is that of its earliest slot, start-up left out."""
    found: dict[str, list[np.ndarray]] = {}
    for batch in batches(journal_of(journal)):
        found.setdefault(batch.source, []).append(batch.ts[batch.quality == 0])
    out = []
    for parts in found.values():
        ts = np.unique(np.concatenate(parts)) / 1e9
        if len(ts) > 5:
            phase = (ts[5:] - ts[5]) % EVERY
            phase = np.where(phase > EVERY / 2, phase - EVERY, phase)
            out.append(phase - phase.min())
    return np.concatenate(out)


async def _timers(seconds: float) -> float:
    """p99 in ms of how late 95 timers wake that have nothing to do."""
    late: list[float] = []
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def one() -> None:
        for k in range(1, round(seconds / EVERY) + 1):
            await asyncio.sleep(start + k * EVERY - loop.time())
            late.append(loop.time() - start - k * EVERY)

    await asyncio.gather(*(one() for _ in range(DEVICES - DEAD)))
    return float(np.percentile(late, 99)) * 1000
