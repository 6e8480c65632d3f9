"""Roll-ups: the lowest, highest and mean value of each tag in each minute, one row for each stream and hour.

Every block marks the hours it touches as stale, in its own transaction; a worker makes the roll-up of a stale hour once that is
over, and of the blocks that end in it fewer and their notes (see compact.py and noted.py), and takes the mark away. So each hour
that has samples is rolled up, or stale, or both, and a chart knows which samples to add.
A body is msgpack of [version, lowest, highest, mean, number of trusted samples], each a block of the codec with one sample for each
tag and minute. Means are float32. Where nothing was to be trusted, values are nan; the quality is the worst of the minute.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import numpy as np
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, select
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from edge import TRUSTED, Batch, CodecFault, LinesideError, decode, encode, log

from ..wire import Frame
from . import asset_marks, days, tables, unfiled, witness
from .compact import Compacted, Neighbours, Piece, possible
from .database import insert_new, upsert
from .days import LONGEST
from .ledger import parts_in
from .repeat import repeat

if TYPE_CHECKING:
    from .store import Store

VERSION = 1
MINUTE, HOUR = 60 * 10**9, 3600 * 10**9  # ns
SETTLED = 2 * MINUTE  # after the end of an hour, before its roll-up is made
EVERY, AT_ONCE = 30.0, 200  # seconds between looks, hours a look
MOST_CELLS = 2**20  # tags times minutes of one row
AT_A_TIME = 20  # blocks in memory; between two of these the database must not wait for FROZEN seconds

Place = Mapping[str, Any]  # device, epoch, stream, hour


class Made(NamedTuple):
    """An hour's roll-up (no body where there is nothing) and its samples; the blocks it was made of (number, samples), and what
    they become."""

    body: bytes
    n: int
    blocks: list[tuple[int, int]]
    compacted: Compacted


def mark(connection: Connection, blocks: Iterable[tuple[str, Frame]]) -> None:
    """Note that the hours of these blocks have new samples. In the transaction that stores them."""
    hours = {
        (device, f.epoch, f.stream, hour)
        for device, f in blocks
        for hour in range(first_hour(f.t0, f.t1), f.t1 // HOUR + 1)
    }
    names = ("device", "epoch", "stream", "hour")
    insert_new(connection, tables.stale, [dict(zip(names, hour, strict=True)) for hour in sorted(hours)])


def first_hour(t0: int, t1: int) -> int:
    """From which hour on a block of these times counts, up to that of its end."""
    return max(min(t0, t1) // HOUR, t1 // HOUR - LONGEST)


async def roll(store: Store) -> None:
    """Keep making what is stale. Runs until cancelled."""

    async def work() -> None:
        await store.write(days.ahead)
        while await roll_once(store, time.time_ns()) == AT_ONCE:
            pass

    await repeat(work, EVERY, "no roll-ups for now")


async def roll_once(store: Store, now: int) -> int:
    """Make the roll-ups of up to `AT_ONCE` hours that are stale and over; returns how many it looked at. One that cannot be made is
    given up, so that what one device sent holds up no other. Raises StoreFault, or what SQLAlchemy raises, of a database that is
    away."""
    t = tables.stale
    due = select(t).where(t.c.hour < (now - SETTLED) // HOUR).order_by(t.c.hour).limit(AT_ONCE)
    places, told = await store.read(lambda c: c.execute(due).mappings().all()), set[str]()
    for place in map(dict, places):
        try:
            found = await store.read(lambda c, p=place: made(c, p))  # type: ignore[misc]
            work = partial(_settled, place=place, found=found, told=told)
        except Exception as error:
            if _away(error):
                raise
            work = partial(_given_up, place=place, error=error, told=told)
        await store.write(work, place["device"])  # whose blocks and marks nobody else brings meanwhile
    return len(places)


def _away(error: Exception) -> bool:
    """Whether it is the database that fails, whatever it is asked; else it is what one device sent."""
    if isinstance(error, LinesideError):
        return error.heals
    return isinstance(error, SQLAlchemyError | OSError) and not isinstance(error, DataError | IntegrityError)


def made(connection: Connection, place: Place) -> Made:
    """What an hour of a stream comes to."""
    b, t = tables.block, tables.ledger
    start, parts, blocks, unread = place["hour"] * HOUR, [], [], []
    edges, looked = set[int](), set[int]()  # of what files hold, and of which hours
    neighbours = Neighbours(edges, witness.signs(connection, place["device"], place["epoch"]))
    same = [t.c[name] == b.c[name] for name in ("device", "epoch", "stream", "seq")]
    wanted = select(b, t.c.t0.label("from"), t.c.t1.label("to"), t.c.parts).outerjoin_from(b, t, and_(*same))
    rows = connection.execute(wanted.where(_within(place)).order_by(b.c.seq).execution_options(yield_per=AT_A_TIME))
    for row in rows.mappings():
        blocks.append((row["seq"], row["n"]))
        mine = row["t1"] < start + HOUR  # others belong to a later hour
        batch = Batch.of("", [], [], [])
        try:
            batch = decode("", row["body"])
            parts.append(_by_minute(batch, start))
        except CodecFault as error:
            log.warning("plane: a block of %s cannot be read: %s", place["device"], error)
        if mine and len(possible(batch)):
            for hour in set(range(first_hour(row["t0"], row["t1"]), place["hour"] + 1)) - looked:
                looked.add(hour)
                edges |= unfiled.edges(connection, place["device"], place["epoch"], place["stream"], hour)
            neighbours.add(_piece(row, batch))
        elif mine and row["from"] is None:
            unread.append({"seq": row["seq"], "t0": row["t0"], "t1": row["t1"], "runs": b"", "parts": None})
    neighbours.end()
    neighbours.found.notes.extend(unread)
    body, n = _body(parts, start)
    return Made(body, n, blocks, neighbours.found)


def _piece(row: RowMapping, batch: Batch) -> Piece:
    if row["from"] is None:
        parts = None
    elif row["parts"] is None:
        parts = np.array([(row["seq"], row["from"], row["to"])], np.int64)
    else:
        parts = parts_in(row["parts"])
    last = row["seq"] if row["last"] is None else row["last"]
    return Piece(row["seq"], last, row["t0"], row["t1"], batch, row["body"], parts)


@np.errstate(all="ignore")
def _body(parts: list[list[np.ndarray]], start: int) -> tuple[bytes, int]:
    """(roll-up, its samples) of the minutes of blocks."""
    cells = _reduced([np.concatenate(column) for column in zip(*parts, strict=True)]) if parts else []
    if not parts or not len(cells[0]) or len(cells[0]) > MOST_CELLS:
        return b"", 0
    tag, minute, low, high, total, n, worst = cells
    low[n == 0] = high[n == 0] = np.nan
    mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0).astype(np.float32).astype(float)
    ts = start + minute * MINUTE
    columns = [encode(Batch.of("", tag, column, ts, worst)) for column in (low, high, mean, n.astype(float))]
    return msgpack.packb([VERSION, *columns]), int(n.sum())


def _by_minute(batch: Batch, start: int) -> list[np.ndarray]:
    keep = (batch.ts >= start) & (batch.ts < start + HOUR)
    value, quality = batch.value[keep], batch.quality[keep]
    good = (quality <= TRUSTED) & ~np.isnan(value)
    columns = [np.where(good, value, other) for other in (np.inf, -np.inf, 0.0)]
    return _reduced([batch.tag[keep], (batch.ts[keep] - start) // MINUTE, *columns, good.astype(np.int64), quality])


def _reduced(cells: list[np.ndarray]) -> list[np.ndarray]:
    """One row for each (tag, minute): of columns tag, minute, low, high, total, number, worst quality."""
    if not len(cells[0]):
        return cells
    order = np.lexsort((cells[1], cells[0]))
    tag, minute, low, high, total, n, worst = (column[order] for column in cells)
    first = np.flatnonzero(np.concatenate(([True], (tag[1:] != tag[:-1]) | (minute[1:] != minute[:-1]))))
    sums = [np.add.reduceat(column, first) for column in (total, n)]
    least, most = np.minimum.reduceat(low, first), np.maximum.reduceat(high, first)
    return [tag[first], minute[first], least, most, *sums, np.maximum.reduceat(worst, first)]


def _within(place: Place) -> ColumnElement[bool]:
    """The blocks that touch an hour of a stream."""
    b, start = tables.block, place["hour"] * HOUR
    stream = (b.c.device == place["device"]) & (b.c.epoch == place["epoch"]) & (b.c.stream == place["stream"])
    first, after, last = (_held(ts) for ts in (start, start + HOUR, start + (LONGEST + 1) * HOUR - 1))
    return stream & (b.c.t1 >= first) & (b.c.t1 <= last) & (b.c.t0 < after)


def _held(ts: int) -> int:
    """A time as a database holds it: devices say what they like."""
    return min(max(ts, -(2**63)), 2**63 - 1)


def _settle(connection: Connection, place: Place, found: Made) -> None:
    """Keep what an hour came to, unless its blocks are no longer those. A roll-up of fewer samples than it had replaces nothing:
    they were forgotten."""
    b, t, s, key = tables.block, tables.rollup, tables.stale, dict(place)
    held = connection.execute(select(b.c.seq, b.c.n).where(_within(place)).order_by(b.c.seq))
    if [tuple(row) for row in held] != found.blocks:
        return
    had = connection.execute(select(t.c.n).where(*(t.c[name] == value for name, value in key.items()))).scalar()
    if found.body and found.n >= (had or 0):
        upsert(connection, t, {**key, "n": found.n, "body": found.body})
    _replace(connection, place, found.compacted)
    connection.execute(delete(s).where(*(s.c[name] == value for name, value in key.items())))
    for follows in (unfiled, asset_marks):
        follows.mark(connection, place["device"], place["hour"])


def _settled(connection: Connection, place: Place, found: Made, told: set[str]) -> None:
    try:
        with connection.begin_nested():
            _settle(connection, place, found)
    except Exception as error:
        if _away(error):
            raise
        _given_up(connection, place, error, told)


def _given_up(connection: Connection, place: Place, error: Exception, told: set[str]) -> None:
    """No roll-up of an hour: its blocks get bare notes, as those that cannot be read, and it waits no more. Said once for each
    device (`told`)."""
    if place["device"] not in told:
        told.add(place["device"])
        log.error("plane: no roll-up of %(device)s, %(stream)s, hour %(hour)s", place, exc_info=error)
    b, t, s = tables.block, tables.ledger, tables.stale
    key = {name: place[name] for name in ("device", "epoch", "stream")}
    ended = b.c.t1 < _held((place["hour"] + 1) * HOUR)
    rows = connection.execute(select(b.c.seq, b.c.t0, b.c.t1).where(_within(place), ended)).mappings()
    insert_new(connection, t, [{**key, **row, "runs": b"", "parts": None} for row in rows])
    connection.execute(delete(s).where(*(s.c[name] == value for name, value in place.items())))
    for follows in (unfiled, asset_marks):
        follows.mark(connection, place["device"], place["hour"])


def _replace(connection: Connection, place: Place, found: Compacted) -> None:
    """The large blocks in place of the small ones, and the notes of both."""
    b, t = tables.block, tables.ledger
    key = {name: place[name] for name in ("device", "epoch", "stream")}
    for k in range(0, len(found.gone), 500):
        some = found.gone[k : k + 500]
        connection.execute(delete(b).where(_within(place), b.c.seq.in_(some)))
        connection.execute(delete(t).where(*(t.c[name] == key[name] for name in key), t.c.seq.in_(some)))
    if found.blocks:
        connection.execute(b.insert(), [{**key, **row} for row in found.blocks])
    insert_new(connection, t, [{**key, **row} for row in found.notes])


# What a chart reads


def minutes(
    connection: Connection, stream: Place, tag: int, t0: int, t1: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(times ns, values) of a tag from its roll-ups that are not stale: the lowest and the highest of each minute, and nan after
    them where some samples of it are not to be trusted."""
    t = tables.rollup
    stale = {
        hour for first, last in missing(connection, stream, t0, t1) for hour in range(first // HOUR, last // HOUR + 1)
    }
    for hour, body in connection.execute(
        select(t.c.hour, t.c.body).where(*_hours(t, stream, t0, t1)).order_by(t.c.hour)
    ):
        if hour in stale:
            continue
        _, low, high, *_ = msgpack.unpackb(body)
        least, most = decode("", low), decode("", high)
        keep = (least.tag == tag) & (least.ts > t0 - MINUTE) & (least.ts <= t1)
        ts, doubted = least.ts[keep], least.quality[keep] > TRUSTED
        times = np.concatenate((ts, ts + MINUTE // 2, ts[doubted] + MINUTE - 1))
        values = np.concatenate((least.value[keep], most.value[keep], np.full(doubted.sum(), np.nan)))
        order = np.argsort(times, kind="stable")
        yield times[order], values[order]


def missing(connection: Connection, stream: Place, t0: int, t1: int) -> list[tuple[int, int]]:
    """The stretches (first and last ns) between two times whose samples are not rolled up yet."""
    t, runs = tables.stale, list[tuple[int, int]]()
    for hour in connection.execute(select(t.c.hour).where(*_hours(t, stream, t0, t1)).order_by(t.c.hour)).scalars():
        if runs and runs[-1][1] + 1 == hour * HOUR:
            runs[-1] = (runs[-1][0], (hour + 1) * HOUR - 1)
        else:
            runs.append((hour * HOUR, (hour + 1) * HOUR - 1))
    return runs


def _hours(t: Any, stream: Place, t0: int, t1: int) -> list[ColumnElement[bool]]:
    return [*(t.c[name] == value for name, value in stream.items()), t.c.hour >= t0 // HOUR, t.c.hour <= t1 // HOUR]
