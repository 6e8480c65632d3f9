"""Rules on the clock: delay, hysteresis, freshness, ISA-18.2 states, and what survives."""

import numpy as np
import pytest

from edge import SECOND, Batch, Event, ManualClock, Quality, Tag, TagTable, Writable, Write
from edge.alarms import AlarmConfig, Alarms
from edge.config.load import load_text
from edge.flow import Flow
from edge.health import Health
from edge.rehearse import Kept, rules
from edge.writes import Writes


class Bench:
    """One flow with alarms on tags plc.a and plc.b (good for 3 s) and a writable plc.stop."""

    def __init__(self, **alarms: dict) -> None:
        self.clock = ManualClock()
        tags = [Tag("plc.a", source="plc", stale_after=3.0), Tag("plc.b", source="plc", stale_after=3.0)]
        tags.append(Tag("plc.stop", source="plc", writable=Writable(range=(0, 1))))
        self.table = TagTable.numbered(tags)
        self.alarms = Alarms({name: AlarmConfig(**c) for name, c in alarms.items()}, self.table)
        self.kept, self.writes = Kept(), []
        self.flow = Flow(
            self.table, [("alarms", self.alarms)], self.kept, self.clock, Health(self.clock), write=self.write
        )

    def write(self, order: Write) -> list[Event]:
        self.writes.append((self.table.by_id(order.tag).name, order.value))
        return []

    def see(self, a: float, quality: Quality = Quality.GOOD, tag: str = "plc.a") -> None:
        self.flow.accept(Batch.of("plc", [self.table[tag].id], [a], self.clock.utc(), quality))

    def wait(self, seconds: float) -> None:
        end = self.clock.mono() + round(seconds * SECOND)
        while (due := self.flow.due()) <= end:
            self.clock.advance_to(due)
            self.flow.tick()
        self.clock.advance_to(end)

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.kept.events]


def test_delay_runs_on_the_clock_between_samples() -> None:
    bench = Bench(hot={"when": "plc.a > 80", "for": "2s"})
    bench.see(85)
    bench.wait(1.9)
    assert bench.states == []
    bench.wait(0.2)
    assert bench.states == ["raised"]
    assert bench.kept.events[0].data["value"] == 85


def test_delay_stands_still_while_stale_and_silence_never_clears() -> None:
    bench = Bench(hot={"when": "plc.a > 80", "for": "5s"})
    bench.see(85)
    bench.wait(60)
    assert bench.states == [], "3 s old is stale: the delay had counted 3 of 5 s"
    bench.see(85)
    bench.wait(1.5)
    assert bench.states == []
    bench.wait(1)
    assert bench.states == ["raised"]
    bench.wait(3600)
    assert bench.states == ["raised"]


def test_bad_quality_freezes_the_delay() -> None:
    bench = Bench(hot={"when": "plc.a > 80", "for": "2s"})
    bench.see(85)
    bench.wait(1)
    bench.see(float("nan"), Quality.TIMEOUT)
    bench.wait(10)
    assert bench.states == []
    bench.see(85)
    bench.wait(1.1)
    assert bench.states == ["raised"]


def test_an_alarm_carries_the_quality_of_what_it_judges() -> None:
    bench = Bench(hot={"when": "plc.a > 80"}, both={"when": "plc.a + plc.b > 80"})

    def shown() -> list[str]:
        return [alarm["quality"] for alarm in bench.alarms.status(bench.clock.mono())]

    bench.see(1, tag="plc.b")
    bench.see(85)
    assert shown() == ["GOOD", "GOOD"]
    bench.see(float("nan"), Quality.EXCEPTION)
    assert shown() == ["EXCEPTION", "EXCEPTION"]
    bench.see(85)
    bench.wait(10)
    assert shown() == ["STALE", "STALE"]


@pytest.mark.parametrize("when", ["plc.a / plc.b > 2", "plc.a > 2"])
def test_what_has_no_value_neither_raises_nor_clears(when: str) -> None:
    bench = Bench(x={"when": when})
    bench.see(2, tag="plc.b")
    bench.see(9)
    assert bench.states == ["raised"]
    bench.wait(0.1)
    bench.see(0, tag="plc.b")
    bench.see(float("nan"))
    assert bench.states == ["raised"]


