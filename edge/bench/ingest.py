"""`ingest`: 1,000 tags in 125-register blocks over Modbus TCP, one limit alarm a tag, no deadband, every value journaled durable
and acknowledged by a plane on the same machine; values per CPU-second of the daemon with its children.

Every tag is read a thousand times a second, since the loops beside it run as fast as they can too: a process that is woken seldom
pays for each waking (at 2 ms a third more for the same values). Eight tags move by a quantised random walk, the rest by noise of
one step. The baseline is a bare loop that sends the same
requests over one socket and turns the answers into arrays: it keeps, checks and judges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .. import plugins
from ..config.load import load_text
from .process import cpu, free_port, running, wait_for
from .stack import stack

TAGS, MOVING, SCANS = 1000, 8, 4096
EVERY = 0.001


def site(port: int, kind: str, every: str = "1ms") -> str:
    width = 2 if kind == "float32" else 1
    tags = "\n".join(f'      t{i}: {{address: "holding:{i * width}", type: {kind}}}' for i in range(TAGS))
    alarms = "\n".join(f'  a{i}: {{when: "plc.t{i} > 30000"}}' for i in range(TAGS))
    return (
        f"device: {{id: bench}}\ndrivers:\n  plc:\n    driver: modbus\n    url: tcp://127.0.0.1:{port}\n    every: {every}\n"
        f'    in_flight: 16\n    tags:\n{tags}\nalarms:\n{alarms}\nsync: {{url: "{{url}}"}}\n'
    )


def signals(scans: int = SCANS) -> np.ndarray:
    """int64[scans, 1000]: what the tags read, scan by scan."""
    rng = np.random.default_rng(1)
    values = 1000 + rng.integers(-1, 2, (scans, TAGS))
    values[:, :MOVING] = 5000 + np.cumsum(rng.integers(-3, 4, (scans, MOVING)), axis=0)
    return values


def words_of(values: np.ndarray, kind: str) -> np.ndarray:
    """The holding registers of each scan, uint16[scans, registers]."""
    if kind == "float32":
        return (values / 10).astype(">f4").view(">u2").astype(np.uint16)
    return values.astype(np.int16).view(np.uint16)


async def serve(port: int, kind: str) -> None:
    """The device: its registers step to the next scan at every millisecond, for ever."""
    part = load_text(site(port, kind)).drivers["plc"]
    sim = plugins.find("sims", "modbus")("plc", part)
    rows = words_of(signals(), kind)
    memory = sim.units[1].words["holding"]
    await sim.start()
    loop = asyncio.get_running_loop()
    start, step = loop.time(), 0
    while True:
        memory[: rows.shape[1]] = rows[step % len(rows)]
        step = max(step + 1, round((loop.time() - start) / EVERY))
        await asyncio.sleep(max(0.0, start + step * EVERY - loop.time()))


@contextmanager
def device(folder: Path, kind: str) -> Iterator[int]:
    port = free_port()
    with running("bench", "serve", "--port", str(port), "--type", kind, log=folder / "sim.log"):
        wait_for(lambda: _connects(port), 20, "the simulated device's start")
        yield port


def _connects(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def bare(port: int, kind: str, seconds: float = 5.0) -> float:
    """Values per CPU-second of the bare loop."""
    registers = TAGS * (2 if kind == "float32" else 1)
    starts = range(0, registers, 125)
    counts = [min(125, registers - s) for s in starts]
    requests = b"".join(struct.pack(">HHHBBHH", i, 0, 6, 1, 3, s, counts[i]) for i, s in enumerate(starts))
    size = sum(9 + 2 * n for n in counts)
    scans, began = 0, time.process_time()
    with socket.create_connection(("127.0.0.1", port)) as line:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            line.sendall(requests)
            answer = b""
            while len(answer) < size:
                answer += line.recv(65536)
            np.frombuffer(answer[9 : 9 + 2 * counts[0]], ">u2").astype(np.float64)
            scans += 1
    return scans * TAGS / (time.process_time() - began)


def measure(options: argparse.Namespace, kind: str = "int16") -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name, device(folder := Path(name), kind) as port:
        baseline = bare(port, kind)
        with stack(folder, site(port, kind)) as it:
            time.sleep(5)
            before, used = it.status()["durable"], cpu(it.pid)
            time.sleep(options.seconds or 30)
            now = it.status()
            wait_for(lambda: it.status()["durable"] >= now["samples"], 30, "everything durable")
            value = (now["samples"] - before) / (cpu(it.pid) - used)
    suffix = "_float32" if kind == "float32" else ""
    unit = "values/cpu_s"
    return {"bench": f"ingest{suffix}", "value": value, "unit": unit, "baseline": baseline, "ratio": value / baseline}
