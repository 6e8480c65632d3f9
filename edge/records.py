"""The reading half of the journal: sealed records by stream and number, for readers and for tools."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import apsw
import msgpack

from . import rows, sums
from .batch import Batch
from .codec import CodecFault, decode, decode_event, decode_text
from .disk import moment
from .errors import LinesideError
from .event import Event
from .log import log
from .reader import Cursor, Record
from .texts import Row as Text

EXACT = 2_000  # records of a stream that are counted one by one
Place = tuple[str, int]  # stream, seq
Row = tuple[Any, ...]
Hole = tuple[int, int, int, int]  # numbers that are missing, first and last, and the times beside them (ns)


def read_stream(
    db: apsw.Connection, stream: str, after: int, limit: int, most_bytes: int = 1_000_000
) -> tuple[list[Record], list[Place], list[Hole]]:
    """Up to `limit` records above `after` that stand before any damaged one; the places of those whose checksum is wrong: they are
    no data; and numbers that are missing without a word."""
    out: list[Record] = []
    damaged: list[Place] = []
    size, seen, ended = 0, 0, False
    samples = stream.startswith("samples:")
    table, number = "block" if samples else stream, "id" if stream == "tag" else "seq"
    shape = {"block": "n, t0, t1", "event": "1, ts, ts", "picture": "1, ts, ts"}.get(table, "1, 0, 0")
    where = "stream = ? AND seq > ?" if samples else f"{number} > ?"
    sql = f"SELECT {number}, {shape}, crc, body, {', '.join(sums.HEADS[table])} FROM {table} WHERE {where} ORDER BY {number}"
    # one pass without a LIMIT: where it would have to go on behind a damaged record is not to be told from its number
    with moment(db):
        for seq, n, t0, t1, crc, body, *head in db.execute(sql, (stream, after) if samples else (after,)):
            if not sums.sound(table, crc, head, body):
                log.error("journal: record %s of %s is damaged", seq, stream)
                damaged.append((stream, seq))
            elif out and seq <= out[-1].seq:
                raise apsw.CorruptError(f"records of {stream} are out of order")
            elif not damaged:
                out.append(Record(stream, seq, body, n, t0, t1))
            size, seen = size + (len(body) if isinstance(body, bytes) else 0), seen + 1
            if size >= most_bytes or seen >= limit:
                break
        else:
            ended = not damaged
        holes = untold(db, stream, after, out, ended)
    return out, damaged, holes


def untold(db: apsw.Connection, stream: str, after: int, found: Sequence[Record], whole: bool) -> list[Hole]:
    """Numbers that are missing in what was read above `after`, that a reader is still to come to, and that no gap event tells of: a
    page that is not what was written may hide a row. `whole`: there is nothing behind it."""
    if stream == "tag":
        return []
    given, floor = rows.last_given(db, stream), rows.nearest(db, stream)
    holes: list[Hole] = []
    at, since = (
        after if floor is not None or stream == "text" else None,
        0,
    )  # what nobody has may have been evicted, but texts
    for record in found:
        if at is not None and record.seq > at + 1:
            holes.append((at + 1, record.seq - 1, min(since or record.t0, record.t0), max(since, record.t0)))
        at, since = record.seq, record.t1
    if whole and at is not None and given > at:
        holes.append((at + 1, given, since, since))
    above = [(max(first, (floor or 0) + 1), last, t0, t1) for first, last, t0, t1 in holes if last > (floor or 0)]
    return list(_untold(db, stream, above)) if above else []


def gaps_told(db: apsw.Connection, stream: str) -> list[tuple[int, int]]:
    """First and last number of what gap events tell of, in order; a damaged one tells of nothing."""
    return sorted(all_gaps_told(db, "AND key = ?", (stream.removeprefix("samples:"),)).get(stream, ()))


def all_gaps_told(db: apsw.Connection, rest: str = "", values: Sequence[Any] = ()) -> dict[str, list[tuple[int, int]]]:
    """The same by stream; `rest` is SQL that chooses."""
    told: dict[str, list[tuple[int, int]]] = {}
    for event in sound_events(db, f"WHERE kind = 'gap' {rest}", values):
        with contextlib.suppress(KeyError, TypeError):
            if event.data["first"] > 0:
                told.setdefault(event.data["stream"], []).append((event.data["first"], event.data["last"]))
    return told


def sound_events(db: apsw.Connection, rest: str, values: Sequence[Any] = ()) -> Iterator[Event]:
    """Events that are what was written; `rest` is SQL that chooses. A damaged one is left out, without a word."""
    yield from (event for _, event in _numbered(db, rest, values))


def _numbered(db: apsw.Connection, rest: str, values: Sequence[Any]) -> Iterator[tuple[int, Event]]:
    for (seq, *_), body in checked(db, "event", rest, values):
        with contextlib.suppress(CodecFault):
            if body is not None:
                yield seq, decode_event(body)


def _untold(db: apsw.Connection, stream: str, holes: Iterable[Hole]) -> Iterator[Hole]:
    known = sorted([*gaps_told(db, stream), *rows.delivered_above(db, stream)])
    for first, last, t0, t1 in holes:
        for a, b in known:
            if a > first:
                yield first, min(a - 1, last), t0, t1
            first = max(first, b + 1)
            if first > last:
                break
        if first <= last:
            yield first, last, t0, t1


def checked(
    db: apsw.Connection, table: str, rest: str = "", values: Sequence[Any] = ()
) -> Iterator[tuple[Row, bytes | None]]:
    """(head as in `sums.HEADS`, body) of rows; None in place of the body of one that is not what was written."""
    sql = f"SELECT crc, body, {', '.join(sums.HEADS[table])} FROM {table} {rest}"
    for crc, body, *head in db.execute(sql, values):
        yield tuple(head), body if sums.sound(table, crc, head, body) else None


def sound_rows(
    db: apsw.Connection, table: str, rest: str = "", values: Sequence[Any] = ()
) -> Iterator[tuple[Row, bytes]]:
    """The same, for tools. A damaged one is named and left out."""
    for head, body in list(checked(db, table, rest, values)):
        if body is not None:
            yield head, body
        else:
            log.warning("journal: a damaged row of %s is left out: %s", table, ", ".join(map(str, head[:2])))


def batches(
    db: Any, t0: int = -(2**63), t1: int = 2**63 - 1, sources: Collection[str] | None = None
) -> Iterator[Batch]:
    """Sealed blocks that touch the span, then the tail, as they stand now; of some `sources` alone. Damaged ones are named and left
    out. Nothing is held open between two of them: a reader that pauses (`| less`) would let the journal's log grow."""
    with db:
        opened = list(sound_rows(db, "tail", "ORDER BY id"))
        touching = "SELECT stream, rowid FROM block WHERE t1 >= ? AND t0 <= ? ORDER BY stream, seq"
        of = None if sources is None else {f"samples:{source}" for source in sources}
        places = [row for stream, row in db.execute(touching, (t0, t1)) if of is None or stream in of]
    there = (found for row in places for found in sound_rows(db, "block", "WHERE rowid = ?", (row,)))
    yield from _decoded(chain(there, opened))


