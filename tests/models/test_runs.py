"""Remaining life learned from runs to failure whose end is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.cli import main
from models.series.runs import Model, Settings, fit, trailing

SETTINGS = Settings(cap=60, first=10, centres=150)


def run(n: int, rng: np.random.Generator) -> np.ndarray:
    """A machine whose wear grows exponentially: two signals follow it, one is noise and one stands still."""
    wear = np.exp((np.arange(n) - n) / 25)
    signals = [10 + 3 * wear, 5 - wear, np.zeros(n), np.zeros(n)]
    return np.column_stack(signals) + rng.normal(0, [0.5, 0.2, 1, 0], (n, 4))


def runs(count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [run(int(n), rng) for n in rng.integers(80, 140, count)]


@pytest.fixture(scope="module")
def model() -> Model:
    return fit(runs(20, 1), SETTINGS)


def test_others_of_the_kind_are_told_within_an_interval_that_holds_four_of_five(model: Model) -> None:
    assert model.signal.tolist() == [0, 1]
    off, held, width = [], [], []
    for rows in runs(20, 2):
        left, low, high = (column[10:] for column in model(rows))
        true = np.minimum(np.arange(len(rows) - 1, -1, -1), 60)[10:]
        off.append(left - true)
        held.append(((low <= true) & (true <= high))[true < 60])
        width.append((high - low)[-10:])
    assert np.sqrt(np.mean(np.concatenate(off) ** 2)) < 7  # always telling the mean: 20
    assert 0.7 < np.concatenate(held).mean() < 0.92
    assert np.mean(width) < 15


def test_nothing_is_known_before_it_came(model: Model) -> None:
    (rows,) = runs(1, 3)
    whole, half = model(rows), model(rows[:50])
    for a, b in zip(whole, half, strict=True):
        np.testing.assert_allclose(a[:50], b, atol=1e-9)


def test_a_mean_over_the_rows_that_there_are() -> None:
    assert trailing(np.array([[1.0], [2], [6], [7]]), 3)[:, 0].tolist() == [1, 1.5, 3, 5]


@pytest.mark.parametrize(
    ("histories", "said"),
    [
        (runs(5, 1), "5 runs to failure; 10 are the least"),
        ([np.random.default_rng(i).normal(size=(90, 2)) for i in range(12)], "no signal goes with"),
        ([rows[:9] for rows in runs(12, 1)], "no run is longer"),
    ],
)
def test_too_little_to_learn_from(histories: list[np.ndarray], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(histories, SETTINGS)


def lines(histories: list[np.ndarray]) -> str:
    """As in the benchmark: unit, cycle, 24 columns."""
    return "".join(
        f"{unit} {cycle} {' '.join(f'{v:.5f}' for v in np.tile(row, 6))}  \n"
        for unit, rows in enumerate(histories, 1)
        for cycle, row in enumerate(rows, 1)
    )


def figures(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    assert main(["model", "evaluate", *map(str, words), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


def test_engines_are_judged_at_their_last_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, told = tmp_path / "set", tmp_path / "told.jsonl"
    data.mkdir()
    (data / "test_FD001_units001-004.txt").write_text(
        lines([rows[:-left] for rows, left in zip(runs(4, 9), (5, 20, 40, 9), strict=True)])
    )
    found = figures(capsys, "cmapss", "--data", data)
    assert found["rmse"] is None and found["missing"] == ["train_FD001.txt", "RUL_FD001*"]
    (data / "train_FD001.txt").write_text(lines(runs(10, 8)))
    (data / "RUL_FD001_units001-004.csv").write_text("unit,true_rul_cycles\n1,5\n2,20\n3,40\n4,9\n")
    found = figures(capsys, "cmapss", "--data", data, "--predictions", told)
    predicted = [json.loads(line) for line in told.read_text().splitlines()]
    assert [p["unit"] for p in predicted] == [1, 2, 3, 4]
    off = np.array([p["predicted"] for p in predicted]) - [5, 20, 40, 9]
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(off**2)), abs=0.01)
    assert found["rmse"] < 15 < figures(capsys, "mean", "--data", data)["rmse"]  # type: ignore[operator]
    (data / "train_FD001.txt").write_text("1 2 3\n")
    assert main(["model", "evaluate", "cmapss", "--data", str(data)]) == 2
    assert "train_FD001.txt: not 26 columns of numbers" in capsys.readouterr().err
