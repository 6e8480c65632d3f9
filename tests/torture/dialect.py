"""SQLAlchemy over apsw, so that the plane's database lies on a simulated disk too: `sqlite+apsw:///FILE`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import apsw
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

# The module that SQLAlchemy asks for (DB-API 2)

apilevel, threadsafety, paramstyle = "2.0", 1, "qmark"
sqlite_version = apsw.sqlite_lib_version()
sqlite_version_info = tuple(map(int, sqlite_version.split(".")))
Binary = bytes
PARSE_DECLTYPES = PARSE_COLNAMES = 0


class Error(Exception):
    pass


class DatabaseError(Error):
    pass


class InterfaceError(Error):
    pass


class OperationalError(DatabaseError):
    pass


class IntegrityError(DatabaseError):
    pass


class ProgrammingError(DatabaseError):
    pass


class DataError(DatabaseError):
    pass


class InternalError(DatabaseError):
    pass


class NotSupportedError(DatabaseError):
    pass


@contextlib.contextmanager
def _translated() -> Any:
    try:
        yield
    except apsw.ConstraintError as error:
        raise IntegrityError(str(error)) from None
    except apsw.FullError:
        raise OperationalError("database or disk is full") from None
    except apsw.Error as error:
        raise OperationalError(str(error)) from None


class Cursor:
    """Rows are fetched at once; nothing here is large."""

    arraysize = 1

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount, self.lastrowid = -1, None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        described: list[Any] = []

        def told(cursor: apsw.Cursor, _sql: str, _bindings: Any) -> bool:
            described[:] = [(name, kind, None, None, None, None, None) for name, kind in cursor.get_description()]
            return True

        with _translated():
            cursor = self._db.cursor()
            cursor.exec_trace = told
            before = self._db.total_changes()
            self._rows = list(cursor.execute(sql, tuple(parameters)))[::-1]
        self.description = described or None
        self.rowcount = self._db.total_changes() - before
        self.lastrowid = self._db.last_insert_rowid()
        return self

    def executemany(self, sql: str, many: Iterable[Sequence[Any]]) -> Cursor:
        with _translated():
            before = self._db.total_changes()
            self._db.cursor().executemany(sql, map(tuple, many))
        self._rows, self.description, self.rowcount = [], None, self._db.total_changes() - before
        return self

    def fetchone(self) -> Any:
        return self._rows.pop() if self._rows else None

    def fetchmany(self, size: int = 1) -> list[Any]:
        return [self._rows.pop() for _ in range(min(size, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows[::-1], []
        return rows

    def close(self) -> None:
        self._rows = []


class Connection:
    isolation_level: Any = None

    def __init__(self, path: str) -> None:
        with _translated():
            self._db = apsw.Connection(path)
        self._db.set_busy_timeout(0)  # one thread: who would wait here, waits for ever

    def cursor(self) -> Cursor:
        return Cursor(self._db)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        return self.cursor().execute(sql, parameters)

    def create_function(self, *_: Any, **__: Any) -> None: ...

    def commit(self) -> None:
        self._end("COMMIT")

    def rollback(self) -> None:
        self._end("ROLLBACK")

    def _end(self, how: str) -> None:
        if self._db.in_transaction:
            self.execute(how)

    def close(self) -> None:
        with contextlib.suppress(apsw.Error):
            self._db.close(True)


def connect(path: str, **_: Any) -> Connection:
    return Connection(path)


class Dialect(SQLiteDialect_pysqlite):
    driver = "apsw"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        import sys

        return sys.modules[__name__]


registry.register("sqlite.apsw", __name__, "Dialect")
