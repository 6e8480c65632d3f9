"""Lineside as one peer of a comparison with other gateways: the same job, the same device, the same broker.

`peer.sh MODBUS_PORT MQTT_PORT UNITS REGISTERS INTERVAL_S FOLDER` starts it; `decode(topic, payload)` reads what it publishes.
"""

from __future__ import annotations

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
