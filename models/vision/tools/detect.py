"""The tool `detect`: a trained network names what is wrong in a view, by comparing it with its template or from the view alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from ... import package
from ..detect import Detector
from ..objects import ObjectDetector
from ..registration import grey
from ..spare import Spare
from ..verdict import Box
from ..whole import detector
from .contract import Finding, State, View
from .learned import LearnedConfig

AnyDetector = Detector | ObjectDetector


class DetectConfig(LearnedConfig):
    """A model package of task `detect` (compares with the view's template) or `objects` (needs none)."""


class DetectTool:
    """NG for a box whose score is `ng_above` or more, recheck for one of `ok_below` or more, else OK."""

    Config = DetectConfig

    def __init__(self, config: DetectConfig, folder: Path) -> None:
        """Blocks while the package proves itself. Raises ConfigFault or ModelRefused."""
        self._package = package.load(package.find(config.model, folder))
        said = self._package
        self._others = isinstance(said.description, package.Objects)
        model = said.described(package.Objects) if self._others else said.described(package.Detect)
        self._alone = self._others or said.described(package.Detect).alone
        self.compares = not self._alone
        self.labels = model.labels
        self._ng_above, self._ok_below = model.limits("detect", config.model, config.ng_above, config.ok_below)
        self._spare = {
            model.size: self._spare_of(model.size, self._detector(model.size))
        }  # by the size of the pictures

    def _detector(self, shape: tuple[int, ...]) -> AnyDetector:
        if self._others:
            return ObjectDetector(self._package, self._ok_below)
        return detector(self._package, self._ok_below, (shape[0], shape[1]))

    def _found(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """And what that may be instead. By a detector that no other thread has; it stays warm for whoever comes next."""
        shape = view.image.shape[:2]
        if (spare := self._spare.get(shape)) is None:
            self._spare = {shape: (spare := self._spare_of(shape))}  # a view's pictures are of one size
        with spare.one() as one:
            if self._others:
                return one.told(view.image, view.template)
            return one.told(grey(view.image), view.grey_template)  # what it would make of them for each part

    def _spare_of(self, shape: tuple[int, ...], *ready: AnyDetector) -> Spare[AnyDetector]:
        return Spare(lambda: self._detector(shape), *ready)

    def __call__(self, view: View) -> Finding:
        if view.template is None and not self._alone:
            return Finding("recheck", text="nothing to compare with: the view has no template")
        try:
            told = self._found(view)
        except Exception as error:  # the engines' errors share no base, and no part is without a finding
            return Finding("recheck", text=f"cannot be judged: {error}")
        found, also = told if view.mask is None else (each[unmasked(each, view.mask)] for each in told)
        return self._finding(found, also, view.mm)

    def _finding(self, found: np.ndarray, also: np.ndarray, mm: float | None) -> Finding:
        if not len(found):
            return Finding("ok", text="no defect")
        worst = float(found[0, 4])
        state: State = "ng" if worst >= self._ng_above else "recheck"
        told = found[found[:, 4] >= self._ng_above] if state == "ng" else found
        boxes = self._boxes(found)
        sure = [box for box in boxes if box[5] >= self._ng_above]
        unsure = [box for box in boxes if box[5] < self._ng_above]
        text = "; ".join(said + _kinds(which) for said, which in (("", sure), ("not sure: ", unsure)) if which)
        measured = {"defects": float(len(told))} | areas(told, mm)
        return Finding(state, worst, boxes, measured, text, self._ng_above, also=self._boxes(also))

    def _boxes(self, found: np.ndarray) -> list[Box]:
        names = [self.labels[int(number)] for number in found[:, 5]]
        sides, scores = found[:, :4].round().astype(int).tolist(), found[:, 4].tolist()
        return [(*side, name, score) for side, name, score in zip(sides, names, scores, strict=True)]


def _kinds(boxes: list[Box]) -> str:
    kinds = ", ".join(f"{many} {name.replace('_', ' ')}" for name, many in Counter(box[4] for box in boxes).items())
    return f"{kinds} (up to {max(box[5] for box in boxes):.0%})"


def areas(told: np.ndarray, mm: float | None) -> dict[str, float]:
    """Of the masks of what was found, where the network gives any."""
    if told.shape[1] < 7 or np.isnan(told[:, 6]).any():
        return {}
    found = {"area_px": float(told[:, 6].sum()), "largest_px": float(told[:, 6].max())}
    return found if mm is None else found | {"area_mm2": found["area_px"] * mm * mm}


def unmasked(found: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """bool[n]: whose middle lies where something is judged."""
    height, width = mask.shape
    x = np.clip(found[:, [0, 2]].mean(axis=1).astype(int), 0, width - 1)
    y = np.clip(found[:, [1, 3]].mean(axis=1).astype(int), 0, height - 1)
    return mask[y, x] > 0
