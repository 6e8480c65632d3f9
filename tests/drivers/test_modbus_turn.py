"""One turn on a line: what comes and is no answer, answers nobody waits for any more, echoes, and whose turn is next."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.modbus import reach
from drivers.modbus.busdoctor import findings
from drivers.modbus.client import Client
from drivers.modbus.exchanges import exchanges
from drivers.modbus.line import Line
from drivers.modbus.line_frames import Ascii, Rtu
from drivers.modbus.line_units import Units
from drivers.modbus.line_url import parse_url
from drivers.modbus.plan import Request
from drivers.modbus.scans import ASKED, BROKEN
from edge import (
    AnswerContradicts,
    DeviceLost,
    DeviceRefused,
    DeviceSilent,
    LinesideError,
    Quality,
    SystemClock,
    WireFrame,
    Write,
)
from edge.testing import VirtualClock, virtual_run
from tests.drivers.test_modbus_line import BUS, GOOD, RTU, SLOW, TWO, Far, check, config, line_to, on_a_bus, split

STRIP = SLOW + "&echo=strip"
SIX = bytes.fromhex("0600320007")


def its_own(frame: bytes) -> bytes:
    """The right answer of a device whose registers hold their own address."""
    start, count = int.from_bytes(frame[2:4]), int.from_bytes(frame[4:6])
    values = b"".join((start + k).to_bytes(2) for k in range(count))
    return RTU(frame[0], bytes([frame[1], len(values)]) + values)


def test_a_glitch_before_the_answer_does_not_shift_the_answers() -> None:
    """A byte of noise as the adapter turns round, then the answer after longer than the line is held quiet: it is taken for what
    it is, not for the answer to the next request, which has its form."""

    async def main() -> None:
        line, far = line_to(lambda frame: [*([(0.01, b"\x00")] if len(far.sent) == 1 else []), (0.2, its_own(frame))])
        words = np.zeros(4, np.uint16)
        scan = await line.scan([Request(7, 3, 10, 2, 0), Request(7, 3, 50, 2, 2)], words)
        assert scan.codes == [0, 0] and list(words) == [10, 11, 50, 51]
        assert (line.units[7].answers, line.units[7].broken) == (2, 1)

    virtual_run(main())


def test_a_late_answer_of_another_unit_costs_nobody_a_value() -> None:
    async def main() -> None:
        line, _ = line_to(lambda frame: [(0.01, RTU(8, b"\x03\x04\x00\x01\x00\x02")), (0.1, its_own(frame))])
        words = np.zeros(2, np.uint16)
        assert (await line.scan([TWO], words)).codes == [0] and list(words) == [0, 1]

    virtual_run(main())


def test_a_unit_that_never_sends_a_whole_answer_leaves_the_others_their_period() -> None:
    """Its adapter cuts the end off each of its answers: BAD, asked less and less, and back as soon as they are whole."""
    cut = {3}

    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        whole = its_own(frame)
        return [(0.02, whole[:-1] if frame[0] in cut else whole)]

    async def main() -> None:
        units = {name: BUS[name] for name in list(BUS)[:8]}
        reader, source = on_a_bus(answer, config("rtu:///dev/ttyS9?baud=19200", {}, units=units, every="1s"))
        await source.collect(reader, seconds=120)
        assert set(source.qualities("m3.a")) == {Quality.BAD}
        for name in units.keys() - {"m3"}:
            times = [int(b.ts[0]) for b in split(source, f"{name}.a")]
            assert len(times) >= 110 and max(np.diff(times)[5:]) <= 1.2e9
        cut.clear()
        await source.collect(reader, until=lambda: Quality.GOOD in source.qualities("m3.a"))

    virtual_run(main())


def test_the_line_is_taken_until_the_answer_though_nobody_waits_for_it() -> None:
    """Whoever gave up early leaves no answer that the next request, of the same form, could take for its own."""

    async def main() -> None:
        line, far = line_to(lambda frame: [(0.3, its_own(frame))])
        words = np.zeros(2, np.uint16)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await line.scan([Request(7, 3, 10, 2, 0)], np.zeros(2, np.uint16))
        assert (await line.scan([Request(7, 3, 50, 2, 0)], words)).codes == [0] and list(words) == [50, 51]
        assert far.sent[1][0] - far.sent[0][0] >= 0.3 and line.late == 0

    virtual_run(main())


def test_a_line_that_is_opened_anew_waits_for_what_its_last_master_asked() -> None:
    """As when the site is exchanged in the middle of a request: the gateway hands the answer to whoever is connected."""
    asked: list[bytes] = []
    connected: list[asyncio.StreamWriter] = []

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        with contextlib.suppress(ConnectionError):
            while frame := await reader.read(64):
                asked.append(frame)
                if len(asked) > 1:
                    connected[-1].write(its_own(frame))

    async def main() -> None:
        server = await asyncio.start_server(gateway, "127.0.0.1", 0)
        where = parse_url(f"rtu+tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        line = await Line.connect(where, SystemClock(), Units(0.3, 1.0), 0.1)
        first = asyncio.ensure_future(line.scan([Request(7, 3, 10, 2, 0)], np.zeros(2, np.uint16)))
        while not asked:
            await asyncio.sleep(0)
        first.cancel()
        line.close()
        line = await Line.connect(where, SystemClock(), Units(0.3, 1.0), 0.1)
        words = np.zeros(2, np.uint16)
        second = asyncio.ensure_future(line.scan([Request(7, 3, 50, 2, 0)], words))
        while len(connected) < 2:
            await asyncio.sleep(0)
        connected[-1].write(its_own(asked[0]))
        assert (await second).codes == [0] and list(words) == [50, 51] and len(asked) == 2
        line.close()
        server.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def echoing(
    answer: Callable[[bytes], bytes | None], later: float = 0.05
) -> Callable[[bytes], list[tuple[float, bytes]]]:
    """A line whose adapter hears itself."""

    def both(frame: bytes) -> list[tuple[float, bytes]]:
        said = answer(frame)
        return [(0.002, frame), *([(later, said)] if said else [])]

    return both


def as_a_device(frame: bytes) -> bytes:
    return frame if frame[1] in (5, 6) else its_own(frame)


@pytest.mark.parametrize("later", [0.0021, 0.01, 0.2])
def test_an_echo_is_stripped_where_the_url_says_so(later: float) -> None:
    async def main() -> None:
        line, _ = line_to(echoing(as_a_device, later), STRIP)
        words = np.zeros(4, np.uint16)
        scan = await line.scan([Request(7, 3, 10, 2, 0), Request(7, 3, 50, 2, 2)], words)
        assert scan.codes == [0, 0] and list(words) == [10, 11, 50, 51]
        await line.write(7, SIX)
        assert line.units[7].broken + line.units[7].contradicted == 0 and not line.units.echoes
        line, _ = line_to(echoing(lambda frame: None), STRIP)
        with pytest.raises(DeviceSilent):
            await line.write(7, SIX)
        assert (await line.scan([TWO], words)).codes == [ASKED]

    virtual_run(main())


@pytest.mark.parametrize("later", [0.0021, 0.01, 0.2])
def test_an_echo_is_never_an_answer_and_is_said(later: float) -> None:
    async def main() -> None:
        for device in (as_a_device, lambda frame: None):
            line, _ = line_to(echoing(device, later))
            scan = await line.scan([TWO], np.zeros(2, np.uint16))
            assert scan.codes == [BROKEN] and "echo=strip" in scan.why and line.units.echoes
            with pytest.raises(AnswerContradicts, match=r"sends back what it is sent.*may have been done"):
                await line.write(7, SIX)

    virtual_run(main())


def test_a_write_is_not_confirmed_by_its_own_echo() -> None:
    """The first that is done on this line, to a device that is dead; one read before it shows whether the line echoes."""

    async def main() -> None:
        line, far = line_to(echoing(lambda frame: None))
        with pytest.raises(AnswerContradicts, match="sends back"):
            await line.write(7, SIX)
        assert [frame[1] for _, frame in far.sent] == [3, 6]
        line, far = line_to(lambda frame: [(0.03, RTU(7, b"\x83\x02") if frame[1] == 3 else frame)])
        await line.write(7, SIX)
        await line.write(7, SIX)
        assert [frame[1] for _, frame in far.sent] == [3, 6, 6], "a refusal shows it too, once for all"
        line, far = line_to(echoing(lambda frame: None))
        reading = asyncio.ensure_future(line.scan([TWO], np.zeros(2, np.uint16)))
        await asyncio.sleep(0)
        with pytest.raises(AnswerContradicts, match="sends back"):
            await line.write(7, bytes.fromhex("05000aff00"))
        assert (await reading).codes == [BROKEN] and [frame[1] for _, frame in far.sent] == [3, 5]

    virtual_run(main())


def test_coils_whose_answer_could_be_the_request_itself() -> None:
    """18 coils from 0x0300: the request has the form of their answer, to the last byte."""
    coils = Request(7, 1, 0x0300, 18, 0)

    async def main() -> None:
        line, _ = line_to(echoing(lambda frame: None))
        words = np.zeros(20, np.uint16)
        assert (await line.scan([coils], words)).codes == [BROKEN] and not words.any()
        line, _ = line_to(lambda frame: [(0.03, GOOD if frame[1] == 3 else frame)])
        assert (await line.scan([TWO, Request(7, 1, 0x0300, 18, 2)], words)).codes == [0, 0] and words.any()

    virtual_run(main())


def test_echo_strip_without_an_echo_is_said() -> None:
    async def main() -> None:
        line, _ = line_to(lambda frame: [(0.03, as_a_device(frame))], STRIP)
        scan = await line.scan([TWO], np.zeros(2, np.uint16))
        assert scan.codes == [BROKEN] and "take `echo=strip` out" in scan.why
        with pytest.raises(DeviceSilent):
            await line.write(7, SIX)

    virtual_run(main())


def test_an_ascii_line_has_its_echo_stripped_too() -> None:
    async def main() -> None:
        good = Ascii().frame(7, b"\x03\x04\x00\x05\x12\x34")
        line, _ = line_to(echoing(lambda frame: good), "ascii:///dev/ttyS9?baud=9600&echo=strip")
        words = np.zeros(2, np.uint16)
        assert (await line.scan([TWO], words)).codes == [0] and list(words) == [5, 0x1234]

    virtual_run(main())


def test_the_echo_in_an_address_and_in_a_recording() -> None:
    assert str(parse_url(STRIP)) == "rtu:///dev/ttyS9?baud=9600&parity=none&stop=1&echo=strip"
    with pytest.raises(ValueError, match="echo=on is none of strip"):
        parse_url(SLOW + "&echo=on")
    read, write, left_out = RTU(7, TWO.pdu), RTU(7, SIX), Counter[str]()
    frames = [(0, "out", read), (1, "in", read), (2, "in", GOOD), (3, "out", write), (4, "in", write), (5, "in", write)]
    frames += [(6, "out", read), (7, "in", read), (8, "out", write), (9, "in", write)]
    found = exchanges("rtu", [WireFrame(*frame) for frame in frames], left_out)
    assert [e.answer for e in found] == [Rtu().open(GOOD)[1], SIX, None, SIX] and not +left_out


def test_the_doctor_names_the_echo() -> None:
    report = Units(1.0, 1.0)[7].report() | {"contradicted": 30}
    *_, (state, who, how, todo) = findings("line", {7: report}, True, parse_url(SLOW).echoes)
    assert (state, who) == ("bad", "line") and "sends back what it is sent" in how and "echo=strip" in todo


def test_the_tools_say_that_the_adapter_echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        line, _ = line_to(echoing(lambda frame: None))

        async def opened(config: Any) -> Line:
            return line

        monkeypatch.setattr(reach, "opened", opened)
        with pytest.raises(LinesideError, match=r"dev/ttyS9.*sends back what it is sent.*echo=strip"):
            await reach.Direct(reach.of_url(SLOW), 0.5).read(7, reach.Address("holding", 0), 1)

    virtual_run(main())


def test_slow_units_are_found_behind_a_dead_one() -> None:
    """Each needs 0.3 s, and the first is dead: asked for the first time, each has the whole time-out, and nobody goes missing."""

    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        return [] if frame[0] == 1 else [(0.3, its_own(frame))]

    async def main() -> None:
        units = {name: BUS[name] for name in list(BUS)[:4]}
        reader, source = on_a_bus(answer, config("rtu:///dev/ttyS9?baud=19200", {}, units=units, every="2s"))
        await source.collect(reader, seconds=60)
        for name in ("m2", "m3", "m4"):
            assert set(source.qualities(f"{name}.a")) == {Quality.GOOD}

    virtual_run(main())


@pytest.mark.parametrize("far", ["line", "tcp"])
def test_many_dead_units_do_not_hold_up_the_first_values(far: str) -> None:
    """Every second of 24 is dead: after two time-outs the living so far have their values, and the others theirs soon."""

    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        if far == "line":
            return [] if frame[0] % 2 else [(0.02, its_own(frame))]
        return [] if frame[6] % 2 else [(0.02, frame[:4] + bytes([0, 5, frame[6], 3, 2, 0, 0]))]

    async def main() -> None:
        units = {name: BUS[name] for name in list(BUS)[:24]}
        url = "rtu:///dev/ttyS9?baud=19200" if far == "line" else "tcp://10.0.0.7"
        reader, source = on_a_bus(answer, config(url, {}, units=units, every="1s"))
        began = asyncio.get_running_loop().time()
        await source.collect(reader, until=lambda: source.values("m2.a"))
        assert asyncio.get_running_loop().time() - began < 5
        await source.collect(reader, until=lambda: source.values("m24.a"))
        assert asyncio.get_running_loop().time() - began < 40
        for k in range(2, 25, 2):
            assert set(source.qualities(f"m{k}.a")) == {Quality.GOOD}
        assert not source.counts["exception"] and set(source.qualities("m1.a")) == {Quality.TIMEOUT}

    virtual_run(main())


def test_a_look_at_a_bus_passes_dead_units_at_its_front() -> None:
    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        return [] if frame[0] < 4 else [(0.02, its_own(frame))]

    async def main() -> None:
        units = {name: BUS[name] for name in list(BUS)[:6]}
        reader, _ = on_a_bus(answer, config(SLOW, {}, units=units, every="1s"))
        said = await reader.probe()
        assert [line.split("(")[1] for line in said] == ["TIMEOUT)"] * 3 + ["GOOD)"] * 3

    virtual_run(main())


def test_a_look_at_a_device_waits_for_a_connection_as_long_as_the_driver_does() -> None:
    async def main() -> None:
        reader, _ = on_a_bus(lambda frame: [], config(SLOW, {"a": {"address": "holding:0"}}))
        reader.connect = asyncio.get_running_loop().create_future  # type: ignore[assignment,method-assign]
        with pytest.raises(DeviceLost, match="no connection in time"):
            await reader.probe()

    virtual_run(main())


def test_a_late_answer_tells_how_long_its_unit_takes() -> None:
    async def main() -> None:
        line, _ = line_to(lambda frame: [(0.25, its_own(frame))])
        line.units.missed(7, 0.0)
        assert (await line.scan([TWO], np.zeros(2, np.uint16))).codes == [ASKED]
        assert (await line.scan([TWO], np.zeros(2, np.uint16))).codes == [0]

    virtual_run(main())


@pytest.mark.parametrize("far", ["tcp", "line"])
def test_a_write_that_waited_for_a_silent_unit_has_its_own_time(far: str) -> None:
    async def main() -> None:
        if far == "tcp":
            bus: Client | Line = Client(VirtualClock(), Units(0.5, 1.0))

            def answer(frame: bytes) -> list[tuple[float, bytes]]:
                return [] if frame[6] == 1 else [(0.3, frame)]
        else:
            bus = Line(parse_url(SLOW), VirtualClock(), Units(0.5, 1.0), 0.1)
            bus._plain = True

            def answer(frame: bytes) -> list[tuple[float, bytes]]:
                return [] if frame[0] == 1 else [(0.3, frame)]

        Far(bus, answer)
        reading = asyncio.ensure_future(bus.scan([Request(1, 3, 0, 1, 0)], np.zeros(1, np.uint16)))
        await asyncio.sleep(0)
        await bus.write(7, SIX)
        assert (await reading).codes == [ASKED]
        with pytest.raises(DeviceSilent, match="unit 1 does not answer; the write may have been done"):
            await bus.write(1, SIX)

    virtual_run(main())


def test_a_value_is_read_back_ahead_of_a_long_scan() -> None:
    """A scan of the whole line takes longer than a time-out; what was written is read back in the middle of it."""

    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        return [(0.1, as_a_device(frame))]

    async def main() -> None:
        tag = {"address": "holding:50", "writable": {"range": [0, 9999], "readback": True}}
        units = BUS | {"m1": {"unit": 1, "tags": {"a": tag}}}
        conf = config("rtu:///dev/ttyS9?baud=19200", {}, units=units, every="10s", timeout="500ms")
        reader, source = on_a_bus(answer, conf)
        reading = asyncio.ensure_future(source.collect(reader, until=lambda: len(source.batches) == 1))
        while reader._client is None or len(reader._client._reads) > 28:  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        await reader.write(Write(source.tags["m1.a"].id, 50))
        assert await reader.read(source.tags["m1.a"].id) == 50
        assert len(reader._client._reads) > 20  # type: ignore[union-attr]
        await reading

    virtual_run(main())


@pytest.mark.parametrize("code", [10, 11])
def test_a_unit_that_its_gateway_misses_is_asked_once_in_a_scan(code: int) -> None:
    async def main() -> None:
        three = [Request(7, 3, at, 2, at) for at in (0, 2, 4)]
        line, far = line_to(lambda frame: [(0.3, RTU(7, bytes([0x83, code])))])
        assert (await line.scan(three, np.zeros(6, np.uint16))).codes == [code] * 3
        assert len(far.sent) == 1 and line.units[7].misses == 1
        client = Client(VirtualClock(), Units(2.0, 1.0))
        far = Far(client, lambda frame: [(0.3, frame[:4] + bytes([0, 3, 7, 0x83, code]))])
        assert (await client.scan(three, np.zeros(6, np.uint16))).codes == [code] * 3
        assert len(far.sent) == 1 and client.units[7].misses == 1

    virtual_run(main())


def test_a_device_that_is_not_done_yet_did_not_refuse() -> None:
    async def main() -> None:
        line, _ = line_to(lambda frame: [(0.03, RTU(7, bytes([frame[1] | 0x80, 5])))])
        with pytest.raises(DeviceRefused, match="not done with it"):
            await line.write(7, SIX)

    virtual_run(main())


def test_a_tool_waits_for_a_connection_no_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(reach, "open_bus", never)
    with pytest.raises(DeviceLost, match=r"no connection to tcp://10.0.0.7:502 within 5 s"):
        virtual_run(reach.opened(reach.of_url("tcp://10.0.0.7")))


def test_the_unit_of_the_connection_is_no_second_entry(tmp_path: Path) -> None:
    tag = 'tags: {a: {address: "holding:1"}}'
    said = check(tmp_path, plc=f'url: "tcp://10.0.0.7", unit: 3, {tag}, units: {{m: {{unit: 3, {tag}}}}}')
    assert len(said) == 1 and "unit 3 is the connection's own `unit` already" in said[0]
    assert not check(tmp_path, plc=f'url: "tcp://10.0.0.7", units: {{m: {{unit: 1, {tag}}}}}')


def test_what_a_gateway_held_back_does_not_shift_the_answers() -> None:
    """A cut network: the gateway gets three requests at once when it is back, and the device answers each of them."""
    held: list[bytes] = []

    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        held.append(frame)
        if len(held) < 3:
            return []
        out = (
            [(0.05 * (k + 1), its_own(f)) for k, f in enumerate(held[:3])]
            if len(held) == 3
            else [(0.2, its_own(frame))]
        )
        return out

    async def main() -> None:
        line, _ = line_to(answer)
        words = np.zeros(4, np.uint16)
        pair = [Request(7, 3, 10, 2, 0), Request(7, 3, 50, 2, 2)]
        codes = []
        for _ in range(3):
            codes.append((await line.scan(pair, words)).codes)
            await asyncio.sleep(0.6)
        assert codes == [[ASKED, ASKED], [ASKED, ASKED], [0, 0]] and list(words) == [10, 11, 50, 51]

    virtual_run(main())
