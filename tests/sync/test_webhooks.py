"""Webhooks: every event arrives at the customer's system, in order, once or under the same key, whatever breaks."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import delete, select, update

from edge import ConfigFault, Event, encode_event
from sync import wire
from sync.control_plane import forward_state, forward_tables, forward_target, forwarding, posting, tables
from sync.control_plane.duties import Duties
from sync.control_plane.forward_options import WebhookOptions
from sync.control_plane.leader import lead
from sync.control_plane.live import Hub
from sync.control_plane.messages import Message
from sync.control_plane.own import tell
from sync.control_plane.plane_file import PlaneFile, load
from sync.control_plane.posting import forbidden
from sync.control_plane.retention import forget_once
from sync.control_plane.store import Store
from sync.control_plane.webhook import Webhook
from tests.broker import certificates
from tests.sync.hooks import hooks
from tests.sync.stored import with_store
from tests.waiting import until

EPOCH, NOW = "0" * 16, 1_795_000_000 * 10**9
SECRET = "sixteen letters!"


def alarm(seq: int, key: str = "hot", kind: str = "alarm") -> wire.Frame:
    happened = Event(kind, key, "raised", NOW + seq, "high", "heiß 热", {"value": 81.5})
    return wire.Frame(EPOCH, "event", seq, NOW, NOW, 1, encode_event(happened))


def options(url: str, **more: Any) -> WebhookOptions:
    return WebhookOptions(url=url, secret=SECRET, **{"private": True, **more})


def forwards(
    database: str, hooked: dict[str, WebhookOptions], work: Callable[[Store], Awaitable[None]], *before: wire.Frame
) -> None:
    """`work(store)` while the duties of a plane go on; `before` was there when its targets were new."""

    async def body(store: Store) -> None:
        if before:
            await store.write(Message("old", list(before)))
        duties = Duties(store, Hub(), PlaneFile(webhooks=hooked))
        works = asyncio.ensure_future(lead(store.engine, duties.works))
        try:
            async with asyncio.timeout(120):
                while len(await state(store)) < len(hooked):
                    await asyncio.sleep(0.01)
                await work(store)
        finally:
            works.cancel()
            await asyncio.wait([works])

    with_store(database, body)


async def state(store: Store) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in await store.read(forward_state.told)}


async def stands(store: Store, **wanted: Any) -> None:
    """Wait until the only target stands so."""
    while True:
        (row,) = (await state(store)).values()
        if all(row[name] == value for name, value in wanted.items()):
            return
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "EVERY", 0.02)
    monkeypatch.setattr(forwarding, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(forwarding, "LONGEST_WAIT", 0.05)


def test_events_go_in_order_signed_and_once(database: str) -> None:
    with hooks() as it:

        async def work(store: Store) -> None:
            for seq in range(1, 121):
                await store.write(Message("press-4", [alarm(seq, kind="alarm" if seq % 3 else "write")]))
            await store.write(lambda c: tell(c, [Event("alarm", "hot@press-4", "raised", NOW)]))
            await store.write(Message("other", [alarm(1)]))
            await stands(store, delivered=81, waits=0)

        forwards(database, {"mes": options(it.url, devices="[!o]*")}, work, alarm(1), alarm(2))
        own = [key for key in it.ids() if key.startswith("press-4/")]
        assert own == [f"press-4/{EPOCH}/{seq}" for seq in range(1, 121) if seq % 3]
        assert [key.split("/")[0] for key in it.ids() if key not in own] == ["@plane"]
        headers, body = it.got[0]
        said = json.loads(body)
        assert said == {"id": own[0], "device": "press-4", "epoch": EPOCH, "seq": 1} | {
            "ts": NOW + 1,
            "kind": "alarm",
            "key": "hot",
            "state": "raised",
            "severity": "high",
            "text": "heiß 热",
            "data": {"value": 81.5},
            "refs": [],
        }
        at, seal = re.fullmatch(r"t=(\d+),v1=(\w{64})", headers["lineside-signature"]).groups()  # type: ignore[union-attr]
        assert hmac.new(SECRET.encode(), f"{at}.".encode() + body, "sha256").hexdigest() == seal
        assert abs(int(at) - time.time()) < 60


def test_what_is_behind_a_hole_waits_for_it(database: str) -> None:
    with hooks() as it:

        async def work(store: Store) -> None:
            await store.write(Message("a", [alarm(1), alarm(3), alarm(4)]))
            await stands(store, delivered=1, waits=0)
            await store.write(Message("a", [alarm(2)]))
            await stands(store, delivered=4)

        forwards(database, {"mes": options(it.url)}, work)
        assert [key[-1] for key in it.ids()] == ["1", "2", "3", "4"]


def test_what_cannot_be_taken_now_is_tried_again_and_holds_up_no_other_device(database: str) -> None:
    with hooks() as it:
        well = threading.Event()
        it.say = lambda n, headers, body: (
            204 if well.is_set() or b'"key":"poison"' not in body else [503, 429, 500][n % 3]
        )

        async def work(store: Store) -> None:
            await store.write(Message("a", [alarm(1, "poison"), alarm(2)]))
            await store.write(Message("b", [alarm(1), alarm(2)]))
            while len(it.got) < 12:
                await asyncio.sleep(0.01)
            (row,) = (await state(store)).values()
            assert row["delivered"] == 2 and row["waits"] == 2 and row["trouble"][:3] in ("503", "429", "500")
            assert {key for key in it.ids() if key.startswith("a")} == {f"a/{EPOCH}/1"}  # its order is kept
            well.set()
            await stands(store, delivered=4, waits=0, trouble="", aside=0)

        forwards(database, {"mes": options(it.url)}, work)


def test_what_is_refused_is_set_aside_after_some_tries_and_holds_up_nothing(database: str) -> None:
    with hooks() as it:
        it.say = lambda n, headers, body: 422 if b'"key":"odd"' in body else 204

        async def work(store: Store) -> None:
            await store.write(Message("a", [alarm(1), alarm(2, "odd"), alarm(3)]))
            await stands(store, delivered=2, waits=0, aside=1, trouble="")
            (row,) = await store.read(lambda c: c.execute(select(forward_tables.undelivered)).mappings().all())
            assert (row["device"], row["seq"], row["tries"]) == ("a", 2, 3) and row["why"].startswith("422")

        forwards(database, {"mes": options(it.url, tries=3)}, work)
        assert [key[-1] for key in it.ids()] == ["1", "2", "2", "2", "3"]


def test_what_is_wrong_with_the_address_sets_no_event_aside(database: str) -> None:
    with hooks() as it:
        it.say = lambda n, headers, body: [401, 403, 404, 405, 407, 204, 204][n - 1]

        async def work(store: Store) -> None:
            await store.write(Message("a", [alarm(1), alarm(2)]))
            await stands(store, delivered=2, waits=0, aside=0, trouble="")

        forwards(database, {"mes": options(it.url, tries=2)}, work)
        assert [key[-1] for key in it.ids()] == [*"1" * 6, "2"]


def test_what_was_set_aside_is_sent_again_when_somebody_asks(database: str) -> None:
    with hooks() as it:
        it.say = lambda n, headers, body: 422

        async def work(store: Store) -> None:
            await store.write(Message("a", [alarm(1), alarm(2), alarm(3)]))
            await stands(store, delivered=0, waits=0, aside=3)
            assert await store.write(lambda c: forward_state.again(c, "webhook other")) == 0
            it.say = lambda n, headers, body: 422 if headers["idempotency-key"].endswith("/3") else 204
            e = tables.event
            await store.write(lambda c: c.execute(delete(e).where(e.c.seq == 1)) and None)  # its age has come
            assert await store.write(lambda c: forward_state.again(c, "webhook mes")) == 2
            await stands(store, delivered=1, waits=0, aside=1)
            u = select(forward_tables.undelivered.c.seq, forward_tables.undelivered.c.tries)
            while (await store.read(lambda c: c.execute(u).all())) != [(3, 1)]:
                await asyncio.sleep(0.01)
            u = forward_tables.undelivered
            assert await forget_once(store, "aside", NOW - 10**9) == 0
            it.say = lambda n, headers, body: 503
            await store.write(lambda c: c.execute(update(u).values(tries=0)) and None)
            assert await forget_once(store, "aside", NOW + 10**18) == 0, "what is on its way once more is kept"
            assert await forget_once(store, "events", NOW + 10**18) == 1, "what is on its way once more is kept"
            await store.write(lambda c: c.execute(update(u).values(tries=1)) and None)
            assert await forget_once(store, "aside", NOW + 10**18) == 1
            assert await store.write(lambda c: forward_state.end(c, set())) == ["webhook mes"]
            assert await store.read(lambda c: c.execute(select(u)).all()) == []

        forwards(database, {"mes": options(it.url, tries=1)}, work)
        assert [key[-1] for key in it.ids()][:3] == ["1", "2", "3"]


def test_a_target_that_is_away_gets_everything_when_it_is_back(database: str, caplog: pytest.LogCaptureFixture) -> None:
    with hooks() as it:

        async def work(store: Store) -> None:
            await store.write(Message("a", [alarm(1)]))
            await stands(store, delivered=1)

        forwards(database, {"mes": options(it.url)}, work)
        address = it.url

    async def away(store: Store) -> None:
        await store.write(Message("a", [alarm(seq) for seq in range(2, 20)]))
        while not (await state(store))["webhook mes"]["trouble"].startswith("cannot reach 127.0.0.1"):
            await asyncio.sleep(0.01)
        forgotten = await forget_once(store, "events", NOW + 10**9)
        assert forgotten == 1  # what was delivered, and nothing that waits

    forwards(database, {"mes": options(address)}, away)
    with hooks() as again:

        async def back(store: Store) -> None:
            await stands(store, delivered=19, waits=0)

        forwards(database, {"mes": options(again.url)}, back)
        assert [int(key.rpartition("/")[2]) for key in again.ids()] == list(range(2, 20))

        async def forgotten_file(store: Store) -> None:
            await Duties(store, Hub(), PlaneFile(given=False)).works[0]()
            assert (await state(store)).keys() == {"webhook mes"}
            assert "1 alarms and targets of an earlier start stand still" in caplog.text

        with_store(database, forgotten_file)

        async def gone(store: Store) -> None:
            while await store.read(lambda c: c.execute(select(forward_tables.forwarded)).all()):
                await asyncio.sleep(0.01)

        forwards(database, {}, gone)


def test_tries_are_spread_and_a_wish_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for tries, longest in ((0, 1), (3, 8), (50, 300)):
        waits = [forwarding.delay(tries) for _ in range(200)]
        assert longest / 2 <= min(waits) < 0.6 * longest and 0.9 * longest < max(waits) <= longest
    assert forwarding.delay(0, 77.0) == 77.0
    happened = forward_target.Happened("a", EPOCH, 1, {})
    with hooks() as it:
        it.say, it.more = (lambda n, headers, body: 503), {"Retry-After": "77"}
        with pytest.raises(forward_target.Later) as fault:
            asyncio.run(Webhook(options(it.url)).deliver(happened))
        assert fault.value.wish == 77.0


PLANE = """
import sys
from edge.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_kill_between_post_and_commit_sends_it_again_under_the_same_key(database: str, tmp_path: Path) -> None:
    """Real processes: the plane is killed (kill -9) after the customer's system has taken an event and before it has said so."""
    with hooks() as it:
        taken, killed = threading.Event(), threading.Event()

        def say(number: int, headers: dict[str, str], body: bytes) -> int:
            if number == 3:
                taken.set()
                killed.wait(30)
            return 204

        it.say = say
        file = tmp_path / "plane.yaml"
        file.write_text(f"webhooks: {{mes: {{url: '{it.url}', secret: !secret mes, private: true}}}}", "utf-8")
        (tmp_path / "secrets.yaml").write_text(f"mes: '{SECRET}'", "utf-8")
        ports = ("--port", "0", "--page-port", "0", "--folder", str(tmp_path / "plane"), "--config", str(file))

        def plane() -> subprocess.Popen[bytes]:
            process = subprocess.Popen([sys.executable, "-c", PLANE, "plane", *ports], stdout=subprocess.PIPE)
            assert process.stdout is not None and b"open this link" in process.stdout.readline()
            return process

        async def work(store: Store) -> None:
            first = await asyncio.to_thread(plane)
            try:
                while not await state(store):
                    await asyncio.sleep(0.02)
                await store.write(Message("a", [alarm(seq) for seq in range(1, 8)]))
                assert await asyncio.to_thread(taken.wait, 30)
            finally:
                os.kill(first.pid, signal.SIGKILL)
                first.communicate()
            killed.set()
            second = await asyncio.to_thread(plane)
            try:
                await until(lambda: len(it.got) >= 8)
                await stands(store, delivered=7, waits=0, aside=0)
            finally:
                second.terminate()
                second.communicate()
            numbers = [int(key.rpartition("/")[2]) for key in it.ids()]
            assert numbers == [1, 2, 3, 3, 4, 5, 6, 7]
            assert len({body for headers, body in it.got}) == 7  # what came twice is the same to the byte

        with_store(database, work)


