"""The root's key may lie elsewhere: an issuer signs, is followed by another one, and no device is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import shutil
import ssl
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edge import LinesideError
from edge.cli import main
from sync import chain, disown, wire
from sync.broker import BrokerConfig
from sync.control_plane import ca, issuer, plane, presence
from sync.control_plane.ca import Asked, Authority, keep
from sync.control_plane.invite import Wish, invited
from sync.control_plane.plane import Plane
from sync.control_plane.where import Where
from sync.device import enrolment, identity, key
from sync.device.certificate import Certificate
from sync.device.mqtt import Mqtt
from sync.device.transport import Https, Stranger
from sync.invitation import token
from sync.tls import doubt

STANDS = f"/d/v1/stands?epoch={'0' * 16}"


def one_level(folder: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """An authority as it was made before there were issuers: nobody may stand below it."""
    mine, name = ec.generate_private_key(ec.SECP256R1()), issuer._name(issuer.NAME)
    builder = issuer._builder(name, name, mine.public_key(), issuer.times(3650))
    cert = issuer._authority(builder, mine.public_key(), path_length=0).sign(mine, hashes.SHA256())
    folder.mkdir(parents=True)
    keep(folder / "ca.key", issuer.private(mine))
    keep(folder / "ca.pem", issuer.pem([cert]))
    return mine, cert


async def enrolled(it: Plane, folder: Path, device: str = "d") -> identity.Identity:
    words = token(it.url, it.authority.fingerprint, await invited(it.store, Wish()))
    return await asyncio.to_thread(enrolment.enroll, words, device, folder)


async def let_in(it: Plane, folder: Path, device: str = "d") -> bytes:
    """What it is answered, with a connection of its own, at the address where the plane is now."""
    me = replace(identity.load(folder, device), url=it.url)
    line = Https(me, Certificate(folder, me))
    try:
        return await line.exchange("GET", STANDS)
    finally:
        line.close()


async def started(folder: Path) -> Plane:
    it = Plane(Where(folder, device_port=0, page_port=0))
    await it.start()
    return it


def signer_of(folder: Path) -> x509.Certificate:
    return chain.read((folder / "device.pem").read_bytes())[1]


def test_with_the_root_s_key_away_the_plane_starts_enrols_and_renews(tmp_path: Path) -> None:
    async def work() -> None:
        it = await started(tmp_path / "plane")
        await it.stop()
        (tmp_path / "plane" / "ca.key").rename(tmp_path / "safe.key")
        it = await started(tmp_path / "plane")
        await enrolled(it, tmp_path / "d")
        assert await let_in(it, tmp_path / "d") == wire.pack_ack({})
        leaf, above = chain.read((tmp_path / "d" / "device.pem").read_bytes())
        assert leaf.issuer == above.subject != above.issuer
        await it.stop()

    asyncio.run(work())


def test_devices_of_a_plane_of_one_level_come_in_with_what_they_have(tmp_path: Path) -> None:
    """They know the old root, one shows a certificate that the root itself signed, and the root says that nobody is below it."""

    async def work() -> None:
        mine, cert = one_level(tmp_path / "plane")
        it = await started(tmp_path / "plane")
        assert it.authority.pem == issuer.pem([cert]).decode(), "the root is as it was"
        me = await enrolled(it, tmp_path / "d")
        asked = Asked.read(key.request(me.key, "d").encode())
        old = issuer.Issuer(mine, cert).sign(issuer.Wanted("device", "d", asked.public, 90))
        Certificate(tmp_path / "d", me).keep(issuer.pem(old))
        assert Certificate(tmp_path / "d", me).over < 1 and signer_of(tmp_path / "d") == cert
        before = (tmp_path / "d" / "device.pem").read_bytes()
        assert await let_in(it, tmp_path / "d") == wire.pack_ack({})
        assert (tmp_path / "d" / "device.pem").read_bytes() == before, "it came in with the old one"
        (tmp_path / "d" / "device.pem").unlink()
        assert await let_in(it, tmp_path / "d") == wire.pack_ack({})
        assert signer_of(tmp_path / "d").subject == cert.subject, "of the root's own name, so that it is not counted"
        await it.stop()

    asyncio.run(work())


def test_a_device_that_slept_comes_in_after_its_issuer_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(presence, "LOOK", 0.05)
    monkeypatch.setattr(plane, "LOOK", 0.05)

    async def work() -> None:
        folder = tmp_path / "plane"
        it = await started(folder)
        for name in ("awake", "asleep", "old"):
            await enrolled(it, tmp_path / name, name)
        first, shown_first = signer_of(tmp_path / "asleep"), await asyncio.to_thread(shows, it)
        (folder / "ca.key").rename(tmp_path / "safe.key")
        issue = ["plane", "issuer", "--folder", str(folder)]
        assert await asyncio.to_thread(main, issue) == 2
        assert (
            "the root's key is not in the plane's folder (say where it lies: --root-key FILE)"
            in capsys.readouterr().err
        )
        assert await asyncio.to_thread(main, [*issue, "--root-key", str(folder / "sessions.key")]) == 2
        assert "sessions.key is not the key of this plane's root (it is the ca.key that" in capsys.readouterr().err
        assert await asyncio.to_thread(main, [*issue, "--root-key", str(tmp_path / "safe.key")]) == 0
        assert "a new issuer signs, until 20" in capsys.readouterr().out

        async def turned() -> bool:
            return await asyncio.to_thread(shows, it) != shown_first

        await until(turned)
        before = (tmp_path / "old" / "device.pem").read_bytes()
        assert await let_in(it, tmp_path / "old", "old") == wire.pack_ack({})
        assert (tmp_path / "old" / "device.pem").read_bytes() == before, "what the issuer before has signed counts"
        shown_second = await asyncio.to_thread(shows, it)
        distrust = [*issue, "--root-key", str(tmp_path / "safe.key"), "--distrust"]
        assert await asyncio.to_thread(main, distrust) == 0
        assert "of those before it, the word of 2 counts no more" in capsys.readouterr().out

        async def out() -> bool:
            return first not in it.authority._known and await asyncio.to_thread(shows, it) != shown_second

        await until(out)
        with pytest.raises(LinesideError, match="a new one is asked for"):
            await let_in(it, tmp_path / "asleep", "asleep")
        line = Https(me := identity.load(tmp_path / "asleep", "asleep"), spent := Certificate(tmp_path / "asleep", me))
        spent.forget()
        assert await line.exchange("GET", STANDS) == wire.pack_ack({})
        line.close()
        assert signer_of(tmp_path / "asleep") != first
        gone = disown.read((tmp_path / "asleep" / "disowned.pem").read_text())
        assert len(gone) == 2 and first in gone, "both that signed before"
        await it.stop()

    asyncio.run(work())


def meets(me: identity.Identity, state: Path, way: str, folder: Path) -> str:
    """How TLS comes about between a device and who has the server's files in that folder: "", or why not."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    if way == "https":
        device = Https(me, Certificate(state, me))._pool.connection_pool_kw["ssl_context"]
    else:
        device = asyncio.run(Mqtt(BrokerConfig(url="mqtts://localhost:1"), me, state)._trust())
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = device.wrap_bio(down, up, server_hostname="localhost"), server.wrap_bio(up, down, server_side=True)
    try:
        for _ in range(3):
            for end in ends:
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return (doubt("it", "the plane", error) or ("",))[0]
    return ""


