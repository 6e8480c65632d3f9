"""Learning anew while it runs: from rows without an alarm, and judged by the last of them before it takes over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .baseline import Settings, fit
from .gathered import KEPT, Gathered
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

    def __init__(self, rows: int, columns: int, by: str = "") -> None:
        self.rows, self.by, self.asked = rows, by, False
        self._found = Gathered(columns)  # cut where others were left out
        self._left_out = 0

    def cut(self) -> None:
        """What comes next does not follow."""
        self._found.cut()

    def as_json(self, most: int = KEPT) -> dict[str, Any]:
        return {"of": self.rows, "by": self.by, "left_out": self._left_out, **self._found.as_json(most)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], columns: int) -> Refit:
        """Raises ValueError for one that is damaged."""
        found = cls(int(document["of"]), columns, str(document["by"]))
        found._found, found._left_out = Gathered.from_json(document, columns), int(document["left_out"])
        return found

    def gather(self, rows: np.ndarray, alarm: np.ndarray) -> bool:
        """Rows [n, c] and whether the alarm stands in each. True as soon as there are enough; what comes behind is let be."""
        found = len(self._found)
        quiet = np.flatnonzero(~alarm)[: self.rows - found]
        end = int(quiet[-1]) + 1 if found + len(quiet) == self.rows and len(quiet) else len(rows)
        rows, alarm = rows[:end], alarm[:end]
        self._left_out += len(rows) - len(quiet)
        for part in np.split(quiet, np.flatnonzero(np.diff(quiet) > 1) + 1):
            if len(part) and part[0]:  # the row before is not among them
                self._found.cut()
            self._found.add(rows[part])
        if len(rows) and alarm[-1]:
            self._found.cut()
        return len(self._found) >= self.rows

    def candidate(self, settings: Settings, step: np.ndarray | float = 0.0) -> Candidate:
        """Learned from the first rows, judged by the last; `step` as of `fit`. Takes as long as a fit; touches nothing that others
        use."""
        rows = self._found.rows()
        learned = round(len(rows) * (1 - HELD_OUT))
        try:
            scorer = Scorer(fit(rows[:learned], settings, tuple(s for s in self._found.starts if s < learned), step))
        except ValueError as error:
            return Candidate(self, None, f"{learned} quiet rows teach nothing: {error}")
        false = int(scorer(rows[learned:])[1].sum())
        asked = len(rows) - learned
        words = f"from {learned} rows without an alarm ({self._left_out} with one were left out)"
        words += f"; in the next {asked} it alarms in {false}"
        return Candidate(self, scorer if false <= FALSE * asked else None, words)
