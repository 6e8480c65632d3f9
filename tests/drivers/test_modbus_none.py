"""Modbus: values that a device calls not available, and values whose power of ten stands in another register."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import numpy as np
import pytest

from drivers.modbus.driver import Modbus
from drivers.modbus.options import ModbusConfig
from drivers.modbus.sim import ModbusSim
from edge import Quality, SystemClock
from edge.config.load import load_text
from edge.testing import FakeSource

TAGS = """      w: {address: "holding:0", type: int16, scale_from: w_power, none: 0x8000}
      w_power: {address: "holding:1", type: int16, none: -32768}
      total: {address: "holding:2", type: uint64, none: 0xFFFFFFFFFFFFFFFF, scale: 0.1}
      hot: {address: "holding:6.3", none: 0xFFFF}
      temperature: {address: "holding:7", type: float32, none: -9999}
      plain: {address: "holding:9", type: int16, none: [0x7FFF, 0xFFFF]}
      off: {address: "holding:10", scale: 0.1, offset: -100}
"""


def config(tags: str = TAGS) -> ModbusConfig:
    site = load_text(
        f"device: {{id: d}}\ndrivers:\n  x:\n    driver: modbus\n    url: tcp://127.0.0.1\n    tags:\n{tags}"
    )
    assert not site.problems, site.problems
    found = site.drivers["x"]
    assert isinstance(found, ModbusConfig)
    return found


def read(device: ModbusSim, options: ModbusConfig) -> dict[str, tuple[float, int]]:
    """One reading by the driver over a real socket."""

    async def once() -> FakeSource:
        await device.start()
        try:
            here = options.model_copy(update={"url": f"tcp://127.0.0.1:{device.port}"})
            source = FakeSource(
                "x", [point.tag(f"x.{name}", "x", 1.0) for name, point in here.points().items()], SystemClock()
            )
            await Modbus(here, source).probe()
            return source
        finally:
            await device.stop()

    source = asyncio.run(once())
    return {name: (source.values(name)[-1], source.qualities(name)[-1]) for name in source.tags}


def device_of(options: ModbusConfig) -> ModbusSim:
    device = ModbusSim("x", options)
    device.port = 0
    return device


def test_powers_and_codes_in_one_reading() -> None:
    options = config()
    device = device_of(options)
    for tag, value in {
        "w_power": -1,
        "w": 123.4,
        "total": 5.5,
        "hot": 1,
        "temperature": 21.5,
        "plain": 7,
        "off": 23.4,
    }.items():
        device.set(tag, value)
    good = {tag: (value, Quality.GOOD) for tag, value in {"w": 123.4, "w_power": -1, "total": 5.5, "hot": 1}.items()}
    assert read(device, options) == good | {"temperature": (21.5, 0), "plain": (7, 0), "off": (23.4, 0)}
    device.set("w_power", 2)
    assert read(device, options)["w"] == (123400.0, Quality.GOOD) and device.get("w") == 123400.0


def test_what_is_not_available_is_bad_and_hides_no_neighbour() -> None:
    options = config()
    device = device_of(options)
    for tag in ("w", "total", "temperature", "plain"):
        device.set(tag, math.nan)
    device.units[1].words["holding"][6] = 0xFFFF
    device.set("off", 23.4)
    found = read(device, options)
    assert {tag for tag, (value, quality) in found.items() if math.isnan(value) and quality == Quality.BAD} == {
        "w",
        "total",
        "hot",
        "temperature",
        "plain",
    }
    device.units[1].words["holding"][9] = 0xFFFF
    assert read(device, options)["plain"][1] == Quality.BAD
    assert found["off"] == (23.4, Quality.GOOD) and found["w_power"] == (0, Quality.GOOD)


def test_a_value_whose_power_is_unknown_is_unknown_for_the_same_cause() -> None:
    options = config()
    device = device_of(options)
    device.set("w", 5)
    device.set("w_power", math.nan)
    found = read(device, options)
    assert math.isnan(found["w"][0]) and found["w"][1] == Quality.BAD
    far = config(TAGS.replace('w_power: {address: "holding:1"', 'w_power: {address: "holding:500"'))
    device = device_of(far)
    device.set("w", 5)
    device.units[1].known["holding"][500] = False  # the device refuses it
    found = read(device, far)
    assert math.isnan(found["w"][0]) and found["w"][1] == Quality.EXCEPTION
    assert found["plain"] == (0, Quality.GOOD)


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("a: {address: 'holding:0', none: 0x10000}", "0x10000 does not fit into uint16 at holding:0"),
        ("a: {address: 'holding:0', type: int32, none: -2147483649}", "does not fit into int32"),
        ("a: {address: 'coil:0', none: 1}", "does not fit into bool at coil:0"),
        ("a: {address: 'holding:0', none: x}", "none: must be a whole number"),
        ("a: {address: 'holding:0', none: [1, true]}", "none: must be a whole number, or a list of up to 8"),
        ("a: {address: 'holding:0', none: [1, 0x10000]}", "0x10000 does not fit into uint16"),
        (
            "a: {address: 'holding:0', scale_from: b}",
            "no tag of this unit is called 'b', with `only:`, name it there too",
        ),
        ("aa: {address: 'holding:0', scale_from: ab}\n      ab1: {address: 'holding:1'}", "did you mean 'ab1'?"),
        (
            "a: {address: 'holding:0', scale_from: b}\n      b: {address: 'holding:1', scale_from: a}",
            "'b' is scaled by another tag itself",
        ),
        (
            "a: {address: 'holding:0', scale_from: b, writable: {range: [0, 1]}}\n      b: {address: 'holding:1'}",
            "cannot be written with; remove `writable`",
        ),
    ],
)
def test_what_cannot_be_is_said(tag: str, said: str) -> None:
    text = f"device: {{id: d}}\ndrivers:\n  x:\n    driver: modbus\n    url: tcp://127.0.0.1\n    tags:\n      {tag}\n"
    problems = load_text(text).problems
    assert problems and said in str(problems[0]) and Path(problems[0].place.file).name == "site.yaml"


@pytest.mark.parametrize(("kind", "power"), [("int16", -32768), ("uint16", 65534), ("int16", 31), ("int16", -31)])
def test_a_power_that_no_device_means_makes_no_value(kind: str, power: int) -> None:
    """SunSpec's 0x8000 where the site does not say `none`: 10 to the power of -32768 made a good 0 of every value."""
    options = config(
        f"      w: {{address: 'holding:0', scale_from: sf}}\n      sf: {{address: 'holding:1', type: {kind}}}\n"
    )
    plan = options.plan()
    value, quality = plan.decode(np.array([1234, power % 65536], np.uint16))
    assert np.isnan(value[0]) and quality.tolist() == [Quality.RANGE, Quality.GOOD] and value[1] == power
