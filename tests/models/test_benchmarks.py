"""`lineside model evaluate METHOD --data FOLDER` on folders laid out like the known benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.cli import main
from models.benchmarks import KNOWN, cmapss, named, of
from models.benchmarks.skab import CHOSEN, SIGNALS, TRAINING, counted, judged, read
from models.series.learned import Learned

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
        stamp = f"2020-03-09 {10 + i // 3600}:{i // 60 % 60:02}:{i % 60:02}"
        change = float((i in faulty) != (i - 1 in faulty))
        lines.append(";".join([stamp, *(f"{v:.5f}" for v in row), str(float(i in faulty)), str(change)]))
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
    assert (found["nab"]["changes"], found["nab"]["found"], found["nab"]["window_s"]) == (1, 1, 60)
    assert found["nab"]["delay_s"] == found["delay_s"] and 90 < found["nab"]["standard"] < 100
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [(r["file"], r["index"]) for r in rows[:2]] == [("valve1/0.csv", 400), ("valve1/0.csv", 401)]
    assert len(rows) == 160 and {r["flag"] for r in rows} == {0, 1} and all(r["score"] > 0.7 for r in rows if r["flag"])
    truth = np.array([r["file"] == "valve1/0.csv" and r["index"] >= 440 for r in rows])
    flag = np.array([r["flag"] == 1 for r in rows])
    assert found["far"] == pytest.approx((flag & ~truth).sum() / 120, abs=1e-4)
    assert evaluate(capsys, "skab", "--data", skab)["method"] == "anomaly"


def test_a_folder_with_nothing_but_a_normal_recording_is_judged_by_that(tmp_path: Path, capsys: Said) -> None:
    pump(tmp_path / "anomaly-free" / "anomaly-free.csv", range(0), 3700)
    found = evaluate(capsys, "skab", "--data", tmp_path)
    assert found["f1"] is found["far"] is found["nab"]["standard"] is None and found["normal_far"] < 0.1
    assert found["missing"] == ["valve1/*.csv", "valve2/*.csv", "other/*.csv"]


def test_engines_without_those_to_learn_from_are_judged_by_what_ships(data: Path, tmp_path: Path, capsys: Said) -> None:
    for name in ("test_FD001_units001-050.txt", "RUL_FD001_units001-050.csv"):
        (tmp_path / name).symlink_to(data / "cmapss-fd001" / name)
    found = evaluate(capsys, "cmapss", "--data", tmp_path)
    assert found["missing"] == ["train_FD001.txt"] and "ships" in found["learned_from"] and found["rmse"] < 11.5
    assert evaluate(capsys, "mean", "--data", tmp_path)["rmse"] is None
    (tmp_path / "test_FD001_units001-050.txt").unlink()
    found = evaluate(capsys, "cmapss", "--data", tmp_path)
    assert found["rmse"] is found["learned_from"] is None and found["missing"] == ["train_FD001.txt", "test_FD001*.txt"]


def test_no_row_of_an_engine_ships(data: Path) -> None:
    model = Learned.from_json(json.loads(cmapss.SHIPPED.read_text())).model
    shipped = model.kernels[0].centre
    for rows in cmapss.engines(data / "cmapss-fd001" / cmapss.TRAIN).values():
        theirs = model._features(rows, None)
        far = (theirs**2).sum(axis=1)[:, None] + (shipped**2).sum(axis=1) - 2 * theirs @ shipped.T
        assert far.min() > 0.1, "a copied row, rounded as they are, would lie within 0.003"


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
    (skab / "other" / "folder.csv").mkdir()
    assert "other/folder.csv: Is a directory" in refused(capsys, "skab", "--data", skab)
    (skab / "other" / "folder.csv").rmdir()
    file = skab / "valve1" / "0.csv"
    text = file.read_text()
    for damage, told in (
        ("", "no column datetime"),
        (text.replace("Voltage", "Volts"), "no column Voltage"),
        (text.replace(";1.0;1.0\n", ";x;1.0\n"), "row 440: could not convert"),
        (text.replace(";1.0;1.0\n", ";1.0;x\n"), "row 440: could not convert"),
        ("\n".join(text.splitlines()[:401]), "400 rows; the first 400"),
        (text[:-40], "row 479"),
        (text.replace("10:00:03;", "10:00:03;nan"), "row 3: "),
    ):
        file.write_text(damage)
        assert f"valve1/0.csv: {told}" in refused(capsys, "skab", "--data", skab)


def test_valves_of_the_recorded_rig_are_told(data: Path) -> None:
    files = [read(path, data / "skab") for path in sorted((data / "skab" / "valve2").glob("*.csv"))]
    flags, truth = [], []
    for one in files:
        flags.append(judged(one, CHOSEN["valve2"])[1])
        truth.append(one.anomaly[TRAINING:])
    rates = counted(np.concatenate(flags), np.concatenate(truth))
    assert rates["f1"] and rates["f1"] > 0.83


def test_each_benchmark_has_the_methods_that_are_listed(capsys: Said) -> None:
    pytest.importorskip("cv2", reason="packages of pictures are listed, too: make setup brings the vision extra")
    listed = {one["task"]: one for one in evaluate(capsys, "--list")["evaluations"]}
    for one in KNOWN:
        assert listed[one.name]["methods"][0] == one.name and listed[one.name]["figures"]
        module = __import__(f"models.benchmarks.{one.module}", fromlist=["x"])
        assert all(callable(getattr(module, function)) for function in one.methods.values())
    assert main(["model", "evaluate", "--list"]) == 0
    assert "methods: skab, anomaly, network, always" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folder", "mark"),
    [
        ("cmapss-fd001", "train_FD001.txt"),
        ("ims-bearing", "ims_test2_features.csv"),
        ("cwru-bearing", "cwru.npz"),
        ("olympus-experiments", "summary.csv"),
    ],
)
def test_a_benchmark_goes_by_the_name_of_the_shared_folder_too(folder: str, mark: str, tmp_path: Path) -> None:
    (tmp_path / mark).touch()
    assert named(folder) and folder.startswith(of(folder, tmp_path).name)
    assert not named("")


def test_a_bearing_that_wears_is_told_hours_before_its_end(tmp_path: Path, capsys: Said) -> None:
    rng, lines = np.random.default_rng(1), [",Bearing 1,Bearing 2,Bearing 3,Bearing 4"]
    for i in range(700):
        level = np.array([0.06 * 2 ** max(0, (i - 500) / 80), 0.07, 0.08, 0.04]) * rng.normal(1, 0.02, 4)
        stamp = f"2004-02-{12 + i // 144:02} {i // 6 % 24:02}:{i % 6}0:00"
        lines.append(",".join([stamp, *(f"{v:.5f}" for v in level)]))
    (tmp_path / "ims_test2_features.csv").write_text("\n".join([*lines, "2004-02-16 20:40:00,0.001,0.001,0.001,0.001"]))
    found = evaluate(capsys, "ims", "--data", tmp_path, "--predictions", tmp_path / "p.jsonl")
    run = found["runs"]["2"]
    assert 20 < found["lead_h"] < 30 and found["false_alarms"] == 0 and set(run["first_alarm_h_before_end"]) == {"1"}
    assert run["left_told"] > 50 and found["missing"] == ["ims_test1_features.csv", "ims_test3_features.csv"]
    assert json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])["unit"] == "2/1"
    (tmp_path / "ims_test3_features.csv").write_text("\n".join(lines[:99]))
    assert "not more than 144 rows" in refused(capsys, "ims", "--data", tmp_path)


def struck(hz: float, loud: float, rng: np.random.Generator) -> np.ndarray:
    since = np.arange(12_288) / 12_000 % (1 / hz)
    ringing = loud * np.exp(-since * 900) * np.sin(2 * np.pi * 3000 * since)
    return np.asarray(ringing + rng.normal(0, 0.02, 12_288), np.float32)


def test_damage_of_a_size_that_was_not_learned_is_told_by_its_frequency(tmp_path: Path, capsys: Said) -> None:
    rng, turns = np.random.default_rng(1), 1797 / 60
    hz = {"OR": 3.585 * turns, "IR": 5.415 * turns, "B": 4.714 * turns}
    struck_by = {f"{part}{size}_load0": struck(f, loud, rng) for part, f in hz.items() for size, loud in SIZES.items()}
    np.savez(tmp_path / "cwru_dev.npz", normal_load0=rng.normal(0, 0.02, 12_288), **struck_by)
    found = evaluate(capsys, "cwru", "--data", tmp_path)
    assert list(found["folds"]) == ["007", "014"] and found["windows"] == 7 * 6
    assert found["missing"] == ["021", "*_records.csv"]
    assert found["macro_f"] > 0.9 and found["auroc"] > 0.95
    np.savez(tmp_path / "cwru_dev.npz", IR014_load0=np.ones(4096))
    found = evaluate(capsys, "cwru", "--data", tmp_path)
    assert found["macro_f"] is None and found["missing"] == ["normal", "B", "OR", "007", "021", "*_records.csv"]
    np.savez(tmp_path / "cwru_other.npz", OR_7=np.zeros(4000))
    assert "'OR_7' is no recording" in refused(capsys, "cwru", "--data", tmp_path)


SIZES = {"007": 0.3, "014": 0.6}
