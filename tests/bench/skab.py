"""Which settings of the stage `anomaly` the recorded pump rig asks for: for each folder chosen by the labels of the others.

    python -m tests.bench.skab DATA [METHOD]

Chosen is the highest F1 less what false and missed alarm rate exceed (11.8 %, 21 %). The last line has the rates of all folders
together, each judged by the settings that the others chose, and those by F1 alone. METHOD: one of the stage (mahalanobis).
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.benchmarks.skab import FOLDERS, JUDGED, SIGNALS, TRAINING, Recording, counted, judged, leftover, recordings
from models.series.baseline import Method, Settings
from models.series.reconstruction import teach
from models.series.scorer import Scorer

FALSE, MISSED = 0.118, 0.21  # what is asked for
GRID = ((300, 400, 600, 1000), (1.2, 1.3, 1.4, 1.5, 1.6, 1.7), (0.1, 0.2, 0.3))
Rates = dict[str, float | None]


def asked(rates: Rates) -> float:
    return (rates["f1"] or 0) - max(0, (rates["far"] or 0) - FALSE) - max(0, (rates["mar"] or 0) - MISSED)


def f1(rates: Rates) -> float:
    return rates["f1"] or 0


def chosen(
    files: list[Recording], flags: dict[Settings, list[np.ndarray]], worth: Callable[[Rates], float]
) -> tuple[dict[str, Settings], Rates]:
    """The settings of each folder by the files of the others, and the rates of all folders by those."""
    truth = [one.anomaly[TRAINING:] for one in files]
    found, best = [np.zeros(0, bool)] * len(files), {}
    for folder in FOLDERS:
        others = [i for i, one in enumerate(files) if one.folder != folder]
        there = np.concatenate([truth[i] for i in others])
        best[folder] = max(flags, key=lambda s: worth(counted(np.concatenate([flags[s][i] for i in others]), there)))
        for i, one in enumerate(files):
            if one.folder == folder:
                found[i] = flags[best[folder]][i]
    return best, counted(np.concatenate(found), np.concatenate(truth))


def by_network(one: Recording, tried: list[Settings]) -> list[np.ndarray]:
    """The alarms of a file by each setting, of one network."""
    rows = one.value[:, list(JUDGED)]
    lesson = teach(rows[:TRAINING], [SIGNALS[i] for i in JUDGED], tried[0])
    left = leftover(lesson, tried[0])(rows[TRAINING:])
    return [Scorer(lesson.baseline(s))(left)[1] for s in tried]


def main(data: Path, method: Method) -> None:
    tried = [
        Settings(method, adapt=adapt, factor=factor, hold=hold) for adapt, factor, hold in itertools.product(*GRID)
    ]
    files, _ = recordings(data / "skab")
    if method == "network":
        found = [by_network(one, tried) for one in files]
        flags = {s: [each[i] for each in found] for i, s in enumerate(tried)}
    else:
        flags = {s: [judged(one, s)[1] for one in files] for s in tried}
    best, rates = chosen(files, flags, asked)
    for folder, s in best.items():
        print(f"{folder}: adapt {s.adapt:g}, factor {s.factor}, hold {s.hold}, by the labels of the others")
    print(
        json.dumps(
            {
                "bench": "skab",
                "method": method,
                "files": len(files),
                **rates,
                "by_f1_alone": chosen(files, flags, f1)[1],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "mahalanobis")  # type: ignore[arg-type]
