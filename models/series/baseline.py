"""What normal looks like, and how far a row is from it.

Rows are z-scored on the training rows and clipped, smoothed by an exponentially weighted mean, and measured by the
Mahalanobis distance (P. C. Mahalanobis, 1936) with a covariance shrunk towards its diagonal mean (Ledoit and Wolf, 2004, with
a fixed weight). A rolling median takes out single rows. The score is that distance over `factor` times a high quantile of
the training rows' own, so that 1 is the limit whatever the channels are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK = 256  # rows smoothed at once


@dataclass(frozen=True)
class Settings:
    """`span`: rows the smoothing looks back; `median`: rows of the rolling median; `clip` in standard deviations."""

    span: float = 30.0
    clip: float = 8.0
    shrink: float = 0.05
    median: int = 1
    quantile: float = 0.99
    factor: float = 2.5


@dataclass(frozen=True)
class Baseline:
    """Fitted: `mean`, `scale` float64[c], `whiten` float64[c, c] with whiten @ whiten.T the inverse covariance, `limit`."""

    mean: np.ndarray
    scale: np.ndarray
    whiten: np.ndarray
    limit: float
    rows: int

    def as_json(self) -> dict[str, Any]:
        return {
            "version": 1,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "whiten": self.whiten.tolist(),
            "limit": self.limit,
            "rows": self.rows,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Baseline:
        """Raises ValueError for anything that is no baseline of this version."""
        try:
            if document["version"] != 1:
                raise ValueError(f"version {document['version']} is not known here")
            mean, scale, whiten = (np.array(document[k], float) for k in ("mean", "scale", "whiten"))
            limit, rows = float(document["limit"]), int(document["rows"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no baseline: {error}") from None
        n = len(mean)
        if (
            mean.shape != (n,)
            or scale.shape != (n,)
            or whiten.shape != (n, n)
            or not limit > 0
            or not np.all(scale > 0)
        ):
            raise ValueError("a damaged baseline")
        return cls(mean, scale, whiten, limit, rows)


def fit(rows: np.ndarray, settings: Settings) -> Baseline:
    """Learn from rows [n, c] that are normal. Raises ValueError when there are too few, or none that moves."""
    n, c = rows.shape
    if n < 10 * c:
        raise ValueError(f"{n} rows are too few for {c} tags; at least {10 * c}")
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    if not (spread > 0).any():
        raise ValueError("nothing moves in these rows")
    scale = np.where(spread > 0, spread, np.maximum(np.abs(mean) * 0.01, 1e-6))  # a still tag may move by 1 %
    start = Baseline(mean, scale, np.eye(c), 1.0, n)
    smooth = Scorer(start, settings).smooth(rows)
    settled = smooth[min(n // 4, round(settings.span)) :]
    covariance = np.cov(settled, rowvar=False).reshape(c, c)
    target = np.trace(covariance) / c
    shrunk = (1 - settings.shrink) * covariance + settings.shrink * max(target, 1e-9) * np.eye(c)
    whiten = np.linalg.cholesky(np.linalg.inv(shrunk))
    raw = Baseline(mean, scale, whiten, 1.0, n)
    distances = Scorer(raw, settings)(rows)[len(rows) - len(settled) :]
    return Baseline(mean, scale, whiten, float(settings.factor * np.quantile(distances, settings.quantile)), n)


class Scorer:
    """Scores rows as they come; keeps the smoothed row and the last distances between calls."""

    def __init__(self, baseline: Baseline, settings: Settings) -> None:
        self.baseline, self.settings = baseline, settings
        self._alpha = 2.0 / (settings.span + 1.0)
        self._smooth = np.zeros(len(baseline.mean))
        self._last: deque[float] = deque(maxlen=max(1, settings.median))

    def smooth(self, rows: np.ndarray) -> np.ndarray:
        """Clipped z-scores [n, c] under the weighted mean, as one matrix product a chunk."""
        z = np.clip((rows - self.baseline.mean) / self.baseline.scale, -self.settings.clip, self.settings.clip)
        out = np.empty_like(z)
        for start in range(0, len(z), CHUNK):
            part = z[start : start + CHUNK]
            age = np.arange(len(part))[:, None] - np.arange(len(part))[None, :]
            weight = np.where(age >= 0, self._alpha * (1 - self._alpha) ** np.maximum(age, 0), 0.0)
            decay = (1 - self._alpha) ** np.arange(1, len(part) + 1)
            out[start : start + CHUNK] = weight @ part + decay[:, None] * self._smooth
            self._smooth = out[start + len(part) - 1]
        return out

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Scores [n] of rows [n, c] in their order; above 1 is not normal."""
        distances = np.linalg.norm(self.smooth(rows) @ self.baseline.whiten, axis=1) / self.baseline.limit
        scores = np.empty(len(distances))
        for i, distance in enumerate(distances):
            self._last.append(float(distance))
            scores[i] = sorted(self._last)[len(self._last) // 2]
        return scores
