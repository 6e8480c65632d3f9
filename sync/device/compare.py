"""What the plane no longer has of what it had acknowledged: it was restored from an older backup, or began anew. And what it has
that this journal never gave, or has forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgpack

from edge import Cursor, DeviceLost, Event, LinesideError, gaps_told, kept_snapshots, lack, last_numbers

NAME = "sync"  # of the reader
BEGAN = "sync:began"  # among the journal's snapshots: its last numbers at the first start since the plane was asked; empty: it was
Span = tuple[int, int]  # first and last number


async def begun(journal: Any) -> None:
    """At a start: remember how far the journal goes, until the plane was asked what it has. What was remembered before is of no
    use where the plane has taken more since: by a release that does not know of this."""
    if journal.began is None:
        return
    kept = await _kept(journal)
    known = msgpack.unpackb(kept) if kept else {}
    taken = (await journal.cursors(NAME)).items()
    if kept and all(cursor.watermark <= known.get(stream, 0) for stream, cursor in taken if stream != "commands"):
        journal.began = known
    else:
        journal.append(snapshots={BEGAN: msgpack.packb(journal.began)})


async def _kept(journal: Any) -> bytes:
    return bytes((await journal.ask(kept_snapshots)).get(BEGAN, b""))


async def check(journal: Any, stands: dict[str, Cursor]) -> None:
    """Raises LinesideError where the plane has records of this journal that it has not: it was copied back from a backup, so that
    what it says by now is another thing under the same numbers. It may have grown past those of the plane since, so the first time
    after a start what counts is how far it went before anything was sent."""
    known = await journal.ask(last_numbers) if journal.began is None else journal.began
    for stream, there in stands.items():
        if there.last() > known.get(stream, 0):
            raise LinesideError(
                f"the plane holds {stream} {there.last()} of this journal, which itself ended at {known.get(stream, 0)}",
                hint="the journal was copied back from a backup; move journal.db away and restart: a new one begins",
            )
    if journal.began is None:
        return
    journal.append(snapshots={BEGAN: b""})
    await journal.commit()
    if await _kept(journal):  # else what is sent now would count as the plane's own after a power cut
        raise DeviceLost("the journal cannot be written")
    journal.began = None


def holes(there: Cursor, upto: int) -> list[Span]:
    """What a cursor does not cover, up to a number."""
    out, at = [], there.watermark + 1
    for first, last in [*there.ranges, (upto + 1, upto + 1)]:
        if at <= min(first - 1, upto):
            out.append((at, min(first - 1, upto)))
        at = max(at, last + 1)
    return out


def behind(db: Any, given: dict[str, Cursor], stands: dict[str, Cursor]) -> tuple[dict[str, Cursor], list[Event]]:
    """Compare what the plane had acknowledged, `given`, with where it `stands`: cursors that go back, so that what is here is sent
    again, and gap events of what is in neither place and was not told of before; both empty where it lacks nothing."""
    back: dict[str, Cursor] = {}
    told: list[Event] = []
    again = 0
    for stream, cursor in given.items():
        there = stands.get(stream, Cursor())
        if stream == "commands" or there.watermark >= cursor.watermark:
            continue
        here, gone = lacking(db, stream, there, cursor.watermark)
        told += [gap(stream, span) for span in gone]
        if here:
            again += here
            back[stream] = Cursor(
                there.watermark, [(a, min(b, cursor.watermark)) for a, b in there.ranges if a <= cursor.watermark]
            )
    if not (again or told):
        return {}, []
    missing = sum(event.data["last"] - event.data["first"] + 1 for event in told)
    words = f"the plane lacks {again + missing} records that it had acknowledged: was it restored from a backup? "
    words += f"{again} are sent again, {missing} are no longer here"
    return back, [*told, Event("reader", NAME, "behind", severity="medium", text=words)]


def lacking(db: Any, stream: str, there: Cursor, upto: int) -> tuple[int, list[Span]]:
    """Of what the plane lacks of a stream up to `upto`: how many records are here, and the spans that are in neither place and of
    which no gap event tells."""
    known = Cursor(there.watermark, list(there.ranges))
    again = 0
    for hole in holes(there, upto):
        held = [seq for (seq,) in _held(db, stream, hole)]
        again += len(held)
        known.cover(_runs(held))
    known.cover(gaps_told(db, stream))
    return again, holes(known, upto)


def gap(stream: str, span: Span) -> Event:
    """The record of what the plane had, has no longer, and cannot be sent again. Nobody knows its times any longer: 0."""
    source = stream.removeprefix("samples:")
    text = f"records {span[0]} to {span[1]} of {source}: the plane had them and lost them, here their time was over"
    return lack(0, stream, (*span, 0, 0, 0), "forgotten", text)


def _held(db: Any, stream: str, hole: Span) -> Iterable[tuple[int]]:
    if stream.startswith("samples:"):
        return db.execute(
            "SELECT seq FROM block WHERE stream = ? AND seq BETWEEN ? AND ? ORDER BY seq", (stream, *hole)
        )
    number = "id" if stream == "tag" else "seq"
    return db.execute(f"SELECT {number} FROM {stream} WHERE {number} BETWEEN ? AND ? ORDER BY 1", hole)


def _runs(numbers: Iterable[int]) -> list[Span]:
    runs: list[Span] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], n)
        else:
            runs.append((n, n))
    return runs
