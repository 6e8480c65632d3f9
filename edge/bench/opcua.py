"""`opcua`: 10,000 monitored items with 1,000 changes a second, every one of them journaled."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..commands.export import batches
from ..control import NoDaemon, ask
from ..errors import LinesideError
from ..records import reading
from .process import cpu, free_port, running, wait_for

NODES, RATE = 10_000, 1000
SETTLE = 3.0  # seconds after the last change
SITE = """device: {{id: bench}}
drivers:
  plc:
    driver: opcua
    url: "opc.tcp://127.0.0.1:{port}"
    every: 200ms
    timeout: 30s
    tags:
"""


def opcua(options: argparse.Namespace) -> dict[str, object]:
    """Percent of a core that the daemon takes, its looks at every node and the journal included. Baseline: asyncua's own
    subscription to the same nodes, counting what comes, at the same changes of the same server, one after the other. Raises
    LinesideError where a single change is not in the journal."""
    seconds, port = options.seconds or 30, free_port()
    with tempfile.TemporaryDirectory() as scratch, _spoken("serve", port, NODES, RATE) as server:
        _answer(server, "ready")
        folder = Path(scratch)
        site = folder / "site.yaml"
        lines = (f"      t{k}: {{node: 'ns=2;i={k}'}}\n" for k in range(1, NODES + 1))
        site.write_text(SITE.format(port=port) + "".join(lines))
        with running("run", site, "--state", folder, log=folder / "log") as daemon:
            value, made = _measured(server, daemon.pid, lambda: _samples(folder), seconds)
            part = ask(folder, {"do": "status"})["parts"]["plc"]
        if lost := NODES + made - _kept(folder):
            raise LinesideError(f"{lost} of {made} changes are not in the journal; the driver says {part}")
        if part["restarts"]:
            raise LinesideError(f"the session was lost on the way: {part}")
        with _spoken("bare", port, NODES) as client:
            baseline, _ = _measured(server, client.pid, lambda: _came(client), seconds)
    return {"bench": "opcua", "value": value, "unit": "% of a core", "baseline": baseline, "ratio": value / baseline}


def _measured(server: subprocess.Popen[str], pid: int, came: Callable[[], int], seconds: float) -> tuple[float, int]:
    """Percent of a core while the server makes its changes, and how many it made."""
    wait_for(lambda: came() >= NODES, 120, "the first value of every node")
    time.sleep(SETTLE)
    before, began = cpu(pid), time.monotonic()
    _say(server, f"{seconds}")
    made = int(_answer(server, "made"))
    took = time.monotonic() - began
    if took > 1.1 * seconds:
        raise LinesideError(f"the server made only {made / took:.0f} changes a second", hint="the machine is too busy")
    percent = 100 * (cpu(pid) - before) / took
    time.sleep(SETTLE)
    return percent, made


def _kept(folder: Path) -> int:
    """Different values of a node in the journal: each change makes a new one, and what is said again makes none."""
    with reading(folder / "journal.db") as db:
        good = (batch.where(~np.isnan(batch.value)) for batch in batches(db, 0, 2**63 - 1))
        found = [np.stack([batch.tag, batch.value.astype(np.int64)]) for batch in good]
    return len(np.unique(np.concatenate(found, axis=1), axis=1)[0])


def _samples(folder: Path) -> int:
    try:
        return int(ask(folder, {"do": "status"})["samples"])
    except NoDaemon:
        return 0


def _came(client: subprocess.Popen[str]) -> int:
    _say(client, "")
    return int(_answer(client, "came"))


@contextmanager
def _spoken(*words: str | int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "drivers.opcua.bench", *map(str, words)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    found, _, rest = process.stdout.readline().strip().partition(" ")
    if found != word:
        raise LinesideError("the OPC UA counterpart of the bench ended")
    return rest
