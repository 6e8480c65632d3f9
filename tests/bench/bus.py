"""What dead units on a serial bus cost the others: 32 units at 19,200 baud on a pseudo terminal, read once a second.

    python -m tests.bench.bus [SECONDS]

The simulated units answer as slowly as a line carries their frames, plus 5 ms. One JSON object for each number of dead units:
the longest and the 99th percentile of the time between two good values of a living unit, in periods, after the dead ones were
found out; how often the dead ones were asked; and how many slots of the grid were missed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from drivers.modbus.driver import Modbus
from drivers.modbus.line_sim import LineDevice, open_far_end
from drivers.modbus.options import ModbusConfig
from drivers.modbus.sim import ModbusSim
from edge import Quality, SystemClock
from edge.testing import FakeSource

UNITS, THINKS = 32, 0.005


class Paced(LineDevice):
    """Answers when a real line would have carried question and answer; only the newest question counts, as on a wire."""

    def __init__(self, sim: ModbusSim, dead: set[int]) -> None:
        super().__init__(sim.where.scheme, lambda unit, pdu: None if unit in dead else sim.answer(unit, pdu))
        self._character = sim.where.character

    def data_received(self, data: bytes) -> None:
        wire = self._transport
        held = Held()
        self._transport = held  # type: ignore[assignment]
        super().data_received(data)
        self._transport = wire
        later = (len(data) + len(held.data)) * self._character + THINKS
        if held.data:
            asyncio.get_running_loop().call_later(later, wire.write, bytes(held.data))


class Held:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data


async def measure(dead: int, seconds: float) -> dict[str, float]:
    tags = {f"r{i}": {"address": f"holding:{i}"} for i in range(4)}
    units = {f"m{k}": {"unit": k, "tags": tags} for k in range(1, UNITS + 1)}
    with tempfile.TemporaryDirectory() as folder:
        url = f"rtu://{Path(folder)}/line?baud=19200"
        config = ModbusConfig(driver="modbus", url=url, every="1s", timeout="1s", units=units)  # type: ignore[arg-type]
        sim = ModbusSim("bus", config)
        shut = open_far_end(config.where, Paced(sim, set(range(1, dead + 1))))
        source = FakeSource("bus", list(config.points()), SystemClock())
        try:
            driver = Modbus(config, source)
            await source.collect(driver, seconds=seconds)
        finally:
            shut()
    found_out = source.batches[0].ts[0] + (5 + 2 * dead) * 10**9
    apart: list[float] = []
    for k in range(dead + 1, UNITS + 1):
        tag = source.tags[f"m{k}.r0"].id
        stamps = [int(b.ts[b.tag == tag][0]) for b in source.batches if (b.quality[b.tag == tag] == Quality.GOOD).any()]
        apart += (np.diff([ts for ts in stamps if ts > found_out]) / 1e9).tolist()
    asked = sum(driver.units[k].timeouts for k in range(1, dead + 1))
    return {
        "dead_units": dead,
        "longest_periods": round(max(apart), 3),
        "p99_periods": round(float(np.percentile(apart, 99)), 3),
        "dead_units_asked": asked,
        "missed_slots": source.counts["overruns"],
    }


if __name__ == "__main__":
    for dead in (0, 1, 4):
        print(json.dumps(asyncio.run(measure(dead, float(sys.argv[1]) if sys.argv[1:] else 60.0))), flush=True)
