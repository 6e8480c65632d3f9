"""Defects drawn onto a picture of a bare board, copper black; what each one is follows from what it does to the copper.

Taken away: a hole inside is a pin-hole, what cuts a conductor in two is an open, else it is a mousebite. Added: what touches no
copper is (spurious) copper, what joins two conductors or closes a gap is a short, else it is a spur. Only what is near counts.
"""

from __future__ import annotations

import cv2
import numpy as np

from .boards import uneven

LABELS = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
OPEN, SHORT, MOUSEBITE, SPUR, COPPER, PINHOLE = range(6)
MARGIN = 10  # pixels that a box has around what changed
REACH = 64  # half of the window that is looked at
AROUND = 20  # pixels around a change in which conductors are followed
SMALLEST = 20  # pixels that change
CROSS = np.ones((3, 3), np.uint8)


def blemish(rng: np.random.Generator) -> np.ndarray:
    """uint8[2 * REACH, 2 * REACH] of 0 and 1: a rough blob, or a stroke, around the middle."""
    shape = np.zeros((2 * REACH, 2 * REACH), np.uint8)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 4))):
            middle = REACH + rng.integers(-4, 5, 2)
            axes = int(rng.integers(2, 10)), int(rng.integers(2, 7))
            cv2.ellipse(shape, middle.tolist(), axes, float(rng.integers(180)), 0, 360, 1, -1)
    else:
        length = rng.uniform(8, 30) if rng.random() < 0.8 else rng.uniform(20, 60)
        stroke(shape, rng, rng.uniform(0, 2 * np.pi), length, int(rng.integers(2, 8)))
    return rough(shape, rng)


def stroke(shape: np.ndarray, rng: np.random.Generator, angle: float, length: float, thick: int) -> None:
    """Through the middle, with up to two bends."""
    way = np.array([np.cos(angle), np.sin(angle)])
    at, pieces = REACH - way * length / 2, int(rng.integers(1, 4))
    for _ in range(pieces):
        turn = rng.normal(0, 0.3) if pieces > 1 else 0.0
        to = at + length / pieces * np.array([np.cos(angle + turn), np.sin(angle + turn)])
        cv2.line(shape, at.astype(int).tolist(), to.astype(int).tolist(), 1, max(1, thick + int(rng.integers(-1, 2))))
        at = to


