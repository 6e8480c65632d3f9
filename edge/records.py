"""The reading half of the journal: sealed records by stream and number, for readers and for tools."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw

from .errors import LinesideError
from .log import log
from .reader import Record

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
        "picture": "SELECT seq, 1, ts, ts, NULL, body FROM picture WHERE seq > ? ORDER BY seq LIMIT ?",
    }[stream]
    return db.execute(sql, (after, limit))


def journal_of(path: Path) -> apsw.Connection:
    """A read-only connection for tools. Raises LinesideError where there is no journal."""
    if not path.is_file():
        raise LinesideError(f"there is no journal at {path}", hint="has the daemon run with this --state yet?")
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
