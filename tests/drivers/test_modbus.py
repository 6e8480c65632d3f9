"""Modbus: addresses, the plan, decoding, a strict client against real and hostile devices."""

import asyncio
import struct
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.address import ORDERS, WORDS, Address, parse_address
from drivers.modbus.client import Client
from drivers.modbus.driver import Modbus
from drivers.modbus.line_units import Units
from drivers.modbus.options import ModbusConfig
from drivers.modbus.plan import Item, Plan, encode_value
from drivers.modbus.scans import ASKED
from drivers.modbus.sim import ModbusSim
from edge import AnswerContradicts, DeviceLost, DeviceRefused, Quality, SystemClock, Write
from edge.testing import FakeSource, VirtualClock, virtual_run


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("holding:100", "holding:100"),
        ("40101", "holding:100"),
        (40101, "holding:100"),
        ("400101", "holding:100"),
        (465536, "holding:65535"),
        ("30001", "input:0"),
        ("10001", "discrete:0"),
        ("00001", "coil:0"),
        ("holding:5.15", "holding:5.15"),
    ],
)
def test_addresses(text: Any, named: str) -> None:
    assert str(parse_address(text)) == named


@pytest.mark.parametrize(
    "text", ["holding", "holding:70000", "coil:3.1", "holding:1.16", "40000", "21000", "holding:-1", "100"]
)
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|bits|exist"):
        parse_address(text)


def test_plan_merges_bridges_and_splits() -> None:
    def item(text: str, kind: str = "uint16", unit: int = 1) -> Item:
        return Item(unit, parse_address(text), kind)

    plan = Plan(
        [
            item("holding:0"),
            item("holding:2", "float32"),
            item("holding:20"),
            item("coil:0", "bool"),
            item("coil:90", "bool"),
        ]
    )
    assert [str(r) for r in plan.requests] == ["unit 1 coil:0..90", "unit 1 holding:0..3", "unit 1 holding:20..20"]
    thousand = Plan([item(f"holding:{i}") for i in range(1000)])
    assert len(thousand.requests) == 8 and max(r.count for r in thousand.requests) == 125
    double = Plan([item(f"holding:{4 * i}", "float64") for i in range(40)])
    assert all(r.count % 4 == 0 for r in double.requests), "a value is never torn over two requests"
    assert len(Plan([item("holding:0"), item("holding:0", unit=2)]).requests) == 2


@given(
    st.sampled_from([k for k in WORDS if k != "bool"]),
    st.sampled_from(ORDERS),
    st.integers(-(2**15), 2**15 - 1),
    st.sampled_from([1.0, 0.1, 0.01, 0.25, 10.0]),
)
def test_what_is_written_is_read(kind: str, order: str, raw: int, scale: float) -> None:
    item = Item(1, Address("holding", 7), kind, order, scale)
    raw = abs(raw) if kind.startswith("uint") else raw
    raw = max(raw, 1 - 2**15) if kind == "signmag16" else raw
    value = raw / round(1 / scale) if scale < 1 else raw * scale
    words = np.array(encode_value(item, value), np.uint16)
    back, quality = Plan([item]).decode(words)
    assert back[0] == value if "32" not in kind or kind != "float32" else back[0] == pytest.approx(value)
    assert not quality[0]


def test_known_encodings() -> None:
    """1234567.0 as float32 is 0x4996B438; the four orders as device manuals print them."""
    for order, words in (
        ("ABCD", [0x4996, 0xB438]),
        ("CDAB", [0xB438, 0x4996]),
        ("BADC", [0x9649, 0x38B4]),
        ("DCBA", [0x38B4, 0x9649]),
    ):
        assert (
            Plan([Item(1, Address("holding", 0), "float32", order)]).decode(np.array(words, np.uint16))[0][0]
            == 1234567.0
        )


def test_out_of_range_is_said() -> None:
    plan = Plan([Item(1, Address("holding", 0), "uint64"), Item(1, Address("holding", 4), "float32")])
    value, quality = plan.decode(np.array([0xFFFF] * 4 + [0x7FC0, 0], np.uint16))
    assert list(quality) == [Quality.RANGE, Quality.RANGE] and np.isnan(value[1])
    with pytest.raises(ValueError, match="does not fit"):
        encode_value(Item(1, Address("holding", 0), "int16"), 40000)


