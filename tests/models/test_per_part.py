"""The stage `per_part`: nothing that was drawn is lost or told twice, and what rests on a guess says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edge import SECOND, Batch, LinesideError, Quality, Tag, TagTable
from edge.config.load import load_text
from edge.rehearse import rehearse_all
from edge.stage import Setting
from models.process.drawn import blips, counted
from models.process.per_part import PerPart, PerPartConfig

T0 = 1_790_000_000 * SECOND
NAMES = ("m.kwh", "m.kw", "m.gas", "m.amps", "p.count", "p.done", "p.lot", "p.runs")
UNITS = {"m.kwh": "kWh", "m.kw": "kW", "m.gas": "m³", "m.amps": "A"}


def stage(**options: Any) -> tuple[PerPart, TagTable]:
    outs = [Tag(f"e.{name}") for name in ("each", "idle", "total")]
    table = TagTable.numbered([*(Tag(name, unit=UNITS.get(name, "")) for name in NAMES), *outs])
    config = PerPartConfig(
        **{"stage": "per_part", "counter": "m.kwh", "parts": "p.count", "gap": 5.0, "wait": 1.0, **options}
    )
    return PerPart(config, Setting("e", table, Path())), table


def fed(
    it: PerPart, table: TagTable, columns: dict[str, Any], size: int = 10_000, bad: tuple[int, ...] = ()
) -> dict[str, Any]:
    """One value of each tag a second (NaN: none), in batches of so many seconds; (ts in s, value, quality) of what came out."""
    n = max(len(column) for column in columns.values())
    out: dict[str, list[Any]] = {"each": [], "idle": [], "total": []}
    for begin in range(0, n, size):
        for name, column in columns.items():
            second = np.arange(begin, min(begin + size, len(column)))
            value = np.array(column, float)[second]
            quality = np.where(np.isin(second, bad) & (name[0] == "m"), Quality.TIMEOUT, Quality.GOOD)
            some = np.isfinite(value)
            ids = [table[name].id] * int(some.sum())
            for got in it(Batch.of(name[0], ids, value[some], T0 + second[some] * SECOND, quality[some])):
                for key, found in out.items():
                    mine = got.tag == table[f"e.{key}"].id
                    found += zip(
                        ((got.ts[mine] - T0) / SECOND).tolist(),
                        got.value[mine].tolist(),
                        got.quality[mine].tolist(),
                        strict=True,
                    )
    return out


STEADY = 100 + np.arange(60) / 10  # 0.1 a second


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_each_part_takes_what_the_counter_rose_by(size: int) -> None:
    it, table = stage()
    told = fed(it, table, {"p.count": np.arange(60) // 10, "m.kwh": STEADY}, size)
    assert [ts for ts, _, _ in told["each"]] == [20, 30, 40, 50], "the one that was under way at the start is not told"
    assert [value for _, value, _ in told["each"]] == pytest.approx([1.0] * 4)
    assert {quality for *_, quality in told["each"]} == {Quality.GOOD}


def test_several_parts_between_two_readings_share_what_was_drawn() -> None:
    it, table = stage()
    told = fed(it, table, {"p.count": np.arange(60) // 10 * 4, "m.kwh": STEADY})
    assert [value for _, value, _ in told["each"]] == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_or_told_twice(seed: int) -> None:
    """Parts, pauses and a restart at any moment: parts times each + idle + what is under way = what the counter rose by."""
    rng = np.random.default_rng(seed)
    n = 400
    kwh = 50 + np.cumsum(rng.random(n) / 30)
    kwh[rng.random(n) < 0.2] = np.nan
    runs = np.repeat(rng.random(n // 20) < 0.7, 20).astype(float)
    steps = (rng.random(n) < 0.1) * rng.integers(1, 4, n)
    columns = {"p.runs": runs, "p.count": np.cumsum(steps), "m.kwh": kwh}
    it, table = stage(running="p.runs", gap=60.0)
    halves = [{name: np.where(np.arange(n) < n // 2, c, np.nan) for name, c in columns.items()}]
    halves += [{name: np.where(np.arange(n) >= n // 2, c, np.nan) for name, c in columns.items()}]
    told = fed(it, table, halves[0], 17)
    kept = it.snapshot()
    assert kept is not None
    again, table = stage(running="p.runs", gap=60.0)
    again.restore(kept)
    for key, found in fed(again, table, halves[1], 17).items():
        told[key] += found
    ended = {float(k): float(count) for k, count in enumerate(steps) if count}
    parts = sum(value * ended[ts] for ts, value, _ in told["each"])
    known = np.isfinite(kwh)
    first = min(k for k in ended if k >= np.flatnonzero(known)[0])
    end = (again._done - T0) / SECOND
    rose = float(np.interp(end, np.flatnonzero(known), kwh[known]) - kwh[known][0])
    assert again._total == pytest.approx(rose)
    before = again._total - again._idle - again._part[0] - parts
    seen = np.arange(n)[known]
    fine = np.arange(0, first + 0.5, 0.5)
    drawn = np.diff(np.interp(fine, seen, kwh[known]))
    assert before == pytest.approx(float(drawn[runs[np.floor(fine[:-1]).astype(int)] > 0].sum()))
    assert [ts for ts, _, _ in told["each"]] == [k for k in ended if first < k <= end]


def test_what_is_drawn_while_nothing_is_made_is_idle_and_no_part_pays_for_it() -> None:
    runs = np.where((np.arange(60) >= 22) & (np.arange(60) < 27), 0, 1)
    it, table = stage(running="p.runs")
    told = fed(it, table, {"p.runs": runs, "p.count": np.arange(60) // 10, "m.kwh": STEADY})
    assert [value for _, value, _ in told["each"]] == pytest.approx([1.0, 0.5, 1.0, 1.0])
    assert told["idle"][-1][1] == pytest.approx(0.5)
    low, table = stage(counter=None, power="m.kw", idle_below=50.0)
    power = np.where(runs > 0, 360.0, 36.0)
    told = fed(low, table, {"p.count": np.arange(60) // 10, "m.kw": power})
    assert [value for _, value, _ in told["each"]] == pytest.approx([1.0, 0.4 + 0.11, 1.0, 1.0])
    assert told["idle"][-1][1] == pytest.approx(0.04)


def test_a_part_of_a_power_goes_on_over_a_restart() -> None:
    columns = {"p.count": np.arange(60) // 10, "m.kw": np.full(60, 360.0)}
    it, table = stage(counter=None, power="m.kw")
    first = fed(it, table, {name: column[:34] for name, column in columns.items()}, 1)
    state = it.snapshot() or b""
    again, table = stage(counter=None, power="m.kw")
    again.restore(state)
    later = {name: np.concatenate([np.full(34, np.nan), column[34:]]) for name, column in columns.items()}
    told = first["each"] + fed(again, table, later, 1)["each"]
    assert [value for _, value, _ in told] == pytest.approx([1.0] * 4) and {how for *_, how in told} == {Quality.GOOD}
    with pytest.raises(ValueError, match="damaged"):
        again.restore(state.replace(b'"part": [', b'"part": [1.0, '))
    assert len(json.loads(again.snapshot() or b"")["part"]) == 3, "what stands is not half of what was refused"


def test_a_float_without_a_reading_is_no_energy() -> None:
    it, table = stage()
    meter = STEADY.copy()
    meter[23] = 3.4e38
    told = fed(it, table, {"p.count": np.arange(60) // 10, "m.kwh": meter}, 1)
    assert [value for _, value, _ in told["each"]] == pytest.approx([1.0] * 4) and told["total"][-1][1] < 6


@pytest.mark.parametrize("size", [1, 60])
def test_a_counter_of_parts_that_says_0_once_made_no_thousand(size: int) -> None:
    count = 1000 + np.arange(60) // 10
    count[23] = 0
    it, table = stage()
    told = fed(it, table, {"p.count": count, "m.kwh": STEADY}, size)
    assert [value for _, value, _ in told["each"]] == pytest.approx([1.0] * 4)
    anew, table = stage()
    count = np.where(np.arange(60) < 25, 1000, np.arange(60) // 10 - 2)  # and here it was set to 0
    assert len(fed(anew, table, {"p.count": count, "m.kwh": STEADY}, size)["each"]) == 2


def test_a_missing_stretch_is_said() -> None:
    """Of a counter the sum is right and the share a guess; of a power that is missing for most of a part nothing is known."""
    missing = tuple(range(23, 39))
    it, table = stage()
    told = fed(it, table, {"p.count": np.arange(60) // 10, "m.kwh": STEADY}, 5, missing)
    assert [(value, q) for _, value, q in told["each"]] == [
        (pytest.approx(1.0), q) for q in (Quality.GOOD, Quality.SUBSTITUTED, Quality.SUBSTITUTED, Quality.GOOD)
    ]
    assert max(q for *_, q in told["total"]) == Quality.SUBSTITUTED and told["total"][-1][2] == Quality.GOOD
    power, table = stage(counter=None, power="m.kw", gap=3.0)
    told = fed(
        power, table, {"p.count": np.arange(60) // 10, "m.kw": np.full(60, 360.0)}, bad=(*range(23, 27), *range(31, 39))
    )
    values = [value for _, value, _ in told["each"]]
    assert values[:2] == pytest.approx([1.0, 1.0]) and np.isnan(values[2])
    assert [q for *_, q in told["each"]] == [Quality.GOOD, Quality.SUBSTITUTED, Quality.BAD, Quality.GOOD]


def test_a_counter_that_rolls_over_begins_anew_blips_or_jumps() -> None:
    reset = np.where(np.arange(60) < 25, STEADY, STEADY - STEADY[24])
    it, table = stage()
    told = fed(it, table, {"p.count": np.arange(60) // 10, "m.kwh": reset}, 1)
    assert [q for *_, q in told["each"]] == [Quality.GOOD, Quality.SUBSTITUTED, Quality.GOOD, Quality.GOOD]
    assert [value for _, value, _ in told["each"]] == pytest.approx([1.0] * 4)
    over, table = stage(rollover=102.5)
    told = fed(over, table, {"p.count": np.arange(60) // 10, "m.kwh": STEADY % 102.5})
    assert [(v, q) for _, v, q in told["each"]] == [(pytest.approx(1.0), Quality.GOOD)] * 4
    for size in (1, 9, 100):  # a single reading of 0
        blip, table = stage()
        told = fed(
            blip, table, {"p.count": np.arange(60) // 10, "m.kwh": np.where(np.arange(60) == 25, 0, STEADY)}, size
        )
        assert [(v, q) for _, v, q in told["each"]] == [(pytest.approx(1.0), Quality.GOOD)] * 4
    jump, table = stage(at_most=1000.0)
    told = fed(jump, table, {"p.count": np.arange(60) // 10, "m.kwh": STEADY + 500 * (np.arange(60) > 24)})
    assert [q for *_, q in told["each"]][1] == Quality.SUBSTITUTED and told["each"][1][1] == pytest.approx(0.9)
    assert blips(np.array([5.0, 0, 6, 1, 2])).tolist() == [False, True, False, False, False]
    assert counted(np.arange(3), np.array([9.0, 1, 2]), 9, None, None, 0)[0].sure.tolist() == [False, True]


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_counter_of_coarse_steps_does_not_jump(size: int) -> None:
    """One unit each ten seconds is 360 an hour, not 3,600."""
    it, table = stage(at_most=400.0)
    columns = {"p.count": np.arange(60) // 10, "m.kwh": 100 + np.arange(60) // 10}
    told = fed(it, table, columns, size)
    assert [(v, q) for _, v, q in told["each"]] == [(pytest.approx(1.0), Quality.GOOD)] * 4
    it, table = stage(at_most=300.0)
    assert it._total == 0 and fed(it, table, columns, size)["total"][-1][1] < 1.5


def test_a_lot_and_a_bit_end_parts_too() -> None:
    it, table = stage(parts=None, lot="p.lot")
    told = fed(it, table, {"p.lot": np.array([4, 4, 7, 7, 9, 1]).repeat(10), "m.kwh": STEADY})
    assert [(ts, value) for ts, value, _ in told["each"]] == [(40, pytest.approx(2.0)), (50, pytest.approx(1.0))]
    bit, table = stage(parts=None, trigger="p.done")
    told = fed(bit, table, {"p.done": (np.arange(60) % 10 < 3).astype(float), "m.kwh": STEADY})
    assert [ts for ts, _, _ in told["each"]] == [20, 30, 40, 50]


def test_idle_is_told_where_no_part_ends_and_a_dead_meter_holds_no_more_than_it_must() -> None:
    it, table = stage(running="p.runs")
    night = fed(it, table, {"p.runs": np.zeros(200), "p.count": np.zeros(200), "m.kwh": 100 + np.arange(200) / 10}, 5)
    assert not night["each"] and len(night["idle"]) >= 3 and night["idle"][-1][1] > 10
    dead, table = stage()
    fed(dead, table, {"p.count": np.arange(3000)}, 100)
    assert len(dead._ends) <= 1000 and dead._count.sum() == 2999
    assert len(dead.snapshot() or b"") < 50_000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parts": None}, "how a part announces its end"),
        ({"trigger": "p.done"}, "how a part announces its end"),
        ({"power": "m.kw"}, "either `counter` or `power`"),
        ({"counter": None}, "either `counter` or `power`"),
        ({"counter": None, "power": "m.kw", "rollover": 9.0}, "of a counter"),
        ({"idle_below": 2.0}, "is of a power"),
        ({"counter": "m.x"}, "no tag is called 'm.x'"),
        ({"counter": None, "power": "m.amps"}, "is in A; it takes W, kW or MW"),
        ({"counter": "m.gas"}, "counts m³, and kWh is told"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValidationError, LinesideError), match=words):
        stage(**options)
    assert stage(counter="m.gas", unit="m³")[0]._scale == 1.0


def test_a_state_of_other_tags_is_not_taken_up() -> None:
    it, table = stage()
    fed(it, table, {"p.count": np.arange(60) // 10, "m.kwh": STEADY})
    state = it.snapshot() or b""
    other, _ = stage(parts=None, trigger="p.done")
    other.restore(state)
    assert other._total == 0
    with pytest.raises(ValueError, match="damaged"):
        stage()[0].restore(state.replace(b'"part": [', b'"part": [1.0, '))


def test_a_clock_that_was_set_back_costs_the_part_under_way_and_no_more() -> None:
    it, table = stage()
    columns = {"p.count": np.arange(60) // 10, "m.kwh": STEADY}
    assert len(fed(it, table, columns, 5)["each"]) == 4
    later = {"p.count": 5 + np.arange(60) // 10, "m.kwh": 6 + STEADY}  # the same seconds once more
    told = fed(it, table, later, 5)
    assert [(ts, v, q) for ts, v, q in told["each"]] == [
        (ts, pytest.approx(1.0), Quality.GOOD) for ts in (20, 30, 40, 50)
    ]
    assert Quality.SUBSTITUTED in {q for *_, q in told["total"]} and told["total"][-1][1] == pytest.approx(10.8)


def test_a_rule_trusts_a_part_until_the_next_one_though_the_meter_comes_each_second() -> None:
    """The alarm stands for a minute, and the meter grows stale within three seconds."""
    site = load_text("""device: {id: d}
drivers:
  m:
    driver: modbus
    url: "tcp://127.0.0.1:9"
    every: 1s
    tags: {kwh: {address: "holding:0", type: float32, unit: kWh}, n: {address: "holding:2"}}
stages: {e: {stage: per_part, counter: m.kwh, parts: m.n, wait: 1s}}
alarms: {dear: {when: "e.each > 5", for: 10s}}
tests:
  - name: it stands
    stages: [e]
    given: {m.n: [0, 1, 2, 2], m.kwh: [0, 9, 18, 18, 18, 18, 18]}
    until: 30s
    expect: [{event: dear, state: raised}]
""")
    assert [outcome.faults for outcome in rehearse_all(site)] == [[]]
