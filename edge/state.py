"""Where a device keeps what survives."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from .errors import JournalBusy


def state_folder(device: str, given: Path | None = None) -> Path:
    """Where a device keeps its journal: what was asked for, else $LINESIDE_STATE, else below ~/.local/state/lineside."""
    if given:
        return given
    if named := os.environ.get("LINESIDE_STATE"):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "lineside" / device


def model_home(state: Path, name: str) -> Path:
    """Where the versions of a model lie that updates bring: its links `current` and `previous` lead to two of them."""
    return state / "updates" / "models" / name


def owned(path: Path) -> int:
    """The lock that keeps a second daemon away. Raises JournalBusy with the owner's process number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise JournalBusy(
            f"{path} belongs to a running lineside (process {owner})",
            hint="stop it first, or give this one its own --state folder",
        ) from None
    with contextlib.suppress(OSError):  # a full disk: the lock holds without its owner's number
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
