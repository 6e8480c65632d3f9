"""Single pictures to train on, and what a detector has to say of each: cut, scaled, put side by side and in another light, drawn
from a seed and a number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ..vision.detect import scaled
from ..vision.singles import Single
from .samples import STRIDE, UNIT, Batch, Sample

SIDES_BY_SIDE = 0.1  # share of pieces that are of four pictures
SIZES = (0.9, 1.2)  # by how much a piece is larger than its picture
SEEN = 0.35  # of a box that has to lie within a piece to be one of its own; of less the piece says nothing


def sample(single: Single, labels: Sequence[str], side: int) -> Sample:
    """A picture as the network sees it when it judges, uint8[side, side, 1], with its boxes."""
    picture, scale = scaled(single.part[:, :, None], (side, side))
    rows = [(*box, labels.index(kind)) for box, kind in zip(single.boxes * scale, single.types, strict=True)]
    boxes = np.array(rows, np.float32).reshape(-1, 5)
    return picture, boxes[(boxes[:, 2:4] - boxes[:, :2] >= 1).all(axis=1)]


class Pieces:
    """Square pieces of pictures that are held in memory. They are mirrored and never lie on their side."""

    ways = 4

    def __init__(self, every: Iterable[Single], labels: Sequence[str], side: int) -> None:
        self._side, self.labels = side, labels
        self._every = [sample(single, labels, side) for single in every]

    def __call__(self, rng: np.random.Generator) -> Sample:
        """Boxes that are too little seen have the label -1."""
        side = self._side
        if rng.random() >= SIDES_BY_SIDE:
            picture, boxes = self._moved(rng, (0.0, 0.0, side, side), SIZES)
        else:
            x, y = (rng.uniform(0.3, 0.7, 2) * side).astype(int).tolist()
            picture, each = np.zeros((side, side, 1), np.uint8), []
            for x0, y0, x1, y1 in ((0, 0, x, y), (x, 0, side, y), (0, y, x, side), (x, y, side, side)):
                part, boxes = self._moved(rng, (x0, y0, x1, y1), (0.6, 1.1))
                picture[y0:y1, x0:x1] = part[y0:y1, x0:x1]
                each.append(boxes)
            boxes = np.concatenate(each)
        return lit(picture, rng), boxes

    def wanted(self, boxes: np.ndarray, side: int) -> Batch:
        return targets(boxes, side, len(self.labels))

    def _moved(
        self, rng: np.random.Generator, place: tuple[float, float, float, float], sizes: tuple[float, float]
    ) -> Sample:
        """A picture scaled and shifted, of which something lies at `place`, x0, y0, x1, y1; its boxes cut there."""
        picture, boxes = self._every[rng.integers(len(self._every))]
        side = self._side
        scale = np.exp(rng.uniform(*np.log(sizes))) * np.exp(rng.uniform(-0.1, 0.1, 2))
        low, high = np.array(place[:2]), np.array(place[2:])
        slack = high - low - scale * side  # below 0: more than fits, any piece of it
        shift = low + slack * rng.random(2)
        move = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]], np.float32)
        shown = cv2.warpAffine(picture, move, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        boxes = boxes.copy()
        boxes[:, :4] = boxes[:, :4] * np.tile(scale, 2) + np.tile(shift, 2)
        area = (boxes[:, 2:4] - boxes[:, :2]).prod(axis=1)
        boxes[:, :4] = np.clip(boxes[:, :4], np.tile(low, 2), np.tile(high, 2))
        sides = boxes[:, 2:4] - boxes[:, :2]
        boxes[sides.prod(axis=1) < SEEN * area, 4] = -1
        return shown.reshape(side, side, 1), boxes[(sides >= 2).all(axis=1)]


def lit(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """In another light, now and then with noise or out of focus."""
    middle = float(picture.mean())
    gain, bias = np.exp(rng.uniform(-0.35, 0.35)), rng.uniform(-30, 30)
    shown = (picture.astype(np.float32) - middle) * gain + middle + bias
    if rng.random() < 0.2:
        shown += rng.normal(0, rng.uniform(2, 8), shown.shape).astype(np.float32)
    if rng.random() < 0.1:
        shown = cv2.GaussianBlur(shown, (0, 0), rng.uniform(0.4, 1.0)).reshape(picture.shape)
    return np.clip(shown, 0, 255).astype(np.uint8)


def targets(boxes: np.ndarray, side: int, labels: int) -> Batch:
    """As `samples.targets`; the place is wanted of all of a box's inner part, of the smaller box where two lie over one another."""
    n = side // STRIDE
    heat, counts = np.zeros((labels, n, n), np.float32), np.ones((n, n), np.float32)
    off, weight, cells = np.zeros((4, n, n), np.float32), np.zeros((n, n), np.float32), np.arange(n) + 0.5
    area = (boxes[:, 2:4] - boxes[:, :2]).prod(axis=1)
    for box in boxes[np.argsort(-area, kind="stable")]:
        x, y = (box[[0, 1]] + box[[2, 3]]) / 2 / STRIDE
        w, h = (box[2:4] - box[:2]) / STRIDE
        if box[4] < 0:
            left, top, right, bottom = (box[:4] / STRIDE).astype(int)
            counts[top : bottom + 1, left : right + 1] = 0
            continue
        wide, tall = max(0.55, w / 7), max(0.55, h / 7)
        bump = np.exp(-((cells - x) ** 2) / (2 * wide**2)) * np.exp(-((cells[:, None] - y) ** 2) / (2 * tall**2))
        column, row = min(int(x), n - 1), min(int(y), n - 1)
        bump[row, column] = 1
        label = int(box[4])
        heat[label] = np.maximum(heat[label], bump)
        inner = bump > 0.4
        weight[inner] = bump[inner]
        off[0][inner] = np.broadcast_to(x - cells, (n, n))[inner]
        off[1][inner] = np.broadcast_to((y - cells)[:, None], (n, n))[inner]
        off[2][inner], off[3][inner] = np.log(w * STRIDE / UNIT), np.log(h * STRIDE / UNIT)
    counts[weight > 0] = 1
    return heat, counts, off, weight
