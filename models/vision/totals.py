"""How many parts a station has judged and what was measured on the last one, as tags; and whether a lot of them is out of the
ordinary, as events."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edge import SECOND, Batch, Event, Quality, TagTable

from ..quality.lots import Lots
from .lines import TOTALS


class Totals:
    """`counts` by name, since the journal began; lots of `lot` seconds; `measured` by the name of its tag."""

    def __init__(
        self,
        stage: str,
        table: TagTable,
        lot: float,
        measured: Mapping[str, str],
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        """`kept` as `snapshot()` said it. Raises KeyError where the site lacks a tag of them."""
        counts = (kept or {}).get("counts", {})
        self._lots = Lots(stage, round(lot * SECOND), (kept or {}).get("lots"))
        self._stage, self._table = stage, table
        self._tags = [table[f"{stage}.{name}"].id for name in (*TOTALS, *measured)]
        self._measured, self._last = list(measured.values()), [math.nan] * len(measured)
        self.counts = {name: int(counts.get(name, 0)) for name in TOTALS}
        self._told = dict(self.counts)

    def part(self, state: str, measured: Mapping[str, float]) -> None:
        """One more part has its verdict; what was not `measured` on it has no good value."""
        self._last = [measured.get(name, math.nan) for name in self._measured]
        self.counts["parts"] += 1
        self.counts[state] += 1
        self._lots.part(state)

    def snapshot(self) -> dict[str, Any]:
        """JSON can hold it."""
        return {"counts": self.counts, "lots": self._lots.snapshot()}

    def refused(self) -> None:
        self.counts["refused"] += 1

    def changed(self, utc: int, mono: int) -> Iterator[Batch]:
        """The totals, where they are others than when this was asked last, and with one more part what was measured on it: whoever
        waits for the count finds both of one moment."""
        if self.counts != self._told:
            many = len(self._tags) if self.counts["parts"] != self._told["parts"] else len(TOTALS)
            self._told = dict(self.counts)
            value = np.array([*map(float, self.counts.values()), *self._last])[:many]
            quality = np.where(np.isnan(value), Quality.BAD, Quality.GOOD).astype(np.uint8)
            yield Batch.of(self._stage, self._tags[:many], value, utc, quality, mono=mono)

    def ended(self, utc: int) -> Iterator[Event]:
        """What a lot tells that ended, at `utc` (ns) by our own clock: the PLC's may be hours off."""
        yield from self._lots.look(utc)
