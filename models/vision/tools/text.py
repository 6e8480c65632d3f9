"""The tool `text`: one line of printed characters, each compared with pictures of all that may be there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from pydantic import Field, model_validator

from edge import ConfigFault

from ..registration import LEVEL, grey
from ..verdict import Box
from .contract import Finding, ToolConfig, View
from .likeness import small_picture

SIDE = 32  # pixels in which two characters are compared
SPECK = 6  # pixels of ink that are no character yet
MOST_CHARACTERS = 256


class TextConfig(ToolConfig):
    """The region holds one line, and nothing else that is printed."""

    characters: str = Field(
        description="folder beside the recipe with a picture of each character, cut as high as the line: A.png, 7.png"
    )
    expect: str = Field(min_length=1, max_length=64, description="what has to stand there; ? is any known character")
    light: bool = Field(False, description="light print on dark ground")
    like: float = Field(0.75, gt=0, le=1, description="likeness below which a character is not read: recheck")
    margin: float = Field(
        0.05, ge=0, le=1, description="by which it has to be more like one than like any other, or recheck"
    )

    @model_validator(mode="after")
    def _no_blank(self) -> TextConfig:
        if any(c.isspace() for c in self.expect):
            raise ValueError("blanks are not read: leave them out of expect")
        return self


class TextTool:
    """The text of the finding says what was read. Measures `characters` and the lowest `likeness`."""

    Config = TextConfig

    def __init__(self, config: TextConfig, folder: Path) -> None:
        """Raises ConfigFault for a folder without pictures, or one that lacks a character of `expect`."""
        self.config, self._known = config, _characters(folder / config.characters, config.light)
        if lacks := sorted({c for c in config.expect if c != "?"} - self._known.keys()):
            raise ConfigFault(f"{folder / config.characters} has no picture of {', '.join(lacks)}")
        self.labels = self._names = list(self._known)
        self._all = np.stack([self._known[name] for name in self._names])

    def __call__(self, view: View) -> Finding:
        config, image = self.config, grey(view.image)
        if view.mask is not None:
            image = np.where(view.mask > 0, image, np.uint8(np.median(image[view.mask > 0])) if view.mask.any() else 0)
        if float(image.std()) < LEVEL:
            return Finding("recheck", text="nothing is printed there, or too faintly")
        read, worst, doubts, boxes = "", 1.0, [], list[Box]()
        for x0, x1, y0, y1, ink in _cut(image, config.light):
            likes = self._all @ _shape(ink)
            first, second = np.argsort(-likes)[:2] if len(likes) > 1 else (0, 0)
            name, like = self._names[first], float(likes[first])
            other = float(likes[second]) if len(likes) > 1 else -1.0
            worst = min(worst, like)
            if like < config.like:
                doubts.append(f"character {len(read) + 1} is like {name} by {like:.0%} only")
            elif like - other < config.margin:
                doubts.append(f"character {len(read) + 1} may be {name} or {self._names[second]}")
            read += name
            boxes.append((x0, y0, x1, y1, name, like))
        measured = {"characters": float(len(read)), "likeness": worst if read else 0.0}
        if doubts or not read:
            return Finding(
                "recheck",
                1 - worst,
                boxes,
                measured,
                f"read {read or 'nothing'}: {'; '.join(doubts[:3])}".rstrip(": "),
                firm=True,
            )
        good = len(read) == len(config.expect) and all(w in ("?", r) for w, r in zip(config.expect, read, strict=True))
        text = read if good else f"{read}; {config.expect} is wanted"
        return Finding("ok" if good else "ng", 1 - worst, boxes, measured, text, firm=True)


def _characters(folder: Path, light: bool) -> dict[str, np.ndarray]:
    paths = (
        sorted(p for p in folder.glob("*") if p.suffix.lower() in (".png", ".bmp", ".jpg")) if folder.is_dir() else []
    )
    if not 1 <= len(paths) <= MOST_CHARACTERS:
        raise ConfigFault(
            f"{folder} holds {len(paths)} pictures of characters", hint="one of each, called as it: A.png, 7.png"
        )
    known = {}
    for path in paths:
        if len(path.stem) != 1:
            raise ConfigFault(f"{path}: a picture of a character is called as it, one letter: A.png")
        pieces = _cut(small_picture(path), light)
        if not pieces:
            raise ConfigFault(f"{path} shows no character", hint="print is dark on light unless `light` is set")
        x0, x1 = min(p[0] for p in pieces), max(p[1] for p in pieces)
        whole = _ink(small_picture(path), light)
        rows = np.flatnonzero(whole[:, x0:x1].any(axis=1))
        known[path.stem] = _shape(whole[rows[0] : rows[-1] + 1, x0:x1])
    return known


def _ink(image: np.ndarray, light: bool) -> np.ndarray:
    """uint8[h, w], 255 where something is printed."""
    kind = cv2.THRESH_BINARY if light else cv2.THRESH_BINARY_INV
    return cv2.threshold(image, 0, 255, kind | cv2.THRESH_OTSU)[1]


def _cut(image: np.ndarray, light: bool) -> list[tuple[int, int, int, int, np.ndarray]]:
    """x0, x1, y0, y1 and ink of each character from left to right: columns of ink between columns without."""
    ink = _ink(image, light)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    ink[np.isin(labels, np.flatnonzero(stats[:, 4] < SPECK))] = 0
    columns = np.diff(np.r_[False, ink.any(axis=0), False].astype(np.int8))
    cuts = []
    for x0, x1 in zip(np.flatnonzero(columns > 0).tolist(), np.flatnonzero(columns < 0).tolist(), strict=True):
        rows = np.flatnonzero(ink[:, x0:x1].any(axis=1))
        y0, y1 = int(rows[0]), int(rows[-1]) + 1
        cuts.append((x0, x1, y0, y1, ink[y0:y1, x0:x1]))
    return cuts[:MOST_CHARACTERS]


def _shape(ink: np.ndarray) -> np.ndarray:
    """float32[SIDE * SIDE] of length 1 about its mean: the character in the middle of a square, its proportions kept."""
    h, w = ink.shape
    side = max(h, w)
    top, left = (side - h) // 2, (side - w) // 2
    square = cv2.copyMakeBorder(ink, top, side - h - top, left, side - w - left, cv2.BORDER_CONSTANT, value=0)
    small = cv2.GaussianBlur(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    flat = small.astype(np.float32).ravel()
    flat -= flat.mean()
    return flat / (float(np.linalg.norm(flat)) or 1.0)
