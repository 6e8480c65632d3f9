"""The fault cases that the plane has for this device: one file, taken whole or not at all. The stage `cases` reads it whether the
plane is there or not."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from edge import CASES_OF_PLANE, MOST_CASE_BYTES, DeviceLost, Host, LinesideError, to_disk, unpacked_cases

from .objects import fetch
from .pace import Pace
from .transport import Stranger, Transport
from .twin import Tell, Want

KIND = "cases"
VERSION = re.compile(r"[0-9a-f]{16}")  # the beginning of the SHA-256 of the file
NONE = "the plane has no cases for this device"


class Later(LinesideError):
    """Not now, though nothing is wrong with it."""

    heals = True


class CasesHandler:
    """See `twin.Handler`. `holds()` says why none may go now ("" where they may)."""

    def __init__(
        self, host: Host, transport: Transport, a_second: int = 0, holds: Callable[[], str] = lambda: ""
    ) -> None:
        self._holds = holds
        self._path, self._transport, self._a_second = host.folder / CASES_OF_PLANE, transport, a_second
        self._now, self._bad = _digest(self._path), ""

    def running(self, name: str) -> str:
        return self._now if name == KIND else ""

    async def __call__(self, want: Want, tell: Tell) -> None:
        if want.name != KIND:
            raise LinesideError(f"a device has one set of cases, and it is called {KIND!r}")
        if want.version and not VERSION.fullmatch(want.version):
            raise LinesideError("cases are wanted by 16 digits of their SHA-256")
        if want.version and want.version != self._now:
            if why := self._holds():
                raise Later(f"cases {why}")
            tell("trying", "")
            await self._bring(want.version)
        elif not want.version:
            await asyncio.to_thread(self._path.unlink, missing_ok=True)
        self._now, self._bad = want.version, ""
        tell("running", "" if want.version else NONE)

    async def _bring(self, version: str) -> None:
        fresh = self._path.with_name(f"{KIND}-{version}.new")
        await asyncio.to_thread(_sweep, fresh)
        await fetch(self._transport, Pace(self._a_second), version, fresh, MOST_CASE_BYTES, KIND)
        await asyncio.to_thread(_take, fresh, self._path)

    async def look(self, want: Want, tell: Tell) -> None:
        """The file may have been lost or changed since, and then comes again. What cannot be had is looked for the next time: the
        line is there for the rest."""
        self._now = await asyncio.to_thread(_digest, self._path)
        if want.name != KIND or not VERSION.fullmatch(want.version) or want.version in (self._now, self._bad):
            return
        if self._holds():
            return
        try:
            await self._bring(want.version)
        except (DeviceLost, Stranger):
            raise
        except (LinesideError, OSError) as error:
            if not getattr(error, "heals", True):
                self._bad = want.version
                tell("refused", str(error))
            return
        self._now = want.version
        tell("running", "")


def forget(folder: Path) -> None:
    """A site that takes none any more has none of the plane's."""
    (folder / CASES_OF_PLANE).unlink(missing_ok=True)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def _take(fresh: Path, path: Path) -> None:
    """In place of what is there. Raises LinesideError with what is wrong with it."""
    try:
        unpacked_cases(fresh.read_bytes(), "what the plane gave")
        fresh.replace(path)
        to_disk(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def _sweep(kept: Path) -> None:
    """What broke of others is not gone on with."""
    for part in kept.parent.glob(f"{KIND}-*.new*"):
        if not part.name.startswith(kept.name):
            part.unlink(missing_ok=True)