def config(port: int, tags: dict[str, Any], **more: Any) -> ModbusConfig:
    return ModbusConfig(
        driver="modbus", url=f"tcp://127.0.0.1:{port}", tags=tags, **{"every": "10ms", "timeout": "2s"} | more
    )


def driver(port: int, tags: dict[str, Any], **more: Any) -> tuple[Modbus, FakeSource]:
    conf = config(port, tags, **more)
    source = FakeSource("plc", list(conf.points()), SystemClock())
    return Modbus(conf, source), source


TAGS = {
    "word": {"address": "holding:10"},
    "pair": {"address": "holding:10", "type": "uint32"},
    "bit": {"address": "holding:3.1"},
    "coil": {"address": "coil:3"},
    "entry": {"address": "input:4"},
    "out": {"address": "holding:50", "writable": {"range": [0, 9]}},
    "lamp": {"address": "coil:7", "writable": {"range": [0, 1]}},
    "set": {"address": "holding:60", "type": "int16", "scale": 0.1, "writable": {"range": [0, 80], "readback": True}},
}


async def reads_and_writes(port: int, in_flight: int = 4) -> None:
    reader, source = driver(port, TAGS, in_flight=in_flight)

    def seen(tag: str, value: float) -> bool:
        return value in source.values(tag)

    async def write_then_wait() -> None:
        while reader._client is None:
            await asyncio.sleep(0)
        await reader.write(Write(source.tags["out"].id, 7))
        await reader.write(Write(source.tags["lamp"].id, 1))
        setpoint = source.tags["set"].id
        assert await reader.write(Write(setpoint, 21.04)) == 21.0, "as the register holds it"
        assert await reader.read(setpoint) == 21.0 and await reader.read(source.tags["lamp"].id) == 1

    task = asyncio.ensure_future(write_then_wait())
    async with asyncio.timeout(120):
        await source.collect(reader, until=lambda: task.done() and seen("out", 7) and seen("lamp", 1))
        await task
    assert [source.values(t)[-1] for t in ("word", "pair", "bit", "coil", "entry")] == [10, 10 << 16 | 11, 1, 1, 1004]
    assert source.qualities("word")[-1] == 0


def test_against_libmodbus(libmodbus: Path, process: list[subprocess.Popen[str]]) -> None:
    process.append(subprocess.Popen([libmodbus], stdout=subprocess.PIPE, text=True))
    assert process[0].stdout is not None
    asyncio.run(reads_and_writes(int(process[0].stdout.readline())))


def test_a_device_that_waits_for_our_acknowledgement_does_not_wait_long(
    libmodbus: Path, process: list[subprocess.Popen[str]]
) -> None:
    """libmodbus leaves Nagle's algorithm on: each scan would take 40 ms, four slots of this grid."""
    process.append(subprocess.Popen([libmodbus], stdout=subprocess.PIPE, text=True))
    assert process[0].stdout is not None
    tags = {f"r{i}": {"address": f"holding:{100 * i}"} for i in range(4)}

    async def work() -> FakeSource:
        assert process[0].stdout is not None
        reader, source = driver(int(process[0].stdout.readline()), tags, in_flight=4, gap=0)
        async with asyncio.timeout(120):
            await source.collect(reader, until=lambda: len(source.batches) >= 40)
        return source

    source = asyncio.run(work())
    assert source.counts["overruns"] < len(source.batches)


def test_against_pymodbus() -> None:
    from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
    from pymodbus.server import ModbusTcpServer

    async def main() -> None:
        def block(values: list[Any]) -> ModbusSequentialDataBlock:
            return ModbusSequentialDataBlock(1, values)

        coils = block([i % 3 == 0 for i in range(500)])
        device = ModbusDeviceContext(di=coils, co=coils, hr=block(list(range(500))), ir=block(list(range(1000, 1500))))
        server = ModbusTcpServer(ModbusServerContext(device, True), address=("127.0.0.1", 0))
        await server.listen()
        try:
            port = server.transport.sockets[0].getsockname()[1]
            await reads_and_writes(port, in_flight=1)  # its server drops requests that come together
        finally:
            await server.shutdown()

    asyncio.run(main())


