"""The reading half of the journal: sealed records by stream and number, for readers and for tools."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import msgpack

from .codec import CodecFault, decode_text
from .errors import LinesideError
from .log import log
from .reader import Cursor, Record
from .texts import Row as Text

EXACT = 2_000  # records of a stream that are counted one by one
Place = tuple[str, int]  # stream, seq
Row = tuple[Any, ...]


def read_stream(
    db: apsw.Connection, stream: str, after: int, limit: int, most_bytes: int = 1_000_000
) -> tuple[list[Record], list[Place]]:
    """Up to `limit` records above `after`, and the places of those whose checksum is wrong: they are no data. Looks past
    damaged ones, so that a run of them never reads as the end of the stream."""
    out: list[Record] = []
    damaged: list[Place] = []
    size = 0
    while len(out) < limit:
        rows = list(_rows(db, stream, after, limit - len(out)))
        for seq, n, t0, t1, crc, body in rows:
            after = seq
            if crc is not None and zlib.crc32(body) != crc:
                log.error("journal: record %d of %s is damaged and left out", seq, stream)
                damaged.append((stream, seq))
                continue
            out.append(Record(stream, seq, body, n, t0, t1))
            size += len(body)
            if size >= most_bytes:
                return out, damaged
        if not rows:
            break
    return out, damaged


def _rows(db: apsw.Connection, stream: str, after: int, limit: int) -> Iterable[Row]:
    if stream.startswith("samples:"):
        sql = "SELECT seq, n, t0, t1, crc, body FROM block WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?"
        return db.execute(sql, (stream, after, limit))
    sql = {
        "event": "SELECT seq, 1, ts, ts, crc, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?",
        "tag": "SELECT id, 1, 0, 0, NULL, body FROM tag WHERE id > ? ORDER BY id LIMIT ?",
        "text": "SELECT seq, 1, 0, 0, crc, body FROM text WHERE seq > ? ORDER BY seq LIMIT ?",
        "picture": "SELECT seq, 1, ts, ts, NULL, body FROM picture WHERE seq > ? ORDER BY seq LIMIT ?",
    }[stream]
    return db.execute(sql, (after, limit))


def tag_name(body: bytes) -> tuple[str, str, str]:
    """(name, type, unit) of a tag's record."""
    name, kind, unit, *_ = msgpack.unpackb(body)
    return name, kind, unit


def tag_names(db: apsw.Connection) -> dict[int, tuple[str, str, str]]:
    """{id: (name, type, unit)} of every tag the journal ever had."""
    return {number: tag_name(body) for number, body in db.execute("SELECT id, body FROM tag")}


def texts(db: apsw.Connection) -> Iterator[Text]:
    """The strings of all text tags, in the order of their numbers. A damaged one is named and left out."""
    for seq, crc, body in db.execute("SELECT seq, crc, body FROM text ORDER BY seq"):
        try:
            if zlib.crc32(body) != crc:
                raise CodecFault("wrong checksum")
            yield (seq, *decode_text(body))
        except CodecFault as fault:
            log.error("journal: the text with number %d is damaged: %s", seq, fault)


def sample_streams(db: apsw.Connection) -> dict[str, int]:
    """The last number of each."""
    return dict(db.execute("SELECT name, seq FROM stream WHERE name LIKE 'samples:%'"))


def snapshots(db: apsw.Connection) -> dict[str, bytes]:
    return dict(db.execute("SELECT name, body FROM snapshot"))


def cursors(db: apsw.Connection, reader: str) -> dict[str, Cursor]:
    found = db.execute("SELECT stream, watermark, ranges FROM cursor WHERE reader = ?", (reader,))
    return {s: Cursor(w, [(a, b) for a, b in json.loads(r)]) for s, w, r in found}


def picture(db: apsw.Connection, digest: str) -> tuple[str, bytes] | None:
    return next(db.execute("SELECT media, body FROM picture WHERE digest = ?", (digest,)), None)


def backlog(db: apsw.Connection, reader: str, ahead: Mapping[str, int] | None = None) -> dict[str, int]:
    """What is durable and above this reader's watermarks: sealed `records` of all streams, and `samples`, those of the
    open blocks among them. `ahead` are watermarks newer than the file's. Of a stream with more than EXACT such records, as after
    weeks without a link, numbers are taken for records and an average for samples, so that asking stays cheap."""
    marks = dict(db.execute("SELECT stream, watermark FROM cursor WHERE reader = ?", (reader,)))
    marks |= ahead or {}
    (samples,) = next(db.execute("SELECT coalesce(sum(n), 0) FROM tail"))
    records = 0
    for stream, last in sample_streams(db).items():
        place = (stream, marks.get(stream, 0))
        (first,) = next(db.execute("SELECT min(seq) FROM block WHERE stream = ? AND seq > ?", place))
        if first is None:
            continue
        newest = "SELECT n FROM block WHERE stream = ? AND seq > ? ORDER BY seq DESC LIMIT ?"
        blocks, inside = next(db.execute(f"SELECT count(*), sum(n) FROM ({newest})", (*place, EXACT)))
        if (all_ := last - first + 1) > EXACT:
            blocks, inside = all_, inside * all_ // blocks
        records, samples = records + blocks, samples + inside
    for stream, number in (("tag", "id"), ("text", "seq"), ("event", "seq"), ("picture", "seq")):
        where = f"FROM {stream} WHERE {number} > ?"
        mark = (marks.get(stream, 0),)
        first, last = (next(db.execute(f"SELECT {end}({number}) {where}", mark))[0] for end in ("min", "max"))
        if first is not None:
            exact = last - first < EXACT
            records += next(db.execute(f"SELECT count(*) {where}", mark))[0] if exact else last - first + 1
    return {"records": records, "samples": samples}


@contextlib.contextmanager
def reading(path: Path) -> Iterator[apsw.Connection]:
    """`journal_of` for as long as it takes. A file that is damaged or no journal is a LinesideError, too."""
    db = journal_of(path)
    try:
        yield db
    except apsw.Error as error:
        hint = "`lineside doctor SITE` looks at it; copy it back from a backup, or move it away"
        raise LinesideError(f"the journal {path} cannot be read: {error}", hint=hint) from None
    finally:
        db.close()


def journal_of(path: Path) -> apsw.Connection:
    """A read-only connection for tools. Raises LinesideError where there is no journal."""
    if not path.is_file():
        raise LinesideError(f"there is no journal at {path}", hint="has the daemon run with this --state yet?")
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
