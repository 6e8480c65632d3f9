"""The samples of one tag out of the ledger: runs where those say enough, single samples where blocks must be decoded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from sqlalchemy import Connection, select

from edge import CodecFault, decode

from . import tables
from .ledger import END, KIND, LAST, START, USABLE, WIDEST, columns, rank, runs_in
from .noted import Block
from .promises import FOREVER, Place, Promises

STANDS, FIRM, HOME = range(4, 7)  # columns of marks after those of runs: ns, ns, which tag of which block


def marks_of(
    connection: Connection,
    device: str,
    blocks: Iterable[Block],
    places: Sequence[Place],
    promises: Promises,
    broken: np.ndarray,
) -> np.ndarray:
    """int64[n, 7]: runs of a tag with what a sample stands for, in the order of time; what one claims ends where the next begins.
    `broken` as in `claims`."""
    homes: list[tuple[Block, Place]] = []
    parts: dict[Place, list[tuple[int, np.ndarray]]] = {}
    for block in blocks:
        for number, runs in runs_in(block.runs, [number for epoch, number in places if epoch == block.epoch]).items():
            parts.setdefault((block.epoch, number), []).append((len(homes), runs))
            homes.append((block, (block.epoch, number)))
    marks = _placed(parts, promises)
    doubtful = np.unique(marks[_doubtful(marks, promises, broken), HOME]).tolist()
    if not doubtful:
        return marks
    again: dict[Place, list[tuple[int, np.ndarray]]] = {}
    for home in doubtful:
        block, place = homes[home]
        again.setdefault(place, []).append((home, _samples(connection, device, block, place[1])))
    marks = np.concatenate([marks[~np.isin(marks[:, HOME], doubtful)], _placed(again, promises)])
    return _overruled(marks[_order(marks)])


def _placed(parts: Mapping[Place, Sequence[tuple[int, np.ndarray]]], promises: Promises) -> np.ndarray:
    """Marks, in order, of (home, runs) by place."""
    out = [np.zeros((0, 7), np.int64)]
    for place, found in parts.items():
        runs = np.concatenate([runs for _, runs in found])
        home = np.repeat([home for home, _ in found], [len(runs) for _, runs in found])
        out.append(np.column_stack([runs, *promises.stands(place, runs[:, LAST]), home]))
    marks = np.concatenate(out)
    return marks[_order(marks)]


def _order(marks: np.ndarray) -> np.ndarray:
    return np.lexsort((marks[:, STANDS], rank(marks[:, KIND]), marks[:, START]))


def _doubtful(marks: np.ndarray, promises: Promises, broken: np.ndarray) -> np.ndarray:
    """Which runs do not say enough: wider than a sample stands for, across a change of the promise, where more than the period
    counts and something speaks against it, or at the same time as one of another kind."""
    start, last, stands = marks[:, START], marks[:, LAST], marks[:, STANDS]
    turns = np.array(promises.turns, np.int64)
    doubt = (marks[:, WIDEST] > stands) & (stands > 0)
    doubt |= np.searchsorted(turns, start, side="right") != np.searchsorted(turns, last, side="right")
    doubt |= (stands > marks[:, FIRM]) & (_next_break(start, broken) <= last)
    doubt &= start < last
    _, sort = np.unique(marks[:, [KIND, STANDS, FIRM]], axis=0, return_inverse=True)
    sort = sort.ravel()
    for one in range(sort.max(initial=-1) + 1):
        own = sort == one
        ended = np.maximum.accumulate(np.where(own, last, -1))
        begins = np.minimum.accumulate(np.where(own, start, 2**62)[::-1])[::-1]
        doubt |= ~own & ((ended >= start) | (begins <= last))
    return doubt


def _samples(connection: Connection, device: str, block: Block, number: int) -> np.ndarray:
    """A block's samples of one tag, each as a run. Where the block itself is no longer here, the ends of its runs that count, and
    its other runs whole."""
    b = tables.block
    where = (b.c.device == device, b.c.epoch == block.epoch, b.c.stream == block.stream, b.c.seq == block.seq)
    body = connection.scalar(select(b.c.body).where(*where))
    with contextlib.suppress(CodecFault):
        if body is not None:
            batch = decode(block.stream, body)
            _, ts, kind = columns(batch.where(batch.tag == number))
            return np.column_stack([ts, ts, kind, np.zeros(len(ts), np.int64)])
    runs = runs_in(block.runs, [number])[number]
    counts = runs[:, KIND] == USABLE
    ends = runs[counts][:, [START, LAST]].ravel()
    runs = np.concatenate([np.column_stack([ends, ends, np.full((len(ends), 2), USABLE)]), runs[~counts]])
    runs[:, WIDEST] = 0
    return runs


def _overruled(marks: np.ndarray) -> np.ndarray:
    """What counts between the ends of a run that does not, whose samples are gone, counts no more: nothing says which was last."""
    other = marks[:, KIND] != USABLE
    last = np.where(other, marks[:, LAST], -1)
    furthest = np.maximum.accumulate(last)
    owner = np.maximum.accumulate(np.where(last == furthest, np.arange(len(last)), 0))
    marks[:, KIND] = np.where(~other & (furthest > marks[:, START]), marks[owner, KIND], marks[:, KIND])
    return marks


def claims(marks: np.ndarray, broken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From when until when (ns) each mark is the newest and stands. `broken` int64[b, 2], disjoint and in order, are times from and
    to which nothing stands for longer than by its period. Where one of the same kind began before and goes on, it does."""
    begin, last = marks[:, START], marks[:, LAST]
    if not len(marks):
        return begin, last
    held = np.maximum(last + marks[:, FIRM], _next_break(last, broken))
    until = np.minimum(last + marks[:, STANDS], held)
    furthest = np.maximum.accumulate(last)
    owner = np.maximum.accumulate(np.where(last == furthest, np.arange(len(last)), 0))
    until = np.where(marks[:, STANDS] > 0, until[owner], begin)
    return begin, np.minimum(until, np.append(begin[1:], END + FOREVER))


def _next_break(ts: np.ndarray, broken: np.ndarray) -> np.ndarray:
    """Where the first break that ends after each time begins."""
    return np.append(broken[:, 0], END + FOREVER)[np.searchsorted(broken[:, 1], ts, side="right")]
