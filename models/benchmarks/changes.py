"""Change points by the rules of the recorded pump rig's benchmark (SKAB), which are those of NAB with another sigmoid.

A row whose flag differs from the one before tells a change. Each true change opens a window of 60 s from it on; one that begins in
the window before begins at that window's end. Of what is told in a window the earliest counts: from 1 at its left to -`fp` at its
right end, by a hyperbolic tangent over half a turn. A window in which nothing is told costs `fn`, each change told outside of all
windows `fp`. 0 is to tell nothing, 100 is perfect.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

WINDOW = 60.0  # seconds
PROFILES = {"standard": (0.11, 1.0), "low_fp": (0.22, 1.0), "low_fn": (0.11, 2.0)}  # fp, fn


@dataclass(frozen=True)
class Found:
    """Of one recording: how many true changes; of each that was found its `delay` in seconds from the window's left and `way`, the
    share of the window that had passed, float64[n]; how many were told `false`."""

    true: int
    delay: np.ndarray
    way: np.ndarray
    false: int


def told(seconds: np.ndarray, flag: np.ndarray) -> np.ndarray:
    """Times float64[k] at which `flag` bool[n] differs from the row before; the row before the first is no alarm."""
    return seconds[np.flatnonzero(np.diff(flag.astype(np.int8), prepend=0))]


def found(true: np.ndarray, said: np.ndarray, window: float = WINDOW) -> Found:
    """What of the true changes was told. Both are seconds, float64, rising."""
    left, right = true.astype(float), true + window
    for i in range(1, len(left)):
        left[i] = max(left[i], right[i - 1])
    first = np.searchsorted(said, left)
    at = np.append(said, np.inf)[first]
    hit = at <= right
    delay = at[hit] - left[hit]
    inside = ((said[:, None] >= left) & (said[:, None] <= right)).any(axis=1)
    return Found(len(true), delay, delay / (right[hit] - left[hit]), int((~inside).sum()))


def scores(recordings: Iterable[Found]) -> dict[str, Any]:
    """The score of each profile over all recordings, None where none has a true change; the mean delay of those found."""
    every = list(recordings)
    true, false = sum(one.true for one in every), sum(one.false for one in every)
    way, delay = (np.concatenate([np.empty(0), *(getattr(one, name) for one in every)]) for name in ("way", "delay"))
    fall = np.tanh(np.pi * (way - 0.5)) / np.tanh(np.pi / 2)
    out: dict[str, Any] = {}
    for name, (fp, fn) in PROFILES.items():
        gained = ((1 - fp) / 2 - (1 + fp) / 2 * fall).sum() - fp * false - fn * (true - len(way))
        out[name] = round(float(100 * (gained + fn * true) / ((1 + fn) * true)), 2) if true else None
    mean = round(float(delay.mean()), 1) if len(delay) else None
    return {**out, "window_s": WINDOW, "delay_s": mean, "changes": true, "found": len(way), "false": false}
