"""The tool `texture`: what is unlike the taught surface, wherever on it and however it lies. Nothing is placed."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import cv2
import numpy as np

from edge import ModelRefused

from ... import package
from ..recipe_config import ViewConfig
from ..registration import grey
from ..spare import Spare
from ..texture import ANSWERS, answers, numbers, roughness, unfit, where
from .contract import Finding, View, state_of
from .learned import LearnedConfig


class TextureConfig(LearnedConfig):
    """A package that `lineside model teach --texture` made."""


class TextureTool:
    """Judges a surface as a whole and shows what weighs most. NG, recheck and OK as the package calibrated."""

    Config = TextureConfig
    labels = ["differs"]

    def __init__(self, config: TextureConfig, folder: Path) -> None:
        """Blocks while the package proves itself. Raises ConfigFault or ModelRefused."""
        self._package = package.load(package.find(config.model, folder))
        self._model = self._package.described(package.Texture)
        self._ng_above, self._ok_below = self._model.limits("texture", config.model, config.ng_above, config.ok_below)
        self._mean, self._each = _usual(self._package.folder / "usual.npz", self._model)
        self._spare = Spare(self._package.interpreter, self._package.interpreter())

    def cannot(self, size: tuple[int, int], view: ViewConfig) -> str:
        return unfit(size)

    def __call__(self, view: View) -> Finding:
        try:
            image = grey(view.image)
            if said := unfit(image.shape):
                return Finding("recheck", 1.0, text=f"cannot be judged: {said}")
            cells, spreads = answers(image)
            measured = {"light": float(image.mean()), "rough": roughness(spreads)}
            if said := self._strange(measured):
                return Finding("recheck", 1.0, measured=measured, text=said)
            left = None
            if view.mask is not None:
                size = cells.shape[1::-1]
                left = cv2.resize((view.mask > 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            seen = numbers(cells, spreads, left)
            with self._spare.one() as run:
                scores = judged(run, seen)
        except Exception as error:  # the engines' errors share no base, and no part is without a finding
            return Finding("recheck", 1.0, text=f"cannot be judged: {error}")
        return self._finding(scores, seen, cells, left, measured, image.shape)

    def _strange(self, measured: dict[str, float]) -> str:
        """Why this is no such surface; empty where it is. An empty picture has no defect either."""
        for name, (low, high) in (("light", self._model.light), ("rough", self._model.rough)):
            if not low <= measured[name] <= high:
                told = f"{name} {measured[name]:.2f}, taught parts {low:.2f} to {high:.2f}"
                return f"another surface, or another light: {told}"
        return ""

    def _finding(
        self,
        scores: np.ndarray,
        seen: np.ndarray,
        cells: np.ndarray,
        left: np.ndarray | None,
        measured: dict[str, float],
        shape: tuple[int, ...],
    ) -> Finding:
        kind = int(scores.argmax())
        score = float(scores[kind])
        state = state_of(score, self._ok_below, self._ng_above)
        measured = {"score": score, **measured}
        if state == "ok":
            return Finding(state, score, measured=measured)
        weighs = np.maximum((seen / 255 - self._mean) * self._each[kind], 0)[ANSWERS:].reshape(-1, ANSWERS).sum(axis=0)
        boxes = [
            (x0, y0, min(x1, shape[1]), min(y1, shape[0]), "differs", score)
            for x0, y0, x1, y1 in where(cells, weighs.astype(np.float32), left)
        ]
        told = f"most like {self._model.kinds[kind]}: score {score:.2f}, good ones reach {self._ok_below:.2f}"
        text = f"unlike the taught surface ({told})"
        return Finding(state, score, boxes, measured, text if state == "ng" else f"not sure: {text}")


def judged(run: package.Interpreter, seen: np.ndarray) -> np.ndarray:
    """float32[kinds], 0 to 1, of the numbers uint8[features] of a picture."""
    (out,), spec = run(np.bitwise_xor(seen, 0x80).view(np.int8)[None, None, None]), run.outputs[0]
    return (out.ravel().astype(np.float32) - spec.zero) * np.float32(spec.scale or 1.0)


def _usual(path: Path, model: package.Texture) -> tuple[np.ndarray, np.ndarray]:
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"{path} cannot be read: {error.strerror}", hint="copy the package here anew") from None
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as held:
            mean, each = held["mean"], held["each"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        mean = each = np.zeros(0)
    shapes = (model.FEATURES,), (len(model.kinds), model.FEATURES)
    if hashlib.sha256(body).hexdigest() != model.usual or (mean.shape, each.shape) != shapes:
        raise ModelRefused(f"{path} is not the file that model.yaml names", hint="copy the package here anew")
    return mean, each
