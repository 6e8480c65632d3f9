"""The camera driver: pictures on a grid of times, or on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from edge import (
    Batch,
    DeviceLost,
    DriverConfig,
    Event,
    Frame,
    Grid,
    Period,
    Point,
    Quality,
    Source,
    Writable,
    Write,
    WriteRefused,
    lacks,
    site_folder,
)

from .address import address_of, shown
from .sources import Shots, asked, car_wishes, source_of, wishes

PLAYED = ("pattern", "file", "folder", "pairs")  # pictures that are there already: nothing hangs
SCHEMES = (*PLAYED, "v4l2", "rtsp", "http", "https")
LARGEST_PART = 2**31


class CameraConfig(DriverConfig):
    """One camera."""

    url: str = Field(
        description="rtsp://, http:// (MJPEG), v4l2:/dev/video0, file:CLIP, folder:PICTURES, pairs:FOLDER or pattern:parts?ng=0.2",
        repr=False,
    )
    every: Period = Field(1.0, description="time between two pictures, where there is no `trigger`")
    trigger: str = Field("", description="tag whose rising edge takes a picture")
    on_demand: bool = Field(False, description="pictures only when an inspection asks for one (it writes NAME.trigger)")
    part: str = Field("", description="tag with the part number of that picture (default: a counter)")
    buffers: int = Field(4, ge=2, le=32, description="pictures under way at once")
    timeout: Period = Field(5.0, description="how long to wait for a picture")
    frozen_after: Period = Field(
        30.0, description="the very same picture for this long means that the camera hangs (rtsp, http, v4l2)"
    )

    _folder: Path = PrivateAttr(default_factory=Path)

    @field_validator("url")
    @classmethod
    def _known(cls, text: str) -> str:
        parts = address_of(text)
        if parts.scheme not in SCHEMES:
            raise ValueError(
                f"{shown(text)!r} is no camera; it begins with one of {', '.join(f'{s}:' for s in SCHEMES)}"
            )
        if parts.scheme in ("pattern", "pairs"):
            asked(parts.scheme, parts.path, parts.query)
        if parts.scheme == "pattern":
            (car_wishes if parts.path == "car" else wishes)(parts.query)
        elif parts.scheme not in ("file", "folder", "pairs", "v4l2"):
            if not parts.hostname:
                raise ValueError("it names no host; write rtsp://192.168.1.20/stream")
        elif not parts.path:
            raise ValueError(f"{text!r} names no {parts.scheme}; write {parts.scheme}:PATH")
        elif parts.scheme == "pairs":
            wishes(parts.query)
        return text

    @model_validator(mode="after")
    def _beside(self, info: ValidationInfo) -> Self:
        self._folder = site_folder(info)
        return self

    def plays(self) -> bool:
        """Whether its pictures are there already, so that the same one again is no camera that hangs."""
        return address_of(self.url).scheme in PLAYED

    def shots(self, slots: int) -> Shots:
        """The source of its pictures; a path is taken from the site's folder."""
        return source_of(self.url, slots, self.timeout, self._folder)

    def points(self) -> dict[str, Point]:
        return {"trigger": Point(writable=Writable(range=(0, LARGEST_PART)))}

    def only_written(self) -> Sequence[str]:
        return ("trigger",)

    def period(self) -> float:
        return 0.0

    def faults(self) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
        parts = urlsplit(self.url)
        path = self._folder / parts.path
        if parts.scheme in ("file", "folder", "pairs") and lacks(path):
            yield ("url",), f"there is no {path}", "a path is taken from the folder of the site"
        elif parts.scheme == "file" and path.is_dir():
            yield ("url",), f"{path} is a folder", f"write folder:{parts.path}"
        if self.plays() and "frozen_after" in self.model_fields_set:
            why = f"{parts.scheme}: plays pictures and cannot hang; what stands still there is meant to"
            yield ("frozen_after",), why, "remove it; it is for rtsp://, http:// and v4l2:"
        if self.on_demand and self.trigger:
            yield ("on_demand",), f"pictures on demand, and of {self.trigger}", "remove one of the two"
        if self.part and not self.trigger:
            yield ("part",), "a part number without a trigger", "add `trigger:`"


