"""What was said to be durable stays, whatever happens to the process, the disk or single bytes of the file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import Batch, Cursor, Event, LinesideError, Picture
from edge.clock import ManualClock
from edge.codec import decode, decode_event
from edge.errors import JournalBusy
from edge.journal import Journal, JournalConfig
from edge.migrations import STEPS
from edge.pending import Pending
from edge.records import snapshots
from edge.room import Reserve
from edge.rows import add_snapshots
from edge.tags import Tag
from tests.waiting import started


def with_journal(folder: Path, work: Callable[[Journal], Awaitable[Any]], **config: Any) -> Any:
    """Open, work, close; on a clock that stands still."""

    async def main() -> Any:
        journal = Journal(folder / "journal.db", ManualClock(), JournalConfig(**config))
        try:
            return await work(journal)
        finally:
            journal.close()

    return asyncio.run(main())


def batch(*values: float, source: str = "plc") -> Batch:
    return Batch.of(source, [1] * len(values), values, [round(v) for v in values])


async def values(journal: Journal, source: str = "plc") -> list[float]:
    """Every sealed value of a source, in order."""
    out: list[float] = []
    after = 0
    while records := await journal.read(f"samples:{source}", after, 8):
        for record in records:
            out += decode(source, record.body).value.tolist()
        after = records[-1].seq
    return out


async def gaps(journal: Journal) -> list[tuple[str, str, int]]:
    """Cause, stream and number of each record that gap events tell of."""
    told = [decode_event(r.body) for r in await journal.read("event", 0, 10_000)]
    data = [(e.state, e.data) for e in told if e.kind == "gap"]
    return [(cause, d["stream"], n) for cause, d in data for n in range(d["first"], d["last"] + 1)]


def spoil(folder: Path, sql: str) -> None:
    db = apsw.Connection(str(folder / "journal.db"))
    db.execute(sql)
    assert db.changes()
    db.close()


CHILD = """
import asyncio, sys
from pathlib import Path
from edge import Batch
from edge.clock import SystemClock
from edge.journal import Journal

async def main():
    journal, n = Journal(Path(sys.argv[1]), SystemClock()), 0
    while True:
        for _ in range(10):
            n += 1
            journal.append([Batch.of("plc", [1], [float(n)], n)])
        assert await journal.commit(seal=n % 70 == 0)
        print(n, flush=True)

