"""What leaves the journal, and the gap record that says so."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

import apsw

from .event import Event

FILL = 0.9  # of `at_most`: eviction starts here and ends 5 % lower
STEP = 64  # rows a turn


def gap(utc: int, source: str, t0: int, t1: int, n: int, cause: str, first: int = 0, last: int = 0) -> Event:
    """The delivered record of samples that are not there: `first`..`last` are block numbers, 0 where none was sealed."""
    return _gap(utc, f"samples:{source}", source, t0, t1, n, cause, first, last)


def _gap(utc: int, stream: str, key: str, t0: int, t1: int, n: int, cause: str, first: int, last: int) -> Event:
    data = {
        "stream": stream,
        "from": t0,
        "to": t1,
        "samples": n,
        "cause": cause,
        "first": first,
        "last": last,
    }
    what = f"{n} samples of {key}" if stream.startswith("samples:") else f"record {first} of {stream}"
    return Event("gap", key, cause, utc, "medium", f"{what} were given up: {cause}", data)


def unkept(utc: int, stream: str, n: int) -> Event:
    """The record of events or pictures that never became durable and gave way to newer ones; they had no number yet."""
    data = {"stream": stream, "from": 0, "to": utc, "samples": n, "cause": "journal_full", "first": 0, "last": 0}
    text = f"{n} {stream}s were given up: journal_full"
    return Event("gap", stream, "journal_full", utc, "medium", text, data)


def quarantine(db: apsw.Connection, damaged: Iterable[tuple[str, int]], utc: int) -> list[Event]:
    """Inside the caller's transaction: take out records that no longer are what was written; a gap event tells of each."""
    gaps = []
    for stream, seq in sorted(damaged):
        if stream == "tail":
            for source, n in db.execute("DELETE FROM tail WHERE id = ? RETURNING stream, n", (seq,)):
                gaps.append(_gap(utc, source, source.removeprefix("samples:"), 0, utc, n, "damaged", 0, 0))
        elif stream.startswith("samples:"):
            remove = "DELETE FROM block WHERE stream = ? AND seq = ? RETURNING t0, t1, n"
            for t0, t1, n in db.execute(remove, (stream, seq)):
                gaps.append(_gap(utc, stream, stream.removeprefix("samples:"), t0, t1, n, "damaged", seq, seq))
        elif stream == "text":
            for _ in db.execute("DELETE FROM text WHERE seq = ? RETURNING seq", (seq,)):
                gaps.append(_gap(utc, stream, stream, 0, utc, 0, "damaged", seq, seq))
        elif stream == "event":
            for (ts,) in db.execute("DELETE FROM event WHERE seq = ? RETURNING ts", (seq,)):
                gaps.append(_gap(utc, stream, stream, ts, ts, 0, "damaged", seq, seq))
    return gaps


def _size(db: apsw.Connection) -> int:
    pages, free, size = (
        next(db.execute(f"PRAGMA {name}"))[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def delivered(db: apsw.Connection, readers: Collection[str], stream: str) -> int:
    """The sequence number up to which every reader has delivered a stream; without readers, everything counts."""
    if not readers:
        return 2**62
    marks = []
    for reader in readers:
        find = "SELECT watermark FROM cursor WHERE reader = ? AND stream = ?"
        row = next(db.execute(find, (reader, stream)), (0,))
        marks.append(int(row[0]))
    return min(marks)


def evict(db: apsw.Connection, readers: Collection[str], utc: int, keep: int, at_most: int) -> list[Event]:
    """Inside the caller's transaction: drop what is delivered and older than `keep` (ns since it was written, whatever
    the time of its samples), then, above the byte budget, the
    oldest delivered, and only then undelivered samples, each with a gap event. Undelivered events are never touched."""
    streams = [row[0] for row in db.execute("SELECT DISTINCT stream FROM block")]
    marks = {stream: delivered(db, readers, stream) for stream in streams}
    events_done, pictures_done = delivered(db, readers, "event"), delivered(db, readers, "picture")
    for stream, mark in marks.items():
        db.execute("DELETE FROM block WHERE stream = ? AND seq <= ? AND written < ?", (stream, mark, utc - keep))
    db.execute("DELETE FROM event WHERE seq <= ? AND written < ?", (events_done, utc - keep))
    db.execute("DELETE FROM picture WHERE seq <= ? AND ts < ?", (pictures_done, utc - keep))
    if _size(db) <= at_most * FILL:
        return []
    gaps: list[Event] = []
    for unsent in (False, True):
        while _size(db) > at_most * (FILL - 0.05):
            gone = 0 if unsent else _drop_pictures(db, pictures_done)
            rows = (
                list(db.execute("SELECT rowid, stream, seq, t0, t1, n FROM block ORDER BY written LIMIT ?", (STEP,)))
                if unsent
                else [
                    row
                    for stream, mark in marks.items()
                    for row in db.execute(
                        "SELECT rowid, stream, seq, t0, t1, n FROM block WHERE stream = ? AND seq <= ? ORDER BY seq LIMIT ?",
                        (stream, mark, STEP),
                    )
                ]
            )
            for rowid, stream, seq, t0, t1, n in rows:
                db.execute("DELETE FROM block WHERE rowid = ?", (rowid,))
                if seq > marks.get(stream, 0):
                    gaps.append(gap(utc, stream.removeprefix("samples:"), t0, t1, n, "evicted", seq, seq))
            if not rows and not gone:
                break
    return gaps


def _drop_pictures(db: apsw.Connection, done: int) -> int:
    db.execute(
        "DELETE FROM picture WHERE seq IN (SELECT seq FROM picture WHERE seq <= ? ORDER BY seq LIMIT 8)", (done,)
    )
    return db.changes()


def end_reader(db: apsw.Connection, reader: str) -> dict[str, int]:
    """Forget the cursor of a reader that left the site; returns where it stood, for the event that says so."""
    stood = dict(db.execute("SELECT stream, watermark FROM cursor WHERE reader = ?", (reader,)))
    db.execute("DELETE FROM cursor WHERE reader = ?", (reader,))
    return json.loads(json.dumps(stood))
