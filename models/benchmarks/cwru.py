"""Bearing vibration (CWRU): which part is damaged, told by a classifier that has not seen that size of damage, which is another
bearing; never windows of one recording on both sides. Healthy recordings are cut into as many stretches as there are sizes. A block
is told with those before it in its recording, up to eight, whose envelope shows damage that a single one hides.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edge import LinesideError

from ..series.diagnosis import fit
from ..series.fast import Bearing, bands, envelope, prominence, waveform, whitened

RATE, ROWS = 12_000.0, 2048
BEARING = Bearing(balls=9, ratio=0.3126 / 1.537)  # SKF 6205 of the drive end, inches
RPM = {0: 1797.0, 1: 1772.0, 2: 1750.0, 3: 1730.0}  # by load in hp, where no table says more
BANDS = {
    "b0": (0, 600),
    "b1": (600, 1500),
    "b2": (1500, 2500),
    "b3": (2500, 3500),
    "b4": (3500, 4500),
    "b5": (4500, 6000),
}
RINGING = 300.0  # Hz, from which on a whitened signal is looked at
RINGS = ((500, 6000), (500, 2000), (2000, 4000), (4000, 6000))  # Hz, in which damage may ring
TOGETHER = 8  # blocks whose whitened envelope is looked at together, 1.4 s
RUNG = 10.0  # dB above which that alone says which part it is: noise shows 5, and 9 at most
PARTS = {"outer": "OR", "inner": "IR", "ball": "B"}
STATES = ("normal", "B", "IR", "OR")
SIZES = ("007", "014", "021")  # of damage that was made, thousandths of an inch


@dataclass(frozen=True)
class Recording:
    """`state` of STATES, `size` in thousandths of an inch ("" for healthy); `blocks` float64[n, 2048]."""

    key: str
    state: str
    size: str
    turns: float
    blocks: np.ndarray


def evaluated(data: Path, to: TextIO | None) -> dict[str, Any]:
    """Features of the stage `vibration`, a linear classifier, and the envelope where it is plain. Raises LinesideError."""
    recordings, missing = read(data)
    sizes = sorted({one.size for one in recordings if one.size})
    if len(sizes) < 2:  # one is left out, from the others is learned
        return {"macro_f": None, "accuracy": None, "auroc": None, "folds": {}, "windows": 0, "missing": missing}
    features = np.concatenate([described(one.blocks, one.turns) for one in recordings])
    struck = np.concatenate([met(one.blocks, one.turns) for one in recordings])
    state = np.concatenate([np.repeat(one.state, len(one.blocks)) for one in recordings])
    size = np.concatenate([_sizes(one, sizes) for one in recordings])
    unit = [f"{one.key}:{i}" for one in recordings for i in range(len(one.blocks))]
    folds: dict[str, Any] = {}
    ranks: list[float] = []
    for left_out in sizes:
        known, asked = size != left_out, size == left_out
        model = fit(features[known], state[known].tolist())
        odds = model(features[asked])
        told = rung(struck[asked], np.array(model.labels)[odds.argmax(axis=1)])
        folds[left_out] = scored(told, state[asked])
        far = _unlike(features[known & (state == "normal")], features[asked])
        ranks += [rank for rank in (auroc(far, state[asked] != "normal"),) if rank is not None]
        if to:
            for i, label in zip(np.flatnonzero(asked), told, strict=True):
                to.write(json.dumps({"unit": unit[i], "predicted": str(label)}) + "\n")
    return {
        "macro_f": round(float(np.mean([fold["macro_f"] for fold in folds.values()])), 3),
        "accuracy": round(float(np.mean([fold["accuracy"] for fold in folds.values()])), 3),
        "auroc": round(float(np.mean(ranks)), 4) if ranks else None,
        "folds": folds,
        "windows": len(state),
        "missing": missing,
    }


def described(blocks: np.ndarray, turns: float) -> np.ndarray:
    """Features float64[n, k] of blocks, none of which asks how loud the machine is but one."""
    form = waveform(blocks)
    rms = np.maximum(form["rms"], 1e-12)
    share = [np.log(np.maximum(band / rms, 1e-3)) for band in bands(blocks, RATE, BANDS).values()]
    columns = [np.log(rms), np.log(form["kurtosis"]), np.log(form["crest"]), *share]
    asked = [BEARING.frequencies(turns)[name] for name in PARTS]
    for ring in RINGS:
        amplitude = envelope(blocks - blocks.mean(axis=1, keepdims=True), RATE, ring)
        columns += [*prominence(amplitude, RATE, asked).T, np.log(amplitude.std(axis=1) / amplitude.mean(axis=1))]
    return np.column_stack(columns)


def met(blocks: np.ndarray, turns: float) -> np.ndarray:
    """dB float64[n, 3] by which the lines of PARTS stand out of the whitened envelope of each block and those before it."""
    asked = [BEARING.frequencies(turns)[name] for name in PARTS]
    heights = []
    for i in range(len(blocks)):
        x = blocks[max(0, i - TOGETHER + 1) : i + 1].ravel()
        heights.append(prominence(envelope(whitened(x), RATE, (RINGING, RATE / 2)) ** 2, RATE, asked))
    return np.array(heights)


def rung(struck: np.ndarray, told: np.ndarray) -> np.ndarray:
    """`told`, but the part whose frequency stands out of the envelope where one does."""
    return np.where(struck.max(axis=1) > RUNG, np.array(list(PARTS.values()))[struck.argmax(axis=1)], told)


def scored(told: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """F of each state that is there, their mean, and accuracy."""
    f = {}
    for state in (state for state in STATES if (truth == state).any()):
        hit = int(((told == state) & (truth == state)).sum())
        f[state] = round(2 * hit / int((told == state).sum() + (truth == state).sum()), 3)
    return {
        "macro_f": round(float(np.mean(list(f.values()))), 3),
        "accuracy": round(float((told == truth).mean()), 3),
        "f": f,
    }


def _unlike(normal: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Distance from healthy blocks in their spreads, the mean over features."""
    if len(normal) < 2:
        return np.zeros(len(features))
    return np.asarray((((features - normal.mean(axis=0)) / np.maximum(normal.std(axis=0), 1e-6)) ** 2).mean(axis=1))


