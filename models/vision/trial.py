"""What a network of others decides about pictures, as numbers that can be kept and compared: golden vectors, int8 beside float.

An answer is float[n, 7] of a detector (`ObjectDetector`), float[labels] of a classifier, float[h, w] of a heat map.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge import ModelRefused

from ..foreign import HeatMap, Objects
from ..package import Classify, Package
from . import peaks
from .given import fitted
from .heatmap import HeatMapper
from .network import prepare, probabilities
from .objects import ObjectDetector
from .tools.contract import State, state_of

Others = Classify | HeatMap | Objects
Judge = Callable[[np.ndarray], np.ndarray]  # uint8[h, w] or [h, w, 3] -> an answer
MOST_GOLDEN = 4


def described(package: Package) -> Others:
    """Raises ModelRefused for a model that is no such network."""
    model = package.description
    if isinstance(model, HeatMap | Objects) or (isinstance(model, Classify) and model.given is not None):
        return model
    raise ModelRefused(f"{package.folder.name} does not say `given`: how its network takes a picture")


def judge(package: Package, engine: str = "") -> Judge:
    """A detector tells boxes from half of `ok_below` on, so that one just above it finds its counterpart just below. Raises
    ModelRefused."""
    model = described(package)
    if isinstance(model, Objects):
        return ObjectDetector(package, model.ok_below / 2, engine)
    if isinstance(model, HeatMap):
        return HeatMapper(package, engine)
    run = package.interpreter(engine=engine)

    def classified(image: np.ndarray) -> np.ndarray:
        assert isinstance(model, Classify)
        chances = probabilities(run, prepare(image, model, run.inputs[0]), model.says)
        if len(chances) != len(model.labels):
            raise ModelRefused(f"it gives {len(chances)} numbers for {len(model.labels)} labels")
        return chances

    return classified


def seen(model: Others, image: np.ndarray) -> np.ndarray:
    """The picture as the network gets it, of its size: what golden vectors keep."""
    if model.given is None:
        return image
    if isinstance(model, Classify) and model.crop:
        return image
    return fitted(image, model.size, model.given)[0]


def score(model: Others, answer: np.ndarray) -> float:
    """Of the part, 0 to 1: of its worst box, or of anything but the first label."""
    if isinstance(model, Classify):
        return 1.0 - float(answer[0])
    if isinstance(model, HeatMap):
        return float(np.clip(answer.max(), 0, 1))
    return float(answer[:, 4].max(initial=0))


def state(model: Others, answer: np.ndarray) -> State:
    return state_of(score(model, answer), model.ok_below, model.ng_above)


def tells(model: Others, answer: np.ndarray) -> bool:
    """Whether there is anything to compare: a detector that finds nothing has no scores."""
    return not isinstance(model, Objects) or score(model, answer) >= model.ok_below


def apart(model: Others, one: np.ndarray, two: np.ndarray) -> float:
    """0 to 1: the most that a score differs; a box that the other does not have counts with its whole score."""
    if isinstance(model, Classify):
        return float(np.abs(one - two).max())
    if isinstance(model, HeatMap):
        if one.shape != two.shape:
            raise ModelRefused(f"one map is {list(one.shape)}, the other {list(two.shape)}")
        return float(np.abs(np.clip(one, 0, 1) - np.clip(two, 0, 1)).max())
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


def prove(package: Package) -> None:
    """Judge the golden pictures here. Raises ModelRefused where anything is decided otherwise than where they were made."""
    model = described(package)
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
        shape = {Classify: (len(getattr(model, "labels", ())),), Objects: (len(answer), 7)}.get(
            type(model), answer.shape
        )
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or answer.shape != shape:
            raise ModelRefused("its golden.npz does not hold pictures and what was found in them")
        got = decide(picture)
        if not (off := apart(model, got, answer)) <= allowed:
            raise ModelRefused(f"golden vector {i} is off by {off * 255:.3g} steps, {model.tolerance} are allowed")
        told = score(model, answer)
        sure = all(abs(told - limit) > allowed for limit in (model.ng_above, model.ok_below))
        if sure and state(model, got) != state(model, answer):
            raise ModelRefused(f"golden vector {i} is decided otherwise")
