"""Recorded pump-rig runs (SKAB): a method learns from the first 400 rows of a file and judges the rest, row by row and without
looking ahead. Rates are over all judged rows of all files, as the benchmark counts them; `nab` says how changes are found.
"""

from __future__ import annotations

import csv
import datetime
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edge import LinesideError

from ..series import reconstruction
from ..series.baseline import Settings, fit
from ..series.scorer import Scorer
from . import changes

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
LEARNED = 3600  # rows of the long recording without a fault, an hour
FOLDERS = ("valve1", "valve2", "other")
JUDGED = (0, 1, 2, 3, 6, 7)  # of SIGNALS: without the two temperatures, which follow the room and the sun
CHOSEN = {  # for each folder by the labels of the other two alone: `python -m tests.bench.skab DATA` prints the choice
    "valve1": Settings(factor=1.5, hold=0.2),
    "valve2": Settings(factor=1.5, hold=0.1),
    "other": Settings(factor=1.4, hold=0.1),
}
Judge = Callable[["Recording"], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Recording:
    """One file: `seconds` float64[n] since 1970, `value` float64[n, 8], `anomaly` and `change` bool[n]."""

    name: str
    seconds: np.ndarray
    value: np.ndarray
    anomaly: np.ndarray
    change: np.ndarray

    @property
    def folder(self) -> str:
        return self.name.partition("/")[0]


def evaluated(data: Path, to: TextIO | None) -> dict[str, Any]:
    """The stage `anomaly` on six signals. Raises LinesideError."""
    settings: dict[str, Any] = {folder: {"factor": s.factor, "hold": s.hold} for folder, s in CHOSEN.items()}
    settings["chosen"] = "of each folder by the labels of the other two alone"
    return _on_both(data, to, lambda one: CHOSEN[one.folder], Settings(), settings)


def network(data: Path, to: TextIO | None) -> dict[str, Any]:
    """The stage by its method `network`, as it comes: nothing is chosen by folder. Raises LinesideError."""
    settings = Settings("network")
    said = {"factor": settings.factor, "hold": settings.hold, "chosen": "none: as the stage comes"}
    return _on_both(data, to, lambda one: settings, settings, said)


def _on_both(
    data: Path, to: TextIO | None, of: Callable[[Recording], Settings], normal: Settings, said: dict[str, Any]
) -> dict[str, Any]:
    """Figures on the fault files by the settings `of` each, and on the long recording by those for `normal`."""
    told = figures(data, to, lambda one: judged(one, of(one)))
    path = data / "anomaly-free" / "anomaly-free.csv"
    if not path.is_file():
        told["missing"].append(path.relative_to(data).as_posix())
        return told | {"normal_far": None, "settings": said}
    return told | {"normal_far": normal_far(read(path, data), normal), "settings": said}


def always(data: Path, to: TextIO | None) -> dict[str, Any]:
    """The baseline that alarms in every row. Raises LinesideError."""
    return figures(data, to, lambda one: (np.ones(len(one.value) - TRAINING), np.ones(len(one.value) - TRAINING, bool)))


def judged(one: Recording, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """(score, alarm) of the rows from 400 on, learned from those before."""
    rows = one.value[:, list(JUDGED)]
    return learned(rows[:TRAINING], settings)(rows[TRAINING:])


def learned(rows: np.ndarray, settings: Settings) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """By any method."""
    if settings.method != "network":
        return Scorer(fit(rows, settings))
    lesson = reconstruction.teach(rows, [SIGNALS[i] for i in JUDGED], settings)
    left, scorer = leftover(lesson, settings), Scorer(lesson.baseline(settings))
    return lambda new: scorer(left(new))


def leftover(lesson: reconstruction.Lesson, settings: Settings) -> reconstruction.Leftover:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "learned.json"
        path.with_suffix(".tflite").write_bytes(lesson.body)
        return reconstruction.loaded(lesson.baseline(settings), lesson.kept, path, proved=True)


def normal_far(one: Recording, settings: Settings) -> float | None:
    """The share of rows in alarm after the first hour of a recording without a fault, learned from that hour."""
    rows = one.value[:, list(JUDGED)]
    if len(rows) <= LEARNED:
        return None
    return round(float(learned(rows[:LEARNED], settings)(rows[LEARNED:])[1].mean()), 4)


def figures(data: Path, to: TextIO | None, judge: Judge) -> dict[str, Any]:
    """What `judge` (a recording -> score and flag of its rows from 400 on) makes of every fault file. Raises LinesideError."""
    files, missing = recordings(data)
    truth, found, delays, changed, faults = [], [], [], [], 0
    for one in files:
        score, flag = judge(one)
        truth.append(one.anomaly[TRAINING:])
        found.append(flag)
        seconds = one.seconds[TRAINING:]
        changed.append(changes.found(seconds[one.change[TRAINING:]], changes.told(seconds, flag)))
        each = list(delays_of(one, flag))
        delays += [delay for delay in each if delay is not None]
        faults += len(each)
        if to:
            for row, (s, f) in enumerate(zip(score, flag, strict=True), TRAINING):
                line = {"file": one.name, "index": row, "score": round(float(s), 5), "flag": int(f)}
                to.write(json.dumps(line) + "\n")
    true, flags = (np.concatenate([np.zeros(0, bool), *some]) for some in (truth, found))
    rates, everywhere = counted(flags, true), counted(np.ones(len(true), bool), true)
    return {
        **rates,
        "delay_s": round(float(np.median(delays)), 1) if delays else None,
        "nab": changes.scores(changed),
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
    """The fault files in their order, and which folders have none. Raises LinesideError."""
    paths = [path for folder in FOLDERS for path in sorted((data / folder).glob("*.csv"))]
    missing = [f"{folder}/*.csv" for folder in FOLDERS if not any((data / folder).glob("*.csv"))]
    return [read(path, data) for path in paths], missing


def read(path: Path, data: Path) -> Recording:
    """Raises LinesideError for a file of another layout, one with less than 400 rows, or a value that is none."""
    name = path.relative_to(data).as_posix()
    try:
        text = path.open(newline="", encoding="utf-8", errors="replace")
    except OSError as error:
        raise LinesideError(f"{name}: {error.strerror}") from None
    with text:
        table = csv.DictReader(text, delimiter=";")
        lacking = [c for c in ("datetime", *SIGNALS) if c not in (table.fieldnames or ())]
        if lacking:
            raise LinesideError(f"{name}: no column {', '.join(lacking)}", hint="columns are separated by semicolons")
        rows = list(table)
    value = np.empty((len(rows), len(SIGNALS)))
    seconds, anomaly, change = np.empty(len(rows)), np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for i, row in enumerate(rows):
        try:
            value[i] = [float(row[c]) for c in SIGNALS]
            seconds[i] = datetime.datetime.fromisoformat(row["datetime"]).replace(tzinfo=datetime.UTC).timestamp()
            anomaly[i] = float(row.get("anomaly") or 0) > 0
            change[i] = float(row.get("changepoint") or 0) > 0
        except (ValueError, TypeError) as error:
            raise LinesideError(f"{name}: row {i}: {error}") from None
    if len(rows) <= TRAINING:
        raise LinesideError(
            f"{name}: {len(rows)} rows; the first {TRAINING} are learned from, so there have to be more"
        )
    if not np.isfinite(value).all():
        raise LinesideError(f"{name}: row {int(np.argmin(np.isfinite(value).all(axis=1)))}: a value is no number")
    return Recording(name, seconds, value, anomaly, change)
