"""Releases of the runtime that the plane wants: installed beside the one that runs, looked at, and on trial from the next start
on. What is told of the trial's end is told by whichever release runs then."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from edge import (
    Host,
    LinesideError,
    ReleaseTrial,
    begin_release,
    release_ended,
    release_home,
    release_on_trial,
    running_release,
)

from .twin import Tell, Want
from .twin_updates import Brought

if TYPE_CHECKING:
    from .releases import Releases

LOOK = 1.0  # seconds


class RuntimeHandler:
    """See `twin.Handler`."""

    def __init__(self, host: Host, brought: Brought) -> None:
        self._host, self._brought = host, brought
        self._home = release_home(host.folder)

    def running(self, name: str) -> str:
        return running_release() if name == "lineside" else ""

    async def __call__(self, want: Want, tell: Tell) -> None:
        if want.name != "lineside":
            raise LinesideError(f"{want.key} is no runtime", hint="it is called runtime/lineside-VERSION")
        if not want.version:
            return tell("running", "nothing else is wanted; what runs goes on")
        if want.stage != "run":
            raise LinesideError("a release of the runtime cannot be in shadow")
        last = release_ended(self._home)
        if last is not None and (last.generation, last.state) == (want.generation, "rolled_back"):
            return tell("rolled_back", last.reason)
        if want.version == self.running(want.name):
            return await self._confirmed(tell)
        await self._brought(want, tell)
        await self._begin(want, tell)

    async def _confirmed(self, tell: Tell) -> None:
        """The wanted one runs; maybe it is on trial. Should it be given up this process ends."""
        while release_on_trial(self._home) is not None:
            tell("trying", "it runs, and is on trial")
            await asyncio.sleep(LOOK)
        last = release_ended(self._home)
        tell("running", last.reason if last and last.version == running_release() else "runs already")

    async def _begin(self, want: Want, tell: Tell) -> None:
        path = f"{want.kind}/{want.name}-{want.version}"
        releases = await self._releases()
        tell("trying", "it is installed beside the one that runs")
        place = await asyncio.to_thread(releases.place, path)
        tell("trying", "the site and a copy of the journal are tried with it")
        site = Path(self._host.config.path)
        await asyncio.to_thread(releases.check, place, path, site, self._host.folder)
        parts = tuple(name for name, part in self._host.health.parts.items() if part.state == "running")
        trial = ReleaseTrial(want.version, want.generation, parts)
        await asyncio.to_thread(begin_release, self._home, place, trial)
        tell("trying", "the daemon starts anew as this release")
        await self._host.journal.commit()
        self._host.restart()
        await asyncio.Event().wait()  # until this process ends

    async def _releases(self) -> Releases:
        from .releases import Releases

        return Releases(await self._brought.updates(), self._host.folder)
