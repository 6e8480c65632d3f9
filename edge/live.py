"""The newest value of every tag: what the live lane, the control socket and the status line show. Never durable."""

from __future__ import annotations

from typing import Any

import numpy as np

from .batch import LATE, TRUSTED, Batch, Quality
from .memo import PerColumn, Rows, joined
from .tags import TagTable
from .texts import TYPE


class Live:
    """Columns by tag slot, filled by each batch that passes the flow; `changed` holds what moved since `take()`."""

    def __init__(self, table: TagTable) -> None:
        self.table = table
        n = len(table)
        self.tag = np.array([tag.id for tag in table], np.int32)
        self.ts = np.zeros(n, np.int64)
        self.value = np.full(n, np.nan)
        self.quality = np.zeros(n, np.uint8)
        self._changed = np.zeros(n, bool)
        self._text = np.array([tag.type == TYPE for tag in table], bool)
        self._places = PerColumn(self._place)
        self.good: dict[str, int] = {}
        self.all: dict[str, int] = {}

    def _place(self, tag: np.ndarray) -> Rows | None:
        """Where a tag column goes; None where it has tags that are not active."""
        slots = self.table.slots(tag)
        return joined(slots) if slots.min(initial=0) >= 0 else None

    def __call__(self, batch: Batch) -> None:
        """Take a batch in; of several samples of one tag the last in the batch stays. Late ones are history only."""
        if batch.worst >= LATE and (batch.quality == LATE).any():
            batch = batch.where(batch.quality != LATE)
        slots = self._places(batch.tag)
        if slots is None:
            batch = batch.where(self.table.slots(batch.tag) >= 0)
            slots = self.table.slots(batch.tag)
        self.ts[slots] = batch.ts
        self.value[slots] = batch.value
        self.quality[slots] = batch.quality
        self._changed[slots] = True
        self.all[batch.source] = self.all.get(batch.source, 0) + len(batch)
        good = len(batch) if batch.worst <= TRUSTED else int(np.count_nonzero(batch.quality <= TRUSTED))
        self.good[batch.source] = self.good.get(batch.source, 0) + good

    def take(self, everything: bool = False, only: np.ndarray | None = None) -> Batch:
        """What changed since the last `take`, or every tag that was ever seen; with `only` (slots) of these alone. A text leaves
        when its string is durable: before that its number might be given to another one after a crash."""
        picked = np.flatnonzero(self.ts if everything else self._changed)
        if only is not None:
            picked = picked[np.isin(picked, only)]
        self._changed[slice(None) if only is None else picked] = False
        early = self._text[picked] & (self.value[picked] > self.table.texts.durable)
        self._changed[picked[early]] = True
        picked = picked[~early]
        return Batch.of("", self.tag[picked], self.value[picked], self.ts[picked], self.quality[picked])

    def carry(self, older: Live) -> None:
        """Take over what an older table knew, for the tags that are still there."""
        slots = self.table.slots(older.tag)
        kept = slots >= 0
        for name in ("ts", "value", "quality"):
            getattr(self, name)[slots[kept]] = getattr(older, name)[kept]
        self.good, self.all = dict(older.good), dict(older.all)

    def show(self, name: str) -> dict[str, Any]:
        """One tag as JSON: value (null where there is none; of a text its string), unit, quality by name, time in ns."""
        slot, tag = self.table.slot(name), self.table[name]
        value = float(self.value[slot])
        known = value if np.isfinite(value) else None
        return {
            "tag": name,
            "value": self.table.texts.show(value) if tag.type == TYPE else known,
            "label": "" if known is None or not known.is_integer() else tag.labels.get(int(known), ""),
            "unit": tag.unit,
            "quality": Quality(int(self.quality[slot])).name if self.ts[slot] else "STALE",
            "ts": int(self.ts[slot]),
        }
