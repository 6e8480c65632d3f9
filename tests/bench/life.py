"""Which settings of `models.series.runs` the training engines ask for, each engine judged by a model of the others.

    python -m tests.bench.life DATA

Engines are cut off at every cycle from the 25th on that has 7 to 145 left, as the test engines of the benchmark are; the test
part is not read. The last line has the settings that the product has.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from models.benchmarks.cmapss import TRAIN, engines
from models.series import runs

TRIED = (((0.3, 0.03),), ((1.0, 0.1),), ((2.0, 0.2),), ((4.0, 0.3),), runs.KERNELS)
LEFT = (7, 145)


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


def main(data: Path) -> None:
    rows = list(engines(data / "cmapss-fd001" / TRAIN).values())
    for kernels in TRIED:
        print(json.dumps({"bench": "life", "kernels": kernels, "rmse": round(error(rows, kernels), 2)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
