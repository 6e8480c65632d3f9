"""Bearings that ran to failure (IMS): the level of each is followed row by row from the first hours on; told are the first lasting
alarm before the end, alarms in the first half of a run, and how well the hours left were told in its last fifth.
"""

from __future__ import annotations

import csv
import datetime
import json
import re
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edge import LinesideError

from ..series.wear import Settings, Wear

RUNS = "ims_test*_features.csv"
FAILED = {"1": (3, 4), "2": (1,), "3": (3,)}  # bearings found damaged at the end, by test; the publisher's own words
BEARINGS = 4
STOPPED = 0.2  # of a healthy level: the shaft stands


def evaluated(data: Path, to: TextIO | None) -> dict[str, Any]:
    """What the stage `life` goes by, with its own settings, on each channel. Raises LinesideError."""
    runs = {}
    for path in sorted(data.glob(RUNS)):
        name = re.sub(r"\D", "", path.stem)
        runs[name] = _run(name, *read(path), to)
    told = [run for run in runs.values() if run["lead_h"] is not None]
    return {
        "lead_h": min((run["lead_h"] for run in told), default=None),
        "runs_warned": len(told),
        "false_alarms": sum(run["false_alarms"] for run in runs.values()),
        "runs": runs,
        "missing": [f"ims_test{name}_features.csv" for name in FAILED if name not in runs],
    }


def _run(name: str, hours: np.ndarray, level: np.ndarray, to: TextIO | None) -> dict[str, Any]:
    sensors = max(1, level.shape[1] // BEARINGS)
    running = level.min(axis=1) > STOPPED * np.median(level[: Settings().learn])
    hours, level = hours[running], level[running]
    end = float(hours[-1])
    first: dict[int, float] = {}
    off, held, false, failed = [], [], 0, FAILED.get(name, ())
    for channel, values in enumerate(level.T):
        bearing, wear = channel // sensors + 1, Wear(Settings())
        told = [wear(float(h), float(v)) for h, v in zip(hours, values, strict=True)]
        worn = [i for i, one in enumerate(told) if one is not None and one.worn]
        if worn:
            false += hours[worn[0]] < hours[0] + (end - hours[0]) / 2
            first[bearing] = max(first.get(bearing, 0.0), end - float(hours[worn[0]]))
        for i, one in enumerate(told):
            if one is None or not np.isfinite(one.left):
                continue
            left = end - float(hours[i])
            if bearing in failed and left < (end - hours[0]) / 5:
                off.append(one.left - left)
                held.append(one.low <= left <= one.high)
            if to:
                line = {
                    "unit": f"{name}/{channel + 1}",
                    "hours_before_end": round(left, 3),
                    "predicted": round(one.left, 2),
                }
                to.write(json.dumps(line) + "\n")
    leads = [first[bearing] for bearing in failed if bearing in first]
    return {
        "lead_h": round(max(leads), 1) if leads else None,
        "hours": round(end - float(hours[0]), 1),
        "first_alarm_h_before_end": {str(bearing): round(lead, 1) for bearing, lead in sorted(first.items())},
        "false_alarms": int(false),
        "left_error_h": round(float(np.median(np.abs(off))), 1) if off else None,
        "left_told": len(off),
        "coverage": round(float(np.mean(held)), 3) if held else None,
    }


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(hours float64[n] since 1970, level float64[n, c]). Raises LinesideError."""
    with path.open(newline="", encoding="utf-8", errors="replace") as text:
        rows = list(csv.reader(text))[1:]
    try:
        hours = [
            datetime.datetime.fromisoformat(row[0]).replace(tzinfo=datetime.UTC).timestamp() / 3600 for row in rows
        ]
        level = np.array([[float(v) for v in row[1:]] for row in rows])
    except (ValueError, IndexError) as error:
        raise LinesideError(f"{path.name}: {error}", hint="a time, then one column per channel") from None
    if level.ndim != 2 or len(level) <= Settings().learn or not (np.isfinite(level).all() and (level >= 0).all()):
        raise LinesideError(f"{path.name}: not more than {Settings().learn} rows of numbers, none below 0")
    return np.array(hours), level