def tail(db: Any) -> Iterator[Batch]:
    """What is in no sealed block yet. Damaged records are named and left out."""
    return _decoded(sound_rows(db, "tail", "ORDER BY id"))


def _decoded(found: Iterable[tuple[Row, bytes]]) -> Iterator[Batch]:
    for (stream, *_), body in found:
        try:
            yield decode(stream.removeprefix("samples:"), body)
        except CodecFault as fault:
            log.warning("a record of %s is left out: %s", stream, fault)


def newest(db: apsw.Connection) -> int:
    """When the newest block was written that is what was written; 0 where there is none."""
    found = checked(db, "block", "ORDER BY written DESC")
    return next((int(head[-1]) for head, body in found if body is not None), 0)


def tag_name(body: bytes) -> tuple[str, str, str]:
    """(name, type, unit) of a tag's record."""
    name, kind, unit, *_ = msgpack.unpackb(body, strict_map_key=False)  # labels are by number
    return name, kind, unit


def tag_names(db: apsw.Connection) -> dict[int, tuple[str, str, str]]:
    """{id: (name, type, unit)} of every tag the journal ever had."""
    return {head[0]: tag_name(body) for head, body in sound_rows(db, "tag")}


def texts(db: apsw.Connection) -> Iterator[Text]:
    """The strings of all text tags, in the order of their numbers. A damaged one is named and left out."""
    for (seq, _), body in checked(db, "text", "ORDER BY seq"):
        try:
            if body is None:
                raise CodecFault("wrong checksum")
            yield (seq, *decode_text(body))
        except CodecFault as fault:
            log.error("journal: the text with number %d is damaged: %s", seq, fault)


