"""A mixed line of rendered cars: `python -m tests.bench.lamps [--cars 1000]` judges the lamps of that many, of two models by the
dice, half of them with a fault at one of their 22 lamps, and counts the verdicts that are wrong."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from drivers.camera import car
from models.vision.recipe import Recipe, load
from models.vision.rules import decide

RECIPES = Path(__file__).parents[2] / "configs/recipes"
JITTER = 0.02  # seconds each way at which a picture may come


def sequences(count: int, seed: int = 1) -> tuple[int, list[str]]:
    """How many were judged, and what was judged wrong: another verdict, or another lamp named."""
    recipes = {}
    for model in car.MODELS:
        recipe = load(RECIPES / f"lamps-{model}.yaml")
        assert isinstance(recipe, Recipe), recipe
        recipes[model] = recipe
    rng, wrong = np.random.default_rng(seed), []
    for number in range(count):
        model = car.MODELS[int(rng.integers(2))]
        fault, lamp = ("", "") if number % 2 else (str(rng.choice(car.FAULTS)), str(rng.choice(car.NAMES)))
        view = recipes[model].views["front"]
        times = np.arange(0, view.lasts, view.every) + rng.uniform(0, JITTER)
        times = times + rng.uniform(-JITTER, JITTER, len(times))
        film = [
            (t, view(car.render(model, t, seed * 100_003 + number, fault, lamp)))
            for t in np.clip(times, 0, None).tolist()
        ]
        found = decide([view.over(film)], recipes[model].rules)
        right = (found.state, found.label) == (("ng", lamp) if fault else ("ok", ""))
        if not right or len(found.boxes) > 1:
            wrong.append(f"car {number}, {model}, {fault or 'good'} {lamp}: {found.state} {found.text}")
    return count, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cars", type=int, default=1000)
    began, count = time.perf_counter(), parser.parse_args().cars
    done, wrong = sequences(count)
    print("\n".join(wrong[:20]))
    print(
        f"{done} sequences of 22 lamps in 8 s, {len(wrong)} wrong, {(time.perf_counter() - began) / done * 1e3:.0f} ms each"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
