"""`lineside scan modbus`: who answers, and at which speed."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus import scan
from drivers.modbus.address import Address
from drivers.modbus.line_url import parse_url
from drivers.modbus.options import ModbusConfig
from drivers.modbus.reach import BROKEN, SILENT, Answer
from drivers.modbus.scan import Search, speeds
from drivers.modbus.sim import ModbusSim
from edge.testing import virtual_run


class Line:
    """A line whose units answer at one speed; at another what comes is damaged."""

    timeout, reached = 0.3, True

    def __init__(self, url: str, right: str, near: str = "") -> None:
        self.where, self._right, self._near = url, right, near

    async def read(self, unit: int, first: Address, count: int) -> Answer:
        if self._right in self.where and unit in (3, 7):
            return Answer((0,) * count)
        if self._near and self._near in self.where and unit == 3:
            return Answer((), BROKEN)
        await asyncio.sleep(self.timeout)
        return Answer((), SILENT)

    async def close(self) -> None: ...


def searched(urls: list[str], right: str, near: str = "") -> Search:
    search = Search(urls)
    said: list[str] = []
    first = Address("holding", 0)
    virtual_run(search.run(range(1, 9), first, 0.05, lambda url: Line(url, right, near), said.append))
    assert said and "left" in said[0]
    return search


def test_the_speed_of_a_line_is_searched_the_usual_ones_first() -> None:
    urls = speeds("rtu:///dev/ttyUSB0")
    assert len(urls) == 21 and urls[0] == "rtu:///dev/ttyUSB0?baud=9600&parity=none"
    for url in (*urls, *speeds("ascii:///dev/ttyUSB0?bits=8"), *speeds("rtu:///dev/ttyUSB0?parity=odd")):
        parse_url(url)
    assert speeds("rtu:///dev/ttyUSB0?baud=4800") == ["rtu:///dev/ttyUSB0?baud=4800"]
    search = searched(urls, "baud=19200&parity=even", near="baud=9600&parity=even")
    assert "baud=19200&parity=even" in search.at and [unit.unit for unit in search.found] == [3, 7]
    assert search.odd == ["rtu:///dev/ttyUSB0?baud=9600&parity=even"]
    assert searched(urls, "baud=300").found == []


def options(url: str, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    scan.arguments(parser)
    return parser.parse_args([url, "--json", *more])


def test_units_on_a_line_of_two_ports(
    tmp_path: Path, process: list[subprocess.Popen[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("socat") is None:
        pytest.skip("socat is not installed (make system-packages)")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    process.append(
        subprocess.Popen(["socat", f"pty,raw,echo=0,link={ours}", f"pty,raw,echo=0,link={theirs}"], text=True)
    )
    deadline = time.monotonic() + 20
    while not (ours.exists() and theirs.exists()):
        assert time.monotonic() < deadline, "socat made no line"
    units = {f"u{n}": {"unit": n, "tags": {"a": {"address": "holding:0"}}} for n in (2, 5)}
    config = ModbusConfig.model_validate({"driver": "modbus", "url": f"rtu://{theirs}?baud=9600", "units": units})

    async def main() -> int:
        sim = ModbusSim("line", config)
        await sim.start()
        try:
            return await asyncio.to_thread(scan.run, options(f"rtu://{ours}", "--units", "1-6", "--timeout", "0.3"))
        finally:
            await sim.stop()

    assert asyncio.run(main()) == 0
    rows: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["unit"] for row in rows] == [2, 5] and "baud=9600" in rows[0]["url"]
