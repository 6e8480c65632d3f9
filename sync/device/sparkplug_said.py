"""What a host was told already: report by exception, and nothing twice. Columns; knows no broker."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from edge import Batch, TagTable

from .sparkplug_payload import seen

MOST_SAID = 1_000_000  # samples of a source that are remembered; those before them would only be said again


class Said:
    """Which samples went out live, until the block that holds them has passed; and the last of each tag, to see what changed."""

    def __init__(self) -> None:
        self._pairs: dict[str, deque[tuple[np.ndarray, np.ndarray]]] = {}  # by source: tags and times
        self._last: dict[str, np.ndarray] = {}
        self._table: TagTable | None = None

    def saw(self, live: Any, slots: np.ndarray) -> None:
        """These were told as they stand."""
        self._fit(live)
        last = self._last
        last["value"][slots], last["quality"][slots] = seen(live.value[slots], live.quality[slots])

    def news(self, live: Any) -> np.ndarray:
        """Slots whose value or quality a host would see as another one than was told last; they count as told from now on."""
        self._fit(live)
        last = self._last
        changed = _differs(*seen(live.value, live.quality), last["value"], last["quality"]) & (live.ts > 0)
        found = np.flatnonzero(changed)
        self.saw(live, found)
        return found

    def _fit(self, live: Any) -> None:
        if self._table is not live.table:
            n = len(live.table)
            self._table, self._last = live.table, unknown(n)

    def add(self, source: str, tag: np.ndarray, ts: np.ndarray) -> None:
        """The broker has these."""
        pairs = self._pairs.setdefault(source, deque())
        pairs.append((tag.copy(), ts.copy()))
        while len(pairs) > 1 and sum(len(column) for column, _ in pairs) > MOST_SAID:
            pairs.popleft()

    def has(self, source: str, batch: Batch) -> np.ndarray:
        """bool[n]: which samples of a batch went out live."""
        pairs = self._pairs.get(source)
        if not pairs or not len(batch):
            return np.zeros(len(batch), bool)
        t0, t1 = int(batch.ts.min()), int(batch.ts.max())
        tag, ts = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
        inside = (ts >= t0) & (ts <= t1)
        width = int(max(batch.tag.max(), tag.max())) + 1
        if (t1 - t0 + 1) * width >= 2**63:  # longer than any block: what is said again does no harm
            return np.zeros(len(batch), bool)
        ours = (batch.ts - t0) * width + batch.tag
        return np.isin(ours, (ts[inside] - t0) * width + tag[inside])

    def forget(self, source: str, before: int) -> None:
        """A block that began then has passed."""
        pairs = self._pairs.get(source, deque())
        while pairs and int(pairs[0][1].max(initial=0)) < before:
            pairs.popleft()


class Told:
    """The last value and quality of each tag in the order of the journal."""

    def __init__(self, n: int) -> None:
        columns = unknown(n)
        self.value, self.quality = columns["value"], columns["quality"]

    def copy(self) -> Told:
        out = Told(0)
        out.value, out.quality = self.value.copy(), self.quality.copy()
        return out

    def forget(self, slots: np.ndarray) -> None:
        """Whatever comes next of these is news."""
        self.value[slots], self.quality[slots] = np.nan, 255

    def under(self, old: TagTable, new: TagTable) -> Told:
        """The same for the tags of another table."""
        out = Told(len(new))
        slots = old.slots(np.array([tag.id for tag in new], np.int64))
        kept = slots >= 0
        out.value[kept], out.quality[kept] = self.value[slots[kept]], self.quality[slots[kept]]
        return out

    def news(self, slots: np.ndarray, batch: Batch) -> np.ndarray:
        """bool[n]: which samples a host sees differ from the one of the same tag before them. Remembers the last of each."""
        order = np.argsort(slots, kind="stable")
        at, (value, quality) = slots[order], seen(batch.value[order], batch.quality[order])
        first = np.diff(at, prepend=-2) != 0
        before = np.maximum(np.arange(len(at)) - 1, 0)
        old_value = np.where(first, self.value[at], value[before])
        old_quality = np.where(first, self.quality[at], quality[before])
        news = np.zeros(len(at), bool)
        news[order] = _differs(value, quality, old_value, old_quality)
        last = np.append(first[1:], True) if len(at) else first
        known = last & (at >= 0)
        self.value[at[known]], self.quality[at[known]] = value[known], quality[known]
        return news


def unknown(n: int) -> dict[str, np.ndarray]:
    """Columns that differ from any sample."""
    return {"value": np.full(n, np.nan), "quality": np.full(n, 255, np.uint8)}


def _differs(value: np.ndarray, quality: np.ndarray, old_value: np.ndarray, old_quality: np.ndarray) -> np.ndarray:
    same = (value == old_value) | (np.isnan(value) & np.isnan(old_value))
    return ~same | (quality != old_quality)
