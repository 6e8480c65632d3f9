"""What the PLC says to a station: its tags as the scans bring them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from edge import TRUSTED, Batch, Quality


class Scanned:
    """`values`: by name, what each tag of the PLC says that can be trusted. `names` by tag number; `asked`: those without which
    the PLC is out of reach; each value is shown to `see`."""

    def __init__(self, names: Mapping[int, str], asked: Mapping[str, str], see: Callable[[str, float], None]) -> None:
        self._names, self._asked, self._see = names, asked.keys(), see
        self._numbers = np.array(sorted(names), np.int32)
        self.values: dict[str, float] = {}

    @property
    def whole(self) -> bool:
        """Whether the PLC says all that is asked of it."""
        return self.values.keys() >= self._asked

    def moments(self, batch: Batch) -> Iterator[int]:
        """The times (ns UTC) at which it said something, one after another; `values` are those of that time then."""
        mine = np.isin(batch.tag, self._numbers) & (batch.quality != Quality.LATE)
        for ts in np.unique(batch.ts[mine]):
            now = mine & (batch.ts == ts)
            self._take(batch.tag[now], batch.value[now], batch.quality[now])
            yield int(ts)

    def _take(self, tags: np.ndarray, values: np.ndarray, qualities: np.ndarray) -> None:
        for tag, value, quality in zip(tags.tolist(), values.tolist(), qualities.tolist(), strict=True):
            name = self._names[tag]
            if quality > TRUSTED or (not math.isfinite(value) and name not in ("part", "product")):
                self.values.pop(name, None)
            else:
                self.values[name] = value
                self._see(name, value)
