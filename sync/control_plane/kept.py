"""Files of the plane's folder that are its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

ISSUING = "issuing.pem"  # the key that signs, its certificate, and those of before
SIGNER = "signer"  # which command signs instead


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process makes something in that folder."""
    line = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(line, fcntl.LOCK_EX)
        yield
    finally:
        os.close(line)


def keep(path: Path, body: bytes) -> None:
    """Write a file (0600) whole or not at all, also on a full disk."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(body)
    fresh.replace(path)
