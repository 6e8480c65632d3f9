"""A folder of pairs, a part and its template each, with boxes that people drew: laid out as the DeepPCB set is.

`PART*_list.txt` has a group and a number per line (`a 1` or `a,1`; a first line `group,id` is its head), `PART*_boxes.csv` group,
id, x1, y1, x2, y2, type; the pictures are `GROUP/NUMBER_temp` and `GROUP/NUMBER_test` (.png, .jpg, .bmp), in `PART*.zip` or a
folder `PART*`. Where several files fit a pattern all are read. What is absent is told in `missing`, and what is there is used.
"""

from __future__ import annotations

import csv
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge import LinesideError

from .image import decoded
from .score import ENOUGH

MOST_BYTES = 64 * 2**20  # of one picture, packed or not
MOST_TEXT = 64 * 2**20  # of a list
# What zipfile raises for an archive, or an entry of it, that is damaged, packed in an unknown way or kept by a password.
DAMAGED = (OSError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError, zlib.error, lzma.LZMAError)
HEADS = (["group", "id"], ["group", "number"])
PICTURE = re.compile(r"(?:^|/)([^/]+/[^/]+)_(temp|test)\.(?:png|jpe?g|bmp)$", re.IGNORECASE)


class Pair(NamedTuple):
    """`boxes` float32[k, 4] with their `types`, as drawn; `part` and `template` uint8[h, w]."""

    id: str
    part: np.ndarray
    template: np.ndarray
    boxes: np.ndarray
    types: list[str]


class Pairs:
    """The pairs of one part (`test`, `trainval`) of a folder, in the order of its list. Pictures are read when asked for."""

    enough = ENOUGH

    def __init__(self, folder: Path, part: str) -> None:
        """Raises LinesideError where nothing can be read at all."""
        if not folder.is_dir():
            raise LinesideError(f"there is no folder {folder}")
        self.missing: list[str] = []
        self._pictures: dict[tuple[str, str], Callable[[], bytes]] = {}
        for path in sorted(folder.glob(f"{part}*")):
            if path.suffix == ".zip" or path.is_dir():
                self._look_in(path)
        if not self._pictures:
            raise LinesideError(
                f"{folder} holds no pictures of the part {part!r}",
                hint=f"{part}*.zip with GROUP/NUMBER_temp.png and _test.png",
            )
        has = sorted({name for name, _ in self._pictures})
        listed = list(dict.fromkeys(self._listed(folder, f"{part}*_list.txt")))
        both = {name for name in has if {(name, "temp"), (name, "test")} <= self._pictures.keys()}
        self.missing += [name for name in listed or has if name not in both]
        self.ids = [name for name in listed or has if name in both]
        if not self.ids:
            raise LinesideError(
                f"{folder} holds no whole pair of the part {part!r}: its list names other pictures",
                hint=f"the list has {', '.join((listed or has)[:2])}; the pictures are of {', '.join(has[:2])}",
            )
        self._boxes, self.drawn = self._read_boxes(folder, part)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Pair]:
        return (self[name] for name in self.ids)

    def __getitem__(self, name: str) -> Pair:
        """Raises LinesideError for a picture that cannot be read."""
        rows = self._boxes.get(name, [])
        boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
        return Pair(name, self._picture(name, "test"), self._picture(name, "temp"), boxes, [row[1] for row in rows])

    def _picture(self, name: str, which: str) -> np.ndarray:
        if (image := decoded(self._pictures[name, which]())) is None:
            raise LinesideError(f"the picture {name}_{which} cannot be read")
        return image

    def _look_in(self, path: Path) -> None:
        if path.is_dir():
            for file in sorted(path.rglob("*_te*")):
                if (found := PICTURE.search(file.as_posix())) and file.stat().st_size <= MOST_BYTES:
                    self._pictures.setdefault((found[1], found[2].lower()), file.read_bytes)
            return
        for entry, read in entries(path):
            if found := PICTURE.search(entry.filename):
                self._pictures.setdefault((found[1], found[2].lower()), read)

    def _listed(self, folder: Path, pattern: str) -> Iterator[str]:
        """GROUP/NUMBER of each line."""
        for place, line in self._lines(folder, pattern):
            between = next((mark for mark in ",;/" if mark in line), None)
            words = [word.strip() for word in line.split(between)]
            if [word.lower() for word in words] in HEADS:
                continue
            if len(words) != 2 or not all(words):
                raise LinesideError(
                    f"{place}: {line.strip()[:80]!r} is no group and number of a picture",
                    hint="a line is GROUP NUMBER, or GROUP,NUMBER, for GROUP/NUMBER_test and _temp",
                )
            yield "/".join(words)

    def _lines(self, folder: Path, pattern: str) -> Iterator[tuple[str, str]]:
        """file:line of each line that is not empty, and what it says."""
        lines = 0
        for path in sorted(path for path in folder.glob(pattern) if path.is_file()):
            if path.stat().st_size > MOST_TEXT:
                raise LinesideError(f"{path} has {path.stat().st_size} bytes: no list of pictures")
            for number, line in enumerate(path.read_text("utf-8-sig", errors="replace").splitlines(), 1):
                if line.strip():
                    lines += 1
                    yield f"{path}:{number}", line
        if not lines:
            self.missing.append(pattern)

    def _read_boxes(self, folder: Path, part: str) -> tuple[dict[str, list[tuple[list[float], str]]], bool]:
        """By picture; and whether there is any file of them."""
        boxes: dict[str, list[tuple[list[float], str]]] = {}
        pattern, read = f"{part}*_boxes.csv", False
        for place, line in self._lines(folder, pattern):
            (row,), read = csv.reader([line]), True
            if row[:2] == ["group", "id"]:
                continue
            try:
                group, number, *sides, kind = row
                box = [float(side) for side in sides]
                if len(box) != 4 or not np.isfinite(box).all():
                    raise ValueError
            except ValueError:
                raise LinesideError(f"{place}: {line[:80]!r} is no group,id,x1,y1,x2,y2,type") from None
            if box[0] >= box[2] or box[1] >= box[3]:
                raise LinesideError(
                    f"{place}: {line[:80]!r} is a box without an inside", hint="x1 is less than x2, and y1 than y2"
                )
            boxes.setdefault(f"{group}/{number}", []).append((box, kind))
        return boxes, read


def entries(path: Path) -> Iterator[tuple[zipfile.ZipInfo, Callable[[], bytes]]]:
    """Of an archive, but those too large for a picture; and what reads each, which gives nothing where it is damaged. Raises
    LinesideError where the archive is."""
    try:
        packed = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise LinesideError(f"{path} cannot be read: {error}", hint="copy it here anew") from None

    def read(entry: zipfile.ZipInfo) -> bytes:
        try:
            return packed.read(entry)
        except DAMAGED:
            return b""

    for entry in packed.infolist():
        if entry.file_size <= MOST_BYTES:
            yield entry, partial(read, entry)
