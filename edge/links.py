"""Links that say which of several versions is meant. One changes in one step, or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

CURRENT, PREVIOUS, CANDIDATE = "current", "previous", "candidate"


def led_to(link: Path) -> Path | None:
    """The folder beside it that a link names, if it is there."""
    with contextlib.suppress(OSError):
        found = link.parent / os.readlink(link)
        return found if found.is_dir() else None
    return None


def version_of(link: Path) -> str:
    """The version that it names, of folders that are called VERSION-DIGEST; "" where there is none."""
    place = led_to(link)
    return place.name.partition("-")[0] if place else ""


def point(link: Path, place: Path) -> None:
    """From now on it names `place`, which lies beside it; on the disk."""
    fresh = link.with_name(link.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(place.name)
    fresh.replace(link)
    to_disk(link.parent)


def to_disk(path: Path) -> None:
    line = os.open(path, os.O_RDONLY)
    try:
        os.fsync(line)
    finally:
        os.close(line)
