"""The tool `heatmap`: a network of others gives a number for each place; places that are too high are defects."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ... import package
from ..heatmap import HeatMapper, places
from ..spare import Spare
from ..verdict import Box
from .contract import Finding, View, state_of
from .learned import LearnedConfig


class HeatMapConfig(LearnedConfig):
    """A model package of task `heatmap`."""


class HeatMapTool:
    """NG, recheck and OK by the worst place. No place has a class: every box is a `difference`."""

    Config = HeatMapConfig
    labels = ["difference"]

    def __init__(self, config: HeatMapConfig, folder: Path) -> None:
        """Blocks while the package proves itself. Raises ConfigFault or ModelRefused."""
        self._package = package.load(package.find(config.model, folder))
        model = self._package.described(package.HeatMap)
        self._ng_above, self._ok_below = model.limits("heatmap", config.model, config.ng_above, config.ok_below)
        self._spare = Spare(partial(HeatMapper, self._package), HeatMapper(self._package))

    def __call__(self, view: View) -> Finding:
        try:
            with self._spare.one() as mapper:
                cells = mapper(view.image)
        except Exception as error:  # the engines' errors share no base, and no part is without a finding
            return Finding("recheck", 1.0, text=f"cannot be judged: {error}")
        if view.mask is not None:
            left = cv2.resize(view.mask, cells.shape[::-1], interpolation=cv2.INTER_AREA) > 0
            if not left.any():
                return Finding("recheck", 1.0, text="the mask leaves too little of the picture to judge")
            cells = np.where(left, cells, np.float32(-np.inf))
        return self._finding(cells, view.image.shape)

    def _finding(self, cells: np.ndarray, shape: tuple[int, ...]) -> Finding:
        score = float(np.clip(cells.max(), 0, 1))
        state = state_of(score, self._ok_below, self._ng_above)
        if state == "ok":
            return Finding(state, score, measured={"score": score})
        least = self._ok_below if state == "recheck" else self._ng_above
        found = places(cells, least, shape)
        told = "one place is" if len(found) == 1 else f"{len(found)} places are"
        if state == "ng":
            found += [box for box in places(cells, self._ok_below, shape) if box[4] < least]
        boxes: list[Box] = [(*box[:4], "difference", box[4]) for box in found]
        area = float((cells >= least).mean()) * shape[0] * shape[1]
        text = f"{told} unlike good parts (score {score:.2f}, good ones stay below {self._ok_below:.2f})"
        measured = {"score": score, "area_px": area}
        return Finding(state, score, boxes, measured, text if state == "ng" else f"not sure: {text}", self._ng_above)
