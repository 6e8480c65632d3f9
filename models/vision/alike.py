"""How far a placed picture is like its template: the gate of registration. Edges are compared, not light."""

from __future__ import annotations

import cv2
import numpy as np

WEAK = 4.0  # grey levels a pixel
GRAIN = 1.5  # grey levels a pixel
GRID = 40  # places of the longer side in which likeness is told apart
FAINT = 0.05  # of the strongest place's edges: a place with less has none
Slopes = tuple[np.ndarray, np.ndarray, np.ndarray]  # along x, along y, the sum of their squares


def alike(image: np.ndarray, slopes: Slopes, seen: np.ndarray) -> float:
    """How far a grey picture agrees with a template's slopes in its edges where it was seen, from -1 to 1: the mean, over the
    places of a grid in which either has edges, of how far both agree there. Light says little, and a strong outline no more than
    what lies within it."""
    h, w = image.shape
    out = cv2.erode(seen, np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) == 0
    (both, by_y, either), (x, y, squares) = slopes_of(image), slopes
    both *= x
    by_y *= y
    both += by_y
    either += squares
    both[out], either[out] = 0, 0
    size = [max(1, round(n * GRID / max(h, w))) for n in (w, h)]
    agree, there = (cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in map(halved, (both, either)))
    places = there > FAINT * float(there.max())
    return float((2 * agree[places] / there[places]).mean()) if places.any() else 0.0


def halved(field: np.ndarray) -> np.ndarray:
    """As large as it may be for a quick step to a far smaller one; what is odd at the end of a large one falls away."""
    h, w = (n // 2 for n in field.shape)
    return cv2.resize(field[: 2 * h, : 2 * w], (w, h), interpolation=cv2.INTER_AREA) if min(h, w) > 2 * GRID else field


def slopes_of(image: np.ndarray) -> Slopes:
    """float32[h, w] along x and y, from -1 to 1, and the sum of their squares: a slope of WEAK grey levels a pixel counts half,
    and what grain makes nothing. Grain is three times the middle slope, GRAIN at most: most of a picture has no edge."""
    soft = cv2.GaussianBlur(image, (0, 0), 1.5)
    x: np.ndarray = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=0.125)
    y: np.ndarray = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=0.125)
    size: np.ndarray = cv2.magnitude(x, y)
    grain = np.float32(min(3 * float(np.median(size[::4, ::4])), GRAIN))
    part = np.maximum(size - grain, 0)
    np.maximum(size, np.float32(1e-6), out=size)
    x /= size
    y /= size
    size += np.float32(WEAK)
    part /= size
    x *= part
    y *= part
    part *= part
    return x, y, part
