"""How a textured surface looks, in numbers that tell a defect somewhere on it: nothing is placed, sizes may differ.

The light is taken out (the logarithm of a grey level over the mean around it). At seven sizes from 1 to 18 pixels the surface is
asked for lines, spots, ridges across and steps, dark and light. A cell keeps the strongest answer within its 8 x 8 pixels, counted
in spreads of that answer over the picture, so a rough surface answers as a smooth one. The picture's numbers are, for each answer,
its spread, and the highest, the highest hundredth and the highest twentieth of all cells: with the rim, and without 1, 2 and 3
cells of it, for a rim answers louder than most defects.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ..package import Texture

CELL = Texture.CELL
LEAST, MOST = 96, 4 * 10**6  # pixels that a side has at least, and a picture at most
FEWEST_CELLS = 16  # that a mask leaves
SCALES = (
    (1.0, 1),
    (1.6, 1),
    (2.6, 2),
    (4.2, 2),
    (7.0, 4),
    (11.0, 4),
    (18.0, 8),
)  # sigma in pixels, every how many are seen
ANSWERS = 8 * len(SCALES)
RIMS = 4
LOW, HIGH = -3.0, 7.0  # of a number: what lies beyond says no more
USUAL = -3.0  # logarithm of the spread of a common surface
FAINT = 3e-3  # least spread of an answer: noise of a picture without texture


def answers(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32[h', w', ANSWERS] of the cells of a grey picture uint8[h, w], in squeezed spreads; and float32[ANSWERS], logarithms of
    the spreads over a usual one."""
    high, wide = image.shape
    surface = _evened(cv2.copyMakeBorder(image, 0, -high % CELL, 0, -wide % CELL, cv2.BORDER_REFLECT_101))
    found, spreads = [], []
    for sigma, step in SCALES:
        size = (surface.shape[1] // step, surface.shape[0] // step)
        seen = surface if step == 1 else cv2.resize(surface, size, interpolation=cv2.INTER_AREA)
        for answer in _asked(seen, sigma / step):
            every = max(1, int((answer.size / 8000) ** 0.5))
            low, middle, top = np.percentile(answer[1:-1:every, 1:-1:every], (25, 50, 75))
            spread = top - low + FAINT
            found.append(np.arcsinh((_strongest(answer, CELL // step) - middle) / spread))
            spreads.append(np.log(spread) - USUAL)
    return np.dstack(found).astype(np.float32), np.array(spreads, np.float32)


def numbers(cells: np.ndarray, spreads: np.ndarray, judged: np.ndarray | None = None) -> np.ndarray:
    """uint8[Texture.FEATURES] of a picture, LOW..HIGH in 255 steps. Only cells where `judged` bool[h', w'] is true are asked;
    raises ValueError where they are too few."""
    parts = [spreads]
    for rim in range(RIMS):
        inner = (slice(rim, len(cells) - rim), slice(rim, cells.shape[1] - rim))
        asked = cells[inner].reshape(-1, ANSWERS) if judged is None else cells[inner][judged[inner]]
        if len(asked) < FEWEST_CELLS:
            raise ValueError("the mask leaves too little of the surface to judge")
        hundredth, twentieth = max(2, len(asked) // 100), max(3, len(asked) // 20)
        ordered = -np.sort(-np.partition(asked, len(asked) - twentieth, axis=0)[len(asked) - twentieth :], axis=0)
        parts += [ordered[0], ordered[:hundredth].mean(axis=0), ordered.mean(axis=0)]
    all_of_them = np.concatenate(parts)
    return np.asarray(np.clip((all_of_them - LOW) * (255 / (HIGH - LOW)), 0, 255).round().astype(np.uint8))


def roughness(spreads: np.ndarray) -> float:
    """How much the surface itself varies from pixel to pixel: a logarithm."""
    return float(spreads[:16].mean())


def unfit(shape: tuple[int, ...]) -> str:
    """Why a picture [h, w] cannot be judged by its texture; empty where it can."""
    size = f"{shape[1]} x {shape[0]} px"
    if min(shape) < LEAST:
        return f"{size} are too few: {LEAST} a side at least"
    return f"{size} are too many: {MOST / 1e6:g} million at most" if math.prod(shape) > MOST else ""


def where(cells: np.ndarray, weights: np.ndarray, judged: np.ndarray | None) -> list[tuple[int, int, int, int]]:
    """x0, y0, x1, y1 in pixels around the cells that answer loudest to what weighs: float32[ANSWERS], the worst first."""
    heat = np.maximum(cells, 0) @ weights
    if judged is not None:
        heat = np.where(judged, heat, 0)
    loud = (heat >= 0.75 * heat.max()).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(loud, connectivity=8)
    groups = sorted(range(1, count), key=lambda group: -float(heat[labels == group].max()))
    boxes = (tuple(int(n) * CELL for n in stats[group][:4]) for group in groups)
    return [(x, y, x + w, y + h) for x, y, w, h in boxes]


def _evened(image: np.ndarray) -> np.ndarray:
    """float32[h, w]: the logarithm of each pixel over the mean of some 60 pixels around it."""
    levels = image.astype(np.float32) + 4
    small = cv2.resize(levels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    mean = cv2.GaussianBlur(small, (0, 0), 7, borderType=cv2.BORDER_REFLECT)
    return np.log(levels / cv2.resize(mean, image.shape[::-1], interpolation=cv2.INTER_LINEAR))


def _asked(surface: np.ndarray, sigma: float) -> list[np.ndarray]:
    """Dark and light lines, dark and light spots, dark and light ridges that lie across, steps, and steps that lie across."""
    soft = cv2.GaussianBlur(surface, (0, 0), sigma)
    bend = sigma * sigma / 4
    xx, yy, xy = (cv2.Sobel(soft, -1, *order, ksize=3) * bend for order in ((2, 0), (0, 2), (1, 1)))
    x, y = (cv2.Sobel(soft, -1, *order) * (sigma / 8) for order in ((1, 0), (0, 1)))
    mean, apart = (xx + yy) / 2, cv2.magnitude((xx - yy) / 2, xy)
    return [mean + apart, apart - mean, mean - apart, -mean - apart, yy, -yy, cv2.magnitude(x, y), np.abs(y)]


def _strongest(answer: np.ndarray, side: int) -> np.ndarray:
    high, wide = answer.shape
    return np.asarray(answer.reshape(high // side, side, wide // side, side).max(axis=(1, 3)))
