"""A signal of 50 kHz into a daemon with the stage `vibration`, over MQTT (a real mosquitto) and a serial line (a pseudo terminal).

    python -m tests.bench.fast [SECONDS]

Values per CPU-second of the daemon, and the share of a core that 50 kHz take: the driver, a vibration stage with two bands and a
bearing in blocks of 8,192, and the journal. `stored: false` is a deadband that keeps a sample in ten minutes. One JSON object
a line.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import sys
import tempfile
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from drivers.serialport.framing import Checksum, Framer, Framing
from edge import ask_daemon
from edge.bench.process import cpu, running, wait_for
from tests.broker import Broker

RATE, N = 50_000, 1000
STORED = "type: int16, scale: 0.001"
HOW = {
    "mqtt, numbers in JSON": "block: {}",
    "mqtt, base64 in JSON": f"block: {{rate: {RATE}, {STORED}, number: n}}",
    "mqtt, bytes": f"block: {{rate: {RATE}, {STORED}, raw: true, head: 8, clock: us}}",
    "serial, frames of 1,000": f"at: 4, order: little, {STORED}, block: {{rate: {RATE}, number: 2}}",
}
SITE = """device: {{id: fast}}
drivers:
  fan:
    {driver}
    tags: {{accel: {{{tag}{deadband}}}}}
stages:
  vib: {{stage: vibration, tag: fan.accel, rate: {rate}, block: 8192, bands: {{slow: [10, 1500], high: [2500, 20000]}},
    bearing: {{balls: 9, ratio: 0.2034}}, speed: 1797}}
"""
SERIAL = "frame: {length: 2006, start: '\\xaaU'}\n    checksum: {type: crc16-modbus}"
Say = Callable[[int, int], None]


def signal(k: int) -> np.ndarray:
    return np.random.default_rng(k % 50).integers(-2000, 2000, N)


def payload(how: str, k: int, start: int) -> bytes:
    raw = signal(k)
    if "bytes" in how:
        return struct.pack("<Q", start // 1000) + raw.astype("<i2").tobytes()
    body: dict[str, Any] = {"start": start / 1e9, "n": k}
    if "base64" in how:
        body["values"] = base64.b64encode(raw.astype("<i2").tobytes()).decode()
    else:
        body |= {"values": (raw / 1000).tolist(), "step": 1 / RATE}
    return json.dumps(body).encode()


@contextmanager
def line(how: str, folder: Path) -> Iterator[tuple[str, Say]]:
    """(what the site says of its driver, what sends the k-th block)."""
    if how.startswith("mqtt"):
        with Broker(folder / "broker") as broker:
            client = paho.Client(CallbackAPIVersion.VERSION2)
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
            said = f"driver: mqtt\n    url: mqtt://127.0.0.1:{broker.port}\n    topic: fan/accel"
            yield said, lambda k, start: client.publish("fan/accel", payload(how, k, start), 1) and None
            client.disconnect()
            client.loop_stop()
        return
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    framer = Framer(Framing(length=2006, start="\xaaU"), Checksum(type="crc16-modbus"))

    def say(k: int, start: int) -> None:
        os.write(ours, framer.sealed(bytes([k % 256, 0]) + signal(k).astype("<i2").tobytes()))

    yield f"driver: serialport\n    url: serial://{os.ttyname(theirs)}\n    {SERIAL}", say
    os.close(ours)
    os.close(theirs)


def fed(say: Say, until: threading.Event) -> None:
    """Blocks at the pace of the signal."""
    began = time.time_ns()
    for k in range(10**9):
        if until.wait(max(0.0, (began + (k + 1) * N * 1e9 / RATE - time.time_ns()) / 1e9)):
            return
        say(k, began + round(k * N * 1e9 / RATE))


def came(state: Path) -> int:
    return int(ask_daemon(state, {"do": "status"})["sources"].get("fan", {"all": 0})["all"])


def measured(how: str, stored: bool, seconds: float, folder: Path) -> dict[str, Any]:
    state, site, ends = folder / "state", folder / "site.yaml", threading.Event()
    with line(how, folder) as (driver, say):
        deadband = "" if stored else ", deadband: 1000000"
        site.write_text(SITE.format(driver=driver, tag=HOW[how], deadband=deadband, rate=RATE))
        with running("run", site, "--state", state, log=folder / "log") as daemon:
            wait_for(lambda: (state / "control.sock").exists(), 60, "the daemon")
            feeding = threading.Thread(target=fed, args=(say, ends))
            feeding.start()
            try:
                wait_for(lambda: came(state) > RATE, 60, "a second of samples")
                before, used = came(state), cpu(daemon.pid)
                time.sleep(seconds)
                all_of_it, spent = came(state) - before, cpu(daemon.pid) - used
                counts = ask_daemon(state, {"do": "status"})["parts"]["fan"].get("counts", {})
                rms = ask_daemon(state, {"do": "read", "tags": ["vib.rms"]})["values"][0]["value"]
            finally:
                ends.set()
                feeding.join()
    figures = {"values_per_cpu_s": round(all_of_it / spent), "of_a_core_at_50_khz": round(RATE * spent / all_of_it, 3)}
    return {
        "how": how,
        "stored": stored,
        "seconds": seconds,
        "values": all_of_it,
        **figures,
        "rms": rms,
        "counts": counts,
    }


def main(seconds: float) -> None:
    for how in HOW:
        for stored in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                print(json.dumps({"bench": "fast", **measured(how, stored, seconds, Path(folder))}), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
