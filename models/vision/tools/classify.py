"""The tool `classify`: a network says which of its classes a view shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ... import package
from ..network import prepare, probabilities
from ..recipe_config import ViewConfig
from ..spare import Spare
from ..verdict import Box
from .contract import Finding, View
from .learned import LearnedConfig


class ClassifyConfig(LearnedConfig):
    """A model package of task `classify`."""


class ClassifyTool:
    """One box with the likeliest defect, over the whole view: a class has no place."""

    Config = ClassifyConfig
    placeless = True

    def __init__(self, config: ClassifyConfig, folder: Path) -> None:
        """Blocks while the package proves itself. Raises ConfigFault or ModelRefused."""
        self._package = package.load(package.find(config.model, folder))
        self._model = self._package.described(package.Classify)
        self._ng_above, self._ok_below = self._model.limits("classify", config.model, config.ng_above, config.ok_below)
        self.labels = self._model.labels[1:]
        self._spare = Spare(self._package.interpreter, self._package.interpreter())

    def cannot(self, size: tuple[int, int], view: ViewConfig) -> str:
        (h, w), (tall, wide) = size, self._model.crop or size
        return f"the model wants {wide} x {tall}, and what is judged is {w} x {h}" if h < tall or w < wide else ""

    def __call__(self, view: View) -> Finding:
        try:
            image = view.image if view.mask is None else np.where(_like(view.mask, view.image), view.image, 0)
            with self._spare.one() as run:
                chances = probabilities(run, prepare(image, self._model, run.inputs[0]), self._model.says)
        except Exception as error:  # the engines' errors share no base, and no part is without a finding
            return Finding("recheck", text=f"cannot be judged: {error}")
        return self._finding(chances, view.image.shape)

    def _finding(self, chances: np.ndarray, shape: tuple[int, ...]) -> Finding:
        defect, worst = 1.0 - float(chances[0]), 1 + int(np.argmax(chances[1:]))
        label, chance = self._model.labels[worst], float(chances[worst])
        if defect < self._ok_below:
            return Finding("ok", defect)
        box, also = (0, 0, shape[1], shape[0], label, chance), self._also(chances, worst, shape)
        called, alone = label.replace("_", " "), min(self._ng_above, chance)
        if defect >= self._ng_above:
            return Finding("ng", defect, [box], text=f"{called} ({chance:.0%})", ng_above=alone, also=also)
        return Finding("recheck", defect, [box], text=f"not sure: {called} {chance:.0%}", also=also)

    def _also(self, chances: np.ndarray, worst: int, shape: tuple[int, ...]) -> list[Box]:
        """The next likeliest classes, until what is left of the chance that there is a defect is that of an OK part."""
        left, also = 1.0 - float(chances[0]) - float(chances[worst]), list[Box]()
        for number in 1 + np.argsort(-chances[1:])[1:]:
            if left < self._ok_below:
                break
            also.append((0, 0, shape[1], shape[0], self._model.labels[number], float(chances[number])))
            left -= float(chances[number])
        return also


def _like(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    return (mask > 0)[..., None] if image.ndim == 3 else mask > 0
