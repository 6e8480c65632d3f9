"""Which gap records a Sparkplug node has to tell, and when."""

from __future__ import annotations

from typing import Any

from edge import Event, Record, encode_event
from sync.device.sparkplug_gaps import MOST_WAITING, Gaps


def record(seq: int, kind: str = "gap", state: str = "evicted", **data: Any) -> Record:
    told = {"stream": "samples:plc", "from": 1000 * seq, "to": 1000 * seq + 500, "first": 0, "last": 0} | data
    return Record("event", seq, encode_event(Event(kind, "plc", state, data=told)))


def test_gaps_of_samples_wait_until_they_are_told() -> None:
    gaps = Gaps(0)
    gaps.take([record(1), record(2, kind="alarm"), record(3, stream="samples:other"), record(4)], lambda stream: 0)
    assert (gaps.seen, gaps.sources, gaps.done()) == (4, {"plc", "other"}, 0)
    assert gaps.of("plc") == [1000, 4000]
    gaps.told("plc")
    assert (gaps.of("plc"), gaps.done()) == ([], 2)
    gaps.told("other")
    assert gaps.done() == 4


def test_what_was_told_before_it_was_given_up_is_no_gap() -> None:
    gaps = Gaps(0)
    gaps.take([record(1, first=3, last=7), record(2, first=8, last=9)], lambda stream: 7)
    assert gaps.of("plc") == [2000]


def test_what_only_the_plane_lacks_is_no_gap() -> None:
    gaps = Gaps(0)
    found = [record(1, state="forgotten"), record(2, state="rejected"), record(3, stream="event"), record(4, stream=7)]
    gaps.take(found, lambda stream: 0)
    assert not gaps.sources and gaps.done() == 4


def test_a_gap_that_begins_nowhere_is_told_where_it_ends_and_what_is_no_time_is_left() -> None:
    gaps = Gaps(0)
    damaged = Record("event", 3, b"\xff")
    gaps.take([record(1, **{"from": 0}), record(2, **{"from": "x"}), damaged], lambda stream: 0)
    assert gaps.of("plc") == [1500] and gaps.seen == 3


def test_no_more_are_taken_than_can_wait() -> None:
    gaps = Gaps(0)
    gaps.take([record(k) for k in range(1, MOST_WAITING + 1)], lambda stream: 0)
    assert gaps.full and gaps.done() == 0
