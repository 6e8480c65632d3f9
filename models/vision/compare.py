"""Comparison of a part with its template: what differs by more than an edge may move.

Both pictures become black and white, the template is shifted to where it fits best, and a pixel differs when no template pixel
within `tolerance` has its colour. Opening takes out what is thinner than a defect; what is left is grouped into boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Rules:
    """All in pixels: `search` each way for the shift, `tolerance` of an edge, smallest `area` of a defect, `margin` of its
    box, `join` what is this near."""

    search: int = 4
    tolerance: int = 2
    area: int = 8
    margin: int = 8
    join: int = 4
    level: int = 128


@dataclass
class Difference:
    boxes: np.ndarray  # int32[k, 4] x0, y0, x1, y1
    areas: np.ndarray  # int32[k] differing pixels
    shift: tuple[int, int]
    fit: float  # share of pixels that agree after the shift


def shift_of(part: np.ndarray, template: np.ndarray, search: int) -> tuple[int, int]:
    """(dx, dy) by which the template has to move to agree best, searched at half size and then pixel by pixel."""
    small = [cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for x in (part, template)]
    reach = (search + 1) // 2
    coarse = _best(small[0], small[1], reach, (0, 0))
    return _best(part, template, 1, (2 * coarse[0], 2 * coarse[1]), search)


def _best(
    part: np.ndarray, template: np.ndarray, reach: int, around: tuple[int, int], most: int = 10**6
) -> tuple[int, int]:
    h, w = part.shape
    edge = reach + max(map(abs, around))
    core = part[edge : h - edge, edge : w - edge]
    best, where = None, (0, 0)
    for dy in range(around[1] - reach, around[1] + reach + 1):
        for dx in range(around[0] - reach, around[0] + reach + 1):
            if max(abs(dx), abs(dy)) > most:
                continue
            moved = template[edge - dy : h - edge - dy, edge - dx : w - edge - dx]
            differs = cv2.norm(core, moved, cv2.NORM_L1) + (abs(dx) + abs(dy)) * 1e-3
            if best is None or differs < best:
                best, where = differs, (dx, dy)
    return where


def compare(part: np.ndarray, template: np.ndarray, rules: Rules) -> Difference:
    """Grey pictures uint8[h, w] of one size. Raises ValueError otherwise."""
    if part.shape != template.shape or part.ndim != 2:
        raise ValueError(f"the part is {part.shape}, its template {template.shape}")
    black = [cv2.threshold(x, rules.level - 1, 255, cv2.THRESH_BINARY)[1] for x in (part, template)]
    dx, dy = shift_of(black[0], black[1], rules.search)
    h, w = part.shape
    move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    moved = cv2.warpAffine(black[1], move, (w, h), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    agree = float(1 - cv2.norm(black[0], moved, cv2.NORM_L1) / (255 * h * w))
    window = np.ones((2 * rules.tolerance + 1,) * 2, np.uint8)
    extra = cv2.subtract(black[0], cv2.dilate(moved, window))
    missing = cv2.subtract(cv2.erode(moved, window), black[0])
    differs = cv2.bitwise_or(extra, missing)
    border = max(abs(dx), abs(dy)) + rules.tolerance
    differs[:border], differs[h - border :] = 0, 0
    differs[:, :border], differs[:, w - border :] = 0, 0
    return _boxes(differs, rules, (dx, dy), agree)


def _boxes(differs: np.ndarray, rules: Rules, shift: tuple[int, int], agree: float) -> Difference:
    joined = cv2.dilate(differs, np.ones((2 * rules.join + 1,) * 2, np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    areas = np.bincount(labels[differs > 0], minlength=count)[1:]
    grow = rules.margin - rules.join + rules.tolerance
    x, y, w, h = stats[1:, 0], stats[1:, 1], stats[1:, 2], stats[1:, 3]
    boxes = np.stack([x - grow, y - grow, x + w + grow, y + h + grow], axis=1)
    boxes = np.clip(boxes, 0, [differs.shape[1], differs.shape[0]] * 2)
    keep = areas >= rules.area
    return Difference(boxes[keep].astype(np.int32), areas[keep].astype(np.int32), shift, agree)
