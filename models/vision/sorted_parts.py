"""A folder of sorted pictures: GOOD/NAME.jpg and one folder for each kind of defect, or the same in a zip."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edge import LinesideError

from .good_parts import MOST_BYTES
from .image import decoded
from .pairs import entries as packed

PICTURES = (".jpg", ".jpeg", ".bmp")  # PNG beside them are masks
NEAR = 60  # pictures whose numbers differ by no more show one part
MOST = 20_000  # pictures
MOST_ALL = 2 * 2**30  # bytes of all pictures, as files and as pixels: they are held in memory
Entry = tuple[int, Callable[[], bytes]]  # bytes of a picture's file, and what reads them
LAYOUT = "*.zip (or folders) with KIND/NAME.jpg, one kind the good parts; *_list.csv (class, image, num) says which show one part"


@dataclass(frozen=True)
class Picture:
    """`part` is the same number for all pictures of one part."""

    kind: str
    name: str
    part: int
    image: np.ndarray


def sorted_parts(folder: Path) -> tuple[list[Picture], list[str]]:
    """All pictures, grey, and what of the layout is not there. Raises LinesideError in words: of too many, or too large a sum,
    before any of them is read."""
    if not folder.is_dir():
        raise LinesideError(f"there is no folder {folder}")
    entries: dict[tuple[str, str], Entry] = {}
    for archive in sorted(folder.glob("*.zip")):
        entries |= _zipped(archive)
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in PICTURES and (size := path.stat().st_size) <= MOST_BYTES:
            entries[path.parent.name, path.stem] = size, partial(_file, path)
    if not 0 < len(entries) <= MOST:
        raise LinesideError(f"{folder} holds {len(entries)} pictures", hint=f"1 to {MOST} of them: {LAYOUT}")
    _fits(folder, sum(size for size, _ in entries.values()))
    numbers, missing = _numbers(folder), []
    if any(key not in numbers for key in entries):
        missing = ["*_list.csv, or a line of it: those pictures are taken for a part each"]
    pictures, pixels = list[Picture](), 0
    for key, part in _parts(sorted(entries), numbers).items():
        image = _image(*key, entries[key][1]())
        _fits(folder, pixels := pixels + image.nbytes)
        pictures.append(Picture(*key, part, image))
    return pictures, missing


def _fits(folder: Path, many: int) -> None:
    if many > MOST_ALL:
        raise LinesideError(f"the pictures of {folder} are more than {MOST_ALL >> 20} MiB", hint="show fewer of them")


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _zipped(archive: Path) -> dict[tuple[str, str], Entry]:
    found: dict[tuple[str, str], Entry] = {}
    for entry, body in packed(archive):
        path = Path(entry.filename)
        if path.suffix.lower() in PICTURES and len(path.parts) >= 2:
            found[path.parts[-2], path.stem] = entry.file_size, body
    return found


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
    if (image := decoded(body)) is None:
        raise LinesideError(f"{kind}/{name} is no picture", hint="copy the folder here anew")
    return image
