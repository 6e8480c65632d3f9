"""The writing half of the journal: what one transaction puts down, encoded, numbered and with its checksum."""

from __future__ import annotations

import operator
import zlib
from collections.abc import Sequence
from dataclasses import replace

import apsw
import msgpack

from .batch import Batch, concatenate
from .codec import CodecFault, encode, encode_event, encode_text, pieces
from .disk import transaction
from .event import Event, Picture
from .log import log
from .tags import Tag
from .texts import Row as Text

SEAL_SAMPLES = 262_144  # a block closes here too, so that a fast source neither fills the memory nor the frame


def tail(db: apsw.Connection, stream: str, batch: Batch) -> int:
    """Add to what is durable and not sealed yet; returns its bytes."""
    total = 0
    for piece in pieces(batch):
        body = encode(piece, level=1)
        row = (stream, len(piece), zlib.crc32(body), body)
        db.execute("INSERT INTO tail (stream, n, crc, body) VALUES (?, ?, ?, ?)", row)
        total += len(body)
    return total


def seal(db: apsw.Connection, stream: str, batches: Sequence[Batch], utc: int) -> int:
    """Put blocks of at most SEAL_SAMPLES, which never cut a batch, in place of the stream's tail; returns their bytes."""
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
    row = (stream, _next(db, stream, 1), first, last, len(batch), zlib.crc32(body), utc, body)
    db.execute("INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    return len(body)


def _next(db: apsw.Connection, stream: str, n: int) -> int:
    """Take `n` sequence numbers of a stream; returns the first."""
    upsert = "INSERT INTO stream VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = seq + ? RETURNING seq"
    return int(next(db.execute(upsert, (stream, n, n)))[0]) - n + 1


def add_texts(db: apsw.Connection, texts: Sequence[Text]) -> None:
    """Ahead of the samples of the same transaction. Writing one again, after a commit of which nobody knows, does no harm."""
    if not texts:
        return
    bodies = [(seq, tag, encode_text(tag, text)) for seq, tag, text in texts]
    db.executemany(
        "INSERT OR IGNORE INTO text VALUES (?, ?, ?, ?)",
        [(seq, tag, zlib.crc32(body), body) for seq, tag, body in bodies],
    )
    upsert = "INSERT INTO stream VALUES ('text', ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)"
    db.execute(upsert, (texts[-1][0],))


def add_events(db: apsw.Connection, events: Sequence[Event], utc: int) -> None:
    if not events:
        return
    rows = []
    for seq, event in enumerate(events, _next(db, "event", len(events))):
        event, body = _encoded(event, utc)
        rows.append((seq, event.ts, event.kind, event.key, zlib.crc32(body), utc, body))
    db.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def add_pictures(db: apsw.Connection, pictures: Sequence[Picture], utc: int) -> None:
    """A picture that is here already keeps its number."""
    for p in pictures:
        if next(db.execute("SELECT 1 FROM picture WHERE digest = ?", (p.digest,)), None) is None:
            row = (_next(db, "picture", 1), p.digest, p.media, utc, p.body)
            db.execute("INSERT INTO picture (seq, digest, media, ts, body) VALUES (?, ?, ?, ?, ?)", row)


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
            db.executemany("INSERT INTO tag (name, type, unit, labels, body) VALUES (?, ?, ?, ?, ?)", map(_row, new))
        known |= _known(db, max(known.values(), default=0))
    return [known[tag.identity] for tag in tags]


def _known(db: apsw.Connection, after: int = 0) -> dict[tuple[str, str, str, str], int]:
    found = db.execute("SELECT name, type, unit, labels, id FROM tag WHERE id > ?", (after,))
    return {(name, kind, unit, labels): number for name, kind, unit, labels, number in found}


def _row(tag: Tag) -> tuple[str, str, str, str, bytes]:
    name, kind, unit, labels = tag.identity
    return name, kind, unit, labels, msgpack.packb([name, kind, unit, dict(tag.labels), tag.source])
