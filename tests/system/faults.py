"""Kill -9 of the daemon, the plane and, with `--way mqtts`, the broker between them, at random times under load:
`python -m tests.system.faults KILLS [SEED] [--way mqtts]`.

A witness inside the daemon's process (`victim.py`) notes what the journal said to be durable, before anybody else hears of
it. At the end each of those samples and events has to be in the plane exactly once; one that is missing counts as told only
where the plane holds a gap record for it. `make torture` runs it after its simulated seeds, `make torture-mutants` its `prove`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgpack
import numpy as np

from edge import decode
from edge.bench.process import free_port, running, wait_for
from edge.bench.stack import lineside
from edge.clock import SystemClock
from edge.journal import Journal
from sync.control_plane.ca import Authority
from sync.control_plane.mosquitto import write
from tests.broker import MOSQUITTO, Broker

from .victim import PLANTS

SITE = """device: {{id: victim}}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:{port}
    every: 10ms
    tags:
      n: {{address: "holding:0", type: uint32}}
      wave: {{address: "holding:2", type: int16}}
      lamp: {{address: "coil:0", writable: {{range: [0, 1]}}}}
{more}
alarms: {{high: {{when: "plc.wave > 0", then: {{plc.lamp: 1}}, on_clear: {{plc.lamp: 0}}}}}}
simulate: {{plc.n: {{ramp: 1, period: 100ms}}, plc.wave: {{swing: 100, period: 500ms}}}}
journal: {{block: 1s, durable_within: 100ms}}
sync: {{url: "{url}", live: 200ms}}
"""
MORE = "\n".join(f'      r{i}: {{address: "holding:{10 + i}"}}' for i in range(30))
PROOF_KILLS = 4
Fact = tuple[Any, ...]


class Victims:
    """The plane, the daemon and perhaps a broker between them, each to be killed and started again."""

    def __init__(self, folder: Path, until_end: contextlib.ExitStack, plant: str, way: str = "https") -> None:
        self.folder, self._until_end, self._plant, self._way = folder, until_end, plant, way
        self.plane_port, self.page_port, port = free_port(), free_port(), free_port()
        self.names = ["plane", "device", "broker"][: 3 if way == "mqtts" else 2]
        self.processes: dict[str, Any] = {}
        if way == "mqtts":
            self._broker = Broker(folder / "broker")
            where = ("127.0.0.1", self._broker.port)
            self._broker.config = write(folder / "broker", Authority(folder / "plane"), ["127.0.0.1"], *where)
            until_end.callback(self._broker.stop)
            self.start("broker")
        self.site = folder / "site.yaml"
        url = f"{way}://127.0.0.1:{self._broker.port if way == 'mqtts' else self.plane_port}"
        self.site.write_text(SITE.format(port=port, url=url, more=MORE))
        until_end.enter_context(running("sim", self.site, log=folder / "sim.log"))
        self.start("plane")
        url = folder / "plane" / "url"
        words = folder / "plane.log"
        wait_for(lambda: url.exists() and "open this link" in words.read_text(), 120, "the plane's start")
        invitation = lineside("plane", "invite", "--folder", folder / "plane")
        lineside("enroll", self.site, invitation, "--state", folder / "device")
        self.start("device")
        ready = folder / "device" / "control.sock"
        wait_for(lambda: ready.exists() and self.stands("device"), 120, "a first delivery")

    def start(self, what: str) -> None:
        if what == "broker":
            self._broker.start()
            self.processes[what] = self._broker.process
            return
        ports = ("--port", str(self.plane_port), "--page-port", str(self.page_port))
        broker = ("--broker", f"mqtts://127.0.0.1:{self._broker.port}") if self._way == "mqtts" else ()
        plane = ("plane", "--folder", self.folder / "plane", *ports, *broker)
        command = plane if what == "plane" else ("run", self.site, "--state", self.folder / "device")
        self.processes[what] = self._until_end.enter_context(
            running(
                self.folder / f"{what}.witness",
                self._plant,
                *command,
                log=self.folder / f"{what}.log",
                module="tests.system.victim",
            )
        )

    def kill(self, what: str) -> None:
        self.processes[what].send_signal(signal.SIGKILL)
        self.processes[what].wait()

    def stands(self, where: str) -> dict[str, int]:
        """Watermark by stream: of the device's cursor, or of the plane."""
        device = "SELECT stream, watermark FROM cursor WHERE reader = 'sync' AND stream <> 'commands'"
        return dict(self.rows(where, device if where == "device" else "SELECT stream, watermark FROM applied"))

    def rows(self, where: str, sql: str) -> list[tuple[Any, ...]]:
        path = self.folder / ("device/journal.db" if where == "device" else "plane/plane.db")
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            db.set_busy_timeout(20_000)
            return list(db.execute(sql))

    def sealed(self) -> dict[str, int]:
        """Seal what the dead daemon left, as its next start would; returns the last number by stream."""

        async def seal() -> None:
            journal = Journal(self.folder / "device" / "journal.db", SystemClock())
            await journal.commit(seal=True)
            journal.close()

        asyncio.run(seal())
        return dict(self.rows("device", "SELECT name, seq FROM stream"))

    # What is compared

    def said(self) -> Counter[Fact]:
        """What the journal said to be durable."""
        facts: Counter[Fact] = Counter()
        with (self.folder / "device.witness").open("rb") as lines:
            for what, *fields in msgpack.Unpacker(lines):
                if what == "e":
                    facts[tuple(fields)] += 1
                else:
                    kinds = (np.int32, np.int64, np.float64)
                    facts.update(_samples(fields[0], *map(np.frombuffer, fields[1:], kinds)))
        return facts

    def kept(self) -> Counter[Fact]:
        """What the plane has."""
        facts: Counter[Fact] = Counter()
        for stream, body in self.rows("plane", "SELECT stream, body FROM block"):
            batch = decode(stream.removeprefix("samples:"), body)
            facts.update(_samples(batch.source, batch.tag, batch.ts, batch.value))
        facts.update(self.rows("plane", "SELECT ts, kind, key, state FROM event"))
        facts.update(self.rows("plane", "SELECT ts, 'checkpoint', device, 'signed' FROM checkpoint"))
        return facts

    def told(self, fact: Fact) -> bool:
        """Whether the plane holds a gap record for a sample."""
        gaps = [json.loads(data) for (data,) in self.rows("plane", "SELECT data FROM event WHERE kind = 'gap'")]
        return any(g["stream"] == f"samples:{fact[0]}" and g["from"] <= fact[2] <= g["to"] for g in gaps)


