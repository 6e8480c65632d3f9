"""The writing half of the journal: what one transaction puts down, encoded, numbered and with its checksum."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import apsw
import msgpack

from . import sums
from .batch import Batch, concatenate
from .codec import CUT, CodecFault, encode, encode_event, encode_text, pieces
from .disk import transaction
from .event import Event, Picture
from .log import log
from .reader import Cursor
from .tags import Tag
from .texts import Row as Text

NEAR = 100_000  # ids of tags
SEAL_SAMPLES = CUT  # a block closes here too, so that a fast source neither fills the memory nor the frame


def tail(db: apsw.Connection, stream: str, batch: Batch) -> int:
    """Add to what is durable and not sealed yet; returns its bytes."""
    total = 0
    for piece in pieces(batch):
        body = encode(piece, level=1)
        row = (stream, len(piece), sums.of((stream, len(piece)), body), body)
        db.execute("INSERT INTO tail (stream, n, crc, body) VALUES (?, ?, ?, ?)", row)
        total += len(body)
    return total


def seal(db: apsw.Connection, stream: str, batches: Sequence[Batch], utc: int) -> int:
    """Put blocks of at most SEAL_SAMPLES, and no batch below that is cut, in place of the stream's tail; returns their bytes."""
    total, n = 0, 0
    group: list[Batch] = []
    for batch in [*batches, None]:
        if batch is None or (group and n + len(batch) > SEAL_SAMPLES):
            total += sum(_block(db, stream, piece, utc) for piece in pieces(concatenate(group)))
            group, n = [], 0
        if batch is not None:
            group.append(batch)
            n += len(batch)
    db.execute("DELETE FROM tail WHERE stream = ?", (stream,))
    return total


def _block(db: apsw.Connection, stream: str, batch: Batch, utc: int) -> int:
    body = encode(batch)
    first, last = int(batch.ts.min()), int(batch.ts.max())
    head = (stream, _next(db, stream, 1), first, last, len(batch), utc)
    add = "INSERT INTO block (stream, seq, t0, t1, n, written, crc, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    db.execute(add, (*head, sums.of(head, body), body))
    return len(body)


def _next(db: apsw.Connection, stream: str, n: int) -> int:
    """Take `n` sequence numbers of a stream; returns the first."""
    last = last_given(db, stream)
    set_last(db, stream, last + n)
    return last + 1


def last_given(db: apsw.Connection, stream: str) -> int:
    """The last number of a stream. Raises apsw.CorruptError where its row is not what was written."""
    return given(db, "WHERE name = ?", stream).get(stream, 0)


def given(db: apsw.Connection, rest: str = "", *values: str) -> dict[str, int]:
    """The last number of each stream. Raises apsw.CorruptError where a row is not what was written."""
    found = {}
    for stream, seq, crc in db.execute(f"SELECT name, seq, crc FROM stream {rest}", values):
        if not sums.sound("stream", crc, (stream, seq)):
            raise apsw.CorruptError(f"which number of {stream} comes next is not what was written")
        found[stream] = int(seq)
    return found


def check(db: apsw.Connection, known: Mapping[str, int]) -> None:
    """Raises apsw.CorruptError where a stream does not go on from the number that is `known`: it would be given again."""
    found = given(db)
    for stream, seq in known.items():
        if found.get(stream, -1) < seq:
            raise apsw.CorruptError(f"which number of {stream} comes next is gone")


def furthest(db: apsw.Connection, stream: str) -> int | None:
    """The highest watermark that a reader has; None where none has a cursor. Raises apsw.CorruptError where one is not what was
    written."""
    return max((mark for _, _, mark, _ in cursors(db, "WHERE stream = ?", stream)), default=None)


def nearest(db: apsw.Connection, stream: str) -> int | None:
    """The lowest watermark that a reader has, but for those that are still to begin; None where none has a cursor. Raises
    apsw.CorruptError where one is not what was written."""
    marks = [mark for _, _, mark, _ in cursors(db, "WHERE stream = ?", stream)]
    return min((mark for mark in marks if mark), default=0) if marks else None


def delivered_above(db: apsw.Connection, stream: str) -> list[tuple[int, int]]:
    """First and last number of what a reader has delivered above its watermark: put back to what the other side has by now."""
    every = (json.loads(ranges) for _, _, _, ranges in cursors(db, "WHERE stream = ?", stream))
    return [(first, last) for ranges in every for first, last in ranges]


def cursors(db: apsw.Connection, rest: str = "", *values: str) -> Iterator[tuple[str, str, int, str]]:
    """(reader, stream, watermark, ranges above it as JSON). Raises apsw.CorruptError where one is not what was written."""
    for *head, crc in db.execute(f"SELECT reader, stream, watermark, ranges, crc FROM cursor {rest}", values):
        reader, stream, mark, ranges = head
        if not sums.sound("cursor", crc, head):
            raise apsw.CorruptError(f"how far {reader} got with {stream} is not what was written")
        yield reader, stream, mark, ranges


def set_last(db: apsw.Connection, stream: str, seq: int) -> None:
    db.execute("INSERT OR REPLACE INTO stream VALUES (?, ?, ?)", (stream, seq, sums.of((stream, seq))))


