"""What of a journal goes to another box: its name, its tags and texts, what drivers and stages know, how far each reader got; no
record. The new one goes on with numbers that were never given."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

from . import migrations, numbers, rows
from .disk import transaction
from .errors import LinesideError
from .event import Event
from .reader import Cursor
from .records import cursors, reading, snapshots

COLUMNS = {
    "tag": ("id", "name", "type", "unit", "labels", "body", "crc"),
    "text": ("seq", "tag", "crc", "body"),
}


def taken(path: Path) -> dict[str, Any]:
    """Of a journal's file, also while a daemon writes it; plain data for msgpack. Blocks. Raises LinesideError."""
    found: dict[str, Any] = {}
    with reading(path) as db, db:
        epoch = next(db.execute("SELECT value FROM meta WHERE key = 'epoch'"), None)
        if epoch is None:
            raise LinesideError(f"{path} has no name yet", hint="has the daemon run?")
        readers = [name for (name,) in db.execute("SELECT DISTINCT reader FROM cursor")]
        found = {
            "epoch": epoch[0],
            "given": rows.given(db) | {"tag": rows.last_tag(db)},
            "snapshots": snapshots(db),
            "cursors": {name: {stream: c.watermark for stream, c in cursors(db, name).items()} for name in readers},
            **{
                table: [list(row) for row in db.execute(f"SELECT {', '.join(columns)} FROM {table}")]
                for table, columns in COLUMNS.items()
            },
        }
    return found


def planted(
    path: Path,
    found: Mapping[str, Any],
    last: Mapping[str, int],
    marks: Mapping[tuple[str, str], int],
    states: Mapping[str, bytes],
    told: Sequence[Event],
    utc: int,
) -> None:
    """Make a journal of that at `path`, where there is none: `last` number given by stream, `marks` how far each reader got, by
    (reader, stream), more `states`, and the first events. Whole or not at all. Raises LinesideError."""
    if path.exists():
        raise LinesideError(f"there is a journal at {path} already", hint="move it away, or name another --state")
    fresh = path.with_suffix(".planting")
    fresh.unlink(missing_ok=True)
    with contextlib.closing(apsw.Connection(str(fresh))) as db:
        migrations.migrate(db)
        with transaction(db):
            numbers.name(db, str(found["epoch"]))
            for table, columns in COLUMNS.items():
                places = ", ".join("?" * len(columns))
                db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", found[table])
            for stream, number in last.items():
                if stream != "tag":
                    rows.set_last(db, stream, number)
            rows.add_snapshots(db, {**found["snapshots"], **states})
            rows.add_cursors(db, {place: Cursor(mark) for place, mark in marks.items()})
            rows.add_events(db, told, utc)
    fresh.replace(path)
