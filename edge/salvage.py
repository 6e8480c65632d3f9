"""A damaged journal: what can be read goes to a new file, gap events tell of the rest, the damaged one is kept beside.

Nothing is repaired in place. The new file is whole, and on the disk, before it takes the place of the old one in one step: a
power cut in between leaves the one or the other. Epoch and numbers go on, so that nothing is taken twice for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import msgpack

from . import migrations, numbers, rows, scattered, sums
from .damaged import UNREADABLE, named, numbered, opened
from .disk import transaction
from .errors import LinesideError
from .event import Event
from .log import log
from .records import all_gaps_told, sample_streams
from .retention import Run, joined, lack


@dataclass(slots=True)
class Saved:
    """What came over by table, and whether something of the tail did not."""

    rows: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)  # rows that were there and are no data
    tail: list[tuple[str, int]] = field(default_factory=list)  # stream, samples
    torn: set[str] = field(default_factory=set)  # tables of which some pages could not be read

    def words(self) -> str:
        kept = ", ".join(f"{n:,} {name}s" for name, n in self.rows.items() if name in ("block", "event", "picture"))
        return f"the journal was damaged; {kept} could be read and were moved to a new file"


def salvage(
    path: Path,
    utc: int,
    epoch: str = "",
    given: Mapping[str, int] | None = None,
    open_: Mapping[str, Any] | None = None,
    lost: Sequence[tuple[str, int]] = (),
) -> None:
    """Put a journal of what is good in the place of `path`; the damaged one becomes `path`.damaged, in place of an older one. No
    connection may be open. `epoch`, `given`, the last numbers, `open_`, the open blocks, and what they have `lost` (stream,
    samples), where the caller knows them. Raises LinesideError where the disk has no room for it."""
    new, kept = path.with_suffix(".new"), path.with_suffix(".db.damaged")
    for old in (new, Path(f"{new}-journal")):
        old.unlink(missing_ok=True)
    path.with_suffix(".reserve").unlink(missing_ok=True)
    _fold(path)
    try:
        saved = _move(path, new, utc, epoch, given or {}, open_, lost)
    except apsw.FullError:
        new.unlink(missing_ok=True)
        hint = f"free {path.stat().st_size / 1e6:,.0f} MB, or move the journal away: a new one begins"
        raise LinesideError(f"the journal {path} is damaged, and the disk is too full to save it", hint=hint) from None
    _sync(new)
    kept.unlink(missing_ok=True)
    try:
        os.link(path, kept)
    except OSError:  # a file system that has no second names
        os.replace(path, kept)
    for rest in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{rest}", f"{kept}{rest}")
    os.replace(new, path)
    _sync(path.parent)
    log.error("journal: %s; the old one is %s", saved.words(), kept)


def _fold(path: Path) -> None:
    """Bring what is still in the write-ahead log into the file: no page is looked into for that."""
    with contextlib.suppress(apsw.Error), contextlib.closing(apsw.Connection(str(path))) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _sync(path: Path) -> None:
    line = os.open(path, os.O_RDONLY)
    try:
        os.fsync(line)
    finally:
        os.close(line)


def _move(
    path: Path,
    to: Path,
    utc: int,
    epoch: str,
    given: Mapping[str, int],
    open_: Mapping[str, Any] | None,
    lost: Sequence[tuple[str, int]],
) -> Saved:
    saved = Saved(tail=list(lost))
    with opened(path) as old, contextlib.closing(apsw.Connection(str(to))) as new:
        old.execute("PRAGMA writable_schema=ON")  # else a file that was cut off is not looked into
        for pragma in ("journal_mode=MEMORY", "synchronous=OFF", "cache_size=-4000"):
            new.execute(f"PRAGMA {pragma}")
        migrations.migrate(new)
        with transaction(new):
            new.execute("DELETE FROM stream")
            for table in GOOD:
                _copy(old, new, table, saved)
            if saved.torn:
                _gather(path, new, saved)
            if open_ is None:
                _copy_tail(old, new, saved)
            else:
                for stream, block in open_.items():
                    for batch in block.batches:
                        rows.tail(new, stream, batch)
            numbers.name(new, epoch)
            _count_tags(old, new)
            numbers.count(new, given)
            if saved.left["tag"] or "tag" in saved.torn:  # nor an id
                new.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'tag'", (numbers.JUMP,))
            told = [*_gaps(new, utc), *_tail_gaps(new, utc, saved)]
            told.append(Event("journal", "journal", "salvaged", utc, "high", saved.words(), {"kept": saved.rows}))
            rows.add_events(new, told, utc)
    return saved


def _count_tags(old: apsw.Connection, new: apsw.Connection) -> None:
    """An id that was given to a tag that is gone is not given again."""
    with contextlib.suppress(*UNREADABLE, apsw.SQLError):
        for (seq,) in list(old.execute("SELECT seq FROM sqlite_sequence WHERE name = 'tag'")):
            new.execute("DELETE FROM sqlite_sequence WHERE name = 'tag'")
            new.execute("INSERT INTO sqlite_sequence VALUES ('tag', ?)", (seq,))


# Rows


def _picture(row: Mapping[str, Any]) -> bool:
    body, digest = row["body"], row["digest"]
    if not (isinstance(body, bytes) and isinstance(digest, str)):
        return False
    return not re.fullmatch("[0-9a-f]{64}", digest) or hashlib.sha256(body).hexdigest() == digest


def _tag(row: Mapping[str, Any]) -> bool:
    try:
        name, kind, unit, labels, *_ = msgpack.unpackb(row["body"], strict_map_key=False)
        return (name, kind, unit) == (row["name"], row["type"], row["unit"]) and isinstance(labels, dict)
    except (ValueError, TypeError, msgpack.UnpackException):
        return False


def _cursor(row: Mapping[str, Any]) -> bool:
    try:
        spans = [(int(a), int(b)) for a, b in json.loads(row["ranges"])]
    except (ValueError, TypeError):
        return False
    return isinstance(row["watermark"], int) and row["watermark"] >= 0 and all(0 < a <= b for a, b in spans)


GOOD: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "meta": lambda r: r["key"] != "epoch" or bool(re.fullmatch("[0-9a-f]{16}", str(r["value"]))),
    "stream": lambda r: isinstance(r["name"], str) and isinstance(r["seq"], int) and r["seq"] >= 0,
    "cursor": _cursor,
    "snapshot": lambda r: isinstance(r["name"], str) and isinstance(r["body"], bytes),
    "tag": _tag,
    "text": lambda r: True,
    "event": lambda r: True,
    "block": lambda r: str(r["stream"]).startswith("samples:"),
    "picture": _picture,
}
SCATTERED = {"tag", "text", "event", "block", "picture"}
KEEP = ("IGNORE", "REPLACE")


def _copy(old: apsw.Connection, new: apsw.Connection, table: str, saved: Saved) -> None:
    """The good rows of a table, with the columns that both files have."""
    names = [row[1] for row in new.execute(f"PRAGMA table_info({table})")]
    try:
        known = {row[1] for row in old.execute(f"PRAGMA table_info({table})")}
    except UNREADABLE:
        known = set()
    saved.rows[table] = saved.left[table] = 0
    columns = [name for name in names if name in known]
    if not columns:
        return
    listed = ", ".join(columns)
    insert = f"INSERT OR {KEEP[table in sums.BY_NAME]} INTO {table} ({listed}) VALUES ({', '.join('?' * len(columns))})"
    found = named(old, table, listed) if table in sums.BY_NAME else numbered(old, table, listed, saved.torn)
    for row in found:
        try:
            there = dict(zip(columns, row, strict=True))
            good = (
                there if sums.sound_row(table, there) else sums.righted(table, there) if table in sums.BY_NAME else None
            )
            if good is not None and GOOD[table](good):
                new.execute(insert, tuple(good.values()))
                saved.rows[table] += new.changes()
                continue
        except (apsw.ConstraintError, apsw.MismatchError, KeyError, TypeError):
            pass
        saved.left[table] += 1


def _gather(path: Path, new: apsw.Connection, saved: Saved) -> None:
    """Rows of torn tables from wherever they lie in the file: pages that named them may be gone. What a gap event tells of stays
    gone, so events come first."""
    for tables in (saved.torn & {"event"}, saved.torn & SCATTERED - {"event"}):
        told = all_gaps_told(new)
        columns = {table: [row[1] for row in new.execute(f"PRAGMA table_info({table})")] for table in tables}
        for row in scattered.rows(path) if tables else ():
            for table, names in columns.items():
                if len(row) != len(names):
                    continue
                there = dict(zip(names, row, strict=True))
                stream, seq = there["stream"] if table == "block" else table, there.get("seq", 0)
                if not isinstance(there["crc"], int) or not sums.sound_row(table, there) or not GOOD[table](there):
                    continue
                if not any(first <= seq <= last for first, last in told.get(stream, ())):
                    marks = ", ".join("?" * len(row))
                    new.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({marks})", row)
                    saved.rows[table] += new.changes()


def _copy_tail(old: apsw.Connection, new: apsw.Connection, saved: Saved) -> None:
    """What is in no sealed block yet. Numbers of the rows have no holes but where some were sealed, between the streams."""
    try:
        whole = next(old.execute("SELECT count(*) FROM tail NOT INDEXED"))[0]
    except (*UNREADABLE, apsw.SQLError):
        whole = -1
    n = 0
    for row, stream, samples, crc, body in numbered(old, "tail", "id, stream, n, crc, body", saved.torn):
        n += 1
        if sums.sound("tail", crc, (stream, samples), body):
            insert = "INSERT INTO tail (id, stream, n, crc, body) VALUES (?, ?, ?, ?, ?)"
            new.execute(insert, (row, stream, samples, crc, body))
        elif isinstance(stream, str) and isinstance(samples, int):
            saved.tail.append((stream, samples))
    if n != whole:
        saved.tail.append(("", 0))


# Numbers


def _gaps(db: apsw.Connection, utc: int) -> Iterator[Event]:
    """One for each run of numbers that was given, is not here, was not delivered, and that no gap record tells of."""
    marks, told = numbers.marks(db), all_gaps_told(db)
    read = next(db.execute("SELECT 1 FROM cursor"), None) is not None
    for stream, last in list(db.execute("SELECT name, seq FROM stream")):
        if stream.startswith("samples:"):
            held = list(db.execute("SELECT seq, t0, t1 FROM block WHERE stream = ? ORDER BY seq", (stream,)))
        else:
            time = {"event": "ts", "picture": "ts"}.get(stream, "0")
            held = list(db.execute(f"SELECT seq, {time}, {time} FROM {stream} ORDER BY seq"))
        never = read and stream not in ("picture", "text")  # of these not every reader has a cursor
        before = held[0][0] - 1 if held and not never else 0
        known = [(0, marks.get(stream, before), 0, 0, 0), *((seq, seq, t0, t1, 0) for seq, t0, t1 in held)]
        known += [(first, upto, 0, 0, 0) for first, upto in told.get(stream, [])]
        for run in _holes(known, last, utc):
            yield lack(utc, stream, run, "damaged")


def _holes(known: Iterable[Run], last: int, utc: int) -> list[Run]:
    """What lies between runs, up to `last`, with the times between which it must have been."""
    out: list[Run] = []
    at, since = 0, 0
    for first, upto, t0, t1, _ in [*sorted(known), (last + 1, last + 1, utc, utc, 0)]:
        if first > at + 1:
            before, after = since, t0 or utc
            out.append(
                (at + 1, first - 1, min(before, after), max(before, after), 0)
            )  # the clock may have been set back
        if upto > at:
            at, since = upto, max(since, t1)
    return joined(out)


def _tail_gaps(db: apsw.Connection, utc: int, saved: Saved) -> Iterator[Event]:
    """Samples of the tail that are gone: by stream where it is known, else of every stream, which may have lost some."""
    lost = {stream: sum(n for s, n in saved.tail if s == stream) for stream, _ in saved.tail if stream}
    if ("", 0) in saved.tail:
        lost = dict.fromkeys(sample_streams(db), 0) | lost
    for stream, n in lost.items():
        (since,) = next(db.execute("SELECT coalesce(max(t1), 0) FROM block WHERE stream = ?", (stream,)))
        yield lack(utc, stream, (0, 0, min(since, utc), max(since, utc), n), "damaged")
