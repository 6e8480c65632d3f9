"""A folder of pictures of good parts, read and bounded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from edge import LinesideError

from .image import decoded
from .teaching import FEWEST

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MOST_BYTES = 64 * 2**20  # of one picture
MOST_PARTS = 200
MOST_PIXELS = 150 * 10**6  # of all parts together: what is learned holds each of them as floats


def pictures(folder: Path, alike: bool = True) -> tuple[list[str], list[np.ndarray]]:
    """Names and uint8[h, w] of all pictures of a folder. Raises LinesideError where they are too few, too many, twice the same, or
    of several sizes while they have to be `alike`."""
    if not folder.is_dir():
        raise LinesideError(f"there is no folder {folder}")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if not FEWEST <= len(paths) <= MOST_PARTS:
        raise LinesideError(
            f"{folder} holds {len(paths)} pictures",
            hint=f"{FEWEST} to {MOST_PARTS} of good parts: {', '.join(ENDINGS)}",
        )
    parts: list[np.ndarray] = []
    known: dict[bytes, str] = {}
    pixels = 0
    for path in paths:
        part = picture(path)
        if alike and parts and part.shape != parts[0].shape:
            raise LinesideError(
                f"{path.name} is {size(part)}, {paths[0].name} is {size(parts[0])}: all have to be of one size"
            )
        pixels += part.size
        if max(pixels, part.size * len(paths) * alike) > MOST_PIXELS:
            raise LinesideError(
                f"{len(paths)} parts of {size(part)} are too much at once", hint="fewer of them, or a smaller picture"
            )
        digest = hashlib.sha256(part.tobytes()).digest()
        if digest in known:
            raise LinesideError(
                f"{path.name} and {known[digest]} are the same picture: it tells nothing of how parts differ",
                hint="take a new picture of each part, laid down anew",
            )
        known[digest] = path.name
        parts.append(part)
    return [path.name for path in paths], parts


def picture(path: Path, how: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray:
    """uint8[h, w], grey, or [h, w, 3] where `how` is cv2.IMREAD_COLOR. Raises LinesideError in words."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise LinesideError(f"{path} has {path.stat().st_size} bytes: too large a picture")
        body = path.read_bytes()
    except OSError as error:
        raise LinesideError(f"{path} cannot be read: {error.strerror}") from None
    image = decoded(body, how)
    if image is None or min(image.shape[:2]) < 32 or max(image.shape[:2]) > 8192:
        raise LinesideError(f"{path} is no picture of 32 to 8192 px a side")
    return image


def size(image: np.ndarray) -> str:
    """For a person: width x height."""
    return f"{image.shape[1]} x {image.shape[0]}"
