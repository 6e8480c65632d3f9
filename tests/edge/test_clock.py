"""A board without a clock, NTP that comes late, a clock that is set: nothing is stamped wrong without a word."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge import Batch, Event, Quality, Tag, TagTable
from edge.clock import RELEASED, SECOND, ManualClock, SystemClock, is_set
from edge.codec import decode
from edge.flow import Flow
from edge.health import Health
from edge.journal import Journal, JournalConfig
from edge.outlet import Outlet
from edge.texts import Texts
from edge.timekeeping import Timekeeper, unsure
from tests.edge.test_journal import with_journal

REAL = 1_790_000_000 * SECOND
BOOT = 90 * SECOND  # 1970


class Box:
    """A journal and a timekeeper on a clock that is not set yet."""

    def __init__(self, folder: Path, utc: int = BOOT) -> None:
        self.clock = ManualClock(utc)
        self.journal = Journal(folder / "journal.db", self.clock, JournalConfig())
        self.events: list[Event] = []
        self.set = False
        self.keeper = Timekeeper(self.clock, self.journal, self.events.append, lambda newest: self.set)

    def sample(self, value: float, **options: Any) -> None:
        now = self.clock.utc()
        self.journal.append([unsure(Batch.of("plc", [1], [value], now, **options), now)])

    async def kept(self) -> list[tuple[float, int, int]]:
        """(value, seconds, quality) of all that is sealed."""
        out: list[tuple[float, int, int]] = []
        for record in await self.journal.read("samples:plc", 0, 1000):
            found = decode("plc", record.body)
            out += zip(found.value.tolist(), (found.ts // SECOND).tolist(), found.quality.tolist(), strict=True)
        return out


def boxed(folder: Path, work: Any, **options: Any) -> None:
    async def main() -> None:
        box = Box(folder, **options)
        try:
            await work(box)
        finally:
            box.journal.close()

    asyncio.run(main())


def test_what_was_stamped_before_the_clock_was_set_is_moved_once(tmp_path: Path) -> None:
    async def work(box: Box) -> None:
        assert not box.clock.sure
        for i in range(5):
            box.sample(i)
            box.clock.advance(30)
            assert await box.journal.commit()
            box.keeper.look()
        assert await box.kept() == [] and box.events == [], "blocks stay open as long as nobody knows the time"
        box.sample(5, quality=Quality.TIMEOUT)
        step = REAL - box.clock.utc()
        box.clock.step(step)
        box.keeper.look()
        box.keeper.look()
        box.sample(6)
        assert await box.journal.commit()
        box.set = True
        box.keeper.look()
        box.journal.append([Batch.of("plc", [1], [7], box.clock.utc())])
        box.clock.advance(60)
        box.clock.step(5 * SECOND)
        box.keeper.look()
        assert await box.journal.commit(seal=True)
        start, marked = REAL // SECOND - 150, int(Quality.CLOCK_UNSURE)
        expected = [(float(i), start + 30 * i, marked) for i in range(5)]
        expected += [(5.0, start + 150, int(Quality.TIMEOUT)), (6.0, start + 150, marked), (7.0, start + 150, 0)]
        assert await box.kept() == expected, "once, and nothing after it was known"
        assert [e.state for e in box.events] == ["stepped", "set", "stepped"]
        assert box.events[0].data["by"] == pytest.approx(step / SECOND)

    boxed(tmp_path, work)


def test_what_was_moved_stays_so_over_a_power_cut(tmp_path: Path) -> None:
    async def work(box: Box) -> None:
        box.sample(1)
        assert await box.journal.commit()
        box.clock.step(REAL - box.clock.utc())
        box.keeper.look()
        assert await box.journal.commit()

    boxed(tmp_path, work)

    async def after(journal: Journal) -> None:
        assert await journal.commit(seal=True)
        (record,) = await journal.read("samples:plc")
        assert decode("plc", record.body).ts.tolist() == [REAL]

    with_journal(tmp_path, after)


@pytest.mark.parametrize("at_once", [True, False])
def test_what_an_earlier_start_left_behind_is_not_moved_by_how_far_the_clock_is_off_now(
    tmp_path: Path, at_once: bool
) -> None:
    async def before(box: Box) -> None:
        box.sample(1)
        assert await box.journal.commit()

    async def after(box: Box) -> None:
        box.sample(2)
        assert at_once or await box.journal.commit()
        box.clock.step(REAL - box.clock.utc())
        box.keeper.look()
        assert await box.journal.commit(seal=True)
        assert [(v, s) for v, s, _ in await box.kept()] == [(1.0, BOOT // SECOND), (2.0, REAL // SECOND)]

    boxed(tmp_path, before)
    boxed(tmp_path, after)


@pytest.mark.parametrize("step", [-30 * 86_400, 30 * 86_400])
def test_a_clock_that_was_set_by_mistake_takes_no_history(tmp_path: Path, step: int) -> None:
    async def work(journal: Journal) -> None:
        clock: Any = journal.clock

        async def look(wait: float) -> int:
            clock.advance(wait)
            assert await journal.commit()
            return len(await journal.read("event", 0, 100))

        journal.append(events=[Event("k", "k")])
        assert await look(11) == 1
        clock.step(step * SECOND), clock.look()
        assert await look(11) == await look(3600) == 1
        clock.step(-step * SECOND), clock.look()
        assert await look(11) == await look(3600) == 1
        assert await look(2 * 86_400) == 1, "as old as it may be"
        assert await look(86_400) == 0

    with_journal(tmp_path, work, keep="72h")


def test_a_refused_commit_is_moved_as_well(tmp_path: Path) -> None:
    async def work(box: Box) -> None:
        box.sample(1)
        assert await box.journal.commit()
        box.sample(2)
        box.journal._db.execute("PRAGMA query_only = 1")
        assert not await box.journal.commit()
        box.clock.step(REAL - box.clock.utc())
        box.keeper.look()
        assert not await box.journal.commit()
        box.journal._db.execute("PRAGMA query_only = 0")
        assert await box.journal.commit(seal=True)
        assert [s for _, s, _ in await box.kept()] == [REAL // SECOND] * 2

    boxed(tmp_path, work)


def test_a_clock_that_nobody_sets_holds_nothing_back_for_ever(tmp_path: Path) -> None:
    async def work(box: Box) -> None:
        box.sample(1)
        assert await box.journal.commit() and await box.kept() == []
        box.clock.advance(1000)
        box.sample(2)
        assert await box.journal.commit()
        assert [(v, q) for v, _, q in await box.kept()] == [(1.0, 1), (2.0, 1)]

    boxed(tmp_path, work)


def test_what_a_device_stamped_itself_is_not_doubted() -> None:
    batch = Batch.of("plc", [1, 2, 3], [1, 2, 3], [BOOT, REAL, BOOT + SECOND], [0, 0, int(Quality.BAD)])
    assert unsure(batch, BOOT).quality.tolist() == [int(Quality.CLOCK_UNSURE), 0, int(Quality.BAD)]


def test_what_a_driver_emits_says_that_the_clock_is_not_set(tmp_path: Path) -> None:
    clock, seen = ManualClock(BOOT), []
    site: Any = SimpleNamespace(drivers={"plc": SimpleNamespace(driver="replay")})
    daemon: Any = SimpleNamespace(
        clock=clock, folder=tmp_path, config=site, journal=SimpleNamespace(texts=Texts()), accept=seen.append
    )
    outlet = Outlet("plc", {"a": Tag("plc.a", id=1, source="plc")}, daemon)
    for sure in (False, True):
        clock.sure = sure
        outlet.emit(Batch.of("plc", [1], [1.0], clock.utc()))
    assert [int(q) for batch in seen for q in batch.quality] == [int(Quality.CLOCK_UNSURE), 0]


@pytest.mark.parametrize("step", [-86_400, 86_400])
def test_a_block_closes_by_a_clock_that_nobody_sets(tmp_path: Path, step: int) -> None:
    async def work(journal: Journal) -> None:
        clock: Any = journal.clock
        for i in range(2):  # the first is sealed at once
            journal.append([Batch.of("plc", [1], [i], clock.utc())])
            assert await journal.commit()
        clock.step(step * SECOND)
        clock.look()
        journal.append([Batch.of("plc", [1], [2], clock.utc())])
        assert await journal.commit() and len(await journal.read("samples:plc")) == 1
        clock.advance(61)
        assert await journal.commit() and len(await journal.read("samples:plc")) == 2

    with_journal(tmp_path, work)


def test_after_a_step_back_nothing_is_late(tmp_path: Path) -> None:
    clock = ManualClock()
    table = TagTable([Tag("plc.a", id=1, source="plc", stale_after=3600.0)])
    seen: list[int] = []

    class Sink:
        def append(self, batches: Any = (), *_: Any) -> None:
            seen.extend(int(q) for batch in batches for q in batch.quality)

    flow = Flow(table, [], Sink(), clock, Health(clock))  # type: ignore[arg-type]
    flow.accept(Batch.of("plc", [1], [1.0], clock.utc()))
    clock.step(-7200 * SECOND)
    clock.look()
    flow.accept(Batch.of("plc", [1], [2.0], clock.utc()))
    flow.forget_times()
    flow.accept(Batch.of("plc", [1], [3.0], clock.utc()))
    assert seen == [0, int(Quality.LATE), 0]


def test_the_systems_clock_moves_only_when_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    real = time.time_ns
    monkeypatch.setattr("edge.clock.time.time_ns", lambda: real() - 3600 * SECOND)
    before = clock.utc()
    assert abs(before - real()) < 10 * SECOND
    assert clock.look() == pytest.approx(-3600 * SECOND, abs=SECOND)
    assert clock.utc() < before - 3500 * SECOND and clock.look() == 0
    assert all(np.diff([clock.utc() for _ in range(1000)]) >= 0)


def test_which_clock_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = RELEASED + 10**6 * SECOND
    monkeypatch.setattr("edge.clock.time.time_ns", lambda: now)
    monkeypatch.setattr("edge.clock.synchronized", lambda: False)
    monkeypatch.setattr("edge.clock._board_without_clock", lambda: False)
    assert is_set(0) and is_set(now) and not is_set(now + 3600 * SECOND), "it is behind what was recorded"
    monkeypatch.setattr("edge.clock._board_without_clock", lambda: True)
    assert not is_set(0)
    monkeypatch.setattr("edge.clock.synchronized", lambda: True)
    assert is_set(0)
    monkeypatch.setattr("edge.clock.synchronized", lambda: False)
    now = RELEASED - 1
    monkeypatch.setattr("edge.clock._board_without_clock", lambda: False)
    assert not is_set(0)