def _samples(source: str, tag: np.ndarray, ts: np.ndarray, value: np.ndarray) -> list[Fact]:
    value = np.nan_to_num(value, nan=-1.0)
    return list(zip([source] * len(tag), tag.tolist(), ts.tolist(), value.tolist(), strict=True))


class Progress:
    """One line a kill, with the time that is left of the whole run."""

    def __init__(self, kills: int) -> None:
        self._kills, self._done, self._began = kills, 0, time.monotonic()

    def step(self, plant: str) -> None:
        self._done += 1
        left = (time.monotonic() - self._began) / self._done * (self._kills - self._done)
        what = "" if plant == "none" else f" (planted: {plant})"
        print(f"{self._done} of {self._kills} kills{what}, about {left:.0f} s to go", file=sys.stderr, flush=True)


def ways(kills: int) -> list[tuple[str, int]]:
    """How many of them between daemon and plane over HTTPS, and how many with a broker, where one is installed."""
    return [("https", kills - kills // 2), ("mqtts", kills // 2)] if MOSQUITTO and kills > 1 else [("https", kills)]


def main(
    kills: int, seed: int, plant: str = "none", only: str = "", progress: Progress | None = None, way: str = "https"
) -> dict[str, Any]:
    """Returns {"seed", "kills", "durable", "kept", "lost", "told", "doubled"}: samples and events together."""
    progress = progress or Progress(kills)
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="lineside-faults-") as name, contextlib.ExitStack() as until_end:
        victims = Victims(Path(name), until_end, plant, way)
        for turn in range(kills):
            time.sleep(rng.uniform(0.1, 2.5))  # also while it starts
            what = only or victims.names[turn % len(victims.names)]
            if plant != "none":  # what was planted shows itself only where there is something to lose
                wait_for(lambda: victims.rows("device", "SELECT 1 FROM tail"), 120, "something in the tail")
            victims.kill(what)
            victims.start(what)
            progress.step(plant)
        time.sleep(rng.uniform(1.0, 2.0))
        victims.kill("device")
        said, last = victims.said(), victims.sealed()
        victims.start("device")
        wait_for(lambda: all(victims.stands("device").get(s, 0) >= n for s, n in last.items()), 120, "delivery")
        kept = victims.kept()
        missing = {fact for fact in said if fact not in kept}
        told = sum(len(fact) == 4 and isinstance(fact[0], str) and victims.told(fact) for fact in missing)
    doubled = sum(n - 1 for n in kept.values() if n > 1)
    durable = sum(said.values())
    return {
        "seed": seed,
        "kills": kills,
        "durable": durable,
        "kept": len(kept),
        "lost": len(missing) - told,
        "told": told,
        "doubled": doubled,
    }


def prove(seed: int, progress: Progress) -> Iterator[tuple[str, bool]]:
    """Plant every known fault, one after the other; whether it was noticed."""
    for plant in PLANTS:
        result = main(PROOF_KILLS, seed, plant, "plane" if "ack" in plant else "device", progress)
        bad = bool(result["lost"] or result["doubled"])
        if plant != "none":
            yield plant, bad
        elif bad:
            sys.exit(f"nothing was planted, and yet: {json.dumps(result)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.system.faults", description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=100)
    parser.add_argument("seed", type=int, nargs="?", default=random.randrange(10**6))
    parser.add_argument("--way", choices=("https", "mqtts"), default="https", help="between the daemon and the plane")
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    began = time.monotonic()
    result = main(given.kills, given.seed, way=given.way)
    print(json.dumps({**result, "seconds": round(time.monotonic() - began)}))
    sys.exit(1 if result["lost"] or result["doubled"] else 0)
