"""Modbus on lines without request numbers: addresses, frames, one strict request at a time, real and hostile counterparts."""

import asyncio
import contextlib
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.modbus.client import Client
from drivers.modbus.driver import Modbus
from drivers.modbus.line import Line
from drivers.modbus.line_frames import MORE, WHOLE, WRONG, Ascii, BrokenFrame, Rtu, crc16
from drivers.modbus.line_units import LONGEST, Units
from drivers.modbus.line_url import parse_url
from drivers.modbus.options import ModbusConfig
from drivers.modbus.plan import Request
from drivers.modbus.scans import ASKED, BROKEN, WAITED
from drivers.modbus.sim import Device, ModbusSim
from drivers.modbus.window import Window
from edge import AnswerContradicts, DeviceLost, DeviceRefused, DeviceSilent, Quality, SystemClock, Write, load_site
from edge.testing import FakeSource, VirtualClock, virtual_run
from tests.drivers.test_modbus import TAGS

SLOW = "rtu:///dev/ttyS9?baud=9600"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("tcp://plc", "tcp://plc:502"),
        ("tcp://[fe80::1]:503/", "tcp://[fe80::1]:503"),
        ("rtu+tcp://10.0.0.7:4196", "rtu+tcp://10.0.0.7:4196"),
        (SLOW, "rtu:///dev/ttyS9?baud=9600&parity=none&stop=1"),
        (
            "rtu:///dev/serial/../ttyUSB0?stop=2&parity=even&baud=115200",
            "rtu:///dev/ttyUSB0?baud=115200&parity=even&stop=2",
        ),
        ("ascii:///dev/ttyUSB0?baud=300", "ascii:///dev/ttyUSB0?baud=300&parity=none&stop=1"),
        ("ascii:///dev/ttyUSB0?baud=300&bits=8", "ascii:///dev/ttyUSB0?baud=300&parity=none&stop=1&bits=8"),
    ],
)
def test_addresses(text: str, normal: str) -> None:
    assert str(parse_url(text)) == normal and parse_url(normal) == parse_url(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rtu:///dev/ttyUSB0", "how fast"),
        ("rtu:///dev/ttyUSB0?baud=9601", "no speed"),
        ("rtu:///dev/ttyUSB0?baud=fast", "no speed"),
        ("rtu:///dev/ttyUSB0?boud=9600", "did you mean 'baud'"),
        ("rtu:///dev/ttyUSB0?baud=9600&flow=none", "there are baud, parity"),
        ("rtu:///dev/ttyUSB0?baud=9600&baud=9600", "twice"),
        ("rtu:///dev/ttyUSB0?baud=9600&parity=mark", "none, even, odd"),
        ("rtu:///dev/ttyUSB0?baud=9600&stop=3", "none of 1, 2"),
        ("rtu:///dev/ttyUSB0?baud=9600&bits=7", "cannot carry RTU"),
        ("rtu:///dev/ttyUSB0?9600", "write what follows"),
        ("rtu://ttyUSB0?baud=9600", "three slashes"),
        ("rtu://?baud=9600", "names no port"),
        ("rtu+tcp://10.0.0.7:99999", "1 to 65535"),
        ("rtu+tcp://10.0.0.7:4196?baud=9600", "no address"),
        ("tcp://me:secret@10.0.0.7", "no address"),
        ("udp://10.0.0.7", "no address"),
        ("rtu://" + "/dev" * 200, "characters"),
    ],
)
def test_addresses_that_are_none(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_url(text)


def check(folder: Path, **drivers: str) -> list[str]:
    lines = "".join(f"  {name}: {{driver: modbus, {text}}}\n" for name, text in drivers.items())
    (folder / "site.yaml").write_text(f"device: {{id: a}}\ndrivers:\n{lines}")
    return [str(problem) for problem in load_site(folder / "site.yaml").problems]


TAG = 'tags: {a: {address: "holding:1"}}'


def test_a_port_has_one_entry_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to("/dev/ttyS9")
    said = check(
        tmp_path,
        one=f'url: "{SLOW}", {TAG}',
        two=f'url: "rtu://{tmp_path}/by-id?baud=19200", {TAG}',
        three=f'url: "tcp://10.0.0.7:4196", {TAG}',
        four=f'url: "rtu+tcp://10.0.0.7:4196", {TAG}',
    )
    assert len(said) == 2
    assert "/dev/ttyS9 is opened by 'one' already" in said[0] and "tcp://10.0.0.7:4196 is opened by 'three'" in said[1]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (f'url: "rtu://{__file__}?baud=9600", {TAG}', "is no serial port"),
        (f'url: "{SLOW}", unit: 0, {TAG}', "every unit of the line"),
        (f'url: "{SLOW}", units: {{m: {{unit: 0, {TAG}}}}}', "every unit of the line"),
        (f'url: "{SLOW}", in_flight: 2, {TAG}', "one request at a time"),
        (f'url: "{SLOW}", turnaround: 3s, {TAG}', "shorten it"),
        (f'url: "{SLOW}&speed=1", {TAG}', "unknown 'speed'"),
        (f'url: "{SLOW}", every: 20ms, {TAG}', "9600 baud carry this only every 0.023 s at best"),
        (f'url: "{SLOW}", every: 1s, units: {{m: {{unit: 2, every: 20ms, {TAG}}}}}', "at best"),
    ],
)
def test_a_line_that_cannot_be_is_a_fault_of_the_site(tmp_path: Path, entry: str, said: str) -> None:
    found = check(tmp_path, line=entry)
    assert len(found) == 1 and said in found[0]