def test_a_false_value_starts_the_delay_anew() -> None:
    bench = Bench(hot={"when": "plc.a > 80", "for": "2s"})
    for value in (85, 79, 85):
        bench.see(value)
        bench.wait(1.5)
    assert bench.states == []


def test_hysteresis_and_writes_before_the_journal() -> None:
    bench = Bench(
        hot={"when": "plc.a > 80", "clear": "plc.a < 75", "then": {"plc.stop": 1}, "on_clear": {"plc.stop": 0}}
    )
    for value in (81, 79, 76, 74.9, 81):
        bench.see(value)
    assert bench.states == ["raised", "cleared", "raised"]
    assert bench.writes == [("plc.stop", 1), ("plc.stop", 0), ("plc.stop", 1)]


@pytest.mark.parametrize(
    ("when", "value", "raised"),
    [
        ("plc.a > 80", 80, False),
        ("plc.a >= 80", 80, True),
        ("80 <= plc.a", 80, True),
        ("plc.a < -1", -1, False),
        ("plc.a <= -1", -1, True),
        ("plc.a == 3", 3, True),
        ("plc.a > 1 and plc.a < 3", 2, True),
        ("not plc.a", 0, True),
    ],
)
def test_bounds_are_exact_and_the_default_clear_is_their_opposite(when: str, value: float, raised: bool) -> None:
    bench = Bench(x={"when": when})
    bench.see(value)
    assert (bench.states == ["raised"]) is raised
    bench.wait(0.1)
    bench.see(1e9 if value <= 0 else (-1e9 if "==" not in when else 4))
    assert bench.states == (["raised", "cleared"] if raised else [])


def test_two_tags_hold_their_last_values() -> None:
    bench = Bench(x={"when": "plc.a - plc.b > 10"})
    bench.see(20)
    bench.wait(0.5)
    bench.see(5, tag="plc.b")
    assert bench.states == ["raised"]
    bench.wait(0.5)
    bench.see(15, tag="plc.b")
    assert bench.states == ["raised", "cleared"]


def test_a_late_sample_is_history_only() -> None:
    bench = Bench(hot={"when": "plc.a > 80"}, sum={"when": "plc.a + plc.b > 80"})
    bench.see(1, tag="plc.b")
    bench.see(10)
    a, ts = bench.table["plc.a"].id, bench.clock.utc()
    bench.flow.accept(Batch.of("plc", [a], [90], ts - SECOND))
    assert bench.states == []
    assert bench.kept.batches[-1].quality.tolist() == [Quality.LATE]


def test_a_clock_that_was_set_back_holds_the_rules_up_for_one_staleness_only() -> None:
    bench = Bench(hot={"when": "plc.a > 80"}, sum={"when": "plc.a + plc.b > 80"})
    a, b, early = bench.table["plc.a"].id, bench.table["plc.b"].id, bench.clock.utc() - 3600 * SECOND
    bench.flow.accept(Batch.of("plc", [a, b], [1, 1], bench.clock.utc()))
    for second in range(5):
        bench.wait(1)
        bench.flow.accept(Batch.of("plc", [a, b], [90, 1], early + second * SECOND))
    assert bench.states == ["raised", "raised"]
    bench.flow.accept(Batch.of("plc", [a, b], [np.nan, np.nan], bench.clock.utc(), Quality.TIMEOUT))
    bench.wait(1)
    bench.flow.accept(Batch.of("plc", [a, b], [1, 1], early + 6 * SECOND))
    assert bench.states == ["raised", "raised", "cleared", "cleared"], (
        "a time-out carries our time: nothing is late by it"
    )


@pytest.mark.parametrize(
    ("values", "states"), [((50, 85, 90), ["raised"]), ((85, 90, 50), ["raised", "cleared"]), ((85, 50, 85), None)]
)
def test_both_conditions_of_an_expression_are_judged_along_time(values: tuple[float, ...], states: list | None) -> None:
    bench = Bench(hot={"when": "plc.a > 80 or plc.b > 80", "clear": "plc.a < 75 and plc.b < 75"})
    bench.see(0, tag="plc.b")
    a, ts = bench.table["plc.a"].id, bench.clock.utc()
    bench.flow.accept(Batch.of("plc", [a] * 3, values, [ts, ts + 1, ts + 2]))
    assert bench.states == (states or ["raised", "cleared", "raised"])


