"""Servers that are not ours, one of each kind, on each way on which a device talks: refused, said in words, and told nothing."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socketserver
import ssl
import threading
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from cryptography.hazmat.primitives.asymmetric import ec

from edge import LinesideError
from sync.broker import BrokerConfig
from sync.control_plane import ca, issuer
from sync.control_plane.ca import Asked, Authority
from sync.control_plane.issuer import Wanted
from sync.control_plane.plane import Plane
from sync.control_plane.where import Where
from sync.device import enrolment, identity, key
from sync.device.certificate import Certificate
from sync.device.identity import Identity
from sync.device.mqtt import Mqtt
from sync.device.transport import Https
from sync.device.update_source import AtPlane
from sync.invitation import token
from sync.tls import safe

SECRET = b"the-pressure-of-press-4"
INVITATION = "an-invitation-for-one"
HERE = "127.0.0.1"
TELLTALE = (SECRET, INVITATION.encode(), b"CERTIFICATE REQUEST", b"press-4", b"updates", b"MQTT")


@dataclass
class Scene:
    """`authority` is that of the device; `folder` is for what a rogue makes."""

    authority: Authority
    folder: Path

    def shows(self, cert: bytes, private: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
        file = self.folder / "rogue.pem"
        file.write_bytes(cert + issuer.private(private))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def signed(self, kind: str, days: float = 90) -> ssl.SSLContext:
        """A certificate of our own authority's for this address."""
        fresh = ec.generate_private_key(ec.SECP256R1())
        root = self.authority._root
        wanted = Wanted(kind, HERE, fresh.public_key(), days, names=[HERE], since=root.not_valid_before_utc)
        return self.shows(issuer.pem(self.authority._signer.sign(wanted)), fresh)

    def of(self, authority: Authority, names: list[str]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.server(names))
        return context


def self_signed(it: Scene) -> ssl.SSLContext:
    fresh, name = ec.generate_private_key(ec.SECP256R1()), issuer._name(HERE)
    builder = issuer._builder(name, name, fresh.public_key(), issuer.times(90))
    names = issuer.x509.SubjectAlternativeName(issuer.names_of([HERE]))
    return it.shows(
        issuer.pem([builder.add_extension(names, critical=False).sign(fresh, issuer.hashes.SHA256())]), fresh
    )


def of_a_device(it: Scene) -> ssl.SSLContext:
    """Even one that bore this address: the use that is written in it is to knock, not to serve."""
    return it.signed("device")


def signed_by_a_device(it: Scene) -> ssl.SSLContext:
    mine = key.made()
    device = ca.chain.read(it.authority.client(Asked.read(key.request(mine, "press-4").encode())))
    fresh = ec.generate_private_key(ec.SECP256R1())
    below = issuer.Issuer(key.private(mine), device[0])
    cert = below.sign(Wanted("server", HERE, fresh.public_key(), 30, names=[HERE]))
    return it.shows(issuer.pem([*cert, *device[1:]]), fresh)


def speaking(version: ssl.TLSVersion, ciphers: str) -> Callable[[Scene], ssl.SSLContext]:
    def made(it: Scene) -> ssl.SSLContext:
        context = it.signed("server")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, version
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        return context

    return made


