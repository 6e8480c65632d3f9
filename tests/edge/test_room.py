"""The journal's place on its disk: never more than it may have, always able to go on, and nothing given up without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import Batch, Cursor, Event, Picture, retention
from edge.clock import SECOND
from edge.codec import decode_event
from edge.journal import Journal
from edge.outlook import Outlook, foretell
from edge.room import Budget, Reserve
from tests.edge.test_journal import gaps, with_journal

NOISE = np.random.default_rng(7)
N = 2_000


def noise(n: int, source: str = "plc") -> Batch:
    """Samples that compress badly, numbered by their time."""
    return Batch.of(source, [1] * N, NOISE.random(N), range(n * N, (n + 1) * N))


def full(journal: Journal) -> None:
    """From now on the file cannot grow, as on a disk that is full."""
    (pages,) = next(journal._db.execute("PRAGMA page_count"))
    journal._db.execute(f"PRAGMA max_page_count = {pages}")


def freed(journal: Journal) -> None:
    journal._db.execute("PRAGMA max_page_count = 1000000")


async def numbers(journal: Journal, stream: str = "samples:plc") -> list[int]:
    return [r.seq for r in await journal.read(stream, 0, 10_000, 10**9)]


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("journal.*") if path.suffix != ".db-shm")


@pytest.fixture
def no_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the disk is full."""
    monkeypatch.setattr(Reserve, "take", lambda self, size: False)


async def some_blocks(journal: Journal, n: int, delivered: int) -> None:
    journal.readers = {"sync"}
    for i in range(n):
        journal.append([noise(i)])
        assert await journal.commit(seal=True)
    journal.moved("sync", "samples:plc", Cursor(delivered))
    assert await journal.commit()


@pytest.mark.usefixtures("no_reserve")
def test_on_a_full_disk_what_is_new_takes_the_place_of_what_is_delivered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(journal: Journal) -> None:
        await some_blocks(journal, 60, 50)
        full(journal)
        for i in range(60, 80):
            journal.append([noise(i)], [Event("k", str(i))])
            assert await journal.commit(seal=True)
        assert journal.room.tight and journal.complaint == "the disk is full" and not journal.trouble
        held = await numbers(journal)
        assert held[-30:] == list(range(51, 81)) and await gaps(journal) == []
        assert journal.totals.appended == journal.totals.durable

    with caplog.at_level("ERROR", "lineside"):
        with_journal(tmp_path, work)
    assert sum("the disk is full" in line for line in caplog.messages) == 1


@pytest.mark.usefixtures("no_reserve")
def test_what_is_not_delivered_goes_only_when_the_waiting_room_is_half_full_and_events_never_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.pending.MOST_BYTES", 21 * N * 8)

    async def work(journal: Journal) -> None:
        await some_blocks(journal, 30, 0)
        full(journal)
        refused = 0
        for i in range(30, 60):
            journal.append([noise(i)], [Event("k", str(i))])
            refused += not await journal.commit(seal=True)
            happened = [decode_event(r.body) for r in await journal.read("event", 0, 10_000)]
            assert [e.key for e in happened if e.kind == "k"] == [str(k) for k in range(30, i + 1)], "durable at once"
            if i < 33:
                assert await gaps(journal) == [] and journal.trouble == "the disk is full"
        assert refused > 2 and journal.totals.dropped == 0
        freed(journal)
        assert await journal.commit(seal=True)
        held, told = await numbers(journal), [seq for _, _, seq in await gaps(journal)]
        assert told and sorted(held + told) == list(range(1, max(held) + 1)), "each is here or told of, and once"
        assert held[0] == max(told) + 1, "the oldest went"

    with_journal(tmp_path, work)


def test_the_disk_has_room_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(journal: Journal) -> None:
        await some_blocks(journal, 60, 50)
        full(journal)
        journal.append([noise(60)])
        assert await journal.commit(seal=True) and not journal.complaint
        assert journal.room.reserve.held() == journal.room.budget.reserve
        assert next(journal._db.execute("PRAGMA max_page_count"))[0] * 4096 > 1_000_000

    with caplog.at_level("WARNING", "lineside"):
        with_journal(tmp_path, work, at_most=20_000_000)
    assert any("the disk has room, writing again" in line for line in caplog.messages)


def test_a_reserve_is_held_only_where_as_much_stays_free(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "journal.reserve")
    assert not reserve.take(2**60) and reserve.held() == 0 and not reserve.release()
    assert reserve.take(1_000_000) and reserve.held() == 1_000_000
    assert reserve.path.stat().st_blocks * 512 >= 1_000_000, "it is no sparse file"
    assert reserve.take(500_000) and reserve.release() and not reserve.path.exists()


