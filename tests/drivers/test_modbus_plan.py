"""Modbus: from tags to requests, and how the plan is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.address import WORDS, Address, Span, parse_span
from drivers.modbus.options import ModbusConfig
from drivers.modbus.plan import Item, Plan
from drivers.modbus.rules import Rules
from edge.cli import main

SITE = """device: {id: d}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:5020
    tags:
      a: {address: "holding:100"}
      b: {address: "holding:102", type: float32}
      lamp: {address: "coil:0"}
    units:
      meter: {unit: 7, tags: {kwh: {address: "input:10", type: uint32}}}
  parts: {driver: camera, url: "pattern:parts"}
"""


def test_the_plan_is_shown_for_people_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    assert main(["check", "--plan", str(path)]) == 0
    said = capsys.readouterr().out
    assert "requests: 3; one request per tag would be 4; read: 7, 1 of them bridged" in said
    assert [line.split()[1:4] for line in said.splitlines() if "  unit" in line] == [
        ["unit", "1", "coil:0..0"],
        ["unit", "1", "holding:100..103"],
        ["unit", "7", "input:10..11"],
    ]
    assert main(["check", "--plan", "--json", str(path)]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["driver"] == "plc" and row["requests"] == 3 and row["one_request_per_tag"] == 4
    assert row["registers_per_request"] == [1, 4, 2] and row["bridged_registers"] == 1
    assert row["plan"][1] == {
        "unit": 1,
        "table": "holding",
        "first": 100,
        "last": 103,
        "registers": 4,
        "bridged": 1,
        "tags": 2,
        "every": 1.0,
    }


def test_no_plan_is_shown_of_a_faulty_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.replace("holding:100", "holding:70000"))
    assert main(["check", "--plan", "--json", str(path)]) == 1
    assert [json.loads(line).get("driver") for line in capsys.readouterr().out.splitlines()] == [None]


def items_of(table: str, most: int, limit: int = 65536) -> st.SearchStrategy[list[Item]]:
    kinds = st.just("bool") if table == "coil" else st.sampled_from(["uint16", "int16", "uint32", "float32", "uint64"])
    one = st.tuples(st.integers(0, most), kinds).filter(lambda t: WORDS[t[1]] <= limit)
    return st.lists(one.map(lambda t: Item(1, Address(table, t[0]), t[1])), min_size=1, max_size=6)


def partitions(things: Sequence[Any]) -> Iterator[list[list[Any]]]:
    if not things:
        yield []
        return
    for rest in partitions(things[1:]):
        yield [[things[0]], *rest]
        for k in range(len(rest)):
            yield [*rest[:k], [things[0], *rest[k]], *rest[k + 1 :]]


def allowed(group: Sequence[Item], limit: int, gap: int, hole: range) -> bool:
    """Whether one request may serve these: judged address by address."""
    used = {number for item in group for number in range(*item.span)}
    start, end = min(used), max(used) + 1
    longest = run = 0
    for number in range(start, end):
        run = 0 if number in used else run + 1
        longest = max(longest, run)
    return end - start <= limit and longest <= gap and not set(hole) & set(range(start, end))


@given(st.data())
def test_no_other_plan_has_fewer_requests_nor_as_many_and_fewer_registers(data: st.DataObject) -> None:
    limit, gap = data.draw(st.integers(4, 12)), data.draw(st.integers(0, 6))
    first = data.draw(st.integers(0, 24))
    hole = range(first, first + data.draw(st.integers(0, 3)))
    items = [i for i in data.draw(items_of("holding", 24)) if not set(hole) & set(range(*i.span))]
    rules = Rules(limit, gap=gap, holes=[Span("holding", hole.start, hole.stop)] if hole else [])
    plan = Plan(items, {1: rules})
    served = [[items[i] for i in plan.members(r)] for r in range(len(plan.requests))]
    assert all(allowed(group, limit, gap, hole) for group in served)
    best = min(
        (len(groups), sum(max(i.span[1] for i in g) - min(i.span[0] for i in g) for g in groups))
        for groups in partitions(items)
        if all(allowed(group, limit, gap, hole) for group in groups)
    )
    assert (len(plan.requests), plan.words) == best


@given(st.sampled_from(["holding", "coil"]), st.data())
def test_every_value_lies_whole_in_one_request_and_is_found_there(table: str, data: st.DataObject) -> None:
    items = [i for _ in range(5) for i in data.draw(items_of(table, 900 if table == "holding" else 9000))]
    holes = [Span(table, s, s + 3) for s in data.draw(st.lists(st.integers(0, 900), max_size=5))]
    most, bits, gap, bridge = (data.draw(st.integers(*ends)) for ends in ((4, 125), (8, 2000), (0, 20), (0, 40)))
    rules = Rules(most, bits, gap, bridge, holes)
    plan = Plan(items, {1: rules})
    for item, index in zip(items, plan.request_of, strict=True):
        request = plan.requests[index]
        assert request.start <= item.span[0] and item.span[1] <= request.start + request.count
    lacking = {number for hole in holes for number in range(hole.first, hole.end)}
    for index, request in enumerate(plan.requests):
        assert request.count <= (rules.registers if table == "holding" else rules.bits)
        inside = [bool(lacking.intersection(range(*items[i].span))) for i in plan.members(index)]
        assert all(inside) or not lacking.intersection(range(*request.span)), "nothing that lacks is read along"
    assert sum(r.count for r in plan.requests) == plan.words
    words = np.concatenate([np.arange(r.start, r.start + r.count) for r in plan.requests]).astype(np.uint16)
    assert plan.decode(words)[0].tolist() == [told(item) for item in items]


def told(item: Item) -> float:
    """What a device shows whose every register holds its own number."""
    if item.type == "bool":
        return item.address.number & 1
    words = np.arange(*item.span).astype(">u2").tobytes()
    return float(np.frombuffer(words, np.dtype(item.type).newbyteorder(">"))[0])


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(1, 60)), min_size=1, max_size=30), st.integers(60, 125))
def test_a_text_is_not_torn(texts: list[tuple[int, int]], most: int) -> None:
    items = [Item(1, Address("holding", at), "text", length=length) for at, length in texts]
    items += registers_beside(texts)
    plan = Plan(items, {1: Rules(most)})
    for item, index in zip(items, plan.request_of, strict=True):
        first, end = plan.requests[index].span
        assert first <= item.span[0] and item.span[1] <= end and end - first <= most


def registers_beside(texts: list[tuple[int, int]]) -> list[Item]:
    return [Item(1, Address("holding", at + length), "uint32") for at, length in texts]


def test_a_cut_is_made_where_least_is_read_along() -> None:
    """Two requests are needed; the cut that reads the five unused registers of the gap along is not made."""
    items = [Item(1, Address("holding", n), "uint16") for n in (*range(60), *range(65, 130))]
    plan = Plan(items)
    assert [(r.start, r.count) for r in plan.requests] == [(0, 60), (65, 65)]


def test_ten_thousand_tags_of_single_bits_are_planned_at_once() -> None:
    """Overlapping and gapped, where trying out all cuts would take many seconds."""
    items = [Item(1, Address("holding", n // 8 * 3 // 2, n % 8), "bool") for n in range(10_000)]
    items += [Item(1, Address("coil", n * 2), "bool") for n in range(10_000)]
    plan = Plan(items)
    assert [r.count for r in plan.requests[:3]] == [1999, 1999, 1999]
    assert len(plan.requests) == 10 + 15


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("holding:120..139", "holding:120..139"),
        ("holding:120 .. holding:139", "holding:120..139"),
        ("40121..40140", "holding:120..139"),
        (40121, "holding:120"),
        ("coil:3..3", "coil:3"),
    ],
)
def test_ranges(text: Any, named: str) -> None:
    assert str(parse_span(text)) == named


@pytest.mark.parametrize(
    "text", ["holding:9..3", "holding:1..coil:3", "holding:1.3", "holding:1..", "..4", "holding:1..70000", "40001..9"]
)
def test_wrong_ranges(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|range|backwards"):
        parse_span(text)


def faults_of(**more: Any) -> list[tuple[Any, str]]:
    config = ModbusConfig(driver="modbus", url="tcp://plc", **more)
    return [(path, message) for path, message, _ in config.faults()]


def test_a_tag_in_a_hole_is_a_fault_of_the_site() -> None:
    unit = {
        "unit": 7,
        "holes": ["input:10"],
        "tags": {"kwh": {"address": "input:9", "type": "uint32"}, "ok": {"address": "input:11"}},
    }
    found = faults_of(
        holes=["holding:5..9"],
        tags={"a": {"address": "holding:9"}, "b": {"address": "holding:10"}, "c": {"address": "input:9"}},
        units={"m": unit},
    )
    assert [path for path, _ in found] == [("tags", "a", "address"), ("units", "m", "tags", "kwh", "address")]
    assert "holding:5..9" in found[0][1]
    found = faults_of(holes=["holding:3"], tags={"a": {"address": "holding:8"}}, time={"address": "holding:1"})
    assert [path for path, _ in found] == [("time", "address"), ("time",)]


def test_a_unit_has_its_own_limit_and_holes() -> None:
    tags = {f"r{n}": {"address": f"holding:{n}"} for n in range(0, 40, 2)}
    units = {
        "own": {"unit": 2, "max_registers": 10, "holes": ["holding:5"], "tags": tags},
        "same": {"unit": 3, "tags": tags},
    }
    config = ModbusConfig(
        driver="modbus", url="tcp://plc", max_registers=20, holes=["holding:21"], tags=tags, units=units
    )
    spans: dict[int, list[tuple[int, int]]] = {}
    for request in config.plan().requests:
        spans.setdefault(request.unit, []).append((request.start, request.start + request.count - 1))
    assert spans == {
        1: [(0, 18), (20, 20), (22, 38)],
        2: [(0, 4), (6, 14), (16, 20), (22, 30), (32, 38)],
        3: [(0, 18), (20, 20), (22, 38)],
    }
    assert not list(config.faults())


def test_a_template_says_what_its_device_gives_and_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tags = "\n".join(f'  r{n}: {{address: "holding:{n}"}}' for n in range(0, 40, 2))
    (tmp_path / "meter.yaml").write_text(f'max_registers: 10\nholes: ["holding:5"]\ntags:\n{tags}\n')
    path = tmp_path / "site.yaml"
    path.write_text(
        "device: {id: d}\ndrivers:\n  plc:\n    driver: modbus\n    url: tcp://plc\n    units:\n"
        "      a: {unit: 2, template: meter.yaml}\n      b: {unit: 3, template: meter.yaml, max_registers: 20}\n"
    )
    assert main(["check", "--plan", "--json", str(path)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert [r["registers"] for r in row["plan"] if r["unit"] == 2] == [5, 9, 9, 9, 3]
    assert [r["registers"] for r in row["plan"] if r["unit"] == 3] == [5, 19, 13]
