"""The short form of `make torture`, and what a service says."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from tests.system.faults import main
from tests.waiting import started

pytestmark = pytest.mark.system


def test_kills_lose_and_double_nothing() -> None:
    result = main(4, seed=1)
    assert result["durable"] > 0 and result["lost"] == 0 and result["doubled"] == 0


def test_the_checker_sees_a_planted_fault() -> None:
    """`make torture` plants the others too."""
    plant = "durable_before_commit"
    results = (
        main(1, seed=seed, plant=plant, only="device") for seed in range(1, 7)
    )  # a kill right after a commit shows nothing
    assert any(result["lost"] for result in results)


SITE = """device: {id: served}
drivers: {plc: {driver: modbus, url: "tcp://127.0.0.1:9", every: 100ms, tags: {a: {address: "coil:0"}}}}
"""


def test_a_service_says_ready_feeds_the_watchdog_and_says_goodbye(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    command = [
        sys.executable,
        "-m",
        "edge.cli",
        "run",
        "--service",
        str(tmp_path / "site.yaml"),
        "--state",
        str(tmp_path / "s"),
    ]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with started(command, env=env, stderr=subprocess.PIPE) as daemon:
            said = [manager.recv(100).decode() for _ in range(3)]
            assert said == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
            second = subprocess.run(command[:4] + command[5:], capture_output=True, text=True, timeout=120)
            assert second.returncode == 2 and "belongs to a running lineside" in second.stderr
            manager.setblocking(False)
            with contextlib.suppress(BlockingIOError):  # ten words wait here at most, and nobody read for a while
                while manager.recv(100):
                    pass
            manager.settimeout(60)
            daemon.send_signal(signal.SIGTERM)
            while manager.recv(100) != b"STOPPING=1":
                pass
            _, words = daemon.communicate(timeout=60)
    assert daemon.returncode == 0 and "Traceback" not in words


def test_doctor_finds_what_is_wrong(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    command = [sys.executable, "-m", "edge.cli", "doctor", str(site), "--state", str(tmp_path / "none")]
    fine = subprocess.run(command, capture_output=True, text=True)
    assert fine.returncode == 0 and "no daemon runs" in fine.stdout
    site.write_text(SITE.replace("every", "evry"))
    bad = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert bad.returncode == 1 and '"what": "site", "how": "faults: 1"' in bad.stdout
