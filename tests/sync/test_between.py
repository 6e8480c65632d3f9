"""A plane, a device and things in between that misbehave: nothing jams, nothing is given up that could still arrive."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

pytest.importorskip("sqlalchemy", reason="needs the plane extra")

import zstandard
from sqlalchemy import select

from edge import SECOND, AnswerContradicts, CodecFault, DeviceLost, Event, LinesideError, Picture, Writable, Write
from edge.codec import encode_event
from edge.health import Health
from edge.journal import Journal, JournalConfig
from edge.live import Live
from edge.tags import Tag, TagTable
from edge.testing import VirtualClock, virtual_run
from edge.writes import Writes
from sync import wire
from sync.control_plane import ca, tables
from sync.control_plane.ca import Authority
from sync.control_plane.store import Store, StoreFault, apply_frames
from sync.device import identity, transport
from sync.device.identity import Identity
from sync.device.transport import Https, Refused, Rejected, TooLarge
from sync.device.uplink import SyncConfig, Uplink
from sync.invitation import token

EPOCH = "0" * 16


def raw(*fields: Any) -> bytes:
    """An event as no device of ours would write it."""
    return bytes([1]) + zstandard.ZstdCompressor().compress(msgpack.packb(fields))


HOSTILE = {
    "a gap without numbers": encode_event(Event("gap", "k", data={"stream": "samples:a", "first": "x", "last": "y"})),
    "a gap past 64 bits": encode_event(Event("gap", "k", data={"stream": "samples:a", "first": 1, "last": 2**64 - 1})),
    "a time past 64 bits": raw("i", 2**64 - 1, "alarm", "k", "raised", "high", "", {}, []),
    "a key that is no text": raw("i", 1, "x", "k", "", "high", "", {b"a": 1}, []),
    "data that are a list": raw("i", 1, "alarm", "k", "shelved", "high", "", [1], []),
    "shelved until tomorrow": raw("i", 1, "alarm", "k", "shelved", "high", "", {"until": "tomorrow"}, []),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_event_that_makes_no_sense_is_refused_and_the_next_device_is_served(database: str, what: str) -> None:
    async def main() -> None:
        store = Store(database)
        frames = {
            "bad": wire.Frame(EPOCH, "event", 1, 1, 1, 1, HOSTILE[what]),
            "good": wire.Frame(EPOCH, "event", 1, 1, 1, 1, encode_event(Event("x", "y"))),
        }
        answers = await asyncio.gather(
            *(store.write(lambda c, d=d, f=f: apply_frames(c, d, [f])) for d, f in frames.items()),
            return_exceptions=True,
        )
        assert isinstance(answers[0], CodecFault) and answers[1]["event"].watermark == 1
        assert await store.read(lambda c: c.execute(select(tables.event.c.device)).scalars().all()) == ["good"]
        store.close()

    asyncio.run(main())


def test_a_fault_of_ours_fails_one_request_and_not_those_beside_it(database: str) -> None:
    async def main() -> None:
        store = Store(database)

        def breaks(_: Any) -> None:
            raise ZeroDivisionError

        answers = await asyncio.gather(store.write(breaks), store.write(lambda c: 7), return_exceptions=True)
        assert isinstance(answers[0], StoreFault) and answers[1] == 7
        store.close()

    asyncio.run(main())


# The device against a plane that answers strangely


class Far:
    """`answers(path, body)` gives the answer to all but the polls, or raises."""

    def __init__(self, answers: Callable[[str, bytes], bytes]) -> None:
        self.answers, self.commands = answers, [msgpack.packb([])]

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        if path.startswith("/d/v1/dn"):
            await asyncio.sleep(20)
            return self.commands.pop(0) if len(self.commands) > 1 else self.commands[0]
        return b"" if path == "/d/v1/live" else self.answers(path, body)

    def close(self) -> None: ...


class Device:
    """A journal with an uplink; keeps what the uplink says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, VirtualClock()
        self.health = Health(self.clock)
        self.journal = Journal(folder / "journal.db", self.clock, JournalConfig())
        self.journal.readers = {"sync"}
        self.live = Live(TagTable([]))
        self.said: list[Any] = []

    def accept(self, item: Any) -> None:
        self.said.append(item)


def rig(folder: Path, far: Far, work: Callable[[Device, Uplink], Any], writes: bool = True) -> None:
    async def main() -> None:
        device = Device(folder)
        uplink = Uplink(SyncConfig(url="https://x", writes=writes), device, far, random.Random(1))  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(device.journal.run()), asyncio.ensure_future(uplink.run())]
        try:
            await work(device, uplink)
            assert not tasks[1].done(), "the uplink goes on"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            device.journal.close()

    virtual_run(main())


def acked(body: bytes) -> bytes:
    cursors: dict[str, Any] = {}
    for frame in wire.unpack(body):
        cursors.setdefault(frame.stream, wire.Cursor()).add(frame.seq, frame.seq)
    return wire.pack_ack(cursors)


