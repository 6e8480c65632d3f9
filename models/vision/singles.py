"""A folder of single pictures with boxes that people drew, no template beside them.

Either `annotations.json` (COCO), or `PART*_boxes.csv` with the columns image, width, height, class, xmin, ymin, xmax, ymax and the
pictures in `PART*.zip` or a folder `PART*`. A picture without any box is one of a good part. Boxes of pictures that are not there
are told in `missing`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from edge import LinesideError

from .coco import FILE, decoded, part_of, picture_in, read
from .pairs import MOST_TEXT, entries

COLUMNS = ["image", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
KINDS = {".png", ".jpg", ".jpeg", ".bmp"}


class Single(NamedTuple):
    """`boxes` float32[k, 4] with their `types`, as drawn; `part` uint8[h, w], or of colours [h, w, 3]."""

    id: str
    part: np.ndarray
    boxes: np.ndarray
    types: list[str]
    template: None = None


class Singles:
    """The labelled pictures of one part of a folder, in the order of their names. Pictures are read when asked for."""

    enough = 0.5  # of a drawn box that a found one has to overlap
    drawn = True

    def __init__(self, folder: Path, part: str | None = None, colour: bool = False) -> None:
        """`part` None is the only one there is, and of COCO `trainval` (four fifths; the others are `test`, "" is all). Raises
        LinesideError where nothing can be read at all."""
        if not folder.is_dir():
            raise LinesideError(f"there is no folder {folder}")
        self._folder, self._boxes = folder, dict[str, list[tuple[list[float], str]]]()
        self._open: dict[str, Callable[..., np.ndarray]] = {}
        self._how = cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE
        self.missing: list[str] = []
        if (folder / FILE).is_file():
            self.part = "trainval" if part is None else part
            self._of_coco()
        else:
            self.part = part or self._only()
            self._of_table()
        self.ids = sorted(self._open)
        if not self.ids:
            raise LinesideError(f"{folder} holds no pictures of the part {self.part!r}", hint=self._hint())

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Single]:
        return (self[name] for name in self.ids)

    def __getitem__(self, name: str) -> Single:
        """Raises LinesideError for a picture that cannot be read."""
        rows = self._boxes.get(name, [])
        boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
        return Single(name, self._open[name](how=self._how), boxes, [row[1] for row in rows])

    @property
    def labels(self) -> list[str]:
        """Of all boxes, by name."""
        return sorted({kind for name in self.ids for _, kind in self._boxes.get(name, [])})

    def types(self, name: str) -> list[str]:
        """Of one picture's boxes, without reading the picture."""
        return [kind for _, kind in self._boxes.get(name, [])]

    def _of_coco(self) -> None:
        found = read(self._folder / FILE)
        names = {kind.id: kind.name for kind in found.categories}
        files = {image.id: image.file_name for image in found.images}
        for note in found.annotations:
            x, y, w, h = note.bbox
            if w <= 0 or h <= 0:
                raise LinesideError(f"{self._folder / FILE}: a box of {files[note.image_id]} is {w:g} x {h:g}")
            self._boxes.setdefault(files[note.image_id], []).append(([x, y, x + w, y + h], names[note.category_id]))
        crowds = {note.image_id for note in found.annotations if note.iscrowd}  # many in one box: nobody drew each
        for image in found.images:
            if self.part in ("", part_of(image)):
                if image.whole and image.id not in crowds:
                    self._open[image.file_name] = partial(picture_in, self._folder, image.file_name, FILE)
                else:
                    self.missing.append(image.file_name)

    def _only(self) -> str:
        """The part whose table is the only one here."""
        names = [path.name.removesuffix("boxes.csv") for path in sorted(self._folder.glob("*boxes.csv"))]
        if len(names) != 1:
            which = "names several parts" if names else "has no table of boxes"
            hint = f"say which: {', '.join(name.rstrip('_') for name in names)}" if names else self._hint()
            raise LinesideError(f"{self._folder} {which}", hint=hint)
        return names[0].rstrip("_")

    @staticmethod
    def _hint() -> str:
        return f"{FILE} (COCO), or PART_boxes.csv ({', '.join(COLUMNS)}) with the pictures in PART.zip or a folder PART"

    def _of_table(self) -> None:
        for path in sorted(self._folder.glob(f"{self.part}*")):
            if path.is_dir():
                files = (file for file in path.rglob("*") if file.suffix.lower() in KINDS)
                self._open |= {
                    name: partial(picture_in, path, name, path.name)
                    for name in (file.relative_to(path).as_posix() for file in files)
                }
            elif path.suffix == ".zip":
                for entry, body in entries(path):
                    if Path(entry.filename).suffix.lower() in KINDS:
                        self._open.setdefault(entry.filename, partial(_packed, body, path, entry.filename))
        tables = [path for path in sorted(self._folder.glob(f"{self.part}*boxes.csv")) if path.is_file()]
        if not tables:
            raise LinesideError(f"{self._folder} has no table of boxes of the part {self.part!r}", hint=self._hint())
        for path in tables:
            self._read(path)
        self.missing += sorted(self._boxes.keys() - self._open.keys())

    def _read(self, path: Path) -> None:
        if path.stat().st_size > MOST_TEXT:
            raise LinesideError(f"{path} has {path.stat().st_size} bytes: no table of boxes")
        rows = csv.reader(path.read_text("utf-8", errors="replace").splitlines())
        if (head := next(rows, [])) != COLUMNS:
            raise LinesideError(f"{path}: its first line is {','.join(head)[:80]!r}, not {','.join(COLUMNS)}")
        for number, row in enumerate(filter(None, rows), 2):
            try:
                name, _, _, kind, *sides = row
                box = [float(side) for side in sides]
                if len(box) != 4 or not np.isfinite(box).all() or not kind or box[0] >= box[2] or box[1] >= box[3]:
                    raise ValueError
            except ValueError:
                raise LinesideError(f"{path}:{number}: {','.join(row)[:80]!r} is no {','.join(COLUMNS)}") from None
            self._boxes.setdefault(name, []).append((box, kind))


def singles_in(folder: Path, part: str | None, colour: bool = False) -> Singles:
    """Those to test with: of a COCO folder each fifth, unless a part is named. Raises LinesideError."""
    return Singles(folder, "test" if part is None and (folder / FILE).is_file() else part, colour)


def _packed(body: Callable[[], bytes], path: Path, name: str, how: int) -> np.ndarray:
    return decoded(body(), f"{name} in {path}", how)
