"""The anomaly stage's detector on the recorded pump rig: F1, false and missed alarm rate by row, settings chosen on other files.

    python -m tests.bench.skab DATA

The files are dealt into two halves; each half is judged with the settings that were best on the other one.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np

from models.series.baseline import Scorer, Settings, fit
from tests.real.skab import CHANNELS, JUDGED, TRAINING, Recording, read

GRID = [
    Settings(span, 8.0, shrink, median, 0.99, factor)
    for span, shrink, median, factor in itertools.product(
        (20, 30, 45), (0.05, 0.2, 0.5), (1, 9), (2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
    )
]


def verdicts(recording: Recording, settings: Settings) -> np.ndarray:
    rows = recording.value[:, [CHANNELS.index(c) for c in JUDGED]]
    scorer = Scorer(fit(rows[:TRAINING], settings), settings)
    return scorer(rows)[TRAINING:] > 1


def figures(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """F1, false alarm rate, missed alarm rate, by row."""
    hit = float((found & truth).sum())
    false, missed = float((found & ~truth).sum()), float((~found & truth).sum())
    return {
        "f1": 2 * hit / (2 * hit + false + missed),
        "far": false / float((~truth).sum()),
        "mar": missed / float(truth.sum()),
    }


def main(data: Path) -> None:
    files = [read(p) for p in sorted((data / "skab").glob("*/*.csv")) if p.parent.name != "anomaly-free"]
    truth = [r.anomaly[TRAINING:] for r in files]
    found = {s: [verdicts(r, s) for r in files] for s in GRID}
    halves = [range(0, len(files), 2), range(1, len(files), 2)]
    judged: list[int] = []
    answer: list[np.ndarray] = []
    for mine, other in (halves, halves[::-1]):
        best = max(
            GRID,
            key=lambda s: figures(
                np.concatenate([found[s][i] for i in other]), np.concatenate([truth[i] for i in other])
            )["f1"],
        )
        print(f"chosen on the other half: {best}", file=sys.stderr)
        judged += mine
        answer += [found[best][i] for i in mine]
    result = figures(np.concatenate(answer), np.concatenate([truth[i] for i in judged]))
    print(json.dumps({"bench": "skab", "files": len(files), **{k: round(v, 4) for k, v in result.items()}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
