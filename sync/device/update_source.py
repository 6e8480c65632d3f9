"""Where a repository of updates is read from: the plane, or a folder such as a USB stick. Neither is believed in anything."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgpack

from edge import AnswerContradicts

from ..updates.manifest import SERVED, UpdateRefused
from .pace import Pace
from .transport import Refused, Transport

PIECE = 2**20  # bytes read at once from a folder


class Absent(UpdateRefused):
    """There is no such file."""


class Source(Protocol):
    name: str
    offline: bool  # a stick: nobody can have made it newer since it was written

    def read(self, path: str, at: int) -> tuple[int, bytes]:
        """(size of the file, what of it begins `at`: never empty before its end). Blocks. Raises Absent, UpdateRefused, and what
        an exchange does."""
        ...


class AtPlane:
    """Over the transport of the uplink, from a thread beside its loop. `turn` is awaited before each piece of an artefact: until
    the line may be used for it."""

    offline = False

    def __init__(
        self, transport: Transport, turn: Callable[[], Awaitable[None]] | None = None, name: str = "the plane"
    ) -> None:
        self._transport, self._turn, self.name = transport, turn, name
        self._pace, self.loop = Pace(), asyncio.get_running_loop()

    def read(self, path: str, at: int) -> tuple[int, bytes]:
        return asyncio.run_coroutine_threadsafe(self._read(path, at), self.loop).result()

    async def _read(self, path: str, at: int) -> tuple[int, bytes]:
        if self._turn and path.startswith("targets/"):
            await self._turn()
        most = self._pace.room
        try:
            answer = await self._pace.timed(self._transport, "GET", f"/d/v1/updates/{path}?at={at}&most={most}")
        except Refused as error:
            if error.status == 404:
                raise Absent(f"{self.name} has no {path}") from None
            raise
        try:
            size, piece = msgpack.unpackb(answer)
            if (
                isinstance(size, bool)
                or not isinstance(size, int)
                or not 0 <= size < 2**63
                or not isinstance(piece, bytes)
            ):
                raise ValueError("a size and bytes are needed")
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise AnswerContradicts(f"the answer of {self.name} is no piece of {path}: {str(error)[:100]}") from None
        due = min(most, max(0, size - at))
        if len(piece) < due:
            raise UpdateRefused(
                f"slow retrieval: {self.name} gives {len(piece)} bytes of {path} where {due} were asked for"
            )
        if len(piece) > due:
            raise UpdateRefused(
                f"endless data: {self.name} gives {len(piece)} bytes of {path} where {due} were asked for"
            )
        return size, piece


class InFolder:
    """A folder that somebody brought: what is no plain file there is not read."""

    offline = True

    def __init__(self, folder: Path) -> None:
        self._folder, self.name = folder, str(folder)

    def read(self, path: str, at: int) -> tuple[int, bytes]:
        assert SERVED.fullmatch(path), path
        try:
            line = os.open(self._folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise Absent(f"{self.name} has no {path}") from None
        except OSError as error:
            raise UpdateRefused(f"{self.name}/{path} cannot be read: {error.strerror}") from None
        try:
            about = os.fstat(line)
            if not stat.S_ISREG(about.st_mode):
                raise UpdateRefused(f"{self.name}/{path} is no file")
            return about.st_size, os.pread(line, PIECE, at)
        except OSError as error:
            raise UpdateRefused(f"{self.name}/{path} cannot be read: {error.strerror}") from None
        finally:
            os.close(line)
