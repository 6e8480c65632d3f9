"""The journal's schema, step by step. A step is never edited after a release; a new one is added."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from .disk import moment, transaction
from .errors import LinesideError

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE tag (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, type TEXT NOT NULL,
                      unit TEXT NOT NULL, labels TEXT NOT NULL, body BLOB NOT NULL, UNIQUE (name, type, unit, labels));
    CREATE TABLE stream (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE tail (id INTEGER PRIMARY KEY, stream TEXT NOT NULL, n INTEGER NOT NULL, crc INTEGER NOT NULL,
                       body BLOB NOT NULL);
    CREATE TABLE block (stream TEXT NOT NULL, seq INTEGER NOT NULL, t0 INTEGER NOT NULL, t1 INTEGER NOT NULL,
                        n INTEGER NOT NULL, crc INTEGER NOT NULL, written INTEGER NOT NULL, body BLOB NOT NULL,
                        UNIQUE (stream, seq));
    CREATE INDEX block_t1 ON block (t1);
    CREATE INDEX block_written ON block (written);
    CREATE TABLE event (seq INTEGER PRIMARY KEY, ts INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
                        crc INTEGER NOT NULL, written INTEGER NOT NULL, body BLOB NOT NULL);
    CREATE TABLE picture (seq INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, media TEXT NOT NULL, ts INTEGER NOT NULL,
                          body BLOB NOT NULL);
    CREATE TABLE cursor (reader TEXT NOT NULL, stream TEXT NOT NULL, watermark INTEGER NOT NULL, ranges TEXT NOT NULL,
                         PRIMARY KEY (reader, stream)) WITHOUT ROWID;
    CREATE TABLE snapshot (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
    """,
    """
    -- numbers of pictures are given like those of events: those of deleted ones never come again
    INSERT OR REPLACE INTO stream VALUES ('picture', max(
        (SELECT coalesce(max(seq), 0) FROM picture),
        (SELECT coalesce(max(watermark), 0) FROM cursor WHERE stream = 'picture')));
    """,
    """
    -- the strings of text tags; the row of `stream` keeps a number from being given again
    CREATE TABLE text (seq INTEGER PRIMARY KEY, tag INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL);
    """,
    """
    -- blocks may be of version 2, which an older release would take for damaged
    """,
    """
    -- sums over what stands beside a body, too (`sums`); what is written already has none
    ALTER TABLE meta ADD COLUMN crc INTEGER;
    ALTER TABLE tag ADD COLUMN crc INTEGER;
    ALTER TABLE stream ADD COLUMN crc INTEGER;
    ALTER TABLE picture ADD COLUMN crc INTEGER;
    ALTER TABLE cursor ADD COLUMN crc INTEGER;
    ALTER TABLE snapshot ADD COLUMN crc INTEGER;
    """,
)


# The lowest schema whose release opens what this one writes, so that a release can be taken back without losing anything. A step
# that only adds tables or indexes leaves it; after any other it is the number of that step.
OPENS = 5


def migrate(db: apsw.Connection) -> None:
    """Bring a journal to the newest step, each step in one transaction. A journal of a newer release is left as it is where
    that one says (`application_id`) that this one may open it, and else refused."""
    (version,), (opens,) = next(db.execute("PRAGMA user_version")), next(db.execute("PRAGMA application_id"))
    if version > len(STEPS) and 0 < opens <= len(STEPS):
        return
    if version > len(STEPS):
        raise LinesideError(
            f"this journal was written by a newer release (schema {version}, known here {len(STEPS)})",
            hint="install that release again; the data is untouched",
        )
    if version < len(STEPS) and shape_of(db).sql != shape(STEPS[:version]).sql:
        raise apsw.CorruptError("the schema is not what its number says")
    for number, step in enumerate(STEPS[version:], version + 1):
        with transaction(db):
            db.execute(step)
            db.execute(f"PRAGMA user_version = {number}")
            db.execute(f"PRAGMA application_id = {OPENS}")


def sample_of(journal: Path, copy: Path, most: int = 200) -> None:
    """A journal with the schema of `journal` and its newest rows, so many of each table: what another release is tried with. It may
    be written to meanwhile, by this process too. Blocks."""
    for end in ("", "-wal", "-shm"):
        copy.with_name(copy.name + end).unlink(missing_ok=True)
    with contextlib.closing(apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READONLY)) as source:
        source.set_busy_timeout(5_000)
        (version,), (opens,) = (
            next(source.execute("PRAGMA user_version")),
            next(source.execute("PRAGMA application_id")),
        )
        with contextlib.closing(apsw.Connection(str(copy))) as db, moment(source):
            for step in STEPS[:version]:
                db.execute(step)
            for (name,) in list(
                db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            ):
                db.execute(f"DELETE FROM {name}")  # what the steps themselves put there
                rows = list(
                    source.execute(
                        f"SELECT * FROM {name} LIMIT {most} OFFSET max(0, (SELECT count(*) FROM {name}) - {most})"
                    )
                )
                if rows:
                    db.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
            db.execute(f"PRAGMA user_version = {version}")
            db.execute(f"PRAGMA application_id = {opens}")


class Shape(NamedTuple):
    """What stands on the first page of a journal."""

    sql: dict[str, Any]
    roots: dict[str, int]  # the page where each table and index begins


@functools.cache
def shape(steps: tuple[str, ...]) -> Shape:
    """Of a journal to which these steps were done."""
    with contextlib.closing(new(steps)) as db:
        return shape_of(db)


def new(steps: tuple[str, ...]) -> apsw.Connection:
    """A journal in memory."""
    db = apsw.Connection(":memory:")
    for step in steps:
        db.execute(step)
    return db


def shape_of(db: apsw.Connection) -> Shape:
    found = list(db.execute("SELECT name, sql, rootpage FROM sqlite_master"))
    return Shape({name: sql for name, sql, _ in found}, {name: root for name, _, root in found})


def sound(db: apsw.Connection) -> bool:
    """Whether the tables are those of some release and begin where they did, or where a VACUUM puts them; tables of somebody else
    beside them do no harm. That of texts begins elsewhere in a file that an older release made."""
    try:
        there = shape_of(db)
    except (apsw.Error, UnicodeDecodeError):
        return False
    for n in range(len(STEPS), 0, -1):
        made = shape(STEPS[:n])
        if made.sql == there.sql or (n == len(STEPS) and made.sql.items() <= there.sql.items()):
            if all(there.roots[name] == root for name, root in made.roots.items() if name != "text"):
                return True
            others = [
                "ANALYZE" if name.startswith("sqlite_stat") else sql
                for name, sql in there.sql.items()
                if sql and name not in made.sql
            ]
            tries = (_vacuumed((*STEPS[:n], *others[:k])) for k in range(len(others), -1, -1))
            return any(roots and roots.items() <= there.roots.items() for roots in tries)
    return False


def _vacuumed(steps: tuple[str, ...]) -> dict[str, int]:
    """Where tables and indexes begin after a VACUUM, which makes all of them anew before it fills the first; nowhere if it cannot
    be told."""
    try:
        with contextlib.closing(new(steps)) as db:
            db.execute("VACUUM")
            return shape_of(db).roots
    except apsw.Error:
        return {}
