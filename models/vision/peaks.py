"""From what a detector's network says of each cell to boxes: peaks of the grid, without doubles.

The network gives heat[h, w, labels], log odds of a defect's centre in a cell, and place[h, w, 4]: by how much of a cell the centre
is off the cell's middle (x, y), and the log of width and height in units of `Detect.unit` pixels. Both as int8 or float.
"""

from __future__ import annotations

import numpy as np

from ..engines.contract import Tensor
from ..package import Detect

MOST = 128  # boxes of one picture
DOUBLES = 0.35  # of two boxes that overlap more, whatever their labels, the better one stays


def odds(spec: Tensor) -> np.ndarray | None:
    """float32[256]: the probability of each int8 that `spec` may hold, by its bits as uint8; None where it holds no integers."""
    if not spec.scale:
        return None
    held = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float64)
    return sigmoid((held - spec.zero) * spec.scale).astype(np.float32)


def _sound(x: np.ndarray) -> np.ndarray:
    """Raises ValueError for what is no number: it would be above no threshold, and a bad part a good one."""
    if not np.isfinite(x).all():
        raise ValueError("its network says what is no number")
    return x.astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def read(heat: np.ndarray, place: np.ndarray, table: np.ndarray | None, spec: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What a network said, in numbers: the grid, float32[..., h, w, labels] of probabilities, and float32[..., h, w, 4]. Raises
    ValueError where they are no numbers."""
    grid = sigmoid(_sound(heat)) if table is None else table[heat.view(np.uint8)]
    if not spec.scale:
        return grid, _sound(place)
    off = place.astype(np.float32)
    off -= np.float32(spec.zero)
    off *= np.float32(spec.scale)
    return grid, off


def peaks(best: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cells of float32[h, w] that are above `least` and not below any of their eight neighbours, the
    highest first, `MOST` at most."""
    h, w = best.shape
    rim = np.full((h + 2, w + 2), -1.0, np.float32)
    rim[1:-1, 1:-1] = best
    y, x = np.nonzero(best > least)
    flat, step = rim.ravel(), w + 2
    at = (y + 1) * step + x + 1
    near = at[:, None] + np.array([-step - 1, -step, -step + 1, -1, 1, step - 1, step, step + 1])
    height = flat[at]
    top = np.flatnonzero(height >= flat[near].max(axis=1, initial=-1.0))
    top = top[np.argsort(-height[top], kind="stable")[:MOST]]
    return y[top], x[top]


def overlap(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """float[n, m]: intersection over union of boxes [n, >= 4] and [m, >= 4]."""
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:4], two[None, :, 2:4])
    both = np.clip(high - low, 0, None).prod(axis=2)
    area = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (one, two)]
    return both / np.maximum(area[0][:, None] + area[1][None] - both, 1e-9)


def without_doubles(found: np.ndarray) -> np.ndarray:
    """Boxes [n, >= 5] by falling score: each that overlaps a better one that stayed by more than `DOUBLES` is left out."""
    if len(found) < 2:
        return found
    close = overlap(found, found) > DOUBLES
    stays = np.ones(len(found), bool)
    for i in np.flatnonzero(np.triu(close, 1).any(axis=1)):
        if stays[i]:
            stays[i + 1 :] &= ~close[i, i + 1 :]
    return found[stays]


def highest(grid: np.ndarray) -> np.ndarray:
    """float32[h, w]: the best of each cell's labels."""
    best: np.ndarray = grid[:, :, 0].copy()
    for label in range(1, grid.shape[2]):
        np.maximum(best, grid[:, :, label], out=best)
    return best


def boxes(grid: np.ndarray, off: np.ndarray, model: Detect, least: float) -> np.ndarray:
    """float32[n, 6], x0, y0, x1, y1 in pixels, score and label's number, the best first, of what `read` gave."""
    y, x = peaks(highest(grid), least)
    return without_doubles(_boxes(y, x, grid[y, x].argmax(axis=1), grid, off, model))


def _boxes(
    y: np.ndarray, x: np.ndarray, label: np.ndarray, grid: np.ndarray, off: np.ndarray, model: Detect
) -> np.ndarray:
    far = np.clip(off[y, x].astype(np.float64), -8, 8)
    middle = (np.stack([x, y], axis=1) + 0.5 + far[:, :2]) * model.stride
    half = np.exp(far[:, 2:]) * (model.unit / 2)
    return np.column_stack([middle - half, middle + half, grid[y, x, label], label]).astype(np.float32)


def likely(grid: np.ndarray, off: np.ndarray, model: Detect, least: float) -> np.ndarray:
    """As `boxes`, of every class where it is above `least` and not below itself in the cells around, whatever other class is
    likelier there: 4 * MOST at most."""
    h, w, many = grid.shape
    y, x = np.nonzero(highest(grid) > least)
    around = np.arange(-1, 2)
    rows, columns = np.clip(y[:, None] + around, 0, h - 1), np.clip(x[:, None] + around, 0, w - 1)
    score = grid[y, x]
    top = score >= grid[rows[:, :, None], columns[:, None, :]].reshape(len(y), 9, many).max(axis=1)
    cell, label = np.nonzero(top & (score > least))
    best = np.argsort(-score[cell, label], kind="stable")[: 4 * MOST]
    cell, label = cell[best], label[best]
    return _boxes(y[cell], x[cell], label, grid, off, model)


def besides(found: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """Those of `likely` whose class none of `found` has that overlaps them by more than `DOUBLES`: what those may be instead."""
    told = (overlap(likely, found) > DOUBLES) & (likely[:, None, 5] == found[None, :, 5])
    return likely[~told.any(axis=1)]


def agree(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two lists of boxes are the same decisions: as many, and each has one of its label that covers it well."""
    if len(one) != len(two):
        return False
    same = (overlap(one, two) > 0.5) & (one[:, None, 5] == two[None, :, 5])
    return bool(same.any(axis=1).all() and same.any(axis=0).all())
