"""Every register map of a folder: imported, read back from a simulated device that was made of it.

`make maps DATA=FOLDER` runs it over real sockets; tests run it in memory.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from drivers.modbus.driver import Modbus
from drivers.modbus.maps import find, template
from drivers.modbus.maps.contract import Map
from drivers.modbus.maps.find import How
from drivers.modbus.options import ModbusConfig
from drivers.modbus.points import ModbusPoint
from drivers.modbus.sim import ModbusSim
from edge import Quality, SystemClock
from edge.config.load import load
from edge.testing import FakeSource

RAW = {"bool": 1, "int16": -12345, "uint16": 54321, "int32": -123456789, "uint32": 3_000_000_001}
RAW |= {"signmag16": -12345, "signmag32": -123456789}
RAW |= {"int64": -(2**45) - 3, "uint64": 2**45 + 7, "float32": 1.5, "float64": -2.25}


def maps(folder: Path) -> Iterator[Map]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found = find.maps(path, str(path.relative_to(folder)), How(writable=True, named=False))
        yield from found if isinstance(found, list) else ()


def config_of(found: Map, folder: Path, url: str = "tcp://127.0.0.1:5020") -> ModbusConfig:
    """A site that uses the written template, as a person would."""
    (folder / "map.yaml").write_text(template.text(found), "utf-8")
    (folder / "site.yaml").write_text(
        f"device: {{id: d}}\ndrivers: {{x: {{driver: modbus, url: '{url}', template: map.yaml}}}}\n"
    )
    config = load(folder / "site.yaml")
    assert not config.problems, f"{found.name}: {config.problems[0]}"
    driver = config.drivers["x"]
    assert isinstance(driver, ModbusConfig)
    return driver


def expected(point: ModbusPoint, power: int) -> float:
    """What the register's content means, worked out in fractions."""
    raw = RAW[point.stored] if point.address.bit is None else 1 - point.address.bit % 2
    return float((Fraction(raw) * Fraction(repr(point.scale)) + Fraction(repr(point.offset))) * Fraction(10) ** power)


def string_of(point: ModbusPoint) -> str:
    """A text that fills its registers."""
    return "Line 7, Feeder B; "[: 2 * (point.length or 0)].ljust(2 * (point.length or 0), "x").strip()


def turns(config: ModbusConfig) -> Iterator[dict[str, float]]:
    """Known values for all tags, in turns: no two tags of one turn share a bit, the powers of ten are set first in each."""
    points = {name: point for name, point in config.tags.items() if point.stored in RAW}
    powers = sorted({point.scale_from for point in points.values() if point.scale_from})
    left = [name for name in points if name not in powers]
    while left or powers:
        turn, taken = dict.fromkeys(powers, -2.0), {cell for name in powers for cell in cells(points[name])}
        for name in list(left):
            if not taken & (mine := cells(points[name])):
                taken |= mine
                turn[name] = expected(points[name], -2 if points[name].scale_from else 0)
                left.remove(name)
        yield turn
        if not left:
            return


def cells(point: ModbusPoint) -> set[tuple[str, int, int]]:
    """The bits of the device's memory that a tag is."""
    first, last = point.address.bit, point.address.last
    bits = range(16) if first is None else range(first, (first if last is None else last) + 1)
    return {(point.address.table, number, bit) for number in range(*point.item(1).span) for bit in bits}


def wrong(turn: dict[str, float], read: dict[str, tuple[float, int]]) -> list[str]:
    return [f"{n}: {read[n]} is not {v!r}" for n, v in turn.items() if read[n] != (v, Quality.GOOD)]


def in_memory(config: ModbusConfig) -> list[str]:
    faults = []
    plan, names = config.plan(), list(config.points())
    for turn in turns(config):
        device = ModbusSim("x", config)
        for name, value in turn.items():
            device.set(name, value)
        words = np.zeros(plan.words, np.uint16)
        for request in plan.requests:
            memory = device.units[request.unit].words[str(request).split()[2].split(":")[0]]
            words[request.at : request.at + request.count] = memory[request.start : request.start + request.count]
        value, quality = plan.decode(words)
        faults += wrong(turn, dict(zip(names, zip(value.tolist(), quality.tolist(), strict=True), strict=False)))
    return faults


async def over_the_wire(found: Map, folder: Path) -> list[str]:
    """The same with the driver and the simulator on a real socket."""
    faults = []
    config = config_of(found, folder)
    for turn in turns(config):
        device = ModbusSim("x", config)
        device.port = 0  # a free one
        await device.start()
        try:
            for name, value in turn.items():
                device.set(name, value)
            here = config.model_copy(update={"url": f"tcp://127.0.0.1:{device.port}", "timeout": 20.0})
            source = FakeSource("x", [p.tag(f"x.{n}", "x", 1.0) for n, p in here.points().items()], SystemClock())
            texts = {name: string_of(point) for name, point in here.tags.items() if point.type == "text"}
            for name, text in texts.items():
                device.set(name, text)
            await Modbus(here, source).probe()
            faults += [
                f"{n}: {source.strings(n)} is not {text!r}" for n, text in texts.items() if source.strings(n) != [text]
            ]
            faults += wrong(turn, {n: (source.values(n)[0], source.qualities(n)[0]) for n in source.tags})
            faults += [
                f"{line.name}: unit"
                for line in found.lines
                if source.tags[line.name].unit != line.options.get("unit", "")
            ]
        finally:
            await device.stop()
    return faults


def main(folder: Path) -> int:
    seen = good = tags = 0
    with tempfile.TemporaryDirectory() as scratch:
        for found in maps(folder):
            seen += 1
            if not found.ok:
                print(f"{found.name}:{found.faults[0][0]}: refused: {found.faults[0][1]}")
                continue
            faults = asyncio.run(over_the_wire(found, Path(scratch)))
            good, tags = good + (not faults), tags + len(found.lines)
            for fault in faults[:5]:
                print(f"{found.name}: {fault}")
    print(f"maps: {seen}, loaded and read back exactly: {good} ({good / max(seen, 1):.1%}), tags: {tags}")
    return 0 if seen and good >= 0.95 * seen else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
