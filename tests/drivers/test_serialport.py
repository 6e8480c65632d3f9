"""Instruments on serial lines: frames cut strictly, and a real line made by socat."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.serialport.driver import Serial
from drivers.serialport.fields import number, order, template
from drivers.serialport.framing import Checksum, Framer, Framing, crc16
from drivers.serialport.line import Line
from drivers.serialport.options import SerialConfig
from drivers.serialport.sim import SerialSim
from edge import DeviceLost, DeviceRefused, DeviceSilent, LinesideError, Quality, SystemClock, Write, WriteRefused
from edge.bench.process import free_port, wait_for
from edge.config.load import load_text
from edge.testing import FakeSource
from tests.waiting import run, until

SCALE: dict[str, Any] = {
    "ask": "SI\\r\\n",
    "match": r"ST,GS,(?P<weight>[+-][\d.]+)kg",
    "example": "ST,GS,{weight:+08.2f}kg",
    "tags": {
        "weight": {},
        "tare": {"write": r"T{value:06.2f}\r\n", "confirm": "OK", "writable": {"range": [0, 100]}},
    },
}


def config(url: str, **options: Any) -> SerialConfig:
    merged = {"every": "20ms", "timeout": "2s", **options}
    found = SerialConfig(driver="serialport", url=url, **merged)
    assert list(found.faults()) == []
    return found


# Frames


def cut(how: dict[str, Any], data: bytes, check: dict[str, Any] | None = None) -> tuple[list[bytes], dict[str, int]]:
    framer = Framer(Framing(**how), Checksum(**check) if check else None)
    return framer.feed(data), {cause: n for cause, n in framer.counts.items() if n}


@pytest.mark.parametrize(
    ("how", "data", "frames", "lost"),
    [
        ({}, b"one\r\ntwo\n\r\n\nthr", [b"one", b"two"], 0),
        ({"delimiter": "\\x03"}, b"a\r\n\x03b\x03\x03", [b"a\r\n", b"b"], 0),
        ({"delimiter": "\\x03", "start": "\\x02"}, b"noise\x02a\x03\x02lost\x02b\x03xx\x03", [b"\x02a", b"\x02b"], 13),
        ({"length": 3}, b"abcdefgh", [b"abc", b"def"], 0),
        ({"length": 4, "start": "\\xAA\\x55"}, b"..\xaa\x55ab\xaa\xaa\x55cd\xaa", [b"\xaa\x55ab", b"\xaa\x55cd"], 3),
        ({"pattern": r"<\d+>"}, b"junk<12><3>x<4", [b"<12>", b"<3>"], 4),
        ({"pattern": r"W[\d.]{2,4};?"}, b"W1.25;W7.", [b"W1.", b"W7."], 3),
    ],
)
def test_frames_are_cut_the_same_however_they_arrive(how: Any, data: bytes, frames: list[bytes], lost: int) -> None:
    found, counts = cut(how, data)
    assert found == frames and counts.get("cut", 0) == lost
    by_byte = Framer(Framing(**how))
    assert [frame for byte in data for frame in by_byte.feed(bytes([byte]))] == frames
    assert by_byte.counts["cut"] == lost


@given(st.lists(st.binary(max_size=40)), st.sampled_from([{}, {"delimiter": "ab"}, {"start": "a"}, {"length": 5}]))
def test_any_pieces_of_any_bytes_give_the_same_frames(pieces: list[bytes], how: Any) -> None:
    whole, _ = cut({**how, "longest": 16}, b"".join(pieces))
    framer = Framer(Framing(**how, longest=16))
    by_byte = [frame for piece in pieces for byte in piece for frame in framer.feed(bytes([byte]))]
    assert by_byte == whole


def test_checksums_of_the_books() -> None:
    assert crc16(bytes.fromhex("010300000001")).to_bytes(2, "little").hex() == "840a"
    nmea = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n"
    check = {"type": "xor8", "hex": True, "mark": "*", "first": 1}
    assert cut({"start": "$"}, nmea, check) == ([nmea[:-2]], {})
    assert cut({"start": "$"}, nmea.replace(b"545.4", b"545.5"), check) == ([], {"checksum": 1})
    bcc = {"type": "xor8", "after_delimiter": True, "first": 1}
    frame = b"\x0212.5\x03"
    block = frame + bytes([0x31 ^ 0x32 ^ 0x2E ^ 0x35 ^ 0x03])
    how = {"start": "\\x02", "delimiter": "\\x03"}
    assert cut(how, block + block, bcc) == ([block, block], {})
    assert Framer(Framing(**how), Checksum(**bcc)).payload(block) == b"12.5"


@pytest.mark.parametrize("check", ["sum8", "xor8", "crc16-modbus"])
@pytest.mark.parametrize("hexadecimal", [False, True])
@pytest.mark.parametrize("how", [{}, {"length": 12, "start": "@"}, {"delimiter": "\\x03", "start": "\\x02"}])
def test_a_frame_with_one_wrong_byte_is_never_a_frame(check: str, hexadecimal: bool, how: Any) -> None:
    rng = random.Random(7)
    behind = not hexadecimal and "length" not in how  # where its bytes could look like the end
    checksum = Checksum(type=check, hex=hexadecimal, order="big", after_delimiter=behind)
    framer = Framer(Framing(**how), checksum)
    room = 11 - checksum.size if how.get("length") else 9
    for _ in range(200):
        sealed = framer.sealed(bytes(rng.choices(b"0123456789.", k=room)))
        frames = framer.feed(sealed)
        assert len(frames) == 1 and framer.sealed(framer.payload(frames[0])) == sealed
        at = rng.randrange(len(framer._start), len(frames[0]))
        torn = bytearray(sealed)
        torn[at] = torn[at] ^ 1 if not hexadecimal else (torn[at] ^ 1 if 48 <= torn[at] <= 57 else 48)
        if torn == sealed:
            continue
        assert framer.feed(bytes(torn)) == []
        framer.reset()
    assert framer.counts["checksum"] > 100


@pytest.mark.parametrize(
    "how", [{}, {"delimiter": "\\x03", "start": "\\x02"}, {"length": 40, "start": "@"}, {"pattern": "<.*>"}]
)
def test_a_flood_without_an_end_is_cut_and_counted(how: Any) -> None:
    framer = Framer(Framing(**how, longest=64), None)
    for _ in range(50):
        assert framer.feed(b"9" * 1000) == [] and len(framer._held) <= 64
    assert framer.counts["cut"] >= 49_900


def test_the_tail_of_a_flood_is_no_frame() -> None:
    framer = Framer(Framing(longest=16))
    assert framer.feed(b"1" * 100) == [] and framer.feed(b"1.5\n2.5\n") == [b"2.5"]
    assert framer.counts["cut"] == 104
    framer.reset(inside=True)
    assert framer.feed(b".5\n3.5\n") == [b"3.5"]
    framer.reset(inside=True)
    framer.give_up()
    assert framer.feed(b"4.5\n") == [b"4.5"]


# Values


def test_numbers_as_instruments_print_them() -> None:
    found = [number(text) for text in (b"+00012.50", b"-   3.5", b" 7. ", b".5", b"1E3")]
    assert found == [12.5, -3.5, 7.0, 0.5, 1000.0]
    for text in (b"", b"nan", b"inf", b"1_0", b"12,5", b"--.--", b"0x10", b"1 2", "٣".encode()):
        with pytest.raises(ValueError, match="is no number"):
            number(text)


def test_orders_hold_what_they_say() -> None:
    assert order("SET {value:.1f}\r\n", 2.25) == b"SET 2.2\r\n" and order("{value:03d}", 7.0) == b"007"
    with pytest.raises(WriteRefused, match="is no whole number"):
        order("{value:d}", 7.5)
    for text in (
        "SET",
        "{value}{value}",
        "{value.real}",
        "{other}",
        "{value!r}",
        "{value:999999d}",
        "{value:{value}}",
        "{",
    ):
        with pytest.raises(ValueError, match=r"value|brace"):
            template(text)


@pytest.mark.parametrize(
    ("options", "frame", "said"),
    [
        ({"tags": {"a": {}}}, b"12.5", {"a": 12.5}),
        ({"tags": {"a": {"column": 2, "scale": 0.1, "offset": 1}, "b": {}}}, b"7,x, 20 ", {"a": 3.0, "b": 7}),
        ({"separator": ";", "tags": {"a": {"column": 1}}}, b'1;"2"', {"a": 2}),
        ({"match": r"(?P<a>\d+)(B(?P<b>\d+))?", "tags": {"a": {}, "b": {}}}, b"5", {"a": 5}),
        ({"match": r"(?P<a>\d+)|#.*", "tags": {"a": {}}}, b"# comment", {}),
        (
            {"frame": {"length": 8, "start": "\\xAA"}, "tags": {
                "a": {"at": 1, "type": "int16"}, "b": {"at": 3, "type": "float32", "order": "little"},
                "c": {"at": 7, "type": "uint8"}}},
            b"\xaa\xff\xfe\x00\x00\x20\x40\x80",
            {"a": -2, "b": 2.5, "c": 128},
        ),
    ],
)  # fmt: skip
def test_golden_frames(options: Any, frame: bytes, said: dict[str, float]) -> None:
    found = config("tcp://h:1", ask="?", **options)
    names = list(found.tags)
    index, value, quality = found.fields(names, Framer(found.frame))(frame)
    assert {names[i]: v for i, v in zip(index, value, strict=True)} == pytest.approx(said)
    assert set(quality) <= {Quality.GOOD}


def test_a_string_becomes_the_value_of_a_text_tag() -> None:
    async def work() -> None:
        answers = iter([b"A7 ,1.5\n", b"B2,2.5\n"])
        async with Peer(lambda ask: next(answers, b"Gr\xf6\xdfe,3.5\n")) as peer:
            tags = {"recipe": {"column": 0, "type": "text"}, "bar": {"column": 1}}
            site = load_text(
                f"device: {{id: d}}\ndrivers: {{s: {{driver: serialport, url: '{peer.url}', ask: x, tags: {tags}}}}}"
            )
            assert not site.problems
            found = config(peer.url, ask="R\\n", tags=tags)
            source = FakeSource("s", site.tags(), SystemClock())
            task = asyncio.ensure_future((driver := Serial(found, source)).run())
            await until(lambda: source.values("bar").count(3.5))
            await ended(task)
            assert source.strings("recipe")[:3] == ["A7", "B2", "Größe"] and set(source.qualities("recipe")) == {0}
            assert await driver.probe() == ["recipe = 'Größe' (GOOD)", "bar = 3.5 (GOOD)"]

    run(work)


# A site


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("url: 'serial:ttyUSB0'", "is no line; write serial:///dev/ttyUSB0"),
        ("url: 'tcp://host'", "is no line"),
        ("url: 'tcp://host:99999'", "must be a number from 1 to 65535"),
        ("url: 'serial:///dev/x?baud=fast'", "baud=fast is no speed of a line"),
        ("url: 'serial:///dev/x?parity=yes'", "parity=yes: it is one of none, even"),
        ("url: 'serial:///dev/x?bits=8'", "'bits' is no setting of a line"),
        ("url: 'tcp://h:1', match: '(?P<b>.*)'", "no group is called 'a'"),
        ("url: 'tcp://h:1', match: '(?P<a>.*'", "is no regular expression"),
        ("url: 'tcp://h:1', ask: '世'", "holds a character that is no byte"),
        ("url: 'tcp://h:1', frame: {length: 4}", "nothing tells where a frame begins"),
        ("url: 'tcp://h:1', frame: {length: 4, delimiter: x}", "say one of `delimiter`, `length` or `pattern`"),
        ("url: 'tcp://h:1', frame: {pattern: 'a*'}", "fits where nothing is"),
        ("url: 'tcp://h:1', ask: x, timeout: 0s", "an answer that is waited for without an end"),
        ("url: 'tcp://h:1', match: '(?P<a>\\d+)', example: '{a:.1f}'", "does not fit `match`"),
        ("url: 'tcp://h:1', checksum: {type: xor8}", "its bytes may look like the end of the frame"),
        ("url: 'tcp://h:1', example: '{b}'", "is no tag with its digits"),
    ],
)
def test_faults_of_a_site(options: str, said: str) -> None:
    site = f"device: {{id: d}}\ndrivers:\n  s: {{driver: serialport, {options}, tags: {{a: {{}}}}}}\n"
    assert [said in str(problem) for problem in load_text(site).problems] == [True], load_text(site).problems


def test_what_is_never_asked_for_cannot_be_read_back() -> None:
    tag = "{write: 'X{value}', confirm: OK, writable: {range: [0, 1], readback: true}}"
    for url, n in (
        ("url: 'tcp://h:1'", 1),
        ("url: 'tcp://h:1', ask: x", 1),
        ("url: 'tcp://h:1', ask: x, match: '(?P<a>.*)'", 0),
    ):
        site = load_text(f"device: {{id: d}}\ndrivers: {{s: {{driver: serialport, {url}, tags: {{a: {tag}}}}}}}\n")
        assert [str(p).count("the device is never asked for it") for p in site.problems] == [1] * n


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("at: 1", "`at` and `type` belong together"),
        ("at: 1, type: uint8, column: 0", "say one of"),
        ("write: 'X{value}'", "`writable` and `write` belong together"),
        ("write: 'X{value}', writable: {range: [0, 1]}", "say how the device confirms the order"),
        ("write: 'X{value:d}', confirm: OK, writable: {range: [0.5, 1]}", "is no whole number"),
        ("write: 'X{value:.0f}', confirm: OK, writable: {range: [0, 9.6]}", "the order writes 9.6 as 10, outside"),
        ("type: text, at: 1", "a text is a group or a column"),
        ("type: text, write: 'X{value}', confirm: OK, writable: {longest: 5}", "list those that may be sent"),
        ("type: text, write: 'X{value:d}', confirm: OK, writable: {one_of: [A]}", "without digits"),
        ("type: text, write: 'X{value}', confirm: OK, writable: {range: [0, 1]}", "it is a text: say `one_of"),
        ("write: 'X{value}', confirm: OK, writable: {one_of: [A]}", "it is a number: say `range"),
        ("scale: 0", "a scale of 0 makes no usable value"),
    ],
)
def test_faults_of_a_tag(tag: str, said: str) -> None:
    site = (
        f"device: {{id: d}}\ndrivers:\n  s: {{driver: serialport, url: 'tcp://h:1', ask: x, tags: {{a: {{{tag}}}}}}}\n"
    )
    assert [said in str(problem) for problem in load_text(site).problems] == [True], load_text(site).problems


# Over TCP


class Peer:
    """A server that says what a test wants, `answers(question line)` to each question."""

    def __init__(self, answers: Callable[[bytes], bytes] = lambda ask: b"") -> None:
        self.answers, self.writers, self.asked = answers, [], 0

    async def __aenter__(self) -> Peer:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"tcp://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.hang_up()

    def hang_up(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while question := await reader.readline():
            self.asked += 1
            writer.write(self.answers(question))

    def say(self, data: bytes) -> None:
        for writer in self.writers:
            writer.write(data)


def driven(peer: Peer, **options: Any) -> tuple[Serial, FakeSource, asyncio.Task[None]]:
    found = config(peer.url, **options)
    source = FakeSource("s", list(found.tags), SystemClock())
    driver = Serial(found, source)
    return driver, source, asyncio.ensure_future(driver.run())


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_it_asks_again_and_again_and_an_echo_is_no_answer() -> None:
    async def work() -> None:
        answers = iter(range(10**6))
        async with Peer(lambda ask: ask + b"%d\r\n" % next(answers)) as peer:
            _, source, task = driven(peer, ask="R?\\r\\n", tags={"a": {}})
            await until(lambda: len(source.values("a")) >= 3)
            await ended(task)
            assert source.values("a")[:3] == [0, 1, 2] and source.counts["echo"] >= 3

    run(work)


def test_each_question_has_its_own_answer_and_a_silent_one_takes_no_other_along() -> None:
    async def work() -> None:
        async with Peer(lambda ask: b"" if ask.startswith(b"V") else b"7\n") as peer:
            tags = {"volt": {"ask": "V?\\n"}, "curr": {"ask": "C?\\n"}}
            _, source, task = driven(peer, tags=tags, timeout="30ms")
            await until(lambda: len(source.values("curr")) >= 4)
            await ended(task)
            assert set(source.qualities("volt")) == {Quality.TIMEOUT}
            assert set(source.qualities("curr")) == {Quality.GOOD}

    run(work)


def test_an_answer_that_comes_too_late_is_not_that_of_the_next_question() -> None:
    async def work() -> None:
        async with Peer(lambda ask: b"5\n" if ask == b"B\n" else b"") as peer:
            tags = {"a": {"ask": "A\\n"}, "b": {"ask": "B\\n"}}
            _, source, task = driven(peer, tags=tags, timeout="100ms")

            def late() -> bool:
                if len(source.qualities("a")) == 0 and peer.asked == 1 and not said:
                    said.append(asyncio.get_running_loop().call_later(0.15, peer.say, b"999\n"))
                return len(source.values("b")) >= 2

            said: list[object] = []
            await until(late)
            await ended(task)
            assert set(source.values("b")) == {5.0} and source.counts["unasked"] >= 4

    run(work)


def test_wrong_answers_are_bad_and_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        answers = iter([b"ERR 3\r\n", b"ERR 3\r\n", b"ST,GS,+0001.50kg\r\n"])
        async with Peer(lambda ask: next(answers, b"ST,GS,+0001.50kg\r\n")) as peer:
            _, source, task = driven(peer, **SCALE)
            await until(lambda: 1.5 in source.values("weight"))
            await ended(task)
            assert source.qualities("weight")[:3] == [Quality.BAD, Quality.BAD, Quality.GOOD]
            assert source.counts["shape"] == 2 and caplog.text.count("does not fit `match`") == 1

    run(work)


def test_silence_is_a_timeout_and_then_the_line_is_opened_anew() -> None:
    async def work() -> None:
        async with Peer() as peer:
            _, source, task = driven(peer, ask="R\\n", tags={"a": {}}, timeout="20ms")
            with pytest.raises(DeviceLost, match="no answer 3 times in a row"):
                await task
            assert source.qualities("a") == [Quality.TIMEOUT] * 3

    run(work)


def test_a_line_that_is_listened_to() -> None:
    """The first frame may have begun before; one that is wrong makes the tag BAD once; after a cut it goes on."""

    async def work() -> None:
        async with Peer() as peer:
            _, source, task = driven(peer, tags={"a": {}}, frame={"longest": 32}, timeout="20s")
            await until(lambda: peer.writers)
            peer.say(b"2.5\n13.5\n14.5\n")
            await until(lambda: 14.5 in source.values("a"))
            peer.say(b"8" * 5000 + b"1.0\nnonsense\n15.5\n")
            await until(lambda: 15.5 in source.values("a"))
            assert [v for v in source.values("a") if v == v] == [13.5, 14.5, 15.5]
            assert source.qualities("a").count(Quality.BAD) == 1 and source.counts["no_number"] == 1
            assert source.counts["cut"] >= 5000
            stamps = [int(t) for batch in source.batches for t in batch.ts]
            assert stamps == sorted(set(stamps))
            peer.hang_up()
            with pytest.raises(DeviceLost):
                await task

    run(work)


def test_it_says_timeout_when_nothing_comes_and_bad_when_only_nonsense_does() -> None:
    async def work() -> None:
        async with Peer() as peer:
            _, source, task = driven(peer, tags={"a": {}}, match=r"(?P<a>\d+)", timeout="300ms")
            await until(lambda: peer.writers)
            peer.say(b"\n\n???\n!!!\n")
            with pytest.raises(DeviceLost, match="no frame within"):
                await task
            assert source.qualities("a")[0] == Quality.BAD and Quality.GOOD not in source.qualities("a")
            assert source.qualities("a")[-1] == Quality.TIMEOUT and source.counts["shape"] == 2

    run(work)


def test_a_pattern_that_explodes_ends_the_connection_in_words() -> None:
    async def work() -> None:
        async with Peer(lambda ask: b"1" * 60 + b"\n") as peer:
            _, source, task = driven(peer, ask="R\\n", match=r"(?P<a>(1|11|111)*[^1])", tags={"a": {}})
            with pytest.raises(DeviceLost, match="takes longer than 20 ms"):
                await task
            assert Quality.GOOD not in source.qualities("a")

    run(work)


def test_a_pattern_that_is_slow_again_and_again_does_not_hold_up_the_loop() -> None:
    """Each try takes less than a frame may, all of them together seconds."""
    framer = Framer(Framing(pattern="a.*b.*c.*d;", longest=4096))
    with pytest.raises(DeviceLost, match="takes longer"):
        framer.feed(b"abc,d1." * 100)


def test_a_flood_stays_bounded_and_leaves_the_loop_its_turn() -> None:
    async def work() -> None:
        async with Peer() as peer:
            driver, source, task = driven(peer, tags={"a": {}}, timeout="20s")
            await until(lambda: peer.writers)
            most, turns = 0, 0
            peer.say(b"1\n" * 400_000)
            while source.values("a").count(1.0) < 1000 or turns < 100:
                turns += 1
                most = max(most, len(driver._line._buffer) if driver._line else 0)
                await asyncio.sleep(0)
            assert most <= 65536 + 262144 and max(map(len, source.batches)) <= 600
            await ended(task)

    run(work)


def test_writes_are_done_when_confirmed() -> None:
    async def work() -> None:
        def answers(ask: bytes) -> bytes:
            if ask.startswith(b"T"):
                return b"OK\r\n" if ask == b"T012.50\r\n" else b"ERR\r\n"
            return b"ST,GS,+0001.50kg\r\n"

        async with Peer(answers) as peer:
            driver, source, task = driven(peer, **SCALE)
            await until(lambda: source.values("weight"))
            await driver.write(Write(source.tags["tare"].id, 12.5))
            assert source.qualities("tare") == [Quality.STALE, Quality.SUBSTITUTED]
            assert source.values("tare")[1:] == [12.5]
            with pytest.raises(DeviceRefused, match="the device answered 'ERR'"):
                await driver.write(Write(source.tags["tare"].id, 13))
            assert source.values("tare")[1:] == [12.5]
            await ended(task)
            with pytest.raises(DeviceLost, match="the line is not open"):
                await driver.write(Write(source.tags["tare"].id, 12.5))

    run(work)


def test_a_written_value_is_read_back_as_the_order_said_it() -> None:
    async def work() -> None:
        held = [b"0"]

        def answers(ask: bytes) -> bytes:
            if ask.startswith(b"S"):
                held[0] = ask[1:].strip()
                return b"OK\n"
            return held[0] + b"\n"

        async with Peer(answers) as peer:
            writable = {"range": [0, 9], "readback": True}
            tags = {
                "set": {"ask": "R\\n", "scale": 0.1, "write": "S{value:d}\\n", "confirm": "OK", "writable": writable}
            }
            driver, source, task = driven(peer, tags=tags)
            await until(lambda: source.values("set"))
            tag = source.tags["set"].id
            assert await driver.write(Write(tag, 0.3)) == pytest.approx(0.3) and held == [b"3"]
            assert await driver.read(tag) == pytest.approx(0.3)
            held[0] = b"--"
            with pytest.raises(DeviceRefused, match="holds no value of it"):
                await driver.read(tag)
            await ended(task)

    run(work)


def test_a_text_is_written_out_of_a_list_and_read_back() -> None:
    async def work() -> None:
        writable = {"one_of": ["AUTO", "HAND", "配方"], "readback": True}
        mode = {"type": "text", "ask": "M?\\n", "write": "M {value}\\n", "confirm": "OK", "writable": writable}
        only = {"type": "text", "write": "P {value}\\n", "confirm": "OK", "writable": {"one_of": ["A"]}}
        found = config(f"tcp://127.0.0.1:{free_port()}", tags={"mode": mode, "only": only})
        sim = SerialSim("s", found)
        await sim.start()
        source = FakeSource(
            "s", [point.tag(f"s.{name}", "s", 1.0) for name, point in found.tags.items()], SystemClock()
        )
        task = asyncio.ensure_future((driver := Serial(found, source)).run())
        await until(lambda: source.strings("mode"))
        for text in ("AUTO", "配方"):
            assert await driver.write(Write(source.tags["mode"].id, text)) == text == sim.get("mode")
            assert await driver.read(source.tags["mode"].id) == text
        await driver.write(Write(source.tags["only"].id, "A"))
        assert source.strings("only")[-1] == "A" and source.qualities("only")[-1] == Quality.SUBSTITUTED
        await ended(task)
        await sim.stop()

    run(work)


def test_a_confirmation_among_the_data_of_a_line_that_is_listened_to() -> None:
    async def work() -> None:
        async with Peer(lambda order: b"4.0\nDONE\n5.0\n" if order == b"S1\n" else b"6.0\n") as peer:
            tags = {"a": {}, "set": {"write": "S{value:d}\\n", "confirm": "DONE", "writable": {"range": [0, 9]}}}
            driver, source, task = driven(peer, tags=tags, timeout="20s")
            await until(lambda: driver._line is not None)
            await driver.write(Write(source.tags["set"].id, 1))
            await until(lambda: 5.0 in source.values("a"))
            assert set(source.qualities("a")) == {Quality.GOOD} and source.values("set")[1:] == [1]
            await ended(task)

    run(work)


def test_an_order_that_nobody_confirms_is_told() -> None:
    async def work() -> None:
        async with Peer(lambda order: b"6.0\n") as peer:
            tags = {"a": {}, "set": {"write": "S{value:d}\\n", "confirm": "DONE", "writable": {"range": [0, 9]}}}
            driver, source, task = driven(peer, tags=tags, timeout="200ms")
            await until(lambda: driver._line is not None)
            with pytest.raises(DeviceSilent, match=r"no confirmation within 0\.2 s"):
                await driver.write(Write(source.tags["set"].id, 2))
            await ended(task)

    run(work)


# The simulator, and a real line


@pytest.mark.parametrize(
    "options",
    [
        SCALE,
        {"ask": "?\\n", "separator": ";", "tags": {"weight": {"column": 2, "scale": 0.1}}},
        {"tags": {"weight": {}}, "timeout": "1200ms"},
        {
            "frame": {"length": 9, "start": "\\xAA\\x55"},
            "checksum": {"type": "crc16-modbus"},
            "tags": {"weight": {"at": 3, "type": "float32"}},
            "timeout": "1200ms",
        },
        {
            "ask": "\\x05",
            "frame": {"start": "\\x02", "delimiter": "\\x03"},
            "checksum": {"type": "xor8", "after_delimiter": True, "first": 1},
            "tags": {"weight": {}},
        },
    ],
)
def test_the_simulator_speaks_what_the_driver_hears(options: Any) -> None:
    async def work() -> None:
        url = f"tcp://127.0.0.1:{free_port()}"
        sim = SerialSim("s", config(url, **options))
        await sim.start()
        sim.set("weight", 12.5)
        source = FakeSource("s", list(options["tags"]), SystemClock())
        driver = Serial(config(url, **options), source)
        assert await driver.probe() == ["weight = 12.5 (GOOD)"]
        task = asyncio.ensure_future(driver.run())
        await until(lambda: source.values("weight").count(12.5) >= 2)
        if "tare" in source.tags:
            await driver.write(Write(source.tags["tare"].id, 7))
            assert sim.get("tare") == 7
        assert set(source.qualities("weight")) == {Quality.GOOD}
        await ended(task)
        await sim.stop()

    run(work)


def test_the_simulator_stands_in_for_a_port(tmp_path: Path) -> None:
    async def work() -> None:
        url = f"serial://{tmp_path}/ttyUSB0?baud=19200"
        sim = SerialSim("s", config(url, **SCALE))
        await sim.start()
        with pytest.raises(LinesideError, match="is there already"):
            await SerialSim("s", config(url, **SCALE)).start()
        sim.set("weight", -3.25)
        source = FakeSource("s", ["weight", "tare"], SystemClock())
        driver = Serial(config(url, **SCALE), source)
        assert await driver.probe() == ["weight = -3.25 (GOOD)"]
        task = asyncio.ensure_future(driver.run())
        await until(lambda: len(source.values("weight")) >= 2)
        with pytest.raises(DeviceLost, match="another program has it open"):
            await Line.open(url, SystemClock())
        await ended(task)
        await sim.stop()
        with pytest.raises(DeviceLost, match="is it plugged in"):
            await driver.run()

    run(work)


def test_a_simulator_that_would_have_to_guess_says_so() -> None:
    for options, said in (
        ({"match": "(?P<a>.*)", "tags": {"a": {}}}, "write `example:`"),
        (
            {"tags": {"a": {"write": "X{value}", "confirm": "OK.*", "writable": {"range": [0, 1]}, "column": 0}}},
            "write a plain word",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            SerialSim("s", config("tcp://127.0.0.1:1", ask="?", **options))


@pytest.fixture
def pair(tmp_path: Path, process: list[subprocess.Popen[str]]) -> tuple[Path, Path, subprocess.Popen[str]]:
    """Two ports joined by a cable."""
    if not shutil.which("socat"):
        pytest.skip("socat is not installed (make system-packages)")
    ends = tmp_path / "a", tmp_path / "b"
    cable = subprocess.Popen(["socat", *(f"pty,raw,echo=0,link={end}" for end in ends)], text=True)
    process.append(cable)
    wait_for(lambda: all(end.exists() for end in ends), 120, "the cable")
    return *ends, cable


def test_a_real_line_in_pieces_with_a_flood_and_a_cable_that_is_pulled(
    pair: tuple[Path, Path, subprocess.Popen[str]],
) -> None:
    near, far, cable = pair

    async def work() -> None:
        found = config(
            f"serial://{near}?baud=9600&parity=even",
            tags={"a": {}},
            timeout="20s",
            checksum={"type": "sum8", "hex": True},
        )
        source = FakeSource("s", ["a"], SystemClock())
        task = asyncio.ensure_future((driver := Serial(found, source)).run())
        await until(lambda: driver._line is not None)
        framer = Framer(found.frame, found.checksum)
        sealed = [framer.sealed(text) for text in (b"1.5", b"2.5", b"3.5", b"4.5")]
        with far.open("wb", buffering=0) as device:
            device.write(sealed[0])
            for piece in (sealed[1][:2], sealed[1][2:], sealed[2].replace(b"3", b"8"), b"7" * 3000 + b"\r\n"):
                device.write(piece)
            device.write(sealed[3])
            await until(lambda: 4.5 in source.values("a"))
            assert [v for v in source.values("a") if v == v] == [2.5, 4.5]
            assert source.counts["checksum"] == 1 and source.counts["cut"] >= 3000
        cable.kill()
        with pytest.raises(DeviceLost):
            await task

    run(work)


def test_writing_and_asking_over_a_real_line(pair: tuple[Path, Path, subprocess.Popen[str]]) -> None:
    near, far, _ = pair

    async def work() -> None:
        source = FakeSource("s", ["weight", "tare"], SystemClock())
        driver = Serial(config(f"serial://{near}", **SCALE), source)
        task = asyncio.ensure_future(driver.run())
        other = await Line.open(f"serial://{far}", SystemClock())
        held = b""
        done = asyncio.Event()

        async def device() -> None:
            nonlocal held
            while True:
                held += await other.some()
                while b"\r\n" in held:
                    asked, _, held = held.partition(b"\r\n")
                    other.send(b"OK\r\n" if asked == b"T001.00" else b"ST,GS,+0009.25kg\r\n")

        serving = asyncio.ensure_future(device())
        await until(lambda: 9.25 in source.values("weight"))
        await driver.write(Write(source.tags["tare"].id, 1))
        done.set()
        assert source.values("tare")[1:] == [1]
        await ended(task)
        await ended(serving)
        other.close()

    run(work)
