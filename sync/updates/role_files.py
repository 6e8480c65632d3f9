"""The metadata of each role, a file for each version, and the drafts that wait for signatures."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Signed

from edge import LinesideError

from .manifest import KINDS, SIGNED_AT

DAYS = {"root": 1095, "targets": 1095, **dict.fromkeys(KINDS, 365), "snapshot": 30, "timestamp": 7}


class RoleFiles:
    """Below the folder of a repository, in `metadata` and `draft`. `now`: from when on what is made now is good."""

    def __init__(self, folder: Path, now: datetime.datetime) -> None:
        self._folder, self._now = folder, now

    def newest(self, role: str) -> Path | None:
        """None where none is signed yet."""
        found = [
            path for path in (self._folder / "metadata").glob(f"*.{role}.json") if path.name.split(".")[0].isdigit()
        ]
        return max(found, key=number, default=None)

    def current(self, role: str, kind: type[Any]) -> Metadata[Any]:
        """Raises LinesideError where there is none, or one of another kind."""
        path = self.newest(role)
        if path is None:
            waits = (self._folder / "draft").exists()
            hint = (
                "its draft waits for signatures: `lineside sign approve`" if waits else "`lineside sign init` makes one"
            )
            raise LinesideError(f"{self._folder} has no signed {role} yet", hint=hint)
        try:
            found: Metadata[Any] = Metadata[Any].from_file(str(path))
        except RepositoryError as error:
            raise LinesideError(f"{path} cannot be read: {error}") from None
        if not isinstance(found.signed, kind):
            raise LinesideError(f"{path} is no {role}")
        return found

    def drafts(self) -> Iterator[Path]:
        yield from sorted((self._folder / "draft").glob("*.json"))

    def late(self, signed: Signed, role: str) -> bool:
        """Whether half of its time is over."""
        return signed.expires - self._now < datetime.timedelta(days=DAYS[role] / 2)

    def dated(self, signed: Any, role: str) -> Any:
        """The same, good from now on for the time of its role."""
        signed.expires = self._now + datetime.timedelta(days=DAYS[role])
        signed.unrecognized_fields[SIGNED_AT] = self._now.strftime("%Y-%m-%dT%H:%M:%SZ")
        return signed

    def write(self, path: Path, metadata: Metadata[Any]) -> None:
        """Whole or not at all, also where the power fails."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        with fresh.open("wb") as out:
            out.write(metadata.to_bytes())
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)


def number(path: Path) -> int:
    return int(path.name.split(".")[0])
