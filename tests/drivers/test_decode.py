"""`lineside decode`: what raw registers may mean, and the tag line for what a display says."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.address import ORDERS, Address, parse_address
from drivers.modbus.candidates import Display, Look, fits, readings
from drivers.modbus.options import ModbusConfig
from drivers.modbus.plan import Item, encode_value
from drivers.modbus.sim import ModbusSim
from edge import ConfigFault
from edge.app import Daemon
from edge.cli import main
from edge.config.load import load
from edge.control import Control
from edge.log import log

HERE = Address("holding", 100)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = log.handlers[:], log.propagate, log.level
    yield
    log.handlers[:], log.propagate, log.level = before


def around(item: Item, value: float, fill: int = 0x1B2D) -> Look:
    """What a read around HERE gives where an item holds a value and its neighbours something else."""
    words = [fill ^ (n * 0x2F3B & 0xFFFF) for n in range(99, 106)]
    at = item.address.number - 99
    words[at : at + 4] = encode_value(item, value) + words[at + len(encode_value(item, value)) : at + 4]
    return Look(99, tuple(words[:7]))


@given(
    st.sampled_from(["int16", "uint16", "int32", "uint32", "float32", "float64", "int64"]),
    st.sampled_from(ORDERS),
    st.sampled_from([99, 100, 101]),
    st.sampled_from([0.1, 0.01, 1.0]),
    st.integers(1234, 9999),
)
def test_what_the_device_holds_is_among_what_fits(kind: str, order: str, at: int, scale: float, raw: int) -> None:
    order = {"CDAB": "ABCD", "DCBA": "BADC"}.get(order, order) if kind.endswith("16") else order
    scale = 1.0 if kind.startswith("float") else scale
    value = raw * (0.1 if kind.startswith("float") else scale)
    item = Item(1, Address("holding", at), kind, order, scale)
    shown = f"{value:.{0 if scale == 1 and not kind.startswith('float') else 2}f}"
    found = fits(HERE, [(around(item, value), Display.parse(shown))])
    mine = [f for f in found if (f.address.number, f.order, f.scale) == (at, order, scale) and kind in (f.type, f.also)]
    assert mine and mine[0].exact and mine[0] in found[:6]


def test_the_usual_meters_come_first() -> None:
    for item, value, shown, line in [
        (Item(1, HERE, "float32"), 231.43, "231.4", 'v: {address: "holding:100", type: float32}'),
        (Item(1, HERE, "float32", "CDAB"), 231.43, "231.4", 'v: {address: "holding:100", type: float32, order: CDAB}'),
        (Item(1, HERE, "uint16", "ABCD", 0.1), 231.4, "231.4", 'v: {address: "holding:100", scale: 0.1}'),
        (Item(1, HERE, "int16", "ABCD", 0.1), -12.5, "-12.5", 'v: {address: "holding:100", type: int16, scale: 0.1}'),
        (Item(1, Address("holding", 99), "float32"), 49.98, "49.98", 'v: {address: "holding:99", type: float32}'),
        (Item(1, HERE, "uint32", "CDAB", 0.01), 81234.56, "81234.56", None),
    ]:
        best = fits(HERE, [(around(item, value), Display.parse(shown))])[0]
        assert best.line("v") == line or line is None
        back = ModbusConfig.model_validate(
            {"driver": "modbus", "url": "tcp://x", "tags": yaml.safe_load(best.line("v"))}
        )
        point = back.tags["v"]
        assert (str(point.address), point.order, point.scale) == (str(item.address), item.order, item.scale)


def test_a_second_look_narrows_what_the_first_left_open() -> None:
    first, second = Look(100, (0, 2314, 0, 0)), Look(100, (1, 2314, 0, 0))
    one = fits(HERE, [(first, Display.parse("231.4"))])
    assert {(f.address.number, f.type) for f in one if f.scale == 0.1 and f.order == "ABCD"} >= {
        (100, "uint32"),
        (101, "uint16"),
    }
    two = fits(HERE, [(first, Display.parse("231.4")), (second, Display.parse("6785.0"))])
    assert [(f.address.number, f.type, f.also, f.order, f.scale) for f in two] == [
        (100, "uint32", "int32", "ABCD", 0.1)
    ]


def test_what_moved_between_look_and_read_is_near_and_what_is_no_number_is_refused() -> None:
    item = Item(1, HERE, "float32")
    (best, *_) = fits(HERE, [(around(item, 232.1), Display.parse("231.4"))])
    assert not best.exact and best.type == "float32"
    assert fits(HERE, [(around(item, 240.0), Display.parse("231.4"))]) == []
    for text in ("", "12V", "1e5", "nan", "0.00", "1" * 40):
        with pytest.raises(ConfigFault):
            Display.parse(text)
    assert Display.parse("231,4") == Display.parse("231.4")


def test_every_type_and_order_is_shown_as_the_driver_reads_it() -> None:
    found = readings(HERE, Look(99, (0, 0x4367, 0x6666, 0, 0, 0, 0)))
    shown = {(r.address.number, r.type, r.order): r.value for r in found}
    assert shown[100, "float32", "ABCD"] == pytest.approx(231.4, abs=1e-4)
    assert shown[100, "uint16", "BADC"] == 0x6743 and shown[99, "uint32", "ABCD"] == 0x4367
    assert {key[0] for key in shown} == {99, 100, 101}
    assert all(r.address.number == 0 for r in readings(parse_address("holding:0"), Look(0, (7,))))


def call(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = main(["decode", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_registers_given_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "holding:100", "--words", "0x4367,0x6666", "--display", "231.4", "--name", "u1")
    assert code == 0 and 'u1: {address: "holding:100", type: float32}' in out and "one reading fits" in out
    code, out, _ = call(capsys, "holding:100", "--words", "99:0 2314", "--display", "231.4", "--json")
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(row["fits"]) > 1 and "read again when the value has moved" in row["said"]
    assert row["fits"][0]["line"] == 'value: {address: "holding:100", scale: 0.1}'
    _, out, _ = call(capsys, "holding:100", "--words", "0x4546,0x4120,0x3031")
    assert "as text, ABCD: 'EFA 01'" in out
    code, out, _ = call(capsys, "holding:100", "--words", "1,2,3", "--display", "7777.7")
    assert code == 1 and "nothing fits" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["holding:100"], "nothing to decode"),
        (["coil:3", "--words", "1"], "single bit"),
        (["4x100", "--words", "1"], "is no address"),
        (["holding:100", "--words", "70000"], "are no registers"),
        (["holding:100", "--words", "x:1"], "are no registers"),
        (["holding:100", "--words", "1", "--display", "5", "--display", "6"], "each display belongs to one read"),
        (["holding:100", "--words", "1", "--display", "volts"], "no number from a display"),
        (["holding:100", "--words", "1", "--name", "a b"], "is no tag name"),
        (["holding:100", "--words", "1", "--count", "0"], "out of range"),
        (["ftp://x", "holding:100"], "no address of a device"),
        (["tcp://127.0.0.1:1", "holding:100"], "cannot connect"),
        (["tcp://127.0.0.1:1", "holding:100", "--unit", "900"], "is no unit"),
        (["absent.yaml", "plc", "holding:100"], "cannot read"),
        (["a", "b", "c", "holding:100"], "names no device"),
    ],
)
def test_what_cannot_be_decoded_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, errors = call(capsys, *words)
    assert code == 2 and said in errors and not out


METER = """device: {{id: d}}
drivers:
  line:
    driver: modbus
    url: tcp://127.0.0.1:{port}
    units:
      meter07:
        unit: 7
        tags: {{u1: {{address: "holding:100", type: float32, order: CDAB}}, x: {{address: "holding:102"}}}}
