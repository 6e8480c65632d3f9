"""The short form of `make torture` and of `make torture-mutants`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

pytestmark = pytest.mark.system


def torture(*arguments: str) -> tuple[int, dict[str, int], str]:
    command = [sys.executable, "-m", "tests.torture", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.stdout.count("\n") == 1 and ended.stdout.endswith("}\n"), ended.stdout + ended.stderr
    return ended.returncode, json.loads(ended.stdout), ended.stderr


def test_some_seeds_lose_double_and_reorder_nothing() -> None:
    code, found, words = torture("6")
    assert code == 0, words
    assert list(found) == ["seeds", "faults", "committed", "applied", "lost", "doubled", "reordered", "violations"]
    assert found["seeds"] == 6 and found["faults"] > 50 and found["committed"] > 1000
    assert found["lost"] == found["doubled"] == found["reordered"] == found["violations"] == 0
    assert "seeds 1 to 6" in words and "s to go" in words


def test_planted_bugs_are_noticed() -> None:
    code, found, words = torture("--mutants", "--only", "tail_forgotten_at_start", "answer_before_commit")
    assert code == 0 and found == {"planted": 2, "killed": 2}, words


def test_every_bug_has_a_place_to_be_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    from . import mutants

    monkeypatch.setattr(mutants, "put", lambda place, name, value: getattr(place, name))
    for plant in mutants.MUTANTS.values():
        plant()
