"""What measuring tools share: limits of a value, millimetres, edges along a line."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
from pydantic import Field, model_validator

from ..registration import grey
from .contract import Finding, State, ToolConfig, View

Towards = Literal["right", "left", "down", "up"]
FEWEST_LINES = 0.5  # share of a line's pixels that the mask has to leave
SMOOTH = 1.0  # pixels


class Measured(ToolConfig):
    """A length with limits, along one direction of the region."""

    towards: Towards = Field(
        "right", description="direction in which is looked, from one border of the region to the other"
    )
    contrast: float = Field(20, gt=0, le=255, description="grey levels that an edge steps at least")
    unit: Literal["px", "mm"] = Field("px", description="of the limits; mm needs the view's scale")
    least: float | None = Field(None, description="below this the part is NG")
    most: float | None = Field(None, description="above this the part is NG")

    @model_validator(mode="after")
    def _between(self) -> Measured:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least {self.least:g} is above most {self.most:g}: no part would be good")
        return self


class Edge(NamedTuple):
    """`at` pixels from the border where looking begins (0 is that border itself, 1 the far side of the first pixel); `step` grey
    levels, above 0 towards light."""

    at: float
    step: float


def unscaled(config: Measured, mm: float | None) -> str:
    """Why no length can be held against the limits; empty where it can."""
    return "the limits are in mm, and the view does not say `mm:`" if config.unit == "mm" and mm is None else ""


def judged(name: str, lengths: list[float], config: Measured, view: View) -> Finding:
    """All `lengths` (pixels) have to lie within the limits; told is their median."""
    mm = view.mm
    if config.unit == "mm" and mm is None:
        return Finding("recheck", text=f"{name}: the limits are in mm, and this view has no scale")
    factor = mm if config.unit == "mm" and mm is not None else 1.0
    values, middle = np.array(lengths) * factor, float(np.median(lengths))
    measured = {f"{name}_px": middle} | ({f"{name}_mm": middle * mm} if mm is not None else {})
    if len(lengths) > 1:
        measured |= {f"{name}_least_px": min(lengths), f"{name}_most_px": max(lengths)}
    low, high, text = float(values.min()), float(values.max()), f"{name} {middle * factor:.2f} {config.unit}"
    state: State = "ok"
    if config.least is not None and low < config.least:
        state, text = "ng", f"{name} {low:.2f} {config.unit} is below {config.least:g}"
    elif config.most is not None and high > config.most:
        state, text = "ng", f"{name} {high:.2f} {config.unit} is above {config.most:g}"
    below = 0.0 if config.least is None else config.least - low
    above = 0.0 if config.most is None else high - config.most
    return Finding(state, max(below, above, 0.0), measured=measured, text=text)


def turned(view: View, towards: Towards) -> tuple[np.ndarray, np.ndarray]:
    """Grey uint8[h, w] and bool[h, w], turned so that the direction is to the right."""
    image = grey(view.image)
    shown = np.ones(image.shape, bool) if view.mask is None else view.mask > 0
    if towards in ("down", "up"):
        image, shown = image.T, shown.T
    return (image[:, ::-1], shown[:, ::-1]) if towards in ("left", "up") else (image, shown)


def edges(image: np.ndarray, shown: np.ndarray, contrast: float) -> list[Edge]:
    """Along the rows of uint8[h, w]: where their mean steps by `contrast` or more, to a fraction of a pixel (the middle of the
    step; of a thing narrower than 8 px the steps meet, and it comes out up to 0.15 px too wide). Columns that the mask mostly
    covers end what can be followed."""
    weight = shown.astype(np.float64)
    enough = weight.mean(axis=0) >= FEWEST_LINES
    found: list[Edge] = []
    for start, end in _runs(enough):
        if end - start >= 4:
            mean = (image[:, start:end] * weight[:, start:end]).sum(axis=0) / weight[:, start:end].sum(axis=0)
            found += [Edge(start + at, step) for at, step in _steps(mean, contrast)]
    return found


def _runs(good: np.ndarray) -> list[tuple[int, int]]:
    change = np.flatnonzero(np.diff(np.r_[False, good, False].astype(np.int8)))
    return list(zip(change[::2].tolist(), change[1::2].tolist(), strict=True))


def _steps(profile: np.ndarray, contrast: float) -> list[tuple[float, float]]:
    """Each stretch in which the profile goes one way is a step; it lies where half of it is done."""
    line = cv2.GaussianBlur(profile[None].astype(np.float64), (0, 0), SMOOTH, borderType=cv2.BORDER_REPLICATE)[0]
    slope = np.diff(line)
    strong = np.abs(slope) >= contrast * 0.02
    found = []
    for sign in (1, -1):
        for start, end in _runs(strong & (np.sign(slope) == sign)):
            step = float(line[end] - line[start])
            if abs(step) >= contrast:
                at = np.interp(
                    (line[start] + line[end]) / 2 * sign, line[start : end + 1] * sign, np.arange(start, end + 1)
                )
                found.append((float(at) + 0.5, step))
    return sorted(found)
