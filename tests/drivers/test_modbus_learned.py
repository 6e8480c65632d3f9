"""Modbus: what a device teaches by its answers, how the plan follows, and what is remembered."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.address import Address, Span
from drivers.modbus.cost import Cost
from drivers.modbus.driver import Modbus
from drivers.modbus.learned import DOUBT_REST, DOUBT_TAG, TOO_OLD, After, Learned
from drivers.modbus.line_frames import crc16
from drivers.modbus.options import ModbusConfig
from drivers.modbus.plan import Item, Plan, Request
from drivers.modbus.rules import Rules
from drivers.modbus.sim import ModbusSim
from drivers.modbus.window import Window
from edge import AnswerContradicts, Quality, SystemClock, load_site
from edge.app import Daemon
from edge.cli import main
from edge.memory import MOST_REMEMBERED, packed
from edge.testing import FakeSource

NOW = 1_700_000_000 * 10**9
URL = "tcp://plc:502"
Device = Callable[[Request], int]


def registers(*numbers: int, kind: str = "uint16") -> list[Item]:
    return [Item(1, Address("holding", n), kind) for n in numbers]


def device(missing: Sequence[int] = (), most: int = 125, long_code: int = 3, most_bits: int = 2000) -> Device:
    lacking = set(missing)

    def answer(request: Request) -> int:
        if request.count > (most if request.function > 2 else most_bits):
            return long_code
        return 2 if lacking.intersection(range(*request.span)) else 0

    return answer


class Line:
    """Plans and asks a device, without a wire. `asked`: every request so far, with its code."""

    def __init__(self, items: Sequence[Item], memory: Mapping[str, Any] | None = None, gap: int = 8) -> None:
        self.items, self.rules = items, {1: Rules(gap=gap)}
        self.now = NOW
        self.learned = Learned(URL, memory or {}, NOW)
        self.asked: list[tuple[Request, int]] = []
        self.replan()

    def replan(self) -> None:
        self.plan = Plan(self.items, self.learned.applied(self.rules))

    def scan(self, device: Device) -> list[int]:
        """One scan as the driver does it: the code of each item. Ends, whatever the device says."""
        for _ in range(len(self.items) + 1):
            codes = [device(request) for request in self.plan.requests]
            self.asked += zip(self.plan.requests, codes, strict=True)
            attentive = self.learned.attends(self.plan) or any(codes)
            after = self.learned.heard(self.plan, codes, self.now) if attentive else After.NOTHING
            told = [codes[r] for r in self.plan.request_of]
            if after is not After.NOTHING:
                self.replan()
            if after is not After.REPEAT:
                self.settled = after is After.NOTHING
                return told
        raise AssertionError("a scan does not end")

    def settle(self, device: Device) -> list[int]:
        """Scan until nothing is learned any more: the plan stays for some scans."""
        same = 0
        for _ in range(100):
            before = [r.pdu for r in self.plan.requests]
            told = self.scan(device)
            same = same + 1 if [r.pdu for r in self.plan.requests] == before else 0
            if same == 3:
                return told
        raise AssertionError("the plan does not settle")

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [(r.start, r.start + r.count - 1) for r in self.plan.requests]


def test_a_register_that_is_missing_costs_one_request_and_is_remembered() -> None:
    line = Line(registers(*range(8)))
    assert line.scan(device([3])) == [0, 0, 0, 2, 0, 0, 0, 0], "at the first scan already"
    assert line.settle(device([3])) == [0, 0, 0, 2, 0, 0, 0, 0]
    assert line.spans == [(0, 2), (3, 3), (4, 7)]
    again = Line(line.items, json.loads(json.dumps(line.learned.facts())))
    assert again.spans == line.spans and again.learned.lines() == ["unit 1 lacks holding:3"]


def test_missing_neighbours_are_asked_for_together() -> None:
    line = Line(registers(*range(20)))
    assert line.settle(device(range(5, 12))) == [0] * 5 + [2] * 7 + [0] * 8
    assert line.spans == [(0, 4), (5, 11), (12, 19)]


@pytest.mark.parametrize("missing", [[414], [415], [414, 415]])
def test_a_tag_inside_one_that_is_refused_is_read_by_itself(missing: list[int]) -> None:
    items = [*registers(410, 413), *registers(413, kind="float32"), *registers(413, kind="uint64"), *registers(417)]
    line = Line(items)
    refused = 0 if missing == [415] else 2
    assert line.scan(device(missing)) == [0, 0, refused, 2, 0], "at the first scan already"
    assert line.settle(device(missing)) == [0, 0, refused, 2, 0]
    again = Line(items, json.loads(json.dumps(line.learned.facts())))
    assert again.spans == line.spans
    for _ in range(4):
        line.now += DOUBT_TAG
        assert line.settle(device(missing)) == [0, 0, refused, 2, 0], "a doubt costs no sample"
    assert line.settle(device()) == [0] * 5 and line.spans == [(410, 417)], "and comes back"


def test_a_tag_inside_another_one_that_comes_into_being_is_read() -> None:
    line = Line([*registers(413), *registers(413, kind="float32")])
    assert line.settle(device([413, 414])) == [2, 2] and line.spans == [(413, 414)]
    line.now += DOUBT_TAG
    for _ in range(3):
        line.now += DOUBT_TAG
        told = line.settle(device([414]))
    assert told == [0, 2] and line.learned.lines() == ["unit 1 lacks holding:414"]


def test_a_gap_that_cannot_be_read_is_not_bridged_again() -> None:
    line = Line(registers(0, 5, 9, 12))
    assert line.settle(device([3])) == [0] * 4
    assert line.spans == [(0, 0), (5, 12)]
    assert line.learned.lines() == ["unit 1 lacks holding:1..4"]


@pytest.mark.parametrize("code", [2, 3])
@pytest.mark.parametrize("most", [1, 10, 60, 99, 100, 124])
def test_the_most_registers_at_once_are_found_exactly(most: int, code: int) -> None:
    line = Line(registers(*range(500)))
    refusing = device(most=most, long_code=code)
    assert line.scan(refusing) == [0] * 500, "no sample is lost to it"
    line.settle(refusing)
    assert max(r.count for r in line.plan.requests) == most and len(line.plan.requests) == -(-500 // most)
    assert line.learned.lines() == [f"unit 1 gives at most {most} registers at once"]
    again = Line(line.items, json.loads(json.dumps(line.learned.facts())))
    again.settle(refusing)
    assert not any(code for _, code in again.asked), "remembered"


def test_bits_have_their_own_limit() -> None:
    line = Line([Item(1, Address("coil", n), "bool") for n in range(3000)] + registers(*range(200)))
    line.settle(device(most_bits=512))
    assert [r.count for r in line.plan.requests] == [512] * 5 + [440, 125, 75]


def test_a_register_that_comes_into_being_is_read_with_the_others_again() -> None:
    line = Line(registers(*range(8)))
    line.settle(device([3, 4]))
    assert line.spans == [(0, 2), (3, 4), (5, 7)]
    assert line.settle(device()) == [0] * 8
    assert line.spans == [(0, 7)] and line.learned.facts()["units"] == {}


def test_a_device_that_refuses_at_random_is_not_taken_for_a_small_one() -> None:
    line, turn = Line(registers(*range(1000))), [0]

    def moody(request: Request) -> int:
        turn[0] += 1
        return 2 if turn[0] % 13 == 0 and request.count > 60 else 0

    for _ in range(20):
        assert line.scan(moody) == [0] * 1000
    assert line.learned.lines() == []


def once(request: Request, behind: Device, number: int) -> int:
    """The device, but refusing this register too."""
    return 2 if number in range(*request.span) else behind(request)


def test_a_refusal_without_a_reason_does_not_stay() -> None:
    """Register 4 is refused for a while, as its neighbours 3 and 5 always are: so it is asked for with them, and cannot answer."""
    line, behind = Line(registers(*range(10))), device([3, 5])
    line.settle(lambda request: once(request, behind, 4))
    assert line.spans == [(0, 2), (3, 5), (6, 9)]
    for _ in range(4):
        line.now += DOUBT_TAG
        told = line.settle(behind)
    assert told == [0, 0, 0, 2, 0, 2, 0, 0, 0, 0]
    asked = len(line.asked)
    line.now += DOUBT_TAG - 1
    line.scan(behind)
    assert len(line.asked) == asked + len(line.plan.requests), "doubts have their time"


def test_one_refusal_of_a_request_that_is_fine_changes_no_plan() -> None:
    line, first = Line(registers(*range(40), *range(45, 60))), [True]

    def startled(request: Request) -> int:
        code, first[0] = 2 if first[0] else 0, False
        return code

    assert line.settle(startled) == [0] * 55
    assert line.spans == [(0, 59)] and not line.learned.lines()


def test_a_limit_and_a_gap_are_doubted_each_hour_and_a_tag_each_minute_costs_no_sample() -> None:
    line = Line(registers(*range(200), 204, 210))
    line.settle(device([202], most=60))
    assert line.learned.lines() == ["unit 1 lacks holding:200..203", "unit 1 gives at most 60 registers at once"]
    for _ in range(2):
        line.now += DOUBT_REST
        assert line.settle(device([202], most=60)) == [0] * 202
    assert line.learned.lines() == ["unit 1 lacks holding:200..203", "unit 1 gives at most 60 registers at once"]
    for _ in range(2):
        line.now += DOUBT_REST
        assert line.settle(device()) == [0] * 202
    assert line.learned.lines() == [] and len(line.plan.requests) == 2, "another device may be there by now"


def test_what_was_learned_from_short_answers_is_not_doubted() -> None:
    line = Line(registers(*range(300)))
    for _ in range(2):
        line.learned.short(line.plan.requests[0], 40)
    line.replan()
    again = Line(line.items, line.learned.facts())
    for each in (line, again):
        each.now += DOUBT_REST
        each.settle(device())
        assert max(r.count for r in each.plan.requests) == 40, "each try would end the connection"


def test_only_news_is_remembered() -> None:
    line = Line(registers(*range(10)))
    assert line.learned.news() is None
    line.settle(device([3, 4]))
    kept = line.learned.news()
    assert kept and line.learned.news() is None
    line.now += DOUBT_TAG
    line.settle(device([3, 4]))
    assert line.learned.news() is None, "what was doubted is known again"
    assert Line(line.items, kept).learned.news() is None
    line.settle(device())
    forgotten = line.learned.news()
    assert forgotten and not forgotten["units"]


@given(st.data())
def test_whatever_a_device_lacks_the_rest_is_read_and_the_plan_settles(data: st.DataObject) -> None:
    kinds = st.sampled_from(["uint16", "float32", "uint64"])
    drawn = data.draw(st.lists(st.tuples(st.integers(0, 300), kinds), min_size=1, max_size=60, unique=True))
    items = [Item(1, Address("holding", n), kind) for n, kind in sorted(drawn)]
    missing = data.draw(st.lists(st.integers(0, 303), max_size=12))
    most, code = data.draw(st.integers(4, 125)), data.draw(st.sampled_from([2, 3]))
    behind = device(missing, most, code)
    line = Line(items, gap=data.draw(st.integers(0, 20)))
    told = line.settle(behind)
    assert line.settled, "nothing is planned anew any more"
    for item, code_of in zip(items, told, strict=True):
        assert bool(code_of) == bool(set(missing).intersection(range(*item.span))), (
            "nothing is refused with another tag"
        )
    assert all(
        r.count <= most for r, code in zip(line.plan.requests, map(behind, line.plan.requests), strict=True) if not code
    )


def test_what_is_remembered_of_another_device_or_of_long_ago_is_not_used() -> None:
    line = Line(registers(*range(500)))
    line.settle(device([3], most=50))
    facts = line.learned.facts()
    assert Learned(URL, facts, NOW).lines() and Learned(URL, facts, NOW + TOO_OLD - 1).lines()
    assert not Learned("tcp://other:502", facts, NOW).lines()
    assert not Learned(URL, facts, NOW + TOO_OLD).lines()
    assert not Learned(URL, facts, NOW - 1).lines()
    assert not Learned(URL, facts | {"version": 2}, NOW).lines()


ODD: list[Any] = [None, [], {"x": 1}, {"1": None}, {"one": {"since": NOW}}, {"1": {"since": "now", "holes": []}}]


@pytest.mark.parametrize("units", ODD)
def test_a_memory_that_makes_no_sense_is_no_memory(units: Any) -> None:
    assert not Learned(URL, {"version": 1, "url": URL, "in_flight": [0, 0], "units": units}, NOW).units


@pytest.mark.parametrize("hole", ["holding", "holding:1.3", "holding:9..3", 7, None, "holding:1..99999"])
def test_a_hole_that_is_none_is_no_memory(hole: Any) -> None:
    unit = {"since": NOW, "holes": [hole], "registers": 125, "bits": 2000, "firm": False, "bridge": 0}
    assert not Learned(URL, {"version": 1, "url": URL, "in_flight": [0, 0], "units": {"1": unit}}, NOW).units


def test_how_many_requests_a_device_takes_at_once_is_remembered() -> None:
    learned = Learned(URL, {}, NOW)
    assert learned.takes(4, NOW) and not learned.takes(4, NOW + 1)
    facts = learned.facts()
    again = Learned(URL, facts, NOW + 5)
    assert again.in_flight == 4 and again.lines() == ["takes 4 requests at once"] and not again.takes(4, NOW + 5)
    assert Window(again.in_flight).size == 4 and Window(again.in_flight).settled
    assert not Learned(URL, facts, NOW + TOO_OLD).in_flight
    for odd in ([99, NOW], [-1, NOW], [4], "4", None, [4, "x"]):
        assert not Learned(URL, facts | {"in_flight": odd}, NOW).in_flight


def test_what_is_remembered_is_bounded() -> None:
    line = Line(registers(*range(0, 500, 2)), gap=1)
    line.settle(device(range(1, 500, 2)))
    facts = line.learned.facts()
    assert len(facts["units"]["1"]["holes"]) == 64
    line.learned.units = dict.fromkeys(range(247), line.learned.units[1])
    assert len(packed("modbus", line.learned.facts())) < MOST_REMEMBERED, "of a whole line of such devices too"


def test_a_short_answer_that_repeats_makes_shorter_requests() -> None:
    line = Line(registers(*range(300)))
    long = line.plan.requests[0]
    assert not line.learned.short(long, 50) and not line.learned.short(long, 40), "once is nothing"
    assert line.learned.short(long, 40)
    line.replan()
    assert {r.count for r in line.plan.requests} == {40, 20}
    assert not line.learned.short(line.plan.requests[0], 1) and not line.learned.short(line.plan.requests[0], 1)
    line.scan(device())
    assert not line.learned.short(line.plan.requests[0], 8), "one, long after another, is nothing either"


# With a wire, and over restarts


class SmallDevice:
    """Holding registers that hold their own numbers; gives `most` at once and nothing more, though more was asked for."""

    def __init__(self, most: int, missing: Sequence[int] = (), short: bool = False) -> None:
        self.most, self.missing, self.short = most, set(missing), short
        self.refused = 0

    def took(self, count: int) -> None: ...

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                transaction, _, _, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                _, start, count = struct.unpack(">BHH", await reader.readexactly(5))
                self.took(count)
                if self.missing.intersection(range(start, start + count)) or (count > self.most and not self.short):
                    self.refused += 1
                    pdu = b"\x83\x02"
                else:
                    numbers = range(start, start + min(count, self.most))
                    pdu = struct.pack(f">BB{len(numbers)}H", 3, 2 * len(numbers), *numbers)
                writer.write(struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def test_a_device_that_gives_less_than_asked_is_read_without_a_wrong_value() -> None:
    async def main() -> None:
        small = SmallDevice(30, short=True)
        server = await asyncio.start_server(small.serve, "127.0.0.1", 0)
        url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        tags = {f"r{n}": {"address": f"holding:{n}"} for n in range(100)}
        config = ModbusConfig(driver="modbus", url=url, every="10ms", tags=tags)
        source = FakeSource("plc", list(config.points()), SystemClock())
        reader = Modbus(config, source)
        for _ in range(2):
            with pytest.raises(AnswerContradicts, match=r"holding:0\.\.99: answered 30 where 100 belong"):
                await source.collect(reader, until=lambda: False)
        assert not source.batches, "what it gave is no data"
        await source.collect(reader, until=lambda: len(source.batches) >= 2)
        assert [source.values(f"r{n}")[-1] for n in range(100)] == list(range(100))
        assert {r.count for r in reader.plan.requests} == {30, 10}
        assert source.memory["units"]["1"]["registers"] == 30
        server.close()

    asyncio.run(main())


def test_on_a_line_a_device_that_gives_less_than_asked_costs_no_other_values() -> None:
    """Through an RTU gateway: unit 1 gives 30 registers whatever is asked, unit 2 all that is asked."""

    class Gateway(SmallDevice):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    unit, _, start, count = struct.unpack(">BBHH2x", await reader.readexactly(8))
                    numbers = range(start, start + (min(count, self.most) if unit == 1 else count))
                    frame = struct.pack(f">BBB{len(numbers)}H", unit, 3, 2 * len(numbers), *numbers)
                    writer.write(frame + struct.pack("<H", crc16(frame)))
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

    async def main() -> None:
        server = await asyncio.start_server(Gateway(30, short=True).serve, "127.0.0.1", 0)
        url = f"rtu+tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        tags = {f"r{n}": {"address": f"holding:{n}"} for n in range(100)}
        units = {"small": {"unit": 1, "tags": tags}, "whole": {"unit": 2, "tags": tags}}
        config = ModbusConfig(driver="modbus", url=url, every="10ms", timeout="1s", turnaround="1ms", units=units)
        source = FakeSource("plc", list(config.points()), SystemClock())
        reader = Modbus(config, source)

        def all_good() -> bool:
            return Quality.GOOD in source.qualities("small.r99")

        async with asyncio.timeout(120):
            await source.collect(reader, until=all_good)
        assert set(source.qualities("small.r0")) == {Quality.BAD, Quality.GOOD}, "too short is no data"
        assert {value for value in source.values("small.r99") if not np.isnan(value)} == {99.0}
        assert set(source.qualities("whole.r99")) == {Quality.GOOD} and source.counts["broken"] == 2
        assert {r.count for r in reader.plan.requests if r.unit == 1} == {30, 10}
        server.close()

    asyncio.run(main())


SITE = """device: {{id: d}}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:{port}
    every: 10ms
    gap: 4
    tags:
      a: {{address: "holding:0"}}
      b: {{address: "holding:4"}}
      c: {{address: "holding:6"}}
