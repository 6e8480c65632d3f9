"""Recorded board pairs (DeepPCB): a tested picture, its template, and the labelled defects."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

IOU = 0.33  # a box is found above this overlap, as the data set's own metric says


@dataclass
class Pair:
    """`boxes` int32[k, 4]: x1, y1, x2, y2 of the labelled defects."""

    name: str
    archive: zipfile.ZipFile
    part: str
    template: str
    boxes: np.ndarray

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """(part, template), grey uint8[h, w]."""
        found = []
        for member in (self.part, self.template):
            image = cv2.imdecode(np.frombuffer(self.archive.read(member), np.uint8), cv2.IMREAD_GRAYSCALE)
            if image is None:
                raise ValueError(f"{member} is no picture")
            found.append(image)
        return found[0], found[1]


def archives(data: Path, training: bool = False) -> list[Path]:
    """The archives with their list and boxes beside them, found by pattern."""
    pattern = "trainval*.zip" if training else "test_*.zip"
    return sorted(p for p in (data / "deeppcb").glob(pattern) if p.with_name(f"{p.stem}_boxes.csv").is_file())


def pairs(data: Path, training: bool = False, most: int | None = None) -> Iterator[Pair]:
    n = 0
    for path in archives(data, training):
        boxes: dict[str, list[list[int]]] = {}
        with path.with_name(f"{path.stem}_boxes.csv").open(newline="") as text:
            for row in csv.DictReader(text):
                boxes.setdefault(row["id"], []).append([int(row[k]) for k in ("x1", "y1", "x2", "y2")])
        with zipfile.ZipFile(path) as archive:
            for member in sorted(m for m in archive.namelist() if "_test." in m):
                if most is not None and n >= most:
                    return
                name = Path(member).name.partition("_test.")[0]
                found = np.array(boxes.get(name, []), np.int32).reshape(-1, 4)
                n += 1
                yield Pair(name, archive, member, member.replace("_test.", "_temp."), found)


def good_part(template: np.ndarray, seed: int) -> np.ndarray:
    """The template as a part that is fine: moved by 1 to 2 px each way, with grain and a little blur at its edges."""
    rng = np.random.default_rng([seed, 11])
    dx, dy = (int(rng.choice([-2, -1, 1, 2])) for _ in range(2))
    move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    moved = cv2.warpAffine(template, move, template.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    noisy = cv2.GaussianBlur(moved, (3, 3), 0).astype(np.float32) + rng.normal(0, 25, moved.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def recalled(labelled: np.ndarray, found: np.ndarray) -> int:
    """How many labelled boxes are overlapped by more than IOU; each found box counts for one."""
    if not len(labelled) or not len(found):
        return 0
    low = np.maximum(labelled[:, None, :2], found[None, :, :2])
    high = np.minimum(labelled[:, None, 2:], found[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=2)
    area = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (labelled, found)]
    overlap = inter / (area[0][:, None] + area[1][None, :] - inter)
    n = 0
    for _ in range(len(labelled)):
        i, j = np.unravel_index(np.argmax(overlap), overlap.shape)
        if overlap[i, j] <= IOU:
            break
        n += 1
        overlap[i], overlap[:, j] = 0, 0
    return n