"""


def test_several_units_without_a_name_are_no_guess(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tag = 'tags: {a: {address: "holding:1"}}'
    units = f"units: {{m: {{unit: 3, {tag}}}, n: {{unit: 4, {tag}}}}}"
    (tmp_path / "site.yaml").write_text(
        f"device: {{id: a}}\ndrivers: {{x: {{driver: modbus, url: 'tcp://127.0.0.1:1', {units}}}}}"
    )
    code, _, said = call(capsys, tmp_path / "site.yaml", "x", "holding:1", "--state", tmp_path)
    assert code == 2 and "several units" in said and "--unit: m, n" in said


def served(path: Path, work: Any) -> Any:
    """Run `work()` in a thread while a simulated meter that shows 231.4 answers."""

    def write(port: int) -> None:
        path.write_text(METER.format(port=port))

    async def serve() -> Any:
        write(502)
        sim = ModbusSim("line", load(path).drivers["line"])  # type: ignore[arg-type]
        sim.port = 0
        sim.set("meter07.u1", 231.43)
        await sim.start()
        write(sim.port)
        try:
            return await asyncio.to_thread(work)
        finally:
            await sim.stop()

    return asyncio.run(serve())


def test_a_meter_from_its_box_to_its_tag_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The device refuses the neighbours of what it has: they are left out."""
    path = tmp_path / "site.yaml"

    def work() -> None:
        url = load(path).drivers["line"].url
        code, out, _ = call(capsys, url, "holding:100", "--unit", "7")
        assert code == 0 and "float32" in out and "231.429" in out
        code, out, _ = call(capsys, path, "line", "holding:100", "--display", "231.4", "--state", tmp_path / "none")
        assert code == 0 and 'value: {address: "holding:100", type: float32, order: CDAB}' in out
        again = next(line for line in out.splitlines() if line.startswith("  lineside decode"))
        code, out, _ = call(capsys, *shlex.split(again.replace("NUMBER", "231.4"))[2:])
        assert code == 0 and out.count("holding:100") >= 1 and " then " in out
        code, _, errors = call(capsys, url, "holding:4000", "--unit", "7")
        assert code == 2 and "illegal address" in errors and "try one lower" in errors
        code, _, errors = call(capsys, url, "holding:100", "--unit", "9", "--timeout", "0.1")
        assert code == 2 and "no answer" in errors and "unit number" in errors
        code, out, _ = call(capsys, path, "line.meter07.u1", "--display", "231.4", "--state", tmp_path / "none")
        assert code == 0 and 'u1: {address: "holding:100", type: float32, order: CDAB}' in out and "unit 7" in out
        code, _, errors = call(capsys, path, "line.meter07.u2", "--state", tmp_path / "none")
        assert code == 2 and "did you mean 'line.meter07.u1'?" in errors
        code, _, errors = call(capsys, path, "lone", "holding:100")
        assert code == 2 and "its Modbus drivers: line" in errors

    served(path, work)


