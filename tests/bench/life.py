"""Which settings of `models.series.runs` the training engines ask for, each engine judged by a model of the others.

    python -m tests.bench.life DATA [--write]

Engines are cut off at every cycle from the 25th on that has 7 to 145 left, as the test engines of the benchmark are; the test
part is not read. The last line has the settings that the product has. `--write` learns `models/benchmarks/fd001.json` anew, for
folders that lack the training engines: at centres that are averages of many rows each, so that no row of theirs is in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from models.benchmarks.cmapss import SHIPPED, TRAIN, engines
from models.series import runs
from models.series.learned import Learned

TRIED = (((0.3, 0.03),), ((1.0, 0.1),), ((2.0, 0.2),), ((4.0, 0.3),), runs.KERNELS)
LEFT = (7, 145)
LEAST = 10  # rows of which each centre that ships is the mean


def error(rows: list[np.ndarray], kernels: tuple[tuple[float, float], ...]) -> float:
    """RMSE over all cut-offs, capped."""
    fold, off = np.random.default_rng(1).permutation(len(rows)) % runs.FOLDS, []
    kept, runs.KERNELS = runs.KERNELS, kernels
    for k in range(runs.FOLDS):
        model = runs.fitted([run for run, f in zip(rows, fold, strict=True) if f != k], runs.Settings())
        for run in (run for run, f in zip(rows, fold, strict=True) if f == k):
            left = np.arange(len(run) - 1, -1, -1)
            cut = (np.arange(len(run)) >= 24) & (left >= LEFT[0]) & (left <= LEFT[1])
            off.append((model(run)[0] - np.minimum(left, 125))[cut])
    runs.KERNELS = kept
    return float(np.sqrt(np.mean(np.concatenate(off) ** 2)))


def averages(x: np.ndarray, wanted: int) -> np.ndarray:
    """Centres float64[k, c] of the rows x [n, c], each the mean of LEAST of them or more (S. Lloyd's iterations, 1957)."""
    centre = x[np.random.default_rng(0).choice(len(x), wanted, replace=False)]
    for _ in range(12):
        nearest = ((centre * centre).sum(axis=1) - 2 * x @ centre.T).argmin(axis=1)
        n = np.bincount(nearest, minlength=wanted)
        total = np.zeros_like(centre)
        np.add.at(total, nearest, x)
        centre = np.where(n[:, None] > 0, total / np.maximum(n, 1)[:, None], centre)
    return centre[n >= LEAST]


def at_averages(x: np.ndarray, y: np.ndarray, width: float, ridge: float, centres: int, seed: int) -> runs.Kernel:
    """In place of `runs._ridge`, which takes rows for centres."""
    centre, middle = averages(x, centres).round(2), float(y.mean())
    near = runs._alike(x, centre, width)
    left = near.T @ near + ridge * runs._alike(centre, centre, width) + 1e-6 * np.eye(len(centre))
    return runs.Kernel(width, centre, np.linalg.solve(left, near.T @ (y - middle)).round(2), middle)


def write(rows: list[np.ndarray]) -> None:
    runs._ridge, runs.KERNELS = at_averages, ((0.3, 0.03),)
    tags = tuple(f"engine.c{i}" for i in range(rows[0].shape[1]))
    model = runs.fit(rows, runs.Settings(centres=300, step=1))
    document = Learned(model, tags, 3600.0).as_json()
    told = (
        f"{len(model.kernels[0].centre)} averages of {LEAST} rows or more of the {len(rows)} training engines of FD001"
    )
    SHIPPED.write_text(json.dumps({"about": f"NASA's simulated turbofan engines (C-MAPSS): {told}", **document}) + "\n")


def main(data: Path) -> None:
    rows = list(engines(data / "cmapss-fd001" / TRAIN).values())
    if "--write" in sys.argv:
        write(rows)
        return
    for kernels in TRIED:
        print(json.dumps({"bench": "life", "kernels": kernels, "rmse": round(error(rows, kernels), 2)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
