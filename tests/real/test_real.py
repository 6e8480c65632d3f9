"""The short form of `make run-real`: a few recordings and board pairs through the whole chain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs the vision extra")
pytest.importorskip("fastapi", reason="needs the plane extra")

from tests.real.skab import Recording, judge

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.system
@pytest.mark.skipif(not DATA.is_dir(), reason="the recorded data sets are not on this machine (set DATA=folder)")
def test_recorded_reality_arrives_and_is_judged() -> None:
    command = [sys.executable, "-m", "tests.real", str(DATA), "--short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    samples = summary["samples"]
    assert samples["produced"] == samples["journaled"] == samples["acknowledged"] > 0
    assert summary["rows"]["repeated"] == 0
    assert summary["frames"]["captured"] == summary["frames"]["judged"] == 80 and not summary["frames"]["dropped"]
    inspections = summary["inspections"]
    assert inspections["precision"] > 0.9 and inspections["recall"] > 0.9 and inspections["box_recall"] > 0.9
    assert summary["alarms"]["raised"] == summary["alarms"]["true"] + summary["alarms"]["false"]
    assert summary["missing"] == []


def test_an_absent_part_is_listed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.real", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    summary = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and len(summary["missing"]) == 2 and summary["samples"]["produced"] == 0


def recording(anomaly: list[int]) -> Recording:
    n = len(anomaly)
    return Recording("x", np.arange(n) * 1000 + 1000, np.zeros((n, 8)), np.array(anomaly, bool))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], (0, 0, 0, 1)),
        ([("raised", 3000), ("cleared", 4000)], (1, 1, 0, 0)),
        ([("raised", 1000), ("cleared", 1500)], (1, 0, 1, 1)),
        ([("raised", 60_000)], (1, 1, 0, 0)),
        ([("raised", 90_000)], (1, 0, 1, 1)),
        ([("raised", 1000)], (1, 1, 0, 0)),
    ],
)
def test_alarms_are_judged_by_overlap_and_a_minute_of_grace(
    changes: list[tuple[str, int]], expected: tuple[int, int, int, int]
) -> None:
    judged = judge(recording([0, 0, 1, 1, *[0] * 100]), changes)
    assert tuple(judged[k] for k in ("raised", "true", "false", "missed")) == expected
