"""Where the streams of devices stand here: what of each was taken or told, and how much of that one device can make."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from edge import CodecFault, Cursor, LinesideError

from . import tables
from .database import among, upsert, word

Place = tuple[str, str, str]  # device, epoch, stream
Span = tuple[int, int]  # first and last number
MOST_STREAMS, MOST_RANGES = 2_000, 1_000  # of a journal; of what lies above the watermark of one stream
TOLD = 0.25  # of these, what gap events may fill: the rest is for records
LARGEST = 2**63  # no number is
FURTHEST = 9 * 10**18  # ns from 1970; 64 bits hold it, and the hours around it
MOST_GAPS = 10_000  # gap events of a device that are looked through at once


class StoreFault(LinesideError):
    """The database refused; the device keeps everything and tries again."""

    heals = True


def stands(connection: Connection, device: str, epoch: str, *only: str) -> dict[str, Cursor]:
    """Where every stream of a journal stands, or `only` these."""
    t = tables.applied
    wanted = select(t.c.stream, t.c.watermark, t.c.ranges).where(t.c.device == device, t.c.epoch == epoch)
    rows = connection.execute(wanted.where(t.c.stream.in_(only)) if only else wanted)
    return {s: _cursor(w, r) for s, w, r in rows}


def covers(connection: Connection, device: str, epoch: str, stream: str, spans: Iterable[Span]) -> Cursor:
    """Mark spans of a stream as taken. Reads anew where it stands: a gap event may have moved its own stream. Raises
    CodecFault or StoreFault where a journal would have too many streams, or one of them too many holes."""
    cursor = _stood(connection, device, epoch, stream)
    cover(cursor, stream, spans)
    stand(connection, {(device, epoch, stream): cursor})
    return cursor


def told(connection: Connection, device: str, epoch: str, stream: str, spans: Iterable[Span]) -> None:
    """Mark spans of a stream as told, the lowest first. Those for which there is no room count later (`untold`): events are before
    samples, so to refuse them would hold up for ever what is to fill the room between. Raises CodecFault as `covers` does."""
    cursor = _stood(connection, device, epoch, stream)
    waiting = sorted(span for span in spans if span[1] > cursor.watermark)
    most = int(MOST_RANGES * TOLD)
    while waiting and (room := max(most - len(cursor.ranges), waiting[0][0] <= cursor.watermark + 1)) > 0:
        cursor.cover(waiting[:room])
        del waiting[:room]
    stand(connection, {(device, epoch, stream): cursor})


def untold(connection: Connection, device: str, epoch: str) -> dict[str, list[Span]]:
    """What gap events told of streams that have holes here and that does not count yet. It takes long where there are many: not for
    the writer."""
    found = stands(connection, device, epoch)
    waiting = {stream: list[Span]() for stream, cursor in found.items() if cursor.ranges}
    if waiting:
        t = tables.event
        gaps = select(t.c.data).where(t.c.device == device, t.c.kind == "gap", t.c.epoch == epoch)
        for data in connection.scalars(gaps.order_by(t.c.ts.desc(), t.c.seq.desc()).limit(MOST_GAPS)).all():
            stream, spans = gap_of(json.loads(data))
            if stream in waiting:
                waiting[stream] += spans
    lacks = {stream: [span for span in spans if not _counts(found[stream], *span)] for stream, spans in waiting.items()}
    return {stream: spans for stream, spans in lacks.items() if spans}


def _counts(cursor: Cursor, first: int, last: int) -> bool:
    k = bisect_right(cursor.ranges, (first, LARGEST)) - 1
    return last <= cursor.watermark or (k >= 0 and last <= cursor.ranges[k][1])


def anew(connection: Connection, device: str, epoch: str, waiting: Mapping[str, Iterable[Span]]) -> dict[str, Cursor]:
    """Where every stream of a journal stands once what waits (`untold`) is counted, as far as there is room."""
    for stream, spans in waiting.items():
        told(connection, device, epoch, stream, spans)
    return stands(connection, device, epoch)


def gap_of(data: Mapping[str, Any]) -> tuple[str, list[Span]]:
    """The stream that a gap event is about, and the numbers that its device gave up. Raises ValueError, TypeError."""
    first, last = whole(data.get("first", 0)), whole(data.get("last", 0))
    return word(data.get("stream", ""), 220), [(first, last)] if 0 < first <= last else []


def whole(number: Any) -> int:
    """A whole number as the database holds it. Raises ValueError, TypeError."""
    if not -(2**63) <= int(number) < 2**63:
        raise ValueError(f"{number} is beyond 64 bits")
    return int(number)


def _stood(connection: Connection, device: str, epoch: str, stream: str) -> Cursor:
    """Where a stream stands; at its beginning, if there is room for one more."""
    if (cursor := stands(connection, device, epoch, stream).get(stream)) is None:
        room_for(1, streams(connection, {device}).get((device, epoch), 0))
    return cursor or Cursor()


def streams(connection: Connection, devices: Collection[str]) -> dict[tuple[str, str], int]:
    """How many streams each journal of these devices has here, by device and epoch."""
    t = tables.applied
    wanted = select(t.c.device, t.c.epoch, func.count()).where(among(connection, t.c.device, devices))
    return {(d, e): n for d, e, n in connection.execute(wanted.group_by(t.c.device, t.c.epoch))}


def room_for(more: int, had: int) -> None:
    """Raises CodecFault where a journal that has so many streams would have more than any device has."""
    if had + more > MOST_STREAMS:
        raise CodecFault(f"{had + more} streams in one journal, at most {MOST_STREAMS:,} are taken")


def cover(cursor: Cursor, stream: str, spans: Iterable[Span]) -> None:
    """Raises StoreFault where so many numbers are missing in between that it would take long to know which: it may be taken once
    some of those are here or told."""
    before = cursor.watermark, cursor.ranges
    cursor.cover(spans)
    if len(cursor.ranges) > max(len(before[1]), MOST_RANGES):
        cursor.watermark, cursor.ranges = before
        raise StoreFault(f"{stream}: records are missing in more than {MOST_RANGES:,} places; send those first")


def fitting(cursor: Cursor, numbers: list[int]) -> list[int]:
    """The lowest of these numbers, in order, for which there is room in any case."""
    return numbers[: max(0, MOST_RANGES - len(cursor.ranges), numbers[0] <= cursor.watermark + 1)]


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
