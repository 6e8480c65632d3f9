"""The stage `anomaly` on 100 tags: values per CPU-second row by row and in minute blocks, and a fit on a week at 1 Hz.

    python -m tests.bench.series [--week]

Rows are ten hidden walks mixed into 100 tags, with noise. The week is written into a journal first, which is not counted;
the fit runs as `lineside fit` in a child, whose time and largest memory are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edge import SECOND, Batch, Tag, TagTable
from edge.app import Daemon
from edge.config.load import load
from edge.stage import Setting
from models.series.anomaly import Anomaly, AnomalyConfig

TAGS = 100
NAMES = [f"p.t{i}" for i in range(TAGS)]
WEEK = 7 * 86_400


def rows(n: int, seed: int) -> np.ndarray:
    """float64[n, TAGS]."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(1).normal(size=(10, TAGS))
    return np.round(rng.normal(size=(n, 10)) @ mix + rng.normal(size=(n, TAGS)), 1)


def batch(value: np.ndarray, ids: list[int], start: int) -> Batch:
    ts = np.repeat((np.arange(len(value)) + start) * SECOND, len(ids))
    return Batch.of("p", np.tile(np.array(ids, np.int32), len(value)), value.ravel(), ts)


def speed(method: str, size: int, n: int) -> float:
    """Values per CPU-second through the whole stage, in batches of `size` rows."""
    tags = [Tag(name, i + 1, source="p") for i, name in enumerate(NAMES)]
    tags += [Tag("h.score", TAGS + 1, source="h"), Tag("h.alarm", TAGS + 2, source="h")]
    config = AnomalyConfig(stage="anomaly", tags=NAMES, rows=3600, method=method)
    stage, ids = Anomaly(config, Setting("h", TagTable(tags), Path())), list(range(1, TAGS + 1))
    list(stage(batch(rows(3600, 2), ids, 0)))
    value = rows(n, 3)
    each = [batch(value[i : i + size], ids, 3600 + i) for i in range(0, n, size)]
    began = time.process_time()
    for one in each:
        for _ in stage(one):
            pass
    return n * TAGS / (time.process_time() - began)


def week(folder: Path) -> dict[str, float]:
    tags = ", ".join(f't{i}: {{address: "holding:{i}"}}' for i in range(TAGS))
    site = folder / "site.yaml"
    driver = f'{{driver: modbus, url: "tcp://127.0.0.1:9", every: 1h, tags: {{{tags}}}}}'
    keep = "journal: {keep: 400d}\n"
    site.write_text(
        f"device: {{id: f}}\ndrivers: {{p: {driver}}}\nstages: {{h: {{stage: anomaly, tags: {json.dumps(NAMES)}}}}}\n{keep}"
    )

    async def fill() -> None:
        daemon = Daemon(load(site), folder / "state")
        ids = [daemon.table[name].id for name in NAMES]
        now = time.time_ns() // SECOND - WEEK
        for at in range(0, WEEK, 600):
            daemon.journal.append([batch(rows(600, at), ids, now + at)])
            await daemon.journal.commit(seal=True)
        daemon.journal.close()

    asyncio.run(fill())
    began = time.perf_counter()
    command = [sys.executable, "-m", "edge.cli", "fit", str(site), "h", "--state", str(folder / "state")]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(said.stdout.splitlines()[0], file=sys.stderr)
    seconds, mb = time.perf_counter() - began, used.ru_maxrss / 1024
    return {"fit_s": round(seconds, 1), "fit_cpu_s": round(used.ru_utime + used.ru_stime, 1), "fit_mb": round(mb)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--week", action="store_true", help="also fit on a week of 100 tags at 1 Hz (writes 200 MB)")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    for method in ("pca", "ewma", "mahalanobis"):
        figures[f"{method}_rows"] = round(speed(method, 1, 2000))
        figures[f"{method}_minutes"] = round(speed(method, 60, 24_000))
    if options.week:
        with tempfile.TemporaryDirectory() as folder:
            figures |= week(Path(folder))
    print(json.dumps({"bench": "series", "tags": TAGS, **figures}))


if __name__ == "__main__":
    main()
