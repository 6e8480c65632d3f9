"""Accounts, keys and the link: who gets in, and who does not any more."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import update

from edge import LinesideError
from edge.cli import main
from sync.control_plane import entrance, people, people_tables, signin
from sync.control_plane.ca import Authority
from sync.control_plane.commands import way_in
from sync.control_plane.heads import SHOWN
from sync.control_plane.limits import Limits
from sync.control_plane.plane import Plane
from sync.control_plane.shown import HEADER, speaker
from tests.sync.enrolled import shown
from tests.sync.tenants import OWN, PASSWORD, settled, somebody
from tests.sync.test_page import Ask, page


async def enters(ask: Ask, name: str, password: str) -> tuple[int, bytes, dict[str, str]]:
    body = json.dumps({"name": name, "password": password}).encode()
    return await ask("POST", "/api/login", body, Content_Type="application/json")


def cookie_of(headers: dict[str, str]) -> dict[str, str]:
    return {"Cookie": headers["set-cookie"].split(";")[0]}


@pytest.mark.usefixtures("database")
def test_who_knows_the_password_is_let_in_until_they_leave(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        await somebody(plane, "li", ("operator", "acme"), password=PASSWORD)
        status, _, headers = await enters(ask, "li", PASSWORD)
        assert status == 204
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(headers["set-cookie"].split("; "))
        who = cookie_of(headers)
        me = json.loads((await ask("GET", "/api/me", **who))[1])
        assert me["name"] == "li" and me["account"] and me["roles"] == [["operator", "acme"]] and me["whole"] == []
        assert me["may"] == ["alarm", "maintain", "review", "watch"] and me["places"]["alarm"] == ["acme"]
        assert (await ask("POST", "/api/logout", **who))[0] == 204
        assert (await ask("GET", "/api/me", **who))[0] == 401, "the session is over, not just forgotten by the browser"
        assert (await ask("GET", "/api/login"))[1] == b'{"link":true,"openid":""}'

    page(tmp_path, work)


def test_nobody_learns_who_has_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answer, and the same work for it."""
    worked: list[bytes] = []

    class Watched:
        def verify(self, kept: str, words: str) -> bool:
            worked.append(kept.split("$")[3].encode())
            return hasher.verify(kept, words)

    hasher = people.hasher

    async def work(plane: Plane, ask: Ask) -> None:
        await somebody(plane, "li", password=PASSWORD)
        await somebody(plane, "outside")
        monkeypatch.setattr(people, "hasher", Watched())
        found = [await enters(ask, name, words) for name in ("li", "outside", "nobody") for words in ("x" * 12, "")]
        assert {(status, json.loads(body)["detail"]) for status, body, _ in found} == {(401, signin.WRONG)}
        assert len(worked) == 6 and len(set(worked)) == 1, "one hash each, of the same cost"

    page(tmp_path, work)


def test_who_guesses_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signin, "EVERY", 3600.0)
    light = type(people.hasher)(time_cost=1, memory_cost=64, parallelism=1)  # there are some hundred tries
    monkeypatch.setattr(people, "hasher", light)
    monkeypatch.setattr(people, "NOBODY", light.hash("nobody's"))

    async def work(plane: Plane, ask: Ask) -> None:
        await somebody(plane, "li", password=PASSWORD)
        tries = [await enters(ask, "li" if k % 2 else "LI", f"{PASSWORD}{k}") for k in range(signin.TRIES + 1)]
        assert [status for status, _, _ in tries] == [401] * signin.TRIES + [429]
        assert 1 <= int(tries[-1][2]["retry-after"]) <= signin.EVERY
        assert (await enters(ask, "li", PASSWORD))[0] == 429, "also with the right one"
        assert (await enters(ask, "wang", PASSWORD))[0] == 401, "others are not held up"
        for k in range(10 * signin.TRIES):
            status, _, _ = await enters(ask, f"name{k}", PASSWORD)
        assert status == 429, "nor can one address try every name"

    page(tmp_path, work)


