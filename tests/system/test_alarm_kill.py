"""What people did about alarms survives a kill -9 of the daemon the moment it said "done"."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from edge.bench.process import free_port, running, wait_for
from edge.codec import decode_event
from edge.control import NAME, ask
from edge.records import journal_of, read_stream

pytestmark = pytest.mark.system

SITE = """device: {{id: victim}}
drivers:
  plc: {{driver: modbus, url: "tcp://127.0.0.1:{port}", every: 50ms, tags: {{t: {{address: "holding:0", type: int16}}}}}}
alarms:
  raised: {{when: "plc.t > 10"}}
  acked: {{when: "plc.t > 11"}}
  shelved: {{when: "plc.t > 12"}}
  quiet: {{when: "plc.t > 1000"}}
  unshelved: {{when: "plc.t > 14"}}
simulate: {{plc.t: {{mean: 100}}}}
"""


def states(folder: Path) -> dict[str, tuple[bool, bool, int]]:
    alarms = ask(folder, {"do": "status"})["alarms"]
    return {a["alarm"]: (a["active"], a["acked"], a["shelved_until"]) for a in alarms}


def happened(folder: Path) -> list[tuple[str, str]]:
    records, *_ = read_stream(journal_of(folder / "journal.db"), "event", 0, 1000)
    return [(e.key, e.state) for e in (decode_event(r.body) for r in records) if e.kind == "alarm"]


def test_alarm_states_are_the_same_after_a_kill(tmp_path: Path) -> None:
    site, folder, log = tmp_path / "site.yaml", tmp_path / "s", tmp_path / "log"
    site.write_text(SITE.format(port=free_port()))

    def up() -> bool:
        return (folder / NAME).exists() and ask(folder, {"do": "status"})["sources"].get("plc", {}).get("good", 0) > 3

    def killed(daemon: Any) -> None:
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        (folder / NAME).unlink()

    with running("sim", site, log=tmp_path / "sim.log"):
        with running("run", site, "--state", folder, log=log) as daemon:
            wait_for(up, 120, "good samples")
            for verb, alarm in (
                ("ack", "acked"),
                ("shelve", "shelved"),
                ("shelve", "unshelved"),
                ("unshelve", "unshelved"),
            ):
                ask(folder, {"do": verb, "alarm": alarm, "by": "me"})
            killed(daemon)
        until = 0
        for _ in range(2):
            with running("run", site, "--state", folder, log=log) as daemon:
                wait_for(up, 120, "good samples")
                found = states(folder)
                until = until or found["shelved"][2]
                assert until and found == {
                    "raised": (True, False, 0),
                    "acked": (True, True, 0),
                    "shelved": (True, False, until),
                    "unshelved": (True, False, 0),
                }
                killed(daemon)
    assert sorted(happened(folder)) == sorted(
        [
            *((name, "raised") for name in ("raised", "acked", "shelved", "unshelved")),
            ("acked", "acked"),
            ("shelved", "shelved"),
            ("unshelved", "shelved"),
            ("unshelved", "unshelved"),
        ]
    ), "nothing rose or was told a second time"
    assert "Traceback" not in log.read_text()
