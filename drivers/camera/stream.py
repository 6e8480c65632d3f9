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


class Stream:
    """A video file or a network stream, read by a child process that can be killed."""

    def __init__(self, url: str, slots: int, timeout: float, *, is_file: bool) -> None:
        self._url, self._slots, self._timeout, self._mode = url, slots, timeout, "file" if is_file else "stream"
        self._child: asyncio.subprocess.Process | None = None
        self._fd = self._device = -1
        self._named: dict[str, str] = {} if is_file else {"address": where(url)}
        self.about: Mapping[str, str | float] = self._named

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
        if self._url.startswith("v4l2:"):
            await asyncio.to_thread(self._ask_device, Path(self._url.removeprefix("v4l2:")))
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
        if self._device >= 0:
            self.about = await asyncio.to_thread(self._set_now)
        return ts, check

    def _ask_device(self, path: Path) -> None:
        """Who it is; its settings are asked with each picture. One that does not say gives pictures all the same."""
        with suppress(OSError):
            self._named = identity(path)
            self._device = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.about = self._named

    def _set_now(self) -> Mapping[str, str | float]:
        try:
            return {**self._named, **settings(self._device)}
        except OSError:
            return self._named

    async def ended(self) -> None:
        assert self._child is not None
        await self._child.wait()

    async def close(self) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            await self._child.wait()
        for fd in (self._fd, self._device):
            if fd >= 0:
                os.close(fd)
        self._fd = self._device = -1
