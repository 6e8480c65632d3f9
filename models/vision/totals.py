"""How many parts a station has judged, as tags; and whether a lot of them is out of the ordinary, as events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edge import SECOND, Batch, Event, TagTable

from ..quality.lots import Lots
from .lines import TOTALS


class Totals:
    """`counts` by name, since the journal began; lots of `lot` seconds."""

    def __init__(self, stage: str, table: TagTable, lot: float, kept: Mapping[str, Any] | None = None) -> None:
        """`kept` as `snapshot()` said it. Raises KeyError where the site lacks a tag of them."""
        counts = (kept or {}).get("counts", {})
        self._lots = Lots(stage, round(lot * SECOND), (kept or {}).get("lots"))
        self._stage, self._table = stage, table
        self._tags = [table[f"{stage}.{name}"].id for name in TOTALS]
        self.counts = {name: int(counts.get(name, 0)) for name in TOTALS}
        self._told = dict(self.counts)

    def part(self, state: str) -> None:
        """One more part has its verdict."""
        self.counts["parts"] += 1
        self.counts[state] += 1
        self._lots.part(state)

    def snapshot(self) -> dict[str, Any]:
        """JSON can hold it."""
        return {"counts": self.counts, "lots": self._lots.snapshot()}

    def refused(self) -> None:
        self.counts["refused"] += 1

    def changed(self, utc: int, mono: int) -> Iterator[Batch]:
        """The totals, where they are others than when this was asked last."""
        if self.counts != self._told:
            self._told = dict(self.counts)
            yield Batch.of(self._stage, self._tags, [float(n) for n in self.counts.values()], utc, mono=mono)

    def ended(self, utc: int) -> Iterator[Event]:
        """What a lot tells that ended, at `utc` (ns) by our own clock: the PLC's may be hours off."""
        yield from self._lots.look(utc)
