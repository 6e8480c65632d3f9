"""An alarm on a fast signal itself, whose samples come in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge import SECOND, Batch, Event, Quality, Tag, TagTable
from edge.alarms import AlarmConfig, Alarms

TAGS = TagTable([Tag("a.x", 1, source="a"), Tag("a.y", 2, source="a"), Tag("a.on", 3, source="a")])


def alarms(**options: Any) -> Alarms:
    given = {"when": "a.x > 1", "clear": "a.x < 0.5", "then": {"a.on": 1}, **options}
    return Alarms({"high": AlarmConfig(**given), "low": AlarmConfig(when="a.y < -1")}, TAGS)


def signal(n: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(4)
    value = 1.5 * np.sin(np.arange(n) / 30) + rng.normal(0, 0.1, n)
    value[[70, 71, 500]] = np.nan
    quality = np.where(rng.random(n) < 0.03, Quality.BAD, 0).astype(np.uint8)
    return np.where(rng.random(n) < 0.7, 1, 2).astype(np.int32), value, np.arange(n) * 1000, quality


def told(results: list[Any]) -> list[Any]:
    """What is told of each alarm, in its order."""
    events = [(one.key, one.state, one.ts, one.data["value"]) for one in results if isinstance(one, Event)]
    return sorted(events, key=lambda one: one[0])


@pytest.mark.parametrize("delay", ["0s", "2s"])
def test_a_block_raises_and_clears_as_its_samples_one_by_one_do(delay: str) -> None:
    whole, single = alarms(**{"for": delay}), alarms(**{"for": delay})
    found: list[list[Any]] = [[], []]
    for k in range(4):
        tag, value, ts, quality = signal(900)
        ts, mono = ts + k * 10**7, (k + 1) * SECOND
        found[0] += whole(Batch.of("a", tag, value, ts, quality, mono))
        for i in range(len(tag)):
            found[1] += single(Batch.of("a", *(column[i : i + 1] for column in (tag, value, ts, quality)), mono))
    assert told(found[0]) == told(found[1]) and (len(told(found[0])) > 20 or delay != "0s")
    assert len(found[0]) == len(found[1]) and np.array_equal(whole._value, single._value, equal_nan=True)
    assert whole.status(10 * SECOND) == single.status(10 * SECOND)