def test_all_files_together_keep_to_the_budget(tmp_path: Path) -> None:
    at_most = 3_000_000

    async def work(journal: Journal) -> None:
        clock: Any = journal.clock
        most = 0
        for i in range(300):
            journal.append([noise(i)], [Event("k", str(i))])
            assert await journal.commit(seal=i % 5 == 0)
            clock.advance(11)
            most = max(most, on_disk(tmp_path))
        assert at_most * 0.7 < most <= at_most
        assert (tmp_path / "journal.reserve").stat().st_size == Budget(at_most).reserve

    with_journal(tmp_path, work, at_most=at_most)


def test_a_file_at_its_own_size_is_no_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What comes is larger than what is left of its size: delivered goes for it, the copy of a damaged file stays."""
    copy = tmp_path / "journal.db.damaged"

    async def work(journal: Journal) -> None:
        copy.write_bytes(b"kept")
        journal.readers = {"sync"}
        for i in range(40):
            for part in range(50):
                journal.append([noise(50 * i + part)])
            assert await journal.commit(seal=True)
            journal.moved("sync", "samples:plc", Cursor(i + 1))
            assert not journal.room.tight

    with caplog.at_level("ERROR", "lineside"):
        with_journal(tmp_path, work, at_most=10_000_000)
    assert copy.exists() and not any("the disk is full" in line for line in caplog.messages)


def test_classes_go_in_order_and_gap_records_never(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        clock: Any = journal.clock
        journal.readers = {"sync"}
        for i in range(40):
            journal.append([noise(i)], [Event("k", str(i))], [Picture(f"p{i}", "image/png", NOISE.bytes(20_000))])
            assert await journal.commit(seal=True)
            clock.advance(11)
        pictures, blocks = await numbers(journal, "picture"), await numbers(journal)
        told = await gaps(journal)
        assert {stream for _, stream, _ in told} == {"picture", "samples:plc"}, "pictures first, no event yet"
        assert len(pictures) <= len(blocks)
        held = {"picture": pictures, "samples:plc": blocks}
        for stream, here in held.items():
            assert sorted([*here, *(n for _, s, n in told if s == stream)]) == list(range(1, 41))
        for i in range(40, 200):
            journal.append(events=[Event("k", str(i), text=NOISE.bytes(2_000).hex())])
            assert await journal.commit()
            clock.advance(11)
        told = await gaps(journal)
        assert "event" in {stream for _, stream, _ in told} and await numbers(journal) == []
        events = await numbers(journal, "event")
        gone = [n for _, stream, n in told if stream == "event"]
        assert sorted(events + gone) == list(range(1, events[-1] + 1)), "each once"
        for stream in held:
            assert [n for _, s, n in told if s == stream] == sorted(range(1, 41)), "still told"

    with_journal(tmp_path, work, at_most=700_000)


def test_gap_records_that_stay_are_looked_through_once_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With thousands of them, at each step, it held up every commit for many seconds."""
    looked: list[bytes] = []
    gap_of = retention._gap_of
    monkeypatch.setattr(retention, "_gap_of", lambda body: (looked.append(body), gap_of(body))[1])

    async def work(journal: Journal) -> None:
        journal.readers = {"sync"}
        lacks = [retention.lack(10**18, "samples:plc", (n, n, 0, 0, 1), "evicted") for n in range(5, 305, 2)]
        journal.append(events=[*lacks, *(Event("k", str(i)) for i in range(300))])
        journal.moved("sync", "event", Cursor(450))
        assert await journal.commit()
        looked.clear()
        retention.give_up(journal._db, journal.readers, 10**18, lambda: False, unsent=False)
        assert len(await numbers(journal, "event")) == len(looked) == 150

    with_journal(tmp_path, work)


def test_how_long_it_lasts_is_foretold_from_what_is_here(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        clock: Any = journal.clock
        journal.readers = {"sync"}
        assert (await journal.outlook()).holds is None
        for i in range(121):
            journal.append([noise(i)])
            assert await journal.commit(seal=True)
            clock.advance(60)
        journal.moved("sync", "samples:plc", Cursor(61))
        await journal.commit()
        told = await journal.outlook()
        assert told.grows and told.holds and told.left
        assert told.grows == pytest.approx(told.used * 12, rel=0.02)
        assert told.holds == pytest.approx(journal.room.budget.pages / told.used * 2, rel=0.02)
        assert told.holds - told.left == pytest.approx(1, rel=0.1), "an hour of it waits"
        assert Outlook.of(json.loads(json.dumps(told.plain()))) == told and "without a link" in told.words()
        small = foretell(journal._db, Budget(10**6), ["sync"], clock.utc() + 10**6 * SECOND, tmp_path)
        assert small.left == 0, "all of it waits longer than it lasts"

    with_journal(tmp_path, work, at_most=50_000_000)
