"""The handshake: its states, and that whatever the PLC does no verdict is missed and none is doubled."""

from __future__ import annotations

import random
from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.vision.handshake import BUFFER, LAST_ID, Handshake, Result, Told
from models.vision.outputs import ORDER, Outputs
from models.vision.plc import Plc

MS = 1_000_000
SCAN = 20 * MS
TAKT = 1000 * MS
NUMBERS = {name: i for i, name in enumerate(ORDER)}


def fresh(why: str = "") -> Handshake:
    one = Handshake(ack_within=TAKT, heartbeat=500 * MS)
    one.permit(why, 77)
    one.plc(False, False, 0)
    return one


def verdict(number: int, state: str = "ok") -> Result:
    return Result(number, number, state, 77)


def whats(told: list[Told]) -> list[str]:
    return [f"{t.what} {t.state or t.id}" for t in told]


def test_one_part_from_trigger_to_acknowledgement() -> None:
    one = fresh()
    assert one.state == "idle" and one.shown().ready
    assert whats(one.plc(True, False, 1)) == ["taken 1"]
    shown = one.shown()
    assert (shown.ready, shown.taken, shown.taken_id, shown.busy, one.state) == (False, True, 1, True, "busy")
    one.plc(False, False, 2)
    assert one.shown().ready and not one.shown().taken
    one.judged(verdict(1, "ng"), 3)
    shown = one.shown()
    assert (shown.valid, shown.ng, shown.ok, shown.result_id, shown.checksum, shown.busy) == (
        True,
        True,
        False,
        1,
        77,
        False,
    )
    assert whats(one.plc(False, True, 4)) == ["delivered 1"] and not one.shown().valid
    one.plc(False, False, 5)
    assert one.state == "idle" and not one.shown().overrun


def test_results_come_in_the_order_of_the_triggers() -> None:
    one = fresh()
    for _ in range(3):
        one.plc(True, False, 1)
        one.plc(False, False, 2)
    one.judged(verdict(3), 3)
    one.judged(verdict(2), 3)
    assert not one.shown().valid
    one.judged(verdict(1), 4)
    seen = []
    while one.shown().valid:
        seen.append(one.shown().result_id)
        one.plc(False, True, 5)
        one.plc(False, False, 6)
    assert seen == [1, 2, 3]


def test_a_skipped_acknowledgement_is_an_overrun_and_loses_nothing() -> None:
    one = fresh()
    for number in (1, 2):
        one.plc(True, False, 1)
        one.plc(False, False, 2)
        one.judged(verdict(number), 3)
    assert one.due() == 500 * MS or one.due() <= 3 + TAKT
    assert whats(one.tick(3 + TAKT)) == ["raised unacked"]
    assert (one.state, one.shown().overrun, one.shown().result_id) == ("unacked", True, 1)
    assert whats(one.plc(False, True, 4 + TAKT)) == ["delivered 1", "cleared unacked"]
    one.plc(False, False, 5 + TAKT)
    assert one.shown().valid and one.shown().result_id == 2 and not one.shown().overrun


def test_an_acknowledgement_stuck_high_takes_no_result() -> None:
    one = fresh()
    one.plc(True, True, 1)
    one.plc(False, True, 2)
    one.judged(verdict(1), 3)
    assert not one.shown().valid
    assert whats(one.tick(3 + TAKT)) == ["raised ack_stuck"] and one.shown().overrun
    assert whats(one.plc(False, False, 4 + TAKT)) == ["cleared ack_stuck"]
    assert one.shown().valid


def test_a_trigger_while_not_ready_is_refused_until_it_falls() -> None:
    one = fresh("no recipe for 9")
    assert one.state == "not_ready" and not one.shown().ready
    assert whats(one.plc(True, False, 1)) == ["refused refused"]
    assert (one.state, one.shown().overrun, one.shown().taken) == ("refused", True, False)
    one.permit("", 77)
    assert one.plc(True, False, 2) == [] and not one.shown().ready  # the same trigger: no part of ours
    one.plc(False, False, 3)
    assert one.shown().ready and not one.shown().overrun


def test_a_double_trigger_within_a_scan_is_one_part_and_a_second_one_is_refused_while_the_first_is_taken() -> None:
    one = fresh()
    assert whats(one.plc(True, False, 1)) == ["taken 1"]
    assert one.plc(True, False, 2) == []
    assert one.take(3) == [Told("refused", 0, "refused")] and one.shown().overrun


def test_with_the_buffer_full_nothing_is_taken() -> None:
    one = fresh()
    told: list[str] = []
    for _ in range(BUFFER + 1):
        told += whats(one.plc(True, False, 1))
        one.plc(False, False, 2)
    assert told[-2:] == ["raised full", "refused refused"] and one.state == "full"
    for number in range(1, BUFFER + 1):
        one.judged(verdict(number), 3)
    assert whats(one.plc(False, True, 4)) == ["delivered 1", "cleared full"]


