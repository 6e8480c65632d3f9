"""Wire frames: shown in hex, recorded on site, served again in the office."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.address import Address
from drivers.modbus.exchanges import adus, describe, exchanges
from drivers.modbus.line_frames import FRAMINGS
from drivers.modbus.playback import Player, Replay, load
from drivers.modbus.reach import Direct, of_url
from drivers.modbus.sim import ModbusSim
from drivers.modbus.tape import MOST_FRAMES, Tape
from edge import ConfigFault, LinesideError, ManualClock, WireFrame, ask_daemon, read_recording
from edge.app import Daemon
from edge.cli import main
from edge.config.load import load as load_site
from edge.control import Control
from edge.log import log
from edge.recording import RecordingFile

from .pcap import payloads


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = log.handlers[:], log.propagate, log.level
    yield
    log.handlers[:], log.propagate, log.level = before


def ask(number: int, unit: int, pdu: bytes) -> bytes:
    return number.to_bytes(2) + b"\0\0" + (len(pdu) + 1).to_bytes(2) + bytes([unit]) + pdu


READ = bytes.fromhex("0300640002")  # holding:100..101


def frames(*rows: tuple[int, str, bytes]) -> list[WireFrame]:
    return [WireFrame(round(ts * 1e9), way, data) for ts, way, data in rows]


def test_each_answer_finds_its_request() -> None:
    answer = b"\x03\x04\x43\x67\x66\x66"
    left: Counter[str] = Counter()
    found = exchanges(
        "tcp",
        frames(
            (1, "out", ask(1, 7, READ) + ask(2, 8, READ)),
            (2, "in", ask(2, 8, b"\x83\x02")),
            (3, "in", ask(1, 7, answer)[:5]),
            (3, "in", ask(1, 7, answer)[5:]),
            (4, "out", ask(3, 9, READ)),
            (5, "in", ask(77, 9, answer)),
            (6, "in", ask(3, 4, answer)),
            (7, "in", b"no Modbus at all"),
        ),
        left,
    )
    assert [(e.unit, e.answer, e.took) for e in found] == [
        (7, answer, 2 * 10**9),
        (8, b"\x83\x02", 10**9),
        (9, None, 0),
    ]
    assert dict(+left) == {
        "answers without a request": 1,
        "answers that contradict their request": 1,
        "frames that are no Modbus": 1,
    }


@given(st.lists(st.tuples(st.sampled_from(["out", "in"]), st.binary(max_size=40)), max_size=20))
def test_no_bytes_break_the_pairing(rows: list[tuple[str, bytes]]) -> None:
    made = [WireFrame(n, way, data) for n, (way, data) in enumerate(rows)]
    assert len(exchanges("tcp", made, Counter())) <= sum(len(data) // 8 for _, data in rows) + 1
    assert all(isinstance(describe("tcp", way, data), str) for way, data in rows)


@pytest.mark.parametrize("scheme", ["rtu", "ascii"])
def test_on_a_line_what_comes_before_the_next_request_is_the_answer(scheme: str) -> None:
    framing, answer = FRAMINGS[scheme], b"\x03\x04\x43\x67\x66\x66"
    sent, came, other = framing.frame(7, READ), framing.frame(7, answer), framing.frame(8, answer)
    damaged = came[:-3] + bytes([came[-3] ^ 1]) + came[-2:]
    left: Counter[str] = Counter()
    rows = [(0, "in", came), (1, "out", sent), (2, "in", came[:4]), (2.1, "in", came[4:]), (3, "out", sent)]
    rows += [(4, "out", sent), (5, "in", damaged), (6, "out", sent), (7, "in", other), (8, "out", sent[:-1])]
    found = exchanges(scheme, frames(*rows), left)
    assert [e.answer for e in found] == [answer, None, None, None] and found[0].took == 1.1e9
    assert dict(+left) == {
        "answers without a request": 1,
        "answers with a wrong checksum": 1,
        "answers that contradict their request": 1,
        "frames that are no Modbus": 1,
    }
    assert describe(scheme, "out", sent) == "unit 7 reads holding:100..101"
    assert describe(scheme, "in", damaged) == "no whole frame"


def test_frames_in_plain_words() -> None:
    said = {
        describe("tcp", "out", ask(1, 7, READ)): "unit 7 reads holding:100..101",
        describe("tcp", "out", ask(1, 7, bytes.fromhex("050008ff00"))): "unit 7 writes coil:8 = 1",
        describe("tcp", "in", ask(1, 7, b"\x83\x02")): "unit 7 refuses: illegal address",
        describe("tcp", "in", ask(1, 7, b"\x03\x02\0\0")): "unit 7 answers 2 bytes",
        describe("tcp", "in", b"\0\1"): "no whole frame",
    }
    assert list(said) == list(said.values())


def test_the_tape_keeps_nothing_that_nobody_asks_for_and_is_bounded() -> None:
    clock = ManualClock()
    tape = Tape(clock)
    tape.put("out", b"x")
    first = tape.after(None, 10, None)
    assert first["frames"] == [] and first["missed"] == 0
    tape.put("out", b"a")
    tape.put("in", b"b")
    said = tape.after(first["next"], 1, lambda way, data: way)
    assert [row[1:] for row in said["frames"]] == [["out", "61", "out"]]
    assert [row[1:] for row in tape.after(said["next"], 9, None)["frames"]] == [["in", "62"]]
    for _ in range(MOST_FRAMES + 5):
        tape.put("in", b"c")
    assert tape.after(first["next"] + 2, 1, None)["missed"] == 5
    clock.advance(31)
    tape.put("in", b"d")
    assert not tape.on and tape.after(0, 10, None)["frames"] == []


def written(path: Path, *rows: WireFrame, driver: str = "modbus") -> Path:
    with path.open("wb") as out:
        file = RecordingFile(out, {"driver": driver, "scheme": "tcp"})
        file.add(rows)
        file.close()
    return path


TWO = frames((1, "out", ask(1, 7, READ)), (1.1, "in", ask(1, 7, b"\x03\x04\0\1\0\2")))


def test_damaged_recordings_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.rec", *TWO)
    whole = path.read_bytes()
    assert read_recording(path).frames == TWO
    lines = whole.splitlines(keepends=True)
    for raw, said in {
        b"": "is empty",
        b"PK\x03\x04zip": "is no recording",
        b'{"kind": "else"}\n': "is no recording",
        whole.replace(b'"version":1', b'"version":9'): "newer lineside",
        b"".join(lines[:-1]): "was cut off",
        whole[: len(lines[0]) + 9]: "2: is damaged",
        whole.replace(b"0001", b"0007", 1): "4: what stands before its end was changed",
        lines[0] + lines[2] + lines[3]: "3: what stands before its end was changed",
        whole + b"\n": "4: something stands after its end",
        lines[0] + b'[1,"up","00"]\n': "2: is damaged",
        lines[0] + b'[-1,"in","00"]\n': "2: is damaged",
        lines[0] + b'[1,"in","0g"]\n': "2: is damaged",
        lines[0] + b"[" * 9000 + b"\n": "2: is damaged",
        lines[0] + b" " * 30_000: "2: is damaged",
    }.items():
        path.write_bytes(raw)
        with pytest.raises(ConfigFault) as raised:
            read_recording(path)
        assert said in str(raised.value), raw[:60]
    with pytest.raises(ConfigFault, match="only Modbus"):
        load(written(tmp_path / "b.rec", *TWO, driver="serial"))
    with pytest.raises(ConfigFault, match="holds no answer"):
        load(written(tmp_path / "c.rec", TWO[0]))


def test_a_recording_answers_as_the_device_did_at_that_time(tmp_path: Path) -> None:
    rows = []
    for second, word in ((0, 1), (2, 5), (4, 9)):
        rows += frames(
            (second, "out", ask(1, 7, READ)), (second + 0.1, "in", ask(1, 7, b"\x03\x04" + word.to_bytes(2) + b"\0\2"))
        )
    rows += frames((5, "out", ask(2, 7, bytes.fromhex("0300c80001"))), (5.1, "in", ask(2, 7, b"\x83\x02")))
    now = [0.0]
    player = Player(load(written(tmp_path / "a.rec", *rows)), 1.0, lambda: now[0])
    seen = []
    for now[0] in (0, 1.9, 2.5, 4.5, 5.2):
        seen.append(player.answer(7, READ)[2:4])  # type: ignore[index]
    assert seen == [b"\0\1", b"\0\1", b"\0\5", b"\0\x09", b"\0\1"], "and then it begins anew"
    now[0] = 0.0
    assert player.answer(7, bytes.fromhex("0300650001")) == b"\x03\x02\0\2", "put together from what was read"
    assert player.answer(7, bytes.fromhex("0300c80001")) == b"\x83\x02"
    assert player.answer(7, bytes.fromhex("0303e80001")) == b"\x83\x02", "never read: an illegal address"
    assert player.answer(7, bytes.fromhex("06006400ff")) == b"\x86\x01", "a recording takes no writes"
    assert player.answer(9, READ) is None
    assert player.units == [7]


SITE = """device: {{id: d}}
drivers:
  plc:
    driver: modbus
    url: "{url}"
    every: 20ms
    tags: {{a: {{address: "holding:100"}}, b: {{address: "holding:101"}}}}
