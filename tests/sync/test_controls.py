"""Controls that no other test would miss, see docs/security.md."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.event import listen

from edge import DeviceLost, LinesideError
from edge.cli import main
from sync import chain, wire
from sync.control_plane import api, ca, clones, issuer, own, presence, shown
from sync.control_plane.ca import Asked
from sync.control_plane.plane import Plane
from sync.control_plane.shown import HEADER
from sync.device import enrolment, identity, key, transport
from sync.device.certificate import Certificate
from sync.device.identity import Identity
from sync.device.transport import Https, Rejected, Stranger
from sync.invitation import read_token, token
from tests.sync.tenants import FOREIGN, OWN, settled, somebody
from tests.sync.test_https import OK, asked
from tests.sync.test_issuer import STANDS, enrolled, started, until

Work = Callable[[Plane], Awaitable[None]]


def with_plane(folder: Path, work: Work) -> None:
    async def body() -> None:
        it = await started(folder / "plane")
        try:
            await work(it)
        finally:
            await it.stop()

    asyncio.run(body())


def status(
    url: str, root: str, pem: Path | None, headers: dict[str, str] | None = None, path: str = STANDS
) -> tuple[int, bytes]:
    """What is answered to who shows that certificate."""
    tls = ssl.create_default_context(cadata=root)
    if pem:
        tls.load_cert_chain(pem)
    with urllib3.PoolManager(ssl_context=tls, retries=False, timeout=60) as pool:
        answer = pool.request("GET", url + path, headers=headers)
        return int(answer.status), answer.data


def test_who_enrols_a_name_anew_makes_every_older_certificate_worthless(tmp_path: Path) -> None:
    async def work(it: Plane) -> None:
        for folder in ("old", "new"):
            await enrolled(it, tmp_path / folder)
        found = [
            await asyncio.to_thread(status, it.url, it.authority.pem, tmp_path / folder / "device.pem")
            for folder in ("old", "new")
        ]
        assert [code for code, _ in found] == [401, 200]
        me = identity.load(tmp_path / "old", "d")
        line = Https(me)
        with pytest.raises(Stranger, match="does not know this device"):
            await line.exchange("POST", "/d/v1/certificate", key.request(me.key, "d").encode())
        line.close()

    with_plane(tmp_path, work)


def test_a_certificate_whose_time_is_over_opens_nothing_but_the_way_to_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(it: Plane) -> None:
        me = await enrolled(it, tmp_path / "d")
        monkeypatch.setattr(ca, "CLIENT_DAYS", -0.5)
        old = tmp_path / "old.pem"
        old.write_bytes(it.authority.client(Asked.read(key.request(me.key, "d").encode())) + me.key.encode())
        monkeypatch.setattr(ca, "CLIENT_DAYS", 90)
        code, said = await asyncio.to_thread(status, it.url, it.authority.pem, old)
        assert code == 401 and wire.EXPIRED.encode() in said
        line = Https(me)
        fresh = await line.exchange("POST", "/d/v1/certificate", key.request(me.key, "d").encode())
        assert chain.read(fresh)[0].public_key() == key.private(me.key).public_key()
        line.close()

    with_plane(tmp_path, work)


def test_who_guesses_an_invitation_writes_nothing(tmp_path: Path) -> None:
    """All devices wait for the one writer."""

    async def work(it: Plane) -> None:
        written: list[str] = []
        for engine in (it.store.engine, it.store.writing):
            listen(engine, "before_cursor_execute", lambda c, k, text, given, x, many: written.append(text))
        words = token(it.url, it.authority.fingerprint, "a guess")
        with pytest.raises(LinesideError, match="used already or has expired"):
            await asyncio.to_thread(enrolment.enroll, words, "d", tmp_path / "d")
        assert not [text for text in written if text.startswith("UPDATE invite")]
        await enrolled(it, tmp_path / "d")
        assert [text for text in written if text.startswith("UPDATE invite")], "who knows one does"

    with_plane(tmp_path, work)


def test_a_device_does_not_vouch_for_another(tmp_path: Path) -> None:
    """Only a proxy's certificate gives the right to say who asks."""

    async def work(it: Plane) -> None:
        for device in ("one", "other"):
            await enrolled(it, tmp_path / device, device)
        assert await asyncio.to_thread(main, ["plane", "revoke", "one", "--folder", str(tmp_path / "plane")]) == 0
        await it.ingest.callers.keys.look()
        other = chain.read((tmp_path / "other" / "device.pem").read_bytes())[0].public_bytes(Encoding.PEM).decode()
        claims = {HEADER: quote(other)}
        found = [
            (await asyncio.to_thread(status, it.url, it.authority.pem, pem, claims))[0]
            for pem in (None, tmp_path / "one" / "device.pem", tmp_path / "other" / "device.pem")
        ]
        assert found == [401, 401, 200], "the header of who is no proxy says nothing"

    with_plane(tmp_path, work)


