"""Rendered parts whose place is known exactly: drawn four times as large, moved there, and averaged down."""

from __future__ import annotations

import cv2
import numpy as np

from models.vision.registration import composed

SHAPE, TIMES = (300, 400), 4
WRONG = 99


def drawn(kind: int = 5, defect: bool = False) -> np.ndarray:
    """A plate with round things on it that `kind` chose; a defect is a dark spot of 6 px at 200, 150."""
    image = np.full((SHAPE[0] * TIMES, SHAPE[1] * TIMES), 40, np.uint8)
    cv2.rectangle(image, (70 * TIMES, 50 * TIMES), (330 * TIMES, 250 * TIMES), 170, -1)
    rng = np.random.default_rng(kind)
    for _ in range(12):
        x, y, radius, level = rng.uniform(90, 310), rng.uniform(70, 230), rng.uniform(4, 16), int(rng.integers(50, 240))
        cv2.circle(image, (int(x * TIMES), int(y * TIMES)), int(radius * TIMES), level, -1)
    if defect:
        cv2.circle(image, (200 * TIMES, 150 * TIMES), 6 * TIMES, 5, -1)
    return image


def part(
    dx: float = 0,
    dy: float = 0,
    turn: float = 0,
    scale: float = 0,
    seed: int = 1,
    light: float = 1.0,
    kind: int = 5,
    defect: bool = False,
) -> np.ndarray:
    """uint8[300, 400], with noise of 2 grey levels."""
    large = drawn(kind, defect)
    move = composed(dx * TIMES, dy * TIMES, turn, scale, large.shape)
    large = cv2.warpAffine(large, move, large.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    clean = cv2.resize(large, SHAPE[::-1], interpolation=cv2.INTER_AREA).astype(float)
    return np.clip(clean * light + np.random.default_rng(seed).normal(0, 2, SHAPE), 0, 255).astype(np.uint8)


def empty(seed: int = 3) -> np.ndarray:
    """The belt without a part."""
    return np.clip(np.random.default_rng(seed).normal(40, 3, SHAPE), 0, 255).astype(np.uint8)
