"""`month`: a journal at its budget after 30 days without a link, and what 30 days more add to its memory."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import heap, sums
from ..batch import Batch
from ..clock import SECOND, ManualClock, SystemClock
from ..codec import encode, encode_event
from ..config.journal import JournalConfig
from ..event import Event
from ..journal import Journal
from ..rows import set_last
from .process import pss

SOURCES, DAYS, EVENTS = 10, 30, 100_000
MINUTE = 60 * SECOND
DAY = 1440
STEP = 30  # minutes of a block in the days that are played
FULL = 690_000_000  # bytes: what is written first fills it, so that each block that comes takes the place of others


def month(options: argparse.Namespace) -> dict[str, object]:
    """Seconds until a journal at its budget, with 30 days of 10 sources, a block a minute, and 100,000 events, none of it
    delivered, is open, has told what waits and how long it lasts, and has committed; baseline: an empty journal. Then
    `grown_mb`: what its process takes more (PSS) after 30 days more without a link than after the first of them, on a clock
    that is moved."""
    with tempfile.TemporaryDirectory() as name:
        old, empty = Path(name) / "old", Path(name) / "empty"
        for folder in (old, empty):
            asyncio.run(_fill(folder, folder == old))
        value, baseline = (min(asyncio.run(_open(folder)) for _ in range(3)) for folder in (old, empty))
        size = sum(path.stat().st_size for path in old.glob("journal.*") if path.suffix != ".db-shm")
        played = asyncio.run(_play(old))
        again = min(asyncio.run(_open(old)) for _ in range(3))
    shape = {"mb": size / 1e6, "blocks": SOURCES * DAYS * DAY, "again": again, **played}
    return {"bench": "month", "value": value, "unit": "s", "baseline": baseline, "ratio": value / baseline, **shape}


def _journal(folder: Path, clock: Any) -> Journal:
    journal = Journal(folder / "journal.db", clock, JournalConfig(at_most=FULL))
    journal.readers = {"sync"}
    return journal


async def _fill(folder: Path, whole: bool) -> None:
    journal = _journal(folder, SystemClock())
    if whole:
        await journal.on_writer(_rows, journal.clock.utc() - DAYS * DAY * MINUTE)
    journal.close()


def _block(since: int) -> Batch:
    """A minute of 20 tags."""
    rng = np.random.default_rng(1)
    return Batch.of("s", np.tile(np.arange(20), 60), rng.integers(0, 100, 1200), since)


def _rows(db: Any, since: int) -> None:
    body, event = encode(_block(since)), encode_event(Event("alarm", "hot", "raised", text="the oil is too hot"))
    with db:
        for minute in range(DAYS * DAY):
            at = since + minute * MINUTE
            heads = [(f"samples:s{s}", minute + 1, at, at + MINUTE, 1200, at) for s in range(SOURCES)]
            blocks = [(*head[:5], sums.of(head, body), at, body) for head in heads]
            db.executemany("INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?)", blocks)
        told = [(n, since, "alarm", "hot", since) for n in range(1, EVENTS + 1)]
        events = [(*head[:4], sums.of(head, event), since, event) for head in told]
        db.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", events)
        for stream, last in [*((f"samples:s{s}", DAYS * DAY) for s in range(SOURCES)), ("event", EVENTS)]:
            set_last(db, stream, last)


async def _open(folder: Path) -> float:
    began = time.monotonic()
    journal = _journal(folder, SystemClock())
    await journal.backlog("sync")
    await journal.outlook()
    journal.append([Batch.of("s0", [1], [1.0], journal.clock.utc())], [Event("k", "k")])
    assert await journal.commit()
    took = time.monotonic() - began
    journal.close()
    return took


async def _play(folder: Path) -> dict[str, float]:
    """30 days without a link: blocks and events come, the oldest give way, and now and then it is asked what waits."""
    clock = ManualClock(time.time_ns() // 1000 * 1000)
    journal = _journal(folder, clock)
    block, memory = _block(0), []
    (first,) = next(journal._db.execute("SELECT min(seq) FROM block"))
    for minute in range(0, DAYS * DAY, STEP):
        clock.advance(60 * STEP)
        ts = clock.utc() + block.ts
        batches = [Batch(f"s{s}", block.tag, ts, block.value, block.quality) for s in range(SOURCES)]
        journal.append(batches, [Event("alarm", "hot", "raised", text="the oil is too hot")])
        assert await journal.commit(seal=True), journal.trouble
        if minute % DAY == DAY - STEP:
            await journal.backlog("sync")
            await journal.outlook()
            gc.collect()
            heap.trim()
            memory.append(pss(os.getpid()))
    (last,) = next(journal._db.execute("SELECT min(seq) FROM block"))
    evicted = float((last - first) * SOURCES)
    journal.close()
    return {"grown_mb": max(memory) - memory[0], "pss_mb": memory[-1], "evicted": evicted}
