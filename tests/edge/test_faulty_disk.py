"""A disk that is full, refuses single operations or cannot read a sector: nothing durable is lost, nothing comes twice."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest

from edge import Event, LinesideError, salvage
from edge.clock import SECOND
from edge.codec import decode_event
from edge.journal import Journal
from edge.migrations import STEPS
from edge.tags import Tag
from tests.edge import faulty
from tests.edge.test_journal import batch, gaps, ten_blocks, values, with_journal
from tests.edge.test_migrations import older, version_of
from tests.edge.test_room import noise

PAGE = 4096


def only_the_reserve_left(folder: Path, sizes: dict[str, int]) -> faulty.Ask:
    """A disk that is full, so that no file grows, until the reserve is given back."""

    def ask(what: str, name: str, at: int, n: int) -> None:
        if what != "write":
            return
        if at + n > sizes.get(name, 0) and (folder / "journal.reserve").exists():
            raise faulty.full()
        sizes[name] = max(sizes.get(name, 0), at + n)

    return ask


@pytest.mark.parametrize("version", range(1, len(STEPS)))
def test_an_update_starts_on_a_full_disk(tmp_path: Path, version: int, caplog: pytest.LogCaptureFixture) -> None:
    older(tmp_path / "journal.db", version)
    (tmp_path / "journal.reserve").write_bytes(bytes(1_000_000))

    async def work(journal: Journal) -> None:
        assert await values(journal) == [1, 2, 3]
        journal.append([batch(4)])
        assert await journal.commit(seal=True)

    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    with faulty.disk(only_the_reserve_left(tmp_path, sizes)):
        with_journal(tmp_path, work)
    assert version_of(tmp_path / "journal.db") == len(STEPS)
    assert any("its reserve is given back" in line for line in caplog.messages)


def test_new_tags_find_room_on_a_full_disk(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        for i in range(10):
            journal.append([noise(i)])
            assert await journal.commit(seal=True)
        (pages,) = next(journal._db.execute("PRAGMA page_count"))
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        wanted = [Tag(f"plc.tag_{i}", unit="x" * 50) for i in range(100)]
        assert journal.tag_ids(wanted) == list(range(1, 101))

    with_journal(tmp_path, work)


def test_what_is_not_delivered_is_not_given_up_for_new_tags_without_a_word(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        journal.readers = {"sync"}
        for i in range(10):
            journal.append([noise(i)])
            assert await journal.commit(seal=True)
        (pages,) = next(journal._db.execute("PRAGMA page_count"))
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        journal.tag_ids([Tag(f"plc.tag_{i}", unit="x" * 50) for i in range(100)])
        held = [r.seq for r in await journal.read("samples:plc", 0, 100)]
        told = [n for _, stream, n in await gaps(journal) if stream == "samples:plc"]
        assert told and sorted(held + told) == list(range(1, 11))

    with_journal(tmp_path, work)


FAULTS = {
    "no space": ("write", faulty.full),
    "a write fails": ("write", lambda: faulty.broken(apsw.SQLITE_IOERR_WRITE)),
    "a sync fails": ("sync", lambda: faulty.broken(apsw.SQLITE_IOERR_FSYNC)),
}


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_any_operation_may_fail(tmp_path: Path, fault: str, once: bool) -> None:
    """Of the log: what fails in a checkpoint, SQLite keeps to itself and does again."""
    failing, error = FAULTS[fault]
    count, wanted, armed = 0, 0, False

    def ask(what: str, name: str, at: int, n: int) -> None:
        nonlocal count
        if armed and what == failing and name.endswith("-wal"):
            count += 1
            if count == wanted or (count > wanted and not once):
                raise error()

    async def work(journal: Journal) -> int:
        """The last that was said to be durable."""
        nonlocal armed
        armed, said, journal.readers = True, 0, {"sync"}
        for i in range(1, 5):
            journal.append([batch(i)], [Event("k", str(i))])
            if await journal.commit(seal=i == 3):
                said = i
        armed = False  # what is folded in at the end is a checkpoint
        return said

    async def check(journal: Journal) -> tuple[list[float], list[str], list[int]]:
        assert await journal.commit(seal=True)
        records = await journal.read("event")
        return await values(journal), [decode_event(r.body).key for r in records], [r.seq for r in records]

    while count >= wanted:
        count, wanted, armed = 0, wanted + 1, False
        folder = tmp_path / str(wanted)
        folder.mkdir()
        with faulty.disk(ask):
            said = with_journal(folder, work)
        got, keys, seqs = with_journal(folder, check)
        assert len(got) >= said and got == [float(i) for i in range(1, len(got) + 1)]
        assert len(keys) >= said and keys == [str(i) for i in range(1, len(keys) + 1)]
        assert seqs == list(range(1, len(seqs) + 1)) and (said >= 3 or not once)
    assert wanted > 4


def sector_of(folder: Path, table: str) -> int:
    """The root page of a table, from 0."""
    db = apsw.Connection(str(folder / "journal.db"))
    (root,) = next(db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)))
    db.close()
    return int(root) - 1


def unreadable(page: int, journal: Path) -> faulty.Ask:
    """A bad sector of the file that is there now, not of one that takes its place."""
    inode = journal.stat().st_ino

    def ask(what: str, name: str, at: int, n: int) -> None:
        if what != "read" or not at <= page * PAGE < at + n:
            return
        if name == "journal.db" and journal.stat().st_ino == inode:
            raise faulty.broken(apsw.SQLITE_IOERR_READ)

    return ask


@pytest.mark.parametrize("table", ["event", "block", "tail", "snapshot"])
def test_a_sector_that_cannot_be_read_is_damage_too(tmp_path: Path, table: str) -> None:
    with_journal(tmp_path, ten_blocks)

    async def work(journal: Journal) -> None:
        journal.readers = {"sync"}
        journal.snapshots()
        there, events = await values(journal), await journal.read("event", 0, 100)
        journal.append([batch(99)], [Event("k", "next")])
        assert await journal.commit(seal=True) and not journal.complaint
        told = [n for _, stream, n in await gaps(journal) if stream == "samples:plc" and n]
        assert len(there) + len(told) == 10 and len(events) >= 10

    with faulty.disk(unreadable(sector_of(tmp_path, table), tmp_path / "journal.db")):
        with_journal(tmp_path, work)
    assert (tmp_path / "journal.db.damaged").exists()


def test_a_sector_that_is_read_at_the_second_try_moves_nothing(tmp_path: Path) -> None:
    with_journal(tmp_path, ten_blocks)
    once: list[int] = []
    root = sector_of(tmp_path, "event")

    def ask(what: str, name: str, at: int, n: int) -> None:
        if armed and what == "read" and name == "journal.db" and at == root * PAGE and not once:
            once.append(at)
            raise faulty.broken(apsw.SQLITE_IOERR_READ)

    armed: list[bool] = []

    async def work(journal: Journal) -> None:
        armed.append(True)
        assert len(await journal.read("event", 0, 100)) == 10 and once

    with faulty.disk(ask):
        with_journal(tmp_path, work)
    assert not (tmp_path / "journal.db.damaged").exists()


def test_mending_is_tried_again_soon_where_the_disk_had_no_room_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    async def work(journal: Journal) -> None:
        clock: Any = journal.clock

        def no_room(*_: Any, **__: Any) -> None:
            tries.append(clock.mono())
            raise LinesideError("the disk is too full to save it")

        def damaged(*_: Any) -> int:
            raise apsw.CorruptError("malformed")

        with monkeypatch.context() as patch:
            patch.setattr(salvage, "salvage", no_room)
            patch.setattr(journal, "_find_room", damaged)
            journal.append([batch(1)])
            for _ in range(40):
                assert not await journal.commit()
                clock.advance(60)
        assert len(tries) == 40 and max(b - a for a, b in pairwise(tries)) == 60 * SECOND
        assert await journal.commit(seal=True) and await values(journal) == [1]

    with_journal(tmp_path, work)


def test_a_commit_is_on_the_disk_when_it_is_said_to_be(tmp_path: Path) -> None:
    """Switched off (`synchronous=NORMAL`), a power cut takes what was said to be durable."""
    waiting: list[str] = []

    def ask(what: str, name: str, at: int, n: int) -> None:
        if what == "write" and name.endswith("-wal"):
            waiting.append(name)
        elif what == "sync" and name.endswith("-wal"):
            waiting.clear()

    async def work(journal: Journal) -> None:
        for i in range(5):
            journal.append([batch(i)], [Event("k", str(i))] if i % 2 else [])
            waiting.append("something must be written")
            assert await journal.commit() and not waiting

    with faulty.disk(ask):
        with_journal(tmp_path, work)
