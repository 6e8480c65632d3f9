"""One logger. Lines on standard error: local time, level, what. Secrets never reach it."""

from __future__ import annotations

import logging
import sys

log = logging.getLogger("lineside")


def to_stderr(level: int = logging.INFO, *, timestamps: bool = True) -> None:
    """Send log lines to standard error; the systemd journal adds its own time, so a service leaves ours out."""
    handler = logging.StreamHandler(sys.stderr)
    form = "%(asctime)s %(levelname)-7s %(message)s" if timestamps else "%(levelname)s %(message)s"
    handler.setFormatter(logging.Formatter(form, "%H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
