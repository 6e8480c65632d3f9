"""Wear whose end is known, and the stage that follows it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edge import Batch, Event, LinesideError, Tag, TagTable
from edge.stage import Setting
from models.series.life import Life, LifeConfig
from models.series.wear import Settings, Told, Wear, remaining

MINUTES10 = 600 * 10**9
SETTINGS = Settings(learn=30, trend=60)


def level(hours: np.ndarray, begins: float = 20, doubles: float = 10, seed: int = 1) -> np.ndarray:
    """2 at first, doubling every 10 hours from hour 20 on: five times as much after 43.2 hours."""
    rising = 2 * 2 ** (np.maximum(0, hours - begins) / doubles)
    return np.asarray(rising * np.random.default_rng(seed).normal(1, 0.02, len(hours)))


def followed(values: np.ndarray, wear: Wear | None = None) -> list[Told | None]:
    wear = wear or Wear(SETTINGS)
    return [wear(i / 6, float(v)) for i, v in enumerate(values)]


def test_an_exponential_is_told_to_its_end() -> None:
    hours = np.arange(0, 43, 1 / 6)
    told = followed(level(hours))
    assert told[28] is None and told[30] is not None
    worn = [i for i, one in enumerate(told) if one and one.worn]
    assert 24 < hours[worn[0]] < 28 and worn == list(range(worn[0], len(told)))  # 2 ** (4.3 / 10) is 1.35
    for at in (33.0, 38.0, 42.0):
        one = told[round(at * 6)]
        assert one and one.left == pytest.approx(43.2 - at, abs=3) and one.low < 43.2 - at < one.high + 1
    health = [one.health for one in told if one]
    assert health[0] > 0.97 and health[-1] < 0.06 and (np.diff(health) <= 0).all()


def test_nothing_is_told_of_what_does_not_rise() -> None:
    told = [one for one in followed(level(np.arange(0, 60, 1 / 6), begins=1000)) if one]
    assert not any(one.worn for one in told) and np.isnan([one.left for one in told]).all()
    assert remaining(np.arange(30.0), np.zeros(30), 1.0)[0] != remaining(np.arange(30.0), np.zeros(30), 1.0)[0]
    assert remaining(np.arange(30.0), np.linspace(0, 2, 30), 1.0) == (0, 0, 0)


def test_a_straight_line_without_noise_is_exact() -> None:
    left, low, high = remaining(np.arange(40.0), np.arange(40) / 100, 1.0)
    assert left == pytest.approx(61) and low == pytest.approx(61 / 3) and high == pytest.approx(61)


def test_life_is_not_given_back_by_a_lull_but_by_a_repair() -> None:
    hours = np.arange(0, 38, 1 / 6)
    wear = Wear(SETTINGS)
    before = followed(level(hours), wear)[-1]
    assert before and before.worn
    lull = [wear(38 + i / 6, 4.0) for i in range(18)]
    assert all(one and one.health <= before.health for one in lull)
    assert all(b.left <= a.left + 0.5 for a, b in itertools.pairwise(lull) if a and b)
    back = [wear(41 + i / 6, 2.0) for i in range(50)]
    assert wear.repaired == 1 and back[-1] and back[-1].health > 0.99 and not back[-1].worn


def test_a_level_that_cannot_rise_by_a_share_is_refused() -> None:
    with pytest.raises(ValueError, match="0 is no level"):
        Wear(SETTINGS)(0.0, 0.0)


# The stage

NAMES = ("health", "remaining", "low", "high")


def stage(**options: Any) -> Life:
    config = LifeConfig(stage="life", **{"tag": "p.rms", "learn": 30, "trend": 60, **options})
    table = TagTable([Tag(name, i) for i, name in enumerate(["p.rms", *(f"w.{name}" for name in NAMES)], 1)])
    return Life(config, Setting("w", table, Path(".")))


def samples(values: np.ndarray, first: int = 0, per: int = 5) -> Batch:
    """`per` samples in each ten minutes, one of them an outlier."""
    ts = first * MINUTES10 + np.arange(len(values) * per) * (MINUTES10 // per)
    spread = np.repeat(values, per)
    spread[::per] *= 3
    return Batch.of("p", np.full(len(ts), 1), spread, ts)


def run(one: Life, batch: Batch) -> tuple[list[Batch], list[Event]]:
    out = list(one(batch))
    return [made for made in out if isinstance(made, Batch)], [made for made in out if isinstance(made, Event)]


def test_points_are_medians_and_the_news_is_told_once() -> None:
    values = level(np.arange(0, 43, 1 / 6))
    made, events = run(stage(), samples(values))
    assert len(made) == len(values) - 1  # the last one is not over
    assert [(e.kind, e.state) for e in events] == [("model", "learned"), ("anomaly", "raised")]
    assert "p.rms is" in events[1].text and "above its healthy level; at its limit in" in events[1].text
    assert np.isnan(made[10].value).all() and set(made[10].quality) == {3}
    health, left, low, high = made[-1].value
    assert health < 8 and low < left < high and left == pytest.approx(0.5, abs=1.5)
    assert made[0].ts[0] == MINUTES10


def test_a_restart_goes_on_where_it_was_and_other_settings_begin_anew() -> None:
    values = level(np.arange(0, 40, 1 / 6))
    whole, _ = run(stage(), samples(values))
    first, second = stage(), stage()
    run(first, samples(values[:200]))
    state = first.snapshot()
    assert state is not None
    second.restore(state)
    made, events = run(second, samples(values[200:], 200))
    np.testing.assert_allclose([b.value for b in made], [b.value for b in whole[199:]], rtol=1e-9)
    assert "learned" not in [e.state for e in events]
    other = stage(rise=0.5)
    other.restore(state)
    made, _ = run(other, samples(values[200:240], 200))
    assert np.isnan(made[0].value).all()


def test_a_healthy_level_and_an_end_may_be_given() -> None:
    made, events = run(stage(healthy=2.0, end=8.0), samples(level(np.arange(0, 30, 1 / 6))))
    assert [e.state for e in events] == ["raised"] and made[0].value[0] == pytest.approx(100, abs=3)
    assert made[-1].value[0] == pytest.approx(54, abs=5)  # the median of two hours, an hour old: 1.9 of 4 times


@pytest.mark.parametrize(
    ("options", "said"),
    [({"limit": 1.2}, "life ends before it is worn"), ({"healthy": 2.0, "end": 2.5}, "below the worn level")],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        stage(**options)


def test_a_tag_that_nobody_has_is_refused() -> None:
    with pytest.raises(LinesideError, match="no tag is called"):
        stage(tag="p.x")


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    one = stage(healthy=2.0)
    made, _ = run(one, samples(level(np.arange(0, 38, 1 / 6)), 1000))
    again, events = run(one, samples(level(np.arange(38, 43, 1 / 6)), 100))
    assert len(again) == 30 and not events and again[-1].ts[0] < made[0].ts[0]
    assert again[-1].value[0] < made[-1].value[0] and np.isfinite(again[-1].value).all()
    assert again[-1].value[1] < 3


def test_what_comes_while_the_machine_stands_counts_for_nothing() -> None:
    config = LifeConfig(stage="life", tag="p.rms", running="p.rpm", learn=12)
    table = TagTable([Tag(name, i) for i, name in enumerate(["p.rms", "p.rpm", *(f"w.{name}" for name in NAMES)], 1)])
    one = Life(config, Setting("w", table, Path(".")))
    assert run(one, samples(np.full(20, 0.01))) == ([], [])  # nobody has said that it runs
    stands = Batch.of("p", [1, 2, 1, 2, 1], [0.01, 1500, 2, 0, 0.01], (20 + np.arange(5)) * MINUTES10)
    made, _ = run(one, stands)
    assert made == []
    run(one, Batch.of("p", [2], [1500.0], 25 * MINUTES10))
    _, events = run(one, samples(np.full(20, 2.0), 26))
    assert [e.text for e in events] == ["w learned a healthy level of p.rms: 2"]
    assert run(one, Batch.of("p", [2, 1], [1500.0, 9.0], 99 * MINUTES10, [6, 0])) == ([], [])
