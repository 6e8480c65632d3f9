"""Boosted trees that say which class a part belongs to, with what they are worth on rows that they did not see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from edge import binomial

from .trees import RAREST, Growth, Trees, grown, softmax

VERSION = 1
FOLDS = 5
FEWEST, FEWEST_EACH = 50, 2 * FOLDS  # rows, and rows of a class
MOST_KINDS, MOST_NODES = 20, 5_000_000
BEYOND = 0.02  # of the learned range, by which a value may lie outside of it
LATER = 0.001  # chance below which rows of another time are said to be harder
HUGE = 1e300  # in place of an infinite cut, which JSON does not have
CLEARLY = 2.0  # standard errors by which chances have to say more than how frequent each class is
LEAST = 0.01  # share of that frequency in a chance: what was thought impossible happens
MORE = 0.02  # of a class found on average, from which on it is told what `say: balanced` would find
SURE = 0.05  # chance that trees are better than the most frequent class by luck


@dataclass(frozen=True)
class Judge:
    """`kinds` are the classes, `names` the parameters. `least`, `usual` and `most` float64[d] of the learned rows; `soft` divides
    the scores so that a chance is what it says."""

    trees: Trees
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    least: np.ndarray
    usual: np.ndarray
    most: np.ndarray
    soft: float
    rows: int

    def chances(self, x: np.ndarray) -> np.ndarray:
        """float64[n, kinds] of rows float64[n, d]."""
        return softmax(self.trees.scores(x) / self.soft)

    def said(self, chances: np.ndarray, balanced: bool) -> np.ndarray:
        """Which class a part is called, int64[n]: the likeliest, or the one that stands out most against how frequent it was in the
        learned rows."""
        return (chances / np.exp(balanced * self.trees.start)).argmax(axis=1)

    def reasons(self, x: np.ndarray, kind: int) -> np.ndarray:
        """What each parameter adds to the log odds of a class, float64[n, d]."""
        return self.trees.reasons(x, kind) / self.soft

    def outside(self, x: np.ndarray) -> np.ndarray:
        """bool[n, d]: values beyond all that was learned; there the trees say what they say at its edge."""
        room = BEYOND * (self.most - self.least)
        return np.asarray((x < self.least - room) | (x > self.most + room))

    def as_json(self) -> dict[str, Any]:
        trees = {"feature": self.trees.feature.tolist(), "cut": np.minimum(self.trees.cut, HUGE).tolist()}
        trees |= {"value": self.trees.value.tolist(), "start": self.trees.start.tolist()}
        told = {"names": list(self.names), "kinds": list(self.kinds), "soft": self.soft, "rows": self.rows}
        levels = {name: getattr(self, name).tolist() for name in ("least", "usual", "most")}
        return {"version": VERSION, "kind": "quality", **told, **levels, **trees}

    @classmethod
    def from_json(cls, document: Any) -> Judge:
        """Raises ValueError for anything that is no such model, or a damaged one."""
        try:
            if document["kind"] != "quality" or document["version"] != VERSION:
                raise ValueError("it holds something else, or another version")
            feature = np.array(document["feature"])
            cut, value, start, least, usual, most = (
                np.array(document[name], float) for name in ("cut", "value", "start", "least", "usual", "most")
            )
            names, kinds = tuple(map(str, document["names"])), tuple(map(str, document["kinds"]))
            soft, rows = float(document["soft"]), int(document["rows"])
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"no model of quality: {type(error).__name__} {error}") from None
        if feature.ndim != 3 or feature.dtype.kind != "i" or feature.size > MOST_NODES:
            raise ValueError("a damaged model of quality")
        t, k, nodes = feature.shape
        d = len(names)
        shapes = ((cut, (t, k, nodes)), (value, (t, k, 2 * nodes + 1)), (start, (k,)))
        shapes += ((least, (d,)), (usual, (d,)), (most, (d,)))  # type: ignore[assignment]
        fits = all(x.shape == shape and np.isfinite(x).all() for x, shape in shapes)
        sound = fits and t and nodes & (nodes + 1) == 0 and 2 <= k == len(kinds) == len(set(kinds)) and d
        if not sound or feature.min() < 0 or feature.max() >= d or not 0 < soft < 1e6 or (most < least).any():
            raise ValueError("a damaged model of quality")
        return cls(Trees(feature.astype(np.int16), cut, value, start), names, kinds, least, usual, most, soft, rows)


@dataclass(frozen=True)
class Worth:
    """What trees are worth on rows that they did not see: of class `y` int64[n], `scores` float64[n, kinds] by trees of the other
    folds. `balanced`: rare classes are said more often, see `Judge.said`."""

    y: np.ndarray
    scores: np.ndarray
    balanced: bool = False

    @cached_property
    def found(self) -> np.ndarray:
        """int64[n]"""
        share = np.bincount(self.y, minlength=self.scores.shape[1]) / len(self.y)
        return np.asarray((self.scores / self.soft - self.balanced * np.log(np.maximum(share, RAREST))).argmax(axis=1))

    @property
    def accuracy(self) -> float:
        return float((self.found == self.y).mean())

    def matrix(self) -> np.ndarray:
        """int64[kinds, kinds]: how many rows of a class (row) were taken for which (column)."""
        k = self.scores.shape[1]
        return np.bincount(self.y * k + self.found, minlength=k * k).reshape(k, k)

    @property
    def recall(self) -> np.ndarray:
        """Which share of each class is found, float64[kinds]."""
        matrix = self.matrix()
        return np.asarray(matrix.diagonal() / np.maximum(matrix.sum(axis=1), 1))

    @property
    def precision(self) -> np.ndarray:
        """Which share of what is called a class is of it, float64[kinds]; 0 of what is never said."""
        matrix = self.matrix()
        return np.asarray(matrix.diagonal() / np.maximum(matrix.sum(axis=0), 1))

    def luck(self) -> float:
        """The chance that something no better than always saying the most frequent class is right so often."""
        usual = np.bincount(self.y).argmax()
        return by_luck(self.found == self.y, self.y == usual)

    def tells(self) -> bool:
        """Whether its chances say more of rows that it did not see than how frequent each class is: where bad parts are rare, the
        likeliest class is the usual one for each part, and never wrong more often."""
        share = np.bincount(self.y, minlength=self.scores.shape[1]) / len(self.y)
        gain = np.log((softmax(self.scores / self.soft) + LEAST * share) / (1 + LEAST) / share)[
            np.arange(len(self.y)), self.y
        ]
        return bool(gain.mean() > CLEARLY * gain.std() / np.sqrt(len(gain)))

    @cached_property
    def soft(self) -> float:
        """By what the scores are to be divided so that the rows are likeliest."""
        tried = np.geomspace(0.25, 8, 61)
        picked = np.arange(len(self.y)), self.y
        likely = [np.log(softmax(self.scores / by)[picked] + 1e-12).mean() for by in tried]
        return float(tried[int(np.argmax(likely))])


def by_luck(right: np.ndarray, other: np.ndarray) -> float:
    """The chance that of two that are as good one is `right` bool[n] so much more often than the `other` (McNemar, exact, one
    side)."""
    won, lost = int((right & ~other).sum()), int((~right & other).sum())
    return float(binomial(0.5, won + lost)[won:].sum()) if won + lost else 1.0


def worth(x: np.ndarray, y: np.ndarray, fold: np.ndarray, kinds: int, how: Growth | None = None) -> Worth:
    """Of rows float64[n, d] of class int64[n], each judged by trees of the other folds (`fold` int64[n])."""
    scores = np.zeros((len(y), kinds))
    for k in np.unique(fold).tolist():
        trees = grown(x[fold != k], y[fold != k], kinds, np.random.default_rng(k), how)
        scores[fold == k] = trees.scores(x[fold == k])
    return Worth(y, scores)


def dealt(y: np.ndarray, rng: np.random.Generator, folds: int = FOLDS) -> np.ndarray:
    """The fold of each row, int64[n]: each class is dealt out evenly."""
    fold = np.zeros(len(y), np.int64)
    for kind in np.unique(y):
        mine = rng.permutation(np.flatnonzero(y == kind))
        fold[mine] = np.arange(len(mine)) % folds
    return fold


def in_order(y: np.ndarray, folds: int = FOLDS) -> np.ndarray | None:
    """Folds of rows that follow each other; None where the table is sorted by class, or one is in fewer than three of them."""
    if (np.diff(y) != 0).sum() < 2 * folds:
        return None
    fold = np.arange(len(y)) * folds // len(y)
    often = min(len(np.unique(fold[y == kind])) for kind in np.unique(y))
    return fold if often >= min(3, folds) else None


def learned(
    x: np.ndarray, target: Sequence[str], names: Sequence[str], how: Growth | None = None
) -> tuple[Judge, Worth, Worth | None]:
    """A judge of rows float64[n, d], what it is worth, and what it is on rows that come later or earlier. Blocks: seconds for a
    few thousand rows. Raises ValueError where there is too little to learn from, or it is no better than the most frequent
    class, nor its chances than how frequent each is."""
    kinds, y = np.unique(np.array(target, str), return_inverse=True)
    _enough(x, y, kinds.tolist())
    told = worth(x, y, dealt(y, np.random.default_rng(0)), len(kinds), how)
    if (luck := told.luck()) > SURE and not told.tells():
        usual = int(np.bincount(y).argmax())
        raise ValueError(
            f"the trees are right in {told.accuracy:.1%} of {len(y):,} rows that they did not see, and always saying"
            f" {str(kinds[usual])!r} is right in {(y == usual).mean():.1%}: that is no better (by luck: {luck:.0%}), and"
            " nothing was kept; these parameters do not tell it, or there are too few rows"
        )
    order = in_order(y)
    later = None if order is None else worth(x, y, order, len(kinds), how)
    trees = grown(x, y, len(kinds), np.random.default_rng(0), how)
    usual_ = np.quantile(x, 0.5, axis=0)
    judge = Judge(
        trees,
        tuple(names),
        tuple(kinds.tolist()),
        x.min(axis=0),
        usual_,
        x.max(axis=0),
        told.soft,
        len(y),
    )
    return judge, told, later


def _enough(x: np.ndarray, y: np.ndarray, kinds: list[str]) -> None:
    if len(y) < FEWEST:
        raise ValueError(f"{len(y)} rows are too few; at least {FEWEST}")
    if not 2 <= len(kinds) <= MOST_KINDS:
        said = f"it is always {kinds[0]!r}" if len(kinds) == 1 else f"it has {len(kinds)} different values"
        raise ValueError(f"the target has to be one of 2 to {MOST_KINDS} classes; {said}")
    few = [f"{kind!r}: {n}" for kind, n in zip(kinds, np.bincount(y).tolist(), strict=True) if n < FEWEST_EACH]
    if few:
        raise ValueError(
            f"too few rows of a class ({', '.join(few)}); at least {FEWEST_EACH}: gather more, or leave those rows out"
        )
    if not (x.max(axis=0) > x.min(axis=0)).any():
        raise ValueError("no parameter changes in these rows")


def words(judge: Judge, told: Worth, later: Worth | None, balanced: bool = False) -> list[str]:
    """What it is worth, for a person, before it is kept."""
    n, said = len(told.y), replace(told, balanced=balanced)
    share = np.bincount(told.y).max() / n
    lines = [
        f"right in {said.accuracy:.1%} of {n:,} rows that it had not seen ({FOLDS} folds); always saying the most frequent"
        f" class: {share:.1%}",
        *_by_class(judge.kinds, said),
        f"found of each class, on average: {said.recall.mean():.1%}",
    ]
    if not balanced and (gain := replace(told, balanced=True).recall - said.recall).mean() >= MORE:
        lines.append(_if_balanced(judge.kinds, replace(told, balanced=True), gain))
    if told.luck() > SURE:
        lines.append(_by_chances(judge.kinds, told))
    if later is None:
        lines.append(
            "how it does on later rows is not known: the table is sorted by class, or a class came in one stretch alone"
        )
    else:
        later = replace(later, balanced=balanced)
        if by_luck(said.found == said.y, later.found == later.y) < LATER:
            lines.append(
                f"on rows of another time (the table in {FOLDS} stretches, one after the other) it is right in"
                f" {later.accuracy:.1%}: expect that, not the figure above"
            )
    return lines


def _by_class(kinds: Sequence[str], told: Worth) -> Iterator[str]:
    matrix = told.matrix()
    yield f"{'class':<20} {'rows':>7} {'found':>7} {'right of those it says':>24}  taken for"
    for k, kind in enumerate(kinds):
        order = np.argsort(-matrix[k], kind="stable")
        wrong = ", ".join(f"{kinds[j]} {matrix[k, j]}" for j in order if j != k and matrix[k, j])
        right = f"{told.precision[k]:.1%}" if matrix[:, k].any() else "never said"
        yield f"{kind[:20]:<20} {int(matrix[k].sum()):>7,} {told.recall[k]:>7.1%} {right:>24}  {wrong or '-'}"


def _if_balanced(kinds: Sequence[str], told: Worth, gain: np.ndarray) -> str:
    """What that would find; `gain` float64[kinds] of each class."""
    more, less = (
        ", ".join(f"{kinds[k]} {told.recall[k]:.1%}" for k in np.argsort(side * gain) if side * gain[k] <= -MORE)
        for side in (-1, 1)
    )
    return (
        f"with `say: balanced`: {told.recall.mean():.1%}, more of {more}"
        + (f", less of {less}" if less else "")
        + f"; right in {told.accuracy:.1%} of all rows"
    )


def _by_chances(kinds: Sequence[str], told: Worth) -> str:
    """Where the class that is said is worth nothing, and what is said of chances is."""
    usual = int(np.bincount(told.y).argmax())
    other = told.y != usual
    first = other[np.argsort(softmax(told.scores)[:, usual], kind="stable")[: max(1, len(other) // 10)]]
    return (
        f"the likeliest class is right no more often than always saying {kinds[usual]!r}, but its chances tell:"
        f" {first.mean():.1%} of the tenth that it trusts least are of another, {other.mean():.1%} of all; go by `ng`"
    )
