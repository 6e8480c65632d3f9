"""Defects drawn on pictures of good surfaces: pits, cracks, chips of the rim, rough places, dark and light ones. What tells
them from the surface itself tells others too; how well on real ones has to be measured (`lineside model curve`)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Random = np.random.Generator


def drawn(image: np.ndarray, kind: str, rng: Random) -> np.ndarray:
    """uint8[h, w] of a good surface with one defect more."""
    return np.clip(KINDS[kind](image.astype(np.float32), rng), 0, 255).round().astype(np.uint8)


def pit(surface: np.ndarray, rng: Random) -> np.ndarray:
    """One or two dark spots of 2 to 6 pixels."""
    depth = np.zeros(surface.shape, np.float32)
    for _ in range(rng.integers(1, 3)):
        radius = rng.uniform(2, 6)
        away = _away(surface.shape, _within(surface.shape, rng), (radius, radius * rng.uniform(0.6, 1.6)), 0.15, rng)
        depth = np.maximum(depth, np.clip((1.15 - away) / 0.4, 0, 1))
    return surface * (1 - depth * rng.uniform(0.25, 0.6))


def crack(surface: np.ndarray, rng: Random) -> np.ndarray:
    """A dark line of 1 to 2 pixels that wanders, 30 to 140 long, of uneven depth."""
    fine, (high, wide) = 4, surface.shape
    at, heading, length = np.array(_within(surface.shape, rng)[::-1]), rng.uniform(0, 2 * np.pi), rng.uniform(30, 140)
    points = [at]
    while length > 0:
        step, heading = rng.uniform(2, 7), heading + rng.normal(0, 0.35)
        points.append(points[-1] + step * np.array([np.cos(heading), np.sin(heading)]))
        length -= step
    line = np.zeros((high * fine, wide * fine), np.uint8)
    path = np.round(np.array(points) * fine).astype(np.int32)
    cv2.polylines(line, [path], False, 255, int(rng.integers(4, 9)), cv2.LINE_AA)
    depth = cv2.resize(line, (wide, high), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    depth *= np.clip(0.75 + 0.3 * _clouds(surface.shape, 8, rng), 0.3, 1)
    return surface * (1 - depth * rng.uniform(0.2, 0.55))


def chip(surface: np.ndarray, rng: Random) -> np.ndarray:
    """A piece of the rim, 8 to 30 pixels, broken off: another surface shows."""
    (high, wide), along = surface.shape, rng.uniform(0.1, 0.9)
    at = [(0.0, along * wide), (float(high), along * wide), (along * high, 0.0), (along * high, float(wide))][
        rng.integers(4)
    ]
    away = _away(surface.shape, at, (rng.uniform(8, 30), rng.uniform(8, 30)), 0.3, rng)
    gone = np.clip((1 - away) / 0.12, 0, 1)
    level = max(20.0, float(np.median(surface))) * rng.uniform(0.15, 1.3)
    return surface * (1 - gone) + gone * level * np.clip(1 + 0.35 * _clouds(surface.shape, 4, rng), 0.1, 2)


def rough(surface: np.ndarray, rng: Random) -> np.ndarray:
    """A place of 15 to 50 pixels where the surface is torn."""
    away = _away(surface.shape, _within(surface.shape, rng), (rng.uniform(15, 50), rng.uniform(15, 50)), 0.4, rng)
    torn = np.clip((1 - away) / 0.25, 0, 1)
    return surface * (1 + torn * rng.uniform(0.12, 0.3) * _clouds(surface.shape, rng.uniform(2, 6), rng))


def dark(surface: np.ndarray, rng: Random) -> np.ndarray:
    """A place of 30 to 90 pixels that is darker, with a soft rim."""
    return surface * (1 - _shade(surface, rng))


def light(surface: np.ndarray, rng: Random) -> np.ndarray:
    """The same, and lighter."""
    return surface * (1 + _shade(surface, rng))


KINDS: dict[str, Callable[[np.ndarray, Random], np.ndarray]] = {
    "pit": pit,
    "crack": crack,
    "chip": chip,
    "rough": rough,
    "dark": dark,
    "light": light,
}


def _shade(surface: np.ndarray, rng: Random) -> np.ndarray:
    away = _away(surface.shape, _within(surface.shape, rng), (rng.uniform(30, 90), rng.uniform(30, 90)), 0.25, rng)
    return np.clip((1.2 - away) / 0.7, 0, 1) * rng.uniform(0.12, 0.3)


def _within(shape: tuple[int, ...], rng: Random) -> tuple[float, float]:
    return rng.uniform(0.08, 0.92) * shape[0], rng.uniform(0.08, 0.92) * shape[1]


def _away(
    shape: tuple[int, ...], at: tuple[float, float], radii: tuple[float, float], ragged: float, rng: Random
) -> np.ndarray:
    """float32[h, w]: how many radii each pixel lies from the middle of a turned ellipse with a ragged rim."""
    turn = rng.uniform(0, np.pi)
    y, x = np.arange(shape[0], dtype=np.float32)[:, None] - at[0], np.arange(shape[1], dtype=np.float32) - at[1]
    along, beside = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    away = np.hypot(along / radii[0], beside / radii[1])
    return np.asarray(away + ragged * _clouds(shape, max(3.0, 0.7 * min(radii)), rng), np.float32)


def _clouds(shape: tuple[int, ...], size: float, rng: Random) -> np.ndarray:
    """float32[h, w]: smooth noise of spread 1 or a little less, some `size` pixels wide."""
    few = rng.standard_normal((max(2, int(shape[0] / size) + 3), max(2, int(shape[1] / size) + 3))).astype(np.float32)
    return cv2.resize(few, shape[::-1], interpolation=cv2.INTER_CUBIC)
