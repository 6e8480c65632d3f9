"""Where a small picture is found in a view: what the tools `count` and `presence` look by."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge import ConfigFault

from ..image import decoded
from ..registration import LEVEL
from .contract import View

MOST_BYTES = 16 * 2**20


def small_picture(path: Path) -> np.ndarray:
    """uint8[h, w], grey. Raises ConfigFault in words."""
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise ConfigFault(f"{path} is no picture", hint="save a cut of a good part there, of the thing alone")
    image = decoded(path.read_bytes())
    if image is None or min(image.shape) < 4:
        raise ConfigFault(f"{path} is no picture of 4 x 4 px or more")
    if float(image.std()) < LEVEL:
        raise ConfigFault(f"{path} shows one grey only: nothing to look for")
    return image


def too_small(size: tuple[int, int], thing: np.ndarray, name: str) -> str:
    """Why `thing`, the picture of that name, has no place in what is judged, `size` (h, w); "" where it has."""
    (h, w), (tall, wide) = size, thing.shape
    return f"{name} is {wide} x {tall}, and what is judged {w} x {h}" if h < tall or w < wide else ""


def likes(image: np.ndarray, thing: np.ndarray, view: View) -> np.ndarray | None:
    """float32: how like `thing` each place is (its top left corner), -1 to 1; -1 where the mask covers its middle. None where the
    view is smaller than the thing."""
    h, w = thing.shape
    if image.shape[0] < h or image.shape[1] < w:
        return None
    out = cv2.matchTemplate(image, thing, cv2.TM_CCOEFF_NORMED)
    out[~np.isfinite(out)] = -1
    if view.mask is not None:
        out[view.mask[h // 2 : h // 2 + out.shape[0], w // 2 : w // 2 + out.shape[1]] == 0] = -1
    return out


def tops(field: np.ndarray, shape: tuple[int, ...], least: float, most: int) -> list[tuple[int, int, float]]:
    """x, y, likeness of the best places of `least` or more; none within half a thing of a better one. `most` at most."""
    found: list[tuple[int, int, float]] = []
    left = field.copy()
    reach_y, reach_x = max(1, shape[0] // 2), max(1, shape[1] // 2)
    while len(found) < most:
        _, best, _, (x, y) = cv2.minMaxLoc(left)
        if best < least:
            break
        found.append((x, y, float(best)))
        left[max(0, y - reach_y) : y + reach_y + 1, max(0, x - reach_x) : x + reach_x + 1] = -1
    return found
