"""A detector that others exported, at work: one picture in, boxes with label, score and the area of their masks out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge import ModelRefused

from ..engines.contract import Tensor
from ..foreign import Given, Gives, Objects
from ..package import Package
from .given import fitted, tensor

MOST = 300  # boxes of one picture, the best
SURE = 0.5  # of a pixel's mask, from which on it belongs to what was found


class ObjectDetector:
    """One network, for one thread at a time. `boxes` are told from the score `least` on."""

    def __init__(self, package: Package, least: float, engine: str = "") -> None:
        """Raises ModelRefused."""
        self.model, self.least = package.described(Objects), least
        self._run = package.interpreter(engine=engine)
        if said := lacks(self._run.inputs, self._run.outputs, self.model):
            raise ModelRefused(said)
        self._at = {spec.name: i for i, spec in enumerate(self._run.outputs)}

    def __call__(self, image: np.ndarray, template: Any = None) -> np.ndarray:
        """uint8[h, w] or [h, w, 3] -> float32[n, 7]: x0, y0, x1, y1 within the picture, score, label's number, pixels of its mask
        (NaN where the network gives none); the best first. `template` is not looked at. Raises ValueError for nonsense."""
        model = self.model
        shown, (by_x, by_y) = fitted(image, model.size, model.given)
        said = self._run(*(self._filled(shown, spec) for spec in self._run.inputs))
        found = decoded(self._named(said), self._run.outputs, model, self.least)
        found[:, :4] /= np.array((by_x, by_y, by_x, by_y), np.float32)
        found[:, 6] /= by_x * by_y
        height, width = image.shape[:2]
        found[:, :4] = np.clip(found[:, :4], 0, (width, height, width, height))
        return found

    def told(self, image: np.ndarray, template: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """What a call gives, and nothing besides: boxes of other classes that overlap are all told."""
        found = self(image)
        return found, found[:0]

    def _filled(self, shown: np.ndarray, spec: Tensor) -> np.ndarray:
        if spec.name == self.model.given.name:
            return tensor(shown, self.model.given, spec)
        return EXTRA[spec.name](self.model.size).astype(spec.dtype)

    def _named(self, said: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {name: said[i] for name, i in self._at.items()}


# What graphs of Paddle ask for besides the picture: its size, and by what it was enlarged (we bring boxes back ourselves).
EXTRA = {
    "im_shape": lambda size: np.array([size], np.float32),
    "scale_factor": lambda size: np.ones((1, 2), np.float32),
}


def lacks(inputs: Sequence[Tensor], outputs: Sequence[Tensor], model: Objects) -> str:
    """What of a network is not as its description says; empty where all is."""
    if said := input_lacks(inputs, model.given, model.size):
        return said
    names = [spec.name for spec in inputs]
    if unknown := [name for name in names if name != model.given.name and name not in EXTRA]:
        return f"its network takes {', '.join(unknown)} besides the picture, and nobody knows what that is"
    have = [spec.name for spec in outputs]
    wanted = (model.gives.rows, model.gives.boxes, model.gives.scores, model.gives.labels, model.gives.masks)
    if absent := [name for name in wanted if name and name not in have]:
        return f"its network does not give {', '.join(absent)}; it gives {', '.join(have)}"
    return ""


def input_lacks(inputs: Sequence[Tensor], given: Given, size: tuple[int, int]) -> str:
    """What of the picture's input is not as `given` says; empty where all is."""
    names = [spec.name for spec in inputs]
    if given.name not in names:
        return f"model.yaml gives a picture to {given.name!r}; its network takes {', '.join(names)}"
    spec = inputs[names.index(given.name)]
    shape = given.shape(size)
    if len(spec.shape) != len(shape) or any(
        axis not in spec.free and one != other for axis, (one, other) in enumerate(zip(spec.shape, shape, strict=True))
    ):
        return f"its network takes {told(spec)}; model.yaml says {shape}"
    return ""


def told(spec: Tensor) -> str:
    """Its shape for a person; ? is an axis of any length."""
    return f"[{', '.join('?' if axis in spec.free else str(n) for axis, n in enumerate(spec.shape))}]"


def decoded(said: dict[str, np.ndarray], specs: Sequence[Tensor], model: Objects, least: float) -> np.ndarray:
    """float32[n, 7] in pixels of the network's picture. Raises ValueError where what was said is no list of boxes."""
    gives = model.gives
    plain = {spec.name: spec for spec in specs}

    def numbers(name: str) -> np.ndarray:
        x, spec = said[name], plain[name]
        x = x.astype(np.float32) if not spec.scale else (x.astype(np.float32) - spec.zero) * np.float32(spec.scale)
        if not np.isfinite(x).all():
            raise ValueError(f"its network says in {name!r} what is no number")
        return np.asarray(x)

    if gives.rows:
        rows = numbers(gives.rows)
        if rows.size % 6 or rows.shape[-1:] != (6,):
            raise ValueError(f"{gives.rows!r} is {list(rows.shape)}: no rows of six")
        rows = rows.reshape(-1, 6)
        labels, scores, boxes = rows[:, 0], rows[:, 1], rows[:, 2:]
    else:
        boxes, scores, labels = numbers(gives.boxes), numbers(gives.scores).ravel(), numbers(gives.labels).ravel()
        if boxes.size != 4 * len(scores) or len(labels) != len(scores):
            raise ValueError(f"it gives {boxes.size / 4:g} boxes, {len(scores)} scores and {len(labels)} labels")
        boxes = boxes.reshape(-1, 4)
    if len(scores) and (scores.max() > 1 + 1e-3 or scores[labels >= 0].min(initial=0) < -1e-3):
        raise ValueError(f"a score of {scores[np.abs(scores - 0.5).argmax()]:.3g} is no probability")
    keep = np.flatnonzero((scores >= least) & (labels >= 0))  # Paddle says with label -1 that there is nothing
    keep = keep[np.argsort(-scores[keep], kind="stable")[:MOST]]
    numbered = labels[keep].astype(int) - gives.first
    if len(numbered) and not 0 <= numbered.min() <= numbered.max() < len(model.labels):
        odd = numbered[(numbered < 0) | (numbered >= len(model.labels))][0] + gives.first
        raise ValueError(
            f"its network says label {odd}, and model.yaml names {gives.first} to {gives.first + len(model.labels) - 1}"
        )
    corners = _corners(boxes[keep], gives, model.size)
    area = (
        _areas(said[gives.masks], keep, len(scores), corners, model.size) if gives.masks else np.full(len(keep), np.nan)
    )
    return np.column_stack([corners, scores[keep], numbered, area]).astype(np.float32)


def _corners(boxes: np.ndarray, gives: Gives, size: tuple[int, int]) -> np.ndarray:
    if gives.corners == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    if gives.unit == "share":
        boxes = boxes * np.array((size[1], size[0], size[1], size[0]), np.float32)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    return np.column_stack([low, high])


def _areas(masks: np.ndarray, keep: np.ndarray, many: int, corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float[n]: pixels of the network's picture that belong to each. Masks [many, (1,) h, w]; where they are not as large as the
    picture they lie over their boxes."""
    if masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.ndim != 3 or len(masks) != many:
        raise ValueError(f"it gives masks {list(masks.shape)} for {many} boxes")
    if masks.dtype.kind == "f" and not np.isfinite(masks[keep]).all():
        raise ValueError("its network says in a mask what is no number")
    share = np.array([(masks[i] >= SURE).mean() if masks[i].size else 0.0 for i in keep])
    whole = np.prod(size) if masks.shape[1:] == tuple(size) else (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    return share * whole
