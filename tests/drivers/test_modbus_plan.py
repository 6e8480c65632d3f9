"""Modbus: from tags to requests, and how the plan is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.cli import main

SITE = """device: {id: d}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:5020
    tags:
      a: {address: "holding:100"}
      b: {address: "holding:102", type: float32}
      lamp: {address: "coil:0"}
    units:
      meter: {unit: 7, tags: {kwh: {address: "input:10", type: uint32}}}
  parts: {driver: camera, url: "pattern:parts"}
"""


def test_the_plan_is_shown_for_people_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    assert main(["check", "--plan", str(path)]) == 0
    said = capsys.readouterr().out
    assert "requests: 3; one request per tag would be 4; read: 7, 1 of them bridged" in said
    assert [line.split()[1:4] for line in said.splitlines() if "  unit" in line] == [
        ["unit", "1", "coil:0..0"],
        ["unit", "1", "holding:100..103"],
        ["unit", "7", "input:10..11"],
    ]
    assert main(["check", "--plan", "--json", str(path)]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["driver"] == "plc" and row["requests"] == 3 and row["one_request_per_tag"] == 4
    assert row["registers_per_request"] == [1, 4, 2] and row["bridged_registers"] == 1
    assert row["plan"][1] == {
        "unit": 1,
        "table": "holding",
        "first": 100,
        "last": 103,
        "registers": 4,
        "bridged": 1,
        "tags": 2,
    }


def test_no_plan_is_shown_of_a_faulty_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.replace("holding:100", "holding:70000"))
    assert main(["check", "--plan", "--json", str(path)]) == 1
    assert [json.loads(line).get("driver") for line in capsys.readouterr().out.splitlines()] == [None]
