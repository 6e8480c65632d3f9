"""The record of writes: what the journal knows of earlier ones, and a place in it for an order where no daemon runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .clock import SECOND, Clock
from .codec import CodecFault, decode_event
from .config.site import Config
from .errors import LinesideError
from .event import Event
from .flow import identities
from .journal import Journal
from .reader import delivering
from .tags import TagTable

MOST_LOOKED_AT = 10_000  # events


async def last_written(journal: Journal, table: TagTable, clock: Clock) -> dict[int, int]:
    """When each tag whose writes may not come too often was last written, on the monotonic clock: what a start of the daemon and
    an order without one have to know. A wall clock that was set back makes it just now, never later."""
    rates = {tag.name: tag.writable.every for tag in table if tag.writable and tag.writable.every}
    if not rates:
        return {}
    utc, mono = clock.utc(), clock.mono()
    found: dict[int, int] = {}
    for key, body in await journal.ask(_writes, utc - round(max(rates.values()) * SECOND)):
        with contextlib.suppress(CodecFault):
            event = decode_event(body)
            if key in rates and event.state in ("done", "failed"):
                found.setdefault(table[key].id, mono - max(0, utc - event.ts))
    return found


def _writes(db: Any, since: int) -> list[tuple[str, bytes]]:
    sql = "SELECT key, body FROM event WHERE kind = 'write' AND ts > ? ORDER BY seq DESC LIMIT ?"
    return list(db.execute(sql, (since, MOST_LOOKED_AT)))


class Record:
    """The journal of a device on which no daemon runs, for as long as an order takes."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._identify = identities()

    async def keep(self, event: Event) -> None:
        """Returns when it is durable. Raises LinesideError where it cannot be."""
        event = replace(event, ts=self.journal.clock.utc(), id=self._identify())
        self.journal.append(events=[event])
        if not await self.journal.commit():
            raise LinesideError(f"{event.key} {event.state}, and the journal cannot keep it: {self.journal.trouble}")


@contextlib.asynccontextmanager
async def record(config: Config, folder: Path, clock: Clock) -> AsyncIterator[Record]:
    """Raises LinesideError where the journal cannot be opened: what cannot be put on record is not written."""
    try:
        journal = Journal(folder / "journal.db", clock, config.journal)
    except OSError as error:
        hint = "as which user does the daemon run? or name a folder of your own with --state"
        raise LinesideError(f"the order cannot be put on record in {folder}: {error.strerror}", hint=hint) from None
    journal.readers = delivering(config.sections)
    try:
        yield Record(journal)
    finally:
        journal.close()
