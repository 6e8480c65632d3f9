"""HTTPS and the enrolment against far sides that answer nonsense, too much, too slowly, or are somebody else. On real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import DeviceLost, LinesideError
from edge.cli import main
from sync import half_open
from sync.control_plane import ca
from sync.control_plane.ca import Authority
from sync.device import enrolment, identity, transport
from sync.device.identity import Identity
from sync.device.transport import Https, Refused, Rejected, TooLarge
from sync.invitation import token

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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server(["127.0.0.1"]))

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

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    line = Https(Identity("d", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", "s", authority.pem, ""))
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


def test_the_kernel_finds_out_that_a_far_side_is_gone(tmp_path: Path) -> None:
    """A half-open connection: nothing says so, and an answer may take long."""

    async def main() -> None:
        authority, context = Authority(tmp_path), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.server(["127.0.0.1"]))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        line = Https(Identity("d", url, "s", authority.pem, ""))
        await line.exchange("GET", "/d/v1/dn")
        connected = line._pool.connection_from_url(url)._get_conn().sock
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000 * half_open.GONE
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        connected.close()
        line.close()
        server.close()

    asyncio.run(main())


@pytest.mark.parametrize("answer", [OK + b"Content-Length: 100000\r\n\r\n", b"HTTP/1.1 200 "])
def test_an_answer_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(transport, "GRACE", 0.3)

    async def main() -> None:
        with pytest.raises(DeviceLost, match="no whole answer"):
            await asked(tmp_path, answer, drip=True, timeout=0.3)
        await nobody_waits()

    asyncio.run(main())


async def nobody_waits() -> None:
    """Until no thread of ours waits for a far side any more."""
    async with asyncio.timeout(120):
        while {thread.name for thread in threading.enumerate()} & {"sync"}:
            await asyncio.sleep(0.02)


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
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*mine.server(["localhost" if how == "another name" else "127.0.0.1"]))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(OK + b"Connection: close\r\n\r\n" + known.pem.encode())
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        line = Https(Identity("d", url, "s", known.pem, ""))
        with pytest.raises(Refused, match=said):
            await line.exchange("GET", "/d/v1/dn")
        with pytest.raises(LinesideError, match=said):
            words = token(url, known.fingerprint, "x")
            await asyncio.to_thread(enrolment.enroll, words, "d", tmp_path / "d")
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


def test_a_proxy_is_somewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plane", "proxy", "--folder", str(tmp_path)]) == 2
    assert "say it as in --url https://plane.example:8443" in capsys.readouterr().err


def test_enrolling_at_something_else_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        authority = Authority(tmp_path / "ca")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.server(["127.0.0.1"]))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked_for = await reader.readuntil(b"\r\n\r\n")
            body = authority.pem.encode() if asked_for.startswith(b"GET") else b"<html>Bad Gateway</html>"
            status = b"200 OK" if asked_for.startswith(b"GET") else b"502 Bad Gateway"
            writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n" + body)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        words = token(url, authority.fingerprint, "x")
        with pytest.raises(LinesideError, match="the plane said no: it answers 502"):
            await asyncio.to_thread(enrolment.enroll, words, "d", tmp_path / "d")
        server.close()

    asyncio.run(main())


@pytest.mark.parametrize("body", ["two authorities", "too much"])
def test_who_sits_between_at_the_enrolment_is_not_believed(tmp_path: Path, body: str) -> None:
    """The token proves one certificate. What somebody in between adds to it must not be trusted with it."""

    async def main() -> None:
        evil = Authority(tmp_path / "evil")
        mine = next(a for a in (Authority(tmp_path / f"ca{k}") for k in range(50)) if a.pem.strip()[:-26].endswith("="))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*evil.server(["127.0.0.1"]))
        heard: list[bytes] = []
        said = (mine.pem.strip() + "\n" + evil.pem).encode() if body == "two authorities" else b"x" * 10_000_000

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                asked_for = await reader.readuntil(b"\r\n\r\n")
                heard.append(asked_for)
                answer = said if asked_for.startswith(b"GET") else b'{"secret": "theirs"}'
                writer.write(OK.replace(b"text/html", b"application/json") + b"Connection: close\r\n\r\n" + answer)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        words = token(url, mine.fingerprint, "x")
        with pytest.raises(LinesideError):
            await asyncio.to_thread(enrolment.enroll, words, "d", tmp_path / "d")
        server.close()
        assert not any(asked_for.startswith(b"POST") for asked_for in heard), "the invitation is for the plane alone"
        assert not (tmp_path / "d" / identity.FILE).exists()

    asyncio.run(main())


def test_an_identity_is_on_the_disk_under_its_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token that it was traded for is used up: a power cut must not leave neither."""
    synced: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(line: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{line}"), (tmp_path / identity.FILE).exists()))
        real(line)

    monkeypatch.setattr(os, "fsync", fsync)
    identity.keep(Identity("d", "https://x", "s", "c", "k"), tmp_path)
    assert [there for _, there in synced] == [False, True] and synced[1][0] == str(tmp_path.resolve())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away (sudo make test)")
def test_an_identity_made_with_sudo_is_for_the_owner_of_the_folder(tmp_path: Path) -> None:
    try:
        os.chown(tmp_path, 12345, 12345)
    except OSError:
        pytest.skip("this root may give no file away (sudo make test)")
    identity.keep(Identity("d", "https://x", "s", "c", "k"), tmp_path)
    kept = (tmp_path / identity.FILE).stat()
    assert (kept.st_uid, kept.st_gid, kept.st_mode & 0o777) == (12345, 12345, 0o600)
    assert identity.load(tmp_path, "d").secret == "s"
