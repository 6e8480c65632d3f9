"""Which fault it is: classes that share one covariance, drawn towards a sphere so that few recordings are enough (R. A. Fisher,
1936; J. H. Friedman, 1989)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
