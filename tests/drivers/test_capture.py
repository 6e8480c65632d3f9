"""Captures of a network: what tcpdump and Wireshark write is served again as a device."""

from __future__ import annotations

import contextlib
import ipaddress
import struct
from collections import Counter
from pathlib import Path

import pytest

from drivers.modbus import capture
from drivers.modbus.playback import Player, load_capture
from edge.cli import main
from edge.errors import ConfigFault

ASK = bytes.fromhex("0001 0000 0006 07 03 0064 0002".replace(" ", ""))
ANSWER = bytes.fromhex("0001 0000 0007 07 03 04 0102 0304".replace(" ", ""))
READ = ASK[7:]
METER, US = "192.168.1.10", "192.168.1.2"


def tcp(source: tuple[str, int], target: tuple[str, int], number: int, data: bytes) -> bytes:
    """An IP packet; version by the addresses."""
    here, there = (ipaddress.ip_address(end[0]) for end in (source, target))
    body = struct.pack(">HHIIHHHH", source[1], target[1], number, 0, 5 << 12 | 0x18, 8192, 0, 0) + data
    if here.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(body), 6, 64) + here.packed + there.packed + body
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0x4000, 64, 6, 0) + here.packed + there.packed + body


def talk(device: str = METER, client: str = US, port: int = 502) -> list[bytes]:
    ends = (client, 40000), (device, port)
    return [tcp(*ends, 10, ASK), tcp(*ends[::-1], 90, ANSWER)]


def pcap(packets: list[bytes], link: int = 1, order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    return head + b"".join(struct.pack(f"{order}IIII", 1000 + n, 5, len(p), len(p)) + p for n, p in enumerate(packets))


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = 12 + len(body)
    return struct.pack(f"{order}II", kind, size) + body + struct.pack(f"{order}I", size)


def pcapng(packets: list[bytes], order: str = "<") -> bytes:
    """A section, an interface that counts nanoseconds, a block that nobody knows, and the packets."""
    start = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    interface = block(1, struct.pack(f"{order}HHI", 1, 0, 0) + struct.pack(f"{order}HHB3x", 9, 1, 9), order)
    out = start + interface + block(0xBAD, b"1234", order)
    for n, packet in enumerate(packets):
        ns = (1000 + n) * 10**9
        head = struct.pack(f"{order}IIIII", 0, ns >> 32, ns & 0xFFFFFFFF, len(packet), len(packet))
        out += block(6, head + packet, order)
    return out


def ethernet(packets: list[bytes], kind: bytes = b"\x08\x00") -> list[bytes]:
    return [bytes(12) + kind + packet for packet in packets]


def kept(folder: Path, raw: bytes) -> Path:
    path = folder / "site.pcap"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    "raw",
    [
        pcap(ethernet(talk())),
        pcap(ethernet(talk()), order=">"),
        pcap(ethernet(talk()), magic=0xA1B23C4D),
        pcap(ethernet(talk(), b"\x81\x00\x00\x05\x08\x00")),
        pcap([bytes(16) + p for p in talk()], link=113),
        pcap([bytes(20) + p for p in talk()], link=276),
        pcap([bytes(4) + p for p in talk()], link=0),
        pcap(talk(), link=101),
        pcap(ethernet(talk("fd00::10", "fd00::2"), b"\x86\xdd")),
        pcapng(ethernet(talk())),
        pcapng(ethernet(talk()), order=">"),
        pcap([*ethernet(talk()), b"", bytes(60), *ethernet([tcp((US, 9), (METER, 80), 1, b"GET /")])]),
        pcap(ethernet([p + bytes(6) for p in talk()])),
    ],
)
def test_every_kind_of_capture_is_served_as_the_device(tmp_path: Path, raw: bytes) -> None:
    found = load_capture(kept(tmp_path, raw), "", 502)
    assert [(pair.unit, pair.ask, pair.answer, pair.took) for pair in found] == [(7, READ, ANSWER[7:], 10**9)]
    player = Player(found, 1, lambda: 0.0)
    assert player.answer(7, READ) == ANSWER[7:]
    assert player.answer(7, bytes.fromhex("0300650001")) == bytes.fromhex("03020304")


def test_what_was_sent_again_counts_once_and_a_gap_is_said(tmp_path: Path) -> None:
    ends = (US, 40000), (METER, 502)
    ask, answer = tcp(*ends, 10, ASK), tcp(*ends[::-1], 90, ANSWER)
    half = tcp(*ends[::-1], 90, ANSWER[:6]), tcp(*ends[::-1], 93, ANSWER[3:])
    left: Counter[str] = Counter()
    streams = capture.connections(kept(tmp_path, pcap(ethernet([ask, ask, *half, answer]))), 502, left)
    assert b"".join(f.data for f in streams[METER][0] if f.way == "in") == ANSWER and left["packets sent again"] == 2
    later = tcp(*ends, 100, ASK), tcp(*ends[::-1], 900, ANSWER)
    left.clear()
    capture.connections(kept(tmp_path, pcap(ethernet([ask, answer, *later]))), 502, left)
    assert left["gaps: the capture missed packets"] == 2
    anew = tcp(*ends, 3_000_000_000, ASK), tcp(*ends[::-1], 2_000_000_000, ANSWER)
    assert len(load_capture(kept(tmp_path, pcap(ethernet([ask, answer, *anew]))), "", 502)) == 2


def test_of_several_devices_one_is_named(tmp_path: Path) -> None:
    path = kept(tmp_path, pcap(ethernet([*talk(), *talk("10.0.0.9")])))
    with pytest.raises(ConfigFault, match=r"several devices \(name one with --device: 10\.0\.0\.9 \(2 frames\), 192"):
        load_capture(path, "", 502)
    assert len(load_capture(path, "10.0.0.9", 502)) == 1
    with pytest.raises(ConfigFault, match=r"holds no device '10\.0\.0\.8'"):
        load_capture(path, "10.0.0.8", 502)
    with pytest.raises(ConfigFault, match=r"nothing to or from port 1502 \(--port names"):
        load_capture(path, "", 1502)


@pytest.mark.parametrize("whole", [pcap(ethernet(talk())), pcapng(ethernet(talk()))])
def test_a_capture_that_was_cut_off_or_changed_anywhere_is_no_traceback(tmp_path: Path, whole: bytes) -> None:
    for end in range(4, len(whole)):
        changed = whole[:end] + bytes([whole[end] ^ 0xFF]) + whole[end + 1 :]
        for raw in (whole[:end], changed):
            with contextlib.suppress(ConfigFault):
                assert len(load_capture(kept(tmp_path, raw), "", 502)) <= 2


def test_the_command_says_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for raw, words, said in (
        (pcap([]), (), "holds nothing to or from port 502"),
        (pcap(ethernet(talk()[:1])), (), "holds no answer of a device"),
        (pcap(ethernet(talk())), ("--port", "0"), "--port 0 is out of range"),
    ):
        assert main(["replay", str(kept(tmp_path, raw)), *words]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["modbus_test", "modbusSmall", "modbus_test_data_part1", "fuzz-72"])
def test_captures_of_real_devices_are_served(name: str, data: Path) -> None:
    path, left = data / "protocol-captures" / f"{name}.pcap", Counter[str]()
    for device in capture.connections(path, 502, left):
        try:
            found = load_capture(path, device, 502)
        except ConfigFault as error:
            assert "holds no answer" in str(error)
            continue
        player = Player(found, 1e6, lambda: 0.0)
        assert all(player.answer(p.unit, p.ask) for p in found if p.answer and p.ts == found[0].ts)
    assert not left["packets cut off"]
