"""Rendered bare boards: tracks in bundles, pads with holes, vias and pours, as a scanner sees them in black and white.

The part and its template show one drawing; each has its own uneven edges, its own specks, and lies a little off the other.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

SHIFT = 4  # bits of a fraction that OpenCV draws with
WAYS = np.array([[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]], float)


def board(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A part without defects and its template, uint8[side, side] of 0 (copper) and 255."""
    drawing = drawn(rng, side)
    soft = cv2.GaussianBlur(drawing, (0, 0), rng.uniform(0.8, 2.0))
    bias = rng.normal(0, 14)
    off = rng.normal(0, 0.5, 2) if rng.random() < 0.8 else rng.uniform(-2.5, 2.5, 2)
    template = scanned(soft, rng, 128 + bias, np.zeros(2))
    return scanned(soft, rng, 128 + bias + rng.normal(0, 10), off), template


def scanned(soft: np.ndarray, rng: np.random.Generator, level: float, off: np.ndarray) -> np.ndarray:
    """One picture of a soft drawing: moved by `off` pixels, with noise of its own, black and white."""
    move = np.array([[1, 0, off[0]], [0, 1, off[1]]], np.float32)
    seen = cv2.warpAffine(soft, move, soft.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    noise = uneven(rng, soft.shape[0], soft.shape[1]) * np.float32(rng.uniform(10, 80))
    noise[(seen > 250) | (seen < 5)] = 0  # it moves edges; it makes no spots
    picture = cv2.threshold(seen + noise, level, 255, cv2.THRESH_BINARY)[1].astype(np.uint8)
    for x, y in rng.integers(2, len(soft) - 2, (int(rng.integers(0, 4)), 2)).tolist():
        cv2.circle(picture, (x, y), int(rng.integers(0, 2)), int(rng.integers(2)) * 255, -1)
    return picture


@cache
def field(number: int) -> np.ndarray:
    """float32[1024, 1024]: smooth noise of one grain, always the same."""
    noise = np.random.default_rng((30_000_000, number)).standard_normal((1024, 1024), np.float32)
    return cv2.GaussianBlur(noise, (0, 0), (0.7, 1.0, 1.2, 1.6)[number])


def uneven(rng: np.random.Generator, height: int, width: int, number: int | None = None) -> np.ndarray:
    """A piece of such a field from somewhere, not larger than that."""
    y, x = rng.integers(0, 1024 - height), rng.integers(0, 1024 - width)
    return field(int(rng.integers(4)) if number is None else number)[y : y + height, x : x + width]


def drawn(rng: np.random.Generator, side: int) -> np.ndarray:
    """The drawing, uint8[side, side]: copper 0, bare 255."""
    picture = np.full((side, side), 255, np.uint8)
    width, gap = rng.uniform(6, 22), rng.uniform(6, 22)
    style = rng.random()
    if style < 0.3:
        pour(picture, rng, gap)
    for _ in range(int(rng.integers(1, 5))):
        bundle(picture, rng, width * rng.uniform(0.8, 1.3), gap * rng.uniform(0.8, 1.3))
    for _ in range(int(rng.integers(0, 9))):
        pad(picture, rng, gap)
    for _ in range(int(rng.integers(0, 5))):
        via(picture, rng, gap)
    if 0.3 < style < 0.55:  # tracks become the gaps of a pour
        cv2.bitwise_not(picture, picture)
    if rng.random() < 0.5:
        holes(picture, rng)
    return picture


def bundle(picture: np.ndarray, rng: np.random.Generator, width: float, gap: float) -> None:
    """Tracks side by side along a way of straight pieces that turn by 45 or 90 degrees, or along an arc."""
    side = len(picture)
    many = int(rng.choice([1, 1, 2, 3, 4, 5, 6]))
    total = many * width + (many - 1) * gap
    points, arc = way(rng, side), rng.random() < 0.12
    middle, radius = rng.uniform(0, side, 2), rng.uniform(40, side)
    thick, ink = total + 2 * gap, 255
    while thick >= 1:
        if arc:
            cv2.circle(picture, _fixed(middle), round(radius * 2**SHIFT), ink, max(1, round(thick)), cv2.LINE_8, SHIFT)
        else:
            cv2.polylines(
                picture,
                [np.round(points * 2**SHIFT).astype(np.int32)],
                False,
                ink,
                max(1, round(thick)),
                cv2.LINE_8,
                SHIFT,
            )
        thick, ink = thick - 2 * (width if ink == 0 else gap), 255 - ink


def way(rng: np.random.Generator, side: int) -> np.ndarray:
    """float[n, 2]: corners, from outside of the picture or somewhere in it."""
    direction = int(rng.integers(8))
    at = rng.uniform(0, side, 2)
    if rng.random() < 0.7:
        at = at - WAYS[direction] * side
    points = [at]
    for piece in range(int(rng.integers(2, 7))):
        length = rng.uniform(0.15, 0.6) * side * (2 if piece == 0 else 1)
        at = at + WAYS[direction] * length
        points.append(at)
        direction = (direction + int(rng.choice([-2, -1, 1, 2], p=[0.15, 0.35, 0.35, 0.15]))) % 8
    return np.array(points)


def pad(picture: np.ndarray, rng: np.random.Generator, gap: float) -> None:
    """A round or rectangular piece of copper with a clearance, perhaps with a hole, perhaps with a track that ends in it."""
    middle, size = rng.uniform(0, len(picture), 2), rng.uniform(18, 70, 2)
    angle = float(rng.choice([0, 45, 90, rng.uniform(0, 180)]))
    rounded, round_one = rng.uniform(0, 0.45) * size.min(), rng.random() < 0.45
    if round_one:
        size[:] = size[0]
    clear = gap * rng.uniform(0.6, 1.4)
    for more, ink in ((clear, 255), (0.0, 0)):
        if round_one:
            cv2.circle(picture, _fixed(middle), round((size[0] / 2 + more) * 2**SHIFT), ink, -1, cv2.LINE_8, SHIFT)
        else:
            rectangle(picture, middle, size + 2 * more, rounded + more, angle, ink)
    if rng.random() < 0.5:
        to = middle + WAYS[int(rng.integers(8))] * rng.uniform(40, len(picture))
        cv2.line(picture, _fixed(middle), _fixed(to), 0, round(rng.uniform(6, min(20, size.min()))), cv2.LINE_8, SHIFT)
    if rng.random() < 0.4:
        cv2.circle(
            picture, _fixed(middle), round(rng.uniform(0.12, 0.3) * size.min() * 2**SHIFT), 255, -1, cv2.LINE_8, SHIFT
        )


def rectangle(picture: np.ndarray, middle: np.ndarray, size: np.ndarray, corner: float, angle: float, ink: int) -> None:
    """A turned one with round corners."""
    inner = np.maximum(size - 2 * corner, 1)
    points = cv2.boxPoints((middle.tolist(), inner.tolist(), angle))
    fixed = [np.round(points * 2**SHIFT).astype(np.int32)]
    cv2.fillPoly(picture, fixed, ink, cv2.LINE_8, SHIFT)
    if corner >= 1:
        cv2.polylines(picture, fixed, True, ink, round(2 * corner), cv2.LINE_8, SHIFT)


def via(picture: np.ndarray, rng: np.random.Generator, gap: float) -> None:
    middle, radius = _fixed(rng.uniform(0, len(picture), 2)), rng.uniform(10, 20)
    for r, ink in ((radius + gap / 2, 255), (radius, 0), (radius * rng.uniform(0.3, 0.6), 255)):
        cv2.circle(picture, middle, round(r * 2**SHIFT), ink, -1, cv2.LINE_8, SHIFT)


def pour(picture: np.ndarray, rng: np.random.Generator, gap: float) -> None:
    """One or two large pieces of copper with corners of 45 degrees."""
    side = len(picture)
    for _ in range(int(rng.integers(1, 3))):
        middle, reach = rng.uniform(0, side, 2), rng.uniform(0.2, 0.6) * side
        angles = np.sort(rng.integers(0, 16, int(rng.integers(4, 9)))) * np.pi / 8
        points = middle + reach * rng.uniform(0.6, 1.2, (len(angles), 1)) * np.column_stack(
            [np.cos(angles), np.sin(angles)]
        )
        fixed = [np.round(points * 2**SHIFT).astype(np.int32)]
        cv2.polylines(picture, fixed, True, 255, round(2 * gap), cv2.LINE_8, SHIFT)
        cv2.fillPoly(picture, fixed, 0, cv2.LINE_8, SHIFT)


def holes(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Drilled through what is copper, with clean round edges."""
    copper = np.argwhere(cv2.erode(255 - picture, np.ones((25, 25), np.uint8)) > 0)
    if len(copper):
        for y, x in copper[rng.integers(len(copper), size=int(rng.integers(1, 5)))].tolist():
            cv2.circle(picture, (x, y), int(rng.integers(4, 12)), 255, -1)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.round(np.asarray(point) * 2**SHIFT).astype(int).tolist()
    return x, y
