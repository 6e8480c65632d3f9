"""Which fault it is: classes that share one covariance, drawn towards a sphere so that few recordings are enough (R. A. Fisher,
1936; J. H. Friedman, 1989)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

VERSION = 1
UNKNOWN = 5.0  # spreads of the learned rows, in the mean over features, from which on a row is like none of them
SHRINK = 0.5  # how far the covariance is drawn towards that of features that know nothing of each other


@dataclass(frozen=True)
class Diagnosis:
    """Fitted: `mean`, `spread` float64[k] of the features; `weight` float64[k, classes] and `offset` float64[classes]."""

    labels: tuple[str, ...]
    mean: np.ndarray
    spread: np.ndarray
    weight: np.ndarray
    offset: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities float64[n, classes] of rows [n, k], each class taken for as likely as any other beforehand."""
        score = (features - self.mean) / self.spread @ self.weight + self.offset
        odds = np.exp(score - score.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def known(self, features: np.ndarray) -> np.ndarray:
        """bool[n]: whether a row [n, k] is like any that was learned; what is not has a class, too, which says nothing."""
        return np.asarray((((features - self.mean) / self.spread) ** 2).mean(axis=1) <= UNKNOWN**2)

    def as_json(self) -> dict[str, Any]:
        kept = {name: getattr(self, name).tolist() for name in ("mean", "spread", "weight", "offset")}
        return {"version": VERSION, "kind": "diagnosis", "labels": list(self.labels), **kept}

    @classmethod
    def from_json(cls, document: Any) -> Diagnosis:
        """Raises ValueError for anything that is no diagnosis of this version, or a damaged one."""
        try:
            if document["kind"] != "diagnosis" or document["version"] != VERSION:
                raise ValueError("it holds something else, or another version")
            labels = tuple(map(str, document["labels"]))
            mean, spread, weight, offset = (
                np.array(document[name], float) for name in ("mean", "spread", "weight", "offset")
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"no diagnosis: {type(error).__name__} {error}") from None
        k, n = mean.size, len(labels)
        shapes = ((mean, (k,)), (spread, (k,)), (weight, (k, n)), (offset, (n,)))
        if not k or n < 2 or not all(x.shape == shape and np.isfinite(x).all() for x, shape in shapes):
            raise ValueError("a damaged diagnosis")
        if not (spread > 0).all():
            raise ValueError("a damaged diagnosis")
        return cls(labels, mean, spread, weight, offset)


def fit(features: np.ndarray, labels: Sequence[str], shrink: float = SHRINK) -> Diagnosis:
    """From rows [n, k] and the label of each. Raises ValueError for one class or values that are none."""
    names = tuple(sorted(set(labels)))
    if len(names) < 2 or not np.isfinite(features).all():
        raise ValueError("it takes rows of numbers, and of two classes at least")
    mean, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    z, label = (features - mean) / spread, np.array(labels)
    centre = np.array([z[label == name].mean(axis=0) for name in names])
    off = z - centre[np.searchsorted(names, label)]
    shared = off.T @ off / len(off)
    shared = (1 - shrink) * shared + shrink * np.trace(shared) / len(shared) * np.eye(len(shared))
    weight = np.linalg.solve(shared, centre.T)
    return Diagnosis(names, mean, spread, weight, -0.5 * np.einsum("ck,kc->c", centre, weight))
