"""A damaged journal goes on: what can be read is kept, the rest is told of, and no number is given twice."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

from edge import Batch, Cursor, Event, records, salvage
from edge.clock import ManualClock
from edge.codec import decode, decode_event
from edge.journal import Journal
from edge.tags import Tag
from tests.edge.test_journal import batch, gaps, with_journal

PAGE = 4096
BLOCKS = 120
DELIVERED = 20
NOISE = np.random.default_rng(3)


async def filled(journal: Journal) -> None:
    """Blocks of two sources, events, a cursor, a snapshot, and a tail that is not sealed."""
    journal.readers = {"sync"}
    journal.tag_ids([Tag("plc.a"), Tag("plc.b")])
    for i in range(BLOCKS):
        some = Batch.of("plc", [1] * 100, NOISE.random(100), range(i * 100, i * 100 + 100))
        journal.append([some, batch(i, source="other")], [Event("k", str(i))])
        await journal.commit(seal=True)
    journal.moved("sync", "samples:plc", Cursor(DELIVERED))
    journal.moved("sync", "event", Cursor(DELIVERED))
    journal.append([batch(7, 8)], snapshots={"alarms": b"state"})
    await journal.commit()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    with_journal(folder, filled)
    return (folder / "journal.db").read_bytes()


def put(folder: Path, content: bytes) -> None:
    for path in folder.glob("journal.*"):
        path.unlink()
    (folder / "journal.db").write_bytes(content)


def spoilt(content: bytes, page: int) -> bytes:
    return content[: page * PAGE] + NOISE.bytes(PAGE) + content[(page + 1) * PAGE :]


async def accounted(journal: Journal, epoch: str) -> float:
    """The share of the records that is here. All others are told of, and what comes next has a number of its own."""
    journal.readers = {"sync"}
    journal.snapshots(), journal.tag_ids([Tag("plc.b")])
    held = {s: [r.seq for r in await journal.read(s, 0, 10_000)] for s in ("samples:plc", "samples:other", "event")}
    await journal.commit()
    told = await gaps(journal)
    if journal.epoch == epoch:
        for stream, here in held.items():
            gone = {n for _, s, n in told if s == stream}
            lost = set(range(1, BLOCKS + 1)) - gone - set(here)
            assert not lost or max(lost) <= DELIVERED, f"{stream}: {sorted(lost)} are neither here nor told of"
            assert not gone & set(here), "what is here is not said to be gone"
    journal.append([batch(1), batch(1, source="other")], [Event("k", "next")])
    assert await journal.commit(seal=True)
    last = {s: (await journal.read(s, 0, 10_000))[-1].seq for s in held}
    if journal.epoch == epoch:
        assert min(last.values()) > BLOCKS, "a number was given twice"
    return sum(n <= BLOCKS for here in held.values() for n in here) / (3 * BLOCKS)


async def since(journal: Journal) -> list[float]:
    """What came after the blocks."""
    records = await journal.read("samples:plc", BLOCKS, 10)
    return [value for r in records for value in decode("plc", r.body).value.tolist()]


def epoch_of(folder: Path) -> str:
    async def ask(journal: Journal) -> str:
        return journal.epoch

    return str(with_journal(folder, ask))


def test_any_page_may_be_spoilt(tmp_path: Path, whole: bytes) -> None:
    put(tmp_path, whole)
    epoch = epoch_of(tmp_path)
    shares = []
    for page in range(len(whole) // PAGE):
        put(tmp_path, spoilt(whole, page))

        async def work(journal: Journal) -> float:
            return await accounted(journal, epoch)

        shares.append(with_journal(tmp_path, work))
    assert shares[0] == 1, "where each table begins is known"
    assert min(shares) > 0.75, "no page but those of its rows holds much together"
    assert float(np.median(shares)) >= 0.95


def test_a_file_that_is_cut_off_keeps_what_is_before_the_cut(tmp_path: Path, whole: bytes) -> None:
    put(tmp_path, whole)
    epoch = epoch_of(tmp_path)
    put(tmp_path, whole[: len(whole) * 3 // 4])

    async def work(journal: Journal) -> None:
        assert await accounted(journal, epoch) > 0.1

    with_journal(tmp_path, work)


def test_what_a_start_needs_comes_over(tmp_path: Path, whole: bytes) -> None:
    put(tmp_path, whole)
    epoch = epoch_of(tmp_path)
    before = (tmp_path / "journal.db").read_bytes()
    salvage.salvage(tmp_path / "journal.db", 5)
    assert (tmp_path / "journal.db.damaged").read_bytes() == before

    async def work(journal: Journal) -> None:
        assert journal.epoch == epoch and journal.snapshots() == {"alarms": b"state"}
        assert (await journal.cursors("sync"))["samples:plc"].watermark == DELIVERED
        assert journal.tag_ids([Tag("plc.b"), Tag("plc.new")]) == [2, 3]
        assert await accounted(journal, epoch) == 1 and await gaps(journal) == []
        assert await since(journal) == [7, 8, 1], "the tail is there, once"

    with_journal(tmp_path, work)


def test_a_new_file_is_on_the_disk_before_it_takes_the_place_of_the_old(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, whole)
    synced, plain = [], os.fsync
    real = os.replace

    def sync(line: int) -> None:
        synced.append(os.fstat(line).st_ino)
        plain(line)

    def replace(old: Any, new: Any) -> None:
        if Path(new).name == "journal.db":
            assert Path(old).stat().st_ino in synced
        real(old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    salvage.salvage(tmp_path / "journal.db", 5)
    assert tmp_path.stat().st_ino == synced[-1], "nor is its name lost"


def test_what_a_destroyed_page_held_is_told_in_the_new_file(tmp_path: Path, whole: bytes) -> None:
    """Before anybody reads it."""
    put(tmp_path, whole)
    path = tmp_path / "journal.db"
    db = apsw.Connection(str(path))
    (root,) = next(db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'event'"))
    db.close()
    leaf = int.from_bytes(whole[(root - 1) * PAGE + 8 :][:4], "big")  # the rightmost page below it
    assert whole[(root - 1) * PAGE] == 5 and whole[(leaf - 1) * PAGE] == 13
    put(tmp_path, spoilt(whole, leaf - 1))
    salvage.salvage(path, 5)
    db = apsw.Connection(str(path))
    bodies = [body for (body,) in db.execute("SELECT body FROM event WHERE kind = 'gap'")]
    (here,) = next(db.execute("SELECT count(*) FROM event WHERE kind = 'k'"))
    db.close()
    spans = [decode_event(body).data for body in bodies]
    assert here < BLOCKS and sum(d["last"] - d["first"] + 1 for d in spans if d["stream"] == "event") == BLOCKS - here


def test_where_the_clock_was_set_back_a_gap_still_spans_both_its_neighbours() -> None:
    known = [(1, 1, 900, 950, 0), (3, 3, 100, 150, 0)]
    assert salvage._holes(known, 4, 200) == [(2, 2, 100, 950, 0), (4, 4, 200, 950, 0)]


STEPS = ("link", "replace", "unlink", "fsync")


@pytest.mark.parametrize("name", STEPS)
def test_a_power_cut_while_it_is_saved_leaves_the_old_or_the_new(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    put(tmp_path, whole)
    epoch = epoch_of(tmp_path)

    class Off(Exception):
        pass

    def until(n: int) -> Iterator[Any]:
        left = n
        plain = getattr(os, name)

        def once(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Off
            return plain(*given, **named)

        yield once

    for n in range(20):
        put(tmp_path, whole)
        with monkeypatch.context() as patch:
            patch.setattr(os, name, next(until(n)))
            try:
                salvage.salvage(tmp_path / "journal.db", 5)
                done = True
            except Off:
                done = False

        async def work(journal: Journal) -> None:
            assert journal.epoch == epoch and await accounted(journal, epoch) == 1

        with_journal(tmp_path, work)
        if done:
            break
    assert done and n > 0


def test_a_journal_that_is_damaged_while_it_is_in_use_is_mended_without_a_restart(tmp_path: Path, whole: bytes) -> None:
    put(tmp_path, whole)

    async def work(journal: Journal) -> None:
        epoch, path = journal.epoch, tmp_path / "journal.db"
        journal.append([batch(3)])
        assert await journal.commit()
        journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = next(journal._db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'event'"))
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.write(spoilt(content, root - 1))
        journal.append([batch(4)])
        assert await accounted(journal, epoch) >= 0.6
        assert journal.epoch == epoch and (tmp_path / "journal.db.damaged").exists() and not journal.complaint
        assert await since(journal) == [7, 8, 3, 4, 1], "nothing that waited is lost"
        told = [decode_event(r.body) for r in await journal.read("event", 0, 10_000)]
        assert [e.key for e in told if e.state == "salvaged"] == ["journal"]

    with_journal(tmp_path, work)


def test_what_the_tail_lost_before_the_first_commit_is_told_once(tmp_path: Path) -> None:
    async def fill(journal: Journal) -> None:
        journal.append([batch(1)])
        assert await journal.commit(seal=True)
        for value in (2, 3, 4):
            journal.append([batch(value, value)])
            assert await journal.commit()
        journal._db.execute("UPDATE tail SET body = zeroblob(20) WHERE id = 2")

    async def work(journal: Journal) -> None:
        journal._suspect = True
        for _ in range(2):
            assert await journal.commit(seal=True)
        told = [decode_event(r.body) for r in await journal.read("event")]
        assert [(e.data["stream"], e.data["samples"]) for e in told if e.kind == "gap"] == [("samples:plc", 2)]

    with_journal(tmp_path, fill)
    with_journal(tmp_path, work)


def test_who_asks_while_it_is_saved_reads_the_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is opened meanwhile would stay with the damaged file for ever."""
    real = salvage.salvage

    async def work(journal: Journal) -> None:
        journal.append([batch(1)], [Event("k", "before")])
        assert await journal.commit(seal=True)
        await journal.streams()
        asked: list[Any] = []

        def salvaged(*args: Any, **options: Any) -> None:
            asked.append(journal._reading.submit(journal._with_reader, records.sample_streams))
            wait(asked, 0.2)
            real(*args, **options)

        monkeypatch.setattr(salvage, "salvage", salvaged)
        journal._suspect = True
        assert await journal.commit()
        assert asked[0].result() == {"samples:plc": 1}
        journal.append([batch(2)], [Event("k", "after")])
        assert await journal.commit(seal=True)
        assert (await journal.streams())["samples:plc"] == 2
        assert [decode_event(r.body).key for r in await journal.read("event")] == ["before", "journal", "after"]

    with_journal(tmp_path, work)


def test_a_disk_without_room_to_save_it_is_said(tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, spoilt(whole, 0))

    def no_room(*_: Any) -> Any:
        raise apsw.FullError("full")

    monkeypatch.setattr(salvage, "_move", no_room)
    for _ in range(2):
        with pytest.raises(Exception, match=r"is damaged, and the disk is too full to save it \(free .* MB"):
            asyncio.run(_open(tmp_path))
    assert not (tmp_path / "journal.new").exists() and (tmp_path / "journal.db").exists()
    shutil.rmtree(tmp_path)


async def _open(folder: Path) -> None:
    Journal(folder / "journal.db", ManualClock()).close()
