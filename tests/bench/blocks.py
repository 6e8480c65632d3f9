"""Blocks a second into the plane's store, on SQLite and on PostgreSQL: `python -m tests.bench.blocks [SECONDS]`.

A thousand devices, each of which sends its next block of 200 samples as soon as the last one is committed, one block a message;
500 of them at a time. Every block goes the way of one that came over the network, but for the network: dropped if it was there,
stored, its stream's cursor moved, acknowledged after COMMIT (fsync). The baseline is the same rows, 128 in a transaction, by a
loop that keeps no cursors. CPU seconds per second of this process and of the server. One JSON object a line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
from sqlalchemy import Engine

from edge import Batch, encode
from edge.bench.process import cpu
from sync import wire
from sync.control_plane import tables
from sync.control_plane.database import insert_new
from sync.control_plane.messages import Message
from sync.control_plane.store import Store
from tests.postgres import absent, running

DEVICES, AT_ONCE, TAGS, SCANS, STREAM = 1000, 500, 20, 10, "samples:plc"
TOGETHER = 128


def bodies() -> list[bytes]:
    """Blocks of 200 samples: 20 tags that walk in steps of a tenth, once a second."""
    chance = np.random.default_rng(4)
    tag, found = np.tile(np.arange(1, TAGS + 1, dtype=np.int32), SCANS), []
    for _ in range(50):
        value = np.round(20 + 0.1 * np.cumsum(chance.integers(-2, 3, (SCANS, TAGS)), axis=0), 1).ravel()
        ts = np.repeat(time.time_ns() + np.arange(SCANS) * 10**9, TAGS)
        found.append(encode(Batch.of("plc", tag, value, ts)))
    return found


async def ours(store: Store, blocks: list[bytes], seconds: float) -> float:
    """Blocks a second that were acknowledged."""
    end, taken, now = time.monotonic() + seconds, 0, time.time_ns()

    async def devices(first: int) -> None:
        nonlocal taken
        for seq in count(1):
            for k in range(first, DEVICES, AT_ONCE):
                frame = wire.Frame("0" * 16, STREAM, seq, now, now + 10**10, TAGS * SCANS, blocks[(k + seq) % 50])
                answer = await store.write(Message(f"device-{k}", [frame]))
                assert answer[STREAM].watermark == seq
                taken += 1
                if time.monotonic() > end:
                    return

    began = time.monotonic()
    await asyncio.gather(*(devices(k) for k in range(AT_ONCE)))
    return taken / (time.monotonic() - began)


def bare(engine: Engine, blocks: list[bytes], seconds: float) -> float:
    """Blocks a second of a loop that only inserts."""
    now, seq = time.time_ns(), 0
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        rows = [
            {
                "device": f"bare-{n % DEVICES}",
                "epoch": "0" * 16,
                "stream": STREAM,
                "seq": n // DEVICES,
                "t0": now,
                "t1": now + 10**10,
                "n": TAGS * SCANS,
                "body": blocks[n % 50],
            }
            for n in range(seq, seq + TOGETHER)
        ]
        with engine.begin() as connection:
            insert_new(connection, tables.block, rows)
        seq += TOGETHER
    return seq / (time.monotonic() - began)


def measured(name: str, address: str, seconds: float, server: int = 0) -> dict[str, object]:
    store, blocks = Store(address), bodies()
    try:
        baseline = bare(store.engine, blocks, seconds / 3)
        busy = time.process_time(), cpu(server) if server else 0.0, store.commits
        value = asyncio.run(ours(store, blocks, seconds))
        used = {"plane": (time.process_time() - busy[0]) / seconds}
        if server:
            used["server"] = (cpu(server) - busy[1]) / seconds
        commits = (store.commits - busy[2]) / seconds
    finally:
        store.close()
    line = {"bench": name, "value": value, "unit": "blocks/s", "baseline": baseline, "ratio": value / baseline}
    shown = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}
    each = {"per_cpu_s": {k: round(value / v) for k, v in used.items() if v}}  # what a core of each would do
    return shown | {"commits_per_s": round(commits), "cores": {k: round(v, 2) for k, v in used.items()}} | each


def lines(seconds: float) -> Iterator[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        yield measured("blocks_sqlite", f"sqlite:///{Path(folder) / 'plane.db'}", seconds)
    if missing := absent():
        print(f"blocks_postgresql is not measured: {missing} (make system-packages)", file=sys.stderr)
        return
    with running() as server:
        yield measured("blocks_postgresql", server.address(server.database()), seconds, server.pid)


if __name__ == "__main__":
    for found in lines(float(sys.argv[1]) if sys.argv[1:] else 20.0):
        print(json.dumps(found), flush=True)