NOT_OURS = "is not the plane we enrolled with.*enroll again|is not trusted.*check `ca`"
ANOTHER = "is not for https://127.*--name|is not trusted.*IP address mismatch.*as its certificate does"
PURPOSE = "that is not a server's.*somebody there passes for it|is not trusted.*purpose.*check `ca`"
TIME = "by this device's clock .*expired.*set the clock|is not trusted: certificate has expired"
OLD = "speaks TLS 1.1 or older only.*update what stands there"
WEAK = "knows no safe cipher of TLS.*update what stands there"
PLAIN = "does not speak TLS.*nothing was sent there"
ROGUES: dict[str, tuple[Callable[[Scene], ssl.SSLContext | None], str]] = {
    "one that signed for itself": (self_signed, NOT_OURS),
    "a proxy in between that ends TLS": (lambda it: it.of(Authority(it.folder / "evil"), [HERE]), NOT_OURS),
    "another name of our authority": (lambda it: it.of(it.authority, ["10.0.0.9"]), ANOTHER),
    "a device that passes for the plane": (of_a_device, PURPOSE),
    "one that a device signed": (signed_by_a_device, f"{NOT_OURS}|invalid CA"),
    "a certificate whose time is over": (lambda it: it.signed("server", -0.5), TIME),
    "TLS 1.0": (speaking(ssl.TLSVersion.TLSv1, "ALL"), OLD),
    "TLS 1.1": (speaking(ssl.TLSVersion.TLSv1_1, "ALL"), OLD),
    "no encryption": (speaking(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-NULL-SHA"), WEAK),
    "no authentication": (speaking(ssl.TLSVersion.TLSv1_2, "AECDH-AES128-SHA"), WEAK),
    "CBC with SHA-1": (speaking(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA"), WEAK),
    "CBC": (speaking(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"), WEAK),
    "no TLS at all": (lambda it: None, PLAIN),
}


class Server(socketserver.ThreadingTCPServer):
    """Answers as the plane would, the genuine root to whoever asks for it, and keeps what it was told."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None, root: str) -> None:
        super().__init__((HERE, 0), Visitor)
        self.context, self.root, self.heard = context, root.encode(), b""
        self.port = int(self.server_address[1])
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Visitor(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            it, line = self.server, self.request
            if it.context:
                line = it.context.wrap_socket(line, server_side=True)
            heard = b""
            while piece := line.recv(65536):
                heard += piece
                if heard.startswith(b"GET /d/v1/ca ") and heard.endswith(b"\r\n\r\n"):
                    line.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + it.root)
                    break
                it.heard += piece
                if not it.context:
                    line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    break
                if any(word in it.heard for word in TELLTALE):
                    break
            line.close()


def known(it: Scene, port: int) -> Identity:
    """A device that was enrolled with our authority; the address leads elsewhere now."""
    me = Identity("press-4", f"https://{HERE}:{port}", SECRET.decode(), it.authority.pem, key.made())
    identity.keep(me, it.folder / "dev")
    Certificate(it.folder / "dev", me).keep(it.authority.client(Asked.read(key.request(me.key, me.device).encode())))
    return me


async def deliver(it: Scene, port: int) -> None:
    me = known(it, port)
    line = Https(me, Certificate(it.folder / "dev", me))
    try:
        await line.exchange("POST", "/d/v1/up", SECRET)
    finally:
        line.close()


async def update(it: Scene, port: int) -> None:
    me = known(it, port)
    line = Https(me, Certificate(it.folder / "dev", me))
    try:
        await asyncio.to_thread(AtPlane(line).read, "metadata/timestamp.json", 0)
    finally:
        line.close()


async def enrol(it: Scene, port: int) -> None:
    words = token(f"https://{HERE}:{port}", it.authority.fingerprint, INVITATION)
    await asyncio.to_thread(enrolment.enroll, words, "press-4", it.folder / "new")


async def through_a_broker(it: Scene, port: int) -> None:
    me = known(it, port)
    line = Mqtt(BrokerConfig(url=f"mqtts://{HERE}:{port}"), me, it.folder / "dev")
    try:
        await line.exchange("POST", "/d/v1/up", SECRET)
    finally:
        line.close()


WAYS: dict[str, Callable[[Scene, int], Awaitable[None]]] = {
    "delivery": deliver,
    "update": update,
    "enrolment": enrol,
    "broker": through_a_broker,
}


def meets(tmp_path: Path, way: str, rogue: Callable[[Scene], ssl.SSLContext | None]) -> tuple[str, bytes]:
    """(what the device says, what the server heard)."""

    async def work() -> tuple[str, bytes]:
        it = Scene(Authority(tmp_path / "ours"), tmp_path)
        with Server(rogue(it), it.authority.pem) as server:
            with pytest.raises(LinesideError) as caught:
                await WAYS[way](it, server.port)
            return str(caught.value), server.heard

    return asyncio.run(work())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rogue", ROGUES)
def test_a_rogue_is_refused_and_told_nothing(tmp_path: Path, rogue: str, way: str) -> None:
    made, wanted = ROGUES[rogue]
    said, heard = meets(tmp_path, way, made)
    assert re.search(wanted, said), said
    assert not [word for word in TELLTALE if word in heard], heard
    assert not (tmp_path / "new" / identity.FILE).exists()


@pytest.mark.parametrize("way", WAYS)
def test_the_plane_itself_is_told(tmp_path: Path, way: str) -> None:
    """So the others were refused for what they are, and their ears were open."""
    _, heard = meets(tmp_path, way, lambda it: it.signed("server"))
    assert any(word in heard for word in TELLTALE)


def test_a_token_of_another_root_is_refused(tmp_path: Path) -> None:
    """Whoever answers at its address, and be it a plane."""

    async def work() -> None:
        it = Scene(Authority(tmp_path / "ours"), tmp_path)
        with Server(it.signed("server"), it.authority.pem) as server:
            words = token(f"https://{HERE}:{server.port}", "ab" * 32, INVITATION)
            with pytest.raises(LinesideError, match=r"is not the one that wrote this token .*is the address right"):
                await asyncio.to_thread(enrolment.enroll, words, "press-4", tmp_path / "new")
            assert not server.heard

    asyncio.run(work())


def test_a_machine_that_allows_old_tls_does_not_allow_it_here() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    assert safe(context).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    "ciphers", ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"]
)
def test_the_plane_s_own_listener_takes_safe_ciphers_only(tmp_path: Path, ciphers: str) -> None:
    async def work() -> None:
        plane = Plane(Where(tmp_path, device_port=0, page_port=0))
        await plane.start()
        context = ssl.create_default_context(cadata=plane.authority.pem)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        port = int(plane.url.rpartition(":")[2])
        try:
            if "GCM" in ciphers:
                _, writer = await asyncio.open_connection(HERE, port, ssl=context)
                writer.close()
            else:
                with pytest.raises((ssl.SSLError, ConnectionResetError)):
                    await asyncio.open_connection(HERE, port, ssl=context)
        finally:
            await plane.stop()

    asyncio.run(work())
