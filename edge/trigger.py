"""Pictures on demand: `trigger: plc.part_ready` writes the part number to `<camera>.trigger` on the rising edge."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pydantic import BaseModel

from .batch import TRUSTED, Batch
from .event import Write
from .stage import Item, Result, StatelessStage
from .tags import TagTable


class Trigger(StatelessStage):
    """Rising edge of one tag -> Write of the part number: the tag `part` of the same batch, or else a counter."""

    Config = BaseModel

    def __init__(self, source: str, table: TagTable, when: str, part: str | None = None) -> None:
        self._out = table[f"{source}.trigger"].id
        self._when, self._part = table[when].id, table[part].id if part else None
        self.inputs = frozenset({when, *([part] if part else [])})
        self.outputs = frozenset({f"{source}.trigger"})
        self._high = True  # a line that is high when we start is no edge
        self._number = 0
        self._last_part: float | None = None

    def __call__(self, item: Item) -> Iterable[Result]:
        if not isinstance(item, Batch):
            return
        trusted = item.quality <= TRUSTED
        for i in np.flatnonzero(trusted & ((item.tag == self._when) | (item.tag == (self._part or -1)))):
            if item.tag[i] != self._when:
                self._last_part = float(item.value[i])
                continue
            high = bool(item.value[i])
            rising, self._high = high and not self._high, high
            if rising:
                self._number += 1
                yield Write(self._out, self._of(item, int(item.ts[i])), cause="trigger")

    def _of(self, item: Batch, ts: int) -> float:
        if self._part is None:
            return float(self._number)
        same = np.flatnonzero((item.tag == self._part) & (item.ts == ts))
        return float(item.value[same[-1]]) if len(same) else self._last_part or 0.0

    def snapshot(self) -> bytes | None:
        return str(self._number).encode()

    def restore(self, state: bytes) -> None:
        self._number = int(state)