def auroc(score: np.ndarray, positive: np.ndarray) -> float | None:
    """The chance that a positive scores above another one, ties for a half; None where one kind is absent."""
    if positive.all() or not positive.any():
        return None
    rank = np.searchsorted(np.sort(score), score, "left") + np.searchsorted(np.sort(score), score, "right") + 1
    n = int(positive.sum())
    return float((rank[positive].sum() / 2 - n * (n + 1) / 2) / (n * (len(score) - n)))


def read(data: Path) -> tuple[list[Recording], list[str]]:
    """The recordings by name, and what is absent. Raises LinesideError."""
    rpm, out = _speeds(data), []
    for path in sorted(data.glob("cwru*.npz")):
        with np.load(path) as arrays:
            for key in arrays.files:
                found = re.fullmatch(r"(?:(normal)|(B|IR|OR)(\d+))_load(\d)", key)
                if not found:
                    raise LinesideError(f"{path.name}: {key!r} is no recording", hint="STATE_loadHP, as in IR014_load1")
                x = np.asarray(arrays[key], float).ravel()
                if len(x) < ROWS or not np.isfinite(x).all():
                    raise LinesideError(f"{path.name}: {key}: not {ROWS} samples, or one that is no number")
                turns = rpm.get(key, RPM.get(int(found[4]), RPM[0])) / 60
                blocks = x[: len(x) // ROWS * ROWS].reshape(-1, ROWS)
                out.append(Recording(key, found[1] or found[2], found[3] or "", turns, blocks))
    if not out:
        raise LinesideError(f"{data} has no recordings", hint="cwru*.npz")
    have = {one.state for one in out} | {one.size for one in out}
    missing = [name for name in (*STATES, *SIZES) if name not in have]
    return out, [*missing, *([] if rpm else ["*_records.csv"])]


def _speeds(data: Path) -> dict[str, float]:
    speeds = {}
    for path in sorted(data.glob("*_records.csv")):
        with path.open(newline="", encoding="utf-8") as text:
            for row in csv.DictReader(text):
                try:
                    speeds[row["key"]] = float(row["rpm"])
                except (KeyError, TypeError, ValueError):
                    raise LinesideError(f"{path.name}: {row}: not a key and its rpm") from None
    return speeds


def _sizes(one: Recording, sizes: list[str]) -> np.ndarray:
    """The size that each block counts to."""
    n = len(one.blocks)
    return np.repeat(one.size, n) if one.size else np.array(sizes)[np.arange(n) * len(sizes) // n]
