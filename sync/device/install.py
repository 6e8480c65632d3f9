"""A model package that was brought becomes the one that runs: unpacked under its digest, proved on this box, then switched to by
one pointer. The one before stays for the way back.

Of each model there is a folder with a folder for each digest and two links in it, `current` and `previous`. A site names the model
by `current`. It is whole at every moment: what is new gets its name only when it is on the disk and has proved itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import IO

from edge import LinesideError, find_part

from ..updates.manifest import UpdateRefused, parted
from .updates import Updates, to_disk

MOST_FILES = 64
GROWS = 8  # a package is at most so many times as large as what it was packed to, and MIN_MOST
MIN_MOST = 16 * 2**20
FILE = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
CURRENT, PREVIOUS = "current", "previous"


class Models:
    """In `folder` the models of this device, of what `updates` has brought. A package is right here when its golden vectors are,
    in a child. Methods block; they raise UpdateRefused, ModelRefused and OSError, and leave `current` what it was."""

    def __init__(self, updates: Updates) -> None:
        self._updates, self.folder = updates, updates.folder / "models"

    def install(self, path: str) -> Path:
        """Switch to an artefact that was brought; the link to it."""
        kind, name, _ = parted(path)
        if kind != "model":
            raise UpdateRefused(
                f"{path} cannot be installed by this release, only models", hint="--take brings it here"
            )
        home = self.folder / name
        with self._updates.alone():
            packed = self._updates.verified(path)
            place = home / packed.name
            if self._at(home / CURRENT) != place or not _whole(packed, place):
                home.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._place(packed, place, path)
                self._switch(home, place)
            self._sweep(home)
        return home / CURRENT

    def back(self, name: str) -> Path:
        """To the one before, which proves itself once more."""
        home = self.folder / name
        with self._updates.alone():
            place = self._at(home / PREVIOUS)
            if place is None or place == self._at(home / CURRENT):
                raise UpdateRefused(f"there is no earlier model {name} to go back to")
            find_part("proofs", "model")(place)
            self._switch(home, place)
        return home / CURRENT

    def _place(self, packed: Path, place: Path, path: str) -> None:
        """Unpacked, on the disk and proved; only then under its name."""
        fresh, aside = (place.with_name(place.name + end) for end in (".new", ".old"))
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            _unpack(packed, fresh, path)
            find_part("proofs", "model")(fresh)
            if place.exists():  # of an earlier time: spoiled, or half taken away by a sweep that was cut
                shutil.rmtree(aside, ignore_errors=True)
                place.rename(aside)
            fresh.rename(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(aside, ignore_errors=True)
        to_disk(place.parent)

    def _switch(self, home: Path, place: Path) -> None:
        """`previous` first: cut between the two, both name the one that runs."""
        now = self._at(home / CURRENT)
        if now not in (None, place):
            _point(home / PREVIOUS, now)
        _point(home / CURRENT, place)
        if self._at(home / CURRENT) != place:
            raise UpdateRefused(
                f"{home / CURRENT} does not lead to {place.name[:12]} after the switch", hint="look at the disk"
            )

    def _sweep(self, home: Path) -> None:
        """Nothing stays that neither link names."""
        kept = {self._at(home / CURRENT), self._at(home / PREVIOUS)}
        for path in home.iterdir():
            if path.is_dir() and not path.is_symlink() and path not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _at(self, link: Path) -> Path | None:
        """The folder that a link names, if it is there."""
        with contextlib.suppress(OSError):
            found = link.parent / os.readlink(link)
            return found if found.is_dir() else None
        return None


def _point(link: Path, place: Path | None) -> None:
    assert place is not None
    fresh = link.with_name(link.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(place.name)
    fresh.replace(link)
    to_disk(link.parent)


def _members(packed: zipfile.ZipFile, path: str) -> list[zipfile.ZipInfo]:
    """The plain files of a package, which has no folders. Raises UpdateRefused."""
    found = packed.infolist()
    if not found or len(found) > MOST_FILES:
        raise UpdateRefused(f"{path} holds {len(found)} files; a package has 1 to {MOST_FILES}")
    if odd := [one.filename for one in found if not FILE.fullmatch(one.filename)]:
        raise UpdateRefused(f"{path} holds {odd[0][:80]!r}; a package has files beside each other and no folders")
    if len({one.filename for one in found}) < len(found):
        raise UpdateRefused(f"{path} holds a file twice")
    return found


def _unpack(packed: Path, folder: Path, path: str) -> None:
    room = max(MIN_MOST, GROWS * packed.stat().st_size)
    folder.mkdir(mode=0o700)
    try:
        with zipfile.ZipFile(packed) as opened:
            for one in _members(opened, path):
                with opened.open(one) as source, (folder / one.filename).open("wb") as out:
                    while block := source.read(2**20):
                        if (room := room - len(block)) < 0:
                            raise UpdateRefused(f"{path} unpacks to more than {GROWS} times its size")
                        out.write(block)
                    out.flush()
                    os.fsync(out.fileno())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise UpdateRefused(f"{path} is no package: {str(error)[:100]}", hint="zip the files of its folder") from None
    to_disk(folder)


def _whole(packed: Path, place: Path) -> bool:
    """Whether the folder still holds what the package does."""
    try:
        with zipfile.ZipFile(packed) as opened:
            for one in opened.infolist():
                with opened.open(one) as source, (place / one.filename).open("rb") as kept:
                    if hashlib.file_digest(kept, "sha256").digest() != _digest(source):
                        return False
    except (OSError, zipfile.BadZipFile, LinesideError):
        return False
    return True


def _digest(source: IO[bytes]) -> bytes:
    seal = hashlib.sha256()
    while block := source.read(2**20):
        seal.update(block)
    return seal.digest()