"""


def beside_a_device(path: Path, work: Any, url: str = "tcp://127.0.0.1:5020") -> None:
    """Run `work()` in a thread while a simulated device answers the site at `path`."""

    def write(port: int) -> None:
        path.write_text(SITE.format(url=url.replace("5020", str(port))))

    async def main_() -> None:
        write(5020)
        sim = ModbusSim("plc", load_site(path).drivers["plc"])  # type: ignore[arg-type]
        sim.port = 0
        sim.set("a", 41)
        await sim.start()
        write(sim.port)
        try:
            await asyncio.to_thread(work)
        finally:
            await sim.stop()

    asyncio.run(main_())


def call(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_recording_that_is_stopped_is_whole(
    stop: signal.Signals, tmp_path: Path, process: list[subprocess.Popen[str]]
) -> None:
    path, out = tmp_path / "site.yaml", tmp_path / "a.rec"

    def work() -> None:
        words = [sys.executable, "-m", "edge.cli", "record", path, "plc", "--out", out, "--state", tmp_path / "none"]
        process.append(subprocess.Popen(words, stderr=subprocess.PIPE, text=True))
        deadline = time.monotonic() + 30
        while not out.exists() or out.stat().st_size < 500:
            assert process[0].poll() is None and time.monotonic() < deadline, "nothing is recorded"
        process[0].send_signal(stop)
        _, errors = process[0].communicate(timeout=120)
        assert process[0].returncode in (130, 143) and "Traceback" not in errors, errors
        assert load(out)

    beside_a_device(path, work)


def check_frames(out: str) -> None:
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 4 and {row["way"] for row in rows} == {"in", "out"}
    assert "unit 1 reads holding:100..101" in {row["said"] for row in rows}


@pytest.mark.parametrize("scheme", ["tcp", "rtu", "ascii"])
def test_wire_record_and_replay_where_no_daemon_runs(
    scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "tcp://127.0.0.1:5020" if scheme == "tcp" else f"{scheme}://{tmp_path}/bus?baud=115200"
    path, out, state = tmp_path / "site.yaml", tmp_path / "a.rec", ("--state", tmp_path / "none")

    def work() -> None:
        code, said, errors = call(capsys, "wire", path, "plc", "--most", "4", "--json", *state)
        assert code == 0 and "read from here" in errors
        check_frames(said)
        _, said, _ = call(capsys, "wire", path, "plc", "--most", "1", *state)
        assert " -> " in said or " <- " in said
        code, _, errors = call(capsys, "record", path, "plc", "--out", out, "--most", "8", *state)
        assert code == 0 and "8 frames" in errors, errors
        code, _, errors = call(capsys, "record", path, "plc", "--out", out, "--seconds", "0.8", *state)
        assert code == 2 and "exists" in errors, "a recording is never written over"
        code, _, errors = call(capsys, "wire", path, "lone", *state)
        assert code == 2 and "there are plc" in errors
        for odd in (("--most", "0"), ("--most", "x"), ("--seconds", "-1"), ("--seconds", "nan"), ("--seconds", "inf")):
            code, _, errors = call(capsys, "wire", path, "plc", *odd, *state)
            assert code == 2 and repr(odd[1]) in errors, odd

    beside_a_device(path, work, url)
    found = load(out)
    assert any(e.answer == b"\x03\x04\0\x29\0\0" for e in found)

    async def served(url: str) -> Any:
        replay = Replay(Player(found, 1.0, asyncio.get_running_loop().time), of_url(url).where)
        replay.port = 0
        await replay.start()
        device = Direct(of_url(url.replace("5020", str(replay.port))), 5)
        answer = await device.read(1, Address("holding", 100), 1)
        await device.close()
        await replay.stop()
        return answer

    for url in ("tcp://127.0.0.1:5020", "rtu+tcp://127.0.0.1:5020", f"rtu://{tmp_path}/line?baud=115200"):
        answer = asyncio.run(served(url))
        assert answer == ((41,), 0), "another request than the recorded one, the same register"


READS = {"driver": "plc", "want": "read", "unit": 1, "first": "holding:100", "count": 1}
HOSTILE: list[dict[str, Any]] = [
    {},
    {"driver": "lone"},
    {"driver": "plc"},
    {"driver": "plc", "want": ["read"]},
    {"driver": "plc", "want": "frames", "after": "now"},
    {"driver": "plc", "want": "frames", "after": float("inf")},
    {"driver": "plc", "want": "frames", "most": None},
    *(READS | odd for odd in ({"unit": 256}, {"unit": "a"}, {"unit": float("inf")}, {"count": 0}, {"count": 126})),
    *(READS | odd for odd in ({"first": "coil"}, {"first": 7.5}, {"first": "holding:65535", "count": 2})),
    *(READS | odd for odd in ({"count": [1]}, {"timeout": "long"})),
]


def test_mbpoll_reads_a_recording(tmp_path: Path) -> None:
    if shutil.which("mbpoll") is None:
        pytest.skip("mbpoll is not installed (make system-packages)")
    found = load(written(tmp_path / "a.rec", *TWO))

    async def main_() -> str:
        replay = Replay(Player(found, 1.0, asyncio.get_running_loop().time), of_url("tcp://127.0.0.1:5020").where)
        replay.port = 0
        await replay.start()
        words = [
            "mbpoll",
            "-m",
            "tcp",
            "-p",
            str(replay.port),
            "-a",
            "7",
            "-0",
            "-r",
            "100",
            "-c",
            "2",
            "-1",
            "127.0.0.1",
        ]
        asked = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = await asked.communicate()
        await replay.stop()
        return said.decode()

    said = asyncio.run(main_())
    assert re.findall(r"\[(\d+)\]:\s+(\d+)", said) == [("100", "1"), ("101", "2")], said


def test_with_a_daemon_running_its_own_frames_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "site.yaml"

    def work() -> None:
        async def beside() -> None:
            daemon = Daemon(load_site(path), tmp_path / "state")
            control = Control(daemon)
            await daemon.start()
            await control.start()
            try:
                words = ("wire", path, "plc", "--most", "4", "--json", "--state", tmp_path / "state")
                code, out, errors = await asyncio.to_thread(call, capsys, *words)
                assert code == 0 and "read from here" not in errors
                check_frames(out)
                code, out, _ = await asyncio.to_thread(
                    call, capsys, "doctor", path, "--json", "--state", tmp_path / "state"
                )
                rows = {row["what"]: row["how"] for row in map(json.loads, out.splitlines())}
                assert "answers: " in rows["plc unit 1"], rows
                for odd in HOSTILE:
                    with pytest.raises(LinesideError):
                        await asyncio.to_thread(ask_daemon, tmp_path / "state", {"do": "tool", **odd})
                assert "unexpected way" not in caplog.text
            finally:
                await control.stop()
                await daemon.stop()

        asyncio.run(beside())

    beside_a_device(path, work)


def test_what_cannot_be_served_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "a.rec", *TWO)
    for words, said in {
        (tmp_path / "absent.rec",): "No such file",
        (path, "--listen", "udp://x"): "is no address of a device",
        (path, "--listen", "tcp://x:99999"): "port must be a number",
        (path, "--speed", "0"): "out of range",
        (path, "--listen", "tcp://192.0.2.1:5020"): "cannot serve on tcp://192.0.2.1:5020",
    }.items():
        code, _, errors = call(capsys, "replay", *words)
        assert code == 2 and said in errors, (words, errors)


@pytest.mark.parametrize(
    "name", ["modbus_test_data_part1", "modbus_test_data_part2", "modbus_test", "modbusSmall", "fuzz-72", "fuzz-1011"]
)
def test_captures_of_real_devices_are_paired(name: str, data: Path) -> None:
    """The functions of each segment's first frame are those that an independent decoder counted (summary.csv); it counts frames
    that are cut off or claim another length, too, which are left out here."""
    left: Counter[str] = Counter()
    first: Counter[str] = Counter()
    pairs = []
    for conversation in payloads(data / "protocol-captures" / f"{name}.pcap").values():
        pairs += exchanges("tcp", conversation, left)
        for frame in conversation:
            for _, way, _, _, pdu in list(adus([frame], Counter()))[:1]:
                first[f"{'req' if way == 'out' else 'resp'} {pdu[0]}"] += 1
    with (data / "protocol-captures" / "summary.csv").open() as rows:
        (told,) = (row[3] for row in csv.reader(rows) if row[0] == f"{name}.pcap")
    theirs = {key.strip(): int(n) for key, n in (part.split("=") for part in told.split(";"))}
    assert first <= Counter(theirs)
    assert dict(first) == theirs or left["frames that are no Modbus"]
    answered = [exchange for exchange in pairs if exchange.answer]
    assert all(exchange.answer[0] & 0x7F == exchange.ask[0] for exchange in answered if exchange.answer)
    assert name.startswith("fuzz") or len(answered) > 0.85 * len(pairs), left
