"""An artefact on its way into the store of a device: gone on with where it broke, and never at the price of the journal's room."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

from edge import log

from ..updates.manifest import UpdateRefused, parted
from .update_source import Source

SPARE = 64 * 2**20  # bytes of the disk that stay free for the journal
ABANDONED = 7 * 86400  # seconds after which what broke is not gone on with, once something else is brought


def raise_if_no_room(store: Path, path: str, size: int, lacks: int) -> None:
    """Raises UpdateRefused where what `lacks` (bytes) of an artefact would leave less than SPARE free."""
    if (free := shutil.disk_usage(store).free) < lacks + SPARE:
        raise UpdateRefused(f"no room for {path}: it has {size:,} bytes, {free:,} are free")


def sweep(store: Path, kept: Path, now: float) -> None:
    """Of what broke long before `now` (s UTC), and is wanted no more, nothing stays."""
    for part in store.glob("*.part"):
        if part != kept and part.stat().st_mtime < now - ABANDONED:
            part.unlink(missing_ok=True)


def fetch(source: Source, path: str, part: Path, length: int, digest: str) -> None:
    """All of it, of that length and SHA-256, into `part`, after what that has already. Raises UpdateRefused, OSError and what the
    source does; where the disk is full it gives back what it has taken."""
    kind, _, _ = parted(path)
    url = f"targets/{kind}/{digest}.{path.partition('/')[2]}"
    try:
        _append(source, url, path, part, length, digest)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            part.unlink(missing_ok=True)
        raise


def _append(source: Source, url: str, path: str, part: Path, length: int, digest: str) -> None:
    with part.open("a+b") as out:
        out.seek(0)
        came = hashlib.sha256()
        while block := out.read(2**20):
            came.update(block)
        at = out.tell()
        while at < length:
            size, piece = source.read(url, at)
            if size != length or not piece or at + len(piece) > size:
                raise UpdateRefused(f"endless data: {source.name} says {size:,} bytes of {url}, {length:,} are signed")
            raise_if_no_room(part.parent, path, size, size - at)  # others write meanwhile, and this may take days
            came.update(piece)
            out.write(piece)
            at += len(piece)
        out.flush()
        os.fsync(out.fileno())
    if at != length or came.hexdigest() != digest:
        part.unlink()
        raise UpdateRefused(
            f"arbitrary software: what {source.name} gives as {url[:40]}... is not what was signed; thrown away"
        )


def judge(path: Path, digest: str, why: str) -> None:
    """Read it once more from the disk. Where it is not what it should be it is thrown away: raises UpdateRefused with `why`."""
    with path.open("rb") as file:
        os.posix_fadvise(
            file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED
        )  # what lies on the disk, not what is remembered of it
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        path.unlink()
        log.error("updates: %s", why)
        raise UpdateRefused(why, hint="it is thrown away, and comes again; if that repeats, look at the disk")
