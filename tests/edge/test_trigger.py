"""Pictures on demand, and the frames they bring."""

from __future__ import annotations

import numpy as np
import pytest

from edge import Batch, Frame, Quality, Writable, Write
from edge.frame import FramePool
from edge.tags import Tag, TagTable
from edge.trigger import Trigger

TABLE = TagTable.numbered([Tag("plc.ready"), Tag("plc.part"), Tag("top.trigger", writable=Writable(range=(0, 2**31)))])


def feed(trigger: Trigger, *values: float, quality: int = 0, part: float | None = None, ts: int = 1) -> list[float]:
    out = []
    for i, value in enumerate(values):
        tags, numbers = ([1], [value]) if part is None else ([1, 2], [value, part])
        results = list(trigger(Batch.of("plc", tags, numbers, ts + i, quality)))
        assert all(isinstance(r, Write) and r.tag == 3 for r in results)
        out += [r.value for r in results if isinstance(r, Write)]
    return out


def test_each_rising_edge_is_one_part() -> None:
    assert feed(Trigger("top", TABLE, "plc.ready"), 0, 1, 1, 0, 1) == [1, 2]


def test_a_line_that_is_high_at_the_start_is_no_edge() -> None:
    assert feed(Trigger("top", TABLE, "plc.ready"), 1, 1, 0, 1) == [1]


def test_a_bad_value_is_neither_low_nor_an_edge() -> None:
    trigger = Trigger("top", TABLE, "plc.ready")
    assert feed(trigger, 0, 1) == [1]
    assert feed(trigger, np.nan, 0, quality=Quality.TIMEOUT) == [] and feed(trigger, 1) == []


def test_the_part_number_of_the_same_read_is_taken() -> None:
    trigger = Trigger("top", TABLE, "plc.ready", "plc.part")
    assert feed(trigger, 0, 1, part=41) == [41] and feed(trigger, 0, 1, part=42) == [42]


def test_the_counter_goes_on_after_a_restart() -> None:
    first = Trigger("top", TABLE, "plc.ready")
    feed(first, 0, 1, 0, 1)
    second = Trigger("top", TABLE, "plc.ready")
    second.restore(first.snapshot() or b"")
    assert feed(second, 0, 1) == [3]


def test_a_frame_goes_back_to_its_pool_with_the_last_user_and_not_before() -> None:
    pool = FramePool((2, 2, 1), count=1)
    image = pool.take()
    assert image is not None and pool.take() is None
    frame = Frame("top", 1, 0, image, on_free=pool.give)
    frame.hold()
    frame.release()
    assert len(pool) == 0 and frame.image is image
    frame.release()
    assert len(pool) == 1
    for touch in (frame.release, frame.hold, lambda: frame.image):
        with pytest.raises(RuntimeError, match="released"):
            touch()
