"""How good boxes are: average precision by type and pooled, precision, recall and F at a threshold.

A detection counts when its type matches and it overlaps (intersection over union) a box of that type by more than 0.33 (pairs) or
0.5 (single pictures), each box once, the detections of a type by falling score. Average precision is the area under precision over
recall, with precision made falling (VOC, all points). `mAP` is the mean over types; `pooled` ranks all types together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .peaks import overlap

ENOUGH = 0.33
NEXT_TO = 0.003  # of F, a fraction: less than few pictures can tell apart
Truth = tuple[np.ndarray, np.ndarray]  # boxes float[k, 4] and their types int[k]


def hits(found: np.ndarray, truth: Truth, enough: float = ENOUGH) -> np.ndarray:
    """bool[n]: which boxes [n, 6] of one picture, by falling score, count."""
    boxes, types = truth
    good = np.zeros(len(found), bool)
    if not len(boxes) or not len(found):
        return good
    close = np.where(found[:, 5][:, None] == types[None], overlap(found, boxes), 0.0)
    free = np.ones(len(boxes), bool)
    for i, row in enumerate(close):
        best = int((row * free).argmax())
        if free[best] and row[best] > enough:
            good[i], free[best] = True, False
    return good


def average_precision(score: np.ndarray, good: np.ndarray, wanted: int) -> float:
    """0..1; of nothing wanted it is not a number."""
    if not wanted:
        return float("nan")
    right = np.cumsum(good[np.argsort(-score, kind="stable")])
    precision = right / np.arange(1, len(right) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((falling * np.diff(right, prepend=0)).sum() / wanted)


class Score:
    """Over all pictures: `found` float[n, 6] of each by falling score, `truth` of each, `labels` the names of the types."""

    def __init__(
        self, found: Sequence[np.ndarray], truth: Sequence[Truth], labels: Sequence[str], enough: float = ENOUGH
    ) -> None:
        every = [np.zeros((0, 6)), *found]
        self._good = np.concatenate(
            [np.zeros(0, bool), *(hits(*each, enough) for each in zip(found, truth, strict=True))]
        )
        self._score = np.concatenate([x[:, 4] for x in every])
        self._label = np.concatenate([x[:, 5] for x in every])
        types = np.concatenate([np.zeros(0, int), *(types for _, types in truth)])
        self.boxes, self._labels = len(types), labels
        self._wanted = np.bincount(types, minlength=len(labels))

    def by_type(self) -> dict[str, float]:
        """Average precision in percent of each type of which there is any box."""
        of = [self._label == number for number in range(len(self._labels))]
        return {
            label: 100 * average_precision(self._score[mine], self._good[mine], int(wanted))
            for label, mine, wanted in zip(self._labels, of, self._wanted, strict=False)
            if wanted
        }

    def mean(self) -> float:
        """mAP in percent."""
        each = list(self.by_type().values())
        return float(np.mean(each)) if each else float("nan")

    def pooled(self) -> float:
        return 100 * average_precision(self._score, self._good, self.boxes)

    def at(self, threshold: float) -> tuple[float, float, float]:
        """Precision and recall (fractions) and F in percent of what scores `threshold` or more."""
        told = self._score >= threshold
        right = int(self._good[told].sum())
        precision, recall = right / max(int(told.sum()), 1), right / max(self.boxes, 1)
        return precision, recall, 100 * 2 * precision * recall / max(precision + recall, 1e-12)

    def best_threshold(self) -> float:
        """The middle of the thresholds beside each other whose F is the highest or next to it: on a few pictures many do as well,
        and one at their end would be so for these pictures alone."""
        order = np.argsort(-self._score, kind="stable")
        if not len(order):
            return 0.5
        score = self._score[order]
        ends = np.flatnonzero(np.append(score[1:] < score[:-1], True))  # no threshold is between equal scores
        f, score = 2 * np.cumsum(self._good[order])[ends] / (ends + 1 + self.boxes), score[ends]
        best, worse = f.argmax(), np.flatnonzero(f < f.max() - NEXT_TO)
        first, last = worse[worse < best].max(initial=-1) + 1, worse[worse > best].min(initial=len(f)) - 1
        below = score[last + 1] if last + 1 < len(score) else 0.0
        return float((score[first] + below) / 2)
