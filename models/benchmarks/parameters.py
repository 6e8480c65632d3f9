"""Quality from the parameters of a process: plastic lenses (injection moulding) and steel plates, by boosted trees, each row judged
by trees that did not see it (stratified folds). A predicted row says which parameters spoke most for its class.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edge import LinesideError

from ..process.judge import Worth, dealt
from ..process.trees import Growth, grown, softmax

FOLDS, REASONS = 5, 3
FAULTS = (
    "Pastry_Fault",
    "Z_Scratch_Fault",
    "K_Scatch_Fault",
    "Stains_Fault",
    "Dirtiness_Fault",
    "Bumps_Fault",
    "Other_Faults",
)


@dataclass(frozen=True)
class Rows:
    """`x` float64[n, d] of parameters by `names`, `y` int64[n] among `kinds`."""

    names: list[str]
    x: np.ndarray
    kinds: list[str]
    y: np.ndarray


def lenses(data: Path, to: TextIO | None) -> dict[str, Any]:
    """Of moulded lenses: dev.csv with semicolons, the class in the last column, `quality`. Raises LinesideError."""
    return figures(labelled(data), to)


def plates(data: Path, to: TextIO | None) -> dict[str, Any]:
    """Of steel plates: dev.csv, the last seven columns one-hot. Raises LinesideError."""
    return figures(one_hot(data), to)


def figures(rows: Rows, to: TextIO | None, folds: int = FOLDS, how: Growth | None = None) -> dict[str, Any]:
    """Accuracy, mean F1 over the classes, the largest class alone, accuracy of each fold, what is found of each class (recall), and
    the same where rare classes are said more often, as by the option `say: balanced`."""
    fold, found = dealt(rows.y, np.random.default_rng(0), folds), np.zeros(len(rows.y), np.int64)
    scores = np.zeros((len(rows.y), len(rows.kinds)))
    moved = np.zeros(len(rows.names))
    for k in range(folds):
        mine = np.flatnonzero(fold == k)
        trees = grown(rows.x[fold != k], rows.y[fold != k], len(rows.kinds), np.random.default_rng(k), how)
        scores[mine] = trees.scores(rows.x[mine])
        chance = softmax(scores[mine])
        found[mine] = chance.argmax(axis=1)
        for kind in range(len(rows.kinds)):
            some = mine[found[mine] == kind]
            if not len(some):
                continue
            why = trees.reasons(rows.x[some], kind)
            moved += np.abs(why).sum(axis=0)
            if to:
                _told(to, rows, some, kind, chance[found[mine] == kind], why)
    right, counts = found == rows.y, np.bincount(rows.y, minlength=len(rows.kinds))
    return {
        "rows": len(rows.y),
        "folds": folds,
        **_by_class(rows.kinds, Worth(rows.y, scores)),
        "largest_class": round(float(counts.max() / counts.sum()), 4),
        "by_fold": [round(float(right[fold == k].mean()), 4) for k in range(folds)],
        "balanced": _by_class(rows.kinds, Worth(rows.y, scores, balanced=True)),
        "reasons": [rows.names[k] for k in np.argsort(-moved)[:5]],
        "missing": [],
    }


def _by_class(kinds: list[str], worth: Worth) -> dict[str, Any]:
    """`by_class` is the F1 of each."""
    recall, precision = worth.recall, worth.precision
    f1 = 2 * recall * precision / np.maximum(recall + precision, 1e-12)

    def each(values: np.ndarray) -> dict[str, float]:
        return {kind: round(float(value), 4) for kind, value in zip(kinds, values, strict=True)}

    told = {"accuracy": worth.accuracy, "macro_f1": f1.mean(), "macro_recall": recall.mean()}
    return {
        **{name: round(float(value), 4) for name, value in told.items()},
        "by_class": each(f1),
        "recall": each(recall),
        "precision": each(precision),
    }


def _told(to: TextIO, rows: Rows, some: np.ndarray, kind: int, chance: np.ndarray, why: np.ndarray) -> None:
    for row, chances, shares in zip(some.tolist(), chance, why, strict=True):
        most = np.argsort(-np.abs(shares))[:REASONS]
        line = {
            "unit": row,
            "predicted": rows.kinds[kind],
            "chance": round(float(chances[kind]), 4),
            "reasons": {rows.names[k]: round(float(shares[k]), 3) for k in most},
        }
        to.write(json.dumps(line, ensure_ascii=False) + "\n")


def _file(data: Path) -> Path:
    return data / "dev.csv" if (data / "dev.csv").is_file() else sorted(data.glob("*.csv"))[0]


def labelled(data: Path) -> Rows:
    """Of a folder of lenses. Raises LinesideError."""
    path = _file(data)
    names, table = _table(path, ";")
    if names[-1] != "quality":
        raise LinesideError(f"{path}: the last column is {names[-1]!r}, not 'quality'")
    kinds = sorted(set(table[:, -1].tolist()))
    return Rows(names[:-1], table[:, :-1], [f"{kind:g}" for kind in kinds], np.searchsorted(kinds, table[:, -1]))


def one_hot(data: Path) -> Rows:
    """Of a folder of plates. Raises LinesideError."""
    path = _file(data)
    names, table = _table(path, ",")
    if tuple(names[-len(FAULTS) :]) != FAULTS:
        raise LinesideError(f"{path}: its last columns are not {', '.join(FAULTS)}")
    marks = table[:, -len(FAULTS) :]
    if not ((marks == 1).sum(axis=1) == 1).all():
        raise LinesideError(f"{path}: a row does not have one fault", hint="one of the last columns is 1, the others 0")
    return Rows(names[: -len(FAULTS)], table[:, : -len(FAULTS)], list(FAULTS), marks.argmax(axis=1))


def _table(path: Path, mark: str) -> tuple[list[str], np.ndarray]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head, *body = [row for row in csv.reader(file, delimiter=mark) if row]
        table = np.array(body, float)
        if len(body) < FOLDS:
            raise ValueError(f"{len(body)} rows are too few for {FOLDS} folds")
        if table.ndim != 2 or not np.isfinite(table).all() or table.shape[1] != len(head):
            raise ValueError("not a table of numbers with a head")
    except (OSError, ValueError) as error:
        raise LinesideError(f"{path}: {error}") from None
    return [name.strip() for name in head], table
