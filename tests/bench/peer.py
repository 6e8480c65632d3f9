"""Lineside as one peer of a comparison with other gateways: the same job, the same device, the same broker.

`python -m tests.bench.peer MODBUS_PORT MQTT_PORT UNITS REGISTERS INTERVAL_S FOLDER` writes the site once and becomes the
daemon; `decode(topic, payload)` reads what it publishes. The device counts in the first two registers of each hundred, so
no request covers more than one hundred.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # loaded by its path
    sys.path.insert(0, str(ROOT))

import msgpack
import numpy as np

from edge import decode as decode_block
from sync import wire

_places: dict[tuple[str, int], tuple[int, int]] = {}  # (epoch, tag id): unit, register


def site(modbus_port: str, mqtt_port: str, units: int, registers: int, interval: float) -> str:
    lines = [
        "device: {id: bench}",
        f"journal: {{durable_within: {min(100, max(10, round(interval * 500)))}ms, block: 500ms}}",
        f'forward: {{url: "mqtt://127.0.0.1:{mqtt_port}", format: frames}}',
        "drivers:",
        "  plc:",
        "    driver: modbus",
        f"    url: tcp://127.0.0.1:{modbus_port}",
        f"    every: {round(interval * 1000)}ms",
        "    max_registers: 100",
        "    in_flight: 8",
        "    units:",
    ]
    for unit in range(1, units + 1):
        lines += [f"      u{unit}:", f"        unit: {unit}", "        tags:"]
        lines += [f'          r{register}: {{address: "holding:{register}"}}' for register in range(registers)]
    return "\n".join([*lines, ""])


def decode(topic: bytes, payload: bytes) -> Iterator[tuple[int, int, list[int]]]:
    """(unit, first register, values) of every run of registers in a message."""
    for frame in wire.unpack(payload):
        if frame.stream == "tag":
            number, *_ = fields = msgpack.unpackb(frame.body)
            _, unit, register = str(fields[1] if isinstance(number, int) else fields[0]).split(".")
            _places[frame.epoch, frame.seq] = int(unit[1:]), int(register[1:])
        elif frame.stream.startswith("samples:"):
            batch = decode_block("plc", frame.body)
            place = np.array([_places[frame.epoch, int(tag)] for tag in batch.tag])
            good = batch.quality == 0
            order = np.lexsort((place[:, 1], batch.ts, place[:, 0]))
            order = order[good[order]]
            if not len(order):
                continue
            unit, register, ts = place[order, 0], place[order, 1], batch.ts[order]
            cuts = np.flatnonzero((np.diff(unit) != 0) | (np.diff(register) != 1) | (np.diff(ts) != 0)) + 1
            for rows in np.split(order, cuts):
                yield int(place[rows[0], 0]), int(place[rows[0], 1]), batch.value[rows].astype(int).tolist()


def main(modbus_port: str, mqtt_port: str, units: str, registers: str, interval: str, folder: str) -> None:
    path = Path(folder) / "site.yaml"
    if not path.exists():
        path.write_text(site(modbus_port, mqtt_port, int(units), int(registers), float(interval)))
    os.execv(
        sys.executable, [sys.executable, "-m", "edge.cli", "run", str(path), "--state", str(Path(folder) / "state")]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