def test_our_simulator_against_pymodbus_as_client() -> None:
    from pymodbus.client import AsyncModbusTcpClient

    async def main() -> None:
        sim = ModbusSim("plc", config(1, TAGS))
        sim.port = 0
        await sim.start()
        sim.set("pair", 123456)
        sim.set("bit", 1)
        sim.set("coil", 1)
        client = AsyncModbusTcpClient("127.0.0.1", port=sim.port)
        await client.connect()
        try:
            assert (await client.read_holding_registers(10, count=2)).registers == [1, 57920]
            assert (await client.read_holding_registers(3, count=1)).registers == [2]
            assert (await client.read_coils(3, count=1)).bits[0] is True
            assert (await client.read_holding_registers(400, count=1)).exception_code == 2
            assert not (await client.write_register(50, 9)).isError()
            assert not (await client.write_coil(7, True)).isError()
            assert sim.get("out") == 9 and sim.get("lamp") == 1
        finally:
            client.close()
            await sim.stop()

    asyncio.run(main())


def test_a_write_takes_its_turn_on_a_device_that_takes_one_request_at_a_time() -> None:
    """It goes ahead of the reads that wait, and not beside the one that is out."""
    sent: list[bytes] = []

    class Out(asyncio.Transport):
        def write(self, data: Any) -> None:
            sent.append(bytes(data))

        def abort(self) -> None: ...

    async def main() -> None:
        client = Client(SystemClock(), Units(2.0, 1.0), 1)
        client.connection_made(Out())
        plan = Plan([Item(1, Address("holding", n), "uint16") for n in (0, 500, 1000)])
        words = np.zeros(plan.words, np.uint16)
        scanning = asyncio.ensure_future(client.scan(plan.requests, words))
        await asyncio.sleep(0)
        orders = [asyncio.ensure_future(client.write(1, struct.pack(">BHH", 6, 7, n))) for n in (1, 2)]
        gone = asyncio.ensure_future(client.write(1, struct.pack(">BHH", 6, 7, 3)))
        await asyncio.sleep(0)
        gone.cancel()
        for turn in range(5):
            assert len(sent) == turn + 1, "one at a time"
            transaction, _, _, unit, *_ = struct.unpack(">HHHB", sent[-1][:7])
            client.data_received(frame(transaction, unit, sent[-1][7:] if sent[-1][7] == 6 else b"\x03\x02\x00\x05"))
            await asyncio.gather(*(order for order in orders if order.done()))
            await asyncio.sleep(0)
        await asyncio.gather(*orders, scanning)
        assert [one[7] for one in sent] == [3, 6, 6, 3, 3] and list(words) == [5, 5, 5]
        client.close()

    asyncio.run(main())


def test_a_late_answer_whose_length_swallows_the_next_one_is_found_out() -> None:
    """Else what comes a second time under the number of the swallowed one would be taken for its answer."""

    class Out(asyncio.Transport):
        def write(self, data: Any) -> None:
            numbers.append(struct.unpack(">H", bytes(data)[:2])[0])

        def abort(self) -> None: ...

    numbers: list[int] = []

    async def main() -> None:
        client = Client(VirtualClock(), Units(0.2, 1.0), 4)
        client.connection_made(Out())
        plan = Plan([Item(1, Address("holding", 0), "uint16")])
        words = np.zeros(1, np.uint16)
        first = asyncio.ensure_future(client.scan(plan.requests, words))
        await asyncio.sleep(0)
        right = b"\x03\x02\x00\x05"
        whole = len(frame(1, 1, right))
        client.data_received(struct.pack(">HHHB", numbers[0], 0, len(right) + 1 + whole, 1) + right)
        assert (await first).codes == [ASKED]
        second = asyncio.ensure_future(client.scan(plan.requests, words))
        await asyncio.sleep(0)
        client.data_received(frame(numbers[1], 1, right))
        client.data_received(frame(numbers[1], 1, b"\x03\x02\xff\xff"))
        with pytest.raises(AnswerContradicts):
            await second
        assert words[0] == 0

    virtual_run(main())


