"""One transaction; what a disk that refuses is called, and what a person can do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import apsw

from .errors import LinesideError

Damaged = (apsw.CorruptError, apsw.NotADBError)  # what SQLite raises for pages that are not what was written
READ_FAULTS = (
    apsw.SQLITE_IOERR_READ,
    apsw.SQLITE_IOERR_SHORT_READ,
    apsw.SQLITE_IOERR_CORRUPTFS,
    apsw.SQLITE_IOERR_DATA,
)

TAKEN = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_ROWID)


class JournalDamaged(LinesideError):
    """Pages of the journal cannot be read. What can be is moved to a new file with the next commit."""

    heals = True


class Unwritable(LinesideError):
    """The disk takes nothing for now."""

    heals = True


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """What else shows that a file is damaged: a page that the disk does not give (a bad sector), a number that is there twice."""
    try:
        yield
    except apsw.IOError as error:
        if getattr(error, "extendedresult", 0) not in READ_FAULTS:
            raise
        raise apsw.CorruptError("the disk reports an error where it was read") from None
    except apsw.ConstraintError as error:
        if getattr(error, "extendedresult", 0) not in TAKEN:
            raise
        raise apsw.CorruptError(f"a number is taken already: {error}") from None
    except UnicodeDecodeError:
        raise apsw.CorruptError("a text in it is none") from None


@contextlib.contextmanager
def moment(db: apsw.Connection) -> Iterator[None]:
    """All that is read within is of one moment."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if not db.get_autocommit():
            db.execute("ROLLBACK")


@contextlib.contextmanager
def transaction(db: apsw.Connection) -> Iterator[None]:
    """All of it, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if not db.get_autocommit():  # a full disk has ended it already
            db.execute("ROLLBACK")
        raise


def unwritable(what: str, error: apsw.Error) -> Unwritable:
    hint = "free some space" if isinstance(error, apsw.FullError) else "look at the disk and the folder's owner"
    return Unwritable(f"{what}: {why(error)}", hint=hint)


def why(error: apsw.Error) -> str:
    if isinstance(error, apsw.FullError):
        return "the disk is full"
    if isinstance(error, apsw.IOError):
        return "the disk reports an error"
    if isinstance(error, apsw.ReadOnlyError):
        return "the disk is read-only"
    return str(error)