def test_a_server_has_to_be_who_it_says(tmp_path: Path, database: str) -> None:
    certificates(tmp_path)
    with hooks(tmp_path / "broker.pem") as it:

        async def stranger(store: Store) -> None:
            await store.write(Message("a", [alarm(1)]))
            while "is not trusted" not in (await state(store))["webhook mes"]["trouble"]:
                await asyncio.sleep(0.01)
            assert not it.got

        async def known(store: Store) -> None:
            await stands(store, delivered=1)

        forwards(database, {"mes": options(it.url)}, stranger)
        forwards(database, {"mes": options(it.url, ca=str(tmp_path / "ca.pem"))}, known)
    with pytest.raises(ConfigFault, match="check `ca`"):
        Webhook(options("https://a.example", ca=str(tmp_path / "none.pem")))


def test_what_only_this_network_reaches_is_not_asked_unless_it_is_meant(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hooks() as it:
        it.say = lambda n, headers, body: 307
        it.more = {"Location": it.url}

        async def work(store: Store) -> None:
            await store.write(Message("a", [alarm(1)]))
            while len([row for row in (await state(store)).values() if row["trouble"]]) < 3:
                await asyncio.sleep(0.01)
            said = {name: row["trouble"] for name, row in (await state(store)).items()}
            assert "is 127.0.0.1, in a private network; say `private: true`" in said["webhook local"]
            assert "in a private network" in said["webhook named"]
            assert said["webhook moved"].startswith("307")  # and nobody went there
            assert {headers["host"] for headers, _ in it.got} == {it.url.split("/")[2]}

        there = {"local": options(it.url, private=False), "moved": options(it.url)}
        there["named"] = options(it.url.replace("127.0.0.1", "localhost"), private=False)
        forwards(database, there, work)
    for address, private, secure, fits in (
        ("169.254.169.254", True, True, False),
        ("fe80::1%eth0", True, True, False),
        ("::ffff:169.254.169.254", True, True, False),
        ("0.0.0.0", True, True, False),
        ("10.1.2.3", False, True, False),
        ("::ffff:10.1.2.3", False, True, False),
        ("10.1.2.3", True, True, True),
        ("10.1.2.3", True, False, False),
        ("93.184.216.34", False, True, True),
        ("93.184.216.34", True, False, False),
        ("::1", True, False, True),
    ):
        assert (forbidden(address, private, secure) == "") == fits, address


def test_a_server_that_takes_a_connection_and_says_nothing_is_given_up(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "ANSWER_WITHIN", 0.2)
    with hooks() as it:
        goes_on = threading.Event()

        def say(number: int, headers: dict[str, str], body: bytes) -> int:
            if number <= posting.AT_ONCE:
                goes_on.wait(30)
            return 204

        it.say = say

        async def work(store: Store) -> None:
            for k in range(posting.AT_ONCE):
                await store.write(Message(f"d{k}", [alarm(1)]))
            await stands(store, delivered=posting.AT_ONCE, trouble="")
            goes_on.set()

        forwards(database, {"mes": options(it.url)}, work)


def test_the_page_shows_how_to_check_a_signature_and_its_file_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "plane-forwarding.md").read_text("utf-8")
    space: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.S)[0], space)
    happened = forward_target.Happened("a", EPOCH, 1, {"text": "热"})
    sent = Webhook(options("https://a.example")).headers(happened, int(time.time()))["Lineside-Signature"]
    assert space["genuine"](SECRET, sent, happened.body)
    assert not space["genuine"](SECRET, sent, happened.body + b" ") and not space["genuine"](
        "another", sent, happened.body
    )
    old = Webhook(options("https://a.example")).headers(happened, int(time.time()) - 3600)["Lineside-Signature"]
    assert not space["genuine"](SECRET, old, happened.body)
    path = tmp_path / "plane.yaml"
    path.write_text("".join(re.findall(r"```yaml\n(.*?)```", page, re.S)), "utf-8")
    for name in re.findall(r"!secret (\w+)", path.read_text("utf-8")):
        monkeypatch.setenv(f"LINESIDE_SECRET_{name.upper()}", SECRET)
    assert not load(path).faults
    for name in WebhookOptions.model_fields:
        assert f"`{name}`" in page, name


def test_the_file_says_what_is_wrong_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plane.yaml"
    monkeypatch.setenv("LINESIDE_SECRET_SHORT", "hunter2")
    for text, words in (
        ("{url: 'https://a.b/', secret: sixteen letters!}", "secret: a secret does not belong into this file"),
        ("{url: 'https://a.b/', secret: !secret short}", "the secret is not what this option needs"),
        ("{url: 'ftp://a.b/', secret: !secret short}", "write https://host/path"),
        ("{url: 'https://u:p@a.b/', secret: !secret short}", "no user and no #fragment"),
        ("{url: 'https://a.b:99999/', secret: !secret short}", "write https://host/path"),
        ("{url: 'https://a.b/'}", "webhooks.mes.secret: is missing"),
    ):
        path.write_text(f"webhooks:\n  mes: {text}\n", "utf-8")
        faults = "\n".join(load(path).faults)
        assert words in faults and f"{path}:2:" in faults and "hunter2" not in faults, faults
