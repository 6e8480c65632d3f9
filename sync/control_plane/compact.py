"""Many small blocks of an hour that is over become one: a third less is kept, one row stands where there were hundreds, and a chart
reads it in a tenth of the time.

Only neighbours become one: what has a number missing between it and the next stays apart, since a hole has a place, and so does
what a Parquet file holds from what it does not (see filing.py). Values, times,
qualities, and the order within a tag stay as they came, which is looked at before the small ones go. A number that comes again is
known by the cursor of its stream, which stays as it is. Where the device signs its records (see evidence.py), only what can be
taken apart again to the same bytes becomes one. What a block ends and begins at is kept in the note of the large one
(`parts`), so that every answer about completeness is the same before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, NamedTuple

import numpy as np

from edge import Batch, CodecFault, concatenate, content, decode, encode, pieces

from .ledger import END, note, packed_parts

MOST = 100_000  # samples of a block; a larger one stays as it is


class Piece(NamedTuple):
    """A block of the hour: the numbers that it holds, the times that its row says, its samples, and the number and the times of
    each block that it is made of, int64[k, 3]; none of those where it has no note yet."""

    first: int
    last: int
    t0: int
    t1: int
    batch: Batch
    body: bytes
    parts: np.ndarray | None


class Compacted(NamedTuple):
    """Rows of `block` that come, numbers of those that go, and notes that come (rows of `ledger`; theirs go)."""

    blocks: list[dict[str, Any]]
    gone: list[int]
    notes: list[dict[str, Any]]


class Neighbours:
    """Takes blocks in the order of their numbers; what becomes of them is in `found` after `end()`. One whose number is in `edges`
    is not joined to those before it. `signed`: what is joined has to come apart again as it was."""

    def __init__(self, edges: Set[int] = frozenset(), signed: bool = False) -> None:
        self.found, self._edges, self._signed = Compacted([], [], []), edges, signed
        self._run: list[Piece] = []
        self._many = 0  # samples of them

    def add(self, piece: Piece) -> None:
        run = self._run
        apart = bool(run) and (piece.first != run[-1].last + 1 or piece.first in self._edges)
        apart = apart or (self._signed and any(piece.t0 <= one.t1 for one in run[-1:]))
        if apart or self._many + len(piece.batch) > MOST:
            self.end()
        self._run.append(piece)
        self._many += len(piece.batch)

    def end(self) -> None:
        run, self._run, self._many = self._run, [], 0
        body = _joined([piece.batch for piece in run]) if len(run) > 1 else b""
        if body and self._signed and not _comes_apart(run, body):
            body = b""
        if not body:
            self.found.notes.extend(_note(piece.first, piece.body) for piece in run if piece.parts is None)
            return
        parts = np.concatenate([_parts(piece) for piece in run])
        self.found.notes.append(_note(run[0].first, body, packed_parts(parts)))
        self.found.gone.extend(piece.first for piece in run)
        times = {"t0": min(piece.t0 for piece in run), "t1": max(piece.t1 for piece in run)}
        numbers = {"seq": run[0].first, "last": run[-1].last, "n": sum(len(piece.batch) for piece in run)}
        self.found.blocks.append({**numbers, **times, "body": body})


def apart(body: bytes, parts: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """The blocks that one was made of (number, bytes), by their times; as they came where those do not overlap."""
    whole = decode("", body)
    for seq, t0, t1 in parts.tolist():
        yield seq, encode(whole.where((whole.ts >= t0) & (whole.ts <= t1)))


def _comes_apart(run: list[Piece], body: bytes) -> bool:
    came: list[tuple[int, bytes]] = []
    for piece in run:
        alone = piece.parts is None or len(piece.parts) == 1
        came += [(piece.first, piece.body)] if alone else apart(piece.body, piece.parts)  # type: ignore[arg-type]
    again = list(apart(body, np.concatenate([_parts(piece) for piece in run])))
    return [(seq, content(one)) for seq, one in came] == [(seq, content(one)) for seq, one in again]


def _note(seq: int, body: bytes, parts: bytes | None = None) -> dict[str, Any]:
    return {"seq": seq, **dict(zip(("t0", "t1", "runs"), note(body), strict=True)), "parts": parts}


def _parts(piece: Piece) -> np.ndarray:
    if piece.parts is not None:
        return piece.parts
    ts = possible(piece.batch)
    return np.array([(piece.first, ts.min(), ts.max())], np.int64)


def possible(batch: Batch) -> np.ndarray:
    """The times of its samples that a clock can have said."""
    return batch.ts[(batch.ts >= 0) & (batch.ts < END)]


def _joined(batches: list[Batch]) -> bytes:
    """One block of several, or none where that would not say the same."""
    whole = concatenate(batches)
    if sum(1 for _ in pieces(whole)) != 1:
        return b""
    body = encode(whole)
    try:
        again = decode("", body)
    except CodecFault:
        return b""
    a, b = (np.argsort(batch.tag, kind="stable") for batch in (whole, again))
    same = all(
        getattr(whole, name)[a].tobytes() == getattr(again, name)[b].tobytes()
        for name in ("tag", "ts", "value", "quality")
    )
    return body if same else b""
