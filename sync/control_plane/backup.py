"""A whole plane in one file, taken while it runs: what every database can hold, and the plane's keys. The file is SQLite.

Also the way from SQLite to PostgreSQL and back: a backup can be restored into either. What devices delivered after the backup they
send again by themselves, as long as they keep it.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.exc import SQLAlchemyError

from edge import LinesideError, log

from . import (  # each module of tables: what is not known is not kept
    asset_tables,  # noqa: F401
    days,
    evidence_tables,  # noqa: F401
    forward_tables,  # noqa: F401
    numbers,
    people_tables,
    tables,
)
from .ca import keep
from .database import on_postgresql, opened, why, word
from .updates import SEEN, later
from .verb import Verb
from .where import Where, address_of, exists

KEYS = ("ca.key", "ca.pem", "issuing.pem", "sessions.key")  # and no command that signs: a file is not to bring one
PASSES = (
    people_tables.session,
    tables.invite,
)  # stay behind: one that is over or used up by now would open the door once more
AT_ONCE = 500  # rows in memory


def backup(where: Where, file: Path) -> int:
    """Write everything, as it is at one moment, to `file`, whole or not at all; returns the rows. Raises LinesideError."""
    exists(where)
    if file.exists():
        raise LinesideError(f"{file} is there already", hint="name another file")
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        fresh.touch(0o600)
        total = _fill(where, fresh)
        fresh.replace(file)
    except (OSError, SQLAlchemyError) as error:
        raise LinesideError(f"{file} cannot be written: {why(error)}") from None
    finally:
        for name in (fresh.name, f"{fresh.name}-wal", f"{fresh.name}-shm"):
            fresh.with_name(name).unlink(missing_ok=True)
    return total


def _fill(where: Where, fresh: Path) -> int:
    source, target = opened(address_of(where)), opened(f"sqlite:///{fresh}")
    try:
        with source.connect() as asked:
            if on_postgresql(asked):
                asked = asked.execution_options(isolation_level="REPEATABLE READ")
                asked.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")  # it holds nobody up
            with target.begin() as written:
                total = copy(asked, written)
                written.exec_driver_sql("CREATE TABLE plane_file (name TEXT PRIMARY KEY, body BLOB NOT NULL)")
                there = [name for name in (*KEYS, SEEN) if (where.folder / name).exists()]
                kept = [(name, (where.folder / name).read_bytes()) for name in there]
                written.exec_driver_sql("INSERT INTO plane_file VALUES (?, ?)", kept)
    finally:
        source.dispose()
        target.dispose()
    with closing(sqlite3.connect(fresh)) as alone:
        alone.execute("PRAGMA journal_mode=DELETE")  # one file, without those of a WAL beside it
    return total


def restore(where: Where, file: Path) -> int:
    """Make a plane of a backup, in a folder and a database that hold none; returns the rows. Raises LinesideError."""
    if (where.folder / "ca.pem").exists():
        raise LinesideError(f"there is a plane in {where.folder} already", hint="move it away, or say --folder")
    keys = _keys(file)
    try:
        total = _restore(where, file)
    except (OSError, SQLAlchemyError) as error:
        raise LinesideError(f"{file} cannot be restored: {why(error)}") from None
    if where.database:
        keep(where.folder / "database", where.database.encode())
    for name in reversed(KEYS):
        if name in keys:
            keep(where.folder / name, keys[name])
    if SEEN in keys:
        keep(where.folder / SEEN, later(keys[SEEN]))
    return total


def _restore(where: Where, file: Path) -> int:
    where.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mine = (
        where.folder / "restoring.db"
    )  # the backup itself stays as it is, also where its tables are of an older version
    try:
        mine.touch(0o600)
        shutil.copyfile(file, mine)
        source, target = opened(f"sqlite:///{mine}"), opened(address_of(where))
        with source.connect() as asked, target.begin() as written:
            if written.execute(select(func.count()).select_from(tables.device)).scalar():
                raise LinesideError("the database holds a plane already", hint="restore into an empty one")
            total = copy(asked, written)
            numbers.restored(written)
        source.dispose()
        target.dispose()
    finally:
        for path in where.folder.glob("restoring.db*"):
            path.unlink()
    return total


def _keys(file: Path) -> dict[str, bytes]:
    """The plane's own files in a backup. Raises LinesideError where it is none."""
    if not file.is_file():
        raise LinesideError(f"there is no file {file}")
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
            found = {str(name): bytes(body) for name, body in db.execute("SELECT name, body FROM plane_file")}
    except (sqlite3.Error, TypeError):
        found = {}
    if "ca.pem" not in found or found.keys().isdisjoint({"ca.key", "issuing.pem"}):
        raise LinesideError(f"{file} is no whole backup of a plane", hint="one is made by `lineside plane backup FILE`")
    return found


def copy(source: Connection, target: Connection) -> int:
    """Every row of every table, but for sessions and invitations, from one database into another, empty one."""
    total = sum(_copy(source, target, table) for table in tables.metadata.sorted_tables if table not in PASSES)
    if on_postgresql(target):  # which counts on from what it gave itself, not from what is there
        last = target.scalar(select(func.max(tables.command.c.number)))
        target.execute(
            select(func.setval(func.pg_get_serial_sequence("command", "number"), last or 1, last is not None))
        )
    return total


def _copy(source: Connection, target: Connection, table: Table) -> int:
    most = {column.name: getattr(column.type, "length", None) for column in table.columns}
    total = 0
    found = source.execution_options(stream_results=True, yield_per=AT_ONCE).execute(select(table))
    for part in found.mappings().partitions():
        rows = [{name: _fits(value, most.get(name)) for name, value in row.items()} for row in part]
        if table is tables.block:
            days.prepare(target, (row["t1"] for row in rows), time.time_ns())
        target.execute(table.insert(), rows)
        total += len(rows)
    return total


def _fits(value: Any, most: int | None) -> Any:
    """SQLite held texts that no other database takes: with NUL, or longer than their column."""
    return word(value, most or len(value)) if isinstance(value, str) else value


# `lineside plane backup FILE` and `restore FILE`


def _run_backup(where: Where, options: argparse.Namespace) -> int:
    log.info("plane: %d rows are in %s, with the plane's keys", backup(where, options.file), options.file)
    return 0


def _run_restore(where: Where, options: argparse.Namespace) -> int:
    log.info("plane: %d rows are restored to %s", restore(where, options.file), where.folder)
    log.info("plane: who was revoked, replaced or removed since that backup is let in again: see docs/postgresql.md")
    return 0


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")


VERBS = {
    "backup": Verb("write everything to a file", _run_backup, _which),
    "restore": Verb("make a plane of such a file", _run_restore, _which),
}
