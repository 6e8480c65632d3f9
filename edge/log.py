"""One logger. Lines on standard error: local time, level, what. Secrets never reach it."""

from __future__ import annotations

import logging
import sys
from collections import deque

log = logging.getLogger("lineside")


def to_stderr(level: int = logging.INFO, *, timestamps: bool = True) -> None:
    """Send log lines to standard error; the systemd journal adds its own time, so a service leaves ours out."""
    handler = logging.StreamHandler(sys.stderr)
    form = "%(asctime)s %(levelname)-7s %(message)s" if timestamps else "%(levelname)s %(message)s"
    handler.setFormatter(logging.Formatter(form, "%H:%M:%S"))
    _only(handler, level)


def to_memory(lines: int = 5) -> deque[str]:
    """Keep the last log lines instead of printing them, for a screen that shows them."""
    kept: deque[str] = deque(maxlen=lines)
    handler = logging.Handler()
    handler.emit = lambda record: kept.append(handler.format(record).splitlines()[-1])  # type: ignore[method-assign]
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    _only(handler, logging.INFO)
    return kept


def _only(handler: logging.Handler, level: int) -> None:
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