async def hostile(answer: Any, tags: dict[str, Any], **more: Any) -> FakeSource:
    """A device that answers with whatever `answer(transaction, unit, pdu)` says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(7)
                transaction, _, length, unit = struct.unpack(">HHHB", head)
                pdu = await reader.readexactly(length - 1)
                writer.write(answer(transaction, unit, pdu))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        reader, source = driver(server.sockets[0].getsockname()[1], tags, **more)
        async with asyncio.timeout(120):
            await source.collect(reader, until=lambda: len(source.batches) >= 6)
        return source
    finally:
        server.close()


def frame(transaction: int, unit: int, pdu: bytes, protocol: int = 0) -> bytes:
    return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1, unit) + pdu


WRONG = {
    "too few registers": lambda t, u, p: frame(t, u, b"\x03\x02\x00\x05"),
    "too many registers": lambda t, u, p: frame(t, u, b"\x03\x06" + b"\x00\x05" * 3),
    "wrong function": lambda t, u, p: frame(t, u, b"\x04\x04\x00\x05\x00\x05"),
    "wrong unit": lambda t, u, p: frame(t, u + 1, b"\x03\x04\x00\x05\x00\x05"),
    "byte count lies": lambda t, u, p: frame(t, u, b"\x03\x08\x00\x05\x00\x05"),
    "not Modbus": lambda t, u, p: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "wrong protocol": lambda t, u, p: frame(t, u, b"\x03\x04\x00\x05\x00\x05", protocol=7),
}
TWO = {"a": {"address": "holding:0"}, "b": {"address": "holding:1"}}


@pytest.mark.parametrize("how", WRONG)
def test_contradicting_answers_are_never_data(how: str) -> None:
    with pytest.raises(AnswerContradicts):
        asyncio.run(hostile(WRONG[how], TWO))


def test_wrong_transaction_and_silence_become_timeouts() -> None:
    for answer in (lambda t, u, p: frame(t + 9, u, b"\x03\x04\x00\x05\x00\x05"), lambda t, u, p: b""):
        with pytest.raises(DeviceLost, match="3 times in a row"):
            asyncio.run(hostile(answer, TWO, timeout="50ms"))


def test_a_silent_unit_hides_none_of_the_others() -> None:
    """Two of four units behind a gateway say nothing, the first among them, then one of them comes back."""
    silent = {1, 3}

    async def main() -> None:
        units = {f"m{k}": {"unit": k, "tags": {"a": {"address": "holding:0"}}} for k in (1, 2, 3, 4)}
        sim = ModbusSim("gw", config(1, {}, units=units))
        sim.port = 0
        for k in (1, 2, 3, 4):
            sim.set(f"m{k}.a", k)
        known = {k: sim.units[k] for k in silent}
        for k in silent:
            del sim.units[k]
        await sim.start()
        try:
            reader, source = driver(sim.port, {}, units=units, timeout="400ms")
            assert [line.split(" = ")[1] for line in sorted(await reader.probe())] == [
                "nan (TIMEOUT)",
                "2 (GOOD)",
                "nan (TIMEOUT)",
                "4 (GOOD)",
            ]
            source.batches.clear()

            def until() -> bool:
                if len(source.values("m4.a")) > 2:
                    sim.units[3] = known[3]
                return 3 in source.values("m3.a")

            async with asyncio.timeout(120):
                await source.collect(reader, until=until)
            causes = {tag: set(source.qualities(tag)) for tag in source.tags}
            assert causes["m1.a"] == {Quality.TIMEOUT} and Quality.GOOD in causes["m2.a"] & causes["m4.a"]
            assert min(int(b.ts.min()) for b in source.batches) > 10**18 and source.counts["timeout"] > 2
        finally:
            await sim.stop()

    asyncio.run(main())


def test_a_late_answer_is_not_taken_for_the_next() -> None:
    kept: list[bytes] = []

    def late(t: int, u: int, p: bytes) -> bytes:
        kept.append(frame(t, u, b"\x03\x04" + struct.pack(">HH", len(kept), len(kept))))
        return kept[-2] + kept[-1] if len(kept) > 1 and len(kept) % 2 == 0 else b""

    source = asyncio.run(hostile(late, TWO, timeout="50ms"))
    good = [(v, q) for v, q in zip(source.values("a"), source.qualities("a"), strict=True) if q == 0]
    assert [v for v, _ in good] == [1.0, 3.0, 5.0]
    assert Quality.TIMEOUT in source.qualities("a") and source.counts["late_answers"] >= 2


def test_an_illegal_register_is_isolated_and_disturbs_no_neighbour() -> None:
    def holes(t: int, u: int, p: bytes) -> bytes:
        start, count = struct.unpack(">HH", p[1:])
        if start <= 3 < start + count:
            return frame(t, u, b"\x83\x02")
        return frame(t, u, bytes([3, 2 * count]) + b"".join(struct.pack(">H", r) for r in range(start, start + count)))

    source = asyncio.run(hostile(holes, {f"r{i}": {"address": f"holding:{i}"} for i in range(8)}))
    assert source.qualities("r3")[-1] == Quality.EXCEPTION and np.isnan(source.values("r3")[-1])
    for i in (0, 1, 2, 4, 5, 6, 7):
        assert set(source.qualities(f"r{i}")) == {0} and set(source.values(f"r{i}")) == {i}


def test_device_time_stamps_and_drops_what_was_read_already() -> None:
    now = [1_700_000_000_000]

    def clocked(t: int, u: int, p: bytes) -> bytes:
        now.append(now[-1] + (1000 if len(now) % 2 else 0))
        return frame(t, u, b"\x03\x0a" + struct.pack(">QH", now[-1], len(now)))

    tags = {"a": {"address": "holding:4"}}
    source = asyncio.run(hostile(clocked, tags, time={"address": "holding:0"}))
    stamps = [int(x) for b in source.batches for x in b.ts]
    assert all(x % 10**9 == 0 for x in stamps) and len(set(stamps)) == len(stamps)
    assert source.counts["unchanged_device_time"] >= 2


def test_a_refused_write_says_so() -> None:
    async def main() -> None:
        sim = ModbusSim("plc", config(1, {"a": {"address": "holding:1"}}))
        sim.port = 0
        await sim.start()
        reader, source = driver(sim.port, {"out": {"address": "holding:50", "writable": {"range": [0, 9]}}})
        await reader.connect()
        with pytest.raises(DeviceRefused, match="illegal address"):
            await reader.write(Write(source.tags["out"].id, 1))
        await reader.close()
        await sim.stop()

    asyncio.run(main())


def test_a_clock_that_is_not_set_or_not_there_takes_no_values_along() -> None:
    """Unit 7's clock shows ones, unit 8 has none: values are kept at our time, CLOCK_UNSURE. Unit 9's is right."""

    def clocked(t: int, u: int, p: bytes) -> bytes:
        start, count = struct.unpack(">HH", p[1:])
        if u == 8 and start < 4:
            return frame(t, u, b"\x83\x02")
        now = {7: 2**64 - 1, 9: 1_700_000_000_000 + t}.get(u, 0)
        words = (*struct.unpack(">4H", struct.pack(">Q", now)), 5)
        return frame(t, u, bytes([3, 2 * count]) + struct.pack(f">{count}H", *words[start : start + count]))

    part = {"time": {"address": "holding:0"}, "tags": {"a": {"address": "holding:4"}}}
    units = {f"u{n}": {"unit": n, **part} for n in (7, 8, 9)}
    source = asyncio.run(hostile(clocked, {}, units=units))
    for unit, quality in (("u7", Quality.CLOCK_UNSURE), ("u8", Quality.CLOCK_UNSURE), ("u9", Quality.GOOD)):
        assert source.qualities(f"{unit}.a")[-1] == quality and source.values(f"{unit}.a")[-1] == 5
    last = source.batches[-1]
    assert 1_700_000_000 <= last.ts[-1] / 1e9 < 1_700_000_100 and (last.ts[:-1] > 1_750_000_000 * 10**9).all()
    assert source.counts["no_device_time"] >= 6


def test_a_device_that_gives_fewer_registers_at_once_is_asked_for_fewer() -> None:
    def small(t: int, u: int, p: bytes) -> bytes:
        _start, count = struct.unpack(">HH", p[1:])
        return frame(t, u, b"\x83\x03" if count > 10 else bytes([3, 2 * count]) + bytes(2 * count))

    source = asyncio.run(hostile(small, {f"r{i}": {"address": f"holding:{i}"} for i in range(32)}))
    assert all(source.qualities(f"r{i}")[-1] == 0 for i in range(32))


@pytest.mark.parametrize("pause", ["0s", "10ms"])
def test_a_line_that_the_device_closes_while_it_is_quiet_is_no_failure(pause: str) -> None:
    async def main() -> None:
        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readexactly(12)
            writer.write(frame(*struct.unpack(">H4xB", head[:7]), head[7:] if head[7] == 6 else b"\x03\x02\x00\x05"))
            writer.close()

        server = await asyncio.start_server(once, "127.0.0.1", 0)
        tags = {"a": {"address": "holding:1", "writable": {"range": [0, 9]}}}
        reader, source = driver(server.sockets[0].getsockname()[1], tags, pause=pause)
        await source.collect(reader, until=lambda: len(source.batches) >= 5)
        assert source.values("a") == [5.0] * 5 and source.counts["reconnects"] >= 4
        await reader.connect()
        for _ in range(2):
            await reader.write(Write(source.tags["a"].id, 7))
            while not reader._client.quiet_end:  # type: ignore[union-attr]
                await asyncio.sleep(0)
        await reader.close()
        server.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "said"),
    [("127.0.0.1", ":1: Connection refused"), ("localhost", ":1: Connection refused"), ("plc..local", "no host name")],
)
def test_nobody_there_is_said_once(host: str, said: str) -> None:
    with pytest.raises(DeviceLost, match=said) as error:
        asyncio.run(Client.connect(host, 1, SystemClock(), Units(2.0, 1.0)))
    assert str(error.value).count(host) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tags": {"a": {"address": "holding:1", "scale": float("nan")}}}, "finite"),
        ({"tags": {"a": {"address": "holding:1", "scale": 1e-320}}}, "no usable value"),
        ({"tags": {"a": {"address": "holding:1", "writable": {"range": [0, 70000]}}}}, "does not fit into uint16"),
        ({"time": {"address": "coil:3"}}, "single bit"),
        ({"time": {"address": "holding:65533"}}, "past the last register"),
        ({"tags": {"a": {"address": "coil:1", "writable": {"range": [0, 5]}}}}, "does not fit into bool"),
        ({"url": "tcp://plc:0"}, "port"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModbusConfig(**{"driver": "modbus", "url": "tcp://plc", "tags": {"a": {"address": "holding:1"}}} | change)


def test_a_float_that_signals_is_no_number_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, quality = Plan([Item(1, Address("holding", 0), "float32")]).decode(np.array([0x7F80, 1], np.uint16))
        most = Plan([Item(1, Address("holding", 0), "float64", scale=10.0)]).decode(
            np.array([0x7FE0, 0, 0, 0], np.uint16)
        )
    assert most[1][0] == Quality.RANGE
    assert np.isnan(value[0]) and quality[0] == Quality.RANGE


def test_what_a_type_does_not_hold_is_not_written() -> None:
    for kind, value in (
        ("bool", 0.3),
        ("bool", 2),
        ("float32", 1e39),
        ("float64", float("inf")),
        ("int64", float("nan")),
        ("uint64", 2.0**64),
    ):
        with pytest.raises(ValueError, match="does not fit"):
            encode_value(Item(1, Address("holding", 0), kind), value)