def add_texts(db: apsw.Connection, texts: Sequence[Text]) -> None:
    """Ahead of the samples of the same transaction. Writing one again, after a commit of which nobody knows, does no harm."""
    if not texts:
        return
    bodies = [(seq, tag, encode_text(tag, text)) for seq, tag, text in texts]
    db.executemany(
        "INSERT OR IGNORE INTO text VALUES (?, ?, ?, ?)",
        [(seq, tag, sums.of((seq, tag), body), body) for seq, tag, body in bodies],
    )
    set_last(db, "text", max(last_given(db, "text"), texts[-1][0]))


def add_events(db: apsw.Connection, events: Sequence[Event], utc: int) -> None:
    if not events:
        return
    rows = []
    for seq, event in enumerate(events, _next(db, "event", len(events))):
        event, body = _encoded(event, utc)
        head = (seq, event.ts, event.kind, event.key, utc)
        rows.append((*head[:4], sums.of(head, body), utc, body))
    db.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def add_pictures(db: apsw.Connection, pictures: Sequence[Picture], utc: int) -> None:
    """A picture that is here already keeps its number."""
    for p in pictures:
        if next(db.execute("SELECT 1 FROM picture WHERE digest = ?", (p.digest,)), None) is None:
            head = (_next(db, "picture", 1), p.digest, p.media, utc)
            db.execute("INSERT INTO picture VALUES (?, ?, ?, ?, ?, ?)", (*head, p.body, sums.of(head, p.body)))


def add_snapshots(db: apsw.Connection, snapshots: Mapping[str, bytes]) -> None:
    """One that is as it was is not written again."""
    found = [(name, body, sums.of((name,), body)) for name, body in snapshots.items()]
    same = "DO UPDATE SET body = excluded.body, crc = excluded.crc WHERE body IS NOT excluded.body OR crc IS NOT excluded.crc"
    db.executemany(f"INSERT INTO snapshot VALUES (?, ?, ?) ON CONFLICT (name) {same}", found)


def add_cursors(db: apsw.Connection, cursors: Mapping[tuple[str, str], Cursor]) -> None:
    """How far readers got, by (reader, stream)."""
    heads = [(*place, cursor.watermark, json.dumps(cursor.ranges)) for place, cursor in cursors.items()]
    found = [(*head, sums.of(head)) for head in heads]
    db.executemany("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?, ?)", found)


def _encoded(event: Event, utc: int) -> tuple[Event, bytes]:
    """An event as it can be written, and its bytes: one that cannot must not hold back all that comes after it."""
    try:
        return event, encode_event(event)
    except CodecFault as fault:
        why = str(fault)[:300].encode(errors="replace").decode()
    log.error("journal: an event cannot be written as it is: %s", why)
    kind, key, state, severity, text, number = (
        str(x)[:1000].encode(errors="replace").decode()
        for x in (event.kind, event.key, event.state, event.severity, event.text, event.id)
    )
    try:
        ts = operator.index(event.ts)  # numpy's whole numbers are as good
        utc = ts if -(2**63) <= ts < 2**63 else utc
    except TypeError:
        pass
    plain = Event(kind, key, state, utc, severity, text, event.data, event.refs, number)
    try:
        return plain, encode_event(plain)
    except CodecFault:
        plain = replace(plain, data={"unwritable": why[:200]}, refs=())
        return plain, encode_event(plain)


def tag_ids(db: apsw.Connection, tags: Sequence[Tag]) -> list[int]:
    """The id of each tag, given now to those that are new."""
    known = _known(db)
    if new := [tag for tag in tags if tag.identity not in known]:
        with transaction(db):
            last = last_tag(db)
            db.executemany(
                "INSERT INTO tag VALUES (?, ?, ?, ?, ?, ?, ?)", map(_row, range(last + 1, last + 1 + len(new)), new)
            )
        known |= _known(db, max(known.values(), default=0))
    return [known[tag.identity] for tag in tags]


def last_tag(db: apsw.Connection) -> int:
    """The last id that was given, also to a tag that is gone.
    SQLite's own count has no checksum: it is taken where it is near the ids that are here."""
    (here,) = next(db.execute("SELECT coalesce(max(id), 0) FROM tag"))
    sent = furthest(db, "tag") or 0
    (counted,) = next(db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'tag'"), (0,))
    return max(here, sent, counted if isinstance(counted, int) and counted <= here + NEAR else 0)


def _known(db: apsw.Connection, after: int = 0) -> dict[tuple[str, str, str, str], int]:
    """Raises apsw.CorruptError for one that is not what was written: another tag's values must not get its name."""
    known = {}
    for number, *identity, body, crc in db.execute("SELECT * FROM tag WHERE id > ?", (after,)):
        if not sums.sound("tag", crc, (number, *identity), body):
            raise apsw.CorruptError(f"tag {number} is not what was written")
        name, kind, unit, labels = identity
        known[name, kind, unit, labels] = number
    return known


def _row(number: int, tag: Tag) -> tuple[int, str, str, str, str, bytes, int]:
    name, kind, unit, labels = tag.identity
    body = msgpack.packb([name, kind, unit, dict(tag.labels), tag.source])
    return number, name, kind, unit, labels, body, sums.of((number, *tag.identity), body)
