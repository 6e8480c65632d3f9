"""What the plane no longer has of what it had acknowledged: it was restored from an older backup, or began anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from edge import Cursor, Event, decode_event

Span = tuple[int, int]  # first and last number


class Lack(NamedTuple):
    """`again` records are still here and can be sent again; the spans in `gone` are in neither place and no gap event tells of
    them; `until` (ns) is the time of the oldest record that is here after them, or 0."""

    again: int
    gone: list[Span]
    until: int


def holes(there: Cursor, upto: int) -> list[Span]:
    """What a cursor does not cover, up to a number."""
    out, at = [], there.watermark + 1
    for first, last in [*there.ranges, (upto + 1, upto + 1)]:
        if at <= min(first - 1, upto):
            out.append((at, min(first - 1, upto)))
        at = max(at, last + 1)
    return out


def lacking(db: Any, stream: str, there: Cursor, upto: int) -> Lack:
    """Compare a stream of the journal, delivered up to `upto`, with where the plane stands. On the journal's reading thread."""
    known = Cursor(there.watermark, list(there.ranges))
    again = until = 0
    for hole in holes(there, upto):
        held = list(_held(db, stream, hole))
        again += len(held)
        until = until or (held[0][1] if held else 0)
        for first, last in _runs(seq for seq, _ in held):
            known.add(first, last)
    for first, last in _told(db, stream):
        known.add(first, last)
    return Lack(again, holes(known, upto), until)


def newest(db: Any) -> dict[str, int]:
    """The last number that this journal gave, by stream."""
    last = dict(db.execute("SELECT name, seq FROM stream"))
    last["tag"] = next(db.execute("SELECT coalesce(max(id), 0) FROM tag"))[0]
    return last


def gap(stream: str, span: Span, until: int) -> Event:
    """The record of what the plane had, has no longer, and cannot be sent again."""
    data = {"stream": stream, "from": 0, "to": until, "samples": 0, "cause": "forgotten"}
    source = stream.removeprefix("samples:")
    text = f"records {span[0]} to {span[1]} of {source}: the plane had them and lost them, here their time was over"
    return Event(
        "gap", source, "forgotten", severity="medium", text=text, data={**data, "first": span[0], "last": span[1]}
    )


def _held(db: Any, stream: str, hole: Span) -> Iterable[tuple[int, int]]:
    if stream.startswith("samples:"):
        return db.execute(
            "SELECT seq, t0 FROM block WHERE stream = ? AND seq BETWEEN ? AND ? ORDER BY seq", (stream, *hole)
        )
    number, time = {"tag": ("id", "0"), "text": ("seq", "0")}.get(stream, ("seq", "ts"))
    return db.execute(f"SELECT {number}, {time} FROM {stream} WHERE {number} BETWEEN ? AND ? ORDER BY 1", hole)


def _runs(numbers: Iterable[int]) -> list[Span]:
    runs: list[Span] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], n)
        else:
            runs.append((n, n))
    return runs


def _told(db: Any, stream: str) -> Iterable[Span]:
    """Spans that a gap event in this journal tells of."""
    for (body,) in db.execute("SELECT body FROM event WHERE kind = 'gap'"):
        data = decode_event(body).data
        if data.get("stream") == stream and data.get("first", 0) > 0:
            yield data["first"], data["last"]