@pytest.mark.parametrize("odd", [Refused("400 Bad Request"), TooLarge("413"), b"<html>hello</html>", b"\xc1", b""])
def test_what_stands_between_may_say_what_it_likes_and_everything_arrives_later(tmp_path: Path, odd: Any) -> None:
    odd_answers = [odd] * 4
    got: list[str] = []

    def answers(path: str, body: bytes) -> bytes:
        if odd_answers:
            answer = odd_answers.pop()
            if isinstance(answer, Exception):
                raise answer
            return bytes(answer)
        got.extend(frame.stream for frame in wire.unpack(body))
        return acked(body)

    async def work(device: Device, uplink: Uplink) -> None:
        device.journal.append(events=[Event("x", "y"), Event("x", "z")])
        await asyncio.sleep(300)
        assert got == ["event", "event"] and not device.said

    rig(tmp_path, Far(answers), work)


def test_a_picture_that_the_plane_will_not_have_holds_up_no_other(tmp_path: Path) -> None:
    got = []

    def answers(path: str, body: bytes) -> bytes:
        if path.startswith("/d/v1/picture"):
            if body == b"huge":
                raise Rejected("more than 33554432 bytes")
            got.append(body)
            return b""
        return acked(body)

    async def work(device: Device, uplink: Uplink) -> None:
        bodies = (b"one", b"huge", b"two")
        device.journal.append(pictures=[Picture(wire.digest(b), "image/jpeg", b) for b in bodies])
        await asyncio.sleep(60)
        assert got == [b"one", b"two"]
        assert [(e.kind, e.data["stream"], e.data["first"]) for e in device.said] == [("gap", "picture", 2)]

    rig(tmp_path, Far(answers), work)


def test_commands_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    async def work(device: Device, uplink: Uplink) -> None:
        await asyncio.sleep(300)
        assert [(e.kind, e.key) for e in device.said] == [("command", "write"), ("write", "5"), ("command", "ack")]
        assert (device.said[1].state, device.said[1].text) == ("refused", "by plane: this site has no such tag")

    far = Far(lambda path, body: acked(body))
    orders = [[1, "rm", {}], [2, "write", {"tag": 5, "value": "much"}], [3, "ack", {"alarm": "hot"}]]
    far.commands = [b"<html>", b"\xc1", msgpack.packb(7), msgpack.packb(orders), msgpack.packb([])]
    rig(tmp_path, far, work)


def test_an_order_that_lay_at_the_plane_for_too_long_is_not_carried_out(tmp_path: Path) -> None:
    """Its age is the plane's to tell; what the device still gives it is counted on the device's own clock."""

    async def work(device: Device, uplink: Uplink) -> None:
        device.live = Live(TagTable([Tag("plc.a", 1, source="plc", writable=Writable(range=(0, 9), expires=10.0))]))
        writes = Writes(device.live.table, device.clock)
        await asyncio.sleep(300)
        orders = [item for item in device.said if isinstance(item, Write)]
        said = [writes(order) for order in orders]
        assert [order.cause for order in orders] == ["plane anna"] * 5 + ["plane"]
        assert all(order.expires for order in orders) and "too late" in said[0][0].text, "by now each is too old"
        given = [e for e in device.said if isinstance(e, Event) and e.kind == "command"]
        assert len(given) == 7, "and each was journaled before it ran; of an odd age nothing is written"

        def left(order: Write) -> float:
            return (order.expires - orders[1].expires) / SECOND

        assert [round(left(o)) for o in orders[1:]] == [0, 8, 10, 10, 0] and left(orders[0]) < -1e8

    def order(number: int, **more: Any) -> list[Any]:
        return [number, "write", {"tag": "plc.a", "value": 1, "by": "anna"} | more]

    far = Far(lambda path, body: acked(body))
    ages = [3600 * 10**9, 10, 2.0, -5, float("nan")]
    orders = [order(n + 1, age=age) for n, age in enumerate(ages)]
    orders += [[6, "write", {"tag": "plc.a", "value": 1, "age": 10}], order(7, age="old")]
    far.commands = [msgpack.packb(orders), msgpack.packb([])]
    rig(tmp_path, far, work)


def test_orders_of_the_plane_are_off_until_the_site_says_otherwise(tmp_path: Path) -> None:
    async def work(device: Device, uplink: Uplink) -> None:
        device.live = Live(TagTable([Tag("plc.a", 1, source="plc", writable=Writable(range=(0, 9)))]))
        await asyncio.sleep(300)
        assert [(e.kind, e.key, e.state) for e in device.said] == [
            ("command", "write", ""),
            ("write", "plc.a", "refused"),
        ]
        assert (
            device.said[1].text
            == "by plane eva: this site takes no orders of the plane; `sync: {writes: true}` allows them"
        )

    far = Far(lambda path, body: acked(body))
    order = [1, "write", {"tag": "plc.a", "value": 1, "by": "eva"}]
    far.commands = [msgpack.packb([order]), msgpack.packb([])]
    rig(tmp_path, far, work, writes=False)