def rough(shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With an uneven rim; the largest piece."""
    soft = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 1.0) + 0.35 * uneven(rng, 2 * REACH, 2 * REACH, 2)
    near = cv2.dilate(shape, np.ones((7, 7), np.uint8)) > 0
    return largest(((soft > 0.45) & near).astype(np.uint8))


def largest(shape: np.ndarray) -> np.ndarray:
    many, pieces, stats, _ = cv2.connectedComponentsWithStats(shape)
    return (pieces == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8) if many > 1 else np.zeros_like(shape)


def touched(mask: np.ndarray, rim: np.ndarray, least: int) -> int:
    """How many pieces of `mask` with `least` pixels or more the `rim` touches."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    met = np.unique(pieces[(rim > 0) & (mask > 0)])
    return int((stats[met[met > 0], cv2.CC_STAT_AREA] >= least).sum())


def kind_of(copper: np.ndarray, change: np.ndarray, taken: bool) -> int | None:
    """What `change` (0 and 1) makes of `copper` (0 and 1) where it is `taken` away or added; None for what is none of the six."""
    x, y, w, h = cv2.boundingRect(change)
    near = (slice(max(0, y - AROUND), y + h + AROUND), slice(max(0, x - AROUND), x + w + AROUND))
    before, change = copper[near], change[near]
    rim = cv2.dilate(change, CROSS) & (1 - change)
    if taken:
        if not ((rim > 0) & (before == 0)).any():
            return PINHOLE
        left = touched(before & (1 - change), rim, 25)
        return None if not left else OPEN if left > touched(before, rim, 25) else MOUSEBITE
    meets = touched(before, rim, 12)
    if not meets:
        return COPPER
    closes = touched(1 - (before | change), rim, 25) > touched(1 - before, rim, 25)
    return SHORT if meets > 1 or closes else SPUR


def across(window: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """A stroke through the middle, over the shortest way to both sides of what is 1 in the window; None where it is wide."""
    steps = np.arange(1, 30)
    best: tuple[int, float, int] | None = None
    for angle in np.arange(8) * np.pi / 8 + rng.uniform(0, 0.3):
        ends = []
        for sign in (1, -1):
            x = (REACH + sign * steps * np.cos(angle)).astype(int)
            y = (REACH + sign * steps * np.sin(angle)).astype(int)
            out = np.flatnonzero(window[y, x] == 0)
            ends.append(int(steps[out[0]]) if len(out) else 99)
        if best is None or sum(ends) < best[0]:
            best = sum(ends), float(angle), ends[0] - ends[1]
    if best is None or best[0] > 50:
        return None
    shape = np.zeros_like(window)
    thick = int(rng.integers(2, 9) if rng.random() < 0.8 else rng.integers(9, 30))
    stroke(shape, rng, best[1], best[0] + rng.uniform(3, 12), thick)
    move = best[2] / 2 * np.array([np.cos(best[1]), np.sin(best[1])])
    moved = cv2.warpAffine(
        shape, np.array([[1, 0, move[0]], [0, 1, move[1]]], np.float32), shape.shape[::-1], flags=cv2.INTER_NEAREST
    )
    return rough(moved, rng)


class Places:
    """Pixels around which a defect of a kind may come out."""

    def __init__(self, copper: np.ndarray) -> None:
        wide = np.ones((9, 9), np.uint8)
        self._source = copper, 1 - copper
        self._edge = cv2.dilate(1 - copper, wide), cv2.dilate(copper, wide)

    def one(self, wanted: int, rng: np.random.Generator) -> tuple[int, int] | None:
        added = wanted not in (OPEN, MOUSEBITE, PINHOLE)
        source, edge = self._source[added], self._edge[added]
        y, x = rng.integers(0, source.shape, (200, 2)).T
        good = source[y, x] > 0
        if wanted in (MOUSEBITE, SPUR):
            good &= edge[y, x] > 0
        elif wanted in (COPPER, PINHOLE) and rng.random() < 0.6:
            good &= edge[y, x] == 0
        return (int(x[good.argmax()]), int(y[good.argmax()])) if good.any() else None


def add(part: np.ndarray, boxes: np.ndarray, rng: np.random.Generator, many: int) -> np.ndarray:
    """Draw up to `many` defects onto uint8[h, w] (in place), none on or beside one of `boxes` float32[k, 5]; returns these with the
    new ones. Each kind is wanted as often; what comes out of a stroke is told as what it is."""
    height, width = part.shape
    copper = (part < 128).astype(np.uint8)
    wide = cv2.copyMakeBorder(copper, REACH, REACH, REACH, REACH, cv2.BORDER_REFLECT_101)
    inside = cv2.copyMakeBorder(np.ones_like(copper), REACH, REACH, REACH, REACH, cv2.BORDER_CONSTANT, value=0)
    places = Places(copper)
    for _ in range(many):
        wanted = int(rng.integers(6))
        place = places.one(wanted, rng)
        if place is None:
            continue
        x, y = place
        here = (slice(y, y + 2 * REACH), slice(x, x + 2 * REACH))
        window, taken = wide[here], wanted in (OPEN, MOUSEBITE, PINHOLE)
        source = window if taken else 1 - window
        shape = across(source, rng) if wanted in (OPEN, SHORT) and rng.random() < 0.85 else blemish(rng)
        if shape is None:
            continue
        change = largest(shape & source & inside[here])
        if int(change.sum()) < SMALLEST:
            continue
        left, top, w, h = cv2.boundingRect(change)
        left, top = left + x - REACH, top + y - REACH
        box = (
            max(left - MARGIN, 0),
            max(top - MARGIN, 0),
            min(left + w + MARGIN, width),
            min(top + h + MARGIN, height),
        )
        if _meets(box, boxes) or (kind := kind_of(window, change, taken)) is None:
            continue
        window[change > 0] = 0 if taken else 1
        boxes = np.concatenate([boxes, np.array([(*box, kind)], np.float32)])
    core = wide[REACH:-REACH, REACH:-REACH]
    part[core != copper] = np.where(core, 0, 255).astype(np.uint8)[core != copper]
    return boxes


def _meets(box: tuple[int, int, int, int], boxes: np.ndarray) -> bool:
    apart = (boxes[:, 2] <= box[0]) | (boxes[:, 0] >= box[2]) | (boxes[:, 3] <= box[1]) | (boxes[:, 1] >= box[3])
    return bool(len(boxes) and not apart.all())
