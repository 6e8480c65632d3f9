"""`lineside scan cameras`: found, looked at, and written down for the site."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

cv2 = pytest.importorskip("cv2", reason="needs the vision extra")

from drivers.camera import onvif, quality, rtsp, scan, v4l2
from drivers.camera.driver import CameraConfig
from drivers.camera.parts import render
from drivers.camera.sim import CameraSim
from edge.bench.process import free_port
from edge.cli import main
from edge.config.load import load_text

RATE = [k * 50_000_000 for k in range(12)]  # 20 a second


# How good a picture is


def said(image: np.ndarray, stamps: list[int] = RATE) -> str:
    return "; ".join(quality.words(quality.look(image), stamps))


def test_a_picture_in_plain_words() -> None:
    part = render(7, "")
    assert re.fullmatch(r"exposure fine; sharp \(focus \d\.\d+\); 20\.0 pictures a second", said(part))
    for image, words in (
        (cv2.GaussianBlur(part, (0, 0), 4), "blurred"),
        (cv2.convertScaleAbs(part, alpha=1, beta=160), "too bright"),
        (cv2.convertScaleAbs(part, alpha=0.05), "too dark"),
        (np.full_like(part, 128), "nothing in it to focus on"),
        (np.zeros_like(part), "is the cap on?"),
    ):
        assert words in said(image), words


def test_one_judgement_fits_cameras_of_every_size() -> None:
    for scale in (2, 8):
        large = cv2.resize(render(7, ""), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
        assert "sharp" in said(large)
        assert "blurred" in said(cv2.GaussianBlur(large, (0, 0), 4 * scale))


def test_the_rate_is_that_of_the_time_stamps() -> None:
    assert quality.rate(RATE) == pytest.approx(20)
    assert quality.rate([]) == quality.rate([5]) == quality.rate([5, 5]) == 0
    gap = [*RATE, RATE[-1] + 10**9]
    assert "with a gap of 1.00 s: is the network busy?" in said(render(7, ""), gap)


# This machine


def test_what_a_local_camera_says_about_itself(tmp_path: Path) -> None:
    def answer(name: bytes, all_of_it: int, own: int) -> v4l2.Device:
        whole = b"uvcvideo".ljust(16, b"\0") + name.ljust(32, b"\0") + b"usb-1".ljust(32, b"\0")
        numbers = b"".join(n.to_bytes(4, "little") for n in (0x60000, all_of_it, own))
        return v4l2.capability(Path("/dev/video0"), whole + numbers + bytes(12))

    assert answer(b"HD Cam\xff", 0x84A00001, 0x04200001) == v4l2.Device(
        Path("/dev/video0"), "HD Cam\ufffd", "usb-1", True
    )
    assert not answer(b"its metadata", 0x84A00001, 0x04A00000).captures
    (tmp_path / "video0").write_bytes(b"")
    found, why = v4l2.devices(tmp_path)
    assert found == [] and len(why) == 1 and "video0: Inappropriate ioctl" in why[0]


def test_a_local_camera_is_a_camera_of_a_site() -> None:
    site = "device: {id: a}\ndrivers: {top: {driver: camera, url: 'v4l2:/dev/video0'}}\n"
    assert not load_text(site).problems
    assert "names no v4l2" in str(load_text(site.replace("/dev/video0", "")).problems[0])


# The network


def matches(question: str, *cameras: tuple[str, str]) -> bytes:
    def one(address: str, scopes: str) -> str:
        return f"<d:ProbeMatch><d:Scopes>{scopes}</d:Scopes><d:XAddrs>{address}</d:XAddrs></d:ProbeMatch>"

    return (
        '<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="urn:e" xmlns:d="urn:d" xmlns:w="urn:w"><e:Header>'
        f"<w:RelatesTo>urn:uuid:{question}</w:RelatesTo></e:Header><e:Body><d:ProbeMatches>"
        f"{''.join(one(*camera) for camera in cameras)}</d:ProbeMatches></e:Body></e:Envelope>"
    ).encode()


NAMED = "onvif://www.onvif.org/type/ptz onvif://www.onvif.org/name/Cam%201 onvif://www.onvif.org/hardware/X9"


class Responder(asyncio.DatagramProtocol):
    """Answers a WS-Discovery question, with noise before and after."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, sender: Any) -> None:
        (question,) = re.findall(r"urn:uuid:([0-9a-f-]+)</w:MessageID>", data.decode())
        bomb = b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]>" + matches(question, ("http://10.0.0.66/onvif", NAMED))
        for answer in (
            b"\xff\0garbage",
            b"<unfinished",
            bomb,
            matches("another-question", ("http://10.0.0.67/onvif", NAMED)),
            matches(question, ("http://[::1", "")),
            matches(question, ("http://127.0.0.1/onvif/device_service http://[fe80::1]/onvif", NAMED)),
            matches(question, ("http://10.0.0.5:8080/onvif", "odd")),
            b"<a/>" * 10,
        ):
            self.transport.sendto(answer, sender)


