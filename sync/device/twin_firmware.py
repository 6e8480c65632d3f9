"""Images that the plane wants, handed to the updater of the board: what it says is told, and after a restart whether the image
runs. How it writes and falls back is its own business (RAUC, SWUpdate, Mender's client)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator

from edge import Host, LinesideError

from ..updates.manifest import UpdateRefused
from .identity import keep_file
from .twin import Tell, Want
from .twin_updates import Brought

Words = Annotated[list[str], Field(max_length=50)]
WITHIN = 3600.0  # seconds that an updater may take
BOOT = Path("/proc/sys/kernel/random/boot_id")
FILE = "{file}"


class FirmwareConfig(BaseModel):
    """The commands of the board's own updater; none goes through a shell."""

    model_config = {"extra": "forbid", "frozen": True}
    install: Words = Field(min_length=1, description="installs the bundle `{file}`, as [rauc, install, '{file}']")
    version: Words = Field(min_length=1, description="prints the version of the image that runs, and nothing else")
    restart: Words = Field([], description="restarts the board after it; none: the updater or a person does")
    confirm: Words = Field([], description="says that the image that runs is good, as [rauc, status, mark-good]")

    @field_validator("install")
    @classmethod
    def _file(cls, words: list[str]) -> list[str]:
        if not any(FILE in word for word in words[1:]):
            raise ValueError(f"one word has to hold {FILE}, where the bundle lies")
        return words


class FirmwareHandler:
    """See `twin.Handler`."""

    def __init__(self, host: Host, brought: Brought, config: FirmwareConfig | None) -> None:
        self._host, self._brought, self._config = host, brought, config
        self._runs = ""

    def running(self, name: str) -> str:
        return self._runs

    async def __call__(self, want: Want, tell: Tell) -> None:
        config = self._config
        if config is None:
            hint = "write `firmware: {install: [...], version: [...]}` under `sync`, see docs/updates.md"
            raise LinesideError("this site does not say how its board takes an image", hint=hint)
        self._runs = (await _said(config.version)).strip()[:64]
        if not want.version:
            return tell("running", "nothing else is wanted; what runs goes on")
        file, boot = self._host.folder / "updates" / "firmware.json", _boot()
        given = _read(file)
        if self._runs == want.version:
            if config.confirm:
                await _said(config.confirm)
            return tell("running", "it runs" + (", and its updater was told that it is good" if config.confirm else ""))
        if given.get("generation") == want.generation:
            if given.get("boot") != boot:
                return tell("rolled_back", f"the board was started anew, and {self._runs or 'another image'} runs")
            raise UpdateRefused("it is installed, and runs after the next restart")
        bundle = await self._brought(want, tell)
        tell("trying", "its updater has it")
        await _said([word.replace(FILE, str(bundle)) for word in config.install])
        keep_file(file, json.dumps({"generation": want.generation, "boot": boot}))  # before the power may go
        bundle.unlink(missing_ok=True)  # the updater has it
        if config.restart:
            tell("trying", "the board starts anew")
            await self._host.journal.commit()
            await _said(config.restart)
        raise UpdateRefused("it is installed, and runs after the next restart")


def _boot() -> str:
    """Another one after each start of the board."""
    return BOOT.read_text().strip()


def _read(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        said = json.loads(file.read_text())
        return said if isinstance(said, dict) else {}
    return {}


async def _said(words: list[str]) -> str:
    """What a command prints. Raises LinesideError with its last line where it fails."""
    try:
        child = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        raise LinesideError(f"{words[0]} cannot be started: {os.strerror(error.errno or 0)}") from None
    try:
        async with asyncio.timeout(WITHIN):
            out, _ = await child.communicate()
    except TimeoutError:
        raise LinesideError(f"{words[0]} did not end within {WITHIN:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
    text = out.decode(errors="replace")
    if child.returncode:
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "it says nothing")
        raise LinesideError(f"{words[0]} ended with {child.returncode}: {last.strip()[:300]}")
    return text
