"""What a network of others decides about pictures, as numbers that can be kept and compared: golden vectors, int8 beside float."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge import ModelRefused

from ..foreign import Objects
from ..package import Package
from . import peaks
from .objects import ObjectDetector
from .tools.contract import State

Judge = Callable[[np.ndarray], np.ndarray]  # uint8[h, w] or [h, w, 3] -> an answer
MOST_GOLDEN = 4


def judge(package: Package, engine: str = "") -> Judge:
    """Boxes from half of `ok_below` on, so that one just above it finds its counterpart just below. Raises ModelRefused."""
    return ObjectDetector(package, package.described(Objects).ok_below / 2, engine)


def state(model: Objects, answer: np.ndarray) -> State:
    return _state(model, float(answer[:, 4].max(initial=0)))


def _state(model: Objects, score: float) -> State:
    return "ng" if score >= model.ng_above else "recheck" if score >= model.ok_below else "ok"


def apart(model: Objects, one: np.ndarray, two: np.ndarray) -> float:
    """0 to 1: the most that a score differs; a box that the other does not have counts with its whole score."""
    return max(_apart(model, one, two), _apart(model, two, one))


def _apart(model: Objects, one: np.ndarray, two: np.ndarray) -> float:
    told = one[one[:, 4] >= model.ok_below]
    if not len(told):
        return 0.0
    same = (peaks.overlap(told, two) > 0.5) & (told[:, None, 5] == two[None, :, 5])
    off = np.where(same, np.abs(told[:, None, 4] - two[None, :, 4]), told[:, None, 4])
    return float(off.min(axis=1, initial=np.inf).clip(max=told[:, 4]).max())


def keep(folder: Path, pictures: list[np.ndarray], answers: list[np.ndarray]) -> None:
    """The golden vectors: pictures of one size, and what is found in each."""
    told: dict[str, Any] = {f"answer_{i}": answer for i, answer in enumerate(answers)}
    np.savez_compressed(folder / "golden.npz", input=np.stack(pictures), **told)


def prove(package: Package, model: Objects) -> None:
    """Judge the golden pictures here. Raises ModelRefused where anything is decided otherwise than where they were made."""
    try:
        with np.load(package.folder / "golden.npz", allow_pickle=False) as golden:
            given = golden["input"]
            wanted = [golden[f"answer_{i}"] for i in range(min(len(given), MOST_GOLDEN))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelRefused(f"its golden.npz cannot be read ({type(error).__name__})") from None
    if not wanted:
        raise ModelRefused("its golden.npz holds no vector: nothing is proved")
    decide, allowed = judge(package), model.tolerance / 255
    for i, (picture, answer) in enumerate(zip(given, wanted, strict=False)):
        _sound(picture, answer)
        got = decide(picture)
        if not (off := apart(model, got, answer)) <= allowed:
            raise ModelRefused(f"golden vector {i} is off by {off * 255:.3g} steps, {model.tolerance} are allowed")
        score = float(answer[:, 4].max(initial=0))
        sure = all(abs(score - limit) > allowed for limit in (model.ng_above, model.ok_below))
        if sure and state(model, got) != state(model, answer):
            raise ModelRefused(f"golden vector {i} is decided otherwise")


def _sound(picture: Any, answer: Any) -> None:
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or answer.ndim != 2 or answer.shape[1] != 7:
        raise ModelRefused("its golden.npz does not hold pictures and what was found in them")