def test_frames_as_others_print_them() -> None:
    """Requests from the manuals of devices; 0x4B37 for '123456789' is the CRC's published check value."""
    assert crc16(b"123456789") == 0x4B37
    assert Rtu().frame(1, bytes.fromhex("030000000a")).hex() == "01030000000ac5cd"
    assert Ascii().frame(0xF7, bytes.fromhex("031389000a")) == b":F7031389000A60\r\n"
    assert Rtu().open(bytes.fromhex("01030000000ac5cd")) == (1, bytes.fromhex("030000000a"))
    assert Ascii().open(b":F7031389000A60\r\n") == (0xF7, bytes.fromhex("031389000a"))


@pytest.mark.parametrize("framing", [Rtu(), Ascii()])
def test_no_flipped_bit_and_no_cut_makes_a_frame(framing: Any) -> None:
    good = framing.frame(7, b"\x03\x04\x00\x05\x12\x34")
    assert framing.verdict(good, 7, b"\x03\x00\x00\x00\x02") == WHOLE
    for size in range(1, len(good)):
        assert framing.verdict(good[:size], 7, b"\x03\x00\x00\x00\x02") == MORE
        with pytest.raises(BrokenFrame):
            framing.open(good[:size])
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        if framing.longest == 513 and bad.lower() == good.lower():
            continue  # the same digit in small letters
        with pytest.raises(BrokenFrame):
            framing.open(bytes(bad))
    assert framing.verdict(good + b"\x00", 7, b"\x03\x00\x00\x00\x02") == WRONG


class Far(asyncio.Transport):
    """The other end of a line in virtual time: `answer(frame)` gives chunks as (seconds later, bytes)."""

    def __init__(self, line: Line | Client, answer: Callable[[bytes], list[tuple[float, bytes]]]) -> None:
        super().__init__()
        self.line, self.answer = line, answer
        self.sent: list[tuple[float, bytes]] = []
        line.connection_made(self)

    def write(self, data: Any) -> None:
        loop = asyncio.get_running_loop()
        self.sent.append((loop.time(), bytes(data)))
        for later, chunk in self.answer(bytes(data)):
            loop.call_later(later, self.line.data_received, chunk)

    def abort(self) -> None: ...


def line_to(
    answer: Callable[[bytes], list[tuple[float, bytes]]], url: str = SLOW, timeout: float = 0.5
) -> tuple[Line, Far]:
    line = Line(parse_url(url), VirtualClock(), Units(timeout, 1.0), 0.1)
    return line, Far(line, answer)


TWO = Request(7, 3, 0, 2, 0)
RTU = Rtu().frame
GOOD = RTU(7, b"\x03\x04\x00\x05\x12\x34")


