"""Values of rules by minutes, out of the blocks and events that are here.

A block never changes under its number but to take its neighbours in (compact.py), so what the minutes of one of so many samples
are is kept in memory, for the tags that rules read.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sqlalchemy import Connection, Select, bindparam, func, literal_column, select

from edge import TRUSTED, CodecFault, decode, log

from . import tables
from .rollup import HOUR, LONGEST, MINUTE
from .rule_options import ValueOptions

MOST_KEPT = 50_000  # minutes of blocks in memory, some 200 bytes each
AT_ONCE = 500

# Minutes of one tag are two arrays of one row each: int64 (minute, last trusted time ns or -1, trusted samples, others), and
# float64 (lowest, highest, total, last trusted).
Cells = tuple[np.ndarray, np.ndarray]
NOTHING: Cells = (np.zeros((0, 4), np.int64), np.zeros((0, 4)))


def of_block(body: bytes, number: int) -> Cells:
    """The minutes of one tag in a block. Raises CodecFault."""
    batch = decode("", body)
    batch = batch.where(batch.tag == number)
    good = (batch.quality <= TRUSTED) & np.isfinite(batch.value)
    ts = np.where(good, batch.ts, -1)
    whole = np.column_stack([batch.ts // MINUTE, ts, good, ~good]).astype(np.int64)
    value = batch.value
    return merged(
        [(whole, np.column_stack([np.where(good, value, other) for other in (np.inf, -np.inf, 0.0, np.nan)]))]
    )


def merged(parts: list[Cells]) -> Cells:
    """One row a minute, in order."""
    if not parts:
        return NOTHING
    whole, real = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(whole):
        return NOTHING
    order = np.lexsort((whole[:, 1], whole[:, 0]))
    whole, real = whole[order], real[order]
    first = np.flatnonzero(np.diff(whole[:, 0], prepend=whole[0, 0] - 1))
    last = np.append(first[1:], len(whole)) - 1
    counts = np.add.reduceat(whole[:, 2:], first, axis=0)
    low, high = np.minimum.reduceat(real[:, 0], first), np.maximum.reduceat(real[:, 1], first)
    total = np.add.reduceat(real[:, 2], first)
    return np.column_stack([whole[last, :2], counts]), np.column_stack([low, high, total, real[last, 3]])


def taken(cells: Cells, wanted: ValueOptions, first: int, end: int) -> np.ndarray:
    """float64[end - first]: the value for each minute; `cells` go back as far as `lead` says. A minute into which no sample fell
    has that of the last one, up to `stale_after` and unless that was one not to be trusted. Of a window at least half of the
    minutes and the last have to have values; each minute weighs the same."""
    window, start = round(wanted.over / 60), first - lead(wanted)
    n = end - start
    low, high, mean, last = (np.full(n, np.nan) for _ in range(4))
    stamp, bad = np.full(n, -1, np.int64), np.zeros(n, bool)
    keep = (cells[0][:, 0] >= start) & (cells[0][:, 0] < end)
    whole, real = cells[0][keep], cells[1][keep]
    good = whole[:, 2] > 0
    at, there = whole[good, 0] - start, real[good]
    low[at], high[at], mean[at], last[at] = there[:, 0], there[:, 1], there[:, 2] / whole[good, 2], there[:, 3]
    stamp[at], bad[whole[~good, 0] - start] = whole[good, 1], True
    index = np.arange(n)
    known = np.maximum.accumulate(np.where(stamp >= 0, index, -1))
    stands = (known >= 0) & (known > np.maximum.accumulate(np.where(bad, index, -1)))
    stands &= (start + index + 1) * MINUTE - stamp[known] <= max(wanted.stale_after * 1e9, MINUTE)
    fill = stands & (known != index)
    for column in (low, high, mean, last):
        column[fill] = last[known[fill]]
    if wanted.take == "last":
        return last[-(end - first) :]
    column = {"min": low, "max": high, "mean": mean}[wanted.take][-(end - first) - window + 1 :]
    spans = sliding_window_view(column, window)
    there = ~np.isnan(spans)
    fits = there[:, -1] & (2 * there.sum(axis=1) >= window)
    empty = {"min": np.inf, "max": -np.inf, "mean": 0.0}[wanted.take]
    filled = np.where(there, spans, empty)
    if wanted.take == "mean":
        value = filled.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    else:
        value = filled.min(axis=1) if wanted.take == "min" else filled.max(axis=1)
    return np.where(fits, value, np.nan)


def lead(wanted: ValueOptions) -> int:
    """How many minutes before the first one count."""
    return round(wanted.over / 60) - 1 + math.ceil(wanted.stale_after / 60)


@dataclass(frozen=True, slots=True)
class Home:
    """Where the samples of a tag are in one journal."""

    epoch: str
    number: int
    stream: str


def homes(connection: Connection, device: str, tag: str) -> list[Home]:
    t = tables.tag
    wanted = select(t.c.epoch, t.c.id, t.c.source).where(t.c.device == device, t.c.name == tag, t.c.type != "text")
    return [Home(epoch, number, f"samples:{source}") for epoch, number, source in connection.execute(wanted)]


def _within(*columns: str) -> Select[Any]:
    """Made once: to make it costs more than to ask it."""
    b = tables.block
    own = [b.c[name] == bindparam(name) for name in ("device", "stream", "epoch")]
    span = (b.c.t1 >= bindparam("first"), b.c.t1 < bindparam("far"), b.c.t0 < bindparam("end"))
    return select(*(b.c[name] for name in columns)).where(*own, *span)


HELD = _within("seq", "n")
BODIES = _within("seq", "body").where(tables.block.c.seq.in_(bindparam("some", expanding=True)))


class Minutes:
    """The minutes of tags, read from the database once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Home, int, int], Cells] = OrderedDict()
        self._many = 0

    def of(self, connection: Connection, device: str, places: Iterable[Home], first: int, end: int) -> Cells:
        """All minutes from `first` to `end` that blocks here hold something of, and some beside."""
        parts = []
        for home in places:
            own: dict[str, Any] = {"device": device, "stream": home.stream, "epoch": home.epoch}
            t0, t1 = first * MINUTE, end * MINUTE
            own |= {"first": t0, "end": t1, "far": t1 + LONGEST * HOUR}
            held = connection.execute(HELD, own)
            keys = {seq: (device, home, seq, n) for seq, n in held}
            lack = []
            for seq, key in keys.items():  # those in memory first: to load the others may push them out
                if (cells := self._kept.get(key)) is None:
                    lack.append(seq)
                else:
                    self._kept.move_to_end(key)
                    parts.append(cells)
            for k in range(0, len(lack), AT_ONCE):
                for seq, body in connection.execute(BODIES, {**own, "some": lack[k : k + AT_ONCE]}):
                    parts.append(self._keep(keys[seq], body))
        return merged(parts)

    def _keep(self, key: tuple[str, Home, int, int], body: bytes) -> Cells:
        try:
            cells = of_block(body, key[1].number)
        except CodecFault as error:
            log.warning("plane: a block of %s cannot be read: %s", key[0], error)
            cells = NOTHING
        self._kept[key] = cells
        self._many += 1 + len(cells[0])
        while self._many > MOST_KEPT and len(self._kept) > 1:
            self._many -= 1 + len(self._kept.popitem(last=False)[1][0])
        return cells


def counted(connection: Connection, device: str, wanted: ValueOptions, first: int, end: int) -> np.ndarray:
    """float64[end - first]: how many such events there were in the window before the end of each minute."""
    e, window = tables.event, round(wanted.over / 60)
    start = first - window + 1
    where = [e.c.device == device, e.c.kind == wanted.kind, e.c.ts >= start * MINUTE, e.c.ts < end * MINUTE]
    where += [column == said for column, said in ((e.c.key, wanted.key), (e.c.state, wanted.state)) if said]
    minute = e.c.ts.op("/")(literal_column(str(MINUTE)))
    found = np.zeros(end - start)
    for at, many in connection.execute(select(minute, func.count()).where(*where).group_by(minute)):
        found[int(at) - start] = many
    return sliding_window_view(found, window).sum(axis=1)
