"""The rows a journal stands on, each with its checksum: its name, which number comes next, how far each reader got, states, tags.

A wrong one is never used. Where one bit of it flipped, it is put right; else it is taken out, and what follows from that is done
and told: numbers are left out so that none comes twice, a reader begins again (what it sends, the plane has already), a tag gets
a new number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw

from . import numbers, rows, sums
from .disk import transaction
from .event import Event
from .log import log
from .retention import lack

WORDS = {
    "meta": "the name of the journal: it goes on under a new one",
    "stream": "which number comes next: some are left out",
    "cursor": "how far {reader} got with {stream}: it begins again, and what it sends was delivered before",
    "snapshot": "the state of {name}: it begins anew",
    "tag": "the tag {name}: it gets a new number",
}


def look(
    db: apsw.Connection, utc: int, epoch: str = "", given: Mapping[str, int] | None = None, *, tags: bool = False
) -> list[Event]:
    """Look at each of them, mend what is wrong in one transaction, and return what was told in it. Raises apsw.CorruptError where
    the file itself is damaged. `epoch` and `given`, the last numbers, where the caller knows them; `tags`, of which there may be
    many, are looked at where they are read."""
    _whole(db)
    wrong = {
        table: found for table in (*sums.BY_NAME, "tag")[: len(sums.BY_NAME) + tags] if (found := _wrong(db, table))
    }
    nameless = not epoch and not list(db.execute("SELECT 1 FROM meta WHERE key = 'epoch'"))
    nameless = nameless and bool(list(db.execute("SELECT 1 FROM stream WHERE seq > 0")))
    if not wrong and not nameless and not numbers.behind(db, given or {}):
        return []
    told: list[Event] = []
    with transaction(db):
        if nameless and "meta" not in wrong:
            told.append(_damaged("meta", WORDS["meta"], utc))
        for table, found in wrong.items():
            for row in found:
                told += _mended(db, table, row, utc)
        numbers.name(db, epoch)
        left_out = numbers.count(db, given or {})
        told += [lack(utc, stream, (first, last, utc, utc, 0), "damaged") for stream, first, last in left_out]
        rows.add_events(db, told, utc)
        if any(_wrong(db, table) for table in wrong):
            raise apsw.CorruptError(f"rows of {', '.join(wrong)} are not where their keys say")
    for event in told:
        log.error("journal: %s", event.text)
    return told


def _whole(db: apsw.Connection) -> None:
    """Raises apsw.CorruptError where a page of these tables holds more than it says: no number of a row would be missed."""
    for table in (*sums.BY_NAME, "tag"):
        for (said,) in db.execute(f"PRAGMA quick_check({table})"):
            if said != "ok":
                raise apsw.CorruptError(f"the table {table} is not what was written: {said}")


def _wrong(db: apsw.Connection, table: str) -> list[dict[str, Any]]:
    names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    every = (dict(zip(names, row, strict=True)) for row in db.execute(f"SELECT * FROM {table}"))
    return [row for row in every if not sums.sound_row(table, row)]


def _mended(db: apsw.Connection, table: str, wrong: Mapping[str, Any], utc: int) -> list[Event]:
    """Put a row right or take it out."""
    right = sums.righted(table, wrong)
    names = list(wrong)
    insert = f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    if table in sums.BY_NAME:  # written anew: a wrong row is not found by its key, perhaps
        kept = [row for row in db.execute(f"SELECT {', '.join(names)} FROM {table}") if row != tuple(wrong.values())]
        db.execute(f"DELETE FROM {table}")
        db.executemany(insert, kept)
    else:
        db.execute("DELETE FROM tag WHERE id = ?", (wrong["id"],))
    if right is not None:
        db.execute(insert, tuple(right.values()))
        return [Event("journal", table, "righted", utc, "low", "a bit of the journal had flipped and was put right")]
    told = [_damaged(table, WORDS[table].format_map(wrong), utc)]
    if table == "tag":
        told.append(lack(utc, "tag", (wrong["id"], wrong["id"], 0, utc, 0), "damaged"))
    return told


def _damaged(table: str, about: str, utc: int) -> Event:
    return Event("journal", table, "damaged", utc, "high", f"a row of the journal was damaged: {about}")