def chunks(*parts: bytes, apart: float = 0.001) -> Callable[[bytes], list[tuple[float, bytes]]]:
    return lambda frame: [(0.03 + k * apart, part) for k, part in enumerate(parts)]


def test_an_answer_in_pieces_is_one_answer() -> None:
    async def main() -> None:
        line, _ = line_to(chunks(*(GOOD[k : k + 1] for k in range(len(GOOD))), apart=0.016))
        words = np.zeros(2, np.uint16)
        scan = await line.scan([TWO], words)
        assert scan.codes == [0] and list(words) == [5, 0x1234] and line.units[7].answers == 1

    virtual_run(main())


WRONG_ANSWERS = {
    "too few registers": [RTU(7, b"\x03\x02\x00\x05")],
    "too many registers": [RTU(7, b"\x03\x06" + b"\x00\x05" * 3)],
    "wrong function": [RTU(7, b"\x04\x04\x00\x05\x12\x34")],
    "wrong unit": [RTU(8, b"\x03\x04\x00\x05\x12\x34")],
    "byte count lies": [RTU(7, b"\x03\x08\x00\x05\x12\x34")],
    "wrong checksum": [GOOD[:-1] + bytes([GOOD[-1] ^ 1])],
    "something follows": [GOOD, b"\x00"],
    "something precedes": [b"\x00", GOOD],
    "cut": [GOOD[:-3]],
    "an exception of another function": [RTU(7, b"\x84\x02")],
    "an exception with more behind it": [RTU(7, b"\x83\x02"), b"\x01"],
    "endless": [bytes(100)] * 400,
}


@pytest.mark.parametrize("how", WRONG_ANSWERS)
def test_contradicting_answers_are_never_data_and_the_line_goes_on(how: str) -> None:
    async def main() -> None:
        wrong = chunks(*WRONG_ANSWERS[how])
        line, far = line_to(lambda frame: wrong(frame) if len(far.sent) == 1 else chunks(GOOD)(frame))
        words = np.zeros(4, np.uint16)
        scan = await line.scan([TWO, Request(7, 3, 9, 2, 2)], words)
        assert scan.codes == [BROKEN, 0] and list(words) == [0, 0, 5, 0x1234]
        unit = line.units[7]
        assert (unit.broken + unit.contradicted, unit.answers) == (1, 1)
        assert len(line._got) <= 256

    virtual_run(main())


def test_after_a_time_out_the_line_is_drained_and_held_quiet() -> None:
    """The late answer would fit the next request; it comes after the time-out, and 100 ms of quiet follow it."""

    async def main() -> None:
        late = [(0.56, GOOD)]
        line, far = line_to(lambda frame: late if len(far.sent) == 1 else [(0.03, RTU(7, b"\x03\x04\x00\x01\x00\x02"))])
        began = asyncio.get_running_loop().time()
        words = np.zeros(2, np.uint16)
        codes = [(await line.scan([TWO], words)).codes[0] for _ in range(2)]
        assert codes == [ASKED, 0] and list(words) == [1, 2]
        assert far.sent[1][0] - began == pytest.approx(0.66) and (line.late, line.units[7].late) == (1, 1)

    virtual_run(main())


def test_whoever_stops_waiting_leaves_no_answer_for_the_next() -> None:
    async def main() -> None:
        line, far = line_to(lambda frame: [(0.08, GOOD)])
        words = np.zeros(2, np.uint16)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await line.scan([TWO], words)
        assert (await line.scan([TWO], words)).codes == [0]
        assert far.sent[1][0] - far.sent[0][0] == pytest.approx(0.08 + 35 / 9600) and line.late == 0

    virtual_run(main())


def test_between_frames_lie_3_5_characters() -> None:
    async def main() -> None:
        for url, gap in ((SLOW, 35 / 9600), ("rtu:///dev/ttyS9?baud=115200&parity=odd", 0.00175)):
            line, far = line_to(lambda frame: [(0.03, GOOD)], url)
            await line.scan([TWO, TWO], np.zeros(2, np.uint16))
            assert far.sent[1][0] - far.sent[0][0] == pytest.approx(0.03 + gap)

    virtual_run(main())


