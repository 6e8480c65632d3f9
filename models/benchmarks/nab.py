"""The Numenta Anomaly Benchmark (NAB): single signals with windows in which something happened, judged by its own rules.

One pass, nothing is looked up ahead. The first 15 % of a file, 750 rows at most, are not judged. Of the rows told inside of a
window the earliest counts, by a sigmoid from 1 at its left to 0 at its right end; a window in which none is told costs `fn`; each
row told outside of one costs up to `fp`, less shortly after a window. One threshold for all files is the best of all, chosen anew
for each profile by the labels of the same files, as the benchmark does for every detector. 0 is to tell nothing, 100 is perfect.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edge import LinesideError

from ..series.novelty import Novelty

PROFILES = {"standard": (0.11, 1.0), "reward_low_FP_rate": (0.22, 1.0), "reward_low_FN_rate": (0.11, 2.0)}  # fp, fn
WINDOWS = "combined_windows.json"
LONGEST = 64_000_000  # bytes of a file
REST = 0.62  # of the unjudged rows: how long what was told holds back what is no more


@dataclass(frozen=True)
class Signal:
    """One file: `value` float64[n], `windows` as (first row, last row), `day`: rows that a day has by the times of the rows."""

    name: str
    value: np.ndarray
    windows: tuple[tuple[int, int], ...]
    day: int = 0

    @property
    def unjudged(self) -> int:
        return int(min(0.15 * len(self.value), 750))


def evaluated(data: Path, to: TextIO | None) -> dict[str, Any]:
    """The novelty of each value, its settings fixed. Raises LinesideError."""
    return figures(data, to, novelty)


def novelty(signal: Signal) -> np.ndarray:
    """Scores of a row; 0 where less was told shortly before."""
    told = Novelty(round(REST * signal.unjudged), signal.day)(signal.value)
    return np.where(told.new, told.score, 0.0)


def figures(data: Path, to: TextIO | None, judge: Callable[[Signal], np.ndarray]) -> dict[str, Any]:
    """Scores of all profiles over all files, and of halves of them by each other's threshold. Raises LinesideError."""
    signals, missing = read(data)
    scores = [np.round(judge(signal), 5) for signal in signals]
    whole = {name: best(signals, scores, name) for name in PROFILES}
    if to:
        for signal, score in zip(signals, scores, strict=True):
            for row in range(signal.unjudged, len(score)):
                flag = int(score[row] > 0 and score[row] >= whole["standard"][1])
                line = {"file": signal.name, "index": row, "score": float(score[row]), "flag": flag}
                to.write(json.dumps(line) + "\n")
    halves = [range(0, len(signals), 2), range(1, len(signals), 2)]
    crossed = []
    for mine, other in (halves, halves[::-1]):
        threshold = best([signals[i] for i in other], [scores[i] for i in other], "standard")[1]
        crossed.append(at([signals[i] for i in mine], [scores[i] for i in mine], "standard", threshold))
    return {
        **{name: _rounded(score) for name, (score, _) in whole.items()},
        "thresholds": {name: None if np.isinf(t) else float(t) for name, (_, t) in whole.items()},
        "threshold_rule": "one for all files, best for the profile on these same files, as the benchmark's scorer does",
        "by_threshold_of_other_half": [_rounded(score) for score in crossed],
        "files": len(signals),
        "windows": sum(len(signal.windows) for signal in signals),
        "missing": missing,
    }


def _rounded(score: float) -> float | None:
    return round(score, 2) if np.isfinite(score) else None


def sigmoid(x: np.ndarray) -> np.ndarray:
    """From 1 far left of 0 to -1 far right, and -1 beyond 3."""
    return np.where(x > 3, -1.0, 2 / (1 + np.exp(5 * np.minimum(x, 3))) - 1)


def worth(signal: Signal, fp: float) -> tuple[np.ndarray, np.ndarray]:
    """(what telling a row is worth, which window it lies in or -1), each [n]."""
    n = len(signal.value)
    value, inside = np.full(n, -fp), np.full(n, -1)
    for k, (first, last) in enumerate(signal.windows):
        width = last - first + 1
        rows = np.arange(first, last + 1)
        value[first : last + 1] = sigmoid(-(last - rows + 1) / width) / sigmoid(np.array(-1.0))
        inside[first : last + 1] = k
        end = signal.windows[k + 1][0] if k + 1 < len(signal.windows) else n
        value[last + 1 : end] = fp * sigmoid((np.arange(last + 1, end) - last) / max(width - 1, 1))
    return value, inside


