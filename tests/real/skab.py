"""Recorded pump-rig runs (SKAB), served as Modbus registers row by row, and the judgement of the alarms they raise."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from drivers.modbus.sim import ModbusSim
from edge.config.load import load_text
from models.benchmarks.skab import SIGNALS
from models.benchmarks.skab import read as recorded

GRACE_MS = 60_000
FIRST = 6  # registers of the row number (2) and the recorded time (4) before the values


def slug(name: str) -> str:
    return name.lower().replace(" ", "_")


@dataclass
class Recording:
    """One file: `stamp` int64[n] (ms UTC), `value` float64[n, 8], `anomaly` bool[n]."""

    name: str
    stamp: np.ndarray
    value: np.ndarray
    anomaly: np.ndarray

    def faults(self) -> list[tuple[int, int]]:
        """(first, last) stamp of each run of anomaly=1."""
        edges = np.flatnonzero(np.diff(np.concatenate(([0], self.anomaly.astype(np.int8), [0]))))
        return [(int(self.stamp[a]), int(self.stamp[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def read(path: Path) -> Recording:
    one = recorded(path, path.parents[1])
    return Recording(
        f"{path.parent.name}_{path.stem}", (one.seconds * 1000).round().astype(np.int64), one.value, one.anomaly
    )


def entry(recording: Recording, port: int, rate: float) -> str:
    """The driver entry of one recording: everything in one contiguous block, read twice as often as rows come."""
    name = recording.name
    lines = [
        f"  {name}:",
        "    driver: modbus",
        f"    url: tcp://127.0.0.1:{port}",
        f"    every: {1000 / rate / 2:g}ms",
    ]
    lines += ['    time: {address: "holding:2", type: unix_ms}', "    tags:"]
    lines += ['      row: {address: "holding:0", type: uint32}']
    for i, channel in enumerate(SIGNALS):
        lines.append(f'      {slug(channel)}: {{address: "holding:{FIRST + 4 * i}", type: float64}}')
    return "\n".join(filter(None, lines))


def lamp(recording: Recording, port: int) -> str:
    """The output that the alarm switches: a second small device, so that the recorded block stays one read request."""
    tags = 'lamp: {address: "coil:0", writable: {range: [0, 1]}}'
    return f"  {recording.name}_out: {{driver: modbus, url: 'tcp://127.0.0.1:{port}', every: 10s, tags: {{{tags}}}}}"


@dataclass
class Server:
    """Plays one recording at `rate` rows a second from the moment of the first read; the last row stays."""

    recording: Recording
    rate: float
    put: list[float] = field(default_factory=list)  # loop time at which each row was there
    lamp: list[tuple[float, int]] = field(default_factory=list)  # loop time and value of each write to the output
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> Server:
        text = "device: {id: x}\ndrivers:\n" + entry(self.recording, 1, self.rate) + "\n" + lamp(self.recording, 2)
        parts = load_text(text).drivers
        self._sim = ModbusSim(self.recording.name, parts[self.recording.name])  # type: ignore[arg-type]
        self._out = ModbusSim("out", parts[f"{self.recording.name}_out"])  # type: ignore[arg-type]
        for sim in (self._sim, self._out):
            sim.port = 0
            await sim.start()
        memory = self._out.units[1]
        answer = memory.answer

        def watched(pdu: bytes) -> bytes:
            if pdu[0] == 5:
                self.lamp.append((asyncio.get_running_loop().time(), int(pdu[3] == 0xFF)))
            return answer(pdu)

        memory.answer = watched  # type: ignore[method-assign]
        self._words = [
            np.frombuffer(struct.pack(">IQ8d", i, int(t), *v), ">u2").astype(np.uint16)
            for i, (t, v) in enumerate(zip(self.recording.stamp, self.recording.value, strict=True))
        ]
        self._put(0)
        return self

    @property
    def ports(self) -> tuple[int, int]:
        return self._sim.port, self._out.port

    def _put(self, row: int) -> None:
        self._sim.units[1].words["holding"][: len(self._words[row])] = self._words[row]
        self.put.append(asyncio.get_running_loop().time())

    async def play(self) -> None:
        """Until the last row; drift-free. After a stall of this process rows follow faster, yet each stays a while."""
        loop, least = asyncio.get_running_loop(), 0.75 / self.rate
        start = loop.time()
        self.put[0] = start
        for row in range(1, len(self._words)):
            due = max(start + row / self.rate, self.put[-1] + least)
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._put(row)
        self.done.set()

    async def stop(self) -> None:
        await self._sim.stop()
        await self._out.stop()


def judge(recording: Recording, changes: list[tuple[str, int]]) -> dict[str, int]:
    """Alarms of one file against its labels. `changes` are (raised | cleared, recorded ms) in order.

    An alarm is true if it overlaps a labelled fault or is raised within 60 s after one; a fault is missed if no alarm is true
    for it.
    """
    spans: list[tuple[int, int]] = []
    for state, stamp in changes:
        if state == "raised":
            spans.append((stamp, int(recording.stamp[-1])))
        elif state == "cleared" and spans:
            spans[-1] = (spans[-1][0], stamp)
    faults = recording.faults()
    hit = [[a <= last + GRACE_MS and b >= first for first, last in faults] for a, b in spans]
    true = sum(any(row) for row in hit)
    missed = sum(not any(row[i] for row in hit) for i in range(len(faults)))
    return {"raised": len(spans), "true": true, "false": len(spans) - true, "missed": missed, "faults": len(faults)}