def test_writes_go_ahead_of_reads_and_are_confirmed_exactly() -> None:
    async def main() -> None:
        answers = [GOOD, RTU(7, bytes.fromhex("0600320007")), RTU(7, bytes.fromhex("8602")), GOOD, GOOD]
        line, far = line_to(lambda frame: [(0.03, answers[len(far.sent) - 1])])
        reading = asyncio.ensure_future(line.scan([TWO, TWO, TWO], np.zeros(2, np.uint16)))
        await asyncio.sleep(0.01)
        done = [line.write(7, bytes.fromhex("0600320007")), line.write(7, bytes.fromhex("0600320008"))]
        first, second = await asyncio.gather(*done, return_exceptions=True)
        assert first is None and isinstance(second, DeviceRefused)
        await reading
        assert [frame[1] for _, frame in far.sent] == [3, 6, 6, 3, 3]
        answers[:] = [b"", RTU(7, bytes.fromhex("0600320009"))]
        far.sent.clear()
        for error in (DeviceSilent, AnswerContradicts):
            with pytest.raises(error, match="may have been done"):
                await line.write(7, bytes.fromhex("0600320007"))

    virtual_run(main())


def test_ascii_with_its_own_end_and_checksum() -> None:
    async def main() -> None:
        good = Ascii().frame(7, b"\x03\x04\x00\x05\x12\x34")
        line, far = line_to(
            chunks(good[:5], good[5:], apart=0.5), "ascii:///dev/ttyS9?baud=1200&parity=even", timeout=1
        )
        words = np.zeros(2, np.uint16)
        assert (await line.scan([TWO], words)).codes == [0] and list(words) == [5, 0x1234]
        assert far.sent[0][1] == b":070300000002F4\r\n"
        line, far = line_to(chunks(good.replace(b"1", b"2", 1)), "ascii:///dev/ttyS9?baud=1200")
        assert (await line.scan([TWO], words)).codes == [BROKEN]

    virtual_run(main())


def test_frames_are_shown_to_a_tap() -> None:
    async def main() -> None:
        line, _ = line_to(chunks(GOOD[:3], GOOD[3:]))
        seen: list[tuple[str, bytes]] = []
        line.tap = lambda way, data: seen.append((way, data))
        await line.scan([TWO], np.zeros(2, np.uint16))
        assert seen == [("out", RTU(7, TWO.pdu)), ("in", GOOD[:3]), ("in", GOOD[3:])]

    virtual_run(main())


def config(url: str, tags: dict[str, Any] = TAGS, **more: Any) -> ModbusConfig:
    return ModbusConfig(driver="modbus", url=url, tags=tags, **{"every": "10ms", "timeout": "2s", "unit": 7} | more)


def driver(url: str, tags: dict[str, Any] = TAGS, **more: Any) -> tuple[Modbus, FakeSource]:
    conf = config(url, tags, **more)
    source = FakeSource("plc", list(conf.points()), SystemClock())
    return Modbus(conf, source), source


@pytest.fixture
def pair(tmp_path: Path, process: list[subprocess.Popen[str]]) -> Iterator[tuple[Path, Path]]:
    """The two ends of a serial line."""
    if not shutil.which("socat"):
        pytest.skip("socat is not installed (make system-packages)")
    ends = tmp_path / "near", tmp_path / "far"
    process.append(subprocess.Popen(["socat", *(f"pty,raw,echo=0,link={end}" for end in ends)], text=True))
    while not all(end.exists() for end in ends):
        assert process[-1].poll() is None, "socat ended"
        os.sched_yield()
    yield ends


async def reads_and_writes(url: str) -> None:
    reader, source = driver(url)

    async def write() -> None:
        while reader._client is None:
            await asyncio.sleep(0)
        await reader.write(Write(source.tags["out"].id, 7))
        await reader.write(Write(source.tags["lamp"].id, 1))

    task = asyncio.ensure_future(write())
    async with asyncio.timeout(120):
        await source.collect(reader, until=lambda: 7 in source.values("out") and 1 in source.values("lamp"))
        await task
    assert [source.values(t)[-1] for t in ("word", "pair", "bit", "coil", "entry")] == [10, 10 << 16 | 11, 1, 1, 1004]
    assert source.qualities("word")[-1] == 0


