"""A video file or a network stream, through a child process."""

from __future__ import annotations

import asyncio
import mmap
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from edge import DeviceLost

from .address import shown, where
from .capture import RECORD
from .v4l2 import identity, settings

OPEN_WITHIN = 20.0  # seconds until the first picture of a stream
ASKED_EVERY = 1.0  # seconds from one look at a device's settings to the next
HOLDS = 3.0  # seconds for which such a look is what was in force


class Stream:
    """A video file or a network stream, read by a child process that can be killed. `device`: of a camera of this machine, whose
    settings are asked beside its pictures: no picture waits for them."""

    def __init__(self, url: str, slots: int, timeout: float, *, is_file: bool, device: Path | None = None) -> None:
        self._url, self._slots, self._timeout, self._mode = url, slots, timeout, "file" if is_file else "stream"
        self._child: asyncio.subprocess.Process | None = None
        self._fd = -1
        self._named: dict[str, str] = {} if is_file else {"address": where(url)}
        self._device = device
        self._settings: Mapping[str, float] = {}
        self._settings_of = 0.0  # on the loop's clock, before they were asked
        self._beside: asyncio.Task[None] | None = None

    async def open(self) -> np.ndarray:
        self._fd = os.memfd_create("lineside-camera")
        program = str(Path(__file__).with_name("capture.py"))
        kept = {name: value for name, value in os.environ.items() if name != "http_proxy"}  # no proxy serves the line
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-E",
            program,
            str(self._fd),
            str(self._slots),
            self._mode,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(self._fd,),
            env={**kept, "LINESIDE_CAMERA": self._url},
        )
        assert self._child.stdout is not None
        try:
            async with asyncio.timeout(OPEN_WITHIN):
                words = (await self._child.stdout.readline()).split()
        except TimeoutError:
            words = []
        if len(words) != 2 or not all(word.isdigit() for word in words):
            hint = "is it a clip?" if self._mode == "file" else "check address, user and network"
            raise DeviceLost(f"no picture from {shown(self._url)}", hint=hint)
        height, width = int(words[0]), int(words[1])
        if self._device is not None:
            await self._know(self._device)
        shared = mmap.mmap(self._fd, self._slots * height * width * 3)
        return np.frombuffer(shared, np.uint8).reshape(self._slots, height, width, 3)

    async def take(self, slot: int, part: int) -> tuple[int, int]:
        assert self._child is not None and self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(bytes([slot]))
            async with asyncio.timeout(self._timeout):
                answer = await self._child.stdout.readexactly(RECORD.size)
        except TimeoutError:
            raise DeviceLost(f"no picture within {self._timeout:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise DeviceLost("the stream ended") from None
        except asyncio.CancelledError:
            self._child.kill()  # its answer still comes, and would be taken for that of the next part
            raise
        _, ts, check = RECORD.unpack(answer)
        return ts, check

    @property
    def about(self) -> Mapping[str, str | float]:
        """Who the camera is, and how it was set at most HOLDS ago."""
        fresh = self._settings and asyncio.get_running_loop().time() - self._settings_of <= HOLDS
        return {**self._named, **self._settings} if fresh else self._named

    async def _know(self, device: Path) -> None:
        """Who it is and how it is set. One that does not say, or not in time, gives pictures all the same."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                self._named = await asyncio.to_thread(identity, device)
        first = asyncio.Event()
        self._beside = asyncio.create_task(self._ask(device, first))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await first.wait()

    async def _ask(self, device: Path, first: asyncio.Event) -> None:
        """Its settings, for as long as it is open; one question at a time, however long the camera takes."""
        while True:
            asked = asyncio.get_running_loop().time()
            try:
                self._settings, self._settings_of = await asyncio.to_thread(settings, device), asked
            except OSError:
                self._settings = {}
            first.set()
            await asyncio.sleep(ASKED_EVERY)

    async def ended(self) -> None:
        assert self._child is not None
        await self._child.wait()

    async def close(self) -> None:
        if self._beside is not None:
            self._beside.cancel()
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            await self._child.wait()
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
