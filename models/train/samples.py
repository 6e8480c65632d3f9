"""Pieces of boards to train on, and what a detector has to say of each: drawn from a seed and a number, so that training goes on
after a break as if there had been none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edge import LinesideError

from ..vision.coco import pairs_in
from ..vision.pairs import Pair
from . import boards, synth

FOLD, STRIDE, UNIT = 4, 8, 32.0  # of every network here, as `Detect` says them
CROP, WHOLE, BATCH = 320, 640, 16
HELD_BACK = 10  # every tenth pair of the list is for choices and never for training
RENDERED = 100  # boards that are for choices
Sample = tuple[np.ndarray, np.ndarray]  # uint8[h, w, 2], part and template; boxes float32[k, 5] with the label's number
Batch = tuple[np.ndarray, ...]
NONE = np.zeros((0, 5), np.float32)


class Source(Protocol):
    """Where square pieces come from, what a network has to say of one, and in how many ways (`turned`) it may lie."""

    ways: int

    def __call__(self, rng: np.random.Generator) -> Sample: ...
    def wanted(self, boxes: np.ndarray, side: int) -> Batch: ...


class Boards:
    """Pieces of boards."""

    ways = 8

    def wanted(self, boxes: np.ndarray, side: int) -> Batch:
        return targets(boxes, side, len(synth.LABELS))


class Rendered(Boards):
    """Boards that were never made."""

    def __init__(self, crop: int = CROP) -> None:
        self._crop = crop

    def __call__(self, rng: np.random.Generator) -> Sample:
        return rendered(rng, self._crop, int(rng.integers(1, 9)))


def rendered(rng: np.random.Generator, side: int, defects: int) -> Sample:
    part, template = boards.board(rng, side)
    boxes = synth.add(part, NONE, rng, defects)  # onto the part, before it is copied
    return _off(np.dstack([part, template]), rng, 0.1), boxes


class Recorded(Boards):
    """The pairs of a folder's list `trainval`, with defects drawn onto them besides their own."""

    def __init__(self, folder: Path, crop: int = CROP) -> None:
        self._crop = crop
        every = [_sample(pair) for number, pair in enumerate(pairs_in(folder, "trainval")) if number % HELD_BACK]
        self._packed = [np.packbits(picture >> 7, axis=1) for picture, _ in every]
        self._boxes = [boxes for _, boxes in every]
        self._flat = [(i, j) for i, boxes in enumerate(self._boxes) for j in range(len(boxes))]

    def __call__(self, rng: np.random.Generator) -> Sample:
        height, row = self._packed[0].shape[:2]
        side = self._crop
        most = np.array([row * 8 - side, height - side])
        if rng.random() < 0.85:
            which, defect = self._flat[rng.integers(len(self._flat))]
            middle = self._boxes[which][defect, :4].reshape(2, 2).mean(axis=0)
            corner = np.clip(middle - rng.integers(30, side - 30, 2), 0, most).astype(int)
        else:
            which, corner = int(rng.integers(len(self._packed))), rng.integers(0, most + 1)
        x, y = corner.tolist()
        part, template = np.unpackbits(self._packed[which][y : y + side], axis=1)[:, x : x + side].transpose(
            2, 0, 1
        ) * np.uint8(255)
        boxes = self._boxes[which] - np.array([x, y, x, y, 0], np.float32)
        boxes = boxes[(boxes[:, 2] > 0) & (boxes[:, 3] > 0) & (boxes[:, 0] < side) & (boxes[:, 1] < side)]
        part, template = part.copy(), template.copy()
        if rng.random() < 0.6:
            boxes = synth.add(part, boxes, rng, int(rng.integers(1, 7)))
        if rng.random() < 0.1:
            change = cv2.erode if rng.random() < 0.5 else cv2.dilate
            template = change(template, np.ones((3, 3), np.uint8))
        return _off(np.dstack([part, template]), rng, 0.3), boxes


