"""Rows that something is going to learn from, kept over a restart."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

KEPT = 2**17  # numbers, a megabyte: an hour of 36 tags once a second


class Gathered:
    """Rows of `columns` numbers; `starts`: where one does not follow the one before, in rising order."""

    def __init__(self, columns: int) -> None:
        self._parts = [np.empty((0, columns))]
        self._n = 0
        self.starts = [0]

    def __len__(self) -> int:
        return self._n

    def add(self, rows: np.ndarray) -> None:
        """Of [n, columns] that follow each other."""
        self._parts.append(rows)
        self._n += len(rows)

    def cut(self) -> None:
        """What comes next does not follow."""
        if self.starts[-1] < len(self):
            self.starts.append(len(self))

    def rows(self) -> np.ndarray:
        self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

    def as_json(self, most: int = KEPT) -> dict[str, Any]:
        """The first ones, as many as `most` numbers are."""
        rows = self.rows()[: most // self._parts[0].shape[1]]
        body = base64.b64encode(np.ascontiguousarray(rows, "<f8").tobytes()).decode()
        return {"rows": body, "starts": [start for start in self.starts if start <= len(rows)]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], columns: int) -> Gathered:
        """As it was, and cut. Raises ValueError for what is damaged, or has other columns."""
        body = base64.b64decode(document["rows"], validate=True)
        rows, starts = np.frombuffer(body, "<f8"), document["starts"]
        if rows.size % columns or not np.isfinite(rows).all():
            raise ValueError("damaged rows")
        found = cls(columns)
        found.add(rows.reshape(-1, columns).astype(float))
        sound = isinstance(starts, list) and all(type(start) is int for start in starts) and starts[:1] == [0]
        if not (sound and all(a < b for a, b in zip(starts, [*starts[1:], len(found) + 1], strict=True))):
            raise ValueError("damaged rows")
        found.starts = starts
        found.cut()
        return found
