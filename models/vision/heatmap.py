"""A network that gives a number for each place of a picture, higher is worse: anomaly maps as others export them."""

from __future__ import annotations

import cv2
import numpy as np

from edge import ModelRefused

from ..foreign import HeatMap
from ..package import Package
from .given import fitted, tensor
from .objects import input_lacks


class HeatMapper:
    """One network, for one thread at a time."""

    def __init__(self, package: Package, engine: str = "") -> None:
        """Raises ModelRefused."""
        self.model = model = package.described(HeatMap)
        self._run = package.interpreter(engine=engine)
        names = [spec.name for spec in self._run.outputs]
        said = input_lacks(self._run.inputs, model.given, model.size)
        if not said and model.map not in names:
            said = f"its network does not give {model.map}; it gives {', '.join(names)}"
        if said or len(self._run.inputs) != 1:
            raise ModelRefused(said or "its network takes more than the picture")
        self._at = names.index(model.map)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8[h, w] or [h, w, 3] -> float32[h', w'], the score of each place; 1 and more is as bad as it gets. Raises ValueError
        for what is no such map."""
        model, (spec,) = self.model, self._run.inputs
        shown, (by_x, by_y) = fitted(image, model.size, model.given)
        said, told = self._run(tensor(shown, model.given, spec))[self._at], self._run.outputs[self._at]
        values = said.astype(np.float32).squeeze()
        if values.ndim != 2 or not np.isfinite(values).all():
            raise ValueError(f"{model.map!r} is {list(said.shape)}: no map of numbers")
        if told.scale:
            values = (values - told.zero) * np.float32(told.scale)
        height, width = values.shape
        tall = max(1, round(height * image.shape[0] * by_y / model.size[0]))  # without what was padded
        wide = max(1, round(width * image.shape[1] * by_x / model.size[1]))
        return np.asarray(values[:tall, :wide] / np.float32(model.full))


def places(cells: np.ndarray, least: float, shape: tuple[int, ...]) -> list[tuple[int, int, int, int, float]]:
    """x0, y0, x1, y1 in pixels of a picture of this shape and the highest score of each group of cells of `least` or more, the
    worst first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((cells >= least).astype(np.uint8), connectivity=8)
    worst = np.zeros(count, np.float32)
    np.maximum.at(worst, np.asarray(labels, np.intp).ravel(), cells.ravel())
    by_x, by_y = shape[1] / cells.shape[1], shape[0] / cells.shape[0]
    found = [
        (round(x * by_x), round(y * by_y), round((x + w) * by_x), round((y + h) * by_y), min(1.0, float(score)))
        for (x, y, w, h, _), score in zip(stats[1:].tolist(), worst[1:].tolist(), strict=True)
    ]
    return sorted(found, key=lambda box: -box[4])
