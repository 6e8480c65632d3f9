"""Teaching a texture from good parts alone: how they differ among themselves, and which way a defect would move them.

Of good parts the mean and the covariance of their numbers (`texture.py`) are learned, shrunk as Ledoit and Wolf tell for so few.
Defects of several kinds are drawn on them; each kind moves the numbers one way in the mean, and how good parts differ along that
way is divided out. A picture's score is how many standard deviations of good parts it lies along the way that it lies farthest on.
Each part is scored by what the others teach; the limits follow from those scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge import LinesideError

from .drawn import KINDS, drawn
from .teaching import FEWEST, SURE, student
from .texture import answers, numbers, roughness, unfit

DRAWN = 60  # defects at least, shared out among the parts
FOLDS = 10  # at most
PLAIN = 0.3  # of the covariance: taken as if all numbers varied alike and alone, beside what Ledoit and Wolf take
FLOOR = 0.015  # spread of a number at least, as a share of its range
LIGHT, ROUGH = 1.8, 0.7  # how many times lighter or darker a picture may be; logarithm of how many times rougher
Say = Callable[[str], None]


@dataclass(frozen=True)
class Ways:
    """`mean` float64[features] of good parts, 0..1; `each` float64[kinds, features]: a picture less the mean, times this, is how
    many standard deviations it lies along the way of each kind."""

    mean: np.ndarray
    each: np.ndarray

    def __call__(self, seen: np.ndarray) -> np.ndarray:
        """float64[..., kinds] of numbers uint8[..., features]."""
        return np.asarray((seen / 255 - self.mean) @ self.each.T)


@dataclass(frozen=True)
class Seen:
    """One part: its numbers uint8[features]; of each defect drawn on it the kind and the numbers; its mean grey level, and how
    rough it is."""

    good: np.ndarray
    drawn: list[tuple[str, np.ndarray]]
    light: float
    rough: float


@dataclass(frozen=True)
class Lesson:
    """What was learned. `scores` of each part, and `noticed` of each kind's drawn defects, by what did not know the part; they and
    the limits in standard deviations."""

    ways: Ways
    parts: list[Seen]
    scores: list[float]
    noticed: dict[str, list[float]]
    ok_below: float
    ng_above: float
    light: tuple[float, float]
    rough: tuple[float, float]


def learn(parts: Sequence[np.ndarray], names: Sequence[str], seed: int = 1, say: Say = lambda text: None) -> Lesson:
    """Pictures uint8[h, w] of good surfaces. Raises LinesideError in words, naming the picture."""
    if len(parts) < FEWEST:
        raise LinesideError(
            f"{len(parts)} parts tell nothing of how they differ", hint=f"{FEWEST} at least; 20 are good"
        )
    for part, name in zip(parts, names, strict=True):
        if said := unfit(part.shape):
            raise LinesideError(f"{name}: {said}")
    each = drawn_on_each(len(parts))
    say(f"drawing {each * len(parts)} defects on {len(parts)} parts")
    seen = [look(part, each, seed * 10_000 + k) for k, part in enumerate(parts)]
    say("learning which way they lie, each part by the others")
    order, scores = np.random.default_rng(seed).permutation(len(parts)), [0.0] * len(parts)
    noticed: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for fold in range(min(FOLDS, len(parts))):
        held = set(order[fold::FOLDS].tolist())
        known = ways([one for k, one in enumerate(seen) if k not in held])
        for k in held:
            scores[k] = float(known(seen[k].good).max())
            for kind, worse in seen[k].drawn:
                noticed[kind].append(float(known(worse).max()))
    ok, ng = limits(scores)
    lights, roughs = [one.light for one in seen], [one.rough for one in seen]
    light = (min(lights) / LIGHT, max(lights) * LIGHT)
    return Lesson(ways(seen), seen, scores, noticed, ok, ng, light, (min(roughs) - ROUGH, max(roughs) + ROUGH))


def drawn_on_each(parts: int) -> int:
    """How many defects are drawn on each of so many parts: one of every kind at least."""
    return max(len(KINDS), -(-DRAWN // parts))


def look(image: np.ndarray, many: int, seed: int) -> Seen:
    """A part, and `many` defects drawn on it one at a time, of all kinds by turns."""
    rng, kinds, worse = np.random.default_rng(seed), list(KINDS), []
    for k in range(many):
        worse.append((kinds[k % len(kinds)], numbers(*answers(drawn(image, kinds[k % len(kinds)], rng)))))
    cells, spreads = answers(image)
    return Seen(numbers(cells, spreads), worse, float(image.mean()), roughness(spreads))


def ways(parts: Sequence[Seen]) -> Ways:
    """Which way each kind of drawn defect moves good parts, in the order of KINDS."""
    good = np.stack([one.good for one in parts]) / 255
    mean, spread = good.mean(axis=0), np.sqrt(good.var(axis=0) + FLOOR**2)
    covariance = shrunk((good - mean) / spread)
    size = len(covariance)
    covariance = (1 - PLAIN) * covariance + PLAIN * np.trace(covariance) / size * np.eye(size)
    moved = [
        np.mean(
            [(worse / 255 - one.good / 255) / spread for one in parts for of, worse in one.drawn if of == kind], axis=0
        )
        for kind in KINDS
    ]
    each = np.linalg.solve(covariance, np.stack(moved).T).T
    along = np.sqrt(np.einsum("kf,fg,kg->k", each, covariance, each))
    return Ways(mean, each / np.maximum(along, 1e-9)[:, None] / spread)


def shrunk(values: np.ndarray) -> np.ndarray:
    """Covariance of float64[n, features] with mean 0, shrunk towards equal variances by as much as its own error says (Ledoit and
    Wolf, 2004)."""
    many, size = values.shape
    sample = values.T @ values / many
    middle = np.trace(sample) / size
    apart = ((sample - middle * np.eye(size)) ** 2).sum()
    error = ((values**2).T @ values**2 / many - sample**2).sum() / many
    share = float(np.clip(error / max(apart, 1e-12), 0, 1))
    return np.asarray((1 - share) * sample + share * middle * np.eye(size))


def limits(scores: Sequence[float]) -> tuple[float, float]:
    """OK up to the highest score of n good parts: the next good one exceeds it with a chance of 1 in n + 1. NG from where a further
    score would lie with a chance of 1 - SURE if they were spread as a bell: few parts set it far out."""
    n, values = len(scores), np.asarray(scores)
    spread = max(float(values.std(ddof=1)), 0.25)
    ok = max(float(values.max()), 1.0)
    return ok, max(float(values.mean()) + student(SURE, n - 1) * spread * (1 + 1 / n) ** 0.5, 1.1 * ok)
