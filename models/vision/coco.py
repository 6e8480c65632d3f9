"""A COCO detection file and its pictures as pairs for training and evaluation; each picture names its template."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from pydantic import BaseModel, Field, ValidationError

from edge import LinesideError

from ..quality.coco import number
from .image import decoded as image_of
from .pairs import MOST_BYTES, MOST_TEXT, Pair, Pairs
from .score import ENOUGH

FILE = "annotations.json"
TESTED = 5  # of so many parts one is the test's
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
Number = Annotated[int, Field(strict=True)]


class Image(BaseModel):
    id: Number
    file_name: str
    template: str = ""
    inspection: str = ""
    whole: bool = True


class Note(BaseModel):
    image_id: Number
    category_id: Number
    bbox: tuple[Finite, Finite, Finite, Finite]
    iscrowd: int = 0


class Category(BaseModel):
    id: Number
    name: str


class Coco(BaseModel):
    """What is read of the file; all else in it is passed over."""

    images: list[Image]
    annotations: list[Note] = []
    categories: list[Category] = []


def read(path: Path) -> Coco:
    """Raises LinesideError, with the place of the first fault."""
    try:
        if path.stat().st_size > MOST_TEXT:
            raise LinesideError(f"{path} has {path.stat().st_size} bytes; {MOST_TEXT} are the most")
        found = Coco.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LinesideError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise LinesideError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    names, images = {kind.id for kind in found.categories}, {image.id for image in found.images}
    for at, note in enumerate(found.annotations):
        if note.category_id not in names or note.image_id not in images:
            what = "category_id" if note.category_id not in names else "image_id"
            raise LinesideError(f"{path}: annotations.{at}.{what}: there is none of that number")
    return found


class CocoPairs:
    """The same as Pairs, of a folder with a COCO file. Pictures that nobody drew whole are `missing`. The part `test` has the views
    of each fifth part, by a number that never changes; `trainval` the others; "" all."""

    enough = ENOUGH

    def __init__(self, folder: Path, part: str) -> None:
        """Raises LinesideError where nothing can be read at all."""
        self._folder, found = folder, read(folder / FILE)
        names = {kind.id: kind.name for kind in found.categories}
        self._boxes: dict[int, list[tuple[list[float], str]]] = {}
        for note in found.annotations:
            x, y, w, h = note.bbox
            self._boxes.setdefault(note.image_id, []).append(([x, y, x + w, y + h], names[note.category_id]))
        crowds = {note.image_id for note in found.annotations if note.iscrowd}  # many in one box: nobody drew each
        chosen = [image for image in found.images if part in ("", part_of(image))]
        self._images = {
            image.file_name: image for image in chosen if image.whole and image.template and image.id not in crowds
        }
        self.missing = sorted(image.file_name for image in chosen if image.file_name not in self._images)
        self.ids = sorted(self._images)
        if not self.ids:
            hint = "an image needs `template`, the file of a good part beside it, and `whole` where that is said"
            raise LinesideError(f"{folder / FILE} has no picture of the part {part!r} to use", hint=hint)
        self.drawn = True

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Pair]:
        return (self[name] for name in self.ids)

    def __getitem__(self, name: str) -> Pair:
        """Raises LinesideError for a picture that cannot be read."""
        image = self._images[name]
        rows = self._boxes.get(image.id, [])
        boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
        part, template = (picture_in(self._folder, file, FILE) for file in (name, image.template))
        return Pair(name, part, template, boxes, [row[1] for row in rows])


def picture_in(folder: Path, name: str, of: str, how: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray:
    """uint8[h, w] of a file that `of` names in a folder, [h, w, 3] where `how` is IMREAD_COLOR. Raises LinesideError."""
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise LinesideError(f"{folder / of} names a picture outside of its folder: {name}")
        body = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
    except (OSError, ValueError) as error:  # ValueError: no name of a file at all
        raise LinesideError(f"cannot read the picture {name!r} of {folder}: {error}") from None
    return decoded(body, str(path), how)


def decoded(body: bytes, name: str, how: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray:
    """uint8[h, w], or [h, w, 3]. Raises LinesideError."""
    if (image := image_of(body, how)) is None:
        raise LinesideError(f"{name} is no picture, or too large")
    return image


def part_of(image: Image) -> str:
    return "trainval" if number(image.inspection or image.file_name) % TESTED else "test"


def pairs_in(folder: Path, part: str) -> Pairs | CocoPairs:
    """Labelled pairs of a folder, in whichever layout. Raises LinesideError."""
    return CocoPairs(folder, part) if (folder / FILE).is_file() else Pairs(folder, part)


def before(folder: Path) -> dict[str, list[dict[str, object]]]:
    """The COCO file that lies in a folder, checked, with all its keys; nothing where there is none. Raises LinesideError."""
    path = folder / FILE
    if not path.exists():
        return {}
    read(path)
    found: dict[str, list[dict[str, object]]] = json.loads(path.read_bytes())
    return found
