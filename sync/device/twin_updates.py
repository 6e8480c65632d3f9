"""What the plane wants of signed artefacts: brought by the daemon itself, off its loop, under the line's budget. The twin says
which, the signatures say that it is genuine and not older."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge import SECOND, Host, LinesideError

from ..updates.manifest import UpdateRefused
from .transport import Transport
from .twin import Tell, Want
from .update_source import AtPlane

if TYPE_CHECKING:
    from .updates import Updates

FIRST_WAIT, LONGEST_WAIT = 60, 3600  # seconds until something that was not to be had is asked for again


class Later(UpdateRefused):
    """Not now, though nothing is wrong with it."""


class Watched(AtPlane):
    """A source whose thread ends with the task that waits for it."""

    stopped = False

    def read(self, path: str, at: int) -> tuple[int, bytes]:
        if self.stopped:
            raise Later("given up; what came is kept")
        return super().read(path, at)


@dataclass
class Wait:
    """After how long, and until when (monotonic ns), an artefact is not asked for again, and why."""

    seconds: int
    until: int
    why: str


class Brought:
    """Artefacts by their names, from the plane to the store of this device. `line` counts as samples and pictures do; `turn` is
    awaited before each piece, and `holds()` says why none may go now ("" where it may)."""

    def __init__(
        self, host: Host, line: Transport, turn: Callable[[], Awaitable[None]], holds: Callable[[], str]
    ) -> None:
        self._host, self._line, self._turn, self._holds = host, line, turn, holds
        self._waits: dict[str, Wait] = {}
        self._updates: Updates | None = None

    async def updates(self) -> Updates:
        """Python-tuf is loaded on a thread, and only where an update is wanted."""
        if self._updates is None:
            self._updates = await asyncio.to_thread(self._opened)
        return self._updates

    def _opened(self) -> Updates:
        try:
            from .update_commands import opened

            config = self._host.config
            return opened(config.device.id, self._host.folder, config.sections["sync"].takes)
        except ImportError as error:
            hint = "pip install 'lineside[updates]'"
            raise LinesideError(f"updates need a package that is not installed: {error.name}", hint=hint) from None

    async def __call__(self, want: Want, tell: Tell) -> Path:
        """The artefact in the store, whole and as signed. Raises UpdateRefused and what an exchange does; what is not to be had is
        asked for ever more rarely."""
        path, now = f"{want.kind}/{want.name}-{want.version}", self._host.clock.mono()
        wait = self._waits.get(path)
        if wait is not None and now < wait.until:
            raise UpdateRefused(wait.why)
        updates = await self.updates()
        await self._may_go()
        source = Watched(self._line, self._may_go)
        try:
            brought = await asyncio.to_thread(self._bring, updates, source, path, tell)
        except Later:
            raise
        except UpdateRefused as error:
            seconds = min(LONGEST_WAIT, 2 * wait.seconds) if wait else FIRST_WAIT
            self._waits[path] = Wait(seconds, now + seconds * SECOND, str(error))
            raise
        finally:
            source.stopped = True
        self._waits.pop(path, None)
        return brought

    async def _may_go(self) -> None:
        if why := self._holds():
            raise Later(f"updates {why}", hint="what came is kept")
        await self._turn()

    def _bring(self, updates: Updates, source: Watched, path: str, tell: Tell) -> Path:
        """On a thread."""
        updates.refresh(source)
        size = updates.manifest(path).size
        source.loop.call_soon_threadsafe(tell, "trying", f"{size:,} bytes of {path} are brought here")
        return updates.bring(source, path)
