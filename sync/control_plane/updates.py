"""The repository of updates that devices get from this plane: a folder that somebody signed elsewhere, copied to `updates/` in the
plane's own. Nothing of it is believed or changed here but what the online key signs, if that lies in `updates.key`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from edge import LinesideError, log

from ..updates.manifest import KINDS, PATH, SERVED

FOLDER, KEY, SEEN = "updates", "updates.key", "updates.seen"
LOOK = 600.0  # seconds between two looks at whether something is to be signed

SINCE = 1000  # versions that a plane may have signed since the backup that it is made of


def later(seen: bytes) -> bytes:
    """Of `updates.seen` in a backup: what devices may have been shown by now."""
    timestamp, snapshot, _ = json.loads(seen)
    return json.dumps([timestamp + SINCE, snapshot + SINCE, ""]).encode()


class Updates:
    """`folder` is the plane's; without one there are none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder / FOLDER if folder else None
        self._key = folder / KEY if folder else Path()

    def part(self, path: str, at: int, most: int) -> tuple[int, bytes] | None:
        """(size of all of it, what of it begins `at`, at most `most` bytes); None where there is no such file. Blocks."""
        if self._folder is None or not SERVED.fullmatch(path):
            return None
        try:
            with (self._folder / path).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(min(at, size))
                return size, file.read(most)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def file(self, path: str) -> Path | None:
        """Where an artefact (KIND/NAME-VERSION) lies here, signed or not. Blocks."""
        kind, _, name = path.partition("/")
        found = (self._folder / "targets" / kind).glob(f"*.{name}") if self._folder and PATH.fullmatch(path) else ()
        return next((one for one in found if SERVED.fullmatch(f"targets/{kind}/{one.name}")), None)

    def has(self, path: str) -> bool:
        """Whether it lies here. Blocks."""
        return self.file(path) is not None

    def names(self, kind: str) -> list[str]:
        """Every artefact of a kind that lies here, as KIND/NAME-VERSION. Blocks."""
        found = (self._folder / "targets" / kind).glob("*.*") if self._folder else ()
        paths = {f"{kind}/{path.name.partition('.')[2]}" for path in found}
        return sorted(path for path in paths if PATH.fullmatch(path))

    def every(self) -> list[str]:
        """Of each kind. Blocks."""
        return [path for kind in KINDS for path in self.names(kind)]

    async def keep(self) -> None:
        """What is newest is said anew in time, for as long as this runs."""
        said = ""
        while True:
            try:
                await asyncio.to_thread(self.refresh)
                said = ""
            except (LinesideError, OSError, ImportError, ValueError) as error:
                if str(error) != said:
                    log.warning("plane: nothing new is said of updates: %s", error)
                said = str(error)
            await asyncio.sleep(LOOK)

    def refresh(self) -> bool:
        """Sign snapshot and timestamp where that is due; whether it was. Their versions only rise, also where the folder is copied
        over with one that was signed elsewhere: devices take nothing older. Blocks. Raises LinesideError, OSError."""
        if self._folder is None or not self._key.exists() or not (self._folder / "metadata").exists():
            return False
        from ..updates import keys
        from ..updates.repository import Repository, Seen

        repository, memory = Repository(self._folder), self._folder.with_name(SEEN)
        try:
            seen = Seen(*json.loads(memory.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            seen = Seen()
        due = repository.is_due(seen)
        if due:
            repository.refresh(keys.signer(self._key), seen)
            log.info("plane: what is newest among the updates is signed")
        if (now := repository.stands()) != seen:
            fresh = memory.with_name(f"{SEEN}.new")
            fresh.write_text(json.dumps(now), "utf-8")
            fresh.replace(memory)
        return due