@contextlib.asynccontextmanager
async def responder(line: socket.socket) -> AsyncIterator[None]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Responder, sock=line)
    try:
        yield
    finally:
        transport.close()


def test_cameras_answer_to_discovery() -> None:
    async def work() -> None:
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.bind(("127.0.0.1", 0))
        async with responder(line):
            found = await onvif.discover(1.0, to=line.getsockname())
        assert found == [onvif.Answer("127.0.0.1", "Cam 1 X9"), onvif.Answer("10.0.0.5", "")]

    asyncio.run(work())


def test_discovery_reaches_a_multicast_group() -> None:
    async def work() -> None:
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.bind(("", 0))
        group = socket.inet_aton(onvif.GROUP[0]) + socket.inet_aton("127.0.0.1")
        line.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        async with responder(line):
            to = (onvif.GROUP[0], line.getsockname()[1])
            found = await onvif.discover(1.0, to=to, interface="127.0.0.1")
        assert onvif.Answer("127.0.0.1", "Cam 1 X9") in found

    asyncio.run(work())


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: matches("q", ("http://h/" + text, text))))
def test_any_answer_is_a_camera_or_left_out(data: bytes) -> None:
    for found in onvif.read_answer(data, "q", "1.2.3.4"):
        assert found.host and len(found.name) <= 80 and (found.name.isprintable() or not found.name)


# Paths of a host