def test_against_libmodbus_on_a_line(
    libmodbus: Path, pair: tuple[Path, Path], process: list[subprocess.Popen[str]]
) -> None:
    server = subprocess.Popen([libmodbus, pair[1]], stdout=subprocess.PIPE, text=True)
    process.append(server)
    assert server.stdout is not None and server.stdout.readline() == "0\n"
    asyncio.run(reads_and_writes(f"rtu://{pair[0]}?baud=9600"))


def filled(url: str) -> ModbusSim:
    sim = ModbusSim("plc", config(url))
    for tag, value in {"pair": 10 << 16 | 11, "bit": 1, "coil": 1, "entry": 1004}.items():
        sim.set(tag, value)
    return sim


@pytest.mark.parametrize("scheme", ["rtu", "ascii"])
def test_a_simulated_line_that_is_made_for_it(tmp_path: Path, scheme: str) -> None:
    async def main() -> None:
        url = f"{scheme}://{tmp_path}/line?baud=115200&parity=even"
        sim = filled(url)
        await sim.start()
        try:
            await reads_and_writes(url)
            assert sim.get("out") == 7
        finally:
            await sim.stop()
        assert not (tmp_path / "line").is_symlink()

    asyncio.run(main())


def test_our_line_simulator_against_mbpoll(pair: tuple[Path, Path]) -> None:
    if not shutil.which("mbpoll"):
        pytest.skip("mbpoll is not installed (make system-packages)")

    async def main() -> None:
        sim = filled(f"rtu://{pair[1]}?baud=9600")
        await sim.start()
        try:
            words = ["-m", "rtu", "-b", "9600", "-P", "none", "-a", "7", "-r", "10", "-c", "2", "-0", "-1", "-t", "4"]
            asked = await asyncio.create_subprocess_exec("mbpoll", *words, str(pair[0]), stdout=subprocess.PIPE)
            said, _ = await asked.communicate()
            assert b"[10]: \t10" in said and b"[11]: \t11" in said
        finally:
            await sim.stop()

    asyncio.run(main())


def test_rtu_through_a_gateway_both_ways() -> None:
    """Our client reads our simulator, and pymodbus reads it too."""
    from pymodbus import FramerType
    from pymodbus.client import AsyncModbusTcpClient

    async def main() -> None:
        sim = filled("rtu+tcp://127.0.0.1:1")
        sim.port = 0
        await sim.start()
        client = AsyncModbusTcpClient("127.0.0.1", port=sim.port, framer=FramerType.RTU)
        try:
            await reads_and_writes(f"rtu+tcp://127.0.0.1:{sim.port}")
            await client.connect()
            assert (await client.read_holding_registers(10, count=2, device_id=7)).registers == [10, 11]
        finally:
            client.close()
            await sim.stop()

    asyncio.run(main())


