"""Simulated turbofan engines (C-MAPSS FD001): a method learns from the engines that ran to failure, and says of each test engine
how many cycles it has left at its last row. Errors are predicted less true, both capped at 125 cycles as is usual. A folder without
training engines is judged by a model that ships: one kernel at averages of their rows (`python -m tests.bench.life DATA --write`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edge import LinesideError

from ..series.learned import Learned
from ..series.runs import Settings, fit

TRAIN = "train_FD001.txt"
SHIPPED = Path(__file__).with_name("fd001.json")
TEST, TRUTH = "test_FD001*.txt", "RUL_FD001*"
COLUMNS = 26  # unit, cycle, 3 settings, 21 sensors
CAP = 125.0
DRAWS = 2000  # of the bootstrap
Engines = dict[int, np.ndarray]
Told = tuple[np.ndarray, np.ndarray, np.ndarray]


def evaluated(data: Path, to: TextIO | None) -> dict[str, Any]:
    """Kernel ridge regression on means of the sensors (`models.series.runs`). Raises LinesideError."""
    return _figures(data, to, _learned)


def mean(data: Path, to: TextIO | None) -> dict[str, Any]:
    """The baseline that answers what a row of the training engines has left on average. Raises LinesideError."""

    def same(train: Engines, test: Engines) -> Told | None:
        if not train:
            return None
        truth = np.concatenate([np.minimum(np.arange(len(rows)), CAP) for rows in train.values()])
        levels = (truth.mean(), *np.quantile(truth, [0.1, 0.9]))
        left, low, high = (np.full(len(test), level) for level in levels)
        return left, low, high

    return _figures(data, to, same)


def _learned(train: Engines, test: Engines) -> Told | None:
    try:
        if train:
            model = fit(list(train.values()), Settings(cap=CAP))
        else:
            model = Learned.from_json(json.loads(SHIPPED.read_text("utf-8"))).model
    except ValueError as error:
        raise LinesideError(f"{TRAIN if train else SHIPPED}: {error}") from None
    left, low, high = np.array([[column[-1] for column in model(rows)] for rows in test.values()]).T
    return left, low, high


def _figures(data: Path, to: TextIO | None, method: Callable[[Engines, Engines], Told | None]) -> dict[str, Any]:
    paths = sorted(data.glob(TEST))
    truth = {unit: left for path in sorted(data.glob(TRUTH)) for unit, left in _truth(path).items()}
    have = {TRAIN: (data / TRAIN).is_file(), TEST: bool(paths), TRUTH: bool(truth)}
    learned = TRAIN if have[TRAIN] else f"a model that ships ({SHIPPED.name}): averages of the same engines"
    told: dict[str, Any] = {"learned_from": learned, "missing": [name for name, found in have.items() if not found]}
    test = {unit: rows for path in paths for unit, rows in engines(path).items()}
    answer = method(engines(data / TRAIN) if have[TRAIN] else {}, test) if test else None
    if answer is None:
        return {"rmse": None, "score": None, **told, "learned_from": None}
    left, low, high = answer
    if to:
        for unit, *row in zip(test, left, low, high, strict=True):
            line = {
                "unit": unit,
                **dict(zip(("predicted", "low", "high"), (round(float(v), 2) for v in row), strict=True)),
            }
            to.write(json.dumps(line) + "\n")
    known = np.array([unit in truth for unit in test])
    if not known.any():
        return {"rmse": None, "score": None, "engines": len(test), **told}
    true = np.array([truth[unit] for unit in test if unit in truth])
    return {**judged(left[known], low[known], high[known], true), "engines": int(known.sum()), **told}


def judged(left: np.ndarray, low: np.ndarray, high: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """RMSE with the 95 % interval of a bootstrap over engines, the PHM 2008 score (a sum; late costs more), and how many truths
    the interval holds. All capped but `rmse_uncapped`."""
    capped = np.minimum(true, CAP)
    off = np.minimum(left, CAP) - capped
    draws = np.random.default_rng(0).integers(0, len(off), (DRAWS, len(off)))
    spread = np.quantile(np.sqrt((off[draws] ** 2).mean(axis=1)), [0.025, 0.975])
    return {
        "rmse": round(float(np.sqrt((off**2).mean())), 3),
        "rmse_interval": [round(float(edge), 2) for edge in spread],
        "rmse_uncapped": round(float(np.sqrt(((left - true) ** 2).mean())), 3),
        "score": round(float(np.where(off < 0, np.exp(-off / 13) - 1, np.exp(off / 10) - 1).sum()), 1),
        "coverage": round(float(((low <= capped) & (capped <= high)).mean()), 3),
        "interval": 0.8,
        "width": round(float((high - low).mean()), 1),
    }


def engines(path: Path) -> Engines:
    """The 24 columns after unit and cycle, by unit, in order of cycles. Raises LinesideError."""
    try:
        table = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise LinesideError(f"{path.name}: {error}") from None
    if not len(table) or table.shape[1] != COLUMNS or not np.isfinite(table).all():
        raise LinesideError(
            f"{path.name}: not {COLUMNS} columns of numbers",
            hint="unit, cycle, three settings, 21 sensors, blanks between",
        )
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    units, start = np.unique(table[:, 0], return_index=True)
    return {int(unit): rows[:, 2:] for unit, rows in zip(units, np.split(table, start[1:]), strict=True)}


def _truth(path: Path) -> dict[int, float]:
    """Remaining cycles by unit: `unit,true_rul_cycles`, or the official list of one number a line from unit 1 on."""
    with path.open(newline="", encoding="utf-8") as text:
        rows = [row for row in csv.reader(text) if row]
    try:
        if rows and len(rows[0]) == 1:
            return {unit: float(row[0]) for unit, row in enumerate(rows, 1)}
        return {int(row[0]): float(row[1]) for row in rows[1:]}
    except (ValueError, IndexError) as error:
        raise LinesideError(f"{path.name}: {error}", hint="`unit,true_rul_cycles`, a line for each engine") from None
