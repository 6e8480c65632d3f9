"""A learned detector at work: a part and its template in, boxes of defects out.

Both pictures become the two channels of one (`cv2.merge`), shifted to int8 by flipping the upper bit; neighbours of a row are the
network's channels by a reshape that moves nothing. A picture larger than the network is judged in tiles that overlap; a box belongs
to the tile in whose own part its middle lies, so none is told twice and none is cut.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from edge import ModelRefused

from ..package import Detect, Package, wrong_shape
from . import peaks
from .look import SecondLook


class Detector:
    """One network, for one thread at a time. `boxes` are told from the score `least` on."""

    def __init__(self, package: Package, least: float, engine: str = "") -> None:
        """Raises ModelRefused."""
        self.model, self.least = package.described(Detect), least
        self._run = package.interpreter(engine=engine)
        if said := wrong_shape(self._run, self.model):
            raise ModelRefused(said)
        heat, self._place = self._run.outputs
        self._table = peaks.odds(heat)
        self._whole = np.dtype(self._run.inputs[0].dtype) == np.int8
        self._look = None
        if self.model.views > 1:
            piece = (self.model.views - 1, self.model.look, self.model.look // self.model.fold, self.model.channels)
            self._look = SecondLook(package.interpreter(engine=engine, shape=piece), self.model)

    def __call__(self, part: np.ndarray, template: np.ndarray | None) -> np.ndarray:
        """uint8[h, w] or uint8[h, w, 3], twice the same -> float32[n, 6]: x0, y0, x1, y1 within the picture, score, label's number;
        the best first. The template is not looked at by a model of pictures alone. Raises ValueError for two that are no pair."""
        return self.told(part, template)[0]

    def told(self, part: np.ndarray, template: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """What a call gives, and likewise float32[m, 6] of the other classes that are likely there."""
        view = self._alone(part) if self.model.alone else self._pair(part, template)
        scale = 1.0
        if view.shape[:2] == self.model.size:
            found, also = self._tile(view)
        elif self.model.fit == "scale":
            view, scale = scaled(view, self.model.size)
            found, also = self._tile(view)
        else:
            found, also = self._tiles(view)
        height, width = part.shape[:2]
        also = peaks.besides(found, also)
        for each in (found, also):
            each[:, :4] /= scale
            each[:, :4] = np.clip(each[:, :4], 0, (width, height, width, height))
        return found, also

    def _alone(self, part: np.ndarray) -> np.ndarray:
        if part.dtype != np.uint8 or 0 in part.shape:
            raise ValueError(f"the picture is {part.dtype}{part.shape}")
        return self._shown(part)[:, :, None]

    def _pair(self, part: np.ndarray, template: np.ndarray | None) -> np.ndarray:
        if template is None:
            raise ValueError("nothing to compare with: the view has no template")
        if part.shape != template.shape or part.dtype != np.uint8 or template.dtype != np.uint8 or 0 in part.shape:
            raise ValueError(f"the part is {part.dtype}{part.shape}, its template {template.dtype}{template.shape}")
        return cv2.merge([self._shown(part), self._shown(template)])

    def _shown(self, image: np.ndarray) -> np.ndarray:
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        return (
            grey if self.model.level is None else cv2.threshold(grey, self.model.level - 1, 255, cv2.THRESH_BINARY)[1]
        )

    def _tile(self, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8[h, w, channels] of the network's size -> the boxes, and all that is likely, of whichever class."""
        given = np.bitwise_xor(pair, 0x80).view(np.int8) if self._whole else pair.astype(np.float32) / 255
        heat, place = self._run(given.reshape(self.model.shapes[0]))
        grid, off = peaks.read(heat[0], place[0], self._table, self._place)
        if self._look:
            self._look(pair, grid, off)
        found = peaks.boxes(grid, off, self.model, self.least)
        alone = len(found) == 0 or len(self.model.labels) == 1
        return found, found[:0] if alone else peaks.likely(grid, off, self.model, self.least)

    def _tiles(self, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tall, wide = self.model.size
        below, right = max(0, tall - pair.shape[0]), max(0, wide - pair.shape[1])
        pair = np.pad(pair, ((0, below), (0, right), (0, 0)), "edge")
        shared = round(3 * self.model.unit)
        told: tuple[list[np.ndarray], ...] = ([], [])
        for top, first_y, last_y in cuts(pair.shape[0], tall, shared):
            for left, first_x, last_x in cuts(pair.shape[1], wide, shared):
                tile = self._tile(np.ascontiguousarray(pair[top : top + tall, left : left + wide]))
                for kept, here in zip(told, tile, strict=True):
                    here[:, :4] += (left, top, left, top)
                    x, y = here[:, [0, 2]].mean(axis=1), here[:, [1, 3]].mean(axis=1)
                    kept.append(here[(first_x <= x) & (x < last_x) & (first_y <= y) & (y < last_y)])
        found, likely = (np.concatenate(each) for each in told)
        return peaks.without_doubles(found[np.argsort(-found[:, 4], kind="stable")]), likely


def scaled(view: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """uint8[h, w, channels] scaled into uint8[*size, channels], its sides in proportion, its last row and column repeated where it
    does not reach; and by how much."""
    (height, width), (tall, wide) = view.shape[:2], size
    scale = min(tall / height, wide / width)
    h, w = min(tall, max(1, round(height * scale))), min(wide, max(1, round(width * scale)))
    if (h, w) != (height, width):
        view = cv2.resize(view, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return cv2.copyMakeBorder(view, 0, tall - h, 0, wide - w, cv2.BORDER_REPLICATE).reshape(tall, wide, -1), scale


def cuts(length: int, side: int, shared: int) -> list[tuple[int, float, float]]:
    """Tiles of `side` pixels over `length`, each shares `shared` or more with the next: where each starts, and from where to where
    it owns what lies there, middle to middle of what is shared."""
    shared = min(shared, side // 2)
    many = 1 if length <= side else 2 + (length - side - 1) // (side - shared)
    starts = np.linspace(0, length - side, many).round().astype(int).tolist()
    seams = [(one + side + two) / 2 for one, two in pairwise(starts)]
    return list(zip(starts, [-np.inf, *seams], [*seams, np.inf], strict=True))


def one_thread() -> None:
    """OpenCV of this process works on one thread from here on: models run side by side, and a speed says for how many cores."""
    cv2.setNumThreads(1)
