"""`lineside doctor` where no daemon runs: it may read the devices from here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import plugins
from edge.cli import main
from edge.errors import DeviceLost
from edge.log import log
from edge.poller import Poller


class Bus(Poller):
    async def connect(self) -> None:
        if self.source.name == "away":
            raise DeviceLost("nobody is there", hint="switch it on")
        self.source.running()

    async def poll(self) -> Any:
        return {"a": 1.0}

    async def tool(self, request: Any) -> Any:
        return {"findings": [["ok", f"{self.source.name} unit 1", f"asked for {request['want']}", ""]]}


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(plugins._extra, ("drivers", "toy"), Bus)
    before = log.handlers[:], log.propagate, log.level
    yield
    log.handlers[:], log.propagate, log.level = before


def doctor(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, str]]:
    (folder / "site.yaml").write_text(
        "device: {id: d}\ndrivers:\n"
        "  here: {driver: toy, every: 10ms, tags: {a: {}}}\n  away: {driver: toy, every: 10ms, tags: {a: {}}}\n"
    )
    main(["doctor", str(folder / "site.yaml"), "--json", "--state", str(folder / "state"), *words])
    return {row["what"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}


def test_without_a_daemon_it_says_how_to_read_from_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = doctor(tmp_path, capsys)
    assert "--seconds" in found["daemon"]["todo"] and "here unit 1" not in found


def test_it_judges_what_its_own_drivers_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = doctor(tmp_path, capsys, "--seconds", "0.2")
    assert found["here unit 1"]["how"] == "asked for doctor" and "here" not in found
    assert found["away"]["state"] == "warn" and "nobody is there (switch it on)" in found["away"]["how"]