def test_with_a_daemon_running_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site.yaml"

    def work() -> None:
        async def beside() -> None:
            daemon = Daemon(load(path), tmp_path / "state")
            control = Control(daemon)
            up = asyncio.Event()
            daemon.listeners.add(lambda item: up.set() if daemon.live.ts.all() else None)
            await daemon.start()
            await control.start()
            try:
                async with asyncio.timeout(120):
                    await up.wait()
                state = ("--state", tmp_path / "state")
                code, out, errors = await asyncio.to_thread(
                    call, capsys, path, "line", "holding:100", "--unit", "meter07", "--display", "231.4", *state
                )
                assert code == 0 and "order: CDAB}" in out and "asked directly" not in errors
                code, _, errors = await asyncio.to_thread(call, capsys, path, "line", "holding:7", *state)
                assert code == 2 and "through the running daemon: unit 7, holding:7: illegal address" in errors
            finally:
                await control.stop()
                await daemon.stop()

        asyncio.run(beside())

    served(path, work)


def test_against_libmodbus(libmodbus: Path, process: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    process.append(subprocess.Popen([libmodbus], stdout=subprocess.PIPE, text=True))
    port = int(process[0].stdout.readline())
    code, out, errors = call(capsys, f"tcp://127.0.0.1:{port}", "holding:10", "--display", "11", "--json")
    row = json.loads(out)
    assert code == 0 and (row["start"], row["words"]) == (9, [9, 10, 11, 12, 13, 14]), errors
    assert {f["line"] for f in row["fits"][:2]} >= {'value: {address: "holding:11"}'}
