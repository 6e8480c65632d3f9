"""The replay driver: a table's rows or a folder's pictures, at their own pace or as fast as they are taken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
from pydantic import Field, field_validator

from edge import (
    SECOND,
    Batch,
    ConfigFault,
    DriverConfig,
    Frame,
    FramePool,
    Identifier,
    Period,
    Point,
    Quality,
    Source,
    lacks,
    log,
)

from .table import Table, files, read_all

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
STEP = 0.05  # seconds between two batches of a table
MOST_ROWS = 2000  # rows of one batch


class ReplayPoint(Point):
    """One column."""

    column: str = Field("", description="its name in the table (default: the tag's own name)")
    type: Literal["float64", "text"] = Field("float64", description="`text` where the cells are strings")


class ReplayConfig(DriverConfig):
    """A file or a folder."""

    url: str = Field(
        description="csv:FILE, csv:FOLDER/*.csv (recordings one after the other) or pictures:FOLDER; "
        "pictures:FOLDER?pair=_test,_temp joins two files a frame"
    )
    time: str = Field("time", description="column with the time: ISO 8601, or seconds since 1970")
    separator: str = Field(",", min_length=1, max_length=1, description="between two columns")
    speed: float = Field(1.0, ge=0, description="times real speed; 0: as fast as the journal takes it")
    every: Period = Field(1.0, description="time between two pictures, at speed 1")
    buffers: int = Field(4, ge=1, le=64, description="pictures under way at once; when all are in use the replay waits")
    loop: bool = Field(False, description="begin again at the end (pictures only)")
    tags: dict[Identifier, ReplayPoint] = Field(default_factory=dict, description="columns of the table, by name")

    @field_validator("url")
    @classmethod
    def _known(cls, text: str) -> str:
        if urlsplit(text).scheme not in ("csv", "pictures") or not urlsplit(text).path:
            raise ValueError(f"{text!r} is neither csv:FILE nor pictures:FOLDER")
        return text

    def period(self) -> float:
        return 0.0

    def faults(self) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
        kind, path = urlsplit(self.url).scheme, Path(urlsplit(self.url).path)
        if kind == "csv" and not self.tags:
            yield (), "reads nothing", "add `tags:`, each with its `column:`"
        if kind == "csv" and self.loop:
            yield ("loop",), "only pictures begin again; times would run backwards", "remove it"
        if kind == "pictures" and self.tags:
            yield ("tags",), "a picture has no columns", "remove it"
        wishes = parse_qs(urlsplit(self.url).query, keep_blank_values=True)
        if wishes and (set(wishes) != {"pair"} or kind == "csv" or len(wishes["pair"][0].split(",")) != 2):
            yield ("url",), f"?{urlsplit(self.url).query} says nothing here", "pictures:FOLDER?pair=_test,_temp"
        if "*" in str(path) and kind == "csv":
            if lacks(path) and not files(path):
                yield ("url",), f"there is no {path}", "a path is taken from where the daemon was started"
        elif lacks(path):
            yield ("url",), f"there is no {path}", "a path is taken from where the daemon was started"
        elif path.exists() and path.is_dir() != (kind == "pictures"):
            yield ("url",), f"{path} is {'a folder' if path.is_dir() else 'no folder'}", "csv:FILE or pictures:FOLDER"


class Replay:
    """Emits until the end, then stays quiet."""

    Config = ReplayConfig

    def __init__(self, config: ReplayConfig, source: Source) -> None:
        self.config, self.source = config, source
        parts = urlsplit(config.url)
        self._kind, self._path = parts.scheme, Path(parts.path)
        self._pair = parse_qs(parts.query).get("pair", [""])[0].split(",")
        self._given = 0

    async def run(self) -> None:
        if self._kind == "csv":
            table = await self._table()
            if table.unreadable:
                log.warning(
                    "%s: %d numbers cannot be read, the first in %s", self.source.name, table.unreadable, table.first
                )
                self.source.count("unreadable", table.unreadable)
            if table.left_out:
                told = "%s: %d rows are left out: the recording before them goes on beyond their times"
                log.warning(told, self.source.name, table.left_out)
                self.source.count("left_out", table.left_out)
            await self._rows(table)
        else:
            await self._pictures(self._files())
        log.info("%s: the replay has ended", self.source.name)
        await asyncio.Event().wait()

    async def probe(self) -> Sequence[str]:
        if self._kind == "pictures":
            return [f"{len(self._files())} pictures to replay"]
        table = await self._table()
        odd = (
            f"; numbers that cannot be read: {table.unreadable}, the first in {table.first}" if table.unreadable else ""
        )
        late = f"; left out, since recordings overlap: {table.left_out}" if table.left_out else ""
        return [f"{len(table.ts)} rows{odd}{late}"]

    async def _table(self) -> Table:
        columns = {name: point.column or name for name, point in self.config.tags.items()}
        texts = {name for name, point in self.config.tags.items() if point.type == "text"}
        paths = await asyncio.to_thread(files, self._path)
        how = self.config.time, columns, self.config.separator, texts
        table = await asyncio.to_thread(read_all, paths, *how)
        if not len(table.ts):
            raise ConfigFault(f"{self._path} holds no rows to replay")
        return table

    # Tables

    async def _rows(self, table: Table) -> None:
        """Rows whose time has come, as one batch; stamped with the recorded time."""
        ids = np.array([self.source.tags[name].id for name in self.config.tags], np.int32)
        causes = self._causes(table, ids)
        began, at, n = self.source.clock.mono(), 0, len(table.ts)
        while at < n:
            while not self.source.ready():
                await asyncio.sleep(0.01)
            upto = min(n, at + MOST_ROWS)
            if self.config.speed:
                reached = table.ts[0] + round((self.source.clock.mono() - began) * self.config.speed)
                upto = min(upto, int(np.searchsorted(table.ts, reached, "right")))
            if upto > at:
                value, quality = table.value[at:upto], causes[at:upto]
                ts = np.repeat(table.ts[at:upto], len(ids))
                tags = ids if upto - at == 1 else np.tile(ids, upto - at)
                self.source.emit(Batch.of(self.source.name, tags, value.ravel(), ts, quality.ravel()))
                self.source.running()
                at = upto
            await asyncio.sleep(STEP if self.config.speed else 0)

    def _causes(self, table: Table, ids: np.ndarray) -> np.ndarray:
        """Put the numbers of strings into the columns of text; returns the quality of every cell, uint8[n, c]."""
        cause = np.where(np.isnan(table.value), Quality.BAD, Quality.GOOD).astype(np.uint8)
        for k, strings in table.strings.items():
            column, known = table.value[:, k], cause[:, k] == Quality.GOOD
            numbers = np.array([self.source.text(int(ids[k]), string) for string in strings])
            column[known] = numbers[column[known].astype(np.int64)]
            cause[known & np.isnan(column), k] = Quality.RANGE
        return cause

    # Pictures

    def _files(self) -> list[tuple[Path, ...]]:
        """The frames of the folder in the order of their names. Raises ConfigFault where there are none."""
        files = sorted(p for p in self._path.iterdir() if p.suffix.lower() in PICTURES)
        found: list[tuple[Path, ...]] = [(p,) for p in files]
        if len(self._pair) == 2:
            first, second = self._pair
            found = [
                (p, mate)
                for p in files
                if p.stem.endswith(first)
                for mate in [p.with_name(p.stem.removesuffix(first) + second + p.suffix)]
                if mate.is_file()
            ]
        if not found:
            raise ConfigFault(f"{self._path} holds no pictures to replay")
        return found

    async def _pictures(self, files: list[tuple[Path, ...]]) -> None:
        """One frame a file (or pair). None is dropped: when all buffers are in use the replay waits."""
        room, loop = asyncio.Event(), asyncio.get_running_loop()
        pool: FramePool | None = None
        lock = threading.Lock()

        def give(image: np.ndarray) -> None:
            with lock:
                if pool is not None and image.shape == pool.shape:
                    pool.give(image)
            if not loop.is_closed():
                loop.call_soon_threadsafe(room.set)

        began, seq = self.source.clock.mono(), 0
        while True:
            before = self._given
            for names in files:
                seq += 1
                if (image := await asyncio.to_thread(self._read, names)) is None:
                    continue
                if pool is None or pool.shape != image.shape:
                    pool = FramePool(image.shape, self.config.buffers)
                while (buffer := pool.take()) is None:
                    room.clear()
                    if len(pool) == 0:
                        await room.wait()
                buffer[:] = image
                if self.config.speed:
                    due = began + round((seq - 1) * self.config.every / self.config.speed * SECOND)
                    await asyncio.sleep(max(0, due - self.source.clock.mono()) / SECOND)
                self._given += 1
                clock = self.source.clock
                self.source.frame(Frame(self.source.name, seq, clock.utc(), buffer, seq, 0, give, clock.mono()))
                self.source.running()
                self.source.count("frames")
                await asyncio.sleep(0)
            if self._given == before:
                raise ConfigFault(f"{self._path} holds no pictures to replay")
            if not self.config.loop:
                return

    def _read(self, names: tuple[Path, ...]) -> np.ndarray | None:
        """The frame of these files; None (said and counted) for what is no picture, or no pair."""
        try:
            return _read(names)
        except ValueError as error:
            log.warning("%s: %s: left out", self.source.name, error)
            self.source.count("unreadable")
            return None


def _read(names: tuple[Path, ...]) -> np.ndarray:
    """uint8[h, w, 3], or for a pair uint8[h, w, 2]. Raises ValueError for what is no picture, or no pair."""
    how = cv2.IMREAD_COLOR if len(names) == 1 else cv2.IMREAD_GRAYSCALE
    found = []
    for name in names:
        try:
            image = cv2.imread(str(name), how)
        except cv2.error:  # more than it takes
            image = None
        if image is None:
            raise ValueError(f"{name} is no picture")
        found.append(image)
    if len(found) == 1:
        return found[0]
    if found[0].shape != found[1].shape:
        raise ValueError(f"{names[0]} and {names[1].name} differ in size")
    return np.dstack(found)
