"""Kill -9 of the daemon and of the plane under load: `python -m tests.system.faults [KILLS]`.

A simulated PLC serves a counter. After each kill the process is started again; at the end every sample that the journal had called
durable has to be in the plane exactly once.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edge import LinesideError, decode
from edge.bench.process import free_port, running, wait_for
from edge.bench.stack import lineside
from edge.control import ask

SITE = """device: {{id: victim}}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:{port}
    every: 10ms
    tags: {{n: {{address: "holding:0", type: uint32}}, lamp: {{address: "coil:0", writable: {{range: [0, 1]}}}}}}
alarms: {{odd: {{when: "plc.n > 5", then: {{plc.lamp: 1}}}}}}
simulate: {{plc.n: {{ramp: 1, period: 100ms}}}}
journal: {{block: 1s, durable_within: 100ms}}
sync: {{url: "https://127.0.0.1:{plane}", live: 200ms}}
"""


class Victims:
    """The plane and the daemon, each to be killed and started again."""

    def __init__(self, folder: Path, until_end: contextlib.ExitStack) -> None:
        self.folder, self._until_end = folder, until_end
        self.plane_port, port = free_port(), free_port()
        self.site = folder / "site.yaml"
        self.site.write_text(SITE.format(port=port, plane=self.plane_port))
        until_end.enter_context(running("sim", self.site, log=folder / "sim.log"))
        self.processes: dict[str, Any] = {}
        self.start("plane")
        url = folder / "plane" / "url"
        wait_for(
            lambda: url.exists() and "open this link" in (folder / "plane.log").read_text(), 30, "the plane's start"
        )
        invitation = lineside("plane", "invite", "--folder", folder / "plane")
        lineside("enroll", self.site, invitation, "--state", folder / "device")
        self.start("device")

    def start(self, what: str) -> None:
        plane = (
            "plane",
            "--folder",
            self.folder / "plane",
            "--port",
            str(self.plane_port),
            "--page-port",
            str(free_port()),
        )
        command = plane if what == "plane" else ("run", self.site, "--state", self.folder / "device")
        self.processes[what] = self._until_end.enter_context(running(*command, log=self.folder / f"{what}.log"))

    def kill(self, what: str) -> None:
        self.processes[what].send_signal(signal.SIGKILL)
        self.processes[what].wait()
        self.start(what)

    def status(self) -> dict[str, Any]:
        """Of the daemon; waits while it starts."""
        found: dict[str, Any] = {}

        def answers() -> bool:
            with contextlib.suppress(LinesideError, OSError, ValueError):
                found.update(ask(self.folder / "device", {"do": "status"}, 5))
            return bool(found)

        wait_for(answers, 30, "an answer of the daemon")
        return found

    def kept(self, where: str) -> Counter[tuple[int, int, float]]:
        """Every sample (tag, ns, value) in the sealed blocks of the device's journal or of the plane."""
        path = self.folder / ("device/journal.db" if where == "device" else "plane/plane.db")
        found: Counter[tuple[int, int, float]] = Counter()
        with contextlib.closing(sqlite3.connect(path)) as db:
            for stream, body in db.execute("SELECT stream, body FROM block WHERE stream = 'samples:plc'"):
                batch = decode(stream, body)
                value = np.nan_to_num(batch.value, nan=-1.0)
                found.update(zip(batch.tag.tolist(), batch.ts.tolist(), value.tolist(), strict=True))
        return found

    def delivered(self) -> bool:
        with contextlib.closing(sqlite3.connect(self.folder / "device" / "journal.db")) as db:
            open_samples = db.execute("SELECT coalesce(sum(n), 0) FROM tail").fetchone()[0]
            blocks = db.execute("SELECT count(*) FROM block WHERE stream = 'samples:plc'").fetchone()[0]
        with contextlib.closing(sqlite3.connect(self.folder / "plane" / "plane.db")) as db:
            there = db.execute("SELECT count(*) FROM block WHERE stream = 'samples:plc'").fetchone()[0]
        return bool(blocks == there) and open_samples < 10**6


def main(kills: int, seed: int = 1) -> dict[str, Any]:
    """Returns {"kills", "durable", "lost", "doubled"}."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="lineside-faults-") as name, contextlib.ExitStack() as until_end:
        victims = Victims(Path(name), until_end)
        durable, began = 0, time.monotonic()
        for turn in range(kills):
            time.sleep(rng.uniform(0.3, 1.2))
            durable_now = victims.status()["durable"]
            victims.kill("device" if turn % 2 else "plane")
            durable += durable_now if turn % 2 else 0
            left = (time.monotonic() - began) / (turn + 1) * (kills - turn - 1)
            print(f"{turn + 1} of {kills} kills, about {left:.0f} s to go", file=sys.stderr, flush=True)
        victims.status()
        time.sleep(1)
        durable += victims.status()["durable"]
        victims.processes["device"].terminate()
        victims.processes["device"].wait(10)
        victims.start("device")  # its tail is sealed and delivered by the next one
        victims.status()
        time.sleep(2.5)
        wait_for(victims.delivered, 60, "delivery")
        victims.processes["device"].terminate()
        victims.processes["device"].wait(10)
        wait_for(victims.delivered, 30, "delivery")
        device, plane = victims.kept("device"), victims.kept("plane")
    lost = sum((device - plane).values()) + max(0, durable - sum(plane.values()))
    return {"kills": kills, "durable": durable, "lost": lost, "doubled": sum(n - 1 for n in plane.values() if n > 1)}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)))
