"""A model package that was brought becomes the one that runs: unpacked under its version and digest, proved on this box, then
switched to by one pointer. The one before stays for the way back.

Of each model there is a folder with a folder for each version and three links in it: `current` runs, `previous` ran before it,
`candidate` is in shadow or on trial. It is whole at every moment: what is new gets its name only when it is on the disk and has
proved itself, and `current` leads to it only after a trial.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import IO

from edge import CANDIDATE, CURRENT, PREVIOUS, LinesideError, ModelRefused, find_part, led_to, point, to_disk

from ..updates.manifest import Unusable, UpdateRefused, parted
from .updates import Updates

MOST_FILES = 64
GROWS = 8  # a package is at most so many times as large as what it was packed to, and MIN_MOST
MIN_MOST = 16 * 2**20
FILE = re.compile(r"[A-Za-z0-9][\w.+-]{0,199}")


class Models:
    """In `folder` the models of this device, of what `updates` has brought. A package is right here when its golden vectors are,
    in a child. Methods block; they raise UpdateRefused, ModelRefused and OSError, and leave `current` what it was."""

    def __init__(self, updates: Updates) -> None:
        self._updates, self.folder = updates, updates.folder / "models"

    def install(self, path: str) -> Path:
        """Switch to an artefact that was brought; the link to it."""
        with self._updates.alone():
            packed, place = self._named(path)
            if led_to(place.parent / CURRENT) != place or not _whole(packed, place):
                self._place(packed, place, path)
                self._switch(place.parent, place)
            self._sweep(place.parent)
        return place.parent / CURRENT

    def place(self, path: str) -> Path:
        """An artefact that was brought, unpacked and proved, as the candidate beside the one that runs; its folder."""
        with self._updates.alone():
            packed, place = self._named(path)
            if not _whole(packed, place):
                try:
                    self._place(packed, place, path)
                except (Unusable, ModelRefused):
                    packed.unlink(missing_ok=True)  # it stays what it is
                    raise
            if led_to(place.parent / CANDIDATE) != place:
                point(place.parent / CANDIDATE, place)
            self._sweep(place.parent)
        return place

    def use(self, place: Path) -> None:
        """From now on `current` is what `place` gave: it did well."""
        with self._updates.alone():
            self._switch(place.parent, place)
            self._drop(place.parent)

    def drop(self, name: str) -> None:
        """No candidate any more."""
        with self._updates.alone():
            self._drop(self.folder / name)

    def _named(self, path: str) -> tuple[Path, Path]:
        """What was brought, and where it is unpacked."""
        kind, name, version = parted(path)
        if kind != "model":
            raise Unusable(f"{path} is no model", hint="--take brings it here")
        packed = self._updates.verified(path)
        place = self.folder / name / f"{version}-{packed.name}"
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return packed, place

    def _drop(self, home: Path) -> None:
        (home / CANDIDATE).unlink(missing_ok=True)
        if home.is_dir():
            self._sweep(home)

    def back(self, name: str) -> Path:
        """To the one before, which proves itself once more."""
        home = self.folder / name
        with self._updates.alone():
            place = led_to(home / PREVIOUS)
            if place is None or place == led_to(home / CURRENT):
                raise UpdateRefused(f"there is no earlier model {name} to go back to")
            find_part("proofs", "model")(place)
            self._switch(home, place)
        return home / CURRENT

    def _place(self, packed: Path, place: Path, path: str) -> None:
        """Unpacked, on the disk and proved; only then under its name."""
        fresh, aside = (place.with_name(place.name + end) for end in (".new", ".old"))
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            unpack(packed, fresh, path)
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
        now = led_to(home / CURRENT)
        if now not in (None, place):
            point(home / PREVIOUS, now)
        point(home / CURRENT, place)
        if led_to(home / CURRENT) != place:
            raise UpdateRefused(
                f"{home / CURRENT} does not lead to {place.name[:20]} after the switch", hint="look at the disk"
            )

    def _sweep(self, home: Path) -> None:
        """Nothing stays that no link names."""
        kept = {led_to(home / link) for link in (CURRENT, PREVIOUS, CANDIDATE)}
        for path in home.iterdir():
            if path.is_dir() and not path.is_symlink() and path not in kept:
                self._updates.forget(path.name.partition("-")[2])
                shutil.rmtree(path, ignore_errors=True)


def _members(packed: zipfile.ZipFile, path: str, most: int) -> list[zipfile.ZipInfo]:
    """The plain files of a package, which has no folders. Raises Unusable."""
    found = packed.infolist()
    if not found or len(found) > most:
        raise Unusable(f"{path} holds {len(found)} files; a package has 1 to {most}")
    if odd := [one.filename for one in found if not FILE.fullmatch(one.filename)]:
        raise Unusable(f"{path} holds {odd[0][:80]!r}; a package has files beside each other and no folders")
    if len({one.filename for one in found}) < len(found):
        raise Unusable(f"{path} holds a file twice")
    return found


def unpack(packed: Path, folder: Path, path: str, most: int = MOST_FILES) -> None:
    """The files of a zip, whole and on the disk. Raises Unusable, OSError."""
    room = max(MIN_MOST, GROWS * packed.stat().st_size)
    folder.mkdir(mode=0o700)
    try:
        with zipfile.ZipFile(packed) as opened:
            for one in _members(opened, path, most):
                with opened.open(one) as source, (folder / one.filename).open("wb") as out:
                    while block := source.read(2**20):
                        if (room := room - len(block)) < 0:
                            raise Unusable(f"{path} unpacks to more than {GROWS} times its size")
                        out.write(block)
                    out.flush()
                    os.fsync(out.fileno())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise Unusable(f"{path} is no package: {str(error)[:100]}", hint="zip the files of its folder") from None
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
