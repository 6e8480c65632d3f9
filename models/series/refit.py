"""Learning anew while it runs: from rows without an alarm, and judged by the last of them before it takes over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .baseline import Settings, fit
from .scorer import Scorer

HELD_OUT = 0.25  # of the rows: the last ones, that the new one is judged by and does not learn from
MOST = 100_000  # rows
FALSE = 0.01  # of those, in which it may alarm where the one before did not


@dataclass(frozen=True)
class Candidate:
    """What a `Refit` learned; `scorer` is None where it is of no use, `words` say from what, and how it did."""

    of: Refit
    scorer: Scorer | None
    words: str


def enough(rows: int) -> int:
    """Rows of which `rows` are learned from, and the rest judges."""
    return math.ceil(rows / (1 - HELD_OUT)) + 1


def too_few(rows: Any, scorer: Scorer | None) -> str:
    """Why so many rows cannot be learned from; empty where they can, or where none are asked for."""
    if not rows or scorer is None:
        return ""
    baseline = scorer.baseline
    least = enough(max(10 * len(baseline.mean), 4 * baseline.windows[-1].rows))
    if isinstance(rows, int) and least <= rows <= MOST:
        return ""
    return f"{str(rows)[:20]} rows are not from {least} to {MOST}, as it takes to learn and to judge"


class Refit:
    """Gathers `rows` rows in which the detector is quiet, then makes one candidate. `by`: who asked; empty after a drift. `asked`:
    the candidate is being made."""

    def __init__(self, rows: int, by: str = "") -> None:
        self.rows, self.by, self.asked = rows, by, False
        self._parts: list[np.ndarray] = []
        self._starts = [0]  # rows before which others were left out
        self._n, self._left_out = 0, 0

    def gather(self, rows: np.ndarray, alarm: np.ndarray) -> bool:
        """Rows [n, c] and whether the alarm stands in each. True as soon as there are enough; what comes behind is let be."""
        quiet = np.flatnonzero(~alarm)[: self.rows - self._n]
        end = int(quiet[-1]) + 1 if self._n + len(quiet) == self.rows and len(quiet) else len(rows)
        rows, alarm = rows[:end], alarm[:end]
        self._left_out += len(rows) - len(quiet)
        cuts = np.flatnonzero(np.diff(quiet, prepend=-1) > 1)  # the row before is not among them
        self._starts += [self._n + int(cut) for cut in cuts]
        self._parts.append(rows[quiet])
        self._n += len(quiet)
        if len(rows) and alarm[-1]:
            self._starts.append(self._n)
        return self._n >= self.rows

    def candidate(self, settings: Settings, step: np.ndarray | float = 0.0) -> Candidate:
        """Learned from the first rows, judged by the last; `step` as of `fit`. Takes as long as a fit; touches nothing that others
        use."""
        rows = np.concatenate(self._parts)
        learned = round(len(rows) * (1 - HELD_OUT))
        try:
            scorer = Scorer(
                fit(rows[:learned], settings, tuple(s for s in sorted(set(self._starts)) if s < learned), step)
            )
        except ValueError as error:
            return Candidate(self, None, f"{learned} quiet rows teach nothing: {error}")
        false = int(scorer(rows[learned:])[1].sum())
        asked = len(rows) - learned
        words = f"from {learned} rows without an alarm ({self._left_out} with one were left out)"
        words += f"; in the next {asked} it alarms in {false}"
        return Candidate(self, scorer if false <= FALSE * asked else None, words)
