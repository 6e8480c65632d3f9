"""What signing costs a device: `python -m tests.bench.evidence`.

CPU of this process, on blocks as those of `lineside bench ingest`. `sign_ms` is one checkpoint over all of them, `empty_ms` one
over nothing, `share` what signing adds to writing the same blocks.
One JSON object.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edge import Batch
from edge.bench.ingest import signals
from edge.clock import SystemClock
from edge.config.journal import JournalConfig
from edge.journal import Journal
from sync.device import key
from sync.device.evidence import Evidence

BLOCKS, SCANS, TAGS = 16, 256, 1000
EMPTY = 100


async def measured(folder: Path) -> dict[str, Any]:
    journal = Journal(folder / "journal.db", SystemClock(), JournalConfig())
    rows, tag = signals().astype(float), np.tile(np.arange(1, TAGS + 1), SCANS)
    begun, values = time.process_time(), 0
    for k in range(BLOCKS):
        part = rows[k * SCANS : (k + 1) * SCANS]
        ts = np.repeat((np.arange(SCANS) + k * SCANS) * 1_000_000, TAGS)
        journal.append([Batch.of("plc", tag, part.ravel(), ts)])
        await journal.commit(seal=True)
        values += part.size
    wrote = time.process_time() - begun
    host: Any = SimpleNamespace(journal=journal, clock=journal.clock)
    lane = Evidence(host, "bench", key.private(key.made()), 600.0)
    begun = time.process_time()
    await lane.sign()
    signed = time.process_time() - begun
    begun = time.process_time()
    for _ in range(EMPTY):
        await lane.sign()
    empty = (time.process_time() - begun) / EMPTY
    await journal.commit()
    size = journal.totals.sealed_bytes
    journal.close()
    found = {
        "values": values,
        "sealed_mb": size / 1e6,
        "write_s": wrote,
        "sign_ms": signed * 1e3,
        "empty_ms": empty * 1e3,
    }
    return {name: round(value, 3) for name, value in found.items()} | {"share": round(signed / wrote, 4)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measured(Path(folder)))))
