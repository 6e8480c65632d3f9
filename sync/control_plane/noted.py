"""What is known of the blocks of a stream without a look at their values.

A block is stored as it came; its note (see ledger.py) is made with the roll-up of its hour, off the path of devices. Until then the
block itself is asked, so that an answer is the same before and after. A block that has no note has the hour of its last sample in
`stale`. A question has to be one snapshot of the database (`Store.read`): between two a block would be neither here nor there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, exists, func, null, select

from edge import SECOND, CodecFault

from . import tables
from .ledger import LAST, note, parts_in, runs_in
from .promises import FOREVER

HOUR = 3600 * SECOND
LOOK_BACK = 10_000  # blocks that are searched for the sample that still stands


class Stream(NamedTuple):
    device: str
    epoch: str
    name: str


class Block(NamedTuple):
    """A block and its note."""

    epoch: str
    stream: str
    seq: int
    t0: int
    t1: int
    runs: bytes


class Span(NamedTuple):
    """The number of a block, and its first and last time (ns)."""

    seq: int
    t0: int
    t1: int


def unnoted() -> ColumnElement[bool]:
    """That a row of `block` has no note."""
    t, b = tables.ledger, tables.block
    return ~exists().where(*(t.c[name] == b.c[name] for name in ("device", "epoch", "stream", "seq")))


def blocks_of(
    connection: Connection, at: Stream, span: tuple[int, int], ids: Sequence[int], stands: int
) -> list[Block]:
    """The blocks of a stream that say something about these tags from `span[0]` to `span[1]` (ns), when a sample stands for at
    most `stands`. Those that have no note are noted now."""
    start, end = span
    since = start - stands if stands < FOREVER else start
    found = list(_rows(connection, at, since, end))
    if stands >= FOREVER:
        found += _before(connection, at, start, ids)
    return found


def _rows(connection: Connection, at: Stream, since: int, end: int) -> Iterator[Block]:
    t, b = tables.ledger, tables.block
    where = (*_own(t, at), t.c.t1 >= since, t.c.t0 < end)
    for row in connection.execute(select(t.c.seq, t.c.t0, t.c.t1, t.c.runs).where(*where)):
        yield Block(at.epoch, at.name, *row)
    yield from _now(connection, at, b.c.t1 >= since, b.c.t0 < end)


def _now(connection: Connection, at: Stream, *where: ColumnElement[bool]) -> Iterator[Block]:
    """Blocks without a note, noted."""
    b = tables.block
    wanted = select(b.c.seq, b.c.t0, b.c.t1, b.c.body).where(*_own(b, at), *where, unnoted())
    for seq, t0, t1, body in connection.execute(wanted.order_by(b.c.t1.desc()).execution_options(yield_per=100)):
        yield Block(at.epoch, at.name, seq, *noted(t0, t1, body))


def noted(t0: int, t1: int, body: bytes) -> tuple[int, int, bytes]:
    """The note of a block. One that cannot be read has no runs, and the times that it claims."""
    try:
        return note(body)
    except CodecFault:
        return t0, t1, b""


def _before(connection: Connection, at: Stream, start: int, ids: Sequence[int]) -> Iterator[Block]:
    """Backwards from `start` to the newest sample of these tags before it."""
    t, b = tables.ledger, tables.block
    since = _waiting(connection, at.device, at.name, at.epoch)
    if since is not None:
        yield from _now(connection, at, b.c.t1 >= since, b.c.t1 < start)
    newest = -1
    wanted = select(t.c.seq, t.c.t0, t.c.t1, t.c.runs).where(*_own(t, at), t.c.t1 < start)
    with connection.execute(wanted.order_by(t.c.t1.desc()).limit(LOOK_BACK)) as rows:
        for row in rows:
            block = Block(at.epoch, at.name, *row)
            if block.t1 < newest:
                return
            yield block
            ends = [int(runs[:, LAST].max()) for runs in runs_in(block.runs, ids).values()]
            newest = max([newest, *ends])


# Without the notes


def newest(connection: Connection, at: Stream) -> Span | None:
    """The block with the highest number."""
    return _edge(connection, at, max)


def below(connection: Connection, at: Stream, seq: int) -> Span | None:
    """The last block before that number."""
    return _edge(connection, at, max, lambda t: t.c.seq < seq)


def above(connection: Connection, at: Stream, seq: int) -> Span | None:
    """The first block after that number."""
    return _edge(connection, at, min, lambda t: t.c.seq > seq)


def _edge(
    connection: Connection, at: Stream, pick: Callable[..., Span | None], *where: Callable[[Table], ColumnElement[bool]]
) -> Span | None:
    found: list[Span] = []
    for t, own, parts in _known(connection, at.device, at.name, at.epoch):
        wanted = select(t.c.seq, t.c.t0, t.c.t1, parts).where(*own, *(one(t) for one in where))
        row = connection.execute(wanted.order_by(t.c.seq.desc() if pick is max else t.c.seq).limit(1)).first()
        found += _spans(row) if row else []
    return pick(found, key=lambda span: span.seq, default=None)


def _spans(row: Any) -> list[Span]:
    """What a block (number, first, last time, parts) is made of; itself."""
    return [Span(*row[:3])] if row[3] is None else [Span(*part) for part in parts_in(row[3]).tolist()]


def ended(connection: Connection, at: Stream, before: int) -> int | None:
    """The newest last time of a block, before that time (ns)."""
    found = []
    for t, own, parts in _known(connection, at.device, at.name, at.epoch):
        found.append(connection.scalar(select(func.max(t.c.t1)).where(*own, t.c.t1 < before)))
        found += [span.t1 for span in _across(connection, t, own, parts, before) if span.t1 < before]
    return _most(found)


def last_seen(connection: Connection, device: str, ts: int) -> int | None:
    """The newest sign of life of a device before `ts` (ns): an event, with which all samples before it became durable, or the first
    or last sample of a block. Of a block that goes on after `ts` only its first sample counts, and only for an hour."""
    a, e = tables.applied, tables.event
    seen = [connection.scalar(select(func.max(e.c.ts)).where(e.c.device == device, e.c.ts < ts, e.c.seq > 0))]
    streams = select(a.c.stream).where(a.c.device == device, a.c.stream.like("samples:%")).distinct()
    for stream in list(connection.scalars(streams)):
        for t, own, parts in _known(connection, device, stream):
            seen.append(connection.scalar(select(func.max(t.c.t1)).where(*own, t.c.t1 < ts)))
            for span in _across(connection, t, own, parts, ts):
                seen += [one for one in (span.t0, span.t1) if one < ts and span.t1 <= ts + HOUR]
    return _most(seen)


def _across(
    connection: Connection, t: Table, own: list[ColumnElement[bool]], parts: ColumnElement[Any], ts: int
) -> list[Span]:
    """What the blocks are made of that begin before that time and end up to two hours after it: one that was made of several ends
    up to one after each of them."""
    within = (t.c.t1 >= ts, t.c.t1 <= min(ts + 2 * HOUR, 2**63 - 1), t.c.t0 < ts)
    rows = connection.execute(select(t.c.seq, t.c.t0, t.c.t1, parts).where(*own, *within))
    return [span for row in rows for span in _spans(row)]


def _known(
    connection: Connection, device: str, stream: str, epoch: str | None = None
) -> Iterator[tuple[Table, list[ColumnElement[bool]], ColumnElement[Any]]]:
    """Where the blocks of a stream are told of, with what picks them, and the column of what each is made of."""
    t, b = tables.ledger, tables.block
    yield t, _of(t, device, stream, epoch), t.c.parts
    if (since := _waiting(connection, device, stream, epoch)) is not None:
        yield b, [*_of(b, device, stream, epoch), b.c.t1 >= since, unnoted()], null()


def _waiting(connection: Connection, device: str, stream: str, epoch: str | None) -> int | None:
    """From when on blocks may be without a note (ns); None where all have one."""
    hour = connection.scalar(select(func.min(tables.stale.c.hour)).where(*_of(tables.stale, device, stream, epoch)))
    return None if hour is None else max(hour * HOUR, -(2**63))


def _own(t: Table, at: Stream) -> list[ColumnElement[bool]]:
    return _of(t, at.device, at.name, at.epoch)


def _of(t: Table, device: str, stream: str, epoch: str | None) -> list[ColumnElement[bool]]:
    own = [t.c.device == device, t.c.stream == stream]
    return own if epoch is None else [*own, t.c.epoch == epoch]


def _most(times: Iterable[Any]) -> int | None:
    return max((one for one in times if one is not None), default=None)
