"""Blocks of a fast signal: their bytes, their times, and a deadband over them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from edge import SECOND, AnswerContradicts, Batch, Blocks, Quality, Tag, TagTable, samples_of
from edge.reduce import Deadband

RATE, N = 50_000.0, 1000
BLOCK = 20_000_000  # ns that a block of these lasts
START = 1_700_000_000 * SECOND


class Counted:
    """The part of a source that blocks use."""

    name = "mote"

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, cause: str, n: int = 1) -> None:
        self.counts[cause] += n


def blocks() -> tuple[Any, Counter[str]]:
    source = Counted()
    return Blocks(source, 7), source.counts  # type: ignore[arg-type]


def even(batches: list[Batch]) -> bool:
    """Each sample within a fifth of a period of its time, as the stage `vibration` asks."""
    ts = np.concatenate([batch.ts for batch in batches])
    return bool((np.abs(np.diff(ts) - SECOND / RATE) <= 0.2 * SECOND / RATE).all())


def test_bytes_are_samples() -> None:
    raw = np.array([-2, 300], np.int16)
    assert samples_of(raw.astype("<i2").tobytes(), "int16", "little").tolist() == [-2, 300]
    assert samples_of(raw.astype(">i2").tobytes(), "int16", "big", 0.5, 1).tolist() == [0, 151]
    assert samples_of(np.array([1.5], ">f8").tobytes(), "float64", "big").tolist() == [1.5]
    with pytest.raises(AnswerContradicts, match="3 bytes are no whole number of int16"):
        samples_of(b"abc", "int16", "big")


def test_blocks_that_come_early_and_late_follow_one_another() -> None:
    take, counts = blocks()
    late = np.random.default_rng(1).uniform(0, 0.5, 40) * SECOND
    made = [take(np.zeros(N), RATE, START + (k + 1) * BLOCK + int(late[k])) for k in range(40)]
    assert even(made) and not counts["restarted"] and made[0].tag is made[1].tag
    assert abs(int(made[-1].ts[-1]) - START - 40 * BLOCK) < SECOND


def test_a_sensor_whose_clock_runs_a_little_otherwise_is_followed() -> None:
    take, counts = blocks()
    slow = 1 + 50e-6  # as crystals are
    made = [take(np.zeros(N), RATE, 0, start=START + round(k * BLOCK * slow) // 10**6 * 10**6) for k in range(2000)]
    assert even(made) and not counts["restarted"]
    assert abs(int(made[-1].ts[0]) - START - 1999 * BLOCK * slow) < 2_000_000, "its times are in ms"


def test_what_was_lost_is_a_gap() -> None:
    take, counts = blocks()
    for k in (0, 1, 4):
        made = take(np.zeros(N), RATE, START + (k + 1) * BLOCK, number=(254 + k) % 256, numbers=256)
    assert counts["lost_blocks"] == 2 and not counts["restarted"]
    assert int(made.ts[0]) - START == pytest.approx(4 * BLOCK, abs=SECOND / RATE)
    assert take(np.zeros(N), RATE, START + 6 * BLOCK, number=2, numbers=256) is None and counts["repeated"] == 1
    anew = take(np.zeros(N), RATE, START + 600 * SECOND, number=0)
    assert counts["restarted"] == 1 and int(anew.ts[-1]) == START + 600 * SECOND, "a sensor that began again"
    take, counts = blocks()
    take(np.zeros(N), RATE, 0, start=START)
    made = take(np.zeros(N), RATE, 0, start=START + 3 * BLOCK)
    assert counts["restarted"] == 1 and int(made.ts[0]) == START + 3 * BLOCK, "its own time tells, too"


def test_another_rate_begins_anew_and_what_is_no_number_is_bad() -> None:
    take, _ = blocks()
    take(np.zeros(N), RATE, START)
    made = take(np.array([1.0, np.nan, 3.0]), 10.0, START + 60 * SECOND)
    assert np.diff(made.ts).tolist() == [SECOND // 10] * 2 and made.quality.tolist() == [0, Quality.BAD, 0]


@pytest.mark.parametrize("band", [0.0, 0.5, 1e9])
def test_a_deadband_keeps_the_same_of_a_block_as_of_its_samples_one_by_one(band: float) -> None:
    rng = np.random.default_rng(3)
    value = np.round(np.cumsum(rng.normal(0, 0.3, 600)), 2)
    value[[50, 51, 300]] = np.nan
    quality = np.where(rng.random(600) < 0.02, Quality.BAD, 0).astype(np.uint8)
    ts = np.cumsum(rng.integers(1, 4, 600)) * SECOND
    tag = np.where(rng.random(600) < 0.8, 1, 2)
    table = TagTable([Tag("a.x", 1, source="a", deadband=band), Tag("a.y", 2, source="a", deadband=0.1)])
    whole, single = Deadband(table), Deadband(table)
    kept = whole(Batch.of("a", tag, value, ts, quality))
    each = [
        single(Batch.of("a", tag[i : i + 1], value[i : i + 1], ts[i : i + 1], quality[i : i + 1])) for i in range(600)
    ]
    assert kept.ts.tolist() == [int(one.ts[0]) for one in each if len(one)] and 2 < len(kept) < 600
    after = Batch.of("a", [1, 2], value[-2:], ts[-2:], 0)
    assert whole(after).tag.tolist() == single(after).tag.tolist()
