"""How well a texture is taught from few, more and all good parts of sorted pictures, beside the variation model.

Good parts are split into those that teach, two thirds, and those that test; pictures of one part stay on one side. What was taught
scores the rest of the good ones and all defects, of which nothing was seen before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from edge import LinesideError

from .sorted_parts import Picture
from .surface import Seen, drawn_on_each, look, ways
from .teaching import FEWEST
from .variation import BORDER, Allowance, Learner, field, softened

SIDE = 256  # pixels that the variation model sees each picture squeezed to: the parts are of many sizes
Say = Callable[[str], None]


def auroc(good: np.ndarray, bad: np.ndarray) -> float:
    """The chance that a bad one scores higher than a good one; equal scores count half."""
    order = np.sort(good)
    below = np.searchsorted(order, bad, "left") + np.searchsorted(order, bad, "right")
    return float(below.sum() / (2 * len(good) * len(bad)))


class Curve:
    """Pictures, and what was already computed of them."""

    def __init__(self, pictures: list[Picture], good: str) -> None:
        """Raises LinesideError where there is nothing to compare."""
        self._good = [picture for picture in pictures if picture.kind == good]
        self._bad = [picture for picture in pictures if picture.kind != good]
        parts = {picture.part for picture in self._good}
        if len(parts) < 3 * FEWEST // 2 + 1 or not self._bad:
            raise LinesideError(
                f"{len(parts)} good parts (kind {good}) and {len(self._bad)} pictures of defects are too few to compare",
                hint=f"kinds here: {', '.join(sorted({picture.kind for picture in pictures}))}; --good says which is good",
            )
        self._kinds = np.array([picture.kind for picture in self._bad])
        self._seen: dict[int, Seen] = {}
        self._small = [_squeezed(picture) for picture in self._good]
        self._worse = [look(picture.image, 0, 0).good for picture in self._bad]

    def figures(self, wanted: list[int], splits: int, say: Say) -> dict[str, Any]:
        """Of each number of good parts that teach (0: all), the mean over the splits. Raises LinesideError where there are not so
        many."""
        rows: dict[int, list[dict[str, Any]]] = {many: [] for many in wanted}
        for split in range(splits):
            teach, test = self._split(split)
            for many in wanted:
                rows[many].append(self._row(_few(teach, many, self._good, split), test))
                say(f"split {split + 1}, {many or 'all'} parts: {rows[many][-1]['auroc']:.3f}")
        parts = len({picture.part for picture in self._good})
        curve = [{"parts": many or "all"} | _mean(rows[many]) for many in wanted]
        count = {"good": len(self._good), "good_parts": parts, "defective": len(self._bad), "splits": splits}
        return {"task": "texture", **count, "curve": curve}

    def _split(self, seed: int) -> tuple[list[int], list[int]]:
        """Numbers of good pictures that teach, and that test."""
        parts = np.random.default_rng(seed).permutation(sorted({picture.part for picture in self._good}))
        teaching = set(parts[: len(parts) * 2 // 3].tolist())
        sides: tuple[list[int], list[int]] = ([], [])
        for k, picture in enumerate(self._good):
            sides[picture.part not in teaching].append(k)
        return sides

    def _row(self, teach: list[int], test: list[int]) -> dict[str, Any]:
        known = ways([self._look(k, drawn_on_each(len(teach))) for k in teach])
        good = known(np.stack([self._look(k, 0).good for k in test])).max(axis=1)
        bad = known(np.stack(self._worse)).max(axis=1)
        judged = np.zeros((SIDE, SIDE), bool)
        judged[BORDER:-BORDER, BORDER:-BORDER] = True
        normal = Learner(np.stack([self._small[k] for k in teach]), judged, Allowance()).normal()
        plain = [np.array([float(field(x, normal).max()) for x in them]) for them in self._others(test)]
        kinds = {str(kind): auroc(good, bad[self._kinds == kind]) for kind in np.unique(self._kinds)}
        return {"pictures": len(teach), "auroc": auroc(good, bad), "variation": auroc(*plain), "by_kind": kinds}

    def _others(self, test: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        return [self._small[k] for k in test], [_squeezed(picture) for picture in self._bad]

    def _look(self, k: int, each: int) -> Seen:
        """One good picture with at least so many drawn defects, each computed once."""
        known = self._seen.get(k)
        if known is None or len(known.drawn) < each:
            known = self._seen[k] = look(self._good[k].image, each, 10_000 + k)
        return replace(known, drawn=known.drawn[:each])


def _few(teach: list[int], many: int, good: list[Picture], seed: int) -> list[int]:
    """All of those that teach, or one picture each of `many` parts."""
    order = np.random.default_rng(seed).permutation(teach).tolist()
    first = {good[k].part: k for k in reversed(order)}
    if many > len(first):
        raise LinesideError(f"{many} parts cannot teach: two thirds of the good ones are {len(first)}", hint="--parts")
    return sorted(first.values(), key=order.index)[:many] if many else teach


def _squeezed(picture: Picture) -> np.ndarray:
    return softened(cv2.resize(picture.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = [row["auroc"] for row in rows]
    return {
        "pictures": round(float(np.mean([row["pictures"] for row in rows])), 1),
        "auroc": round(float(np.mean(found)), 4),
        "lowest": round(min(found), 4),
        "highest": round(max(found), 4),
        "variation": round(float(np.mean([row["variation"] for row in rows])), 4),
        "by_kind": {
            kind: round(float(np.mean([row["by_kind"][kind] for row in rows])), 4) for kind in rows[0]["by_kind"]
        },
    }
