"""Who did what at the plane: one row for each change that somebody asked for, done or refused, each with the hash of all before it.

Whoever changes, drops, moves or adds a row breaks the chain at that place; whoever cuts its end, or makes all of it anew, is found
by an export that lies elsewhere. docs/people.md says what that proves.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select

from edge import LinesideError

from . import hold, tables
from .ca import keep
from .database import word

START = "0" * 64  # the hash before the first row
FIELDS = ("number", "ts", "who", "origin", "what", "place", "about", "before", "after", "result")
LOOKED = ("who", "origin", "what", "place", "about")  # where somebody looks for words
AT_ONCE = 1000
LOCAL = "local"  # from where somebody at the machine itself asks


class AuditFault(LinesideError):
    """The chain does not hold."""


@dataclass(frozen=True)
class Deed:
    """Who (`origin`: from which address) did what, where in the tree, to what; hashes of what was and of what is wanted ("": not
    told); how it ended."""

    who: str
    origin: str
    what: str
    place: str = ""
    about: str = ""
    before: str = ""
    after: str = ""
    result: str = ""


def digest(thing: Any) -> str:
    """What is kept of a thing that was changed: SHA-256 of its JSON, keys in order."""
    return hashlib.sha256(_words(thing)).hexdigest()


def _words(thing: Any) -> bytes:
    return json.dumps(thing, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode(
        errors="replace"
    )


def chained(row: Mapping[str, Any], before: str) -> str:
    """The hash of a row after the one whose hash is `before`."""
    return hashlib.sha256(before.encode() + b"\n" + _words([row[name] for name in FIELDS])).hexdigest()


def fitting(deed: Deed) -> dict[str, str]:
    """With words as long as their columns."""
    columns = tables.audit.c
    return {name: word(text, columns[name].type.length) for name, text in asdict(deed).items()}  # type: ignore[attr-defined]


def record(connection: Connection, deed: Deed) -> None:
    """Add it. In the writer's transaction; two processes of a plane wait for each other."""
    t = tables.audit
    hold.audit(connection)
    last = connection.execute(select(t.c.number, t.c.hash).order_by(t.c.number.desc()).limit(1)).first()
    row = {"number": last.number + 1 if last else 1, "ts": time.time_ns(), **fitting(deed)}
    connection.execute(t.insert().values(**row, hash=chained(row, last.hash if last else START)))


def rows(connection: Connection, *those: ColumnElement[bool]) -> Iterator[dict[str, Any]]:
    """All of them, the oldest first."""
    t, after = tables.audit, 0
    while True:
        wanted = select(t).where(t.c.number > after, *those).order_by(t.c.number).limit(AT_ONCE)
        some = connection.execute(wanted).mappings().all()
        for row in some:
            yield dict(row)
        if len(some) < AT_ONCE:
            return
        after = some[-1]["number"]


DONE = tables.audit.c.result.like("2__") | tables.audit.c.result.in_(("303", "done"))


def says(words: str) -> ColumnElement[bool]:
    """Rows that say it somewhere, in small letters or large ones."""
    t = tables.audit
    return or_(*(func.lower(t.c[name]).contains(words.lower(), autoescape=True) for name in LOOKED))


def newest(connection: Connection, most: int, before: int = 0, *those: ColumnElement[bool]) -> list[dict[str, Any]]:
    """The newest first; `before` goes on from the last one seen."""
    t = tables.audit
    wanted = select(t).where(*those, *([t.c.number < before] if before else [])).order_by(t.c.number.desc()).limit(most)
    return [dict(row) for row in connection.execute(wanted).mappings()]


def checked(found: Iterable[Mapping[str, Any]]) -> tuple[int, str]:
    """(number, hash) of the last row of a whole chain. Raises LinesideError that says where it is broken."""
    number, before = 0, START
    for row in found:
        number += 1
        if row["number"] != number:
            raise AuditFault(f"audit row {number} is missing: after {number - 1} comes {row['number']}")
        if row["hash"] != chained(row, before):
            hint = "it, or what stands before it, is not what was written"
            raise AuditFault(f"audit row {number} does not follow from the rows before it", hint=hint)
        before = row["hash"]
    return number, before


def export(connection: Connection, file: Path) -> tuple[int, str]:
    """Write all rows as JSON, one a line, and their end in a last line {"number", "hash"}; that end. Raises LinesideError."""
    found = list(rows(connection))
    number, head = checked(found)
    lines = [json.dumps(row, ensure_ascii=False) for row in (*found, {"number": number, "hash": head})]
    try:
        keep(file, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise LinesideError(f"cannot write {file}: {error.strerror}") from None
    return number, head


def exported(file: Path) -> list[dict[str, Any]]:
    """The rows of an export, whole. Raises LinesideError."""
    try:
        *found, end = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        number, head = checked(found)
        if (end["number"], end["hash"]) != (number, head) or set(end) != {"number", "hash"}:
            raise LinesideError(f"{file}: its last line does not belong to the rows before it")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LinesideError(f"{file} is no export of an audit log: {error}") from None
    return found


def compared(connection: Connection, export: list[dict[str, Any]]) -> None:
    """Raises LinesideError where the plane's chain does not hold every row of an export."""
    if not export:
        return
    t, last = tables.audit, export[-1]
    here = connection.scalar(select(t.c.hash).where(t.c.number == last["number"]))
    if here is None:
        raise LinesideError(f"the end is cut: row {last['number']} of the export is not here any more")
    if here != last["hash"]:
        raise LinesideError(f"row {last['number']} is another one than in the export: the chain was made anew")
