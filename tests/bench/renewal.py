"""What a person's word is worth where a machine is set up anew: one afternoon of the recorded pump rig in one piece, through the
stage `anomaly`, learned from the hours before, with `lineside normal` given after the first minute of each recording.

    python -m tests.bench.renewal DATA
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge import Batch, Event, ManualClock, Setting, Tag, TagTable
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept
from models.benchmarks.skab import JUDGED, Recording, read
from models.series.anomaly import Anomaly, AnomalyConfig

TAGS = [f"p.c{i}" for i in JUDGED]
WAIT = 60  # rows of a recording before the order
SAME_DAY = 12 * 3600  # seconds


def played(free: Recording, files: list[Recording], orders: bool, **options: Any) -> dict[str, Any]:
    """Figures of all recordings together."""
    learn = options.pop("learn", 0)
    rows = int((free.seconds < files[0].seconds[0]).sum())
    config = AnomalyConfig(stage="anomaly", tags=TAGS, rows=rows, **options)
    made = [Tag(name, i, source=name[0]) for i, name in enumerate([*TAGS, "h.score", "h.alarm"], 1)]
    table, kept, clock = TagTable(made), Kept(), ManualClock()
    stage = Anomaly(config, Setting("h", table, Path()))
    flow = Flow(table, [("h", stage)], kept, clock, Health(clock))

    def feed(one: Recording, begin: int, end: int) -> None:
        value, n = one.value[begin:end, list(JUDGED)], len(one.value[begin:end])
        ts = np.repeat(one.seconds[begin:end] * 1e9, len(TAGS)).astype(np.int64)
        flow.accept(Batch.of("p", np.tile(np.arange(1, len(TAGS) + 1), n), value.ravel(), ts))

    feed(free, 0, rows)
    for one in files:
        feed(one, 0, WAIT)
        if orders:
            flow.accept(Event("command", "normal", data={"stage": "h", "learn": learn}))
        feed(one, WAIT, len(one.value))
    told = np.concatenate([b.value[b.tag == len(TAGS) + 2] for b in kept.batches if b.source == "h"])[rows:]
    alarm, fault = np.nan_to_num(told) > 0, np.concatenate([one.anomaly for one in files])
    begins = np.flatnonzero(np.diff(alarm.astype(np.int8), prepend=0) == 1)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], fault.astype(np.int8), [0])))).reshape(-1, 2)
    hit = [((begins >= first) & (begins < end)).any() for first, end in edges]
    return {
        "found": int(np.sum(hit)),
        "faults": len(edges),
        "false_alarms": int((~fault[begins]).sum()),
        "far": round(float(alarm[~fault].mean()), 3),
        "mar": round(float((~alarm[fault]).mean()), 3),
    }


def main(data: Path) -> None:
    free = read(data / "skab" / "anomaly-free" / "anomaly-free.csv", data / "skab")
    files = [read(path, data / "skab") for path in (data / "skab" / "other").glob("*.csv")]
    files = sorted((f for f in files if f.seconds[0] - free.seconds[0] < SAME_DAY), key=lambda one: one.seconds[0])
    for name, orders, options in (
        ("nothing is said", False, {}),
        ("refit after a drift", False, {"refit": 400}),
        ("it is normal", True, {}),
        *((f"it is normal, and learn {n} rows", True, {"learn": n}) for n in (200, 300, 400)),
    ):
        print(json.dumps({"bench": "renewal", "order": name, **played(free, files, orders, **options)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
