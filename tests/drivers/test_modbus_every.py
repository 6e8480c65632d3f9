"""Tags of one unit that are read in periods of their own."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from drivers.modbus.address import Address
from drivers.modbus.learned import After, Learned
from drivers.modbus.maps import tags_csv
from drivers.modbus.maps.site import options_of
from drivers.modbus.options import ModbusConfig
from drivers.modbus.plan import Item, Plan, Request
from drivers.modbus.points import ModbusPoint
from drivers.modbus.rules import Rules
from drivers.modbus.scans import WAITED
from edge import Quality, load_site
from edge.cli import main
from edge.testing import virtual_run
from tests.drivers.test_modbus_learned import NOW, URL, Device, device
from tests.drivers.test_modbus_line import SLOW, check, config, on_a_bus, split
from tests.drivers.test_modbus_turn import its_own

SITE = """device: {id: a}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:1
    every: 1s
    units:
      m:
        unit: 7
        every: 500ms
        tags:
          power:  {address: "holding:10"}
          volts:  {address: "holding:11"}
          trip:   {address: "holding:12", every: 100ms}
          energy: {address: "holding:13", type: uint32, every: 1min}
          serial: {address: "holding:15", type: text, length: 4, every: 1min}
          beat:   {address: "holding:20", every: 500ms}
"""


def test_no_request_serves_two_periods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    assert main(["check", "--plan", str(path)]) == 0
    shown = [line.split("unit 7 ")[1].split() for line in capsys.readouterr().out.splitlines() if "unit 7" in line]
    assert [(line[0], " ".join(line[-3:])) for line in shown] == [
        ("holding:12..12", "every 0.1 s"),
        ("holding:10..20", "every 0.5 s"),
        ("holding:13..18", "every 60 s"),
    ]
    assert main(["check", "--plan", "--json", str(path)]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["every"] for row in facts["plan"]] == [0.1, 0.5, 60.0] and facts["requests"] == 3
    tags = {tag.name: tag.stale_after for tag in load_site(path).tags()}
    assert tags["plc.m.trip"] == pytest.approx(0.3) and tags["plc.m.energy"] == 180 and tags["plc.m.power"] == 1.5
    plc = load_site(path).drivers["plc"]
    assert isinstance(plc, ModbusConfig) and plc.period() == 0.1 and plc.periods() == {7: 0.1}
    assert plc.read_together(["m.power", "m.beat"]) and not plc.read_together(["m.power", "m.trip"])


def test_each_period_has_its_own_grid_and_its_own_values() -> None:
    """A minute of one unit, in virtual time: as many samples as slots, without drift; each value is its own register's."""
    at = {"power": 10, "volts": 11, "trip": 12, "energy": 13, "beat": 20}
    every = {"trip": "200ms", "energy": "10s", "beat": "1s"}

    async def run() -> None:
        tags = {
            name: {"address": f"holding:{k}", **({"every": every[name]} if name in every else {})}
            for name, k in at.items()
        }
        conf = config("rtu:///dev/ttyS9?baud=19200", tags, every="1s")
        reader, source = on_a_bus(lambda frame: [(0.02, its_own(frame))], conf)
        await source.collect(reader, seconds=59.99)
        counts = {name: len(source.values(name)) for name in at}
        assert counts == {"power": 60, "volts": 60, "trip": 300, "energy": 6, "beat": 60}
        assert all(set(source.values(name)) == {number} for name, number in at.items())
        assert not source.counts["overruns"]
        for name, period in (("trip", 0.2e9), ("energy", 10e9)):
            stamps = np.array([int(b.ts[0]) for b in split(source, name)])
            assert abs(stamps - stamps[0] - period * np.arange(len(stamps))).max() < 0.1e9

    virtual_run(run())


def test_a_silent_unit_of_two_periods_times_out_in_both_and_comes_back() -> None:
    dead = {7}

    async def run() -> None:
        units = {
            "m": {"unit": 7, "tags": {"a": {"address": "holding:1"}, "b": {"address": "holding:2", "every": "5s"}}},
            "n": {"unit": 8, "tags": {"a": {"address": "holding:3"}}},
        }
        conf = config("rtu:///dev/ttyS9?baud=19200", {}, units=units, every="1s")
        reader, source = on_a_bus(lambda frame: [] if frame[0] in dead else [(0.02, its_own(frame))], conf)
        await source.collect(reader, seconds=30)
        assert set(source.qualities("m.a")) | set(source.qualities("m.b")) == {Quality.TIMEOUT}
        assert set(source.values("n.a")) == {3} and len(source.values("n.a")) >= 25
        dead.clear()
        await source.collect(reader, until=lambda: 1 in source.values("m.a") and 2 in source.values("m.b"))

    virtual_run(run())


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            'every: 1s, tags: {v: {address: "holding:1", scale_from: sf}, sf: {address: "holding:2", every: 10s}}',
            "'sf' is read in another period",
        ),
        (
            'time: {address: "holding:0"}, tags: {a: {address: "holding:4"}, b: {address: "holding:5", every: 5s}}',
            "some of them have a period of their own",
        ),
        ('tags: {a: {address: "holding:4", every: 5}}', "no duration"),
        ('tags: {a: {address: "holding:4", every: 0s}}', "longer than zero"),
    ],
)
def test_periods_that_cannot_be_are_faults(tmp_path: Path, entry: str, said: str) -> None:
    found = check(tmp_path, plc=f'url: "tcp://10.0.0.7", {entry}')
    assert len(found) == 1 and said in found[0]


