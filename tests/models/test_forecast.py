"""The stage `forecast`, and the mathematics behind it, on made-up loads."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydantic import ValidationError

from edge import Batch, ConfigFault, LinesideError, ManualClock, Quality, Tag, TagTable
from edge.alarms import AlarmConfig, Alarms
from edge.config.load import load_text
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept
from edge.stage import Setting
from models.series.forecast import Forecast, ForecastConfig, Slots
from models.series.intervals import LEAST, SCORES, Interval, Scores, packed
from models.series.seasonal import Seasonal, Settings

HOUR = 3600 * 10**9
MONDAY = 4 * 24 * HOUR  # 5 January 1970
CONFIG = ForecastConfig(stage="forecast", tag="m.kw", every="1h", ahead={"next": "1h", "day": "1d"})
NAMES = ["next", "next_low", "next_high", "day", "day_low", "day_high", "covered"]
TABLE = TagTable([Tag("m.kw", 1, source="m"), *(Tag(f"f.{name}", i, source="f") for i, name in enumerate(NAMES, 2))])


def load(weeks: int, seed: int = 1) -> np.ndarray:
    """kW by the hour: two shifts on five days, a level that wanders, noise."""
    rng = np.random.default_rng(seed)
    hour = np.arange(168 * weeks)
    works = (hour % 24 >= 6) & (hour % 24 < 22) & (hour // 24 % 7 < 5)
    kernel = 0.95 ** np.arange(100)
    level = np.convolve(rng.normal(0, 4, len(hour)), kernel)[: len(hour)]
    return np.asarray(100 + 300 * works + level + rng.normal(0, 5, len(hour)))


def stage(config: ForecastConfig = CONFIG, folder: Path = Path()) -> Forecast:
    return Forecast(config, Setting("f", TABLE, folder))


def batches(values: np.ndarray, first: int = 0) -> list[Batch]:
    """Two samples an hour, the mean being the value; a batch a day."""
    ts = MONDAY + np.repeat(np.arange(len(values)) + first, 2) * HOUR + np.tile([0, HOUR // 2], len(values))
    value = np.repeat(values, 2) + np.tile([-2.0, 2.0], len(values))
    return [
        Batch.of("m", np.ones(len(ts[i : i + 48])), value[i : i + 48], ts[i : i + 48]) for i in range(0, len(ts), 48)
    ]


def told(out: list[Batch]) -> np.ndarray:
    """[slots, 7], in the order of NAMES."""
    return np.array([b.value for b in out])


def _through(values: np.ndarray) -> list[Batch]:
    one = stage()
    return [out for batch in batches(values) for out in one(batch)]


@pytest.fixture(scope="module")
def after() -> tuple[Forecast, list[Batch]]:
    one = stage()
    return one, [out for batch in batches(load(6)) for out in one(batch)]


def test_it_beats_last_week_and_its_interval_holds_what_it_says(after: tuple[Forecast, list[Batch]]) -> None:
    values, said = load(6), told(after[1])
    assert len(said) == len(values) - 1, "the last hour is not over"
    for column, lead in ((0, 1), (3, 24)):
        at = np.arange(21 * 24, len(values) - 1 - lead)
        truth, (expected, low, high) = values[at + lead], said[at, column : column + 3].T
        assert np.abs(truth - expected).mean() < 0.85 * np.abs(truth - values[at + lead - 168]).mean()
        assert 0.72 < ((low <= truth) & (truth <= high)).mean() < 0.88
        assert (low <= high).all()
    assert np.nanmax(said[: 21 * 24, 5] - said[: 21 * 24, 4]) < 250, (
        "not 2,209, as if its first errors were beyond all measure"
    )
    assert (said[21 * 24 :, 2] - said[21 * 24 :, 1]).mean() < (said[21 * 24 :, 5] - said[21 * 24 :, 4]).mean()
    week = np.arange(len(said) - 169, len(said) - 1)
    held = (said[week, 1] <= values[week + 1]) & (values[week + 1] <= said[week, 2])
    assert said[-1, 6] == pytest.approx(100 * held.mean())


def test_a_slot_is_told_at_its_end_and_only_when_enough_came_true(after: tuple[Forecast, list[Batch]]) -> None:
    out = after[1]
    assert [b.ts[0] for b in out[:3]] == [MONDAY + HOUR, MONDAY + 2 * HOUR, MONDAY + 3 * HOUR]
    first = next(i for i, b in enumerate(out) if np.isfinite(b.value[0]))
    assert 168 + LEAST <= first + 1 <= 168 + LEAST + 2
    assert set(out[first - 1].quality) == {Quality.SUBSTITUTED} and np.isnan(out[first - 1].value).all()
    assert set(out[first].quality[:6]) == {Quality.GOOD} and np.isfinite(out[first].value[:6]).all()


def test_a_rule_on_its_tag_tells_a_limit_before_it_is_reached() -> None:
    one, kept, clock = stage(), Kept(), ManualClock()
    alarms = Alarms({"peak": AlarmConfig(when="f.next_low > 250", text="above 250 kW in the next hour")}, TABLE)
    flow = Flow(TABLE, [("f", one), ("alarms", alarms)], kept, clock, Health(clock))
    for batch in batches(load(3)):
        flow.accept(batch)
    raised = [(e.ts - MONDAY) / HOUR for e in kept.events if (e.kind, e.state) == ("alarm", "raised")]
    assert raised[-5:] == [336 + 24 * day + 6 for day in range(5)], (
        "as the shift begins, an hour before its mean is known"
    )


def test_what_it_learned_survives_a_restart_and_other_settings_begin_anew(after: tuple[Forecast, list[Batch]]) -> None:
    one, again = after[0], stage()
    state = one.snapshot()
    assert state is not None and len(state) < 30_000 and one.snapshot() is state
    again.restore(state)
    more = batches(load(7)[-168:], 6 * 168)
    first, second = (told([out for batch in more for out in each(batch)]) for each in (one, again))
    assert second == pytest.approx(first[1:], rel=0.05, abs=15)  # without the hour that was cut
    other = stage(CONFIG.model_copy(update={"coverage": 0.9}))
    with pytest.raises(ValueError, match="other settings"):
        other.restore(state)
    other = stage(CONFIG.model_copy(update={"tag": "f.day"}))
    other.restore(state)
    assert other.snapshot() is None


def _seasons(values: np.ndarray, restarts: int = 0) -> tuple[Seasonal, np.ndarray]:
    """Of slots of six hours; [slots, expected, low and high of a slot, a day and a week ahead]."""
    one, said = Seasonal(Settings(6 * 3600, (1, 4, 28))), []
    for slot, value in enumerate(values.tolist()):
        if restarts and slot % restarts == 0:
            one = Seasonal.from_json(json.loads(json.dumps(one.as_json())), one.settings)
        told = one(slot, value)
        said.append([*told.expected, *told.low, *told.high])
    return one, np.array(said)


TIDES = 100 + 30 * np.sin(np.arange(28 * 9) / 4 * 2 * np.pi + 1) + np.random.default_rng(1).normal(0, 1, 28 * 9)


def test_restarts_more_often_than_what_is_foretold_comes_true_teach_the_same() -> None:
    one, whole = _seasons(TIDES)
    np.testing.assert_allclose(_seasons(TIDES, restarts=10)[1], whole, rtol=1e-3)
    assert np.isfinite(whole[-1]).all()
    state = json.loads(json.dumps(one.as_json()))
    for of in ([[TIDES.size + 40, 1]], [[TIDES.size, 7]], [["x", 1]], 5):
        with pytest.raises(ValueError, match=r"forecast|reshape"):
            Seasonal.from_json({**state, "open": [of, state["open"][1]]}, one.settings)
    state["open"] = [state["open"][0][:1], packed(np.full(13, np.nan))]
    with pytest.raises(ValueError, match="a damaged forecast"):
        Seasonal.from_json(state, one.settings)


def test_a_load_that_was_nothing_for_weeks_is_foretold_once_it_is_there() -> None:
    values = TIDES * (np.arange(TIDES.size) >= 40)
    said = _seasons(values)[1]
    assert np.abs(said[-29:-1, 0] - values[-28:]).mean() < 5
    assert (said[-28:, 6:] - said[-28:, 3:6]).max() < 100, "and how wrong it was then is not wide for ever"
    said = _seasons(np.where(np.arange(TIDES.size) < 112, 5.0, TIDES))[1]  # a meter that stood still
    assert np.nanmax(np.abs(said[:, 0])) < 400, "no law of what stood still runs away"


def test_slots_of_gaps_late_samples_bad_ones_and_time_that_goes_back() -> None:
    slots, good = Slots(3600), np.zeros(4, np.uint8)

    def fed(hours: list[float], quality: np.ndarray = good) -> list[tuple[int, float]]:
        ts = (MONDAY + np.array(hours) * HOUR).astype(np.int64)
        return [
            (slot, mean) for slot, quarters, mean in slots(ts, np.array(hours), quality[: len(hours)]) if quarters == 4
        ]

    week = 7 * 24
    assert fed([0.5, 0.75, 1.0]) == [], "the first hour was half over"
    assert fed([1.5, 4.0]) == [(week + 1, 1.25)] and fed([3.9]) == [], "3.9 is late"
    assert fed([4.5, 5.0], np.array([Quality.BAD, 0])) == [(week + 4, 4.0)]
    assert fed([5.25]) == [] and fed([-100.0]) == [], "four days back are late"
    assert fed([-200.0]) == [(week + 5, 5.125)] and fed([-199.0]) == [(-200 + week, -200.0)], (
        "a week back is another time"
    )
    seasonal = Seasonal(Settings(3600, (1,)))
    for slot in (1, 2, 5, 500):
        seasonal(slot, 1.0)
    with pytest.raises(ValueError, match="slot 500 is not after 500"):
        seasonal(500, 1.0)
    seasonal.forget_lately()
    assert np.isnan(seasonal(3, 1.0).expected).all() and seasonal.profile(500) == 1.0


def test_what_the_running_hour_will_be_is_told_anew_after_each_quarter() -> None:
    config = ForecastConfig(stage="forecast", tag="m.kw", every="1h", running=True)
    names = [*config.points()]
    assert names == ["next", "next_low", "next_high", "running", "running_low", "running_high", "covered"]
    tags = TagTable([Tag("m.kw", 1, source="m"), *(Tag(f"f.{name}", i, source="f") for i, name in enumerate(names, 2))])
    one, hours = Forecast(config, Setting("f", tags, Path())), load(4)
    rng = np.random.default_rng(2)
    drift = np.repeat(rng.normal(0, 30, len(hours)), 12) + rng.normal(
        0, 3, 12 * len(hours)
    )  # an hour has its own level
    ts = MONDAY + np.arange(12 * len(hours)) * (HOUR // 12)
    value = np.repeat(hours, 12) + drift
    parts = (slice(i, i + 30) for i in range(0, len(ts), 30))
    out = [b for at in parts for b in one(Batch.of("m", np.ones(len(ts[at])), value[at], ts[at]))]
    truth, wide, held = value.reshape(-1, 12).mean(axis=1), np.zeros(4), np.zeros(4)
    late = [b for b in out if b.ts[0] >= MONDAY + 400 * HOUR and b.ts[0] < MONDAY + (len(hours) - 1) * HOUR]
    for b in late:
        hour, quarter = divmod(int(b.ts[0] - MONDAY) // (HOUR // 4), 4)
        _, low, high = b.value[-4:-1] if quarter == 0 else b.value
        wide[quarter] += high - low
        held[quarter] += low <= truth[hour] <= high
    held /= len(late) / 4
    assert len(late) % 4 in (0, 1) and (wide[1:] < 0.3 * wide[0]).all() and (np.diff(wide) < 0).all()
    assert ((held > 0.7) & (held < 0.9)).all()
    assert out[4 * 400].tag.tolist() in ([5, 6, 7], [*range(2, 9)])


def test_shifts_by_the_clock_of_a_zone_go_on_through_a_change_of_clocks() -> None:
    hours = (datetime(2026, 3, 2, tzinfo=UTC) + timedelta(hours=i) for i in range(24 * 35))  # clocks change on the 29th
    local = [hour.astimezone(ZoneInfo("Europe/Berlin")) for hour in hours]
    values = np.array([400.0 if 6 <= at.hour < 22 and at.weekday() < 5 else 100.0 for at in local])
    values += np.random.default_rng(1).normal(0, 5, len(values))
    ts = np.array([round(at.timestamp()) * 10**9 for at in local])
    worst = {}
    for zone in ("UTC", "Europe/Berlin"):
        one = stage(CONFIG.model_copy(update={"zone": zone}))
        out = [
            b
            for i in range(0, len(ts), 24)
            for b in one(Batch.of("m", np.ones(24), values[i : i + 24], ts[i : i + 24]))
        ]
        expected = {int(b.ts[0]): b.value[0] for b in out}
        monday = np.flatnonzero(ts >= ts[0] + 28 * 24 * HOUR)[:20]
        worst[zone] = max(abs(values[i] - expected[int(ts[i])]) for i in monday)
    assert worst["Europe/Berlin"] < 60 < 200 < worst["UTC"]


@pytest.mark.parametrize("at", [30, 500])
def test_one_absurd_reading_does_not_spoil_the_weeks_after_it(at: int) -> None:
    values = load(5)
    values[at], values[at + 5] = 1e9, 1e300
    out = _through(values)
    slot, said = np.array([b.ts[0] - MONDAY for b in out]) // HOUR, told(out)
    later = (slot > max(at + 10, 300)) & (slot < len(values))
    off, own = np.abs(said[later, 0] - values[slot[later]]), (slot[later] - at) % 168 == 0
    assert off[~own].max() < 200 and off[~own].mean() < 12, "its own hour of the week knows it for some weeks"
    assert off[own][-1] < max(60, 0.6 * off[own][0]), "and forgets it"
    assert (said[-300:, 2] - said[-300:, 1]).mean() < 60


def test_past_errors_are_ranked_with_room_for_one_more() -> None:
    scores = Scores()
    for score in range(99):
        scores.add(float(score))
    assert [scores.at(level) for level in (0.1, 0.5, 0.9, -0.2, 1.3)] == [9, 49, 89, 0, 98]
    for score in range(SCORES):
        scores.add(float(score))
    assert len(scores) == SCORES and scores.at(1) == SCORES - 1


def test_what_was_held_too_often_while_it_learned_is_not_given_back_at_once() -> None:
    """Errors a day ahead that shrink as those of the first weeks do, and of a day are alike: the third week holds what is asked."""
    day, held = 96, []
    for seed in range(6):
        rng, one, told = np.random.default_rng(seed), Interval(day, 0.8, day), dict[int, tuple[float, float, float]]()
        size = 1 + 8 * np.exp(-np.arange(21 * day) / (3 * day))
        errors = size * (rng.normal(size=21 * day) + np.repeat(rng.normal(size=21), day))
        for t, error in enumerate(errors.tolist()):
            low, high, usual = told.pop(t, (np.nan, np.nan, 1.0))
            outside = (error < low, error > high) if np.isfinite(low) else None
            one.learn(t % day, error, usual, outside)
            held += [not any(outside)] if outside and t >= 14 * day else []
            usual = one.usual_at(t % day, 0.0)
            told[t + day] = *one.around(0.0, usual), usual
    assert 0.75 < np.mean(held) < 0.85, "with levels that a day's values outside shift together it is 0.70"


def test_a_file_of_fit_is_used_and_one_of_others_refused(tmp_path: Path) -> None:
    parts = [(b.ts, b.value, b.quality) for b in batches(load(3))]
    document = Forecast.fit_stream(CONFIG, parts)
    assert "of the last week's values lay within the interval (asked for are 80%)" in document.pop("told")
    assert document["rows"] == 3 * 168 - 1
    path, config = tmp_path / "f.json", CONFIG.model_copy(update={"baseline": "f.json"})
    path.write_text(json.dumps(document))
    (first, *_) = (out for batch in batches(load(4)[-168:], 3 * 168) for out in stage(config, tmp_path)(batch))
    assert np.isfinite(first.value).all()
    for change, why in (
        ({"tag": "m.other"}, "another tag than m.kw"),
        ({"mix": document["week"]}, "cannot reshape"),
        ({"week": None}, "no forecast: TypeError"),
        ({"leads": [{**document["leads"][0], "scores": packed([float("nan")])}] * 2}, "a damaged forecast"),
        ({"rests": []}, "zip"),
        ({"version": 9}, "other settings"),
    ):
        path.write_text(json.dumps({**document, **change}))
        with pytest.raises(LinesideError, match=why):
            stage(config, tmp_path)
    ts, value, quality = parts[1]
    with pytest.raises(ValueError, match="39 slots of 3600 s are too few"):
        Forecast.fit_stream(CONFIG, [parts[0], (ts[:32], value[:32], quality[:32])])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"every": "7000s"}, "every: 7000 s do not divide a day"),
        ({"every": "30s"}, "do not divide a day into slots of a minute"),
        ({"ahead": {"far": "1000s"}}, r"ahead.far: 1000 s are no slots of 900 s"),
        ({"ahead": {"far": "9d"}}, "more than eight days"),
        ({"ahead": {"a": "15min", "a_low": "15min"}}, "two tags would be called 'a_low'"),
        ({"ahead": {"covered": "15min"}}, "two tags would be called 'covered'"),
        ({"zone": "Berlin"}, "no time zone is called 'Berlin'; write one as Europe/Berlin"),
        ({"ahead": {"day": "1d"}, "running": True}, "running: it needs a name in `ahead` for the next slot, 900 s"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ForecastConfig(stage="forecast", tag="m.kw", **options)


def test_a_tag_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigFault, match=r"f: no tag is called 'm.power'"):
        stage(CONFIG.model_copy(update={"tag": "m.power"}))


def test_what_comes_once_a_slot_is_no_older_for_rules_than_that() -> None:
    """Else `for:` stands still a few periods of the source after each value, and no such alarm is ever raised."""
    source = """device: {id: f}
drivers: {p: {driver: modbus, url: "tcp://127.0.0.1:9", every: 1s, tags: {a: {address: "holding:1"}}}}
stages:
  load: {stage: forecast, tag: p.a, every: 15min}
  wear: {stage: life, tag: p.a, every: 10min}
  left: {stage: lifetime, tags: [p.a], every: 1h}
"""
    age = {tag.name: tag.stale_after for tag in load_text(source).tags()}
    assert [age[name] for name in ("p.a", "load.next", "wear.remaining", "left.low")] == [3, 1800, 1800, 10_800]
