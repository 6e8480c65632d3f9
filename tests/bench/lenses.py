"""Three other ways to say the quality of a moulded lens, on the same five folds as `lineside model evaluate injection-moulding`:
ratios of parameters, settings of the trees chosen inside each fold, and trees together with a Gaussian of each class.

    python -m tests.bench.lenses ../shared/data/injection-moulding
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.benchmarks.parameters import labelled
from models.process.judge import dealt
from models.process.trees import Growth, grown, softmax

Scores = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # of rows to learn, their classes, rows to judge
KEPT = 15  # ratios
RATES = ((0.05, 250), (0.1, 120))  # rate, rounds
DEPTHS = (3, 5)
RIDGES = (1.0, 8.0)
RIDGE = np.array([0.02, 0.1, 0.3])  # of a class's covariance, towards that of all
BESIDE = np.linspace(0, 1, 11)  # how much the Gaussian has to say


def trees(x: np.ndarray, y: np.ndarray, new: np.ndarray, how: Growth | None = None) -> np.ndarray:
    return grown(x, y, int(y.max()) + 1, np.random.default_rng(0), how).scores(new)


def ratios(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The ratios that speak most in trees grown on all of them, beside the parameters; chosen from the learned rows alone."""
    pairs = np.array(list(itertools.combinations(range(x.shape[1]), 2)))

    def of(rows: np.ndarray) -> np.ndarray:
        return rows[:, pairs[:, 0]] / (np.abs(rows[:, pairs[:, 1]]) + 1e-9)

    made = of(x)
    first = grown(made, y, int(y.max()) + 1, np.random.default_rng(0), Growth(rounds=40))
    said = sum(np.abs(first.reasons(made, kind)).sum(axis=0) for kind in range(int(y.max()) + 1))
    best = np.argsort(-np.asarray(said))[:KEPT]
    return trees(np.hstack([x, made[:, best]]), y, np.hstack([new, of(new)[:, best]]))


def likely(scores: np.ndarray, y: np.ndarray) -> float:
    return float(np.log(softmax(scores)[np.arange(len(y)), y] + 1e-9).mean())


def inside(way: Scores, x: np.ndarray, y: np.ndarray, seed: int = 1) -> np.ndarray:
    """Scores of learned rows by others of them."""
    fold, out = dealt(y, np.random.default_rng(seed), 4), np.zeros((len(y), int(y.max()) + 1))
    for k in range(4):
        out[fold == k] = way(x[fold != k], y[fold != k], x[fold == k])
    return out


def chosen(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Depth, rate, rounds and ridge that make the learned rows likeliest, each by trees that did not see it."""
    tried = [
        Growth(rounds=n, rate=rate, depth=d, ridge=r) for (rate, n), d, r in itertools.product(RATES, DEPTHS, RIDGES)
    ]
    worth = [likely(inside(lambda a, b, c, how=how: trees(a, b, c, how), x, y), y) for how in tried]
    best = tried[int(np.argmax(worth))]
    print(
        f"  chosen: rate {best.rate:g}, {best.rounds} rounds, depth {best.depth}, ridge {best.ridge:g}", file=sys.stderr
    )
    return trees(x, y, new, best)


def gaussian(x: np.ndarray, y: np.ndarray, new: np.ndarray, ridge: float) -> np.ndarray:
    """Log odds by a normal distribution of each class over ranks (J. H. Friedman's regularised discriminant, 1989)."""

    def ranked(rows: np.ndarray) -> np.ndarray:
        share = np.column_stack([np.searchsorted(np.sort(a), b) for a, b in zip(x.T, rows.T, strict=True)]) / len(x)
        return np.asarray(np.log((share + 0.01) / (1.01 - share)))

    z, w = ranked(x), ranked(new)
    out = np.zeros((len(new), int(y.max()) + 1))
    all_ = np.cov(z.T)
    for kind in range(out.shape[1]):
        mine = z[y == kind]
        shared = (1 - ridge) * np.cov(mine.T) + ridge * all_ + 1e-3 * np.eye(z.shape[1])
        off = w - mine.mean(axis=0)
        _, size = np.linalg.slogdet(shared)
        out[:, kind] = -0.5 * (np.einsum("ij,ij->i", off, np.linalg.solve(shared, off.T).T) + size)
    return out


def together(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Log chances of trees and Gaussian, weighed as the learned rows are likeliest."""
    of_trees = np.log(softmax(inside(trees, x, y)) + 1e-6)
    best = (-np.inf, 0.0, 0.0)
    for ridge in RIDGE.tolist():
        of_bells = np.log(softmax(inside(lambda a, b, c, r=ridge: gaussian(a, b, c, r), x, y)) + 1e-6)
        for share in BESIDE.tolist():
            best = max(best, (likely((1 - share) * of_trees + share * of_bells, y), ridge, share))
    _, ridge, share = best
    print(f"  the Gaussian has {share:.1f} of the say, ridge {ridge:g}", file=sys.stderr)
    own = np.log(softmax(trees(x, y, new)) + 1e-6)
    return np.asarray((1 - share) * own + share * np.log(softmax(gaussian(x, y, new, ridge)) + 1e-6))


def main(folder: str) -> None:
    rows = labelled(Path(folder))
    fold = dealt(rows.y, np.random.default_rng(0))
    ways: dict[str, Scores] = {
        "as it is": trees,
        "with ratios": ratios,
        "settings inside": chosen,
        "with Gaussians": together,
    }
    for name, way in ways.items():
        right = np.zeros(len(rows.y), bool)
        for k in range(5):
            mine = fold == k
            right[mine] = way(rows.x[~mine], rows.y[~mine], rows.x[mine]).argmax(axis=1) == rows.y[mine]
        by_fold = ", ".join(f"{right[fold == k].mean():.1%}" for k in range(5))
        print(f"{name}: {right.mean():.2%} (folds {by_fold})", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
