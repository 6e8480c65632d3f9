"""The chain of reviews goes on from what is durable, whatever the disk does with one of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest

from edge import Chain, Event, LinesideError, sound_events
from edge.app import Daemon
from edge.config.load import load_text
from models.quality.chain import breaks
from tests.edge import faulty
from tests.waiting import run, until

SITE = "device: {id: d}\n"
REFUSALS = {
    "the disk is full": faulty.full,
    "the disk reports an error": lambda: faulty.broken(apsw.SQLITE_IOERR_WRITE),
}


class Disk:
    """Refuses this many writes of the journal, and counts them."""

    def __init__(self, error: Callable[[], apsw.Error]) -> None:
        self.error, self.refuses, self.refused = error, 0, 0

    def __call__(self, what: str, name: str, at: int, n: int) -> None:
        if what == "write" and name.startswith("journal.db") and self.refused < self.refuses:
            self.refused += 1
            raise self.error()


def on(folder: Path, disk: Disk, work: Callable[[Daemon], Awaitable[None]]) -> None:
    """A daemon on this disk that has judged three parts, and one of them was reviewed."""

    async def body() -> None:
        daemon = Daemon(load_text(SITE), folder)
        await daemon.start()
        parts = Chain()
        for n in range(1, 4):
            daemon.accept(parts.link(Event("inspection", "aoi", "ng", n, data={"part": n})))
        assert await daemon.journal.commit()
        try:
            await says(daemon, 1, "anna")
            await work(daemon)
        finally:
            disk.refuses = 0
            await daemon.stop()

    with faulty.disk(disk):
        run(body)


async def says(daemon: Daemon, part: int, by: str) -> Event:
    rows = await daemon.journal.ask(lambda db: list(db.execute("SELECT seq FROM event WHERE kind = 'inspection'")))
    (seq,) = sorted(rows)[part - 1]
    async with daemon.reviews.turn(seq) as inspection:
        assert inspection is not None and inspection.data["part"] == part
        return await daemon.reviews.taken(inspection, {"seq": seq, "state": "ok", "by": by})


async def kept(daemon: Daemon) -> list[tuple[int, str]]:
    """(part, by) of each review in the journal, which are one chain."""
    events = await daemon.journal.ask(lambda db: list(sound_events(db, "WHERE kind = 'review' ORDER BY seq")))
    assert list(breaks(events)) == []
    return [(event.data["part"], event.data["by"]) for event in events]


@pytest.mark.parametrize("why", REFUSALS)
def test_a_review_that_the_disk_refuses_never_was(tmp_path: Path, why: str) -> None:
    disk = Disk(REFUSALS[why])

    async def work(daemon: Daemon) -> None:
        disk.refuses = 10**9
        for by in ("anna", "ben"):
            with pytest.raises(LinesideError, match=f"the journal cannot keep it: {why}.*say it again"):
                await says(daemon, 2, by)
        disk.refuses = 0
        await says(daemon, 3, "carl")
        await says(daemon, 2, "ben")
        assert await kept(daemon) == [(1, "anna"), (3, "carl"), (2, "ben")]

    on(tmp_path, disk, work)


def test_a_review_that_the_next_commit_took_after_one_that_failed_is_told_as_kept(tmp_path: Path) -> None:
    disk = Disk(REFUSALS["the disk reports an error"])

    async def work(daemon: Daemon) -> None:
        assert daemon._journaling is not None
        daemon._journaling.cancel()  # no commits but ours
        await asyncio.wait([daemon._journaling])
        gate = threading.Event()
        held = asyncio.create_task(daemon.journal.on_writer(lambda db: gate.wait(60)))
        await until(daemon.journal._committing.locked)
        said = asyncio.create_task(says(daemon, 2, "ben"))
        await until(lambda: daemon.reviews._settling)
        await until(lambda: daemon.journal._committing._waiters)  # for its commit
        other = asyncio.create_task(daemon.journal.commit())
        disk.refuses = 1
        gate.set()
        assert await held and await other and disk.refused == 1
        assert (await said).data["by"] == "ben"
        await says(daemon, 3, "carl")
        assert await kept(daemon) == [(1, "anna"), (2, "ben"), (3, "carl")]

    on(tmp_path, disk, work)


def test_a_review_whose_author_left_before_it_was_durable_is_in_the_chain(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        gate = threading.Event()
        held = asyncio.create_task(daemon.journal.on_writer(lambda db: gate.wait(60)))
        await until(daemon.journal._committing.locked)
        left = asyncio.create_task(says(daemon, 2, "ben"))
        await until(lambda: daemon.reviews._settling)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        after = asyncio.create_task(says(daemon, 3, "carl"))
        gate.set()
        await held
        await after
        assert await kept(daemon) == [(1, "anna"), (2, "ben"), (3, "carl")]

    on(tmp_path, Disk(faulty.full), work)
