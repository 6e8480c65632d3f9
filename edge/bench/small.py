"""`start` and `memory`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .process import free_port, pss, running, wait_for
from .stack import stack

SAMPLE = """device: {{id: bench}}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:{port}
    every: 100ms
    tags: {{{tags}}}
alarms: {{hot: {{when: "plc.t0 > 80"}}}}
simulate: {{plc.t0: {{mean: 70, swing: 20, period: 10s}}}}
"""


def _site(port: int, more: str = "") -> str:
    tags = ", ".join(f't{i}: {{address: "holding:{i}", type: int16}}' for i in range(20))
    return SAMPLE.format(port=port, tags=tags) + more


def start(options: argparse.Namespace) -> dict[str, object]:
    """Seconds from starting the command to its first good sample, the best of five, files in the cache. Baseline: an
    interpreter that imports numpy."""
    port, took, bare = free_port(), [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "site.yaml"
        path.write_text(_site(port))
        with running("sim", path, log=folder / "sim.log"):
            wait_for(lambda: b"simulated" in (folder / "sim.log").read_bytes(), 20, "the simulator's start")
            for turn in range(5):
                began = time.monotonic()
                with running("run", path, "--state", folder / str(turn), "--say-first", log=folder / f"{turn}.log"):
                    said = folder / f"{turn}.log"
                    wait_for(lambda said=said: b"first good sample" in said.read_bytes(), 20, "a good sample")  # type: ignore[misc]
                    took.append(time.monotonic() - began)
                began = time.monotonic()
                subprocess.run([sys.executable, "-c", "import numpy"], check=True)
                bare.append(time.monotonic() - began)
    value, baseline = min(took), min(bare)
    return {"bench": "start", "value": value, "unit": "s", "baseline": baseline, "ratio": value / baseline}


def memory(options: argparse.Namespace, name: str = "memory", site: str = "") -> dict[str, object]:
    """MB of PSS over the process tree after 60 s (`--seconds`) of steady work, uplink included. Baseline: python with numpy."""
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        text = (site or _site(port)) + 'sync: {url: "{url}"}\n'
        simulated = folder / "sim.yaml"
        simulated.write_text(text.replace("{url}", "https://127.0.0.1:1"))
        with running("sim", simulated, log=folder / "sim.log"), stack(folder, text) as it:
            time.sleep(options.seconds or 60)
            value = pss(it.pid)
    program = "import numpy, sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as bare:
        time.sleep(1)
        baseline = pss(bare.pid)
        bare.communicate(b"")
    return {"bench": name, "value": value, "unit": "MB", "baseline": baseline, "ratio": value / baseline}
