"""Where a device keeps what survives."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder(device: str, given: Path | None = None) -> Path:
    """Where a device keeps its journal: what was asked for, else $LINESIDE_STATE, else below ~/.local/state/lineside."""
    if given:
        return given
    if named := os.environ.get("LINESIDE_STATE"):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "lineside" / device