def test_a_session_ends_when_it_is_over_or_somebody_ends_it(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        t, store = people_tables.session, plane.store
        ends: list[Any] = [
            lambda c: people.end(c, "li"),
            lambda c: people.another_password(c, "li", people.password("another battery staple")),
            lambda c: people.remove(c, "li"),
            lambda c: c.execute(update(t).values(expires=1.0)),
        ]
        for end in ends:
            who = await somebody(plane, "li", ("viewer", "acme"), password=PASSWORD)
            assert (await ask("GET", "/api/devices", **who))[0] == 200
            await store.write(end)
            assert (await ask("GET", "/api/devices", **who))[0] == 401
            if end is not ends[2]:
                await store.write(lambda c: people.remove(c, "li"))
        who = await somebody(plane, "li", ("viewer", "acme"))
        await store.write(lambda c: people.unbind(c, "li", "viewer", "acme"))
        assert (await ask("GET", "/api/devices", **who))[0] == 403, "a role that is taken away is gone at once"

    page(tmp_path, work)


@pytest.mark.usefixtures("database")
def test_a_program_comes_with_its_key(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        key = await plane.store.write(lambda c: people.add_key(c, "grafana", "viewer", "acme", 3600.0))
        kept = await plane.store.read(lambda c: c.execute(people_tables.apikey.select()).mappings().all())
        assert key not in str(kept) and key.startswith("lsk_"), "only its hash is kept"
        says = {"Authorization": f"Bearer {key}"}
        assert [row["id"] for row in json.loads((await ask("GET", "/api/devices", **says))[1])] == [OWN]
        body = b'{"verb": "ack"}'
        path = f"/api/devices/{OWN}/alarms/{OWN}-alarm"
        assert (await ask("POST", path, body, Content_Type="application/json", **says))[0] == 403
        for wrong in (f"Bearer {key}x", f"Basic {key}", "Bearer", "Bearer lsk_", ""):
            assert (await ask("GET", "/api/devices", Authorization=wrong))[0] == 401, wrong
        link = f"session={plane.people.login(plane.people.key)}"
        assert (await ask("GET", "/api/devices", Authorization="Bearer wrong", Cookie=link))[0] == 401
        await plane.store.write(lambda c: c.execute(update(people_tables.apikey).values(expires=1.0)))
        assert (await ask("GET", "/api/devices", **says))[0] == 401
        with pytest.raises(LinesideError, match="called grafana already"):
            await plane.store.write(lambda c: people.add_key(c, "grafana", "viewer", "acme", 3600.0))

    page(tmp_path, work)


def test_the_link_is_of_the_first_day(tmp_path: Path) -> None:
    """Whoever has an account for the whole plane closes it, with all who came by it."""

    async def work(plane: Plane, ask: Ask) -> None:
        way = f"/login?key={plane.people.key}"
        _, _, headers = await ask("GET", way)
        who = cookie_of(headers)
        await somebody(plane, "li", ("tenant_admin", "acme"))
        assert json.loads((await ask("GET", "/api/me", **who))[1])["whole"] != []
        assert await way_in(plane) == f"open this link: {plane.link}"
        await somebody(plane, "wang", ("platform_admin", ""))
        assert (await ask("GET", "/api/me", **who))[0] == 401
        assert await way_in(plane) == f"people sign in at {plane.link.split('/login')[0]}"
        assert (await ask("GET", way))[0] == 403 and (await ask("GET", "/api/login"))[
            1
        ] == b'{"link":false,"openid":""}'
        await plane.store.write(lambda c: people.remove(c, "wang"))
        assert (await ask("GET", "/api/me", **who))[0] == 200, "so that nobody is locked out for ever"

    page(tmp_path, work)


def test_what_is_too_much_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "BURST", 30.0)
    monkeypatch.setattr(entrance, "RATE", 1e-3)

    async def work(plane: Plane, ask: Ask) -> None:
        host, _, port = plane.link.split("/")[2].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /api/login HTTP/1.1\r\nHost: {host}\r\nContent-Length: {entrance.MOST_BODY + 1}\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 413"), "before a byte of it is sent"
        writer.close()
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /api/login HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode() + b"%x\r\n" % (entrance.MOST_BODY + 1) + b"x" * (entrance.MOST_BODY + 1) + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413"), "nor kept, where nobody says how large it is"
        writer.close()
        assert (await ask("POST", "/api/login", b"x" * entrance.MOST_BODY))[0] == 422
        found = [await ask("GET", "/api/login") for _ in range(30)]
        assert [status for status, _, _ in found] == [200] * 27 + [429] * 3 and int(found[-1][2]["retry-after"]) > 1

    page(tmp_path, work)


def test_a_device_that_asks_too_often_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "DEVICE_BURST", 3.0)
    monkeypatch.setattr(entrance, "DEVICE_RATE", 1e-3)

    async def work(plane: Plane, ask: Ask) -> None:
        with urllib3.PoolManager(retries=False, ca_certs=str(plane.where.folder / "ca.pem")) as devices:
            found = [await asyncio.to_thread(devices.request, "GET", f"{plane.url}/d/v1/ca") for _ in range(4)]
        assert [answer.status for answer in found] == [200] * 3 + [429] and int(found[3].headers["Retry-After"]) > 1

    page(tmp_path, work)