def test_a_port_that_is_pulled_held_or_not_there_is_said(
    pair: tuple[Path, Path], process: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    async def main() -> None:
        where = parse_url(f"rtu://{pair[0]}?baud=9600")
        line = await Line.connect(where, SystemClock(), Units(5.0, 1.0), 0.1)
        with pytest.raises(DeviceLost, match="held by another program"):
            await Line.connect(where, SystemClock(), Units(5.0, 1.0), 0.1)
        asking = asyncio.ensure_future(line.scan([TWO], np.zeros(2, np.uint16)))
        await asyncio.sleep(0)
        process[0].kill()
        with pytest.raises(DeviceLost, match="the serial port is gone"):
            await asking
        with pytest.raises(DeviceLost, match="plugged in"):
            await Line.connect(parse_url(f"rtu://{tmp_path}/none?baud=9600"), SystemClock(), Units(5.0, 1.0), 0.1)
        with pytest.raises(DeviceLost, match="no serial port"):
            await Line.connect(parse_url(f"rtu://{__file__}?baud=9600"), SystemClock(), Units(5.0, 1.0), 0.1)

    asyncio.run(main())


def test_what_a_line_garbles_is_bad_and_counted(tmp_path: Path) -> None:
    """The driver: a broken answer costs its own tags their value, and nobody the line."""

    async def main() -> None:
        units = {f"m{k}": {"unit": k, "tags": {"a": {"address": "holding:0"}}} for k in (1, 2)}
        conf = config(f"rtu://{tmp_path}/line?baud=115200", {}, units=units)
        sim = ModbusSim("line", conf)
        sim.answer = lambda unit, pdu: b"\x03\x04" + struct.pack(">HH", 1, 2) if unit == 1 else b"\x03\x02\x00\x09"  # type: ignore[method-assign]
        await sim.start()
        try:
            source = FakeSource("line", list(conf.points()), SystemClock())
            async with asyncio.timeout(120):
                await source.collect(Modbus(conf, source), until=lambda: len(source.batches) >= 3)
        finally:
            await sim.stop()
        assert set(source.qualities("m1.a")) == {Quality.BAD} and np.isnan(source.values("m1.a")).all()
        assert set(source.values("m2.a")) == {9} and source.counts["broken"] >= 3

    asyncio.run(main())


def test_a_silent_unit_is_tried_less_and_less_for_a_share_of_the_period() -> None:
    units, now = Units(timeout=2.0, period=1.0, hold=0.08), 100.0
    assert units.limit(7) == 2.0 and units.limit(7, hurried=True) == 2.0, "whoever was never asked may be slow"
    units.answered(7, now, 0.09, 0)
    assert units.limit(7) == 2.0 and units.limit(7, hurried=True) == 0.18
    waits, limits = [], []
    for _ in range(9):
        units.missed(7, now)
        waits.append(units[7].due - now)
        limits.append(units.limit(7))
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST, LONGEST, LONGEST]
    assert limits == [0.18] * 9
    assert units.out(7) and units[7].timeouts == 9
    units.answered(7, now, 0.03, 0)
    assert not units.out(7) and units.limit(7) == 2.0
    units.answered(7, now, 1.0, 11)
    assert units[7].misses == 1, "a gateway that says that nobody answers behind it"
    limits = [units.limit(8) for _ in range(9) if units.missed(8, now) is None]
    assert limits == pytest.approx([0.1] * 7 + [2.0, 0.1]), "one that never answered may be slower than that"


BUS = {f"m{k}": {"unit": k, "tags": {"a": {"address": "holding:0"}}} for k in range(1, 33)}


def on_a_bus(answer: Callable[[bytes], list[tuple[float, bytes]]], conf: ModbusConfig) -> tuple[Modbus, FakeSource]:
    """The driver on a line in virtual time."""
    source = FakeSource("line", list(conf.points()))
    reader = Modbus(conf, source)

    async def connect() -> None:
        if conf.where.numbered:
            reader._client = Client(source.clock, reader.units)
        else:
            reader._client = Line(conf.where, source.clock, reader.units, conf.turnaround)
        Far(reader._client, answer)

    reader.connect = connect  # type: ignore[method-assign]
    return reader, source


def test_one_dead_unit_among_32_leaves_the_others_their_period() -> None:
    """In virtual time: after its first time-out no other unit waits longer than 1.2 periods, and after its return it is back."""
    dead: set[int] = set()
    asked: list[float] = []

    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        if frame[0] in dead:
            asked.append(asyncio.get_running_loop().time())
            return []
        return [(8 * 10 / 19200 + 0.015, RTU(frame[0], b"\x03\x02\x00" + frame[:1]))]

    async def main() -> None:
        conf = config("rtu:///dev/ttyS9?baud=19200", {}, units=BUS, every="1s", timeout="1s")
        reader, source = on_a_bus(answer, conf)
        await source.collect(reader, until=lambda: len(source.batches) == 3)
        dead.add(13)
        await source.collect(reader, seconds=300)
        died = source.batches[3].ts[0]
        for k in range(1, 33):
            mine = [(int(b.ts[0]), q) for b in split(source, f"m{k}.a") for q in b.quality.tolist()]
            if k == 13:
                assert {q for _, q in mine[3:]} == {Quality.TIMEOUT}
                continue
            times = [ts for ts, q in mine if q == Quality.GOOD and ts > died + 2 * 10**9]
            assert len(times) >= 290 and max(np.diff(times)) <= 1.2e9
        assert len(asked) <= 14
        dead.clear()
        await source.collect(reader, until=lambda: 13 in source.values("m13.a"))
        assert source.counts["overruns"] <= 2

    virtual_run(main())