def test_answers_are_read_or_refused() -> None:
    for body in (b"", b"\xc1", msgpack.packb({"event": 5}), msgpack.packb({"event": ["a", []]}), msgpack.packb([1])):
        with pytest.raises(AnswerContradicts):
            wire.unpack_ack(body)
    for body in (b"", b"\xc1", msgpack.packb([[1, "ack"]]), msgpack.packb([["x", "ack", {}]]), msgpack.packb(3)):
        with pytest.raises(AnswerContradicts):
            wire.unpack_commands(body)


# HTTPS against real sockets

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
ANSWERS = {
    "a proxy's 400": (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", Refused),
    "a proxy's 413": (b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", TooLarge),
    "what the plane itself refuses": (b"HTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n", Rejected),
    "a redirection": (b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n", Refused),
    "an error": (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", DeviceLost),
    "no HTTP": (b"220 mail.example ESMTP\r\n\r\n", DeviceLost),
    "half an answer": (OK + b"Content-Length: 100\r\n\r\nhalf", DeviceLost),
    "an endless answer": (OK + b"Content-Length: 9000000\r\n\r\n" + b"\0" * 9_000_000, DeviceLost),
    "nothing": (b"", DeviceLost),
}


async def asked(folder: Path, answer: bytes, drip: bool = False, timeout: float = 5.0) -> bytes:
    """What Https makes of a server that answers with these bytes: at once and then closes, or a byte at a time for ever."""
    authority = Authority(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.server(["127.0.0.1"]))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            while drip:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    line = Https(Identity("d", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", "s", authority.pem))
    try:
        return await line.exchange("POST", "/d/v1/up", b"x", timeout)
    finally:
        line.close()
        server.close()


@pytest.mark.parametrize("what", ANSWERS)
def test_every_answer_has_its_meaning(tmp_path: Path, what: str) -> None:
    answer, fault = ANSWERS[what]
    with pytest.raises(LinesideError) as caught:
        asyncio.run(asked(tmp_path, answer))
    assert type(caught.value) is fault and caught.value.heals


def test_an_answer_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "GRACE", 0.3)
    with pytest.raises(DeviceLost, match="no whole answer"):
        asyncio.run(asked(tmp_path, OK + b"Content-Length: 100000\r\n\r\n", drip=True, timeout=0.3))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("another authority", "is not the plane we enrolled with: .*enroll again"),
        ("another name", "the plane's certificate is not for https://127.*--name"),
        ("another time", "by this device's clock .20.* certificate has expired .*set the clock"),
    ],
)
def test_what_is_not_believed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, said: str) -> None:
    async def main() -> None:
        if how == "another time":
            monkeypatch.setattr(ca, "SERVER_DAYS", -0.5)
        mine = Authority(tmp_path / "mine")
        known = Authority(tmp_path / "other") if how == "another authority" else mine
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*mine.server(["localhost" if how == "another name" else "127.0.0.1"]))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(OK + b"Connection: close\r\n\r\n" + known.pem.encode())
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        line = Https(Identity("d", url, "s", known.pem))
        with pytest.raises(Refused, match=said):
            await line.exchange("GET", "/d/v1/dn")
        with pytest.raises(LinesideError, match=said):
            words = token(url, known.fingerprint, "x")
            await asyncio.to_thread(identity.enroll, words, "d", tmp_path / "d")
        line.close()
        server.close()

    asyncio.run(main())


def test_a_daemon_takes_up_what_enroll_wrote_later(tmp_path: Path) -> None:
    with pytest.raises(LinesideError, match="not enrolled") as absent:
        identity.load(tmp_path, "d")
    (tmp_path / identity.FILE).write_text("{")
    with pytest.raises(LinesideError, match="damaged") as damaged:
        identity.load(tmp_path, "d")
    assert absent.value.heals and damaged.value.heals


def test_enrolling_at_something_else_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        authority = Authority(tmp_path / "ca")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*authority.server(["127.0.0.1"]))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked_for = await reader.readuntil(b"\r\n\r\n")
            body = authority.pem.encode() if asked_for.startswith(b"GET") else b"<html>Bad Gateway</html>"
            status = b"200 OK" if asked_for.startswith(b"GET") else b"502 Bad Gateway"
            writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n" + body)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        words = token(url, authority.fingerprint, "x")
        with pytest.raises(LinesideError, match="the plane said no: it answers 502"):
            await asyncio.to_thread(identity.enroll, words, "d", tmp_path / "d")
        server.close()

    asyncio.run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away (sudo make test)")
def test_an_identity_made_with_sudo_is_for_the_owner_of_the_folder(tmp_path: Path) -> None:
    try:
        os.chown(tmp_path, 12345, 12345)
    except OSError:
        pytest.skip("this root may give no file away (sudo make test)")
    identity.keep(Identity("d", "https://x", "s", "c"), tmp_path)
    kept = (tmp_path / identity.FILE).stat()
    assert (kept.st_uid, kept.st_gid, kept.st_mode & 0o777) == (12345, 12345, 0o600)
    assert identity.load(tmp_path, "d").secret == "s"
