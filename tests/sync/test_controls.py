"""Controls that no other test would miss, see docs/security.md."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from cryptography.hazmat.primitives.serialization import Encoding

from edge import DeviceLost
from edge.cli import main
from sync import chain, wire
from sync.control_plane import api, ca
from sync.control_plane.ca import Asked
from sync.control_plane.plane import Plane
from sync.control_plane.shown import HEADER
from sync.device import identity, key, transport
from sync.device.identity import Identity
from sync.device.transport import Https, Stranger
from tests.sync.test_https import OK, asked
from tests.sync.test_issuer import STANDS, enrolled, started

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


def test_a_device_does_not_vouch_for_another(tmp_path: Path) -> None:
    """Only a proxy's certificate gives the right to say who asks."""

    async def work(it: Plane) -> None:
        for device in ("one", "other"):
            await enrolled(it, tmp_path / device, device)
        assert await asyncio.to_thread(main, ["plane", "revoke", "one", "--folder", str(tmp_path / "plane")]) == 0
        await it.ingest.keys.look()
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
