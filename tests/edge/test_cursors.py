"""A reader's cursor that goes back: what it lacks is kept for it at once, and what is gone is told with the same step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge import Cursor, Event
from edge.disk import Unwritable
from edge.journal import Journal
from tests.edge.test_journal import batch, values, with_journal

STREAM = "samples:plc"


async def delivered(journal: Journal) -> None:
    """Six blocks, of which a commit that still waits says that all were delivered."""
    journal.readers = {"sync"}
    for n in range(1, 7):
        journal.append([batch(n)])
        await journal.commit(seal=True)
    journal.moved("sync", STREAM, Cursor(6))


def back(db: Any) -> tuple[dict[str, Cursor], list[Event]]:
    return {STREAM: Cursor(2)}, [Event("gap", "plc", "forgotten")]


def test_what_a_cursor_went_back_over_is_kept_from_then_on(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        clock: Any = journal.clock
        await delivered(journal)
        await journal.revise("sync", back)
        clock.advance(3600)
        await journal.commit()  # it deletes what is delivered and over its time
        assert (await journal.cursors("sync"))[STREAM] == Cursor(2)
        assert await values(journal) == [3, 4, 5, 6]

    with_journal(tmp_path, work, keep="1s")


def test_a_cursor_goes_back_with_its_events_or_not_at_all(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        await delivered(journal)
        await journal.commit()
        await journal.on_writer(lambda db: db.execute("PRAGMA query_only = 1"))
        with pytest.raises(Unwritable, match=r"journal\.db"):
            await journal.revise("sync", back)
        await journal.on_writer(lambda db: db.execute("PRAGMA query_only = 0"))
        assert (await journal.cursors("sync"))[STREAM] == Cursor(6) and not await journal.read("event")
        await journal.revise("sync", back)
        assert (await journal.cursors("sync"))[STREAM] == Cursor(2) and len(await journal.read("event")) == 1

    with_journal(tmp_path, work, keep="1h")
