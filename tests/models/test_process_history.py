"""Trials of earlier days: sheets, what a journal holds of lots, and the sheet of a lot of samples."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from drivers.dispenser.plant import OUTPUTS, Plant
from edge import Quality
from edge.cli import main
from edge.config.load import load_text
from edge.errors import ConfigFault, LinesideError
from models.process import history
from models.process.told import told

SHIPPED = (Path(__file__).parents[2] / "configs" / "dispenser.yaml").read_text("utf-8")


def test_history_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_text("time;a;b\n1;2;3\n\n4;5;6")
    assert history.read(path, ["b", "a"]) == [{"b": 3.0, "a": 2.0}, {"b": 6.0, "a": 5.0}]
    assert history.read(path, ["b", "c"], {"c": "time"}) == [{"b": 3.0, "c": 1.0}, {"b": 6.0, "c": 4.0}]
    with pytest.raises(ConfigFault, match="two tags would be read from the column 'b'"):
        history.read(path, ["b", "c"], {"c": "b"})
    history.append(path, {"b": 9, "time": 7, "new": 8})
    assert path.read_text().splitlines()[-2:] == ["4;5;6", "7;;9"], "by the file's head, whatever the row has meanwhile"
    for text, said in (
        ("a,c\n1,2\n", "old.csv:1: no column is called 'b'"),
        ("a,b,c,b,c\n1,2,3,4,5\n", "old.csv:1: two columns are called 'b'"),
        ("a,b\n1,2\n1,x\n1\n", "old.csv:3: not a number in each of its columns"),
        ("a,b\n1,nan\n", "old.csv:2: not a number"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigFault, match=said.replace("'", ".")):
            history.read(path, ["a", "b"])
    with pytest.raises(LinesideError, match="cannot read"):
        history.read(tmp_path / "none.csv", ["a"])


def test_a_sheet_of_a_spreadsheet_is_read_and_goes_on_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes("压力\t温度\tb\n1,5\t2\t好\n".encode("gb18030"))
    history.append(path, {"温度": 3.0, "压力": 2.5, "b": "差"})
    assert history.read(path, ["压力", "温度"]) == [{"压力": 1.5, "温度": 2.0}, {"压力": 2.5, "温度": 3.0}]
    assert path.read_bytes().decode("gb18030").splitlines()[-1] == "2.5\t3.0\t差"


def test_lots_of_a_journal_are_rows_by_stretches_of_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    ts = np.arange(12)
    good, settings = np.zeros(12, np.uint8), np.array([1.0] * 5 + [2.0] * 7)
    late = good.copy()
    late[9] = Quality.BAD
    columns = {
        "lot": (ts, np.repeat(np.arange(6.0), 2), good),
        "x": (ts, settings, good),
        "y": (ts, np.arange(12.0), good),
        "z": (ts[1:], np.full(11, 7.0), late[1:]),
    }
    monkeypatch.setattr(history, "tag_history", lambda path, tags, t0, t1, rows: {tag: columns[tag] for tag in tags})
    both = history.lots(Path(), "lot", ["x"], ["y", "z"], (0, 99), 0)
    assert both == [{"x": 1.0, "y": 3.0, "z": 7.0}, {"x": 2.0, "y": 8.0, "z": 7.0}]
    assert history.lots(Path(), "lot", ["x"], ["y", "z"], (0, 99), 1) == [
        {"x": 1.0, "y": 4.0, "z": 7.0},
        {"x": 2.0, "y": 9.0, "z": 7.0},
    ]
    late[10] = Quality.BAD
    assert history.lots(Path(), "lot", ["x"], ["y", "z"], (0, 99), 0)[-1]["y"] == 7.0, "what was not good is no lot"
    with pytest.raises(LinesideError, match="holds no lots of lot in that time"):
        history.lots(Path(), "lot", ["x"], ["y", "z"], (0, 99), 9)


def test_a_lot_of_samples_is_planned_together_and_its_sheet_teaches_the_next_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, sheet = tmp_path / "d.yaml", tmp_path / "next.csv"
    more = "  history: old.csv\n  columns: {glue.time: other.time}\n  kept: second.csv\n"
    site.write_text(SHIPPED.replace("  write: true\n", f"  write: true\n{more}"))
    plant, task = Plant(7), told(load_text(SHIPPED)).task
    names = [*task.space.names, *task.outputs]
    columns = [f"glue.{name}" for name in OUTPUTS]

    def made(x: list[float]) -> dict[str, float]:
        return dict(zip(columns, plant.lot(np.array(x)).tolist(), strict=True))

    for k in range(4):
        x = [2 + 0.2 * k, 80, 0.3 - 0.02 * k, 28.0 - k]
        history.append(tmp_path / "old.csv", dict(zip(task.space.names, x, strict=True)) | made(x))
    old = tmp_path / "old.csv"
    old.write_text(old.read_text().replace("glue.time", "other.time"))  # of another station
    words = ["tune", str(site), "--state", str(tmp_path)]
    assert main([*words, "--batch", "4", "--plan", str(sheet)]) == 0
    assert "4 settings, up to" in capsys.readouterr().out
    with sheet.open() as file:
        planned = list(csv.DictReader(file))
    settings = np.array([[float(row[name]) for name in task.space.names] for row in planned])
    assert len(np.unique(settings, axis=0)) == 4 and task.space.allowed(settings).all()
    assert all(float(row["sure"]) >= 0.95 and row["glue.thread"] == "" for row in planned)
    assert main([*words, "--results", str(sheet)]) == 2
    assert "next.csv:2: not a number" in capsys.readouterr().err
    sheet.unlink()
    history.append(sheet, dict(zip(task.space.names, [999.0, 80, 0.3, 28], strict=True)) | made([2, 80, 0.3, 28]))
    assert main([*words, "--results", str(sheet)]) == 2
    assert "glue.pressure 999 lies beyond its range" in capsys.readouterr().err
    assert not (tmp_path / "second.csv").exists()
    lost = ["--report", str(tmp_path / "none" / "a.html")]
    assert main([*words, *lost]) == 2 and "cannot write" in capsys.readouterr().err, "before the first trial"
    sheet.unlink()
    for x in settings.tolist():
        history.append(sheet, dict(zip(task.space.names, x, strict=True)) | made(x))
    assert main([*words, "--results", str(sheet), "--batch", "3", "--plan", str(tmp_path / "third.csv")]) == 0
    assert main([*words, "--results", str(sheet)]) == 0, "given twice it counts once"
    assert len(history.read(tmp_path / "second.csv", names)) == 4 and not (tmp_path / "trials.csv").exists()
    assert main([*words, "--batch", "51", "--plan", str(sheet)]) == 2 and "50 samples" in capsys.readouterr().err
    assert main([*words, "--batch", "3"]) == 2 and "go together" in capsys.readouterr().err
    site.write_text(SHIPPED)
    assert main([*words, "--batch", "3", "--plan", str(sheet)]) == 2
    assert "no trial is known" in capsys.readouterr().err