def test_each_device_has_a_bucket_of_its_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    a, b = (shown(authority, name) for name in ("a", "b"))
    proxy = x509.load_pem_x509_certificate(authority.proxy(["localhost"])[0].read_bytes())
    said = [(HEADER.encode(), quote(a.pem).encode())]
    through = {SHOWN: proxy.public_bytes(Encoding.DER), "headers": said}
    shows = [
        {**it, "type": "http", "client": ("192.0.2.7", 1)} for it in (a.scope, b.scope, through, {"headers": said})
    ]
    told = [speaker({"headers": [], **scope}, authority) for scope in shows]
    assert told == ["device a", "device b", "device a", "from 192.0.2.7"], "a header by itself proves nothing"


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    limits = Limits(0.5, 2, lambda: now[0])
    assert [limits.take("a") for _ in range(3)] == [0.0, 0.0, 2.0]
    assert limits.take("b") == 0.0
    now[0] = 2.0
    assert [limits.take("a") for _ in range(2)] == [0.0, 2.0]
    now[0] = 100.0
    assert [limits.take("a", 10.0) for _ in range(2)] == [0.0, 20.0], (
        "what is larger than a bucket takes a full one, and its time"
    )


# The commands


def run(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["plane", *words, "--folder", str(folder)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)

    page(tmp_path, work)
    return tmp_path / "plane"


def test_accounts_by_hand(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\nanother battery staple\n"))
    assert run(folder, capsys, "person", "add", "li", "engineer", "--at", "acme/suzhou")[0] == 0
    assert run(folder, capsys, "person", "bind", "li", "auditor", "--at", "acme")[0] == 0
    assert run(folder, capsys, "person", "password", "li")[0] == 0
    assert run(folder, capsys, "person", "unbind", "li", "engineer", "--at", "acme/suzhou")[0] == 0
    code, said, _ = run(folder, capsys, "person")
    assert code == 0 and said.split() == ["li", "password", "auditor", "at", "acme"]
    assert run(folder, capsys, "apikey", "add", "grafana", "viewer", "--at", "acme")[1].startswith("lsk_")
    assert "grafana" in run(folder, capsys, "apikey")[1] and "lsk_" not in run(folder, capsys, "apikey")[1]
    assert run(folder, capsys, "apikey", "remove", "grafana")[0] == 0 and not run(folder, capsys, "apikey")[1]
    assert run(folder, capsys, "person", "remove", "li")[0] == 0 and not run(folder, capsys, "person")[1]
    assert (
        run(folder, capsys, "place", OWN, "acme/wuxi")[1]
        == f"{OWN} stood at acme/suzhou/line-1, and stands at acme/wuxi\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("person add li", "a password has 12 to 200 characters"),
        ("person add l/i viewer", "no name"),
        ("person add console viewer", "nor what the audit calls others"),
        ("person add li boss", "there is no role 'boss'"),
        ("person bind li viewer", "nobody has an account called 'li'"),
        ("person bind li platform_admin --at acme", "one of the whole plane"),
        ("person unbind li viewer --at acme", "li is no viewer at acme"),
        ("person remove li", "nobody has an account"),
        ("person foo", "is not how it goes"),
        ("person bind li viewer --at a//b", "no place in the tree"),
        ("apikey add k viewer --valid 900d", "a year at most"),
        ("apikey add k viewer --valid x", "no duration"),
        ("apikey remove k", "no key called 'k'"),
        ("place nobody acme", "nobody is not enrolled here"),
        ("place", "the following arguments are required: DEVICE, NODE"),
        ("audit check /nowhere", "no export of an audit log"),
        ("audit foo", "is not how it goes"),
    ],
)
def test_what_cannot_be_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, told: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    code, _, said = run(folder, capsys, *words.split())
    assert code == 2 and told in said and "Traceback" not in said


def test_without_a_plane_there_is_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = run(tmp_path / "none", capsys, "person")
    assert code == 2 and "no plane has run in" in said and not (tmp_path / "none").exists()
