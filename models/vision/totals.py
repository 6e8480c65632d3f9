"""How many parts a station has judged, as tags."""

from __future__ import annotations

from collections.abc import Mapping

from edge import Batch, TagTable

from .lines import TOTALS


class Totals:
    """`counts` by name, since the journal began."""

    def __init__(self, stage: str, table: TagTable, counts: Mapping[str, int] | None = None) -> None:
        """Raises KeyError where the site lacks a tag of them."""
        self._stage, self._table = stage, table
        self._tags = [table[f"{stage}.{name}"].id for name in TOTALS]
        self.counts = {name: int((counts or {}).get(name, 0)) for name in TOTALS}
        self._told = dict(self.counts)

    def part(self, state: str) -> None:
        """One more part has its verdict."""
        self.counts["parts"] += 1
        self.counts[state] += 1

    def refused(self) -> None:
        self.counts["refused"] += 1

    def changed(self, utc: int, mono: int) -> list[Batch]:
        """The totals, where they are others than when this was asked last."""
        if self.counts == self._told:
            return []
        self._told = dict(self.counts)
        return [Batch.of(self._stage, self._tags, [float(n) for n in self.counts.values()], utc, mono=mono)]
