"""The database under the plane: SQLite, or PostgreSQL where one machine is outgrown. Nothing else here knows which."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.util
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    String,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    make_url,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from edge import SECOND, LinesideError

VERSION = "head"  # of the tables
FROZEN = 15.0  # seconds without a word in the middle of a transaction, after which PostgreSQL takes back what it held for a process
WATCH = {  # a far side that is gone without a word is noticed within half a minute; seconds, the last one ms
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
FEW = 2000  # rows a transaction, between which devices are served
NO_CLOCK = 1_577_836_800 * SECOND  # before 2020 no clock was right: what says so is not old
MIGRATING = 0x6C696E65  # PostgreSQL's advisory lock of planes that start at one time


def opened(address: str) -> Engine:
    """An engine on the database at `address`, whose tables are those of this version. Raises LinesideError."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise LinesideError(
            "what was given as the database is no address", hint="postgresql://USER@HOST/NAME or sqlite:////FOLDER/FILE"
        ) from None
    kind = {"postgres": "postgresql"}.get(url.get_backend_name(), url.get_backend_name())
    if kind not in ("sqlite", "postgresql"):
        raise LinesideError(f"a plane keeps its things in PostgreSQL or SQLite, not in {kind}")
    engine = _engine(kind, url)
    try:
        _migrate(engine)
    except (SQLAlchemyError, alembic.util.CommandError) as error:
        engine.dispose()
        if kind == "sqlite":
            shown, hint = url.database, "copy it back from a backup, or move it away: then every device enrols anew"
        else:
            shown, hint = url.render_as_string(), "`psql` with the same address has to connect, as its owner"
        raise LinesideError(f"the database {shown} cannot be used: {why(error)}", hint=hint) from None
    return engine


def beside(engine: Engine) -> Engine:
    """A second engine on the same database: its one connection is of nobody else, and writes."""
    return _engine(engine.dialect.name, engine.url, writes=True)


class LineLost(LinesideError):
    """The database ended a connection, or does not take one."""

    heals = True


@contextlib.asynccontextmanager
async def own_line(engine: Engine, name: str) -> AsyncIterator[Any]:
    """A connection to PostgreSQL beside the engine's, each statement for itself (psycopg.AsyncConnection); `name` is what
    pg_stat_activity shows. A far side that is gone is noticed within half a minute, at both ends. Raises LineLost."""
    import psycopg

    words, how = engine.dialect.create_connect_args(engine.url)
    options: dict[str, Any] = {**how, **WATCH, "application_name": name, "autocommit": True}
    try:
        async with await psycopg.AsyncConnection.connect(*words, **options) as connection:
            for option in ("idle", "interval", "count"):
                await connection.execute(f"SET tcp_keepalives_{option} = {WATCH[f'keepalives_{option}']}")
            yield connection
    except psycopg.Error as error:
        raise LineLost(why(error)) from None


def why(error: Exception) -> str:
    """The database's own words, without the statement, in one line."""
    words = " ".join(str(getattr(error, "orig", None) or error).split())
    return "the disk is full, free some space" if "disk is full" in words or "No space left" in words else words


def word(text: Any, most: int) -> str:
    """Up to `most` characters of a text, as every database holds it: PostgreSQL knows no NUL."""
    return str(text)[:most].replace("\0", "\ufffd")


