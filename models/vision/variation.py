"""The variation of good parts: how light and how dark each pixel may be, learned from a few of them.

Every placed part is brought to the template's light and softened a little; mean and spread of each pixel follow. An edge may move
by `edge` pixels, so a pixel may be as light as the lightest mean around it and as dark as the darkest. What lies beyond is counted
in tolerances, a tolerance being `spread` standard deviations or `levels` grey levels, whichever is more. A cell's score is the mean
of its window of 4 x 4 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..package import Variation
from .registration import NotPlaced, Placed, rectangle

BORDER = 2  # pixels at each side that are not judged: softening knows only half of them
LIGHT = 1.8  # times the contrast of the taught parts, either way
MOST = 8.0  # tolerances that one pixel adds at most


@dataclass(frozen=True)
class Allowance:
    """`edge` pixels, `levels` grey levels, `spread` standard deviations."""

    edge: int = 1
    levels: float = 8.0
    spread: float = 3.0


@dataclass(frozen=True)
class Normal:
    """float32[h, w] each, in grey levels: what a pixel may be, and its tolerance; that is 0 where nothing is judged."""

    low: np.ndarray
    high: np.ndarray
    tolerance: np.ndarray


def lit(placed: Placed, template: np.ndarray) -> tuple[np.ndarray, float]:
    """uint8[h, w] of a placed grey part as the template's light shows it, the template where the picture ended; and how many
    times its contrast was the template's. Raises NotPlaced beyond LIGHT: too little of the part may be left to see."""
    at = rectangle(placed.seen)
    (mean, spread), (wanted, wide) = (_mean_and_spread(x, placed.seen, at) for x in (placed.image, template))
    contrast = spread / max(wide, 1e-6)
    if not 1 / LIGHT <= contrast <= LIGHT:
        raise NotPlaced(f"the light is another one: {contrast:.2f} times the contrast of the taught parts")
    levels = np.clip((np.arange(256) - mean) / contrast + wanted, 0, 255).round().astype(np.uint8)
    image = template.copy()
    if at is None:
        cv2.copyTo(cv2.LUT(placed.image, levels), placed.seen, image)
    else:
        image[at] = cv2.LUT(placed.image[at], levels)
    return image, contrast


def _mean_and_spread(image: np.ndarray, seen: np.ndarray, at: tuple[slice, slice] | None) -> tuple[float, float]:
    mean, spread = cv2.meanStdDev(image, mask=seen) if at is None else cv2.meanStdDev(image[at])
    return float(mean[0, 0]), float(spread[0, 0])


def softened(image: np.ndarray) -> np.ndarray:
    """float32[h, w] of uint8[h, w]: 1 2 1 across and down."""
    return cv2.GaussianBlur(image.astype(np.float32), (3, 3), 0)


class Learner:
    """Sums over good parts, from which any one of them can be left out."""

    def __init__(self, parts: np.ndarray, judged: np.ndarray, allowance: Allowance) -> None:
        """`parts` float32[n, h, w], softened; `judged` bool[h, w]."""
        self._parts, self._judged, self._allowance = parts, judged, allowance
        self._sum = parts.sum(axis=0, dtype=np.float64)
        self._squares = np.einsum("nhw,nhw->hw", parts, parts, dtype=np.float64)

    def normal(self, without: int | None = None) -> Normal:
        many, total, squares = len(self._parts), self._sum, self._squares
        if without is not None:
            one = self._parts[without].astype(np.float64)
            many, total, squares = many - 1, total - one, squares - one * one
        mean = total / many
        variance = np.maximum(squares / many - mean * mean, 0) * (many / (many - 1))
        deviation = np.sqrt(np.maximum(cv2.blur(variance, (5, 5)), 0)).astype(
            np.float32
        )  # a pixel's own spread is little known of few parts
        window = np.ones((2 * self._allowance.edge + 1,) * 2, np.uint8)
        tolerance = np.maximum(
            cv2.dilate(deviation, window) * self._allowance.spread, np.float32(self._allowance.levels)
        )
        tolerance[~self._judged] = 0
        flat = mean.astype(np.float32)
        return Normal(cv2.erode(flat, window), cv2.dilate(flat, window), tolerance)


def field(soft: np.ndarray, normal: Normal) -> np.ndarray:
    """float32[h', w']: how many tolerances each cell of a softened part lies beyond what is normal."""
    beyond = np.maximum(soft - normal.high, 0) + np.maximum(normal.low - soft, 0)
    each = np.divide(beyond, normal.tolerance, out=np.zeros_like(beyond), where=normal.tolerance > 0)
    window, step = Variation.WINDOW, Variation.STEP
    mean = cv2.blur(np.minimum(each, MOST), (window, window), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    return mean[: soft.shape[0] - window + 1 : step, : soft.shape[1] - window + 1 : step]


def boxes_of(cells: np.ndarray, least: float) -> list[tuple[int, int, int, int, float]]:
    """x0, y0, x1, y1 in pixels and the highest score of each group of cells of `least` or more, the worst first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((cells >= least).astype(np.uint8), connectivity=8)
    if count == 1:
        return []
    worst = np.zeros(count, np.float32)
    np.maximum.at(worst, np.asarray(labels, np.intp).ravel(), cells.ravel())
    step, window = Variation.STEP, Variation.WINDOW
    found = []
    for (x, y, w, h, _), score in zip(stats[1:].tolist(), worst[1:].tolist(), strict=True):
        x0, y0 = x * step, y * step
        found.append((x0, y0, x0 + (w - 1) * step + window, y0 + (h - 1) * step + window, score))
    return sorted(found, key=lambda box: -box[4])