def _off(pair: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Now and then the template lies up to two pixels off."""
    if rng.random() < share:
        dx, dy = rng.integers(-2, 3, 2).tolist()
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        size = pair.shape[1::-1]
        pair[:, :, 1] = cv2.warpAffine(
            pair[:, :, 1], move, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
    return pair


def _sample(pair: Pair) -> Sample:
    if unknown := set(pair.types) - set(synth.LABELS):
        raise LinesideError(
            f"{pair.id} has boxes of type {', '.join(sorted(unknown))}; known are {', '.join(synth.LABELS)}"
        )
    picture = np.where(np.dstack([pair.part, pair.template]) >= 128, 255, 0).astype(np.uint8)
    rows = [(*box, synth.LABELS.index(kind)) for box, kind in zip(pair.boxes, pair.types, strict=True)]
    return picture, np.array(rows, np.float32).reshape(-1, 5)


def held_back(folder: Path | None) -> Iterator[Sample]:
    """What every choice is made on and nothing is trained on: each tenth pair of the training list, or rendered boards of seeds of
    their own."""
    if folder is not None:
        pairs = pairs_in(folder, "trainval")
        yield from (_sample(pairs[name]) for name in pairs.ids[::HELD_BACK])
        return
    for number in range(RENDERED):
        rng = np.random.default_rng((20_000_000, number))
        yield rendered(rng, WHOLE, int(rng.integers(4, 14)))


def turned(sample: Sample, way: int) -> Sample:
    """One of eight: mirrored in x (1), in y (2), x and y exchanged (4)."""
    picture, boxes = sample
    side, boxes = picture.shape[0], boxes.copy()
    if way & 1:
        picture, boxes[:, [0, 2]] = picture[:, ::-1], side - boxes[:, [2, 0]]
    if way & 2:
        picture, boxes[:, [1, 3]] = picture[::-1], side - boxes[:, [3, 1]]
    if way & 4:
        picture, boxes = picture.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2, 4]]
    return picture, boxes


def targets(boxes: np.ndarray, side: int, labels: int) -> Batch:
    """What the loss wants: heat [labels, n, n], counts [n, n], places [4, n, n] and their weight [n, n]. What lies outside by more
    than a tenth counts neither for nor against."""
    n = side // STRIDE
    heat, counts = np.zeros((labels, n, n), np.float32), np.ones((n, n), np.float32)
    off, weight, cells = np.zeros((4, n, n), np.float32), np.zeros((n, n), np.float32), np.arange(n) + 0.5
    for box in boxes:
        x, y = (box[[0, 1]] + box[[2, 3]]) / 2 / STRIDE
        w, h = box[2:4] - box[:2]
        seen = np.clip(box[:4], 0, side)
        if (seen[2] - seen[0]) * (seen[3] - seen[1]) < 0.9 * w * h:
            left, top, right, bottom = (seen / STRIDE).astype(int)
            counts[top : bottom + 1, left : right + 1] = 0
            continue
        wide, tall = max(0.55, w / STRIDE / 7), max(0.55, h / STRIDE / 7)
        bump = np.exp(-((cells - x) ** 2) / (2 * wide**2)) * np.exp(-((cells[:, None] - y) ** 2) / (2 * tall**2))
        column, row = min(int(x), n - 1), min(int(y), n - 1)
        bump[row, column] = 1
        label = int(box[4])
        heat[label] = np.maximum(heat[label], bump)
        for j in range(max(0, row - 1), min(n, row + 2)):
            for i in range(max(0, column - 1), min(n, column + 2)):
                worth = 1.0 if (j, i) == (row, column) else 0.3
                if worth > weight[j, i]:
                    weight[j, i] = worth
                    off[:, j, i] = x - i - 0.5, y - j - 0.5, np.log(w / UNIT), np.log(h / UNIT)
    return heat, counts, off, weight


def batch(source: Source, seed: int, number: int, many: int = BATCH) -> Batch:
    """uint8[many, h, w, channels] and what is wanted of them, the same for the same seed and number."""
    rng = np.random.default_rng((seed, number))
    pictures, wanted = [], []
    for _ in range(many):
        picture, boxes = turned(source(rng), int(rng.integers(source.ways)))
        pictures.append(np.ascontiguousarray(picture))
        wanted.append(source.wanted(boxes, len(picture)))
    return np.stack(pictures), *(np.stack(each) for each in zip(*wanted, strict=True))
