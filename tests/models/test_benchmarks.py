"""`lineside model evaluate METHOD --data FOLDER` on folders laid out like the known benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.cli import main
from models.benchmarks import KNOWN
from models.benchmarks.skab import SIGNALS

Said = pytest.CaptureFixture[str]


def evaluate(capsys: Said, *words: object) -> dict[str, Any]:
    assert main(["model", "evaluate", *map(str, words), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(said, dict)
    return said


def refused(capsys: Said, *words: object) -> str:
    assert main(["model", "evaluate", *map(str, words)]) == 2
    return capsys.readouterr().err


def pump(path: Path, faulty: range, rows: int = 480, unlike: float = 40.0) -> None:
    """A run of one row a second: noise round 1..8, and `unlike` more in every signal of the faulty rows."""
    values = np.random.default_rng(7).normal(0, 0.1, (rows, 8)) + np.arange(1, 9)
    values[faulty.start : faulty.stop] += unlike
    lines = [";".join(["datetime", *SIGNALS, "anomaly", "changepoint"])]
    for i, row in enumerate(values):
        stamp = f"2020-03-09 10:{i // 60:02}:{i % 60:02}"
        lines.append(";".join([stamp, *(f"{v:.5f}" for v in row), str(float(i in faulty)), "0.0"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def skab(tmp_path: Path) -> Path:
    pump(tmp_path / "set" / "valve1" / "0.csv", range(440, 480))
    pump(tmp_path / "set" / "other" / "1.csv", range(0))
    return tmp_path / "set"


def test_figures_of_a_pump_and_its_predictions(skab: Path, capsys: Said, tmp_path: Path) -> None:
    found = evaluate(capsys, "anomaly", "--data", skab, "--predictions", tmp_path / "p.jsonl")
    assert (found["files"], found["rows"], found["missing"]) == (
        2,
        160,
        ["valve2/*.csv", "anomaly-free/anomaly-free.csv"],
    )
    assert found["far"] < 0.1 and found["mar"] < 0.2 and found["f1"] > 0.8
    assert found["faults"] == found["faults_found"] == 1 and 0 <= found["delay_s"] < 10
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [(r["file"], r["index"]) for r in rows[:2]] == [("valve1/0.csv", 400), ("valve1/0.csv", 401)]
    assert len(rows) == 160 and {r["flag"] for r in rows} == {0, 1} and all(r["score"] > 0.7 for r in rows if r["flag"])
    truth = np.array([r["file"] == "valve1/0.csv" and r["index"] >= 440 for r in rows])
    flag = np.array([r["flag"] == 1 for r in rows])
    assert found["far"] == pytest.approx((flag & ~truth).sum() / 120, abs=1e-4)
    assert evaluate(capsys, "skab", "--data", skab)["method"] == "anomaly"


def test_always_to_alarm_misses_nothing(skab: Path, capsys: Said) -> None:
    found = evaluate(capsys, "always", "--data", skab)
    assert (found["f1"], found["far"], found["mar"], found["delay_s"]) == (0.4, 1.0, 0.0, 0.0)
    assert found["always"] == {name: found[name] for name in ("f1", "far", "mar")}


def test_a_folder_that_cannot_be_judged_is_told_why(skab: Path, capsys: Said, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    assert "holds nothing that anomaly is judged on" in refused(capsys, "anomaly", "--data", bare)
    assert "is no folder" in refused(capsys, "skab", "--data", tmp_path / "none")
    assert "for packages of pictures" in refused(capsys, "skab", "--data", skab, "--part", "test")
    assert "say which package or method" in refused(capsys, "skab")
    to = tmp_path / "none" / "p.jsonl"
    assert "cannot write" in refused(capsys, "skab", "--data", skab, "--predictions", to)
    file = skab / "valve1" / "0.csv"
    text = file.read_text()
    for damage, told in (
        ("", "no column datetime"),
        (text.replace("Voltage", "Volts"), "no column Voltage"),
        (text.replace(";1.0;0.0\n", ";x;0.0\n"), "row 440: could not convert"),
        ("\n".join(text.splitlines()[:401]), "400 rows; the first 400"),
        (text[:-40], "row 479"),
        (text.replace("10:00:03;", "10:00:03;nan"), "row 3: "),
    ):
        file.write_text(damage)
        assert f"valve1/0.csv: {told}" in refused(capsys, "skab", "--data", skab)


def test_each_benchmark_has_the_methods_that_are_listed(capsys: Said) -> None:
    pytest.importorskip("cv2", reason="packages of pictures are listed, too: make setup brings the vision extra")
    listed = {one["task"]: one for one in evaluate(capsys, "--list")["evaluations"]}
    for one in KNOWN:
        assert listed[one.name]["methods"][0] == one.name and listed[one.name]["figures"]
        module = __import__(f"models.benchmarks.{one.module}", fromlist=["x"])
        assert all(callable(getattr(module, function)) for function in one.methods.values())
    assert main(["model", "evaluate", "--list"]) == 0
    assert "methods: skab, anomaly, always" in capsys.readouterr().out