def test_what_is_secret_on_a_device_is_for_its_owner_alone(tmp_path: Path) -> None:
    me = Identity("d", "https://x", "the secret", "", key.made())
    before = os.umask(0)
    try:
        identity.keep(me, tmp_path)
        identity.keep_file(tmp_path / "device.pem", me.key)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    assert "the secret" not in f"{me!r} {me}" and "PRIVATE" not in f"{me!r} {me}"


def test_a_link_that_somebody_put_into_the_state_folder_is_not_followed(tmp_path: Path) -> None:
    """`sudo lineside enroll` writes into the folder of a service, and gives what it wrote to that: it must be its own file."""
    state, victim = tmp_path / "state", tmp_path / "victim"
    state.mkdir()
    victim.write_text("root's own")
    for name in ("identity.new", "device.new"):
        (state / name).symlink_to(victim)
    identity.keep(Identity("d", "https://x", "s", "", key.made()), state)
    identity.keep_file(state / "device.pem", "x")
    assert victim.read_text() == "root's own" and victim.stat().st_uid == os.geteuid()
    assert identity.load(state, "d").secret == "s" and not (state / "identity.json").is_symlink()


def test_of_what_the_plane_answers_only_certificates_are_kept(tmp_path: Path) -> None:
    """A key before our own would be the one that TLS takes."""
    authority = ca.Authority(tmp_path / "a")
    me = Identity("d", "https://x", "s", authority.pem, key.made())
    signed = authority.client(Asked.read(key.request(me.key, "d").encode()))
    certificate = Certificate(tmp_path, me)
    certificate.keep(key.made().encode() + b"words\n" + signed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(tmp_path / "device.pem")
    assert (tmp_path / "device.pem").read_text() == signed.decode() + me.key and certificate.over < 1
    for wrong in (b"", b"junk", signed * 5, authority.client(Asked.read(key.request(key.made(), "d").encode()))):
        with pytest.raises(ValueError, match=r"."):
            certificate.keep(wrong)
    assert (tmp_path / "device.pem").read_text() == signed.decode() + me.key


def test_a_token_leads_to_https_alone() -> None:
    """Over http:// the invitation would be for everyone on the way."""
    with pytest.raises(LinesideError, match="this is no token"):
        read_token(token("http://plane.example:8443", "ab" * 32, "x"))
    assert read_token(token("https://plane.example:8443", "ab" * 32, "x"))[2] == "x"


def test_what_anybody_can_show_is_remembered_by_nobody(tmp_path: Path) -> None:
    """A proxy hands on what was shown to it, whoever signed it: a stranger could fill the memory with it."""
    mine, other = ca.Authority(tmp_path / "mine"), ca.Authority(tmp_path / "other")
    kept = mine.signed.args[0]  # type: ignore[attr-defined]
    before = shown._vouched.cache_info().currsize
    for authority in (mine, other, other):
        leaf = chain.read(authority.client(Asked.read(key.request(key.made(), "d").encode())))[0]
        said = quote(leaf.public_bytes(Encoding.PEM).decode())
        with contextlib.suppress(shown.NotOurs):
            shown._vouched(said, mine.signed)
    assert kept.cache_info().currsize == 1 and shown._vouched.cache_info().currsize == before + 1


def test_an_alarm_of_two_places_outlives_the_plane_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK", 0.02)

    async def work() -> None:
        it = await started(tmp_path / "plane")
        await enrolled(it, tmp_path / "d")
        await it.ingest.presence._clone("d", True)
        await it.stop()
        it = await started(tmp_path / "plane")
        assert await it.store.read(lambda c: own.raised(c, "clone d"))
        monkeypatch.setattr(clones, "OVER", -1.0)

        async def over() -> bool:
            return not await it.store.read(lambda c: own.raised(c, "clone d"))

        await until(over)
        await it.ingest.presence._clone("d", True)
        await enrolled(it, tmp_path / "new")
        assert await over(), "who enrols it anew ends it, though this process has not seen two"
        await it.stop()

    asyncio.run(work())


def test_an_issuer_that_is_due_is_an_alarm_until_there_is_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "LOOK", 0.02)

    async def work(it: Plane) -> None:
        folder = tmp_path / "plane"
        (folder / "ca.key").rename(tmp_path / "safe.key")
        monkeypatch.setattr(issuer, "ISSUER_DAYS", 10 * 1825)

        async def stands() -> bool:
            return await it.store.read(lambda c: own.raised(c, "issuer"))

        async def gone() -> bool:
            return not await stands()

        await until(stands)
        (tmp_path / "safe.key").rename(folder / "ca.key")
        await until(gone)
        assert len(it.authority.issuers) == 2, "with the root's key at hand it is made by itself, while the plane runs"

    with_plane(tmp_path, work)