def served(answers: Callable[[str, str], bytes]) -> Any:
    """A host that answers `answers(path, request)` to each DESCRIBE."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = re.match(r"DESCRIBE rtsp://[^/]+(\S+) RTSP/1.0\r\n", request)
                assert path
                if not (answer := answers(path[1], request)):
                    break
                writer.write(answer)
        writer.close()

    return asyncio.start_server(serve, "127.0.0.1", 0)


def tried(answers: Callable[[str, str], bytes], **login: str) -> list[rtsp.Stream]:
    async def work() -> list[rtsp.Stream]:
        server = await served(answers)
        async with server, asyncio.timeout(120):
            return await rtsp.streams(rtsp.Client("127.0.0.1", server.sockets[0].getsockname()[1], **login))

    return asyncio.run(work())


NOT_FOUND = b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n"
FOUND = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nv=0\r\n"


def test_usual_paths_are_tried() -> None:
    has = {"/Streaming/Channels/101", "/live"}
    assert tried(lambda path, _: FOUND if path in has else NOT_FOUND) == [
        rtsp.Stream("/Streaming/Channels/101", True),
        rtsp.Stream("/live", True),
    ]
    assert tried(lambda path, _: FOUND) == [rtsp.Stream("/", True)]
    assert tried(lambda path, _: NOT_FOUND) == []


def test_basic_and_digest_login() -> None:
    basic, logins = base64.b64encode(b"me:secret").decode(), []

    def with_basic(path: str, request: str) -> bytes:
        logins.extend(re.findall("Authorization: ", request))
        if f"Authorization: Basic {basic}" not in request:
            return b'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="cam"\r\n\r\n'
        return FOUND if path == "/live" else NOT_FOUND

    def with_digest(path: str, request: str) -> bytes:
        logins.extend(re.findall("Authorization: ", request))
        who, uri = rtsp._md5("me:cam:secret"), re.findall(r"DESCRIBE (\S+)", request)[0]
        right = rtsp._md5(f"{who}:n1:{rtsp._md5(f'DESCRIBE:{uri}')}")
        if f'response="{right}"' not in request:
            return b'RTSP/1.0 401 No\r\nWWW-Authenticate: Digest realm="cam", nonce="n1"\r\nContent-Length: 0\r\n\r\n'
        return FOUND if path == "/live" else NOT_FOUND

    for answers in (with_basic, with_digest):
        assert tried(answers, user="me", password="secret") == [rtsp.Stream("/live", True)]
        assert tried(answers) == [rtsp.Stream("/", False)]
        logins.clear()
        assert tried(answers, user="me", password="wrong") == [rtsp.Stream("/", False)]
        assert len(logins) == 1  # cameras lock a user out after a few


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"x" * 200_000,
        b"RTSP/1.0 200 OK\r\nContent-Length: 999999\r\n\r\n",
    ],
)
def test_what_is_no_rtsp_is_told(answer: bytes) -> None:
    with pytest.raises((ValueError, ConnectionError)):
        tried(lambda path, request: answer)


# The command


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["scan", "cameras", *words])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_real_rtsp_server_is_found_looked_at_and_written_down(
    rtsp: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = rtsp.removeprefix("rtsp://").removesuffix("/test")
    code, out, err = run(capsys, "--only-hosts", "--host", host, "--snapshots", str(tmp_path))
    assert code == 0, err
    site = load_text("device: {id: d}\n" + out)
    assert not site.problems and [d.url for d in site.drivers.values()] == [rtsp]
    assert "160 x 120" in out and "pictures a second" in out and "exposure fine" in out
    (snapshot,) = tmp_path.glob("*.jpg")
    assert cv2.imread(str(snapshot)).shape == (120, 160, 3)
    code, out, _ = run(capsys, "--only-hosts", "--host", host, "--snapshots", str(tmp_path), "--json")
    found = json.loads(out)
    assert code == 0 and found["url"] == rtsp and found["size"] == [160, 120] and 5 < found["rate"] < 40


def test_with_a_user_the_password_stays_out_of_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = scan.Found("rtsp", "Cam\n1", "rtsp://me:pw@h/live", "rtsp://h/live", (4, 4), said=["sharp"])
    found.seen = quality.look(render(7, ""))
    options = type("O", (), {"json": False, "user": "me"})()
    scan._print([found], options)
    out = capsys.readouterr().out
    assert "url: !secret h_live" in out and "h_live: rtsp://me:PASSWORD@h/live" in out and "pw" not in out
    assert len(out.splitlines()) == 4 and "pw" not in json.dumps(found.as_json())


def test_a_camera_whose_address_is_known_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "1.png"), render(7, ""))
    named = f"folder:{tmp_path / 'pictures'}"
    code, out, err = run(capsys, "--only-hosts", "--url", named, "--snapshots", str(tmp_path))
    assert code == 0 and f'driver: camera, url: "{named}"' in out, err
    assert len(list(tmp_path.glob("*.jpg"))) == 1
    found = scan._named("rtsp://me:p%40w@h:554/live")
    assert found.url == "rtsp://me:p%40w@h:554/live" and "p%40w" not in json.dumps(found.as_json())
    found.size, found.seen = (4, 4), quality.look(render(7, ""))
    scan._print([found], type("O", (), {"json": False, "user": ""})())
    out = capsys.readouterr().out
    assert "rtsp://me:PASSWORD@h:554/live" in out and "url: !secret h_554_live" in out and "p%40w" not in out
    assert run(capsys, "--only-hosts", "--url", "ftp://h/x")[0] == 2


def test_what_is_in_the_way_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    port = free_port()
    code, out, err = run(capsys, "--only-hosts", "--host", f"127.0.0.1:{port}")
    assert code == 1 and out == "" and f"127.0.0.1:{port}: Connection refused" in err
    code, _, err = run(capsys, "--only-hosts")
    assert code == 1 and "name its address with --host" in err
    for words, hint in (
        (("--host", "a b"), "is no host"),
        (("--host", "h:99999"), "is no host"),
        (("--seconds", "0"), "--seconds is out of range"),
        (("--snapshots", str(tmp_path / "none")), "there is no folder"),
    ):
        code, _, err = run(capsys, *words)
        assert code == 2 and hint in err, err
    assert main(["scan", "submarines"]) == 2


def test_a_camera_that_stops_in_the_middle_is_told() -> None:
    async def work() -> None:
        port = free_port()
        config = CameraConfig(driver="camera", url=f"http://127.0.0.1:{port}/top")
        sim = CameraSim("top", config)
        await sim.start()
        camera = scan.Found("http", "top", config.url, config.url)
        looking = asyncio.ensure_future(scan._look(camera, Path("/nowhere")))
        while not camera.size[0]:
            await asyncio.sleep(0.01)
        await sim.stop()
        await looking
        assert camera.seen is None and camera.said == ["the stream ended"]

    asyncio.run(work())


def test_a_camera_of_this_machine_says_its_exposure_and_gain_and_who_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has = {0x009A0902: 156, 0x009A0901: 1}  # exposure in 100 us, by hand; no gain
    broken = 0

    def ioctl(device: int, request: int, answer: bytearray) -> int:
        assert request == v4l2.G_CTRL
        number, _ = struct.unpack("=Ii", answer)
        if broken or number not in has:
            raise OSError(broken or errno.EINVAL, "as a kernel says it")
        answer[:] = struct.pack("=Ii", number, has[number])
        return 0

    monkeypatch.setattr(v4l2.fcntl, "ioctl", ioctl)
    device = tmp_path / "device"
    device.touch()
    assert v4l2.settings(device) == {"exposure_us": 15600.0, "exposure_mode": 1.0}
    broken = errno.ENODEV
    with pytest.raises(OSError, match="kernel"):
        v4l2.settings(device)
    monkeypatch.setattr(v4l2, "query", lambda path: v4l2.Device(path, "HD Cam", "usb-1", True))
    (tmp_path / "usb/if0").mkdir(parents=True)
    (tmp_path / "usb/serial").write_text("A17\n")
    (tmp_path / "video0").mkdir()
    (tmp_path / "video0/device").symlink_to(tmp_path / "usb/if0")
    assert v4l2.identity(Path("/dev/video0"), tmp_path) == {"model": "HD Cam", "bus": "usb-1", "serial": "A17"}
    assert v4l2.identity(Path("/dev/video1"), tmp_path) == {"model": "HD Cam", "bus": "usb-1"}
