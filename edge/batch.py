"""What flows most: columns of samples and their cause-coded quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np


class Quality(IntEnum):
    """Why a value is what it is, in rising order of distrust, so that the worst of several is their maximum.

    Only values up to ``CLOCK_UNSURE`` are judged by rules; everything above is shown and kept, never dressed as data.
    """

    GOOD = 0
    CLOCK_UNSURE = 1  # the value is right, its time stamp may not be
    LATE = 2  # arrived after newer data of the same tag: history only
    SUBSTITUTED = 3  # entered or held in place of a measurement
    RANGE = 4  # outside what the type or the sensor can express
    STALE = 5  # the source still answers, the value no longer moves as it must
    TIMEOUT = 6  # no answer
    EXCEPTION = 7  # the device said no
    BAD = 8  # anything else: not connected, contradictory answer


TRUSTED = int(Quality.CLOCK_UNSURE)  # plain: looking up a member and comparing with it costs as much as a column does
LATE = int(Quality.LATE)


def shown(value: float) -> str:
    """A value as people read it: at least six digits, and never fewer than stand before the point and one after it."""
    whole = math.floor(math.log10(abs(value))) + 1 if value and math.isfinite(value) else 0
    return f"{value:.{min(15, max(6, whole + 1))}g}"


def column(values: Any, dtype: type) -> np.ndarray:
    """A read-only contiguous column of `dtype`; copies only if it must."""
    out: np.ndarray = np.ascontiguousarray(values, dtype=dtype)
    if out.flags.writeable:
        if out is values:
            out = out.view()
        out.flags.writeable = False
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Immutable columns of `n` samples from one source.

    tag      int32[n]   tag ids of the journal
    ts       int64[n]   nanoseconds UTC, when the sample was taken
    value    float64[n] bits are 0 and 1, an enum its number, a text its id in the string table
    quality  uint8[n]   `Quality`
    mono     monotonic nanoseconds at which the batch entered the flow (0: the flow fills it in)

    A source that always sends the same tags in the same order should pass the *same* tag array each time: stages keep
    what they worked out for it by identity.
    """

    source: str
    tag: np.ndarray
    ts: np.ndarray
    value: np.ndarray
    quality: np.ndarray
    mono: int = 0
    _worst: int = field(default=-1, init=False, repr=False)

    @property
    def worst(self) -> int:
        """The least trusted quality in it; looked for once."""
        if self._worst < 0:
            object.__setattr__(self, "_worst", int(self.quality.max(initial=0)))
        return self._worst

    @classmethod
    def of(
        cls,
        source: str,
        tag: Sequence[int] | np.ndarray,
        value: Sequence[float] | np.ndarray,
        ts: int | Sequence[int] | np.ndarray,
        quality: int | Sequence[int] | np.ndarray = Quality.GOOD,
        mono: int = 0,
    ) -> Batch:
        """Build a batch; a single `ts` or `quality` holds for every sample. Raises ValueError on unequal lengths."""
        tag = column(tag, np.int32)
        value = column(value, np.float64)
        n = len(tag)
        stamps = column(ts if np.ndim(ts) else np.full(n, ts, np.int64), np.int64)
        flags = column(quality if np.ndim(quality) else np.full(n, quality, np.uint8), np.uint8)
        if not (len(value) == len(stamps) == len(flags) == n):
            raise ValueError(f"columns differ in length: {n} tags, {len(value)} values, {len(stamps)}, {len(flags)}")
        return cls(source, tag, stamps, value, flags, mono)

    def __len__(self) -> int:
        return len(self.tag)

    @property
    def nbytes(self) -> int:
        """Bytes the columns hold in memory."""
        return 21 * len(self.tag)

    def where(self, keep: np.ndarray | slice) -> Batch:
        """The samples picked by a boolean mask, an index array or a slice."""
        return Batch(self.source, self.tag[keep], self.ts[keep], self.value[keep], self.quality[keep], self.mono)

    def stamped(self, mono: int) -> Batch:
        """The same samples, marked as having entered the flow at `mono`."""
        return Batch(self.source, self.tag, self.ts, self.value, self.quality, mono)


def concatenate(batches: Sequence[Batch]) -> Batch:
    """One batch out of several of the same source, in the given order."""
    if len(batches) == 1:
        return batches[0]
    tag, ts, value, quality = (
        np.concatenate([getattr(b, name) for b in batches]) for name in ("tag", "ts", "value", "quality")
    )
    return Batch(batches[0].source, tag, ts, value, quality, batches[-1].mono)