def split(source: FakeSource, tag: str) -> list[Any]:
    return [part for b in source.batches if len(part := b.where(b.tag == source.tags[tag].id))]


def test_a_dead_line_is_lost_and_found_again() -> None:
    """Where nobody answers it is the line: it is opened anew, and whoever is there answers at once."""
    dead = set(range(1, 33))

    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        return [] if frame[0] in dead else [(0.02, RTU(frame[0], b"\x03\x02\x00" + frame[:1]))]

    async def main() -> None:
        reader, source = on_a_bus(answer, config("rtu:///dev/ttyS9?baud=19200", {}, units=BUS, every="1s"))
        with pytest.raises(DeviceLost, match="3 times in a row"):
            await source.collect(reader, until=lambda: False)
        dead.clear()
        dead.add(5)
        source.batches.clear()
        await source.collect(reader, until=lambda: source.values("m1.a")[-1:] == [1.0])
        assert source.values("m32.a")[0] == 32 and source.qualities("m5.a")[0] == Quality.TIMEOUT

    virtual_run(main())


def test_dead_units_at_the_front_hide_none_of_the_living() -> None:
    """Nobody answers the first of them, again and again; in the end the living are heard and stay so."""

    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        return [] if frame[0] <= 20 else [(0.02, RTU(frame[0], b"\x03\x02\x00" + frame[:1]))]

    async def main() -> None:
        reader, source = on_a_bus(answer, config("rtu:///dev/ttyS9?baud=19200", {}, units=BUS, every="1s"))
        while source.values("m32.a")[-3:] != [32.0] * 3:
            with contextlib.suppress(DeviceLost):
                await source.collect(reader, until=lambda: source.values("m32.a")[-3:] == [32.0] * 3)
        assert asyncio.get_running_loop().time() < 1000 + 120
        assert set(source.qualities("m1.a")) == {Quality.TIMEOUT}

    virtual_run(main())


@pytest.mark.parametrize("far", ["tcp", "line"])
def test_a_dead_bus_is_known_after_two_time_outs(far: str) -> None:
    async def main() -> None:
        units, loop = Units(timeout=2.0, period=1.0), asyncio.get_running_loop()
        bus = Client(VirtualClock(), units) if far == "tcp" else Line(parse_url(SLOW), VirtualClock(), units, 0.1)
        Far(bus, lambda frame: [])
        began = loop.time()
        scan = await bus.scan([Request(k, 3, 0, 1, 0) for k in range(1, 33)], np.zeros(1, np.uint16))
        assert scan.codes == [ASKED] * 2 + [WAITED] * 30 and loop.time() - began <= 4.3
        assert [units[k].misses for k in (1, 2, 3)] == [1, 1, 0]

    virtual_run(main())


def test_an_echo_of_the_adapter_is_said_and_no_data(caplog: pytest.LogCaptureFixture) -> None:
    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        return [(0.01, frame), (0.03, RTU(frame[0], b"\x03\x02\x00\x05"))]

    async def main() -> None:
        reader, source = on_a_bus(answer, config(SLOW, {"a": {"address": "holding:0"}}, every="1s"))
        await source.collect(reader, seconds=3.5)
        assert set(source.qualities("a")) == {Quality.BAD} and source.counts["broken"] >= 3

    virtual_run(main())
    assert [r.message for r in caplog.records if "sends back" in r.message] == [
        "line: unit 7: the adapter sends back what it is sent: switch that off, or write `echo=strip` into the url of the line; "
        "such answers are no data"
    ]


