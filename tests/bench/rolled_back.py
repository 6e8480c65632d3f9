"""How long a bad configuration stays, with nobody there: `python -m tests.bench.rolled_back [ROUNDS]`.

Real processes: a simulated PLC, a plane, `lineside run`. A good configuration is sent, then a bad one (a register that the PLC does
not have); as soon as it is on trial the plane is killed. `back_s` is from the moment at which the device takes the bad one (before
it looks at the data of the good one) to the first good sample of the good one after it. One JSON object, of the worst round.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edge import NoDaemon, ask_daemon
from edge.bench.process import free_port, running
from edge.bench.stack import lineside, plane

SITE = """
device: {{id: press-4}}
drivers:
  plc: {{driver: modbus, url: "tcp://127.0.0.1:{port}", every: 100ms, tags: {{temp: {{address: "holding:0", type: int16}}}}}}
"""
SENT = SITE.partition("\n  plc")[2]


def until(true: Callable[[], Any], seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)
    return found


def stands(state: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((state / "site" / "stands.json").read_text())
    except FileNotFoundError:
        return {"running": "", "trying": ""}
    return found


def good(state: Path) -> int:
    """Good samples of the PLC so far."""
    try:
        return int(ask_daemon(state, {"do": "status"})["sources"].get("plc", {}).get("good", 0))
    except NoDaemon:
        return 0


def round_(folder: Path) -> dict[str, float]:
    site, state, page, document = folder / "site.yaml", folder / "device", folder / "plane", folder / "sent.yaml"
    port = free_port()
    body = "drivers:\n  plc" + SENT.format(port=port)
    with ExitStack() as stack:
        serving = ExitStack()
        stack.callback(serving.close)
        serving.enter_context(plane(page, 0))
        url = (page / "url").read_text()
        site.write_text(SITE.format(port=port) + f'sync: {{url: "{url}", installs: [config]}}\n')
        stack.enter_context(running("sim", site, log=folder / "sim.log"))
        until(lambda: b"all devices" in (folder / "sim.log").read_bytes())
        lineside("enroll", site, lineside("plane", "invite", "--folder", page), "--state", state)
        stack.enter_context(running("run", site, "--state", state, log=folder / "device.log"))
        until(lambda: good(state) > 20)

        def sends(text: str) -> None:
            document.write_text(text)
            lineside("plane", "config", "put", "device/press-4", document, "--folder", page)
            lineside("plane", "config", "send", "device/press-4", "--folder", page)

        sends(body.replace("100ms", "200ms"))
        until(lambda: stands(state)["running"])
        asked = time.monotonic()
        sends(body.replace("holding:0", "holding:60000"))
        until(lambda: stands(state)["trying"])
        took = time.monotonic()
        serving.close()
        until(lambda: stands(state)["ended"][2] == "rolled_back")
        ended, n = time.monotonic(), good(state)
        until(lambda: good(state) > n)
        return {"reached_s": took - asked, "judged_s": ended - took, "back_s": time.monotonic() - took}


def main() -> None:
    rounds = []
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(round_(Path(folder)))
    worst = max(rounds, key=lambda one: one["back_s"])
    print(json.dumps({"rounds": len(rounds), **{name: round(value, 1) for name, value in worst.items()}}))


if __name__ == "__main__":
    main()
