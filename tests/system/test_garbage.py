"""Garbage from every peer and at every port: said in words, and nothing else is disturbed."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("asyncua", reason="needs asyncua, which make setup installs")

from edge.bench.process import free_port, running, wait_for
from edge.bench.stack import lineside, plane, stack
from edge.control import NAME, ask
from tests.system.rogue import MANNERS, pester, rogue

pytestmark = pytest.mark.system

GOOD = '  good: {{driver: modbus, url: "tcp://127.0.0.1:{0}", every: 50ms, tags: {{n: {{address: "holding:0"}}}}}}\n'
BAD = """  modbus{k}: {{driver: modbus, url: "tcp://127.0.0.1:{modbus}", timeout: 300ms, tags: {{n: {{address: "coil:0"}}}}}}
  opcua{k}: {{driver: opcua, url: "opc.tcp://127.0.0.1:{opcua}", timeout: 1s, tags: {{n: {{node: "ns=2;s=n"}}}}}}
  camera{k}: {{driver: camera, url: "http://127.0.0.1:{camera}/x", timeout: 1s}}
"""
KINDS = ("modbus", "opcua", "camera")


def good(status: dict[str, Any], source: str = "good") -> int:
    return int(status["sources"].get(source, {}).get("good", 0))


def test_peers_that_answer_garbage_are_named_and_the_good_neighbour_is_read(tmp_path: Path) -> None:
    site, state, log = tmp_path / "site.yaml", tmp_path / "state", tmp_path / "log"
    with contextlib.ExitStack() as until_end:
        port, text = free_port(), "device: {id: pestered}\ndrivers:\n"
        text += GOOD.format(port)
        site.write_text(text)
        until_end.enter_context(running("sim", site, log=tmp_path / "sim.log"))
        for k, manner in enumerate(MANNERS):
            text += BAD.format(k=k, **{kind: until_end.enter_context(rogue(manner)) for kind in KINDS})
        with plane(tmp_path / "plane"):
            text += f'sync: {{url: "https://127.0.0.1:{until_end.enter_context(rogue("random"))}"}}\n'
            site.write_text(text)
            lineside("enroll", site, lineside("plane", "invite", "--folder", tmp_path / "plane"), "--state", state)
        until_end.enter_context(running("run", site, "--state", state, log=log))
        wait_for((state / NAME).exists, 120, "a start")

        def status() -> dict[str, Any]:
            return ask(state, {"do": "status"})

        # a camera that says nothing has 20 s to begin
        named = [
            f"{kind}{k}" for k, manner in enumerate(MANNERS) for kind in KINDS if kind != "camera" or manner == "closes"
        ]
        wait_for(
            lambda: all(status()["parts"].get(p, {}).get("reason") for p in (*named, "sync")), 120, "a reason for each"
        )
        before = good(status())
        wait_for(lambda: good(status()) > before + 20, 120, "good samples beside them")
        now = status()
        assert [source for source in now["sources"] if good(now, source)] == ["good"], "no garbage is data"
        assert [name for name, part in now["parts"].items() if part["state"] == "running"] == ["good"]
        assert "Traceback" not in log.read_text()


def test_callers_that_send_garbage_disturb_nobody(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(3)]
    text = (
        "device: {id: pestered}\ndrivers:\n"
        + GOOD.format(ports[0])
        + f'  oven: {{driver: opcua, url: "opc.tcp://127.0.0.1:{ports[1]}", every: 100ms, tags: {{n: {{node: "ns=2;s=n"}}}}}}\n'
        + f'  top: {{driver: camera, url: "http://127.0.0.1:{ports[2]}/x", every: 200ms}}\n'
        + "simulate: {oven.n: {ramp: 1, period: 100ms}}\njournal: {block: 1s, durable_within: 100ms}\n"
    )
    (tmp_path / "sim.yaml").write_text(text)
    held: list[socket.socket] = []
    with (
        running("sim", tmp_path / "sim.yaml", log=tmp_path / "sim.log"),
        stack(tmp_path / "stack", text + 'sync: {url: "{url}", live: 200ms}\n') as it,
    ):

        def progress() -> tuple[int, ...]:
            now = it.status()
            delivered = good(now) - now["backlog"]["sync"]["samples"]
            return (
                good(now),
                good(now, "oven"),
                now["parts"].get("top", {"counts": {}})["counts"].get("frames", 0),
                delivered,
            )

        def goes_on() -> None:
            before = progress()
            wait_for(
                lambda: all(b > a for a, b in zip(before, progress(), strict=True)), 120, f"progress beyond {before}"
            )

        goes_on()
        device_port = (it.folder / "plane" / "url").read_text().rpartition(":")[2]
        page_port = it.link.partition("/login")[0].rpartition(":")[2]
        for address in (
            *(("127.0.0.1", int(p)) for p in (*ports, device_port, page_port)),
            str(it.folder / "device" / NAME),
        ):
            for _ in range(10):
                pester(address, held)
            goes_on()
        assert all(part["restarts"] == 0 for part in it.status()["parts"].values()), "nobody had to start again"
        for line in held:
            line.close()
    for words in (tmp_path / "sim.log", tmp_path / "stack" / "plane.log", tmp_path / "stack" / "device.log"):
        assert "Traceback" not in words.read_text() and words.read_text().count("\n") < 20, "nor a flood of words"
