"""One logger. Lines on standard error: local time, level, what. Secrets never reach it."""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import queue
import sys
import threading
from collections import deque
from typing import TextIO

log = logging.getLogger("lineside")
KEPT, LONGEST = 400, 2000  # lines that `recent` knows, characters of one


class Aside:
    """Writes to a stream's descriptor on a thread of its own: nobody waits for who does not read it (a full pipe, Ctrl-S in a
    terminal). At most `most` texts wait; what finds no room is given up, and with `tell` a line says how many."""

    def __init__(self, descriptor: int, most: int = 1000, *, tell: bool = True) -> None:
        self._descriptor, self._tell, self._lost = descriptor, tell, 0
        self._texts: queue.Queue[str | None] = queue.Queue(most)
        self._thread = threading.Thread(target=self._run, name="aside", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, text: str) -> None:
        try:
            self._texts.put_nowait(text)
        except queue.Full:
            self._lost += 1

    def flush(self) -> None: ...

    def close(self, patience: float = 1.0) -> None:
        """Give what waits `patience` seconds to be written."""
        with contextlib.suppress(queue.Full):
            self._texts.put_nowait(None)
            self._thread.join(patience)

    def _run(self) -> None:
        while (text := self._texts.get()) is not None:
            lost, self._lost = self._lost, 0
            note = f"({lost} lines found no room here)\n" if lost and self._tell else ""
            body = (note + text).encode(errors="backslashreplace")
            with contextlib.suppress(OSError):  # nobody has the other end open any more
                while body:
                    body = body[os.write(self._descriptor, body) :]


def to_stderr(level: int = logging.INFO, *, timestamps: bool = True, aside: bool = False) -> None:
    """Send log lines to standard error; the systemd journal adds its own time, so a service leaves ours out. `aside`: without
    ever waiting for it."""
    stream: TextIO | Aside = sys.stderr
    if aside and sys.stderr is not None:
        with contextlib.suppress(io.UnsupportedOperation):
            stream = Aside(sys.stderr.fileno())
    handler = logging.StreamHandler(stream)
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


class _Recent(logging.Handler):
    """The newest lines, for who asks later."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=KEPT)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record)[:LONGEST])


_recent = _Recent()
log.addHandler(_recent)


def recent(most: int) -> list[str]:
    """The newest lines of this process, the oldest of them first."""
    return list(_recent.lines)[-most:]


def _only(handler: logging.Handler, level: int) -> None:
    log.handlers[:] = [_recent, handler]
    log.setLevel(level)
    log.propagate = False
