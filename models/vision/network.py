"""A network that classifies, ready for the pictures of a line: what it is given, and what it says."""

from __future__ import annotations

import time

import cv2
import numpy as np

from ..engines.contract import Interpreter, Tensor
from ..package import Classify, Package
from .given import fitted, tensor
from .spare import Spare
from .verdict import Verdict
from .view import plain

MEASURED = 20  # runs


class Network:
    """A classifier that proved itself, warm for whichever thread has a picture. `known`: its name, version and SHA-256."""

    def __init__(
        self, package: Package, stage: str, model: str, ng_above: float | None, ok_below: float | None
    ) -> None:
        self._described = described = package.described(Classify)
        self._ng_above, self._ok_below = described.limits(stage, model, ng_above, ok_below)
        self._spare = Spare(package.interpreter)
        self.known = f"{described.name} {described.version} {described.sha256}"

    def __call__(self, image: np.ndarray) -> Verdict:
        """Of uint8 or uint16[h, w, c]. Raises whatever the engine does."""
        described = self._described
        with self._spare.one() as run:
            chances = probabilities(run, prepare(image, described, run.inputs[0]), described.says)
        defect = 1.0 - float(chances[0])
        worst = 1 + int(np.argmax(chances[1:]))
        label = described.labels[worst]
        if defect >= self._ng_above:
            return Verdict("ng", defect, label, f"{label.replace('_', ' ')} ({chances[worst]:.0%})")
        if defect < self._ok_below:
            return Verdict("ok", defect, described.labels[0])
        return Verdict("recheck", defect, label, f"not sure: {label} {chances[worst]:.0%}")

    def measure(self) -> float:
        """Milliseconds that a picture takes here at p95. Blocks."""
        picture = np.zeros((*(self._described.crop or self._described.size), 3), np.uint8)
        took = []
        for _ in range(MEASURED):
            began = time.perf_counter()
            self(picture)
            took.append((time.perf_counter() - began) * 1e3)
        return float(np.percentile(took, 95))


def prepare(image: np.ndarray, described: Classify, spec: Tensor) -> np.ndarray:
    """uint8 or uint16[h, w, c] -> what the network takes: the middle cut out, and brought to its size and colours. Raises
    ValueError."""
    height, width = described.crop or image.shape[:2]
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        raise ValueError(f"the picture is {image.shape[1]} x {image.shape[0]}, the model wants {width} x {height}")
    cut = image[top : top + height, left : left + width]
    if described.given is not None:
        return tensor(fitted(plain(cut), described.size, described.given)[0], described.given, spec)
    grey = cut if cut.ndim == 2 else cut[:, :, 0] if cut.shape[2] < 3 else cv2.cvtColor(cut, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, described.size[::-1], interpolation=cv2.INTER_AREA)
    if small.dtype == np.uint16:
        small = np.right_shift(small, 8).astype(np.uint8)
    return np.bitwise_xor(small, 0x80).view(np.int8)[None, :, :, None]


def probabilities(run: Interpreter, picture: np.ndarray, says: str = "logits") -> np.ndarray:
    """float64[labels]: softmax over the outputs, or they themselves where they are shares of 1. Raises ValueError for what is no
    number."""
    (out,) = run(picture)
    spec = run.outputs[0]
    numbers = out.ravel().astype(np.float64)
    if spec.scale:
        numbers = (numbers - spec.zero) * spec.scale
    if not np.isfinite(numbers).all():
        raise ValueError("its network says what is no number")
    if says == "shares":
        return np.clip(numbers, 0, 1)
    chances = np.exp(numbers - numbers.max())
    return np.asarray(chances / chances.sum())
