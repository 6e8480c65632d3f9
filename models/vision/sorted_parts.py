"""A folder of sorted pictures: GOOD/NAME.jpg and one folder for each kind of defect, or the same in a zip."""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge import LinesideError

from .good_parts import MOST_BYTES

PICTURES = (".jpg", ".jpeg", ".bmp")  # PNG beside them are masks
NEAR = 60  # pictures whose numbers differ by no more show one part
MOST = 20_000  # pictures
LAYOUT = "*.zip (or folders) with KIND/NAME.jpg, one kind the good parts; *_list.csv (class, image, num) says which show one part"


@dataclass(frozen=True)
class Picture:
    """`part` is the same number for all pictures of one part."""

    kind: str
    name: str
    part: int
    image: np.ndarray


def sorted_parts(folder: Path) -> tuple[list[Picture], list[str]]:
    """All pictures, grey, and what of the layout is not there. Raises LinesideError in words."""
    if not folder.is_dir():
        raise LinesideError(f"there is no folder {folder}")
    bodies: dict[tuple[str, str], bytes] = {}
    for archive in sorted(folder.glob("*.zip")):
        bodies |= _zipped(archive)
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in PICTURES and path.stat().st_size <= MOST_BYTES:
            bodies[path.parent.name, path.stem] = path.read_bytes()
    if not 0 < len(bodies) <= MOST:
        raise LinesideError(f"{folder} holds {len(bodies)} pictures", hint=f"1 to {MOST} of them: {LAYOUT}")
    numbers, missing = _numbers(folder), []
    if any(key not in numbers for key in bodies):
        missing = ["*_list.csv, or a line of it: those pictures are taken for a part each"]
    return [
        Picture(*key, part, _image(*key, bodies[key])) for key, part in _parts(sorted(bodies), numbers).items()
    ], missing


def _zipped(archive: Path) -> dict[tuple[str, str], bytes]:
    try:
        with zipfile.ZipFile(archive) as opened:
            found = {}
            for entry in opened.infolist():
                path = Path(entry.filename)
                if path.suffix.lower() in PICTURES and len(path.parts) >= 2 and entry.file_size <= MOST_BYTES:
                    found[path.parts[-2], path.stem] = opened.read(entry)
            return found
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        raise LinesideError(f"{archive} cannot be read: {error}", hint="copy it here anew") from None


def _numbers(folder: Path) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for path in sorted(folder.glob("*_list.csv")):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                found |= {(row["class"], row["image"]): int(row["num"]) for row in csv.DictReader(file)}
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise LinesideError(f"{path} is no list of class, image, num: {error}") from None
    return found


def _parts(keys: list[tuple[str, str]], numbers: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """The part of each picture: neighbours in number are one, one without a number stands alone."""
    found, part, before = {}, 0, -NEAR - 1
    for key in sorted((key for key in keys if key in numbers), key=lambda key: (numbers[key], key)):
        part += numbers[key] - before > NEAR
        found[key], before = part, numbers[key]
    for key in keys:
        if key not in found:
            part += 1
            found[key] = part
    return found


def _image(kind: str, name: str, body: bytes) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_GRAYSCALE) if body else None
    except cv2.error:
        image = None
    if image is None:
        raise LinesideError(f"{kind}/{name} is no picture", hint="copy the folder here anew")
    return np.asarray(image)
