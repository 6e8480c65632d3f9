"""A whole plane tells people: its messages arrive, once or under the same key, and what is refused can be sent again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
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

from edge import SECOND
from edge.cli import main
from sync.control_plane import alerting, forward_state, forwarding
from sync.control_plane.alert_file import Alerts
from sync.control_plane.duties import Duties
from sync.control_plane.leader import lead
from sync.control_plane.live import Hub
from sync.control_plane.plane_file import PlaneFile
from sync.control_plane.standing import StoreFault
from sync.control_plane.store import Store
from sync.wire import Frame
from tests.sync.hooks import hooks
from tests.sync.stored import with_store
from tests.sync.told import SECRET, alerts, comes, frame, hook
from tests.waiting import until


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (forwarding, "EVERY", 0.02),
        (alerting, "EVERY", 0.02),
        (forwarding, "FIRST_WAIT", 0.01),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(forwarding, "LONGEST_WAIT", 0.05)


def at_work(database: str, given: Alerts, work: Callable[[Store], Awaitable[None]]) -> None:
    """`work(store)` while a plane does what its file says."""

    async def body(store: Store) -> None:
        duties = Duties(store, Hub(), PlaneFile(alerts=given), page="https://plane.example")
        works = asyncio.ensure_future(lead(store.engine, duties.works))
        try:
            async with asyncio.timeout(120):
                while len(await state(store)) < len(given.channels) + bool(given.routes):
                    await asyncio.sleep(0.01)
                await work(store)
        finally:
            works.cancel()
            await asyncio.wait([works])

    with_store(database, body)


async def state(store: Store) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in await store.read(forward_state.told)}


async def stands(store: Store, name: str, **wanted: Any) -> None:
    while True:
        row = (await state(store)).get(name, {})
        if all(row.get(key) == value for key, value in wanted.items()):
            return
        await asyncio.sleep(0.01)


def test_messages_arrive_and_what_is_refused_can_be_sent_again(database: str) -> None:
    with hooks() as it, hooks() as other:
        it.say = lambda n, headers, body: 422
        given = alerts(
            {"mes": hook(it.url, tries=2), "ops": hook(other.url)},
            {"all": {"to": ["mes"], "devices": "press-*", "escalate": [{"after": "1h", "to": ["ops"]}]}},
        )

        async def work(store: Store) -> None:
            now = time.time_ns()
            await comes(store, "press-4", frame(1, "hot", "raised", now))
            await stands(store, "alert mes", aside=1, waits=0, trouble="")
            await stands(store, "alert ops", delivered=1, aside=0)  # at once: the other one does not take it
            assert len(it.got) == 2
            it.say = lambda n, headers, body: 204
            assert await store.write(lambda c: forward_state.again(c, "alert mes")) == 1
            await stands(store, "alert mes", aside=0, delivered=1)
            await comes(store, "press-4", frame(2, "hot", "cleared", now + SECOND))
            await stands(store, "alert mes", delivered=2)
            assert len(set(it.ids())) == 2 and it.ids()[0] == it.ids()[1] == it.ids()[2]
            said = json.loads(it.got[0][1])
            assert (said["kind"], said["key"], said["severity"]) == ("alert", "mes", "high")
            assert said["text"].startswith("[HIGH] press-4 hot, raised: the oil is hot\n")
            assert said["text"].endswith("\nhttps://plane.example/#/device/press-4")

        at_work(database, given, work)

        async def gone(store: Store) -> None:
            while await state(store):
                await asyncio.sleep(0.01)

        at_work(database, Alerts(), gone)


def test_a_channel_that_is_away_gets_what_came_meanwhile_as_one_message(database: str) -> None:
    with hooks() as it:
        well = threading.Event()
        it.say = lambda n, headers, body: 204 if well.is_set() else [500, 429, 503][n % 3]

        async def work(store: Store) -> None:
            await comes(store, "a", frame(1, "first", "raised", time.time_ns()))
            await until(lambda: len(it.got) >= 3)
            await comes(store, "a", *(frame(k, f"k{k}", "raised", time.time_ns()) for k in range(2, 40)))
            await stands(store, "alerts", delivered=39)
            assert {json.loads(body)["data"]["alarms"][0]["key"] for _, body in it.got} == {"first"}
            well.set()
            await stands(store, "alert mes", delivered=2, trouble="")
            assert len(json.loads(it.got[-1][1])["data"]["alarms"]) == 38

        at_work(database, alerts({"mes": hook(it.url)}, {"all": {"to": ["mes"]}}), work)


PLANE = """
import sys
from edge.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_kill_at_any_moment_loses_no_message(database: str, tmp_path: Path) -> None:
    """Real processes: the plane is killed (kill -9) while it tells of alarms, again and again."""
    with hooks() as it:
        file = tmp_path / "plane.yaml"
        channel = f"{{type: webhook, url: '{it.url}', secret: !secret mes, private: true, together: 1}}"
        file.write_text(f"alerts: {{channels: {{mes: {channel}}}, routes: {{all: {{to: [mes]}}}}}}", "utf-8")
        (tmp_path / "secrets.yaml").write_text(f"mes: '{SECRET}'", "utf-8")
        ports = ("--port", "0", "--page-port", "0", "--folder", str(tmp_path / "plane"), "--config", str(file))

        def plane() -> subprocess.Popen[bytes]:
            process = subprocess.Popen([sys.executable, "-c", PLANE, "plane", *ports], stdout=subprocess.PIPE)
            assert process.stdout is not None and b"open this link" in process.stdout.readline()
            return process

        async def surely(store: Store, one: Frame) -> None:
            while True:
                with contextlib.suppress(StoreFault):  # SQLite is no database of two processes
                    return await comes(store, "a", one)

        def keys() -> list[str]:
            bodies = {headers["idempotency-key"]: body for headers, body in it.got}
            return [alarm["key"] for body in bodies.values() for alarm in json.loads(body)["data"]["alarms"]]

        async def work(store: Store) -> None:
            seq = 0
            for k in range(4):
                process = await asyncio.to_thread(plane)
                try:
                    while "alert mes" not in await state(store):
                        await asyncio.sleep(0.02)
                    before = len(it.got)
                    for _ in range(3):
                        seq += 1
                        await surely(store, frame(seq, f"k{seq}", "raised", time.time_ns()))
                    if k == 3:
                        await until(lambda n=seq: len(keys()) >= n)  # type: ignore[misc]
                        await stands(store, "alert mes", waits=0)
                    elif k:
                        await until(lambda n=before: len(it.got) > n)  # type: ignore[misc]
                finally:
                    os.kill(process.pid, signal.SIGKILL)
                    process.communicate()
            assert sorted(keys()) == sorted(f"k{n}" for n in range(1, seq + 1)), "each is told, under one key"

        with_store(database, work)


