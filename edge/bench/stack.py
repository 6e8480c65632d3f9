"""A plane and an enrolled device as real processes on free ports, for measurements and for the demo."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..control import ask
from ..errors import LinesideError
from .process import free_port, running, wait_for


@dataclass
class Stack:
    """`pid` is the daemon's process; `link` the page's."""

    folder: Path
    site: Path
    pid: int
    link: str

    def status(self) -> dict[str, Any]:
        return ask(self.folder / "device", {"do": "status"})


def lineside(*command: str | Path) -> str:
    """Run a sub-command to its end and return what it printed. Raises LinesideError with its words when it fails."""
    done = subprocess.run([sys.executable, "-m", "edge.cli", *map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise LinesideError((done.stderr or done.stdout).strip().splitlines()[-1])
    return done.stdout.strip()


@contextmanager
def plane(folder: Path, page_port: int = 0, *options: str) -> Iterator[str]:
    """A plane on free ports (or this one for the page); gives the link for people. Its address for devices is in `folder/url`."""
    log = folder.parent / "plane.log"
    ports = ("--port", str(free_port()), "--page-port", str(page_port or free_port()))
    with running("plane", "--folder", folder, *ports, *options, log=log) as process:
        wait_for(
            lambda: process.poll() is not None or (log.exists() and b"open this link" in log.read_bytes()), 30, "start"
        )
        words = log.read_text()
        if process.poll() is not None:
            raise LinesideError(f"the plane ended: {words.strip()[-500:]}")
        yield words.rpartition("open this link: ")[2].split()[0]


@contextmanager
def stack(folder: Path, site: str) -> Iterator[Stack]:
    """Plane, enrolment and daemon for the text of a site, in which {url} stands for the plane's address."""
    folder.mkdir(parents=True, exist_ok=True)
    with plane(folder / "plane") as link:
        path = folder / "site.yaml"
        path.write_text(site.replace("{url}", (folder / "plane" / "url").read_text()))
        token = lineside("plane", "invite", "--folder", folder / "plane")
        lineside("enroll", path, token, "--state", folder / "device")
        with running("run", path, "--state", folder / "device", log=folder / "device.log") as process:
            ready = folder / "device" / "control.sock"
            wait_for(lambda: ready.exists() or process.poll() is not None, 20, "the daemon's start")
            if process.poll() is not None:
                raise LinesideError(f"the daemon ended: {(folder / 'device.log').read_text()[-500:]}")
            yield Stack(folder, path, process.pid, link)
