"""A model of `runs` as a document: what `lineside fit` writes beside a site, and what the stage `lifetime` reads. Nothing in it is
trusted before its shapes and numbers have been looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .runs import BEFORE, WINDOWS, Kernel, Model, Settings

VERSION = 1
MOST = 10_000  # centres of a kernel, and levels of the interval
COLUMNS = ("mean", "spread", "middle", "scale", "level", "low", "high")


@dataclass(frozen=True)
class Learned:
    """A model, the tags that its columns are, and the seconds of a row."""

    model: Model
    tags: tuple[str, ...]
    every: float

    def as_json(self) -> dict[str, Any]:
        m = self.model
        kernels = [
            {"width": k.width, "middle": k.middle, "centre": k.centre.tolist(), "weight": k.weight.tolist()}
            for k in m.kernels
        ]
        kept = {name: getattr(m, name).tolist() for name in ("signal", *COLUMNS)}
        told = {"tags": list(self.tags), "every": self.every, "settings": asdict(m.settings)}
        return {"version": VERSION, "kind": "lifetime", **told, **kept, "kernels": kernels}

    @classmethod
    def from_json(cls, document: Any) -> Learned:
        """Raises ValueError for anything that is no such model, or a damaged one."""
        try:
            if document["kind"] != "lifetime" or document["version"] != VERSION:
                raise ValueError("it holds something else, or another version")
            signal = np.array(document["signal"])
            columns = {name: np.array(document[name], float) for name in COLUMNS}
            kernels = tuple(_kernel(each) for each in document["kernels"])
            model = Model(Settings(**document["settings"]), signal, kernels=kernels, **columns)
            found = cls(model, tuple(map(str, document["tags"])), float(document["every"]))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"no model of lifetimes: {type(error).__name__} {error}") from None
        if not _whole(model, len(found.tags)):
            raise ValueError("a damaged model of lifetimes")
        return found


def _kernel(given: Mapping[str, Any]) -> Kernel:
    width, middle = float(given["width"]), float(given["middle"])
    return Kernel(width, np.array(given["centre"], float), np.array(given["weight"], float), middle)


def _whole(m: Model, tags: int) -> bool:
    """Whether shapes fit and nothing is out of all bounds."""
    s, c = m.settings, len(np.atleast_1d(m.signal))
    if m.signal.ndim != 1 or m.signal.dtype.kind != "i" or not 1 <= len(np.unique(m.signal)) == c <= tags:
        return False
    k = c * (len(WINDOWS) + len(BEFORE) + 1) + 1
    shapes = {"mean": c, "spread": c, "middle": k, "scale": k, **dict.fromkeys(("level", "low", "high"), m.level.size)}
    fits = m.signal.min() >= 0 and m.signal.max() < tags and 1 <= m.level.size <= MOST and bool(m.kernels)
    for name, n in shapes.items():
        fits = fits and getattr(m, name).shape == (n,) and bool(np.isfinite(getattr(m, name)).all())
    if not (fits and (m.spread > 0).all() and (m.scale > 0).all() and (np.diff(m.level) >= 0).all()):
        return False
    numbers = all(isinstance(x, int | float) and np.isfinite(x) and x > 0 for x in asdict(s).values())
    return numbers and all(_sound(kernel, k) for kernel in m.kernels)


def _sound(kernel: Kernel, features: int) -> bool:
    n = len(np.atleast_1d(kernel.weight))
    fits = 1 <= n <= MOST and kernel.weight.shape == (n,) and kernel.centre.shape == (n, features)
    finite = all(np.isfinite(x).all() for x in (kernel.weight, kernel.centre, kernel.width, kernel.middle))
    return bool(fits and finite and kernel.width > 0)
