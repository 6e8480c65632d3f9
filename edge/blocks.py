"""Blocks of a fast signal: many samples at once, at an even rate. What their bytes say, and what time each of them has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .batch import Batch, Quality
from .clock import SECOND
from .errors import AnswerContradicts

if TYPE_CHECKING:
    from .driver import Source

SampleType = Literal["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]
STATED = (
    SECOND // 500
)  # a block may begin by so much earlier or later than the last one ended, where it says itself when
ARRIVED = 2 * SECOND  # and where it does not: it comes later than it was taken
DRAWN = 0.1  # of a period, by which a block is drawn towards its own time
FARTHEST = 60 * SECOND  # of lost blocks, beyond which a number that jumped means nothing


def samples(
    body: bytes | memoryview, kind: SampleType, order: str, scale: float = 1.0, offset: float = 0.0
) -> np.ndarray:
    """float64[n] of bytes; `order` is little or big. Raises AnswerContradicts for bytes that are no whole number of samples."""
    of = np.dtype(kind).newbyteorder("<" if order == "little" else ">")
    if len(body) % of.itemsize:
        raise AnswerContradicts(f"{len(body)} bytes are no whole number of {kind}")
    raw = np.frombuffer(body, of).astype(np.float64)
    return raw if scale == 1 and offset == 0 else raw * scale + offset


class Blocks:
    """One fast signal of a source. Blocks follow one another without a gap: each begins where the one before ended, drawn by at
    most a tenth of a period towards its own time, so that a sensor's clock is followed and what came early or late moves nothing.
    One that is farther off begins anew (`restarted`); a `number` that rises by one tells how many were lost (`lost_blocks`)."""

    def __init__(self, source: Source, tag: int) -> None:
        self._source, self._tag = source, tag
        self._columns: dict[int, np.ndarray] = {}
        self._rate, self._next, self._n = 0.0, 0, 0  # the next block begins at `_next` (ns UTC, 0: nobody knows)
        self._number: int | None = None

    def __call__(
        self,
        value: np.ndarray,
        rate: float,
        came: int,
        start: int | None = None,
        number: int | None = None,
        numbers: int = 0,
        quality: Quality = Quality.GOOD,
    ) -> Batch | None:
        """The batch of float64[n] at `rate` Hz; None for a block that came twice. `start`: ns UTC of the first sample as the block
        says, else the last one was taken when it `came`. `number` of the block, which begins anew after `numbers` (0: never)."""
        n, period = len(value), SECOND / rate
        before, self._number = self._number, number
        if number is not None and number == before:
            self._source.count("repeated")
            return None
        if rate != self._rate:
            self._rate, self._next = rate, 0
        said = came - round((n - 1) * period) if start is None else start
        lost = 0 if number is None or before is None else number - before - 1
        first = self._begins(said, period, lost % numbers if numbers else lost, ARRIVED if start is None else STATED)
        self._next, self._n = first + round(n * period), n
        ts = first + np.round(np.arange(n) * period).astype(np.int64)
        flags = np.where(np.isfinite(value), quality, max(quality, Quality.BAD)).astype(np.uint8)
        return Batch.of(self._source.name, self._column(n), value, ts, flags)

    def _begins(self, said: int, period: float, lost: int, slack: int) -> int:
        """Where the block begins, ns UTC."""
        if not self._next:
            return said
        missing = round(lost * self._n * period)
        off = said - self._next - missing
        if 0 <= missing <= FARTHEST:
            self._source.count("lost_blocks", lost)
            if abs(off) <= slack:
                return self._next + missing + round(min(max(off, -DRAWN * period), DRAWN * period))
        self._source.count("restarted")
        return said

    def _column(self, n: int) -> np.ndarray:
        """The same array for each block of that length: what stages worked out for it is kept by identity."""
        if n not in self._columns:
            if len(self._columns) >= 16:
                self._columns.clear()
            column = np.full(n, self._tag, np.int32)
            column.flags.writeable = False
            self._columns[n] = column
        return self._columns[n]