def test_a_lost_plc_gets_what_waited_and_a_trigger_that_rose_unseen_is_no_part() -> None:
    one = fresh()
    one.plc(True, False, 1)
    assert whats(one.lost(2)) == ["raised lost"] and one.state == "lost" and not one.shown().ready
    one.judged(verdict(1), 3)
    assert not one.shown().valid
    assert whats(one.plc(False, False, 4)) == ["cleared lost"] and one.shown().valid
    one.lost(5)
    one.lost(6 + TAKT)
    assert "refused refused" in whats(one.plc(True, False, 7 + TAKT))


def test_a_scan_that_failed_costs_no_trigger_and_a_start_takes_none_that_is_high() -> None:
    one = fresh()
    one.lost(2)
    assert "taken 1" in whats(one.plc(True, False, 3))
    other = Handshake(TAKT, 500 * MS)
    other.permit("", 77)
    assert whats(other.plc(True, False, 1)) == ["refused refused"]


def test_the_trigger_of_before_the_cable_was_pulled_is_no_new_one() -> None:
    one = fresh()
    one.plc(True, False, 1)
    one.lost(2)
    assert whats(one.plc(True, False, 3)) == ["cleared lost"] and one.shown().taken and one.under_way == (1,)


def test_an_acknowledgement_of_what_does_not_stand_in_the_plc_counts_for_nothing() -> None:
    one = fresh()
    one.plc(True, False, 1)
    one.judged(verdict(1), 2)
    assert one.plc(False, True, 3, standing=0) == [] and one.shown().valid
    assert whats(one.plc(False, True, 4, standing=1)) == ["delivered 1"]


def test_a_verdict_is_taken_once() -> None:
    one = fresh()
    one.plc(True, False, 1)
    one.judged(verdict(1), 2)
    one.judged(verdict(1, "ng"), 3)
    one.judged(verdict(5), 3)
    one.plc(False, True, 4)
    one.plc(False, False, 5)
    assert not one.shown().valid and not one.under_way


def test_after_a_restart_nothing_is_lost() -> None:
    one = fresh()
    for _ in range(3):
        one.plc(True, False, 1)
        one.plc(False, False, 2)
    one.judged(verdict(1, "ng"), 3)
    one.judged(verdict(3), 3)
    one.plc(True, False, 4)
    other = Handshake(TAKT, 500 * MS)
    other.restore(one.snapshot())
    other.permit("", 77)
    assert other.plc(True, False, 5) == []
    seen = []
    while other.shown().valid:
        shown = other.shown()
        seen.append((shown.result_id, shown.ok, shown.ng, shown.recheck))
        other.plc(True, True, 6)
        other.plc(True, False, 7)
    assert seen == [(1, False, True, False), (2, False, False, True), (3, True, False, False), (4, False, False, True)]
    other.plc(False, False, 8)
    assert whats(other.plc(True, False, 9)) == ["taken 5"]


@pytest.mark.parametrize(
    ("last", "taken", "restored", "owed", "then"),
    [
        (10, 12, True, [11, 12], 13),
        (10, 10, True, [], 11),
        (10, 12, False, [], 13),
        (10, 0, True, [], 11),
        (10, 500, True, [], 501),
        (500, 10, True, [], 501),
        (LAST_ID - 1, 2, True, [LAST_ID, 1, 2], 3),
        (LAST_ID - 1, 0, True, [], LAST_ID),
    ],
)
def test_what_the_plc_remembers_is_caught_up_with(
    last: int, taken: int, restored: bool, owed: list[int], then: int
) -> None:
    one = fresh()
    one.restore(
        {"last": last, "under_way": [], "results": [], "taken": False, "words": {"id": 0, "part": 0, "state": ""}}
    )
    assert [result.id for result in one.catch_up(taken, restored=restored)] == owed
    assert f"taken {then}" in whats(one.plc(True, False, 2))


def test_ids_fit_a_register() -> None:
    one = fresh()
    one.restore(
        {"last": LAST_ID, "under_way": [], "results": [], "taken": False, "words": {"id": 0, "part": 0, "state": ""}}
    )
    one.plc(False, False, 1)
    assert whats(one.plc(True, False, 2))[-1] == "taken 1"


