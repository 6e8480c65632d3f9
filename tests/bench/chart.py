"""How long a chart takes at the plane, on SQLite and on PostgreSQL: `python -m tests.bench.chart [DAYS]`.

One device, 20 tags once a second, a block a minute. A chart of one tag with 1,200 points over a day, and over all the days (3),
from the samples and then from roll-ups; the median of 5, from the request to its columns. One JSON object a line, the samples as
the baseline of the roll-ups. Then the same day with 3,000 points, which needs its samples, and the bytes of a sample, from the
blocks that the hourly work made of the minutes; those of the minutes are the baseline.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
from sqlalchemy import func, select

from edge import Batch, encode
from sync import wire
from sync.control_plane import tables
from sync.control_plane.history import series
from sync.control_plane.messages import Message
from sync.control_plane.rollup import HOUR, MINUTE, roll_once
from sync.control_plane.store import Store
from tests.postgres import absent, running

EPOCH, TAGS, POINTS, FINE, DAY = "0" * 16, 20, 1200, 3000, 24 * HOUR


def sent(start: int, minutes: int) -> Iterator[list[wire.Frame]]:
    """The blocks of some minutes, an hour at a time, after the tag."""
    yield [wire.Frame(EPOCH, "tag", 1, 0, 0, 1, msgpack.packb(["plc.a", "float64", "", {}, "plc"]))]
    chance, second = np.random.default_rng(4), np.repeat(np.arange(60) * 10**9, TAGS)
    tag, last = np.tile(np.arange(1, TAGS + 1, dtype=np.int32), 60), np.zeros(TAGS)
    for first in range(0, minutes, 60):
        frames = []
        for k in range(first, first + 60):
            walk = last + np.cumsum(chance.integers(-2, 3, (60, TAGS)), axis=0)
            last, t0 = walk[-1], start + k * MINUTE
            body = encode(Batch.of("plc", tag, (walk / 10).round(1).ravel(), t0 + second))
            frames.append(wire.Frame(EPOCH, "samples:plc", k + 1, t0, t0 + MINUTE - 10**9, 60 * TAGS, body))
        yield frames


async def chart(store: Store, t0: int, t1: int, points: int = POINTS) -> float:
    """Milliseconds."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        ts, _, _ = await store.read(lambda c: series(c, "d", "plc.a", t0, t1, points))
        took.append(time.perf_counter() - began)
        assert len(ts) > points / 2
    return 1000 * statistics.median(took)


async def size(store: Store) -> float:
    """Bytes a sample in blocks."""
    b = tables.block
    wanted = select(func.sum(func.length(b.c.body)), func.sum(b.c.n))
    held, n = await store.read(lambda c: tuple(c.execute(wanted).one()))
    return float(held) / float(n)


async def measured(name: str, address: str, days: int) -> list[dict[str, object]]:
    store, end = Store(address), time.time_ns() // HOUR * HOUR
    start = end - days * DAY
    try:
        for frames in sent(start, days * 24 * 60):
            await store.write(Message("d", frames))
        spans = {f"{n}_day": end - n * DAY for n in (1, days)}
        samples = {span: await chart(store, t0, end - 1) for span, t0 in spans.items()}
        fine = [await chart(store, end - DAY, end - 1, FINE)]
        bytes_ = [await size(store)]
        while await roll_once(store, end + HOUR):
            pass
        fine.append(await chart(store, end - DAY, end - 1, FINE))
        bytes_.append(await size(store))
        rolled = {span: await chart(store, t0, end - 1) for span, t0 in spans.items()}
    finally:
        store.close()
    pairs = (("chart_samples", fine, "ms", 1), ("block_bytes", bytes_, "bytes/sample", 3))
    return [
        {"bench": f"chart_{span}_{name}", "value": round(rolled[span], 1), "unit": "ms", "baseline": round(old, 1)}
        for span, old in samples.items()
    ] + [
        {"bench": f"{what}_{name}", "value": round(new, digits), "unit": unit, "baseline": round(old, digits)}
        for what, (old, new), unit, digits in pairs
    ]


def lines(days: int) -> Iterator[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        yield from asyncio.run(measured("sqlite", f"sqlite:///{Path(folder) / 'plane.db'}", days))
    if missing := absent():
        print(f"chart_postgresql is not measured: {missing} (make system-packages)", file=sys.stderr)
        return
    with running() as server:
        yield from asyncio.run(measured("postgresql", server.address(server.database()), days))


if __name__ == "__main__":
    for found in lines(int(sys.argv[1]) if sys.argv[1:] else 3):
        print(json.dumps(found), flush=True)
