"""Comparison of a part with its template: what differs by more than an edge may move.

Both pictures become black and white, and the template is shifted to where it fits best. Where anything differs by more than
`tolerance`, each place of the template may settle by `local` pixels more: boards stretch, cameras scan unevenly. Opening takes out
what is thinner than a defect; what is left is grouped into boxes. How strong a difference is follows from its size and from how
deep it lies: the sum over its pixels of the squared distance to the next template pixel of its colour. Grain along an edge is
shallow, however long it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

BLOCK = 16  # pixels that settle together, a place being five such blocks each way


@dataclass(frozen=True, kw_only=True)
class Rules:
    """All in pixels: `search` each way for the shift, `local` for what a place may settle besides, `tolerance` of an edge,
    `thin` what is no defect for being so narrow, smallest `area` of a defect, `margin` of its box, `join` what is this near."""

    search: int = 4
    local: int = 2
    tolerance: int = 1
    thin: int = 1
    area: int = 8
    margin: int = 8
    join: int = 4
    level: int = 128


@dataclass
class Difference:
    boxes: np.ndarray  # int32[k, 4] x0, y0, x1, y1
    areas: np.ndarray  # int32[k] differing pixels
    strengths: np.ndarray  # float64[k] px squared times px
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


def compare(part: np.ndarray, template: np.ndarray, rules: Rules, mask: np.ndarray | None = None) -> Difference:
    """Grey pictures uint8[h, w] of one size; where the mask is 0 nothing differs. Raises ValueError for other sizes."""
    if part.shape != template.shape or part.ndim != 2:
        raise ValueError(f"the part is {part.shape}, its template {template.shape}")
    black = [cv2.threshold(x, rules.level - 1, 255, cv2.THRESH_BINARY)[1] for x in (part, template)]
    dx, dy = shift_of(black[0], black[1], rules.search)
    h, w = part.shape
    move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    moved = cv2.warpAffine(black[1], move, (w, h), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    agree = float(1 - cv2.norm(black[0], moved, cv2.NORM_L1) / (255 * h * w))
    border = max(abs(dx), abs(dy)) + rules.tolerance
    differs = _differs(black[0], moved, rules, border)
    if rules.local and cv2.countNonZero(differs):
        moved = settled(black[0], moved, rules.local)
        differs = _differs(black[0], moved, rules, border)
    if mask is not None:
        differs[mask == 0] = 0
    return _boxes(differs, depth(black[0], moved), rules, (dx, dy), agree)


def _differs(part: np.ndarray, template: np.ndarray, rules: Rules, border: int) -> np.ndarray:
    window = np.ones((2 * rules.tolerance + 1,) * 2, np.uint8)
    extra = cv2.subtract(part, cv2.dilate(template, window))
    missing = cv2.subtract(cv2.erode(template, window), part)
    differs = cv2.bitwise_or(extra, missing)
    h, w = part.shape
    differs[:border], differs[h - border :] = 0, 0
    differs[:, :border], differs[:, w - border :] = 0, 0
    return (
        cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((rules.thin + 1,) * 2, np.uint8)) if rules.thin else differs
    )


def settled(part: np.ndarray, template: np.ndarray, reach: int) -> np.ndarray:
    """The template with each of its places moved by up to `reach` to where it agrees best; both uint8[h, w], 0 or 255."""
    h, w = part.shape
    size = (-(-w // BLOCK), -(-h // BLOCK))
    padded = cv2.copyMakeBorder(template, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    shifts = [(dx, dy) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    costs = np.empty((len(shifts), size[1], size[0]), np.float32)
    for cost, (dx, dy) in zip(costs, shifts, strict=True):
        moved = padded[reach - dy : reach - dy + h, reach - dx : reach - dx + w]
        apart = cv2.resize(cv2.absdiff(part, moved), size, interpolation=cv2.INTER_AREA)
        cost[:] = cv2.blur(apart.astype(np.float32), (5, 5)) + 0.02 * (abs(dx) + abs(dy))
    best = np.array(shifts, np.int16)[costs.argmin(axis=0)]
    by = np.repeat(np.repeat(best, BLOCK, axis=0), BLOCK, axis=1)[:h, :w]
    where = np.dstack(
        [np.arange(w, dtype=np.int16)[None] - by[..., 0], np.arange(h, dtype=np.int16)[:, None] - by[..., 1]]
    )
    return cv2.remap(template, where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]


def depth(part: np.ndarray, template: np.ndarray) -> np.ndarray:
    """float32[h, w]: how far each pixel of the part is from the next template pixel of its colour; both 0 or 255. Where the
    template has none of that colour it is at most the diagonal of the picture."""
    to_white = cv2.distanceTransform(cv2.bitwise_not(template), cv2.DIST_L2, 5)
    to_black = cv2.distanceTransform(template, cv2.DIST_L2, 5)
    return np.minimum(np.where(part > 0, to_white, to_black), np.float32(np.hypot(*part.shape)))


def _boxes(differs: np.ndarray, deep: np.ndarray, rules: Rules, shift: tuple[int, int], agree: float) -> Difference:
    joined = cv2.dilate(differs, np.ones((2 * rules.join + 1,) * 2, np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    at = differs > 0
    areas = np.bincount(labels[at], minlength=count)[1:]
    strengths = np.bincount(labels[at], weights=deep[at] ** 2, minlength=count)[1:]
    grow = rules.margin - rules.join + rules.tolerance
    x, y, w, h = stats[1:, 0], stats[1:, 1], stats[1:, 2], stats[1:, 3]
    boxes = np.stack([x - grow, y - grow, x + w + grow, y + h + grow], axis=1)
    boxes = np.clip(boxes, 0, [differs.shape[1], differs.shape[0]] * 2)
    keep = areas >= rules.area
    return Difference(boxes[keep].astype(np.int32), areas[keep].astype(np.int32), strengths[keep], shift, agree)
