"""The name of a journal and the numbers it gives: no record may come a second time under the same ones."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import apsw

from . import rows, sums

JUMP = 10_000  # numbers that are left out where the last one given is not known


def name(db: apsw.Connection, epoch: str = "") -> str:
    """The epoch: as known, as written, or a new one: a wiped disk starts a new series instead of colliding with the old one, and
    nothing may come again under the new one that was delivered under the old."""
    known = next(db.execute("SELECT value FROM meta WHERE key = 'epoch'"), None)
    if known is not None and epoch in ("", known[0]):
        return str(known[0])
    new = epoch or uuid.uuid4().hex[:16]
    head = ("epoch", new)
    db.execute("INSERT OR REPLACE INTO meta (key, value, crc) VALUES (?, ?, ?)", (*head, sums.of(head)))
    if epoch or not next(db.execute("SELECT 1 FROM stream"), None):
        return new
    for stream, mark in marks(db).items():
        if stream.startswith("samples:"):
            db.execute("DELETE FROM block WHERE stream = ? AND seq <= ?", (stream, mark))
        elif stream in ("event", "picture"):
            db.execute(f"DELETE FROM {stream} WHERE seq <= ?", (mark,))
    db.execute("DELETE FROM cursor")
    return new


def marks(db: apsw.Connection) -> dict[str, int]:
    """What every reader that has a cursor has delivered, by stream."""
    found: dict[str, dict[str, int]] = {}
    for reader, stream, mark, _ in rows.cursors(db):
        found.setdefault(stream, {})[reader] = mark
    readers = {reader for by in found.values() for reader in by}
    return {stream: min(by.values()) for stream, by in found.items() if by.keys() == readers}


def highest(db: apsw.Connection, known: Mapping[str, int]) -> dict[str, int]:
    """The last number of each stream that is here, was delivered, or is `known` to have been given."""
    found = {t: next(db.execute(f"SELECT max(seq) FROM {t}"))[0] or 0 for t in ("event", "text", "picture")}
    stream = ""
    while row := next(db.execute("SELECT min(stream) FROM block WHERE stream > ?", (stream,))):
        if row[0] is None:
            break
        stream = row[0]
        (last,) = next(db.execute("SELECT max(seq) FROM block WHERE stream = ?", (stream,)))
        if last is None:
            raise apsw.CorruptError("an index does not fit its table")
        found[stream] = last
    sent = "SELECT stream, max(watermark) FROM cursor WHERE stream NOT IN ('tag', 'commands') GROUP BY stream"
    for stream, mark in db.execute(sent):
        found[stream] = max(found.get(stream, 0), mark)
    return found | {stream: max(found.get(stream, 0), seq) for stream, seq in known.items()}


def behind(db: apsw.Connection, known: Mapping[str, int]) -> bool:
    """Whether a number might be given again."""
    given = dict(db.execute("SELECT name, seq FROM stream"))
    return any(last > given.get(stream, -1 if stream in known else 0) for stream, last in highest(db, known).items())


def count(db: apsw.Connection, known: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """See to it that no number is given again: where the last one is neither here nor `known`, JUMP are left out. Returns what was
    left out: stream, first and last number."""
    given = dict(db.execute("SELECT name, seq FROM stream"))
    left_out = []
    for stream, last in highest(db, known).items():
        if stream not in given and stream not in known and last:
            left_out.append((stream, last + 1, last + JUMP))
            last += JUMP
        if last > given.get(stream, -1):
            rows.set_last(db, stream, last)
    last_tag = rows.last_tag(db)
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'tag'")
    db.execute("INSERT INTO sqlite_sequence VALUES ('tag', ?)", (last_tag,))
    return left_out