def test_a_channel_is_tried_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plane.yaml"
    with hooks() as it:
        it.say, it.body = (lambda n, headers, body: 200), b'{"errcode":0}'
        group = "{type: dingtalk, url: !secret robot, secret: !secret seal, private: true, language: zh}"
        path.write_text(f"alerts: {{channels: {{group: {group}}}}}", "utf-8")
        (tmp_path / "secrets.yaml").write_text(f"robot: '{it.url}?access_token=hunter2'\nseal: 'SEChunter2'", "utf-8")
        assert main(["plane", "try", str(path), "group"]) == 0
        assert "alerts.channels.group: taken" in capsys.readouterr().out
        assert "group 的测试消息" in json.loads(it.got[0][1])["text"]["content"]
        it.body = b'{"errcode":310000,"errmsg":"sign not match"}'
        assert main(["plane", "try", str(path), "group"]) == 1
        said = capsys.readouterr().err
        assert "not taken: errcode 310000: sign not match" in said and "hunter2" not in said
        for words, fault in (
            ([str(path), "grupp"], "no channel is called 'grupp' (did you mean 'group'?)"),
            ([str(path)], "are required: CHANNEL"),
        ):
            assert main(["plane", "try", *words]) == 2
            assert fault in capsys.readouterr().err
        path.write_text(f"alerts: {{channels: {{group: {group}}}, rutes: 3}}", "utf-8")
        assert main(["plane", "try", str(path), "group"]) == 1
        assert "did you mean 'routes'?" in capsys.readouterr().err and len(it.got) == 2
