"""Strings in Modbus registers, from real servers and hostile ones."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.modbus.address import Address
from drivers.modbus.driver import Modbus
from drivers.modbus.options import ModbusConfig
from drivers.modbus.plan import Item, Plan
from drivers.modbus.sim import ModbusSim
from drivers.modbus.text import TextColumns, decode_text, encode_text
from edge import Event, LinesideError, Quality, SystemClock, Tag, Write, WriteRefused
from edge.app import Daemon
from edge.config.load import load_text
from edge.control import Control
from edge.testing import FakeSource
from tests.waiting import run, until


def text(length: int = 4, order: str = "ABCD", encoding: str = "ascii", at: int = 0) -> Item:
    return Item(1, Address("holding", at), "text", order, length=length, encoding=encoding)


def config(port: int, **tags: Any) -> ModbusConfig:
    return ModbusConfig(driver="modbus", url=f"tcp://127.0.0.1:{port}", every="10ms", timeout="2s", tags=tags)


def driver(conf: ModbusConfig) -> tuple[Modbus, FakeSource]:
    points = conf.points()
    tags = [point.tag(f"plc.{name}", "plc", 0.01) for name, point in points.items()]
    source = FakeSource("plc", tags, SystemClock())
    return Modbus(conf, source), source


def words(raw: bytes) -> np.ndarray:
    return np.frombuffer(raw, ">u2").astype(np.uint16)


@pytest.mark.parametrize(
    ("raw", "item", "shown"),
    [
        (b"A7\0\0\0\0\0\0", text(), "A7"),
        (b"A7      ", text(), "A7"),
        (b"A7\0?!\xff\xfe?", text(), "A7"),  # what was there before the shorter string
        (b"A7  \0xyz", text(), "A7"),
        (b"  A7\0\0\0\0", text(), "  A7"),
        (b"\0\0\0\0\0\0\0\0", text(), ""),
        (b"\0A\0007\0\0\0\0", text(), "\0A"),
        (b"7A2B\0\0\0\0", text(order="BADC"), "A7B2"),
        (b"\xe9\xff\0\0\0\0\0\0", text(), "\ufffd\ufffd"),
        (b"\xe9t\xe9\0\0\0\0\0", text(encoding="latin-1"), "été"),
        ("配方".encode() + b"\0\0", text(encoding="utf-8"), "配方"),
        ("配方七".encode()[:8], text(encoding="utf-8"), "配方\ufffd"),  # cut in the middle of a character
    ],
)
def test_registers_as_strings(raw: bytes, item: Item, shown: str) -> None:
    assert decode_text(item, words(raw)) == shown


@given(st.binary(min_size=2, max_size=240), st.sampled_from(["ABCD", "BADC"]), st.sampled_from(["ascii", "utf-8"]))
@example(b"\0  \0xx", "ABCD", "ascii")
def test_any_bytes_are_some_string(raw: bytes, order: str, encoding: str) -> None:
    raw = raw[: len(raw) // 2 * 2]
    item = text(len(raw) // 2, order, encoding)
    shown = decode_text(item, words(raw))
    assert not shown.endswith((" ", "\0")) and len(shown) <= len(raw)
    source = FakeSource("plc", [Tag("plc.t", type="text", source="plc")])
    kept = source.texts.show(source.text(1, shown))
    assert kept is not None and len(kept.encode()) >= len(shown) and "\0" not in kept


@given(st.text("AZ09 -_äé", max_size=8).filter(lambda s: not s.endswith(" ")), st.sampled_from(["ABCD", "BADC"]))
def test_what_is_encoded_is_decoded(shown: str, order: str) -> None:
    item = text(order=order, encoding="latin-1")
    assert decode_text(item, np.array(encode_text(item, shown), np.uint16)) == shown


def test_what_does_not_fit_is_said() -> None:
    for shown, said in (("123456789", "9 bytes, 4 registers hold 8"), ("é", "cannot be written in ascii")):
        with pytest.raises(ValueError, match=said):
            encode_text(text(), shown)


def test_only_what_changed_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    plan = Plan([Item(1, Address("holding", 9), "uint16"), text(at=0), text(at=4)])
    source = FakeSource("plc", [Tag(f"plc.{n}", type="text", source="plc") for n in "xab"])
    ask = source.text
    source.text = lambda tag, shown: decoded.append(shown) or ask(tag, shown)  # type: ignore[method-assign, func-returns-value]
    columns = TextColumns(plan, np.array([1, 2, 3], np.int32), source)
    memory = np.zeros(plan.words, np.uint16)

    def scan(a: str, b: str, codes: np.ndarray | None = None) -> list[str | None]:
        memory[:8] = encode_text(text(), a) + encode_text(text(), b)
        memory[9] = 5
        value, quality = plan.decode(memory)
        columns(memory, value, quality, codes)
        assert value[0] == 5 and quality[0] == quality[1] == 0
        return [source.texts.show(v) for v in value[1:]]

    assert scan("A7", "", np.array([0, 0, 2])) == ["A7", None] and decoded == ["A7"], (
        "what was not answered says nothing"
    )
    decoded.clear()
    assert scan("A7", "") == ["A7", ""] and decoded == [""]
    decoded.clear()
    assert scan("A7", "") == ["A7", ""] and decoded == []
    assert scan("C3", "", np.array([0, -2, 0]))[1] == "" and decoded == [], "what another scan fills is its own to see"
    assert scan("C3", "") == ["C3", ""] and decoded == ["C3"]
    assert scan("A7", "") == ["A7", ""]
    decoded.clear()
    assert scan("A7", "B2") == ["A7", "B2"] and decoded == ["B2"]


def test_a_scan_shows_the_simulators_strings() -> None:
    async def main() -> None:
        conf = config(1, n={"address": "holding:0"}, a={"address": "holding:1", "type": "text", "length": 4})
        sim = ModbusSim("plc", conf)
        sim.port = 0
        await sim.start()
        sim.set("a", "A7")
        sim.set("n", 5)
        assert sim.get("a") == "A7"
        for wrong in (("a", 5.0), ("n", "five")):
            with pytest.raises(ValueError, match="no value of"):
                sim.set(*wrong)
        reader, source = driver(config(sim.port, **conf.tags))
        assert len(reader.plan.requests) == 1
        try:
            async with asyncio.timeout(120):
                await source.collect(reader, until=lambda: "A7" in source.strings("a"))
                sim.set("a", "B2")
                await source.collect(reader, until=lambda: "B2" in source.strings("a"))
        finally:
            await sim.stop()
        assert source.values("n")[-1] == 5 and set(source.qualities("a")) == {Quality.GOOD}

    asyncio.run(main())


def test_a_text_is_written_read_back_and_refused_where_the_encoding_has_it_not() -> None:
    async def main() -> None:
        text = {"type": "text", "writable": {"longest": 8}}
        tags = {
            "a": {"address": "holding:1", "length": 4, **text},
            "one": {"address": "holding:9", "length": 1, **text, "writable": {"longest": 2}},
            "swapped": {"address": "holding:20", "length": 4, "order": "BADC", "encoding": "utf-8", **text},
        }
        sim = ModbusSim("plc", config(1, **tags))
        sim.port = 0
        await sim.start()
        reader, source = driver(config(sim.port, **tags))
        running = asyncio.ensure_future(reader.run())
        await until(lambda: source.strings("a"))
        for tag, shown in (("a", "Recipe 7"), ("a", ""), ("a", "B2"), ("one", "x"), ("swapped", "配方")):
            assert await reader.write(Write(source.tags[tag].id, shown)) == shown == sim.get(tag)
            assert await reader.read(source.tags[tag].id) == shown
        with pytest.raises(WriteRefused, match="cannot be written in ascii"):
            await reader.write(Write(source.tags["a"].id, "é"))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sim.stop()

    run(main)


def test_an_order_for_a_text_goes_through_the_daemon_and_is_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        tags = {"mode": {"address": "holding:1", "type": "text", "length": 4, "writable": {"one_of": ["AUTO", "7"]}}}
        sim = ModbusSim("plc", config(1, **tags))
        sim.port = 0
        await sim.start()
        line = '{address: "holding:1", type: text, length: 4, writable: {one_of: [AUTO, "7"], readback: true}}'
        site = load_text(
            "device: {id: d}\ndrivers: {plc: {driver: modbus, every: 50ms, "
            f"url: 'tcp://127.0.0.1:{sim.port}', tags: {{mode: {line}}}}}}}\n"
        )
        assert not site.problems, site.problems
        daemon = Daemon(site, tmp_path)
        told: list[Event] = []
        daemon.listeners.add(
            lambda item: told.append(item) if isinstance(item, Event) and item.kind == "write" else None
        )
        await daemon.start()
        await until(lambda: daemon.health.part("plc").state == "running")
        order = {"do": "write", "by": "anna"}
        for wanted in ("AUTO", "7", 7):
            answer = await Control(daemon)._answer(order | {"values": {"plc.mode": wanted}})
            assert answer == {"written": ["plc.mode"], "values": {"plc.mode": str(wanted)}}
            assert sim.get("mode") == str(wanted)
        with pytest.raises(LinesideError, match=r"'auto' is none of 'AUTO', '7' of plc\.mode"):
            await Control(daemon)._answer(order | {"values": {"plc.mode": "auto"}})
        assert [(e.state, e.data["value"]) for e in told] == [
            ("done", "AUTO"),
            ("done", "7"),
            ("done", "7"),
            ("refused", "auto"),
        ]
        assert told[0].text == "'AUTO' by user anna"
        await daemon.stop()
        await sim.stop()

    run(main)


def test_against_libmodbus(libmodbus: Path, process: list[subprocess.Popen[str]]) -> None:
    process.append(subprocess.Popen([libmodbus], stdout=subprocess.PIPE, text=True))
    assert process[0].stdout is not None
    port = int(process[0].stdout.readline())
    conf = config(
        port,
        raw={"address": "holding:10", "writable": {"range": [0, 65535]}},
        plain={"address": "holding:10", "type": "text", "length": 2},
        swapped={"address": "holding:10", "type": "text", "length": 2, "order": "BADC"},
        gone={"address": "holding:498", "type": "text", "length": 4},
    )
    reader, source = driver(conf)

    async def main() -> None:
        async def write() -> None:
            while reader._client is None:
                await asyncio.sleep(0)
            await reader.write(Write(source.tags["raw"].id, 0x4137))

        task = asyncio.ensure_future(write())
        async with asyncio.timeout(120):
            await source.collect(reader, until=lambda: "A7" in source.strings("plain"))
            await task

    asyncio.run(main())
    assert source.strings("swapped")[-1] == "7A\ufffd", "the next register holds 11"
    assert source.qualities("gone")[-1] == Quality.EXCEPTION and source.strings("gone")[-1] is None


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ({"type": "text"}, "how many registers"),
        ({"type": "text", "length": 121}, "less than or equal to 120"),
        ({"type": "text", "length": 0}, "greater than or equal to 1"),
        ({"type": "text", "length": 2, "order": "CDAB"}, "no order of a text"),
        ({"type": "text", "length": 2, "scale": 2}, "a text is no number"),
        ({"type": "text", "length": 2, "deadband": 2}, "a text is no number"),
        ({"type": "text", "length": 2, "labels": {1: "on"}}, "a text is no number"),
        ({"type": "text", "length": 2, "writable": {"range": [0, 1]}}, "it is a text: say `one_of"),
        ({"type": "text", "length": 2, "writable": {"longest": 5}}, "2 registers hold 4 characters"),
        ({"type": "text", "length": 2, "writable": {"one_of": ["A", "abcde"]}}, "has 5 bytes, 2 registers hold 4"),
        ({"type": "text", "length": 2, "writable": {"one_of": ["é"]}}, "cannot be written in ascii"),
        ({"type": "text", "length": 2, "address": "holding:65535"}, "past the last register"),
        ({"type": "text", "length": 2, "address": "coil:1"}, "single bit"),
        ({"type": "text", "length": 2, "encoding": "utf-16"}, "encoding"),
        ({"length": 2}, "add `type: text`"),
        ({"encoding": "utf-8"}, "add `type: text`"),
    ],
)
def test_settings_that_cannot_be(tag: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(502, a={"address": "holding:1"} | tag)


def test_a_text_longer_than_an_answer_is_a_fault() -> None:
    tags = {"a": {"address": "holding:1", "type": "text", "length": 60}}
    conf = ModbusConfig(driver="modbus", url="tcp://plc", max_registers=50, tags=tags)
    assert [path for path, *_ in conf.faults()] == [("tags", "a", "length")]
