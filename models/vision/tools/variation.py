"""The tool `variation`: what differs from taught good parts by more than they differ among themselves."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge import ModelRefused

from ... import package
from ..image import decoded
from ..recipe_config import ViewConfig
from ..registration import NotPlaced, Placed, Registration, grey
from ..spare import Spare
from ..variation import boxes_of, lit
from ..verdict import Box
from .contract import Finding, View, state_of
from .learned import LearnedConfig


class VariationConfig(LearnedConfig):
    """A package that `lineside model teach` made."""


class VariationTool:
    """Places the part by the package's own template, and judges each cell of it. NG, recheck and OK as the package calibrated."""

    Config = VariationConfig
    labels = ["differs"]

    def __init__(self, config: VariationConfig, folder: Path) -> None:
        """Blocks while the package proves itself. Raises ConfigFault or ModelRefused."""
        self._package = package.load(package.find(config.model, folder))
        model = self._package.described(package.Variation)
        self._ng_above, self._ok_below = model.limits("variation", config.model, config.ng_above, config.ok_below)
        self._template = _template(self._package.folder / "template.png", model)
        self._registration = Registration(model.place, self._template)
        self._spare = Spare(self._package.interpreter, self._package.interpreter())

    def cannot(self, size: tuple[int, int], view: ViewConfig) -> str:
        (h, w), (tall, wide) = size, self._template.shape
        return f"the taught parts are {wide} x {tall}, and what is judged is {w} x {h}" if size != (tall, wide) else ""

    def __call__(self, view: View) -> Finding:
        try:
            placed = self._there(view) or self._registration(grey(view.image))
            image, contrast = lit(placed, self._template)
            with self._spare.one() as run:
                cells = judged(run, as_input(image))
        except NotPlaced as error:
            return Finding("recheck", 1.0, text=str(error))
        except Exception as error:  # the engines' errors share no base, and no part is without a finding
            return Finding("recheck", 1.0, text=f"cannot be judged: {error}")
        if view.mask is not None:
            left = cv2.resize(_moved(view.mask, placed), cells.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
            if not left.any():
                return Finding("recheck", 1.0, text="the mask leaves too little of the part to judge")
            cells[~left] = 0
        return self._finding(cells, placed, contrast)

    def _there(self, view: View) -> Placed | None:
        """As the view itself placed the part, where it did that by the same template in the same way: then the view lies there."""
        if view.there is None or not view.there[0].same(self._registration):
            return None
        stays: dict[str, Any] = {"matrix": np.eye(2, 3), "dx": 0.0, "dy": 0.0, "turn": 0.0, "scale": 0.0}
        return replace(view.there[1], image=grey(view.image), **stays)

    def _finding(self, cells: np.ndarray, placed: Placed, contrast: float) -> Finding:
        score = float(cells.max())
        state = state_of(score, self._ok_below, self._ng_above)
        measured = {
            "score": score,
            "likeness": placed.quality,
            "contrast": contrast,
            "dx_px": placed.dx,
            "dy_px": placed.dy,
            "turn_deg": placed.turn,
        }
        if state == "ok":
            return Finding(state, score, measured=measured)
        least = self._ok_below if state == "recheck" else self._ng_above
        found = boxes_of(cells, least)
        places = "one place differs" if len(found) == 1 else f"{len(found)} places differ"
        if state == "ng":
            found += [box for box in boxes_of(cells, self._ok_below) if box[4] < least]
        boxes = [_back(box, placed) for box in found]
        text = f"{places} from the taught parts (score {score:.2f}, good ones reach {self._ok_below:.2f})"
        return Finding(state, score, boxes, measured, text if state == "ng" else f"not sure: {text}", self._ng_above)


def as_input(image: np.ndarray) -> np.ndarray:
    """uint8[h, w] -> int8[1, h, w, 1]."""
    return np.bitwise_xor(image, 0x80).view(np.int8)[None, :, :, None]


def judged(run: package.Interpreter, picture: np.ndarray) -> np.ndarray:
    """float32[h', w'], the score of each cell, 0 to 1."""
    (out,), spec = run(picture), run.outputs[0]
    return (out[0, :, :, 0].astype(np.float32) - spec.zero) * np.float32(spec.scale or 1.0)


def _template(path: Path, model: package.Variation) -> np.ndarray:
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"{path} cannot be read: {error.strerror}", hint="copy the package here anew") from None
    image = decoded(body)
    if image is None or hashlib.sha256(body).hexdigest() != model.template or image.shape != model.size:
        raise ModelRefused(f"{path} is not the picture that model.yaml names", hint="copy the package here anew")
    return image


def _moved(mask: np.ndarray, placed: Placed) -> np.ndarray:
    """A mask of the view, as the placed part lies."""
    if np.array_equal(placed.matrix, np.eye(2, 3)):
        return mask
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(mask, placed.matrix, mask.shape[::-1], flags=flags)


def _back(box: tuple[int, int, int, int, float], placed: Placed) -> Box:
    """The box around the same place in the view."""
    x0, y0, x1, y1, score = box
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float) @ placed.matrix[:, :2].T + placed.matrix[:, 2]
    height, width = placed.image.shape[:2]
    low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    (a, b), (c, d) = np.clip(low, 0, (width, height)).astype(int), np.clip(high, 0, (width, height)).astype(int)
    return int(a), int(b), int(c), int(d), "differs", score