asyncio.run(main())
"""


def test_what_was_durable_at_a_hard_stop_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with started([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(25)]
        os.kill(child.pid, signal.SIGKILL)
        said += [int(line) for line in child.stdout if line.endswith("\n")]

    async def work(journal: Journal) -> None:
        await journal.commit(seal=True)
        got = await values(journal)
        assert got == [float(i) for i in range(1, len(got) + 1)], "a hole, a repeat or another order"
        assert len(got) >= said[-1]

    with_journal(tmp_path, work)


def test_numbers_have_no_holes_whatever_the_order_of_seals_and_restarts(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        for i in range(4):
            journal.append([batch(i), batch(i, source="other")], [Event("k", str(i)), Event("k", "more")])
            await journal.commit(seal=i % 2 == 0)

    for _ in range(3):
        with_journal(tmp_path, work)

    async def check(journal: Journal) -> None:
        for stream in ("event", "samples:plc", "samples:other"):
            seqs = [r.seq for r in await journal.read(stream, 0, 1000)]
            assert seqs == list(range(1, len(seqs) + 1)) and seqs

    with_journal(tmp_path, check)


def test_a_cursor_is_a_mark_and_what_lies_above_it(tmp_path: Path) -> None:
    cursor = Cursor()
    for first, last in ((5, 6), (1, 1), (8, 9), (7, 7), (3, 3)):
        cursor.add(first, last)
    assert (cursor.watermark, cursor.ranges) == (1, [(3, 3), (5, 9)])
    assert [n for n in range(1, 11) if n in cursor] == [1, 3, 5, 6, 7, 8, 9]

    async def keep(journal: Journal) -> None:
        journal.moved("sync", "event", cursor)
        await journal.commit()

    async def find(journal: Journal) -> None:
        assert await journal.cursors("sync") == {"event": cursor} and await journal.cursors("else") == {}

    with_journal(tmp_path, keep)
    with_journal(tmp_path, find)


@given(st.lists(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=8), max_size=8))
def test_a_cursor_covers_what_a_set_of_numbers_holds(steps: list[list[tuple[int, int]]]) -> None:
    cursor, one_by_one, slow = Cursor(), Cursor(), set[int]()
    for step in steps:
        spans = [(first, first + more) for first, more in step]
        numbers = [n for first, last in spans for n in range(first, last + 1)]
        assert cursor.missing(numbers) == sorted(set(numbers) - slow)
        cursor.cover(spans)
        for span in spans:
            one_by_one.add(*span)
        slow.update(numbers)
        assert cursor == one_by_one and cursor.last() == max(slow, default=0)
        assert (
            [n for n in range(1, 70) if n in cursor]
            == sorted(slow)
            == sorted(set(range(1, 70)) - set(cursor.missing(range(1, 70))))
        )
        ends = [cursor.watermark, *(n for span in cursor.ranges for n in span)]
        assert ends == sorted(ends) and all(b[0] > a + 1 for a, b in zip(ends[::2], cursor.ranges, strict=False))


def test_a_second_daemon_is_told_who_owns_the_journal(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        with pytest.raises(JournalBusy, match=rf"process {os.getpid()}.*--state"):
            Journal(journal.path, journal.clock)

    with_journal(tmp_path, work)


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    async def nothing(journal: Journal) -> None: ...

    with_journal(tmp_path, nothing)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    db.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    db.execute(f"PRAGMA application_id = {len(STEPS) + 1}")  # no release before that one opens it
    db.close()
    for _ in range(2):  # the second time shows that the lock was given up
        with pytest.raises(LinesideError, match="newer release"):
            with_journal(tmp_path, nothing)


@pytest.mark.parametrize("bytes_", [b"no database" * 400, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_file_that_is_no_journal_is_set_aside_and_a_new_one_begins(
    tmp_path: Path, bytes_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "journal.db").write_bytes(bytes_)

    async def work(journal: Journal) -> None:
        journal.append([batch(1)])
        assert await journal.commit(seal=True)
        found = [decode_event(r.body) for r in await journal.read("event")]
        assert [(e.kind, e.state) for e in found] == [("journal", "salvaged")]

    with caplog.at_level("ERROR", "lineside"):
        with_journal(tmp_path, work)
        with_journal(tmp_path, work)
    assert (tmp_path / "journal.db.damaged").read_bytes() == bytes_
    assert sum("is damaged" in line for line in caplog.messages) == 1


def test_a_full_disk_is_said_and_heals_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reserve, "take", lambda self, size: False)

    async def work(journal: Journal) -> None:
        journal.readers = {"sync"}
        journal.append([batch(1)])
        assert await journal.commit()
        durable = journal.totals.durable
        (pages,) = next(journal._db.execute("PRAGMA page_count"))
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        journal.append([Batch.of("plc", [1] * 60_000, [i * 0.7311 % 1 for i in range(60_000)], range(60_000))])
        journal.append(events=[Event("alarm", "hot", "raised")])
        assert not await journal.commit() and journal.trouble == "the disk is full"
        assert journal.totals.durable == durable, "never said durable before it is"
        assert [decode_event(r.body).key for r in await journal.read("event")] == ["hot"], "events do not wait"
        journal.append([batch(3)])
        assert not await journal.commit()
        journal._db.execute("PRAGMA max_page_count = 1000000")
        assert await journal.commit(seal=True) and not journal.trouble
        assert len(await values(journal)) == 60_002 and journal.totals.dropped == 0
        assert [decode_event(r.body).key for r in await journal.read("event")] == ["hot"]

    with_journal(tmp_path, work)


def test_a_long_full_disk_gives_up_the_oldest_with_a_gap_and_keeps_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reserve, "take", lambda self, size: False)
    monkeypatch.setattr("edge.pending.MOST_BYTES", 21 * 1000)

    async def work(journal: Journal) -> None:
        await journal.commit()
        (pages,) = next(journal._db.execute("PRAGMA page_count"))
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        for i in range(30):
            journal.append([batch(*range(i * 100, i * 100 + 100))], [Event("k", str(i), text=os.urandom(20_000).hex())])
            assert not await journal.commit()
        journal._db.execute("PRAGMA max_page_count = 1000000")
        assert await journal.commit(seal=True)
        totals = journal.totals
        assert totals.dropped > 0 and totals.appended == totals.durable + totals.dropped == 3000
        got = await values(journal)
        assert got == [float(v) for v in range(totals.dropped, 3000)]
        events = [decode_event(r.body) for r in await journal.read("event", 0, 1000)]
        assert [e.key for e in events if e.kind == "k"] == [str(i) for i in range(30)]
        told = [e for e in events if e.kind == "gap"]
        assert sum(e.data["samples"] for e in told) == totals.dropped and {e.state for e in told} == {"journal_full"}

    with_journal(tmp_path, work)


def test_pictures_and_events_give_way_too_when_the_disk_goes_on_refusing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.pending.MOST_BYTES", 10_000)
    monkeypatch.setattr("edge.pending.MOST_EVENTS", 20)

    async def work(journal: Journal) -> None:
        await journal.commit()
        journal._db.execute("PRAGMA query_only = 1")
        for i in range(50):
            journal.append((), [Event("k", str(i))], [Picture(str(i), "image/png", bytes([i] * 1000))])
            if i == 30:
                journal.append(events=[Event("k", "large", text=os.urandom(50_000).hex())])
            await journal.commit()
        assert journal.trouble == "the disk is read-only" and journal.ready(), "rules go on"
        journal._db.execute("PRAGMA query_only = 0")
        assert await journal.commit()
        events = [decode_event(r.body) for r in await journal.read("event", 0, 1000)]
        told = {
            s: sum(e.data["samples"] for e in events if e.kind == "gap" and e.key == s) for s in ("event", "picture")
        }
        pictures = await journal.read("picture", 0, 1000)
        assert told["picture"] > 0 and len(pictures) + told["picture"] == 50 and pictures[-1].body[-1] == 49
        kept = [e.key for e in events if e.kind == "k"]
        assert told["event"] > 0 and len(kept) + told["event"] == 51 and kept[-1] == "49"

    with_journal(tmp_path, work)


def test_what_was_given_up_stays_told_and_bounded_however_long_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge.pending.MOST_BYTES", 10_000)
    monkeypatch.setattr("edge.pending.MOST_EVENTS", 20)
    pending, n, dropped = Pending(), 300, 0
    for i in range(1000):
        pending.add([Batch.of(f"s{i % 5}", range(n), np.zeros(n), i)], [Event("k", str(i))], [], {}, [])
        dropped += pending.give_way(i)
        assert len(pending.events) <= 20 + 8, "what is told of 5 sources and of the events"
    told = [event for event in pending.events if event.kind == "gap"]
    assert sum(e.data["samples"] for e in told if e.data["stream"].startswith("samples:")) == dropped
    assert dropped + sum(map(len, pending.batches)) == 1000 * n
    kept = sum(event.kind == "k" for event in pending.events)
    assert kept + sum(e.data["samples"] for e in told if e.key == "event") == 1000
    first = [e.data["from"] for e in told if e.key == "s0"]
    assert min(first) == 0 and max(e.data["to"] for e in told) >= 990


def test_what_never_got_a_number_is_told_from_its_first_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.pending.MOST_BYTES", 10_000)
    monkeypatch.setattr("edge.pending.MOST_EVENTS", 20)
    pending = Pending()
    for i in range(300):
        at, newer = 5_000 + i, Pending()
        newer.add([], [Event("k", str(i), ts=at)], [Picture(str(i), "image/png", bytes(100))], {}, [at])
        pending.follow(newer)
        pending.give_way(at)
    told = {event.key: event.data for event in pending.events if event.kind == "gap"}
    assert told["event"]["from"] == 5_000 and told["event"]["to"] > 5_200
    spans = [e.data for e in pending.events if e.key == "picture"]
    assert min(data["from"] for data in spans) == 5_000 and len(pending.came) == len(pending.pictures)


def test_large_events_are_bounded_by_their_bytes_while_the_disk_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.pending.MOST_EVENT_BYTES", 100_000)
    pending = Pending()
    for i in range(500):
        pending.add([], [Event("k", str(i), data={"boxes": "x" * 2_000})], [], {}, [])
        pending.give_way(i)
        assert len(pending.events) <= 45
    told = [event for event in pending.events if event.kind == "gap"]
    kept = [event.key for event in pending.events if event.kind == "k"]
    assert len(kept) >= 15 and kept[-1] == "499"
    assert sum(event.data["samples"] for event in told) + len(kept) == 500


def test_a_disk_that_takes_no_new_tags_is_said_plainly(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        (pages,) = next(journal._db.execute("PRAGMA page_count"))
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LinesideError, match=r"cannot take new tags: the disk is full \(free some space\)"):
            journal.tag_ids([Tag(f"plc.tag_{i}", unit="x" * 200) for i in range(200)])

    with_journal(tmp_path, work)


def test_cancelling_who_waits_for_a_commit_loses_nothing_of_it(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        held = threading.Event()
        journal._writer.submit(held.wait, 20)  # the writer is busy, so the commit has not begun
        journal.append([batch(1, 2, 3)])
        waiting = asyncio.ensure_future(journal.commit())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        held.set()
        assert await journal.commit(seal=True)
        assert await values(journal) == [1, 2, 3] and journal.totals.durable == 3

    with_journal(tmp_path, work)


def test_tags_get_their_numbers_between_commits_not_inside_one(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        for i in range(30):
            journal.append([batch(i)])
            commit = asyncio.ensure_future(journal.commit())
            await asyncio.sleep(0)
            first = journal.tag_ids([Tag(f"plc.t{i}"), Tag("plc.same")])
            assert await commit and not journal.trouble
            assert journal.tag_ids([Tag(f"plc.t{i}"), Tag("plc.same")]) == first
        assert len(await journal.read("tag", 0, 1000)) == 31

    with_journal(tmp_path, work)


async def ten_blocks(journal: Journal) -> None:
    for i in range(10):
        journal.append([batch(i)], [Event("k", str(i))])
        await journal.commit(seal=True)


@pytest.mark.parametrize("bad", [(3,), (1,), (10,), (1, 2, 3, 4, 5, 6, 7, 8, 9), tuple(range(1, 11))])
def test_a_damaged_block_is_no_data_and_a_gap_tells_of_it_once(tmp_path: Path, bad: tuple[int, ...]) -> None:
    with_journal(tmp_path, ten_blocks)
    spoil(tmp_path, f"UPDATE block SET body = zeroblob(length(body)) WHERE seq IN ({','.join(map(str, bad))})")

    async def work(journal: Journal) -> None:
        for _ in range(3):
            assert await values(journal) == [float(i) for i in range(10) if i + 1 not in bad]
            await journal.commit()
        assert await gaps(journal) == [("damaged", "samples:plc", seq) for seq in bad]

    with_journal(tmp_path, work)


def test_a_damaged_event_leaves_a_gap_in_its_stream(tmp_path: Path) -> None:
    with_journal(tmp_path, ten_blocks)
    spoil(tmp_path, "UPDATE event SET body = zeroblob(length(body)) WHERE seq = 4")

    async def work(journal: Journal) -> None:
        await journal.read("event")
        await journal.commit()
        assert [r.seq for r in await journal.read("event")] == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
        assert await gaps(journal) == [("damaged", "event", 4)]

    with_journal(tmp_path, work)


def test_what_a_source_gives_first_is_sealed_with_its_commit(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        for i in range(3):
            journal.append([batch(i), batch(10 + i, source="other")] if i else [batch(i)])
            await journal.commit()
            assert await values(journal) == [0]
        assert await values(journal, "other") == [11]

    async def again(journal: Journal) -> None:
        await journal.commit()
        assert await values(journal) == [0, 1, 2], "what a stop left open is not kept waiting either"

    with_journal(tmp_path, work)
    with_journal(tmp_path, again)


def test_a_tail_of_a_newer_release_is_left_for_it(tmp_path: Path) -> None:
    async def some(journal: Journal) -> None:
        for i in range(2):
            journal.append([batch(i)])
            await journal.commit()

    with_journal(tmp_path, some)
    db = apsw.Connection(str(tmp_path / "journal.db"))
    ((row, body),) = list(db.execute("SELECT id, body FROM tail"))
    newer = bytes([99]) + body[1:]
    db.execute("UPDATE tail SET body = ?, crc = ? WHERE id = ?", (newer, zlib.crc32(newer), row))
    with pytest.raises(LinesideError, match=r"newer release.*\n?.*install the release"):
        with_journal(tmp_path, some)
    assert list(db.execute("SELECT id, body FROM tail")) == [(row, newer)]
    db.close()


def test_a_damaged_tail_is_told_once_and_the_rest_is_replayed(tmp_path: Path) -> None:
    async def some(journal: Journal) -> None:
        for i in range(4):
            journal.append([batch(i + 5)])
            await journal.commit()

    with_journal(tmp_path, some)
    spoil(tmp_path, "UPDATE tail SET body = zeroblob(9) WHERE id = 2")

    async def work(journal: Journal) -> None:
        await journal.commit()

    with_journal(tmp_path, work)

    async def check(journal: Journal) -> None:
        await journal.commit(seal=True)
        assert await values(journal) == [5, 6, 8]
        assert await gaps(journal) == [("damaged", "samples:plc", 0)]
        (told,) = [e for e in (decode_event(r.body) for r in await journal.read("event")) if e.kind == "gap"]
        assert (told.data["from"], told.data["to"]) == (5, journal.clock.utc()), "since the block before it"

    with_journal(tmp_path, check)


def test_an_event_that_cannot_be_written_holds_nothing_back(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        endless: list[Any] = []
        endless.append(endless)
        odd = ({"x": object()}, {"x": 2**70}, {"x": endless})
        journal.append([batch(1)], [Event("k", str(i), data=data) for i, data in enumerate(odd)])
        whole: Any = np.int64(5)
        journal.append(events=[Event("k", "whole", ts=whole), Event("k", "far", ts=2**64), Event("k", "\udc80")])
        journal.append(events=[Event("k", whole), Event("k", "none", data=None, text=None)])  # type: ignore[arg-type]
        journal.append(events=[Event("k", "fine")])
        assert await journal.commit(seal=True)
        assert await values(journal) == [1]
        found = [decode_event(r.body) for r in await journal.read("event")]
        assert [e.key for e in found] == ["0", "1", "2", "whole", "far", "?", "5", "none", "fine"]
        assert found[3].ts == 5 and not found[3].data

    with_journal(tmp_path, work)


def test_a_state_that_is_as_it_was_is_not_written_again() -> None:
    db, written = apsw.Connection(":memory:"), []
    db.execute("CREATE TABLE snapshot (name TEXT PRIMARY KEY, body BLOB NOT NULL, crc INTEGER) WITHOUT ROWID")
    for body in (b"one", b"one", b"two"):
        before = db.total_changes()
        add_snapshots(db, {"a": body})
        written.append(db.total_changes() - before)
    assert written == [1, 0, 1] and snapshots(db) == {"a": b"two"}


def test_what_the_writer_cannot_take_is_said_and_does_not_end_it(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        running = asyncio.ensure_future(journal.run())
        odd: Any = {"stage": object()}
        journal.append([batch(1)], [Event("k", "e")], snapshots=odd)
        while not journal.trouble and not running.done():
            await asyncio.sleep(0)
        assert "TypeError" in journal.trouble and not running.done()
        journal._pending.snapshots.clear()
        journal.append(events=[Event("k", "later")])
        assert await journal.commit() and not journal.trouble and journal.totals.durable == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with_journal(tmp_path, work)


def test_above_its_size_delivered_goes_first_and_the_undelivered_leaves_a_gap(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        clock: Any = journal.clock
        journal.readers = {"sync"}
        n = 0
        for i in range(60):
            noise = [(k * 7919 + i * 104_729) % 1_000_003 * 0.001 for k in range(2_000)]
            journal.append([Batch.of("plc", [1] * 2_000, noise, range(n, n + 2_000))])
            n += 2_000
            clock.advance(11)
            assert await journal.commit(seal=True)
            if i < 10:
                journal.moved("sync", "samples:plc", Cursor(i + 1))
        left = await journal.read("samples:plc", 0, 1000, 10**9)
        assert left and left[-1].seq == 60
        given_up = [first for _, _, first in await gaps(journal)]
        assert given_up and given_up == list(range(11, left[0].seq)), "each undelivered block has one gap, no other has"

    with_journal(tmp_path, work, at_most=200_000)


def test_pictures_keep_counting_when_the_older_ones_are_gone(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        clock: Any = journal.clock
        for day in range(3):
            journal.append(pictures=[Picture(f"{day}a", "image/png", b"x"), Picture(f"{day}b", "image/png", b"y")])
            await journal.commit()
            assert [r.seq for r in await journal.read("picture")] == [2 * day + 1, 2 * day + 2]
            journal.append(pictures=[Picture(f"{day}b", "image/png", b"y")])  # a repeat
            await journal.commit()
            clock.advance(86_400)
            await journal.commit()
            assert await journal.read("picture") == []

    with_journal(tmp_path, work, keep="1h")


def test_nothing_delivered_is_dropped_before_its_time(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        clock: Any = journal.clock
        await ten_blocks(journal)
        clock.advance(50)
        await journal.commit()
        assert len(await values(journal)) == 10
        clock.advance(3600)
        journal.append([batch(99)])
        await journal.commit(seal=True)
        assert await values(journal) == [99] and await gaps(journal) == []

    with_journal(tmp_path, work, keep="1h")


def test_what_was_delivered_above_a_watermark_that_went_back_and_is_gone_is_no_damage(tmp_path: Path) -> None:
    """A plane that is put back to a backup may hold newer records already, which are here no more."""

    async def work(journal: Journal) -> None:
        journal.readers = {"sync"}
        await ten_blocks(journal)
        journal.moved("sync", "samples:plc", Cursor(1, [(3, 4)]))
        await journal.commit()
        journal._db.execute("DELETE FROM block WHERE seq <= 5")
        assert [record.seq for record in await journal.read("samples:plc", 1)] == [6, 7, 8, 9, 10]
        await journal.commit()
        assert await gaps(journal) == [("damaged", "samples:plc", 2), ("damaged", "samples:plc", 5)]

    with_journal(tmp_path, work)


def test_what_is_missing_is_told_to_who_is_still_to_come_to_it_also_where_another_reader_had_it(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        journal.readers = {"sync", "forward", "new"}
        await ten_blocks(journal)
        for reader, mark in (("sync", 3), ("forward", 9), ("new", 0)):
            journal.moved(reader, "samples:plc", Cursor(mark))
        await journal.commit()
        journal._db.execute("DELETE FROM block WHERE seq IN (2, 5)")
        for after in (3, 0):
            await journal.read("samples:plc", after)
            await journal.commit()
        assert await gaps(journal) == [("damaged", "samples:plc", 5)]

    with_journal(tmp_path, work)


@pytest.mark.parametrize("full", [False, True])
def test_a_gap_stays_told_until_every_reader_has_passed_it(tmp_path: Path, full: bool) -> None:
    async def work(journal: Journal) -> None:
        clock: Any = journal.clock
        journal.readers = {"sync"}
        await ten_blocks(journal)
        journal._db.execute("UPDATE block SET crc = crc + 98765 WHERE seq = 7")
        assert await journal.read("samples:plc")
        assert await journal.commit() and await gaps(journal) == (told := [("damaged", "samples:plc", 7)])
        journal.moved("sync", "samples:plc", Cursor(3))
        journal.moved("sync", "event", Cursor(11))
        clock.advance(60 if full else 4000)
        assert await journal.commit()
        if full:
            journal.room.clear(journal._db, journal.readers, 10**9, unsent=False)
        assert len(await journal.read("event", 0, 1000)) == 1, "the others went"
        assert len(await values(journal)) >= 6 and await journal.commit()
        assert await gaps(journal) == told, "once"
        journal.moved("sync", "samples:plc", Cursor(7))
        clock.advance(4000)
        assert await journal.commit() and await gaps(journal) == []

    with_journal(tmp_path, work, keep="1h")


def test_an_event_does_not_wait_for_the_commit_window(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        running = asyncio.ensure_future(journal.run())
        await asyncio.sleep(0)  # so that it waits for its window
        journal.append(events=[Event("command", "write")])
        async with asyncio.timeout(120):
            while True:
                news = journal.news
                if await journal.read("event"):
                    break
                await news.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with_journal(tmp_path, work, durable_within="60s")