def on_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def insert_new(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows; one whose key is there already is a repeat and changes nothing."""
    _insert(connection, table, rows, instead=False)


def upsert(connection: Connection, table: Table, *rows: dict[str, Any], differs: tuple[str, ...] = ()) -> None:
    """Insert rows of the same columns, or put them in place of those with their keys: of those only that have another value in
    one of the columns `differs`, where any are named."""
    _insert(connection, table, list(rows), instead=True, differs=differs)


def snapshots(engine: Engine) -> Engine:
    """An engine each of whose connections sees the database as it was at its first question."""
    own = {"postgresql": {"isolation_level": "REPEATABLE READ"}}.get(engine.dialect.name, {})  # SQLite's always do
    return engine.execution_options(**own)


def among(connection: Connection, column: Any, values: Iterable[str]) -> ColumnElement[bool]:
    """That a column of texts is one of many values."""
    if on_postgresql(connection):
        return column == any_(bindparam(None, sorted(values), ARRAY(Text())))
    return column.in_(sorted(values))


def of_some(table: Table, those: ColumnElement[bool]) -> ColumnElement[bool]:
    """Of the rows of a table that are `those`, some: so many that nobody waits long for the transaction."""
    some = select(*table.primary_key).where(those).limit(FEW)
    return and_(those, tuple_(*table.primary_key).in_(some))


def _insert(
    connection: Connection, table: Table, rows: list[dict[str, Any]], instead: bool, differs: tuple[str, ...] = ()
) -> None:
    """PostgreSQL takes many rows as one SELECT of arrays, a column each, several times faster than one by one."""
    if not rows:
        return
    names = tuple(rows[0])
    if len(rows) == 1 or not on_postgresql(connection):
        connection.execute(_inserting(connection.dialect.name, table, names, instead, differs), rows)
    else:
        arrays = {f"all_{name}": _array([row[name] for row in rows], table.c[name].type) for name in names}
        connection.execute(_inserting_many(table, names, instead, differs), arrays)


@cache
def _inserting(dialect: str, table: Table, names: tuple[str, ...], instead: bool, differs: tuple[str, ...] = ()) -> Any:
    keys = [column.name for column in table.primary_key]
    fresh: Any = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    if not instead:
        return fresh.on_conflict_do_nothing()
    rest = {name: fresh.excluded[name] for name in names if name not in keys}
    unlike = or_(*(table.c[name] != fresh.excluded[name] for name in differs)) if differs else None
    return fresh.on_conflict_do_update(index_elements=keys, set_=rest, where=unlike)


@cache
def _inserting_many(table: Table, names: tuple[str, ...], instead: bool, differs: tuple[str, ...]) -> Any:
    columns = [cast(bindparam(f"all_{name}", type_=Text()), ARRAY(_whole(table.c[name].type))) for name in names]
    source = func.unnest(*columns).table_valued(*names).render_derived()
    taken = select(*(source.c[name] for name in names))
    return _inserting("postgresql", table, names, instead, differs).from_select(names, taken)


def _array(values: Sequence[Any], kind: Any) -> str:
    """An array in PostgreSQL's own words: the driver takes several times longer for one."""
    if isinstance(kind, LargeBinary):
        words = ("NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values)
    elif isinstance(kind, String):
        words = ('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    else:
        words = ("NULL" if value is None else str(value) for value in values)
    return "{" + ",".join(words) + "}"


def _whole(kind: Any) -> Any:
    """A type without its length: a cast to that would cut what is too long, where it has to be refused."""
    return Text() if isinstance(kind, String) else kind


def _engine(kind: str, url: URL, writes: bool = False) -> Engine:
    return (_sqlite if kind == "sqlite" else _postgresql)(url, writes)


def _sqlite(url: URL, writes: bool) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30}, **({"pool_size": 1} if writes else {}))
    # one that begins to write only after it has read is refused where a command beside the plane wrote meanwhile
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are ours, see "begin"
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgresql(url: URL, writes: bool) -> Engine:
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,  # a server that was started anew
            pool_size=1 if writes else 8,
            connect_args=WATCH,
        )
    except ImportError as error:
        raise LinesideError(f"PostgreSQL needs psycopg: {error}", hint="pip install 'lineside[postgres]'") from None

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        with connection.cursor() as asked:
            asked.execute(f"SET idle_in_transaction_session_timeout = '{FROZEN * 1000:.0f}ms'")
            asked.execute(
                "SET synchronous_commit = on"
            )  # what is acknowledged is durable, whatever the role's default is
        connection.commit()

    return engine


def _migrate(engine: Engine) -> None:
    settings = alembic.config.Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        if on_postgresql(connection):
            # a slow board takes its time to read the steps
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATING})")
            if (encoding := connection.exec_driver_sql("SHOW server_encoding").scalar()) != "UTF8":
                raise LinesideError(f"the database is in {encoding}", hint="make it with ENCODING 'UTF8'")
        settings.attributes["connection"] = connection
        alembic.command.upgrade(settings, VERSION)
