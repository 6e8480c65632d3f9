"""CPU time and memory of a process with its children, from /proc; and the processes a measurement starts."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += tree(int(child))
    return found


def cpu(pid: int) -> float:
    """CPU seconds of a process tree so far, ended and waited-for children included."""
    total = 0
    for one in tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(") ")[2].split()
        total += sum(map(int, fields[11:13])) + (sum(map(int, fields[13:15])) if one == pid else 0)
    return total / TICKS


def pss(pid: int) -> float:
    """Proportional memory (PSS) of a process tree, in MB."""
    kilobytes = 0
    for one in tree(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kilobytes += int(line.split()[1])
    return kilobytes / 1000


@contextmanager
def running(
    *command: str | Path, log: Path, env: dict[str, str] | None = None, module: str = "edge.cli"
) -> Iterator[subprocess.Popen[bytes]]:
    """A `lineside` sub-command as its own process, ended afterwards; what it said is in `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, command)],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(true: Callable[[], object], seconds: float, what: str) -> None:
    """Poll until `true()`; raises TimeoutError naming what did not happen."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.01)


def free_port() -> int:
    """One that nobody listens at, and that the kernel gives to no connection meanwhile."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as line, contextlib.suppress(OSError):
            line.bind(("127.0.0.1", port))
            return port
