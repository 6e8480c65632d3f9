"""Which fault of the recorded pump rig the nearest case names, when each file's first alarm is a case for the others.

    python -m tests.bench.cases DATA

A kind is what a person could do about it: `valve` (valve1 and valve2), `rotor`, `water`, `leak`, `phases`. Beside it stands what
always naming the most frequent kind would reach. Before that: how long 2,000 made-up cases take to read, to index and to ask.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from edge.cases import files
from edge.cases.case import Case, Signature
from edge.cases.nearest import Known, Seen
from models.benchmarks.skab import CHOSEN, JUDGED, SIGNALS, TRAINING, Recording, recordings
from models.series.baseline import fit
from models.series.scorer import Scorer

OTHER = {
    **dict.fromkeys("1234", "leak"),
    **dict.fromkeys("56789", "rotor"),
    "10": "water",
    "11": "water",
    "13": "phases",
}


def cause_of(one: Recording) -> str:
    return one.folder if one.folder != "other" else OTHER[Path(one.name).stem]


def kind_of(cause: str) -> str:
    return "valve" if cause.startswith("valve") else cause


def shares_of(one: Recording) -> dict[str, float]:
    """The signed shares of the first alarm that begins within a fault, at its first row; empty where none does."""
    rows = one.value[:, list(JUDGED)]
    scorer, before = Scorer(fit(rows[:TRAINING], CHOSEN[one.folder])), False
    for row in range(TRAINING, len(rows)):
        alarm = bool(scorer(rows[row : row + 1])[1][0])
        if alarm and not before and one.anomaly[row]:
            shares, deviation = scorer.reasons()
            return {
                SIGNALS[JUDGED[j]].replace(" ", "_"): float(shares[j] * np.sign(deviation[j]))
                for j in np.argsort(-shares)[:5]
                if shares[j] > 0.01
            }
        before = alarm
    return {}


def many(n: int = 2000) -> None:
    words = np.array([f"word{k}" for k in range(3000)])
    rng = np.random.default_rng(1)
    made = []
    for k in range(n):
        text = [" ".join(words[rng.integers(0, len(words), 6)]) for _ in range(3)]
        shares = {f"pump.t{t}": float(share) for t, share in zip(rng.integers(0, 40, 4), rng.random(4), strict=True)}
        one = Case(id=f"c{k}", symptom=text[0], cause=text[1], remedy=text[2], signature=Signature(shares=shares))
        made.append(one)
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("yaml", "csv"):
            path = Path(folder, f"cases.{ending}")
            files.write(path, made)
            began = time.perf_counter()
            files.read(path)
            took[f"{ending}_s"] = round(time.perf_counter() - began, 2)
    began = time.perf_counter()
    known = Known(made)
    took["index_s"] = round(time.perf_counter() - began, 2)
    began = time.perf_counter()
    for one in made[:100]:
        known.nearest(Seen("health", shares=one.signature.shares if one.signature else {}))
        known.find(one.symptom)
    took["question_ms"] = round((time.perf_counter() - began) * 10, 1)
    print(json.dumps({"bench": "cases read", "cases": n, **took}))


def main(data: Path) -> None:
    recorded = recordings(data / "skab")[0]
    seen = {one.name: (cause_of(one), shares) for one in recorded if (shares := shares_of(one))}
    cause = kind = among = 0
    for name, (true, shares) in seen.items():
        others = [
            Case(id=other, symptom="-", cause=said, signature=Signature(shares=told))
            for other, (said, told) in seen.items()
            if other != name
        ]
        near = [one.case.cause for one in Known(others).nearest(Seen("health", shares=shares))]
        cause += near[:1] == [true]
        kind += kind_of(near[0] if near else "") == kind_of(true)
        among += kind_of(true) in map(kind_of, near)
    frequent = Counter(kind_of(true) for true, _ in seen.values()).most_common(1)[0][1]
    told = {
        "files": len(recorded),
        "alarmed": len(seen),
        "cause": cause,
        "kind": kind,
        "kind_among_3": among,
        "frequent": frequent,
    }
    print(json.dumps({"bench": "cases", **told}))


if __name__ == "__main__":
    many()
    main(Path(sys.argv[1]))
