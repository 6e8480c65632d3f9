"""How good the pictures of a camera are, in plain words: focus, exposure, frame rate. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

WIDTH = 640  # pixels to which a picture is shrunk first, so that one judgement fits all cameras
FLAT = 6.0  # standard deviation of the grey levels below which there is nothing to focus on
BLURRED, SOFT = 0.005, 0.04  # variance of the Laplacian as a share of that of the picture; sharp ones have 0.08 to 1.6
WHITE, BLACK = 250, 5  # levels at which detail is lost
TOO_MUCH = 0.05  # share of such pixels


@dataclass(frozen=True, slots=True)
class Look:
    """Measured on one picture. `focus`: variance of the Laplacian over that of the picture; `white`, `black`: shares of pixels."""

    focus: float
    contrast: float
    mean: float
    white: float
    black: float


def look(image: np.ndarray) -> Look:
    """Measure a picture, uint8[h, w, 3]."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    white, black = float((grey >= WHITE).mean()), float((grey <= BLACK).mean())
    if grey.shape[1] > WIDTH:
        size = WIDTH, max(1, round(grey.shape[0] * WIDTH / grey.shape[1]))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    variance = float(grey.var())
    sharp = float(cv2.Laplacian(grey, cv2.CV_64F).var())
    return Look(sharp / variance if variance else 0.0, variance**0.5, float(grey.mean()), white, black)


def words(seen: Look, stamps: Sequence[int]) -> list[str]:
    """What to say, and what to do where something is wrong; `stamps` (ns) of pictures one after another."""
    return [*_exposure(seen), _focus(seen), *_rate(stamps)]


def rate(stamps: Sequence[int]) -> float:
    """Pictures a second over the whole run; 0 where there are not two."""
    return (len(stamps) - 1) * 1e9 / (stamps[-1] - stamps[0]) if len(stamps) > 1 and stamps[-1] > stamps[0] else 0.0


def _dark(seen: Look) -> bool:
    return seen.black > 0.5 or seen.mean < 20


def _exposure(seen: Look) -> list[str]:
    out = []
    if seen.white > TOO_MUCH:
        out.append(f"too bright: {seen.white:.0%} of it is white without detail; shorten the exposure or dim the light")
    if _dark(seen):
        out.append(f"too dark: {seen.black:.0%} of it is black; more light, a longer exposure, or is the cap on?")
    return out or ["exposure fine"]


def _focus(seen: Look) -> str:
    if seen.contrast < FLAT:
        return "nothing in it to focus on; point it at the part"
    if seen.focus < BLURRED:
        return f"blurred (focus {seen.focus:.3f}): turn the focus ring, clean the lens"
    return f"{'a little soft' if seen.focus < SOFT else 'sharp'} (focus {seen.focus:.3f})"


def _rate(stamps: Sequence[int]) -> list[str]:
    if not (a_second := rate(stamps)):
        return []
    gaps = np.diff(np.asarray(stamps, np.int64)) / 1e9
    out = f"{a_second:.1f} pictures a second"
    uneven = gaps.max() > 3 * np.median(gaps)
    return [f"{out}, with a gap of {gaps.max():.2f} s: is the network busy?" if uneven else out]
