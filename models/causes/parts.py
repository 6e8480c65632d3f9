"""Parts as a table: the verdict of each, and what may have to do with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

CODES = 12  # different whole numbers at most: such a tag is a bit or a code, whose mean says nothing


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

    @cached_property
    def codes(self) -> np.ndarray | None:
        """Its few whole values float64[k], rising, where it may be a code as well as an amount; else None."""
        values = np.unique(self.value[np.isfinite(self.value)])
        few = 2 <= len(values) <= CODES and self.labels is None and not self.unit
        return values if few and (values == np.rint(values)).all() else None


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


def spelt(value: float) -> str:
    """A number as a name; whole ones with all their digits, since those of a lot differ in the last."""
    return f"{value + 0.0:.0f}" if value.is_integer() and abs(value) < 2**53 else f"{value:.15g}"


def named(name: str, said: Sequence[str]) -> Column:
    """A column of names, "" where nobody knows; those that are numbers in their order."""
    cells = np.array(said, object).astype(str)
    labels = np.unique(cells[cells != ""])
    value = (
        np.where(cells == "", np.nan, np.searchsorted(labels, cells)) if len(labels) else np.full(len(cells), np.nan)
    )
    try:
        order = np.argsort(labels.astype(float), kind="stable")
    except ValueError:
        return Column(name, value, labels=tuple(labels.tolist()))
    place = np.append(np.argsort(order), np.nan)  # the last for what nobody knows
    value = place[np.where(np.isnan(value), -1, value).astype(np.int64)]
    return Column(name, value, labels=tuple(labels[order].tolist()))
