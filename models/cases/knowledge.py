"""All cases that a device knows: those of the site's own file, and the plane's copy; as they lie there now."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from edge import CASES_OF_PLANE, Case, ConfigFault, KnownCases, LinesideError, log, read_cases, unpacked_cases


class Source:
    """One file. `cases` are the newest that could be read; what cannot be read is said once, and those of before stay."""

    def __init__(self, path: Path, read: Callable[[Path], list[Case]]) -> None:
        self.path, self._read = path, read
        self.cases: list[Case] = []
        self._stamp: tuple[int, ...] | None = None

    def stamp(self) -> tuple[int, ...] | None:
        """Another one where the file is another one; None: there is none."""
        with contextlib.suppress(FileNotFoundError):
            found = self.path.stat()
            return found.st_mtime_ns, found.st_size, found.st_ino
        return None

    def load(self) -> None:
        """Blocks. Raises ConfigFault and OSError."""
        self._stamp = self.stamp()  # before it is read: what is written meanwhile is seen the next time
        self.cases = self._read(self.path) if self._stamp else []

    def look(self) -> bool:
        """Whether there are others by now. Blocks."""
        try:
            if self.stamp() == self._stamp:
                return False
            self.load()
        except (LinesideError, OSError) as error:
            log.warning("%s: what was known before stays: %s", self.path, error)
            return False
        return True


class Knowledge:
    """`own` is the site's file, if it has one; the plane's copy lies in `state`, if that counts. Of the same id the site's own case
    does. Raises ConfigFault for a file of the site's that is missing or cannot be read; a copy that cannot be read is left out.
    Blocks."""

    def __init__(self, own: Path | None, state: Path | None, assets: Mapping[str, str] | None = None) -> None:
        self._own = Source(own, read_cases) if own else None
        self._copy = Source(state / CASES_OF_PLANE, _unpacked) if state else None
        if self._own:
            if not self._own.path.exists():
                raise ConfigFault(f"there is no {own}", hint="`lineside cases SITE --import FILE` makes it")
            self._own.load()
        if self._copy:
            self._copy.look()
        self._assets = assets
        self.known = KnownCases(self._all(), assets)

    def now(self) -> KnownCases:
        """Of the files as they are now. Blocks: a large one is read anew where it changed."""
        others = [source.look() for source in (self._own, self._copy) if source]
        if any(others):
            self.known = KnownCases(self._all(), self._assets)
        return self.known

    def _all(self) -> list[Case]:
        own = self._own.cases if self._own else []
        mine = {case.id for case in own}
        return [*own, *(case for case in (self._copy.cases if self._copy else ()) if case.id not in mine)]


def _unpacked(path: Path) -> list[Case]:
    return unpacked_cases(path.read_bytes(), path.name)