"""


def test_what_was_learned_outlives_the_daemon_and_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, state = tmp_path / "site.yaml", tmp_path / "state"

    async def run(small: SmallDevice, until: Callable[[Daemon], bool]) -> None:
        server = await asyncio.start_server(small.serve, "127.0.0.1", port := getattr(run, "port", 0))
        run.port = port or server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        path.write_text(SITE.format(port=run.port))  # type: ignore[attr-defined]
        daemon = Daemon(load_site(path), state)
        arrived = asyncio.Event()
        daemon.listeners.add(lambda item: arrived.set())
        await daemon.start()
        async with asyncio.timeout(120):
            while not until(daemon):
                arrived.clear()
                await arrived.wait()
        await daemon.stop()
        server.close()

    def read(daemon: Daemon) -> bool:
        return all(daemon.live.show(f"plc.{tag}")["value"] is not None for tag in "abc")

    first, second = SmallDevice(125, [2]), SmallDevice(125, [2])
    asyncio.run(run(first, lambda daemon: read(daemon) and "plc" in daemon.memories))
    assert first.refused == 2, "it is believed when it is seen twice"
    assert main(["check", "--plan", "--json", str(path), "--state", str(state)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["learned"] == ["unit 1 lacks holding:1..3"] and row["registers_per_request"] == [1, 3]
    assert main(["check", "--plan", str(path), "--state", str(state)]) == 0
    assert "plc:   learned: unit 1 lacks holding:1..3" in capsys.readouterr().out.splitlines()
    asyncio.run(run(second, read))
    assert second.refused == 0, "it asked for nothing that it knows to be missing"


def test_a_span_knows_its_text() -> None:
    assert str(Span("input", 3, 4)) == "input:3" and str(Span("input", 3, 9)) == "input:3..8"


def test_what_libmodbus_lacks_is_learned(libmodbus: Path, process: list[subprocess.Popen[str]]) -> None:
    """It has 500 addresses in each table; values that reach past them are refused, and no others."""
    process.append(subprocess.Popen([libmodbus], stdout=subprocess.PIPE, text=True))
    assert process[0].stdout is not None
    url = f"tcp://127.0.0.1:{process[0].stdout.readline().strip()}"
    tags: dict[str, Any] = {f"h{n}": {"address": f"holding:{n}"} for n in range(470, 510, 3)}
    tags |= {f"c{n}": {"address": f"coil:{n}"} for n in range(480, 520)}
    tags |= {"last": {"address": "input:498", "type": "uint32"}, "torn": {"address": "input:499", "type": "uint32"}}
    config = ModbusConfig(driver="modbus", url=url, every="10ms", tags=tags)
    source = FakeSource("plc", list(config.points()), SystemClock())
    reader = Modbus(config, source)

    async def main() -> None:
        async with asyncio.timeout(120):
            await source.collect(reader, until=lambda: len(source.batches) > 3)

    asyncio.run(main())
    there = {"last", *(name for name in tags if name[0] in "hc" and int(name[1:]) < 500)}
    assert {name for name in tags if source.qualities(name)[0] == Quality.GOOD} == there, "at the first scan already"
    assert source.values("last")[0] == 1498 << 16 | 1499
    lacking = [str(r) for r in reader.plan.requests if r.span[1] > 500]
    assert lacking == ["unit 1 coil:500..519", "unit 1 holding:500..509", "unit 1 input:499..500"]
    assert len(reader.plan.requests) == 6


def test_the_simulator_has_what_is_read_along_and_lacks_the_holes() -> None:
    tags = {"a": {"address": "holding:0"}, "b": {"address": "holding:3"}, "c": {"address": "holding:9"}}
    config = ModbusConfig(driver="modbus", url="tcp://127.0.0.1:1", holes=["holding:5"], tags=tags)
    known = ModbusSim("plc", config).units[1].known["holding"]
    assert [n for n in range(20) if known[n]] == [0, 1, 2, 3, 9]


# What a request costs


def costs(line: Line, request: float, register: float, noise: Sequence[int] = (0,)) -> dict[int, float]:
    """What is measured of a device that takes so many ns for a request and for each register."""
    cost, now = Cost(line.plan.requests), 0
    while cost.wanted:
        began, stamps = now, []
        for k, r in enumerate(line.plan.requests):
            now += round(request + register * r.count) + noise[(k + began) % len(noise)]
            stamps.append(now)
        if cost.scan(began, stamps):
            return cost.overheads()
    return {}


SPARSE = registers(*range(10), *range(25, 30), *range(60, 100), *range(130, 190))


def test_where_a_request_is_dear_more_is_read_along_and_that_is_remembered() -> None:
    line = Line(SPARSE)
    line.rules = {1: Rules(gap=8, bridge=8)}
    assert len(line.plan.requests) == 4
    assert costs(line, 40e6, 2e6) == pytest.approx({1: 20.0}, rel=0.01)
    assert (
        line.learned.measured({1: 20.0}) and not line.learned.measured({1: 22.0}) and not line.learned.measured({1: 17})
    )
    line.replan()
    assert line.spans == [(0, 29), (60, 99), (130, 189)]
    again = Line(SPARSE, line.learned.facts())
    again.rules = line.rules
    again.replan()
    assert again.spans == line.spans and line.learned.lines() == [
        "unit 1 takes as long for a request as for 20 registers"
    ]
    again.rules = {1: Rules(gap=8)}
    again.replan()
    assert len(again.plan.requests) == 4, "a number pins it"
    again.learned.measured({1: float("inf")})
    again.rules = {1: Rules(gap=8, bridge=8)}
    again.replan()
    assert again.spans == [(0, 99), (130, 189)], "bounded, and a request stays within its limit"
    again.learned.measured({1: 3.0})
    again.replan()
    assert len(again.plan.requests) == 4


def test_what_is_read_together_stays_together_when_more_is_read_along() -> None:
    items = registers(*range(60), *range(80, 150), *range(170, 230))
    before, after = Plan(items), Plan(items, {1: Rules(bridge=32)})
    for request in range(len(before.requests)):
        assert len({int(after.request_of[i]) for i in before.members(request)}) == 1


def test_a_measurement_that_is_unsure_reads_less_along() -> None:
    line = Line(SPARSE)
    sure, unsure = costs(line, 40e6, 2e6)[1], costs(line, 40e6, 2e6, noise=[0, 30_000_000, 5_000_000])[1]
    assert unsure < sure
    assert not costs(Line(registers(1, 100)), 1e6, 1e3), "of two requests nothing can be said"
    assert not costs(Line(registers(1, 100, 200, 300)), 1e6, 1e3), "nor of requests of one size"


def test_the_driver_measures_once_and_reads_more_along() -> None:
    class Told:
        """The device's own time: 40 ms for a request and 2 ms for a register."""

        now = NOW

        def utc(self) -> int:
            return self.now

        def mono(self) -> int:
            return SystemClock().mono()

    async def main() -> None:
        clock, tags = Told(), {f"r{i.address.number}": {"address": f"holding:{i.address.number}"} for i in SPARSE}

        class Slow(SmallDevice):
            def took(self, count: int) -> None:
                clock.now += 40_000_000 + 2_000_000 * count

        slow = Slow(125)
        server = await asyncio.start_server(slow.serve, "127.0.0.1", 0)
        url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = ModbusConfig(driver="modbus", url=url, every="1ms", tags=tags)
        source = FakeSource("plc", list(config.points()), clock)
        reader = Modbus(config, source)
        assert len(reader.plan.requests) == 4
        async with asyncio.timeout(120):
            await source.collect(reader, until=lambda: len(reader.plan.requests) == 3)
        assert source.memory["units"]["1"]["bridge"] in (19, 20) and source.values("r189")[-1] == 189
        server.close()

    asyncio.run(main())
