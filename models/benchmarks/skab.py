"""Recorded pump-rig runs (SKAB): a method learns from the first 400 rows of a file and judges the rest, row by row and without
looking ahead. Rates are over all judged rows of all files, as the benchmark counts them.
"""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edge import LinesideError

from ..series.baseline import Scorer, Settings, fit

SIGNALS = (
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume Flow RateRMS",
)
TRAINING = 400  # rows of each file, by the benchmark's own rule
FOLDERS = ("valve1", "valve2", "other")
JUDGED = (0, 1, 2, 3, 5, 7)  # of SIGNALS
Judge = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Recording:
    """One file: `seconds` float64[n] since 1970, `value` float64[n, 8], `anomaly` bool[n]."""

    name: str
    seconds: np.ndarray
    value: np.ndarray
    anomaly: np.ndarray


def evaluated(data: Path, to: TextIO | None) -> dict[str, Any]:
    """The stage `anomaly` as it comes, on six signals. Raises LinesideError."""
    return figures(data, to, _stage)


def always(data: Path, to: TextIO | None) -> dict[str, Any]:
    """The baseline that alarms in every row. Raises LinesideError."""
    return figures(data, to, lambda rows: (np.ones(len(rows) - TRAINING), np.ones(len(rows) - TRAINING, bool)))


def _stage(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, settings = rows[:, list(JUDGED)], Settings()
    score = Scorer(fit(rows[:TRAINING], settings), settings)(rows)[TRAINING:]
    return score, score > 1


def figures(data: Path, to: TextIO | None, judge: Judge) -> dict[str, Any]:
    """What `judge` (rows [n, 8] -> score and flag of those from 400 on) makes of every fault file. Raises LinesideError."""
    files, missing = recordings(data)
    truth, found, delays, faults = [], [], [], 0
    for one in files:
        score, flag = judge(one.value)
        truth.append(one.anomaly[TRAINING:])
        found.append(flag)
        each = list(delays_of(one, flag))
        delays += [delay for delay in each if delay is not None]
        faults += len(each)
        if to:
            for row, (s, f) in enumerate(zip(score, flag, strict=True), TRAINING):
                line = {"file": one.name, "index": row, "score": round(float(s), 5), "flag": int(f)}
                to.write(json.dumps(line) + "\n")
    rates = counted(np.concatenate(found), np.concatenate(truth))
    everywhere = counted(np.ones(sum(map(len, truth)), bool), np.concatenate(truth))
    return {
        **rates,
        "delay_s": round(float(np.median(delays)), 1) if delays else None,
        "faults": faults,
        "faults_found": len(delays),
        "files": len(files),
        "rows": sum(map(len, truth)),
        "always": everywhere,
        "missing": missing,
    }


def counted(found: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """F1, false alarm rate and missed alarm rate by row, as fractions; None where no row could tell."""
    hit, false, missed = (int(x.sum()) for x in (found & truth, found & ~truth, ~found & truth))
    fine, bad = int((~truth).sum()), int(truth.sum())
    return {
        "f1": round(2 * hit / (2 * hit + false + missed), 4) if hit + false + missed else None,
        "far": round(false / fine, 4) if fine else None,
        "mar": round(missed / bad, 4) if bad else None,
    }


def delays_of(one: Recording, flag: np.ndarray) -> Iterator[float | None]:
    """Of each fault that begins in the judged rows, the seconds from its first row to its first flagged one; None where none is."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], one.anomaly.astype(np.int8), [0]))))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if first >= TRAINING:
            hits = np.flatnonzero(flag[first - TRAINING : end - TRAINING])
            yield float(one.seconds[first + hits[0]] - one.seconds[first]) if len(hits) else None


def recordings(data: Path) -> tuple[list[Recording], list[str]]:
    """The fault files in their order, and what is absent. Raises LinesideError."""
    paths = [path for folder in FOLDERS for path in sorted((data / folder).glob("*.csv"))]
    missing = [f"{folder}/*.csv" for folder in FOLDERS if not any((data / folder).glob("*.csv"))]
    if not paths:
        raise LinesideError(f"{data} has no fault files", hint=f"they lie in {', '.join(FOLDERS)}")
    return [read(path, data) for path in paths], missing


def read(path: Path, data: Path) -> Recording:
    """Raises LinesideError for a file of another layout, one with less than 400 rows, or a value that is none."""
    name = path.relative_to(data).as_posix()
    with path.open(newline="", encoding="utf-8", errors="replace") as text:
        table = csv.DictReader(text, delimiter=";")
        lacking = [c for c in ("datetime", *SIGNALS) if c not in (table.fieldnames or ())]
        if lacking:
            raise LinesideError(f"{name}: no column {', '.join(lacking)}", hint="columns are separated by semicolons")
        rows = list(table)
    value = np.empty((len(rows), len(SIGNALS)))
    seconds, anomaly = np.empty(len(rows)), np.zeros(len(rows), bool)
    for i, row in enumerate(rows):
        try:
            value[i] = [float(row[c]) for c in SIGNALS]
            seconds[i] = datetime.datetime.fromisoformat(row["datetime"]).replace(tzinfo=datetime.UTC).timestamp()
            anomaly[i] = float(row.get("anomaly") or 0) > 0
        except (ValueError, TypeError) as error:
            raise LinesideError(f"{name}: row {i}: {error}") from None
    if len(rows) <= TRAINING:
        raise LinesideError(
            f"{name}: {len(rows)} rows; the first {TRAINING} are learned from, so there have to be more"
        )
    if not np.isfinite(value).all():
        raise LinesideError(f"{name}: row {int(np.argmin(np.isfinite(value).all(axis=1)))}: a value is no number")
    return Recording(name, seconds, value, anomaly)