def test_a_device_of_another_is_as_one_that_there_is_not(tmp_path: Path) -> None:
    """Else whoever asks for names learns which there are."""

    async def work(it: Plane) -> None:
        await settled(it)
        who = await somebody(it, "li", ("engineer", "acme"))
        base = it.link.partition("/login")[0]

        def get(device: str) -> tuple[int, bytes]:
            with urllib3.PoolManager(retries=False, timeout=60) as pool:
                answer = pool.request("GET", f"{base}/api/devices/{device}/tags", headers=who)
                return answer.status, answer.data

        assert (await asyncio.to_thread(get, OWN))[0] == 200
        foreign, nobody = await asyncio.to_thread(get, FOREIGN), await asyncio.to_thread(get, "nobody")
        assert foreign == nobody and foreign[0] == 404

    with_plane(tmp_path, work)


def test_no_path_leads_out_of_the_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = tmp_path / "web"
    web.mkdir()
    (web / "index.html").write_text("the console")
    (tmp_path / "secret").write_text("not for the web")
    monkeypatch.setattr(api, "WEB", web)

    async def work(it: Plane) -> None:
        base = it.link.partition("/login")[0]

        def get(path: str) -> bytes:
            with urllib3.PoolManager(retries=False, timeout=60) as pool:
                return bytes(pool.request("GET", base + path, redirect=False).data)

        for path in ("/..%2fsecret", "/a/..%2f..%2fsecret", f"/%2f{tmp_path}/secret", "/%2e%2e/secret"):
            assert await asyncio.to_thread(get, path) == b"the console", path

    with_plane(tmp_path, work)


def test_a_picture_that_is_not_what_its_digest_says_is_refused(tmp_path: Path) -> None:
    async def work(it: Plane) -> None:
        me = await enrolled(it, tmp_path / "d")
        line, body = Https(me, Certificate(tmp_path / "d", me)), b"a picture"
        where = f"epoch={'0' * 16}&seq=1"
        with pytest.raises(Rejected, match="does not have this digest"):
            await line.exchange("PUT", f"/d/v1/picture/{wire.digest(b'another')}?{where}", body)
        await line.exchange("PUT", f"/d/v1/picture/{wire.digest(body)}?{where}", body)
        line.close()

    with_plane(tmp_path, work)


def test_an_answer_without_an_end_fills_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_ANSWER", 1000)
    taken: list[int] = []
    body_of = transport.body_of

    def counted(answer: urllib3.BaseHTTPResponse, most: int) -> bytes:
        body = body_of(answer, most)
        taken.append(len(body))
        return body

    monkeypatch.setattr(transport, "body_of", counted)
    with pytest.raises(DeviceLost, match="with more than 1000 bytes"):
        asyncio.run(asked(tmp_path, OK + b"Content-Length: 3000000\r\n\r\n" + b"\0" * 3_000_000))
    assert taken == [1001]
