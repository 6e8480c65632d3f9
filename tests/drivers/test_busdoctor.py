"""The bus doctor: what counters say in plain words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from drivers.modbus.busdoctor import FEW, bars, findings
from drivers.modbus.driver import Modbus
from drivers.modbus.line_units import Unit
from drivers.modbus.options import ModbusConfig
from drivers.modbus.sim import ModbusSim, TunnelDevice
from edge import SystemClock
from edge.testing import FakeSource


def unit(answers: int = 1000, **counts: int) -> dict[str, Any]:
    latency = [0] * 16
    latency[3], latency[5] = answers - answers // 100, answers // 100
    told = {"timeouts": 0, "late": 0, "broken": 0, "contradicted": 0, "refused": 0} | counts
    return {"answers": answers, "latency": latency, **told}


def said(units: dict[int, dict[str, Any]], serial: bool = True) -> dict[str, tuple[str, str, str]]:
    return {what: (state, how, todo) for state, what, how, todo in findings("line", units, serial)}


def test_a_good_bus() -> None:
    found = said({1: unit(), 2: unit(answers=5)})
    assert found["line unit 1"][0] == "ok" and "half within 8 ms, 99 % within 8 ms" in found["line unit 1"][1]
    assert "too few requests" in found["line unit 2"][1]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("units", "what", "state", "how", "todo"),
    [
        ({1: unit(), 7: unit(0, timeouts=50)}, "line unit 7", "bad", "never answers", "is its number right"),
        (
            {7: unit(900, broken=100), 1: unit(), 2: unit()},
            "line unit 7",
            "bad",
            "two units of one number",
            "take one off",
        ),
        (
            {1: unit(10, broken=90), 2: unit(5, broken=95)},
            "line unit 1",
            "bad",
            "wrong speed or parity",
            "baud, parity",
        ),
        ({1: unit(10, broken=90), 2: unit(5, broken=95)}, "line", "bad", "unreadable", "baud, parity"),
        ({1: unit(1_000_000, timeouts=5, misses=5)}, "line unit 1", "bad", "no answer 5 times in a row", "is it on"),
        ({1: unit(), 7: unit(0, timeouts=3, misses=3)}, "line unit 7", "bad", "no answer 3 times in a row", "is it on"),
        ({1: unit(0, timeouts=90), 2: unit(0, timeouts=95)}, "line", "bad", "no unit answers", "A and B swapped"),
        ({1: unit(broken=5), 2: unit(broken=9)}, "line unit 1", "warn", "damaged on the way", "120 ohm"),
        ({1: unit(timeouts=40, late=30)}, "line unit 1", "warn", "after the time-out", "raise `timeout`"),
        ({1: unit(timeouts=100)}, "line unit 1", "warn", "often silent", "loose plug"),
        ({1: unit(refused=900)}, "line unit 1", "warn", "refuses most", "check --connect"),
        (
            {1: unit(contradicted=3), 2: unit(contradicted=30)},
            "line unit 1",
            "warn",
            "another request",
            "another master",
        ),
    ],
)
def test_each_suspicion(units: dict[int, Any], what: str, state: str, how: str, todo: str) -> None:
    found = said(units)[what]
    assert found[0] == state and how in found[1] and todo in found[2], found


def test_the_histogram_is_a_line_of_bars() -> None:
    assert bars([0, 4, 8, 0, 1]) == " ▅█ ▂" and bars([0] * 16) == ""


class Colliding(TunnelDevice):
    """Two devices of number 7 on one line: every other answer of theirs is a mixture of both."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        line, self._turn = self._transport, 0

        class Mixed:
            @staticmethod
            def write(frame: bytes) -> None:
                self._turn += frame[0] == 7
                mixed = frame[0] == 7 and self._turn % 2
                line.write(bytes(b | (k & 3) << 4 for k, b in enumerate(frame)) if mixed else frame)

            abort = line.abort

        self._transport = Mixed()  # type: ignore[assignment]


def test_two_units_of_one_number_are_suspected_on_a_real_line() -> None:
    units = {f"u{n}": {"unit": n, "tags": {"a": {"address": "holding:100"}}} for n in (1, 2, 7)}
    told = {"driver": "modbus", "url": "rtu+tcp://127.0.0.1:5020", "every": 0.02, "turnaround": 0.005, "units": units}
    config = ModbusConfig.model_validate(told)

    async def main() -> list[list[str]]:
        sim = ModbusSim("line", config)
        sim.port = 0
        sim._device = lambda: Colliding("rtu", sim.answer, sim._connected)  # type: ignore[method-assign]
        await sim.start()
        source = FakeSource("line", list(config.points()), SystemClock())
        there = config.model_copy(update={"url": f"rtu+tcp://127.0.0.1:{sim.port}"})
        driver = Modbus(there, source)
        try:
            async with asyncio.timeout(120):
                await source.collect(driver, until=lambda: all(_asked(driver.units[n]) >= FEW for n in (1, 2, 7)))
            return (await driver.tool({"want": "doctor"}))["findings"]
        finally:
            await sim.stop()

    found = {what: (state, how) for state, what, how, _ in asyncio.run(main())}
    assert found["line unit 7"][0] == "bad" and "two units of one number" in found["line unit 7"][1], found
    assert found["line unit 1"][0] == found["line unit 2"][0] == "ok"


def _asked(unit: Unit) -> int:
    return unit.answers + unit.timeouts + unit.broken + unit.contradicted