def sample_streams(db: apsw.Connection) -> dict[str, int]:
    """The last number of each. Raises apsw.CorruptError where one is not what was written."""
    return rows.given(db, "WHERE name LIKE 'samples:%'")


def last_numbers(db: apsw.Connection) -> dict[str, int]:
    """The last number that was given, by stream, the ids of tags among them. Raises apsw.CorruptError where one is not what was
    written."""
    return {**rows.given(db), "tag": rows.last_tag(db)}


def snapshots(db: apsw.Connection) -> dict[str, bytes]:
    """Those of stages and drivers. A damaged one counts as none."""
    return {head[0]: body for head, body in sound_rows(db, "snapshot")}


def cursors(db: apsw.Connection, reader: str) -> dict[str, Cursor]:
    """By stream. Raises apsw.CorruptError where one is not what was written."""
    found = rows.cursors(db, "WHERE reader = ?", reader)
    return {stream: Cursor(mark, [(a, b) for a, b in json.loads(ranges)]) for _, stream, mark, ranges in found}


def marks(db: apsw.Connection, reader: str) -> dict[str, int]:
    """The watermarks of `cursors`."""
    return {stream: cursor.watermark for stream, cursor in cursors(db, reader).items()}


def picture(db: apsw.Connection, digest: str) -> tuple[str, bytes] | None:
    """Media type and body; None for a damaged one."""
    return next(((head[2], body) for head, body in sound_rows(db, "picture", "WHERE digest = ?", (digest,))), None)


def backlog(db: apsw.Connection, reader: str, ahead: Mapping[str, int] | None = None) -> dict[str, int]:
    """What is durable and above this reader's watermarks: sealed `records` of all streams, and `samples`, those of the
    open blocks among them. `ahead` are watermarks newer than the file's. Of a stream with more than EXACT such records, as after
    weeks without a link, numbers are taken for records and an average for samples, so that asking stays cheap."""
    with moment(db):
        got = {**marks(db, reader), **(ahead or {})}
        (samples,) = next(db.execute("SELECT coalesce(sum(n), 0) FROM tail"))
        records = 0
        for stream, last in sample_streams(db).items():
            place = (stream, got.get(stream, 0))
            (first,) = next(db.execute("SELECT min(seq) FROM block WHERE stream = ? AND seq > ?", place))
            if first is None:
                continue
            newest = "SELECT n FROM block WHERE stream = ? AND seq > ? ORDER BY seq DESC LIMIT ?"
            blocks, inside = next(db.execute(f"SELECT count(*), sum(n) FROM ({newest})", (*place, EXACT)))
            if inside is None:
                raise apsw.CorruptError("an index does not fit its table")
            if (all_ := last - first + 1) > EXACT:
                blocks, inside = all_, inside * all_ // blocks
            records, samples = records + blocks, samples + inside
        for stream, number in (("tag", "id"), ("text", "seq"), ("event", "seq"), ("picture", "seq")):
            where = f"FROM {stream} WHERE {number} > ?"
            mark = (got.get(stream, 0),)
            first, last = (next(db.execute(f"SELECT {end}({number}) {where}", mark))[0] for end in ("min", "max"))
            if first is not None and last is not None:
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


def events_of(path: Path, *kinds: str) -> Iterator[Event]:
    """The events of these kinds in a journal's file, in its order; damaged ones are left out. Blocks. Raises LinesideError."""
    yield from (event for _, event in numbered_events(path, *kinds))


def numbered_events(path: Path, *kinds: str, after: int = 0) -> Iterator[tuple[int, Event]]:
    """The same, each with its number in the journal; those above `after` alone."""
    with reading(path) as db:
        yield from _numbered(
            db, f"WHERE kind IN ({','.join('?' * len(kinds))}) AND seq > ? ORDER BY seq", (*kinds, after)
        )


@contextlib.contextmanager
def stored_pictures(path: Path) -> Iterator[Callable[[str], bytes | None]]:
    """A function from a digest to the picture's bytes in a journal's file; None for one that is not there, or damaged, which is
    named. Calls block. Raises LinesideError."""

    def body(digest: str) -> bytes | None:
        found = picture(db, digest)
        return found[1] if found else None

    with reading(path) as db:
        yield body


def journal_of(path: Path) -> apsw.Connection:
    """A read-only connection for tools. Raises LinesideError where there is no journal."""
    if not path.is_file():
        raise LinesideError(f"there is no journal at {path}", hint="has the daemon run with this --state yet?")
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
