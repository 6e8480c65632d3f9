"""`lineside probe`: which units, tables and block sizes a device has."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus.address import Address
from drivers.modbus.commands import numbers
from drivers.modbus.probe import Probe, lines
from drivers.modbus.reach import SILENT, Answer
from edge import AnswerContradicts, ConfigFault, DeviceLost
from edge.cli import main
from edge.log import log
from edge.testing import virtual_run


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = log.handlers[:], log.propagate, log.level
    yield
    log.handlers[:], log.propagate, log.level = before


class Bus:
    """Units in memory: {unit: {table: (first, last, most at once)}}; `odd` raises."""

    where, timeout, reached = "memory", 0.5, True

    def __init__(
        self, units: dict[int, dict[str, tuple[int, int, int]]], odd: dict[int, Exception] | None = None
    ) -> None:
        self.units, self.odd, self.asked = units, odd or {}, 0

    async def read(self, unit: int, first: Address, count: int) -> Answer:
        self.asked += 1
        if unit in self.odd:
            raise self.odd[unit]
        if unit not in self.units:
            await asyncio.sleep(self.timeout)
            return Answer((), SILENT)
        if first.table not in self.units[unit]:
            return Answer((), 1)
        start, last, most = self.units[unit][first.table]
        if count > most:
            return Answer((), 3)
        fits = start <= first.number and first.number + count - 1 <= last
        return Answer(tuple(range(count))) if fits else Answer((), 2)

    async def close(self) -> None: ...


def probed(bus: Bus, units: list[int], first: str = "holding:0") -> Probe:
    table, _, number = first.partition(":")
    probe = Probe(bus, units, 0.05, lambda text: None)
    virtual_run(probe.run(deep=True, first=Address(table, int(number))))
    return probe


def test_units_tables_and_blocks() -> None:
    bus = Bus(
        {3: {"holding": (0, 5000, 60), "input": (1000, 1009, 125), "coil": (0, 15, 2000)}, 7: {"holding": (0, 9, 125)}}
    )
    probe = probed(bus, [1, 2, 3, 7, 9])
    three, seven = probe.found
    tables = {table.name: table for table in three.tables}
    assert (three.unit, tables["holding"].most, tables["holding"].why) == (
        3,
        60,
        "more is refused (illegal value): max_registers: 60",
    )
    assert (tables["input"].at, tables["input"].most) == (1000, 10)
    assert tables["input"].why == "input:1010 is refused: a hole, or the map ends there"
    assert tables["discrete"].said == "not there" and tables["coil"].at == 0
    assert seven.tables[2].most == 10
    assert bus.asked < 60, "gently"
    said = lines(probe)
    assert said[0] == "unit 3: answers" and any("max_registers: 60" in line for line in said)


def test_a_device_that_answers_to_every_number_is_one_device() -> None:
    probe = probed(Bus({unit: {"holding": (0, 9, 125)} for unit in range(1, 33)}), list(range(1, 33)))
    assert probe.any and len(probe.found) == 1 and "every unit number" in lines(probe)[0]


def test_what_hangs_up_or_contradicts_hides_nobody() -> None:
    bus = Bus({3: {"holding": (0, 9, 125)}}, {1: DeviceLost("gone"), 2: AnswerContradicts("another unit")})
    found = {unit.unit: unit.said for unit in probed(bus, [1, 2, 3]).found}
    assert "two units of one number" in found[2] and found[3] == "answers" and 1 not in found
    assert lines(probed(Bus({}), [1, 2])) == ["nobody answers"]


def test_an_end_in_the_middle_keeps_what_was_found() -> None:
    probe = Probe(Bus({1: {"holding": (0, 9, 125)}}), [1, 2, 3, 4], 0.05, lambda text: None)

    async def main_() -> None:
        running = asyncio.create_task(probe.run(deep=True, first=Address("holding", 0)))
        await asyncio.sleep(0.7)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual_run(main_())
    assert [unit.unit for unit in probe.found] == [1]


def test_unit_numbers() -> None:
    assert numbers("1-3,7,2-4") == [1, 2, 3, 7, 4]
    for text in ("", "0-256", "5-3", "a", "1,,2", "-1"):
        with pytest.raises(ConfigFault, match="unit numbers"):
            numbers(text)


def call(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = main(["probe", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_against_libmodbus(libmodbus: Path, process: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """It answers to every unit number and holds 500 of each table."""
    process.append(subprocess.Popen([libmodbus], stdout=subprocess.PIPE, text=True))
    url = f"tcp://127.0.0.1:{int(process[0].stdout.readline())}"
    code, out, errors = call(capsys, url, "--pause", "0", "--json")
    (row,) = map(json.loads, out.splitlines())
    assert code == 0 and row["unit"] == 1, errors
    assert [(t["name"], t["at"], t["most"]) for t in row["tables"]] == [
        ("coil", 0, None),
        ("discrete", 0, None),
        ("holding", 0, 125),
        ("input", 0, 125),
    ]


def test_what_cannot_be_probed_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in {
        ("tcp://127.0.0.1:1",): "cannot connect",
        ("tcp://127.0.0.1:1", "--units", "1-999"): "are no unit numbers",
        ("tcp://127.0.0.1:1", "--first", "x"): "is no address",
        ("tcp://127.0.0.1:1", "--timeout", "0"): "out of range",
        ("127.0.0.1",): "names no device",
    }.items():
        code, out, errors = call(capsys, *words)
        assert code == 2 and said in errors and not out, words
