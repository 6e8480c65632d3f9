"""`lineside model evaluate olympus`: how a table is played, and what is refused of a folder."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from edge import LinesideError
from edge.cli import main
from models.benchmarks import KNOWN
from models.benchmarks.olympus import Chance, Plain, Table, Tuned, figures, played, read

HILL = np.random.default_rng(4).random((60, 2))


def table(folder: Path, name: str, goal: str = "maximize") -> None:
    """A hill with its top at (0.7, 0.3); where it is to be made low, a hole."""
    (folder / name).mkdir(parents=True)
    y = 1 - ((HILL - [0.7, 0.3]) ** 2).sum(axis=1)
    rows = np.column_stack([HILL * [10, 1] + [5, 0], y if goal.startswith("max") else -y])
    (folder / name / "data.csv").write_text("\n".join(",".join(map(repr, row)) for row in rows.tolist()))
    parameters = [{"name": "a", "low": 5.0, "high": 15.0}, {"name": "b", "low": 0.0, "high": 1.0}]
    (folder / name / "config.json").write_text(json.dumps({"parameters": parameters, "default_goal": goal}))


def test_a_table_is_played_until_it_is_good_enough_each_row_once(tmp_path: Path) -> None:
    table(tmp_path, "hill")
    table(tmp_path, "hole", "minimize")
    (tmp_path / "summary.csv").write_text("dataset,goal\nhill,maximize\ngone,maximize\n")
    to = io.StringIO()
    found = figures(tmp_path, to, {"trials": Tuned, "random": Chance, "plain_gp": Plain}, seeds=3, most=20)
    assert set(found["tables"]) == {"hill", "hole"} and found["missing"] == ["gone"] and found["at_most_25"] == 2
    assert found["tables"]["hill"] == found["tables"]["hole"], "low is as good as high"
    assert found["tables"]["hill"]["trials"] < found["tables"]["hill"]["random"]
    rows = [json.loads(line) for line in to.getvalue().splitlines()]
    assert len(rows) == 2 * 3 * 3 and rows[0]["player"] == "trials" and rows[0]["best_of_25"] >= 0.95


def test_a_player_that_never_gets_there_counts_as_one_more_than_the_most() -> None:
    class Worst:
        def __init__(self, inputs: int, rng: np.random.Generator) -> None:
            self.seen: list[int] = []

        def next(self, x: np.ndarray, y: np.ndarray, left: np.ndarray) -> int:
            assert len({tuple(row) for row in [*x, *left]}) == 10, "each row once"
            return int(left[:, 0].argmin())

    rows = np.linspace(0, 1, 10)[:, None]
    assert played(Table("t", rows, np.r_[np.zeros(9), 1.0]), Worst, 3, most=6)[0] == 7


def test_what_is_no_table_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read(tmp_path) == ([], ["summary.csv"])
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "data.csv").write_text("1,2\n")
    assert read(tmp_path) == ([], ["half/config.json", "summary.csv"])
    table(tmp_path, "hill")
    data = tmp_path / "hill" / "data.csv"
    data.write_text("1,2\n3,4\n")
    assert main(["model", "evaluate", "olympus", "--data", str(tmp_path)]) == 2
    assert "hill: data.csv does not hold 3 numbers in each row" in capsys.readouterr().err
    (tmp_path / "hill" / "config.json").write_text("{}")
    with pytest.raises(LinesideError, match="hill: 'parameters'"):
        read(tmp_path)


def test_it_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "olympus" in {one.name for one in KNOWN}
    assert main(["model", "evaluate", "--list", "--json"]) == 0
    assert "olympus" in capsys.readouterr().out
