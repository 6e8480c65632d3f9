"""Tests of routes that stand in the plane's file: they go as alarms go at a plane, and say what is not as expected."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge.cli import main

FILE = """
alerts:
  channels:
    shift: {type: slack, url: !secret robot, together: 2}
    chief: {type: slack, url: !secret robot}
  routes:
    urgent:
      severity: [high, critical]
      to: [shift]
      hold: 30s
      escalate: [{after: 15min, to: [chief]}]
    rest:
      severity: [low, medium]
      to: [chief]
      digest: 1h
      mute: [{zone: Asia/Shanghai, from: "20:00", to: "07:00"}]
    lost: {kinds: [gap], to: [shift], site: acme/suzhou}
tests:
"""


@pytest.fixture
def plane(tmp_path: Path) -> Path:
    (tmp_path / "secrets.yaml").write_text("robot: https://hooks.example/x")
    return tmp_path / "plane.yaml"


def run(plane: Path, test: str) -> int:
    plane.write_text(FILE + test)
    return main(["plane", "test", str(plane)])


@pytest.mark.parametrize(
    "test",
    [
        # nobody acknowledges, so the chief is called, and told of the end
        """
  - name: x
    happens: [{at: 0s, key: hot, severity: high}, {at: 40min, key: hot, state: cleared, severity: high}]
    expect:
      - {at: 30s, to: shift, says: raised}
      - {at: 930s, to: chief, says: unacked}
      - {at: 40min, to: shift, says: cleared}
      - {at: 40min, to: chief, says: cleared}""",
        # somebody does
        """
  - name: x
    happens: [{at: 0s, key: hot, severity: high}, {at: 5min, key: hot, state: acked}]
    until: 2h
    expect: [{at: 30s, to: shift, says: raised}]""",
        # shelved before anybody was told, for a quarter of an hour
        """
  - name: x
    happens: [{at: 0s, key: hot, severity: high}, {at: 5s, key: hot, state: shelved, shelve: 15min}]
    until: 18min
    expect: [{at: 905s, to: shift, says: raised}]""",
        # what does not stand for 30 seconds is nothing
        """
  - name: x
    happens: [{at: 0s, key: hot, severity: high}, {at: 29s, key: hot, state: cleared}]
    until: 1h
    expect: []""",
        # the night is quiet, and the morning hears of what still stands
        """
  - name: x
    begins: 2026-01-07 21:00
    zone: Asia/Shanghai
    happens: [{at: 0s, key: level}, {at: 1min, key: low}, {at: 2min, key: low, state: cleared}]
    expect: [{at: 11h, to: chief, says: raised}]""",
        # more than two at one time are one message
        """
  - name: x
    happens:
      - {at: 0s, key: a, severity: high}
      - {at: 0s, key: b, severity: high}
      - {at: 0s, device: press-2, key: a, severity: critical}
    expect: [{at: 30s, to: shift, says: [raised, raised, raised]}]""",
        # what is no alarm
        "\n  - {name: x, happens: [{at: 7s, kind: gap, key: line, state: lost, site: acme/suzhou/line-3}, "
        "{at: 9s, device: b, kind: gap, key: line, state: lost, site: acme/suzhou2}], "
        "expect: [{at: 7s, to: shift, says: happened}]}",
    ],
)
def test_routes_are_tested_on_a_time_of_their_own(plane: Path, capsys: pytest.CaptureFixture[str], test: str) -> None:
    assert run(plane, test) == 0, capsys.readouterr().out


def test_what_comes_otherwise_is_said_as_it_would_be_written(plane: Path, capsys: pytest.CaptureFixture[str]) -> None:
    happens, expect = "[{at: 0s, key: hot, severity: high}]", "[{at: 30s, to: chief, says: raised}]"
    assert run(plane, f"\n  - {{name: x, happens: {happens}, expect: {expect}, until: 16min}}") == 1
    said = capsys.readouterr().out
    assert "FAILED: x" in said
    assert "message 1: {at: 30s, to: shift, says: raised}, expected {at: 30s, to: chief, says: raised}" in said
    assert "message 2: {at: 930s, to: chief, says: unacked}, expected nothing" in said


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("happens: [{at: 0s, key: a}], expect: [{at: 1s, to: chef, says: raised}]", "did you mean 'chief'?"),
        ("happens: [{at: 0s, key: a}], expect: [{at: 1s, to: chief, says: risen}]", "says.0"),
        ("happens: [], expect: []", "happens"),
        ("happens: [{at: 0s, key: a, site: a//b}], expect: []", "names with one / between them"),
        ("happens: [{at: 8d, key: a}], expect: []", "604800"),
        ("happens: [{at: 0s, key: a, serverity: low}], expect: []", "did you mean 'severity'?"),
        ("happens: [{at: 0s, key: a}], begins: noon, expect: []", "write it as in 2026-12-01 08:00"),
        ("happens: [{at: 0s, key: a}], zone: Asia/Shanhai, expect: []", "did you mean Asia/Shanghai?"),
    ],
)
def test_a_test_that_cannot_be_is_refused(
    plane: Path, capsys: pytest.CaptureFixture[str], test: str, words: str
) -> None:
    assert run(plane, f"\n  - {{name: x, {test}}}") == 1
    said = capsys.readouterr().err
    assert words in said and f"{plane}:20:" in said
