"""Where the streams of devices stand here: what of each was taken or told, and how much of that one device can make."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, func, select

from edge import CodecFault, Cursor, LinesideError

from . import tables
from .database import among, upsert

Place = tuple[str, str, str]  # device, epoch, stream
MOST_STREAMS, MOST_RANGES = 2_000, 1_000  # of a journal; of what lies above the watermark of one stream


class StoreFault(LinesideError):
    """The database refused; the device keeps everything and tries again."""

    heals = True


def stands(connection: Connection, device: str, epoch: str, *only: str) -> dict[str, Cursor]:
    """Where every stream of a journal stands, or `only` these."""
    t = tables.applied
    wanted = select(t.c.stream, t.c.watermark, t.c.ranges).where(t.c.device == device, t.c.epoch == epoch)
    rows = connection.execute(wanted.where(t.c.stream.in_(only)) if only else wanted)
    return {s: _cursor(w, r) for s, w, r in rows}


def covers(connection: Connection, device: str, epoch: str, stream: str, spans: Iterable[tuple[int, int]]) -> Cursor:
    """Mark spans of a stream as taken or told. Reads anew where it stands: a gap event may have moved its own stream. Raises
    CodecFault or StoreFault where a journal would have too many streams, or one of them too many holes."""
    cursor = stands(connection, device, epoch, stream).get(stream)
    if cursor is None:
        streams(connection, device, epoch, 1)
        cursor = Cursor()
    cover(cursor, stream, spans)
    stand(connection, {(device, epoch, stream): cursor})
    return cursor


def streams(connection: Connection, device: str, epoch: str, more: int) -> int:
    """How many streams a journal has here. Raises CodecFault where with `more` it would have more than any device has."""
    t = tables.applied
    had = connection.scalar(select(func.count()).where(t.c.device == device, t.c.epoch == epoch)) or 0
    if had + more > MOST_STREAMS:
        raise CodecFault(f"{had + more} streams in one journal, at most {MOST_STREAMS:,} are taken")
    return had


def cover(cursor: Cursor, stream: str, spans: Iterable[tuple[int, int]]) -> None:
    """Raises StoreFault where so many numbers are missing in between that it would take long to know which: it may be taken once
    some of those are here or told."""
    had = len(cursor.ranges)
    cursor.cover(spans)
    if len(cursor.ranges) > max(had, MOST_RANGES):
        raise StoreFault(f"{stream}: records are missing in more than {MOST_RANGES:,} places; send those first")


def cursors_of(connection: Connection, places: Collection[Place]) -> dict[Place, Cursor]:
    """Where these streams stand, and maybe others."""
    t = tables.applied
    found: dict[Place, Cursor] = {}
    listed = sorted(places)
    for k in range(0, len(listed), 500):
        columns = zip((t.c.device, t.c.epoch, t.c.stream), zip(*listed[k : k + 500], strict=True), strict=True)
        rows = connection.execute(select(t).where(*(among(connection, column, set(some)) for column, some in columns)))
        found |= {(d, e, s): _cursor(w, r) for d, e, s, w, r in rows}
    return found


def _cursor(watermark: int, ranges: str) -> Cursor:
    return Cursor(watermark, [(a, b) for a, b in json.loads(ranges)] if ranges != "[]" else [])


def stand(connection: Connection, cursors: dict[Place, Cursor]) -> None:
    rows = [
        {"device": d, "epoch": e, "stream": s, "watermark": cursor.watermark, "ranges": json.dumps(cursor.ranges)}
        for (d, e, s), cursor in sorted(cursors.items())
    ]
    upsert(connection, tables.applied, *rows)
