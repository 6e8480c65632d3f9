"""The tool `code`: reads QR codes and the barcodes that OpenCV reads (EAN-8, EAN-13, UPC-A)."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from pydantic import Field

from ..registration import grey
from ..verdict import Box
from .contract import Finding, ToolConfig, View

LONGEST = 4096  # characters
SIZES = (1.0, 0.7, 0.5, 0.35)
Kind = Literal["any", "qr", "barcode"]


class Code(NamedTuple):
    """What was read, and around it x0, y0, x1, y1 in pixels."""

    text: str
    box: tuple[int, int, int, int]


class CodeConfig(ToolConfig):
    """What has to be read."""

    kind: Kind = Field("any", description="which codes are looked for")
    expect: str = Field("*", max_length=200, description="what it has to say; ? is any character, * any number of them")


class CodeTool:
    """The text of the finding is what the code says. Recheck where none can be read, or several that might be meant."""

    Config = CodeConfig
    labels = ["code"]

    def __init__(self, config: CodeConfig, folder: Path) -> None:
        self.config = config

    def __call__(self, view: View) -> Finding:
        found = read_codes(view.image, self.config.kind, view.mask)
        if not found:
            return Finding("recheck", text="no code can be read")
        pattern = self.config.expect.replace("[", "[[]")  # a bracket is one: ISO/IEC 15434 begins with "[)>"
        good = sorted({code.text for code in found if fnmatchcase(code.text, pattern)})
        boxes: list[Box] = [(*code.box, "code", 1.0) for code in found]
        measured = {"codes": float(len(found))}
        if not good:
            said = ", ".join(sorted({code.text for code in found}))
            return Finding("ng", 1.0, boxes, measured, f"it says {said}; {self.config.expect} is wanted", firm=True)
        if len(good) > 1:
            return Finding("recheck", 0.5, boxes, measured, f"several codes may be meant: {', '.join(good)}", firm=True)
        return Finding("ok", 0.0, boxes, measured, good[0])


def read_codes(image: np.ndarray, kind: Kind = "any", mask: np.ndarray | None = None) -> list[Code]:
    """All codes of a picture that can be read, from left to right. Never raises for a picture."""
    flat, found = grey(image), []
    if kind in ("any", "qr"):
        found += _read(lambda: cv2.QRCodeDetector().detectAndDecodeMulti(flat)[:3])
    if kind in ("any", "barcode"):
        found += _read(lambda: _of_barcodes(flat))
    if mask is not None:
        found = [code for code in found if _shown(code, mask)]
    return sorted(found, key=lambda code: code.box)


def _of_barcodes(flat: np.ndarray) -> tuple:
    """OpenCV reads a barcode whose bars are about two pixels wide: smaller pictures are tried where it reads nothing."""
    for factor in SIZES:
        sized = cv2.resize(flat, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else flat
        done, texts, _, corners = cv2.barcode.BarcodeDetector().detectAndDecodeWithType(sized)
        if done and any(texts):
            return done, texts, np.asarray(corners) / factor
    return False, (), None


def _read(look: Callable[[], tuple]) -> list[Code]:
    try:
        done, texts, corners = look()
    except cv2.error:
        return []
    if not done or corners is None:
        return []
    found = []
    for text, corner in zip(texts, np.asarray(corners).reshape(-1, 4, 2), strict=False):
        if text and len(text) <= LONGEST:
            (x0, y0), (x1, y1) = np.floor(corner.min(axis=0)).astype(int), np.ceil(corner.max(axis=0)).astype(int)
            found.append(Code(str(text), (int(x0), int(y0), int(x1), int(y1))))
    return found


def _shown(code: Code, mask: np.ndarray) -> bool:
    x0, y0, x1, y1 = code.box
    y, x = min(max((y0 + y1) // 2, 0), mask.shape[0] - 1), min(max((x0 + x1) // 2, 0), mask.shape[1] - 1)
    return bool(mask[y, x])