@pytest.mark.parametrize(("levels", "way"), [(1, "https"), (2, "https"), (2, "mqtt")])
def test_a_device_believes_no_issuer_that_its_root_has_disowned(tmp_path: Path, levels: int, way: str) -> None:
    """Whoever else says so: a thief cannot have the right one refused. And what is known is not forgotten."""
    folder, old, new = (tmp_path / name for name in ("plane", "old", "new"))
    if levels == 1:
        one_level(folder)
    stolen = Authority(folder)
    old.mkdir()
    new.mkdir()
    stolen.server(["localhost"], old)
    right = Authority(folder, folder / "ca.key")
    right.server(["localhost"], new)
    mine, thief = key.made(), stolen._signer
    me = identity.Identity("d", "https://localhost", "", right.pem, mine)
    own, far = Certificate(tmp_path, me), partial(meets, me, tmp_path, way)
    signed = right.client(Asked.read(key.request(mine, "d").encode()))
    assert isinstance(thief, issuer.Issuer) and isinstance(right._signer, issuer.Issuer)
    forged = disown.word(thief.key, right._root, [right._signer.cert]) + disown.rejecting(right._signer.cert)
    endless = "-----BEGIN X509 CRL-----\n" + " " * 50_000 + "a: b\n\nAAAA\n-----END X509 CRL-----\n"  # looked at once
    own.keep(signed + (endless + forged).encode())
    assert (far(old), far(new)) == ("", "")
    told = right.disown(stolen.issuers) + disown.rejecting(thief.cert)
    assert chain.read(signed + told.encode()) == chain.read(signed), "who knows nothing of it passes over it"
    own.keep(signed + told.encode())
    own.keep(signed)
    why = "it shows a certificate of an issuer that the root of the plane believes no more"
    assert (far(old), far(new)) == (why, "")
    assert own.over < 1, "its own certificate is as it was"


def shows(it: Plane) -> str:
    """The certificate of the plane's listener."""
    return ssl.get_server_certificate(("127.0.0.1", int(it.url.rpartition(":")[2])))


async def until(true: Any) -> None:
    async with asyncio.timeout(120):
        while not await true():
            await asyncio.sleep(0.02)


