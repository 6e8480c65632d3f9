"""Boosted trees: what they learn, that their reasons add up, and the folders of parameters that are judged by them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from edge import LinesideError
from edge.cli import main
from models.benchmarks import of
from models.benchmarks.parameters import FAULTS, figures, labelled, one_hot
from models.process.judge import dealt
from models.process.trees import Growth, grown

QUICK = Growth(rounds=12, depth=3, bins=16, rate=0.4, columns=1.0)


def rows(n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Of four parameters the first two decide together; the third is none but noise, the fourth never moves."""
    x = np.column_stack([np.random.default_rng(6).random((n, 3)), np.ones(n)])
    return x, (x[:, 0] > 0.5).astype(int) + (x[:, 1] > 0.3)


def test_they_learn_what_two_parameters_make_together_and_not_by_heart() -> None:
    x, y = rows()
    trees = grown(x[:160], y[:160], 3, np.random.default_rng(1), QUICK)
    chance = trees.chances(x[160:])
    assert (chance.argmax(axis=1) == y[160:]).mean() > 0.9
    assert np.allclose(chance.sum(axis=1), 1)
    shuffled = np.random.default_rng(2).permutation(y[:160])
    none = grown(x[:160], shuffled, 3, np.random.default_rng(1), QUICK).chances(x[160:])
    assert (none.argmax(axis=1) == y[160:]).mean() < 0.75


def test_reasons_add_up_to_the_score_and_name_what_decides() -> None:
    x, y = rows()
    trees = grown(x, y, 3, np.random.default_rng(1), QUICK)
    roots = trees.value[:, :, 0].sum(axis=0)
    for kind in range(3):
        why = trees.reasons(x[:20], kind)
        assert np.allclose(trees.start[kind] + roots[kind] + why.sum(axis=1), trees.scores(x[:20])[:, kind])
    share = np.abs(trees.reasons(x, 2)).mean(axis=0)
    assert min(share[:2]) > 3 * share[2] and share[3] == 0


def test_one_class_alone_and_no_rows() -> None:
    x, _ = rows(20)
    assert (grown(x, np.zeros(20, int), 1, np.random.default_rng(1), QUICK).chances(x) == 1).all()
    with pytest.raises(ValueError, match="no rows"):
        grown(x[:0], np.zeros(0, int), 2, np.random.default_rng(1))


def test_each_class_is_dealt_evenly() -> None:
    y = np.repeat([0, 1, 2], [50, 20, 10])
    fold = dealt(y, np.random.default_rng(1))
    assert [np.bincount(y[fold == k]).tolist() for k in range(5)] == [[10, 4, 2]] * 5


@pytest.mark.parametrize("name", ["injection-moulding", "steel-plates"])
def test_a_folder_of_parameters_is_judged_with_reasons(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = rows(120)
    head = ["a", "b", "c", "SVo - Shot volume"]
    if name == "steel-plates":
        table = np.column_stack([x, np.eye(len(FAULTS), dtype=int)[y]])
        text = "\n".join([",".join([*head, *FAULTS]), *(",".join(map(str, row)) for row in table)])
    else:
        lines = (";".join(map(str, [*row, kind + 1])) for row, kind in zip(x, y, strict=True))
        text = "\n".join([";".join([*head, "quality"]), *lines])
    (tmp_path / "dev.csv").write_text(text)
    assert of(name, tmp_path).name == name
    to = io.StringIO()
    found = figures((one_hot if name == "steel-plates" else labelled)(tmp_path), to, how=QUICK)
    assert found["accuracy"] > 0.85 > found["largest_class"] and set(found["reasons"][:2]) == {"a", "b"}
    assert found["recall"].keys() == found["precision"].keys() == found["balanced"]["recall"].keys()
    assert found["macro_recall"] == pytest.approx(np.mean([*found["recall"].values()]), abs=1e-3)
    told = [json.loads(line) for line in to.getvalue().splitlines()]
    assert sorted(line["unit"] for line in told) == list(range(120))
    assert all(len(line["reasons"]) == 3 and line["chance"] > 0.2 for line in told)
    (tmp_path / "dev.csv").write_text(text.replace("0.", "x", 1))
    assert main(["model", "evaluate", name, "--data", str(tmp_path)]) == 2
    assert "dev.csv: could not convert" in capsys.readouterr().err


def test_a_plate_with_two_faults_and_lenses_without_a_class_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dev.csv").write_text("a," + ",".join(FAULTS) + "\n" + "1,1,1,0,0,0,0,0\n" * 6)
    with pytest.raises(LinesideError, match="a row does not have one fault"):
        one_hot(tmp_path)
    (tmp_path / "dev.csv").write_text("a;SVo - Shot volume\n" + "1;2\n" * 6)
    with pytest.raises(LinesideError, match="the last column is 'SVo - Shot volume', not 'quality'"):
        labelled(tmp_path)
