"""How the weights of `models.series.novelty` were chosen: by every other of the shared single signals (NAB) alone.

    python -m tests.bench.novelty DATA [TRIED]

TRIED (2,000) weights are drawn at random; of the 25 that score best on the chosen half (standard profile, best threshold) the mean
is taken. Printed are its scores on the half it was chosen by, on the other half, also by the first one's threshold, and on all.
The product has such weights, rounded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.benchmarks.nab import Signal, at, best, read
from models.series import novelty
from models.series.novelty import DAY, WEIGHTS, Novelty

AVERAGED = 25
RESTS = (0.3, 0.5, 0.8)  # of the unjudged rows
TOTAL = float(sum(WEIGHTS))


class Parts(Novelty):
    """Keeps the rank of each part of the score."""

    def __init__(self, day: int) -> None:
        super().__init__(1, day)
        self.kept: list[list[np.ndarray]] = [[] for _ in WEIGHTS]

    def _rank(self, kind: int, measured: np.ndarray) -> np.ndarray:
        rank = super()._rank(kind, measured)
        self.kept[kind].append(rank)
        return rank


def ranks(signal: Signal) -> np.ndarray:
    """float32[n, parts]; 0 where nothing is said yet."""
    parts = Parts(signal.day)
    parts(signal.value)
    columns = [np.concatenate(each) for each in parts.kept]
    return np.pad(np.array(columns, np.float32), ((0, 0), (len(signal.value) - len(columns[0]), 0))).T


def told(score: np.ndarray, rest: float) -> np.ndarray:
    """Scores of the rows that `Novelty` calls new, 0 else."""
    one = Novelty(round(rest))
    one._n = len(score)
    return np.where(one._told(score), score, 0.0)


class Half:
    def __init__(self, signals: Sequence[Signal], parts: Sequence[np.ndarray]) -> None:
        self.signals, self.parts = list(signals), parts

    def scores(self, weights: np.ndarray, rest: float) -> list[np.ndarray]:
        without = (
            np.array([*weights[:-1], 0.0]) * weights.sum() / max(weights[:-1].sum(), 1e-9)
        )  # of no day, see `of_day`
        return [
            np.round(told(p @ (weights if s.day in DAY else without), rest * s.unjudged), 5)
            for s, p in zip(self.signals, self.parts, strict=True)
        ]

    def best(self, weights: np.ndarray, rest: float) -> tuple[float, float]:
        return best(self.signals, self.scores(weights, rest), "standard")


def main(data: Path, tried: int) -> None:
    signals, _ = read(data / "nab")
    parts = [ranks(signal) for signal in signals]
    first, other, every = (Half(signals[i], parts[i]) for i in (slice(0, None, 2), slice(1, None, 2), slice(None)))
    rng, found = np.random.default_rng(2), []
    for _ in range(tried):
        weights = np.maximum(0, rng.normal(0.8, 0.7, len(WEIGHTS))) * (rng.random(len(WEIGHTS)) < 0.75)
        if weights.sum() > 0:
            weights *= TOTAL / weights.sum()
            rest = float(rng.choice(RESTS))
            found.append((first.best(weights, rest)[0], rest, weights))
    found.sort(key=lambda one: -one[0])
    mean = np.mean([one[2] for one in found[:AVERAGED]], axis=0)
    rest = float(np.mean([one[1] for one in found[:AVERAGED]]))
    for name, weights in (("mean of the best", mean), ("the product's", np.array(WEIGHTS))):
        score, threshold = first.best(weights, rest)
        crossed = at(other.signals, other.scores(weights, rest), "standard", threshold)
        figures = {"chosen": score, "other": other.best(weights, rest)[0], "other_by_its_threshold": crossed}
        figures |= {"all": every.best(weights, rest)[0], "rest": rest, "floor": novelty.FLOOR}
        rounded = {key: round(value, 2) for key, value in figures.items()}
        print(json.dumps({"bench": "novelty", "weights": name, **rounded, "of": weights.round(2).tolist()}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