def _give(free: list[int], slot: int, image: np.ndarray) -> None:
    """The slot of a released frame is free again. Any thread: nobody waits for one."""
    free.append(slot)


class Camera:
    """Frames from a few shared buffers. On demand a missing buffer refuses the trigger (overrun); on a grid it skips a slot."""

    Config = CameraConfig

    def __init__(self, config: CameraConfig, source: Source) -> None:
        self.config, self.source = config, source
        self._shots: Shots | None = None
        self._slots: np.ndarray | None = None
        self._free: list[int] = []
        self._one = asyncio.Lock()
        self._seq = 0
        self._last_check = -1
        self._moved = 0
        self._failed: asyncio.Future[None] | None = None
        self._told = False

    async def run(self) -> None:
        self._failed = asyncio.get_running_loop().create_future()
        shots = self.config.shots(self.config.buffers)
        try:
            self._slots = await shots.open()
            self._free = list(range(self.config.buffers))
            self._moved, self._last_check, self._shots = self.source.clock.mono(), -1, shots
            if not self._told:  # nothing to wait for: it has a value when it is written
                self._told, trigger = True, self.source.tags["trigger"].id
                self.source.emit(
                    Batch.of(self.source.name, [trigger], [np.nan], self.source.clock.utc(), Quality.STALE)
                )
            self.source.running()
            if self.config.trigger or self.config.on_demand:
                await self._standing(shots)
            grid = Grid(self.config.every, self.source)
            while True:
                self.source.count("overruns", await grid.next())
                if not self._free:
                    self.source.count("skipped_no_buffer")
                    continue
                await self._take(None)
        finally:
            self._shots = None
            await shots.close()

    async def _standing(self, shots: Shots) -> None:
        """Wait for triggers until one fails, or the source ends between two: the next part finds it open again."""
        assert self._failed is not None
        end = asyncio.ensure_future(shots.ended())
        try:
            await asyncio.wait([self._failed, end], return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            raise DeviceLost("the stream ended")
        finally:
            end.cancel()

    async def _take(self, part: int | None) -> None:
        """Capture into a free slot and hand the frame over. Raises DeviceLost."""
        async with self._one:
            shots, slots = self._shots, self._slots
            if shots is None or slots is None:
                raise DeviceLost("the camera is not connected")
            slot = self._free.pop()
            mono = self.source.clock.mono()
            try:
                ts, check = await shots.take(slot, part or 0)
                self._frozen(check)
            except BaseException:
                self._free.append(slot)
                raise
            self._seq += 1
            number = self._seq if part is None else part
            give = partial(_give, self._free, slot)
            self.source.count("frames")
            frame = Frame(self.source.name, self._seq, ts, slots[slot], number, Quality.GOOD, give, mono, shots.about)
            self.source.frame(frame)
            self.source.running()

    def _frozen(self, check: int) -> None:
        now = self.source.clock.mono()
        if check != self._last_check:
            self._last_check, self._moved = check, now
        elif now - self._moved > self.config.frozen_after * 1e9 and not self.config.plays():
            raise DeviceLost(
                f"the same picture for {self.config.frozen_after:g} s", hint="the camera hangs: power-cycle it"
            )

    async def write(self, write: Write) -> None:
        """Take the picture of part number `write.value` now."""
        if (self.config.trigger or self.config.on_demand) and not self._free and self._shots is not None:
            self.source.count("overrun")
            self.source.event(Event("overrun", self.source.name, severity="medium", data={"part": int(write.value)}))
            raise WriteRefused(
                f"overrun: all {self.config.buffers} buffers are in use, part {int(write.value)} is not seen"
            )
        try:
            if not self._free:
                raise WriteRefused("no free buffer")
            await self._take(int(write.value))
        except DeviceLost as error:
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(error)
            raise
        trigger = self.source.tags["trigger"].id
        self.source.emit(Batch.of(self.source.name, [trigger], [float(write.value)], self.source.clock.utc()))

    async def probe(self) -> Sequence[str]:
        shots = self.config.shots(1)
        try:
            slots = await shots.open()
            await shots.take(0, 0)
            return [f"a picture of {slots.shape[2]} x {slots.shape[1]}"]
        finally:
            await shots.close()