def test_periods_that_can_be_are_none(tmp_path: Path) -> None:
    tags = 'tags: {v: {address: "holding:1", scale_from: sf}, sf: {address: "holding:2", every: 1s}}'
    assert not check(tmp_path, plc=f'url: "tcp://10.0.0.7", every: 1s, {tags}')
    often = 'tags: {a: {address: "holding:1", every: 20ms}, b: {address: "holding:2"}}'
    assert "9600 baud carry this only" in check(tmp_path, line=f'url: "{SLOW}", every: 1min, {often}')[0]
    assert not check(tmp_path, line=f'url: "{SLOW}", every: 20ms, tags: {{a: {{address: "holding:1", every: 1s}}}}')


def scan(learned: Learned, plan: Plan, every: float, answer: Device, asked: list[Request]) -> tuple[After, list[int]]:
    """One scan of one period; what belongs to others is not asked."""
    codes = [answer(request) if request.every == every else WAITED for request in plan.requests]
    asked += [request for request in plan.requests if request.every == every]
    return learned.heard(plan, codes, NOW), codes


def learn(items: Sequence[Item], answer: Device) -> tuple[Learned, Plan, list[int]]:
    """Ten fast scans to each slow one, another fast scan in the middle of each that is repeated; the codes of the items."""
    learned, rules, asked = Learned(URL, {}, NOW), {1: Rules()}, list[Request]()
    plan, told = Plan(items, rules), np.full(len(items), WAITED)
    for round_ in range(60):
        every, other = (10.0, 1.0) if round_ % 10 == 9 else (1.0, 10.0)
        after = After.REPEAT
        while after is After.REPEAT:
            after, codes = scan(learned, plan, every, answer, asked)
            if after is not After.NOTHING:
                plan = Plan(items, learned.applied(rules))
            if after is After.REPEAT and len(asked) < 1000:
                scan(learned, plan, other, answer, asked)
                plan = Plan(items, learned.applied(rules))
        mine = np.array([item.every == every for item in items])
        told[mine] = np.array(codes)[plan.request_of][mine] if len(codes) == len(plan.requests) else told[mine]
    assert len(asked) < 1000
    return learned, plan, told.tolist()


def test_what_a_unit_lacks_is_learned_in_both_periods() -> None:
    """Fast and slow tags lie between one another; each period has a register that is not there, and the unit gives six at once."""
    items = [Item(1, Address("holding", k), "uint16", every=10.0 if k % 2 else 1.0) for k in range(40)]
    learned, plan, told = learn(items, device([4, 31]))
    assert told == [2 if k in (4, 31) else 0 for k in range(40)]
    assert {str(span) for span in learned.units[1].spans()} == {"holding:4", "holding:31"}
    learned, plan, told = learn(items, device(most=6))
    assert told == [0] * 40 and not learned.units[1].spans()
    assert learned.units[1].registers.asked == 6 and len(plan.requests) == 14


def test_a_period_of_its_own_survives_a_spreadsheet() -> None:
    point = ModbusPoint.model_validate({"address": "holding:4", "every": "10s", "stale_after": "40s"})
    assert options_of(point) == {"address": "holding:4", "every": "10s", "stale_after": "40s"}
    table = tags_csv.read("name,address,every\na,holding:4,10s\n", "t")
    assert table.ok and "every" in tags_csv.text(table) and table.lines[0].options["every"] == "10s"


def test_check_reads_all_periods_once() -> None:
    async def run() -> None:
        tags = {"a": {"address": "holding:1"}, "b": {"address": "holding:2", "every": "10s"}}
        reader, _ = on_a_bus(lambda frame: [(0.02, its_own(frame))], config(SLOW, tags, every="1s"))
        assert await reader.probe() == ["a = 1 (GOOD)", "b = 2 (GOOD)"]

    virtual_run(run())