def test_the_word_of_an_issuer_that_was_stolen_is_no_proxy_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could vouch for every device."""
    monkeypatch.setattr(presence, "LOOK", 0.05)

    async def work() -> None:
        folder = tmp_path / "plane"
        it = await started(folder)
        await enrolled(it, tmp_path / "d")
        stolen = it.authority._signer
        assert await asyncio.to_thread(main, ["plane", "issuer", "--folder", str(folder), "--distrust"]) == 0

        async def out() -> bool:
            return stolen.cert not in it.authority._known

        await until(out)
        thief = ec.generate_private_key(ec.SECP256R1())
        forged = stolen.sign(issuer.Wanted("proxy", ca.PROXY, thief.public_key(), 90))
        (tmp_path / "proxy.pem").write_bytes(issuer.pem(forged) + issuer.private(thief))
        tls = ssl.create_default_context(cadata=it.authority.pem)
        tls.load_cert_chain(tmp_path / "proxy.pem")
        leaf = chain.read((tmp_path / "d" / "device.pem").read_bytes())[0].public_bytes(Encoding.PEM).decode()
        said = {"Lineside-Certificate": quote(leaf)}
        with urllib3.PoolManager(ssl_context=tls, retries=False) as pool:
            answer = await asyncio.to_thread(pool.request, "GET", it.url + STANDS, headers=said)
        assert answer.status == 401
        await it.stop()

    asyncio.run(work())


def test_a_new_issuer_is_made_in_time_where_the_root_s_key_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Authority(tmp_path)
    monkeypatch.setattr(issuer, "ISSUER_DAYS", 0.1)
    short = Authority(tmp_path, tmp_path / "ca.key")
    monkeypatch.setattr(issuer, "ISSUER_DAYS", 1825)
    assert short.due and short.issuers[1:] == first.issuers
    kept = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.key").unlink()
    assert Authority(tmp_path).issuers == short.issuers and Authority(tmp_path).due, "without the root's key it goes on"
    keep(tmp_path / "ca.key", kept)
    fresh = Authority(tmp_path)
    assert not fresh.due and fresh.issuers[1:] == short.issuers
    leaf = x509.load_pem_x509_certificate(short.client(Asked.read(key.request(key.made(), "d").encode())))
    assert leaf.not_valid_after_utc <= short.until, "nothing is good for longer than who signed it"
    assert fresh.signed(leaf.public_bytes(Encoding.DER))
    assert Authority(tmp_path).issuers == fresh.issuers, "and it stays"


def test_an_issuer_is_not_due_because_its_root_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is good from when the root was made; and none is made again and again where the root itself ends."""
    monkeypatch.setattr(issuer, "ROOT_DAYS", 100)
    authority = Authority(tmp_path)
    assert not authority.due and authority.until == authority._root.not_valid_after_utc
    monkeypatch.setattr(issuer, "ROOT_DAYS", 7300)
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=5000)
    times = issuer.times
    monkeypatch.setattr(issuer, "times", lambda days, _=None: times(days, since))
    old = Authority(tmp_path / "old")
    assert not old.due and Authority(tmp_path / "old").issuers == old.issuers


def test_an_issuer_of_nobody_is_refused(tmp_path: Path) -> None:
    mine, other = Authority(tmp_path / "mine"), Authority(tmp_path / "other")
    asked = Asked.read(key.request(key.made(), "d").encode())
    leaf = x509.load_pem_x509_certificate(other.client(asked)).public_bytes(Encoding.DER)
    mine.learn(other.issuers)
    assert not mine.signed(leaf), "another root's issuer is none of ours, whoever says so"
    device = x509.load_pem_x509_certificate(mine.client(asked))
    fresh = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e")])
    now = datetime.datetime.now(datetime.UTC)
    below = x509.CertificateBuilder(device.subject, name, fresh.public_key(), 7, now, now + datetime.timedelta(days=1))
    end = below.sign(key.private(key.made()), hashes.SHA256())
    assert not chain.leads_to(mine._root, [end, device, mine._signer.cert])
    shutil.copy(tmp_path / "other" / ca.ISSUING, tmp_path / "mine" / ca.ISSUING)
    (tmp_path / "mine" / "ca.key").unlink()
    with pytest.raises(LinesideError, match=r"issuing.pem cannot be read, or is not of this authority \(copy it back"):
        Authority(tmp_path / "mine")


def test_a_device_s_certificate_signs_nobody_else_s(tmp_path: Path) -> None:
    authority, mine = Authority(tmp_path), key.made()
    device = chain.read(authority.client(Asked.read(key.request(mine, "d").encode())))
    fresh = ec.generate_private_key(ec.SECP256R1())
    below = issuer.Issuer(key.private(mine), device[0]).sign(issuer.Wanted("device", "e", fresh.public_key(), 1))
    assert not chain.leads_to(authority._root, [*below, device[1]])
    assert chain.leads_to(authority._root, device)


def test_a_stranger_is_not_told_to_ask_for_ever(tmp_path: Path) -> None:
    """A device that was revoked and whose certificate ran out hears why."""

    async def work() -> None:
        it = await started(tmp_path / "plane")
        me = await enrolled(it, tmp_path / "d")
        assert await asyncio.to_thread(main, ["plane", "revoke", "d", "--folder", str(tmp_path / "plane")]) == 0
        await it.ingest.callers.keys.look()
        line = Https(me, Certificate(tmp_path / "d", me))
        with pytest.raises(Stranger, match="it was revoked"):
            await line.exchange("POST", "/d/v1/certificate", key.request(me.key, "d").encode())
        line.close()
        await it.stop()

    asyncio.run(work())