def best(signals: list[Signal], scores: list[np.ndarray], profile: str) -> tuple[float, float]:
    """(score, threshold) of the best threshold; NaN where no file has a window."""
    told, fn, windows = _told(signals, scores, profile)
    total, found, counted = 0.0, (0.0, np.inf), dict[int, float]()
    for i, (score, value, window) in enumerate(told):
        total += _gain(counted, int(window), float(value), fn)
        if (i + 1 == len(told) or told[i + 1][0] < score) and total > found[0]:
            found = (total, float(score))
    return (100 * found[0] / ((1 + fn) * windows) if windows else np.nan), found[1]


def at(signals: list[Signal], scores: list[np.ndarray], profile: str, threshold: float) -> float:
    """The score of a given threshold; NaN where no file has a window."""
    told, fn, windows = _told(signals, scores, profile)
    counted = dict[int, float]()
    total = sum(_gain(counted, int(window), float(value), fn) for score, value, window in told if score >= threshold)
    return 100 * total / ((1 + fn) * windows) if windows else np.nan


def _gain(counted: dict[int, float], window: int, value: float, fn: float) -> float:
    """What one more told row adds: of those in a window the earliest counts alone."""
    if window < 0:
        return value
    before = counted.get(window, -fn)
    counted[window] = max(before, value)
    return counted[window] - before


def _told(signals: list[Signal], scores: list[np.ndarray], profile: str) -> tuple[np.ndarray, float, int]:
    """Rows (score, worth, window) that could be told, falling; the cost of a missed window; how many windows there are."""
    fp, fn = PROFILES[profile]
    rows, windows = [np.empty((0, 3))], 0
    for signal, score in zip(signals, scores, strict=True):
        value, inside = worth(signal, fp)
        i = np.arange(signal.unjudged, len(score))
        i = i[score[i] > 0]
        rows.append(np.column_stack([score[i], value[i], np.where(inside[i] < 0, -1, inside[i] + windows)]))
        windows += len(signal.windows)
    told = np.concatenate(rows)
    return told[np.argsort(-told[:, 0], kind="stable")], fn, windows


def read(data: Path) -> tuple[list[Signal], list[str]]:
    """Signals of the archives (`nab_*.zip`) and folders, and what the windows name but is absent: without them all signals are
    scored and nothing can be judged. Raises LinesideError."""
    try:
        named = json.loads((data / WINDOWS).read_text("utf-8"))
        if not isinstance(named, dict):
            raise ValueError("expected windows by file")
    except FileNotFoundError:
        every = [_signal(name, text, []) for name, text in _texts(data)]
        return sorted(every, key=lambda one: one.name), [WINDOWS]
    except (OSError, ValueError) as error:
        raise LinesideError(f"{data / WINDOWS}: {error}") from None
    found = {name: _signal(name, text, named[name]) for name, text in _texts(data) if name in named}
    return [found[name] for name in sorted(found)], sorted(set(named) - set(found))


def _texts(data: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(data.glob("nab_*.zip")):
        try:
            with zipfile.ZipFile(path) as packed:
                for member in packed.infolist():
                    if member.filename.endswith(".csv"):
                        if member.file_size > LONGEST:
                            raise LinesideError(f"{path}: {member.filename} is larger than {LONGEST} bytes")
                        yield member.filename, packed.read(member).decode("utf-8", "replace")
        except (
            OSError,
            RuntimeError,
            NotImplementedError,
            zipfile.BadZipFile,
        ) as error:  # torn, locked, packed another way
            raise LinesideError(f"{path}: {error}") from None
    for path in sorted(data.glob("*/*.csv")):
        try:
            yield path.relative_to(data).as_posix(), path.read_text("utf-8", "replace")
        except OSError as error:
            raise LinesideError(f"{path}: {error.strerror}") from None


def _signal(name: str, text: str, windows: Any) -> Signal:
    try:
        rows = [(_seconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(io.StringIO(text))]
        stamp, value = np.array(rows, float).reshape(-1, 2).T
        if not len(value) or not np.isfinite(value).all():
            raise ValueError("no rows, or a value that is no number")
        spans = []
        for first, last in windows:
            inside = np.flatnonzero((stamp >= _seconds(first)) & (stamp <= _seconds(last)))
            if not len(inside):
                raise ValueError(f"no row lies in the window from {first}")
            spans.append((int(inside[0]), int(inside[-1])))
    except KeyError as error:
        raise LinesideError(f"{name}: no column {error}", hint="columns are timestamp and value") from None
    except (ValueError, TypeError) as error:
        raise LinesideError(f"{name}: {error}") from None
    step = float(np.median(np.diff(stamp))) if len(stamp) > 1 else 0.0
    return Signal(name, value, tuple(sorted(spans)), round(86_400 / step) if step > 0 else 0)


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()
