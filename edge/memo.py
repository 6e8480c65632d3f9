"""What a stage worked out for a tag column, kept by the column's identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")
Rows = np.ndarray | slice
MOST_KEPT = 256


class PerColumn(Generic[T]):
    """`compute(tag column)` once per array object. Read-only columns only are kept, since those cannot change under us;
    holding the array keeps its identity from being used again."""

    def __init__(self, compute: Callable[[np.ndarray], T]) -> None:
        self._compute = compute
        self._kept: dict[int, tuple[np.ndarray, T]] = {}

    def __call__(self, tag: np.ndarray) -> T:
        kept = self._kept.get(id(tag))
        if kept is not None:
            return kept[1]
        value = self._compute(tag)
        if not tag.flags.writeable:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[id(tag)] = (tag, value)
        return value


def joined(places: np.ndarray) -> Rows:
    """The same places as a slice where each is the next after the one before: numpy copies those many times as fast."""
    if len(places) and places[0] >= 0 and (np.diff(places) == 1).all():
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def distinct(values: np.ndarray) -> np.ndarray:
    """What stands in a column, once each, rising. (np.unique loads numpy.ma, which is a megabyte and some milliseconds.)"""
    ordered = np.sort(values)
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))] if len(ordered) else ordered


def occurrences(tag: np.ndarray) -> np.ndarray | None:
    """For each sample the how-manieth of its tag it is (0, 1, ...); None when no tag stands twice."""
    order = np.argsort(tag, kind="stable")
    ordered = tag[order]
    start = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    if len(start) == len(tag):
        return None
    rank = np.arange(len(tag)) - np.repeat(start, np.diff(np.append(start, len(tag))))
    out = np.empty(len(tag), np.int64)
    out[order] = rank
    return out
