"""What the OPC UA driver makes of times: a source ahead or behind, a server whose clock is set, a new session."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.opcua.newest import APART, Newest
from edge import SECOND, ManualClock, Quality
from edge.testing import FakeSource

NOW = 1_800_000_000 * SECOND
GOOD, UNSURE = Quality.GOOD, Quality.CLOCK_UNSURE


class Rig:
    """A server whose clock is at NOW plus `passed` seconds, and one tag."""

    def __init__(self) -> None:
        self.clock = ManualClock(utc=NOW)
        self.source = FakeSource("oven", ["temp", "other"], self.clock)
        self.newest = Newest(self.source, [tag.id for tag in self.source.tags.values()])
        self.newest.see_clock(NOW)

    def take(self, at: float, value: float, **how: Any) -> None:
        self.newest.take([(0, NOW + round(at * SECOND), value, GOOD)], **how)

    def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.newest.see_clock(self.newest.clock())

    @property
    def last(self) -> tuple[float, float, int]:
        """Seconds after NOW, value and quality of the newest sample of the first tag."""
        batch = self.source.batches[-1]
        return (int(batch.ts[0]) - NOW) / SECOND, float(batch.value[0]), int(batch.quality[0])


def test_a_change_that_was_on_its_way_when_the_old_value_was_said_again_is_no_history() -> None:
    it = Rig()
    it.take(0, 1)
    it.newest.again()
    it.passes(10)
    it.newest.again()
    assert it.last == (10, 1, GOOD)
    it.take(9.5, 2)
    assert it.last == (10, 2, UNSURE)
    it.passes(10)
    it.newest.again()
    it.newest.again()
    assert it.last == (20, 2, GOOD), "said again, its time is sure"


def test_what_is_said_again_leaves_room_for_what_is_on_its_way() -> None:
    it = Rig()
    it.take(0, 1)
    it.newest.again()
    it.passes(10)
    it.newest.again(SECOND)
    assert it.last == (9, 1, GOOD)
    it.take(9.5, 2)
    assert it.last == (9.5, 2, GOOD)


def test_a_source_far_behind_brings_history_and_is_told() -> None:
    it = Rig()
    it.take(0, 1)
    it.newest.again()
    it.passes(600)
    it.newest.again()
    it.take(300, 2)
    assert it.last == (300, 2, GOOD) and it.source.counts == {"source_time_behind": 1}
    it.newest.again()
    it.newest.again()
    assert it.last == (600, 2, GOOD)


@pytest.mark.parametrize("polled", [False, True])
def test_a_source_far_ahead_is_not_believed(polled: bool) -> None:
    it = Rig()
    it.take(3600 * 8, 1, polled=polled)
    assert it.last == (0, 1, UNSURE) and it.source.counts == {"source_time_ahead": 1}
    it.passes(1)
    it.take(1, 2, polled=polled)
    assert it.last == (1, 2, GOOD), "one odd time spoils nothing that follows"
    it.take(1 + APART / SECOND, 3, polled=polled)
    assert it.last == (1 + APART / SECOND, 3, GOOD)


def test_without_a_clock_of_the_server_any_time_is_taken() -> None:
    it = Rig()
    it.newest = Newest(it.source, [tag.id for tag in it.source.tags.values()])
    it.newest.see_clock(0)
    it.take(3600, 1)
    assert it.last == (3600, 1, GOOD)


def test_polling_stamps_what_stands_still_with_the_servers_clock() -> None:
    it = Rig()
    for passed in (0, 1, 1):
        it.passes(passed)
        it.take(-1000, 5, polled=True)
    assert it.last == (2, 5, GOOD)
    it.passes(1)
    it.take(2.5, 6, polled=True)
    assert it.last == (2.5, 6, GOOD)
    it.passes(1)
    it.take(-100, 7, polled=True)
    assert it.last == (4, 7, GOOD), "a source that was set back: it was read now"


@pytest.mark.parametrize("polled", [False, True])
def test_a_server_clock_that_is_set_back_holds_nothing_up(polled: bool) -> None:
    it = Rig()
    it.take(0, 1, polled=polled)
    it.take(0, 1, polled=polled)
    it.newest.again()
    it.passes(1)
    it.newest.again()
    it.newest.see_clock(NOW - 3600 * SECOND)
    it.clock.advance(1)
    it.take(-3599, 2, polled=polled)
    assert it.last == (-3599, 2, GOOD)
    it.newest.again()
    it.newest.again()
    assert it.last == (-3599, 2, GOOD)


def test_a_new_session_says_nothing_again_that_the_old_one_said() -> None:
    it = Rig()
    it.take(0, 1)
    it.newest.forget()
    it.passes(5)
    said = len(it.source.batches)
    it.newest.again()
    it.newest.again()
    assert len(it.source.batches) == said


def test_all_changes_of_one_notification_come() -> None:
    it = Rig()
    it.newest.take([(0, NOW + k, float(k), GOOD) for k in range(3)])
    assert it.source.values("temp") == [0, 1, 2]
