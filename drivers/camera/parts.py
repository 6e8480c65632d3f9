"""The parts that the simulated camera sees: a stamped washer plate on a belt, rendered anew for every seed.

A good part is a bright plate with a centre bore and four holes. Light, place, turn and grain vary with the seed. What can
be wrong is one of `DEFECTS`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

HEIGHT, WIDTH = 240, 320
DEFECTS = ("missing_hole", "scratch", "stain", "chipped_edge")
_RADIUS, _BORE, _HOLE, _BELT = 78, 22, 9, 38.0


def render(seed: int, defect: str = "") -> np.ndarray:
    """One picture, uint8[240, 320, 3] (BGR). The same seed and defect always give the same picture."""
    if defect and defect not in DEFECTS:
        raise ValueError(f"no defect is called {defect!r}; there are {', '.join(DEFECTS)}")
    rng = np.random.default_rng([seed, 7])
    centre = np.array([WIDTH / 2, HEIGHT / 2]) + rng.uniform(-14, 14, 2)
    turn, light = rng.uniform(0, math.pi / 2), rng.uniform(0.8, 1.15)
    image = _belt(rng)
    plate, dark = float(rng.uniform(165, 185)), float(rng.uniform(45, 60))
    _disc(image, centre, _RADIUS, plate)
    _disc(image, centre, _BORE, dark)
    spots = [_at(centre, 50, turn + k * math.pi / 2) for k in range(4)]
    missing = int(rng.integers(4)) if defect == "missing_hole" else -1
    for k, spot in enumerate(spots):
        if k != missing:
            _disc(image, spot, _HOLE, dark)
    if defect == "scratch":
        _scratch(image, rng, centre, plate)
    elif defect == "stain":
        spot = _at(centre, rng.uniform(32, 62), turn + rng.uniform(0.35, 1.2))
        axes = (int(rng.integers(9, 15)), int(rng.integers(6, 10)))
        cv2.ellipse(image, _pixel(spot), axes, float(rng.uniform(0, 180)), 0, 360, plate * 0.62, -1, cv2.LINE_AA)
    elif defect == "chipped_edge":
        _disc(image, _at(centre, _RADIUS + 2, rng.uniform(0, 2 * math.pi)), int(rng.integers(13, 19)), _BELT)
    slope = np.linspace(-1, 1, WIDTH)[None, :] * rng.uniform(-0.08, 0.08)
    noisy = cv2.GaussianBlur(image, (3, 3), 0) * light * (1 + slope) + rng.normal(0, 3.0, image.shape)
    grey = np.clip(noisy, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _belt(rng: np.random.Generator) -> np.ndarray:
    rows = rng.normal(0, 3.0, (HEIGHT, 1))
    return np.full((HEIGHT, WIDTH), _BELT) + rows


def _at(centre: np.ndarray, radius: float, angle: float) -> np.ndarray:
    return centre + radius * np.array([math.cos(angle), math.sin(angle)])


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _disc(image: np.ndarray, centre: np.ndarray, radius: int, level: float) -> None:
    cv2.circle(image, _pixel(centre), radius, level, -1, cv2.LINE_AA)


def _scratch(image: np.ndarray, rng: np.random.Generator, centre: np.ndarray, plate: float) -> None:
    start = _at(centre, rng.uniform(30, 68), rng.uniform(0, 2 * math.pi))
    angle, bend = rng.uniform(0, 2 * math.pi), rng.uniform(-0.25, 0.25)
    points = [start]
    for _ in range(6):
        angle += bend
        points.append(_at(points[-1], 9, angle))
    marked = image.copy()
    line = np.array(points).round().astype(np.int32)
    cv2.polylines(marked, [line], False, plate * 1.32, 2, cv2.LINE_AA)
    on_plate = image > plate * 0.9
    image[on_plate] = marked[on_plate]
