"""Pairs of pictures, each a part beside its template, of a folder laid out as the DeepPCB set is."""

from __future__ import annotations

import asyncio
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from edge import DeviceLost, log

MOST_BYTES = 64 * 2**20  # of one picture, packed or not
PICTURE = re.compile(r"(.+)_(temp|test)\.(?:png|jpe?g|bmp)", re.IGNORECASE)
Halves = dict[str, Callable[[], bytes]]


class PairsOfPictures:
    """`GROUP/NUMBER_test` with `GROUP/NUMBER_temp` on its right, in the order of their names, over and over; of the parts for which
    `truth(part)` is empty the template on both sides. What is no pair of one size is said once and left out."""

    def __init__(self, path: Path, truth: Callable[[int], str], slots: int) -> None:
        self._path, self._truth, self._slots, self._shown = path, truth, slots, 0
        self._pairs: list[tuple[str, Halves]] = []
        self.about: Mapping[str, str | float] = {}

    async def open(self) -> np.ndarray:
        """Raises DeviceLost where there is no pair."""
        self._pairs = await asyncio.to_thread(pairs_of, self._path)
        image = await asyncio.to_thread(self._next, 0, None)
        self._pairs = [*self._pairs[-1:], *self._pairs[:-1]]
        self._shared = np.zeros((self._slots, *image.shape), np.uint8)
        return self._shared

    async def take(self, slot: int, part: int) -> tuple[int, int]:
        self._shown += 1
        return await asyncio.to_thread(self._fill, slot, part or self._shown)

    def _fill(self, slot: int, part: int) -> tuple[int, int]:
        self._shared[slot] = self._next(part, self._shared.shape[1:])
        check = zlib.crc32(self._shared[slot, ::16].tobytes(), self._shown)  # two pairs may look alike, and are two
        return time.time_ns() // 1000 * 1000, check

    def _next(self, part: int, shape: tuple[int, ...] | None) -> np.ndarray:
        while self._pairs:
            name, halves = self._pairs.pop(0)
            template, test = (_read(halves[which]) for which in ("temp", "test"))
            if template is not None and test is not None and template.shape == test.shape:
                shown = test if self._truth(part) else template
                image = np.hstack([shown, template])
                if shape in (None, image.shape):
                    self._pairs.append((name, halves))
                    short = "/".join(name.split("/")[-2:])
                    self.about = {"file": short if shown is test else f"{short}, its template"}
                    return image
            log.warning("%s: %s is no pair of pictures of one size: left out", self._path, name)
        raise DeviceLost(f"{self._path} holds no pairs", hint="GROUP/NUMBER_test.jpg and GROUP/NUMBER_temp.jpg")

    async def ended(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        return None


def pairs_of(path: Path) -> list[tuple[str, Halves]]:
    """The whole pairs of a folder, and of the archives in it; or of one archive. What cannot be read is left out."""
    found: dict[str, Halves] = {}
    archives = sorted(path.glob("*.zip")) if path.is_dir() else [path]
    for name, size, read in (*_files(path), *(entry for one in archives for entry in _packed(one))):
        if (match := PICTURE.fullmatch(name)) and size <= MOST_BYTES:
            found.setdefault(match[1], {}).setdefault(match[2].lower(), read)
    return [(name, halves) for name, halves in sorted(found.items()) if len(halves) == 2]


def _files(folder: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    for file in sorted(folder.rglob("*_te*")) if folder.is_dir() else ():
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file.stat().st_size, file.read_bytes


def _packed(path: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    try:
        packed = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        log.warning("%s cannot be read: %s", path, error)
        return
    for entry in packed.infolist():
        yield entry.filename, entry.file_size, partial(packed.read, entry)


def _read(read: Callable[[], bytes]) -> np.ndarray | None:
    """uint8[h, w, 3]; None for what is no picture, or cannot be read."""
    import cv2

    try:
        body = np.frombuffer(read(), np.uint8)
        return cv2.imdecode(body, cv2.IMREAD_COLOR) if len(body) else None
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, cv2.error):
        return None