def test_several_samples_of_a_tag_in_one_batch() -> None:
    bench = Bench(hot={"when": "plc.a > 80"})
    a, ts = bench.table["plc.a"].id, bench.clock.utc()
    bench.flow.accept(Batch.of("plc", [a] * 4, [70, 81, 82, 70], [ts, ts + 1, ts + 2, ts + 3]))
    assert bench.states == ["raised", "cleared"]
    assert [e.ts - ts for e in bench.kept.events] == [1, 3]


def test_acknowledge_shelve_and_restore() -> None:
    config = {"hot": {"when": "plc.a > 80"}}
    bench = Bench(**config)
    bench.see(85)

    def command(key: str, **data: object) -> None:
        bench.flow.accept(Event("command", key, data={"alarm": "hot", "by": "li", **data}, ts=bench.clock.utc()))

    command("ack")
    command("ack")
    command("shelve", seconds=5)
    assert [s for s in bench.states if s] == ["raised", "acked", "shelved"]
    again = Bench(**config)
    again.clock = bench.clock
    again.flow.clock = bench.clock
    again.flow.restore({"alarms": bench.alarms.snapshot()})
    assert again.alarms.status()[0] | {"since": 0} == bench.alarms.status()[0] | {"since": 0}
    again.see(85)
    assert again.states == [], "raised before the kill: not raised again"
    again.see(70)
    assert again.states == ["cleared"]


def test_an_alarm_that_left_the_site_is_cleared() -> None:
    bench = Bench(hot={"when": "plc.a > 80"})
    bench.see(85)
    other = Bench(cold={"when": "plc.a < 0"})
    other.flow.restore({"alarms": bench.alarms.snapshot()})
    other.wait(0)
    other.flow.tick()
    assert [(e.key, e.state) for e in other.kept.events] == [("hot", "cleared")]


def test_the_last_alarm_that_left_the_site_is_cleared_too() -> None:
    bench = Bench(hot={"when": "plc.a > 80"})
    bench.see(85)
    (name, none) = rules(load_text("device: {id: d}"), bench.table)[0]
    flow = Flow(bench.table, [(name, none)], bench.kept, bench.clock, Health(bench.clock), write=bench.write)
    flow.restore({"alarms": bench.alarms.snapshot()})
    assert flow.due() <= bench.clock.mono()
    flow.tick()
    bench.see(85)
    assert bench.states == ["raised", "cleared"]
    assert none.status() == []


def test_a_thousand_limits_agree_with_one_by_one() -> None:
    rng = np.random.default_rng(5)
    table = TagTable.numbered(Tag(f"s.t{i}", source="s", stale_after=10) for i in range(200))
    configs = {f"a{i}": AlarmConfig(when=f"s.t{i} > {i % 7}", clear=f"s.t{i} < {i % 7 - 1}") for i in range(200)}
    alarms, clock, kept = Alarms(configs, table), ManualClock(), Kept()
    flow = Flow(table, [("alarms", alarms)], kept, clock, Health(clock))
    ids, active, count = np.array([t.id for t in table], np.int32), np.zeros(200, bool), 0
    ids.flags.writeable = False
    for _ in range(100):
        values = rng.integers(-3, 10, 200).astype(float)
        flow.accept(Batch.of("s", ids, values, clock.utc()))
        clock.advance(0.1)
        for i, v in enumerate(values):
            if (not active[i] and v > i % 7) or (active[i] and v < i % 7 - 1):
                active[i], count = not active[i], count + 1
    assert np.array_equal(alarms.active, active) and len(kept.events) == count > 500


def test_guarded_writes() -> None:
    bench = Bench()
    writes = Writes(bench.table, bench.clock)
    tag = bench.table["plc.stop"].id
    assert "outside" in writes(Write(tag, 2))[0].text
    assert "read-only" in writes(Write(bench.table["plc.a"].id, 1))[0].text
    assert "too late" in writes(Write(tag, 1, expires=1))[0].text
    assert "outside" in writes(Write(tag, float("nan")))[0].text