def test_units_with_periods_of_their_own_share_the_line() -> None:
    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        return [(0.02, RTU(frame[0], b"\x03\x02\x00" + frame[:1]))]

    async def main() -> None:
        units = {"fast": BUS["m1"] | {"every": "200ms"}, "slow": BUS["m2"], "other": BUS["m3"] | {"every": "5s"}}
        conf = config("rtu:///dev/ttyS9?baud=19200", {}, units=units, every="1s")
        assert [conf.period_of(tag) for tag in conf.points()] == [0.2, 1.0, 5.0]
        reader, source = on_a_bus(answer, conf)
        await source.collect(reader, seconds=59.99)
        assert [len(source.values(f"{name}.a")) for name in units] == [300, 60, 12]
        grid = np.diff([int(b.ts[0]) for b in split(source, "fast.a")])
        assert abs(grid - 0.2e9).max() < 0.05e9 and not source.counts["overruns"]

    virtual_run(main())


def test_as_many_requests_at_once_as_make_scans_faster() -> None:
    def climb(took: dict[int, float], most: int = 100) -> int:
        window = Window()
        for _ in range(200):
            assert not window.scan(took.get(window.size, 1.0), most, whole=True)
        return window.size

    assert climb({1: 8.0, 2: 4.0, 4: 2.5, 8: 2.4}) == 4, "8 are no gain"
    assert climb({1: 8.0, 2: 4.0, 4: 2.0, 8: 1.2, 16: 1.0}) == 16
    assert climb({1: 8.0, 2: 4.0, 4: 2.0}, most=3) == 4 and climb({}, most=1) == 1
    window = Window()
    window.size = 8
    assert [window.scan(1.0, 100, whole=False) for _ in range(4)] == [True, True, True, False] and window.size == 1
    assert climb({1: 8.0, 2: 9.0}) == 1


def test_a_device_that_drops_what_comes_together_loses_no_sample() -> None:
    """The first of what comes in one packet is answered, as by some servers; scans go back to one request at a time."""

    class Dropping(Device):
        def data_received(self, data: bytes) -> None:
            seen.append(len(data) // 12)
            super().data_received(data[:12])

    seen: list[int] = []

    async def main() -> None:
        tags = {f"r{i}": {"address": f"holding:{200 * i}"} for i in range(4)}
        sim = ModbusSim("plc", config("tcp://127.0.0.1:1", tags))
        sim._device = lambda: Dropping(sim.answer, sim._connected)  # type: ignore[method-assign]
        sim.port = 0
        await sim.start()
        try:
            reader, source = driver(f"tcp://127.0.0.1:{sim.port}", tags, in_flight="auto", timeout="200ms")
            async with asyncio.timeout(120):
                await source.collect(reader, until=lambda: source.counts["overloads"] > 0 and len(source.batches) > 30)
        finally:
            await sim.stop()
        assert max(seen) == 2 and seen[-1] == 1
        assert all(set(source.qualities(tag)) == {Quality.GOOD} for tag in tags)

    asyncio.run(main())


def test_a_silent_unit_behind_a_gateway_is_given_up_in_its_own_time() -> None:
    """In virtual time: its short limit holds though a request with a long one left before it; a late answer brings it back."""

    async def main() -> None:
        units = Units(timeout=2.0, period=1.0)
        client = Client(VirtualClock(), units, in_flight=2)
        loop = asyncio.get_running_loop()

        def answer(frame: bytes) -> list[tuple[float, bytes]]:
            out = []
            for k in range(0, len(frame), 12):
                unit = frame[k + 6]
                later = {1: 1.0, 2: 0.5}[unit]
                out.append((later, frame[k : k + 4] + bytes([0, 5, unit, 3, 2, 0, unit])))
            return out

        Far(client, answer)
        for _ in range(2):
            units.missed(2, loop.time())
        words, began = np.zeros(2, np.uint16), loop.time()
        slow = asyncio.ensure_future(client.scan([Request(1, 3, 0, 1, 0)], words))
        await asyncio.sleep(0)
        scan = await client.scan([Request(2, 3, 0, 1, 1)], words)
        assert scan.codes == [ASKED] and loop.time() - began == pytest.approx(0.18)
        assert (await slow).codes == [0] and list(words) == [1, 0]
        assert client.late == 1 and units[2].misses == 0 and not units.out(2)
        assert (await client.scan([Request(2, 3, 0, 1, 1)], words)).codes == [0]

    virtual_run(main())
