"""Rows of several tags, made of what the journal holds of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np

from edge import TRUSTED

from .baseline import ABSURD

MOST = 0.5  # of a tag's variance that one row may make without a word
GAP = 10  # times the usual step between two rows, from which on no window reaches across


def together(columns: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Rows float64[n, tags] of (ts, value, quality) of each tag, and where a stretch without a gap begins: as the stage makes them,
    one for each time at which a tag said something, while the others hold; less those in which one is bad or not known yet.
    Raises ValueError where there are none."""
    times = reduce(lambda a, b: a if a is b or np.array_equal(a, b) else np.union1d(a, b), [c[0] for c in columns])
    times = np.unique(times)
    steps = [np.median(np.diff(np.unique(ts))) for ts, *_ in columns if len(ts) > 1]
    gap = GAP * min(steps, default=0.0)
    since = np.maximum.accumulate(np.where(np.diff(times, prepend=times[0]) > gap, times, times[0]))
    rows, known = np.empty((len(times), len(columns))), np.ones(len(times), bool)
    for j, (ts, value, quality) in enumerate(columns):
        order = np.argsort(ts, kind="stable")
        at = np.searchsorted(ts[order], times, side="right") - 1
        held = order[at]
        rows[:, j] = value[held]
        known &= (at >= 0) & (ts[held] >= since) & (quality[held] <= TRUSTED)
    known &= (np.abs(rows) < ABSURD).all(axis=1)
    if not known.any():
        raise ValueError("at no time are all of the tags known and good")
    starts = np.flatnonzero(np.diff(times[known]) > gap) + 1
    return rows[known], (0, *starts.tolist())


def alone(rows: np.ndarray, tags: Sequence[str]) -> Iterator[str]:
    """A word on each tag of which one of the rows [n, tags] makes most of the spread: it is judged by that from then on."""
    far = (rows - rows.mean(axis=0)) ** 2
    share = far.max(axis=0) / np.maximum(far.sum(axis=0), 1e-300)
    for i in np.flatnonzero(share > MOST).tolist():
        value = rows[int(far[:, i].argmax()), i]
        yield (
            f"{tags[i]}: one row, {value:g}, makes {share[i]:.0%} of its spread, and what is less will hardly be seen; if that was "
            "not normal, learn from another time"
        )