class Line:
    """Station and PLC on one virtual time, a cable between them that delays, drops single writes and can be pulled."""

    def __init__(self, seed: int, takes: tuple[int, int] = (50, 600)) -> None:
        self.rng = random.Random(seed)
        self.now, self.takes = 0, takes
        self.station = Handshake(ack_within=TAKT, heartbeat=500 * MS)
        self.outputs = Outputs(NUMBERS, "station")
        self.plc = Plc(TAKT, memory=dict.fromkeys(ORDER, 0.0))
        self.jobs: deque[tuple[int, Result]] = deque()
        self.told: list[Told] = []
        self.judged: list[tuple[int, str]] = []
        self.cable = True
        self.drop = 0.0  # share of writes that never arrive
        self.station.permit("", 77)

    def step(self) -> None:
        self.now += SCAN
        self.plc.step(self.now - SCAN // 2)
        if self.cable:
            for name in ORDER:
                self.outputs.see(name, self.plc.memory[name])
            said = self.station.plc(self.plc.trigger, self.plc.ack, self.now, standing=self.outputs.standing())
        else:
            self.outputs.forget()
            said = self.station.lost(self.now)
        while self.jobs and self.jobs[0][0] <= self.now:
            said += self.station.judged(self.jobs.popleft()[1], self.now)
        if self.station.due() <= self.now:
            said += self.station.tick(self.now)
        for told in said:
            if told.what == "taken":
                result = Result(told.id, told.id, self.rng.choice(("ok", "ng", "recheck")), 77)
                self.judged.append((told.id, result.state))
                self.jobs.append((self.now + self.rng.randint(*self.takes) * MS, result))
                self.jobs = deque(sorted(self.jobs, key=lambda job: job[0]))
        self.told += said
        if self.cable:
            for write in self.outputs.write(self.station.shown(), self.now):
                if self.rng.random() >= self.drop:
                    self.plc.memory[ORDER[write.tag]] = float(write.value)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 1e9 / SCAN)):
            self.step()

    def judge(self) -> None:
        """Every id taken was delivered once, in order, and the PLC read each once."""
        taken = [t.id for t in self.told if t.what == "taken"]
        delivered = [t.id for t in self.told if t.what == "delivered"]
        assert delivered == taken, "missed or doubled at the station"
        assert self.plc.results == self.judged, "missed, doubled or falsified in the PLC"
        assert set(self.plc.taken) <= set(taken)


FAULT = st.sampled_from(
    ("missed ack", "ack stuck", "trigger stuck", "double", "blind", "restart", "cable", "drop", "nothing")
)


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.lists(st.tuples(FAULT, st.integers(1, 40)), max_size=10))
def test_whatever_the_plc_does_no_verdict_is_missed_and_none_is_doubled(
    seed: int, faults: list[tuple[str, int]]
) -> None:
    line = Line(seed)
    line.run(2)
    for fault, steps in faults:
        until = line.now + steps * SCAN * 4
        line.plc.faults.no_ack = until if fault == "missed ack" else 0
        line.plc.faults.ack_high = until if fault == "ack stuck" else 0
        line.plc.faults.trigger_high = until if fault == "trigger stuck" else 0
        line.plc.faults.double |= fault == "double"
        line.plc.faults.blind |= fault == "blind"
        line.cable, line.drop = fault != "cable", 0.3 if fault == "drop" else 0.0
        if fault == "restart":
            line.plc.restart()
        line.run(steps * SCAN / 1e9)
    line.cable, line.drop = True, 0.0
    line.plc.resting = True
    line.run(20)
    line.judge()
    assert line.station.state == "idle" and not line.station.shown().overrun


@pytest.mark.parametrize("drop", [0.0, 0.02])
def test_an_hour_of_parts_has_its_verdicts_within_the_takt(drop: float) -> None:
    """One part a second for an hour of virtual time, judged within 0.05 to 0.6 s, a scan of 20 ms."""
    line = Line(5)
    line.drop = drop
    line.run(3600 if not drop else 600)
    line.plc.resting = True
    line.run(5)
    line.judge()
    waited = np.array(line.plc.waited) / MS
    assert len(waited) >= (3500 if not drop else 500) and line.plc.refused == 0
    assert np.percentile(waited, 99) < (1000 if not drop else 2000)
    if not drop:
        assert Counter(t.what for t in line.told).keys() == {"taken", "delivered"}


def test_words_stand_before_valid_rises_and_change_only_after_it_fell() -> None:
    one, out = fresh(), Outputs(NUMBERS, "station")

    def scan(**values: float) -> None:
        for name in ORDER:
            out.see(name, values.get(name, 0.0))

    def written(mono: int) -> dict[str, float]:
        return {ORDER[write.tag]: float(write.value) for write in out.write(one.shown(), mono)}

    scan()
    one.plc(True, False, 1)
    one.judged(verdict(1), 2)
    first = written(3)
    assert first["result_id"] == 1 and first["ok"] == 1 and "valid" not in first and "taken" not in first
    standing = {**dict.fromkeys(ORDER, 0.0), **first}
    scan(**{**standing, "ok": 0.0})  # one write was lost on the way
    assert "valid" not in written(4)
    assert written(3 + TAKT)["ok"] == 1 and out.rewritten >= 1
    scan(**standing)
    assert written(5 + TAKT)["valid"] == 1
    standing["valid"] = 1.0
    scan(**standing)
    one.plc(True, True, 6 + TAKT, standing=out.standing())
    one.judged(verdict(2, "ng"), 7 + TAKT)
    one.plc(False, False, 8 + TAKT)
    one.take(8 + TAKT)
    one.judged(verdict(2, "ng"), 8 + TAKT)
    assert one.shown().valid and one.shown().result_id == 2
    out.write(one.shown(), 9 + TAKT)  # valid falls, and the PLC still shows it high
    scan(**standing)
    assert not {"result_id", "ng", "ok", "part_done"} & written(10 + TAKT).keys()
    scan(**{**standing, "valid": 0.0})
    assert written(11 + TAKT)["result_id"] == 2
