"""What the stage `forecast` is worth on recorded demand: error beside naive ones, and how much its intervals held.

    python -m tests.bench.forecast DATA

Files of the NAB folder that go with the hours: rides of taxis (half-hours), messages about four firms and the temperature of a
machine (quarter-hours). One pass, nothing looked at ahead; the first three weeks are not counted. `interval_score` is Winkler's:
the width and 2 / (1 - coverage) times what lies outside.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from models.series.forecast import MONDAY
from models.series.seasonal import DAY, Seasonal, Settings, Told

COVERAGE = 0.8
SERIES = (
    ("taxis", "realKnownCause/nyc_taxi.csv", 1800, 21),
    ("messages", "realTweets/Twitter_volume_AMZN.csv", 900, 21),
    ("machine", "realKnownCause/machine_temperature_system_failure.csv", 900, 21),
    *((f"messages_{firm}", f"realTweets/Twitter_volume_{firm.upper()}.csv", 900, 21) for firm in ("ibm", "ko", "pfe")),
)


def slots(data: Path, name: str, every: int) -> dict[int, float]:
    """The mean of each slot, by its number from a Monday on."""
    with zipfile.ZipFile(data / "nab" / "nab_dev.zip") as archive, archive.open(name) as file:
        rows = list(csv.reader(io.TextIOWrapper(file)))[1:]
    when = [datetime.datetime.fromisoformat(row[0]).replace(tzinfo=datetime.UTC).timestamp() for row in rows]
    slot = (np.array(when).astype(int) + MONDAY) // every
    unique, at = np.unique(slot, return_inverse=True)
    mean = np.bincount(at, [float(row[1]) for row in rows]) / np.bincount(at)
    return dict(zip(unique.tolist(), mean.tolist(), strict=True))


def judged(
    values: dict[int, float], told: dict[int, Told], i: int, lead: int, day: int, first: int
) -> dict[str, float]:
    week, day_before = -(-lead // (7 * day)) * 7 * day, -(-lead // day) * day
    rows = [
        (values[t + lead], *(column[i] for column in (said.expected, said.low, said.high)), *naive)
        for t, said in told.items()
        if t >= first
        and t + lead in values
        and np.isfinite(said.low[i])
        and None not in (naive := (values.get(t + lead - week), values.get(t + lead - day_before), values.get(t)))
    ]
    truth, expected, low, high, a_week, a_day, last = np.array(rows, float).T
    outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    error = {"error": expected, "week_before": a_week, "day_before": a_day, "last_value": last}
    return {
        "slots": len(rows),
        **{name: round(float(np.abs(truth - one).mean()), 2) for name, one in error.items()},
        "of_week_before": round(float(np.abs(truth - expected).mean() / np.abs(truth - a_week).mean()), 3),
        "covered": round(float((outside == 0).mean()), 3),
        "width": round(float((high - low).mean()), 1),
        "interval_score": round(float((high - low + 2 / (1 - COVERAGE) * outside).mean()), 1),
        "mean": round(float(truth.mean()), 1),
    }


def main(data: Path) -> None:
    found: dict[str, Any] = {}
    for name, file, every, warm in SERIES:
        values, day = slots(data, file, every), DAY // every
        leads = (1, 3600 // every, day, 7 * day)
        seasonal, began = Seasonal(Settings(every, leads, COVERAGE)), time.process_time()
        told = {slot: seasonal(slot, value) for slot, value in values.items()}
        spent = time.process_time() - began
        first = min(values) + warm * day
        for i, (lead, word) in enumerate(zip(leads, ("next", "hour", "day", "week"), strict=True)):
            found[f"{name}_{word}"] = judged(values, told, i, lead, day, first)
        found[f"{name}_slot_us"] = round(spent / len(values) * 1e6)
    for key, figures in found.items():
        print(key, json.dumps(figures))
    print(json.dumps({"bench": "forecast", "coverage": COVERAGE, **found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
