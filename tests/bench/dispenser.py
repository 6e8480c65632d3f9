"""What the simulated dispenser has to give: for each seed the best of its settings, and what a start and chance make of it.

    python -m tests.bench.dispenser [RUNS]

One JSON object. `worth` is the virtual tag of configs/dispenser.yaml; the thread may be 0.2 mm at most.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from drivers.dispenser.plant import INPUTS, OUTPUTS, START, Plant, outside, tripped
from edge import compile_expression, load_site

SITE = Path(__file__).parents[2] / "configs" / "dispenser.yaml"
THREAD = 0.2
LOW, HIGH = np.array(list(INPUTS.values())).T
WORTH = compile_expression(load_site(SITE).virtual["worth"].expression).evaluate
_CLOUD = np.random.default_rng(5).random((20_000, len(INPUTS)))


def worth(made: np.ndarray) -> np.ndarray:
    """float64[n] of outputs float64[n, 4]."""
    return WORTH({f"glue.{name}": made[:, k] for k, name in enumerate(OUTPUTS)})


def allowed(plant: Plant, x: np.ndarray) -> np.ndarray:
    """Where neither a range, nor an interlock, nor the thread is broken without noise, bool[n]."""
    return ~outside(x) & ~tripped(x) & (plant.truth(x)[:, 2] <= THREAD)


def best(plant: Plant) -> tuple[np.ndarray, float]:
    """The best allowed settings of the machine as it is now, and what they are worth without noise: a cloud over all, then clouds
    that shrink round the best."""
    middle, width = (LOW + HIGH) / 2, HIGH - LOW
    top, at = -np.inf, middle
    for turn in range(12):
        cloud = _CLOUD if turn == 0 else _CLOUD[:4000]
        x = np.clip(at + (cloud - 0.5) * width * 0.6**turn, LOW, HIGH)
        value = np.where(allowed(plant, x), worth(plant.truth(x)), -np.inf)
        if value.max() > top:
            top, at = float(value.max()), x[value.argmax()]
    return at, top


def main(runs: int) -> None:
    start, chance, reached = [], [], []
    for seed in range(runs):
        plant, rng = Plant(seed), np.random.default_rng(seed)
        top = best(plant)[1]
        tried = LOW + rng.random((25, len(INPUTS))) * (HIGH - LOW)
        found = np.where(allowed(plant, tried), worth(plant.truth(tried)), 0.0).max()
        start.append(float(worth(plant.truth(np.array([list(START.values())])))[0]) / top)
        chance.append(float(found) / top)
        reached.append(chance[-1] >= 0.95)
    told = {"start": np.median(start), "chance_25": np.median(chance), "chance_reaches_95": np.mean(reached)}
    print(json.dumps({"bench": "dispenser", "runs": runs, **{k: round(float(v), 3) for k, v in told.items()}}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
