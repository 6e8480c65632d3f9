"""Masks: which pixels of a view are judged. Black ones are not."""

from __future__ import annotations

import numpy as np

WHITE = 128  # grey from which on a pixel of a mask is white
GREYS = 0.05  # share of pixels that may be neither black nor white: the rims of what a program drew smoothly


def as_drawn(mask: np.ndarray) -> np.ndarray:
    """uint8[h, w], 0 and 255."""
    return np.where(mask < WHITE, np.uint8(0), np.uint8(255))


def doubt(mask: np.ndarray, region: tuple[int, int, int, int] | None) -> str:
    """Why nobody can judge by uint8[h, w] as a file has it; empty where that is plain."""
    greys = float(((mask > 32) & (mask < 223)).mean())
    if greys > GREYS:
        return f"{greys:.0%} of it is neither black nor white"
    x, y, w, h = region or (0, 0, mask.shape[1], mask.shape[0])
    return "" if (mask[y : y + h, x : x + w] >= WHITE).any() else "it is black all over: nothing is judged"
