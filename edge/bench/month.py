"""`month`: a journal after 30 days without a link."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import sums
from ..batch import Batch
from ..clock import SECOND, SystemClock
from ..codec import encode, encode_event
from ..event import Event
from ..journal import Journal
from ..rows import set_last

SOURCES, DAYS, EVENTS = 10, 30, 100_000
MINUTE = 60 * SECOND


def month(options: argparse.Namespace) -> dict[str, object]:
    """Seconds until a journal with 30 days of 10 sources, a block a minute, and 100,000 events, none of it delivered, is open,
    has told what waits and how long it lasts, and has committed. Baseline: an empty journal."""
    with tempfile.TemporaryDirectory() as name:
        old, empty = Path(name) / "old", Path(name) / "empty"
        for folder in (old, empty):
            asyncio.run(_fill(folder, folder == old))
        value, baseline = (min(asyncio.run(_open(folder)) for _ in range(3)) for folder in (old, empty))
        size = (old / "journal.db").stat().st_size
    shape = {"mb": size / 1e6, "blocks": SOURCES * DAYS * 1440}
    return {"bench": "month", "value": value, "unit": "s", "baseline": baseline, "ratio": value / baseline, **shape}


async def _fill(folder: Path, whole: bool) -> None:
    journal = Journal(folder / "journal.db", SystemClock())
    if whole:
        await journal.on_writer(_rows, journal.clock.utc() - DAYS * 1440 * MINUTE)
    journal.close()


def _rows(db: Any, since: int) -> None:
    rng = np.random.default_rng(1)
    body = encode(Batch.of("s", np.tile(np.arange(20), 60), rng.integers(0, 100, 1200), since))
    event = encode_event(Event("alarm", "hot", "raised", text="the oil is too hot"))
    with db:
        for minute in range(DAYS * 1440):
            at = since + minute * MINUTE
            heads = [(f"samples:s{s}", minute + 1, at, at + MINUTE, 1200, at) for s in range(SOURCES)]
            blocks = [(*head[:5], sums.of(head, body), at, body) for head in heads]
            db.executemany("INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?)", blocks)
        told = [(n, since, "alarm", "hot", since) for n in range(1, EVENTS + 1)]
        events = [(*head[:4], sums.of(head, event), since, event) for head in told]
        db.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", events)
        for stream, last in [*((f"samples:s{s}", DAYS * 1440) for s in range(SOURCES)), ("event", EVENTS)]:
            set_last(db, stream, last)


async def _open(folder: Path) -> float:
    began = time.monotonic()
    journal = Journal(folder / "journal.db", SystemClock())
    journal.readers = {"sync"}
    await journal.backlog("sync")
    await journal.outlook()
    journal.append([Batch.of("s0", [1], [1.0], journal.clock.utc())], [Event("k", "k")])
    assert await journal.commit()
    took = time.monotonic() - began
    journal.close()
    return took
