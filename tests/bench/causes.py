"""How often `lineside causes` finds something where nothing is, and how often what is there: made-up parts, many seeds.

python -m tests.bench.causes [SEEDS] [TAGS]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from models.benchmarks.parameters import labelled, one_hot
from models.causes.parts import Column, Parts
from models.causes.rank import Ranking, ranked

HOURS = tuple(f"{h:02}:00" for h in range(24))


def wandering(rng: np.random.Generator, n: int, k: int, memory: float) -> np.ndarray:
    """float64[n, k] of spread 1 in which each row keeps so much of the one before."""
    x = rng.normal(size=(n, k)) * np.sqrt(1 - memory**2)
    x[0] /= np.sqrt(1 - memory**2)
    for i in range(1, n):
        x[i] += memory * x[i - 1]
    return x


def parts(seed: int, n: int, tags: int, memory: float, heaps: float, factor: float = 1.0, rate: float = 0.08) -> Parts:
    """NG of `rate`, in heaps where `heaps` > 0, and `factor` times as frequent in the lowest fifth of the first tag."""
    rng = np.random.default_rng(seed)
    x = wandering(rng, n, tags, memory)
    heap = 1.5 * wandering(rng, n, 1, heaps)[:, 0] if heaps else np.zeros(n)
    chance = 1 / (1 + np.exp(-heap - np.log(rate / (1 - rate))))
    ng = rng.random(n) < np.minimum(1, chance * np.where(x[:, 0] < -0.84, factor, 1.0))
    hour = Column("hour", (np.arange(n) * 24 // 500 % 24).astype(float), labels=HOURS, ring=True)
    columns = [Column(f"t{k}", x[:, k]) for k in range(tags)]
    return Parts(np.arange(n) * 10**10, ng, np.where(ng, "x", "").astype(object), [*columns, hour], {})


def main(seeds: int = 200, tags: int = 20) -> None:
    cases = {
        "parts know nothing of each other": (0.0, 0.0),
        "tags wander (0.99)": (0.99, 0.0),
        "tags wander (0.9), NG in heaps (0.9)": (0.9, 0.9),
        "tags wander (0.99), NG in heaps (0.99)": (0.99, 0.99),
    }
    for n in (600, 3000):
        for name, (memory, heaps) in cases.items():
            began = time.process_time()
            none = [ranked(parts(seed, n, tags, memory, heaps)) for seed in range(seeds)]
            took = (time.process_time() - began) / seeds / (tags + 1)
            false = sum(bool(told.found) for told in none)
            sure = sum(any(not one.once for one in told.found) for told in none)
            there = [sum(_first(ranked(parts(seed, n, tags, memory, heaps, factor))) for seed in range(seeds // 4))
                     for factor in (3.0, 5.0)]  # fmt: skip
            print(
                f"{n} parts, {tags} tags, {name}: something where nothing is in {false / seeds:.1%} of {seeds} journals"
                f" ({sure / seeds:.1%} not in one stretch alone); 3 times as frequent found in {there[0] / (seeds // 4):.0%},"
                f" 5 times in {there[1] / (seeds // 4):.0%}; {took * 1e3:.0f} ms a tag",
                flush=True,
            )


def tables(data: Path, shuffles: int = 60) -> None:
    """Of each class against the others, and how often something is found where the classes are shuffled."""
    for name, rows in (
        ("injection-moulding", labelled(data / "injection-moulding")),
        ("steel-plates", one_hot(data / "steel-plates")),
    ):
        columns = [Column(title, value) for title, value in zip(rows.names, rows.x.T, strict=True)]

        def told(ng: np.ndarray, seed: int, columns: list[Column] = columns) -> Ranking:
            kind = np.where(ng, "x", "").astype(object)
            return ranked(Parts(np.zeros(len(ng), np.int64), ng, kind, columns, {}), seed)

        for k, kind in enumerate(rows.kinds):
            found = told(rows.y == k, 0).found
            best = f"{found[0].where}, {found[0].times:.3g} times" if found else "nothing"
            print(f"{name}, {kind}: {len(found)} of {len(columns)} found; first {best}")
        rng = np.random.default_rng(0)
        false = sum(bool(told(rng.permutation(rows.y == s % len(rows.kinds)), s).found) for s in range(shuffles))
        print(f"{name}, shuffled: something in {false} of {shuffles}", flush=True)


def _first(told: Ranking) -> bool:
    return bool(told.found) and told.found[0].name == "t0"


if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].isdecimal():
        tables(Path(sys.argv[1]))
    else:
        main(*map(int, sys.argv[1:]))
