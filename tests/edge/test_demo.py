"""The demo starts from nothing, shows its link, and ends cleanly."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

import contextlib

from edge import LinesideError
from edge.bench.process import wait_for
from edge.commands import demo, sim
from edge.commands.demo import Cable, shipped
from edge.config.load import load
from edge.control import ask
from edge.testing import virtual_run
from tests.broker import MOSQUITTO
from tests.waiting import started


def link(folder: Path) -> str:
    """How the daemon's link to its plane is."""
    try:
        return str(ask(folder / "device", {"do": "status"})["parts"]["sync"]["state"])
    except (LinesideError, KeyError):
        return "not yet"


@pytest.mark.parametrize("program", [None, "/bin/false"])
def test_without_a_mosquitto_that_runs_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None
) -> None:
    monkeypatch.setattr(demo.shutil, "which", lambda *_, **__: program)
    with demo._broker(tmp_path) as port:
        assert port == 0


@pytest.mark.system
def test_the_demo_starts_and_stops(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge.cli", "demo", "--folder", str(tmp_path)]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as one:
        assert one.stdout is not None
        lines: list[str] = []
        for line in one.stdout:
            lines.append(line)
            if "site, journal and logs" in line:
                break
        wait_for(lambda: link(tmp_path) == "running", 180, "the link between daemon and plane")
        one.send_signal(signal.SIGINT)
        _, said = one.communicate(timeout=120)
    between = "MQTT 5, through" if MOSQUITTO else "HTTPS; with mosquitto"
    assert any(between in line for line in lines), lines
    assert any("/login?key=" in line for line in lines), said
    assert one.returncode == 0 and "Traceback" not in said
    assert "Traceback" not in (tmp_path / "device.log").read_text() + (tmp_path / "plane.log").read_text()


@pytest.mark.system
def test_enter_pulls_the_cable_and_the_end_of_the_keys_does_not(tmp_path: Path) -> None:
    try:
        ours, its = pty.openpty()
    except OSError as error:
        pytest.skip(f"no terminals here (mount -t devpts devpts /dev/pts): {error}")
    command = [sys.executable, "-m", "edge.cli", "demo", "--folder", str(tmp_path)]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=its) as one:
        os.close(its)
        assert one.stdout is not None
        next(line for line in one.stdout if "site, journal and logs" in line)
        os.write(ours, b"\n")
        assert "the cable is out" in next(one.stdout)
        os.write(ours, b"\n")
        assert "the cable is in again" in next(one.stdout)
        os.write(ours, b"\x04")
        assert "no more keys" in next(one.stdout)
        one.send_signal(signal.SIGINT)
        rest, _ = one.communicate(timeout=120)
    os.close(ours)
    assert one.returncode == 0 and "cable" not in rest


def test_the_shipped_demo_has_no_fault() -> None:
    assert not load(shipped("demo.yaml")).problems


def test_a_pulled_cable_cuts_and_refuses() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as far:
        cable = Cable(far.getsockname()[1])
        with socket.create_connection(("127.0.0.1", cable.port)) as near:
            other, _ = far.accept()
            near.sendall(b"x")
            assert other.recv(1) == b"x"
            assert cable.toggle() is True
            near.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                assert near.recv(1) == b""
            other.close()
        assert cable.toggle() is False
        with socket.create_connection(("127.0.0.1", cable.port)) as near:
            other, _ = far.accept()
            other.sendall(b"y")
            assert near.recv(1) == b"y"
            other.close()


def test_a_simulated_tag_that_stands_still_keeps_what_is_written_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Device:
        def __init__(self) -> None:
            self.moves: dict[str, list[float]] = {}

        def set(self, tag: str, value: float) -> None:
            self.moves.setdefault(tag, []).append(value)

        async def start(self) -> None: ...

        async def stop(self) -> None: ...

    devices: dict[str, Any] = {name: Device() for name in ("plc", "oven", "top")}
    monkeypatch.setattr(sim, "simulators", lambda config: devices)
    with pytest.raises(TimeoutError):
        virtual_run(asyncio.wait_for(sim.serve(load(shipped("demo.yaml"))), 5))
    assert devices["oven"].moves["setpoint"] == [180.0] and len(devices["oven"].moves["temperature"]) > 40


def test_what_lies_beside_a_site_lies_beside_its_copy(tmp_path: Path) -> None:
    for name in ("hall/recipes/a.yaml", "other/recipes/a.yaml", "hall/site.yaml", "hall/device/mine"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    folder = tmp_path / "demo"
    folder.mkdir()
    for hall in ("other", "hall"):
        demo.beside(tmp_path / hall / "site.yaml", folder)
        assert (folder / "recipes" / "a.yaml").read_text() == f"{hall}/recipes/a.yaml"
    assert [entry.name for entry in folder.iterdir()] == ["recipes"], "the demo's own files stay its own"
