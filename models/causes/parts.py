"""Parts as a table: the verdict of each, and what may have to do with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Column:
    """What was measured, or known, of each part: `value` float64[n], NaN where nobody knows. With `labels` it is one of a few
    names, and the value their place; with `ring` the last of them comes before the first, as hours do."""

    name: str
    value: np.ndarray
    unit: str = ""
    labels: tuple[str, ...] | None = None
    ring: bool = False

    def where(self, keep: np.ndarray) -> Column:
        return replace(self, value=self.value[keep])


@dataclass(frozen=True)
class Parts:
    """In the order in which they were made: `ts` int64[n] (ns UTC; 0 where no time is known), `ng` bool[n], and the `kind` of
    defect, "" where there is none. `left_out`: by name, why a column is not among `columns`."""

    ts: np.ndarray
    ng: np.ndarray
    kind: np.ndarray
    columns: Sequence[Column]
    left_out: dict[str, str]

    def __len__(self) -> int:
        return len(self.ng)


def named(name: str, said: Sequence[str]) -> Column:
    """A column of names, "" where nobody knows."""
    cells = np.array(said, object).astype(str)
    labels = np.unique(cells[cells != ""])
    value = (
        np.where(cells == "", np.nan, np.searchsorted(labels, cells)) if len(labels) else np.full(len(cells), np.nan)
    )
    return Column(name, value, labels=tuple(labels.tolist()))
