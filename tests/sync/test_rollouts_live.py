"""Rollouts on a plane with devices of their own: by the command line and by the API, halted by what the devices tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import LinesideError
from edge.app import Daemon
from edge.cli import main
from edge.config.load import load_text
from sync.control_plane import rollout_work, tables
from sync.control_plane.access import Asker
from sync.control_plane.database import insert_new
from sync.control_plane.invite import Wish, invited
from sync.control_plane.plane import Plane
from sync.control_plane.signin import People
from sync.device import enrolment
from sync.device.twin import Tell, Want
from sync.device.uplink import Uplink
from sync.invitation import token
from tests.sync.test_page import Ask, page

pytestmark = pytest.mark.usefixtures("database")
SITE = """
device: {{id: {device}}}
drivers: {{}}
sync: {{url: "{url}", live: 100ms, installs: [model]}}
"""
GOOD = ("2", "4")


class Washer:
    """A model of one device; versions that are not GOOD are refused."""

    def __init__(self) -> None:
        self.now = ""

    def running(self, name: str) -> str:
        return self.now

    async def __call__(self, want: Want, tell: Tell) -> None:
        tell("trying", "")
        if want.version and want.version not in GOOD:
            raise LinesideError("its golden vectors differ", hint="sign it anew")
        self.now = want.version
        tell("running", "it proved itself")


def fleet(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    many: int,
    work: Callable[[Plane, Ask, dict[str, Washer]], Awaitable[None]],
) -> None:
    """`work` with a plane, and so many devices whose model `washer` it may change."""
    washers: dict[str, Washer] = {}
    monkeypatch.setattr(rollout_work, "EVERY", 0.1)
    monkeypatch.setattr(Uplink, "_handlers", lambda self, *_: {"model": washers[self.host.config.device.id]})
    targets = folder / "plane" / "updates" / "targets" / "model"
    targets.mkdir(parents=True)
    for version in "234":
        (targets / f"{'0' * 64}.washer-{version}").touch()

    async def with_devices(plane: Plane, ask: Ask) -> None:
        daemons = []
        for k in range(many):
            name, state = f"press-{k}", folder / f"press-{k}"
            words = token(plane.url, plane.authority.fingerprint, await invited(plane.store, Wish()))
            await asyncio.to_thread(enrolment.enroll, words, name, state)
            washers[name] = Washer()
            config = load_text(SITE.format(device=name, url=plane.url))
            assert not config.problems
            daemons.append(Daemon(config, state))
            await daemons[-1].start()
        try:
            await work(plane, ask, washers)
        finally:
            for daemon in daemons:
                await daemon.stop()

    page(folder, with_devices)


def test_a_bad_model_is_halted_and_a_good_one_reaches_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(plane: Plane, ask: Ask, washers: dict[str, Washer]) -> None:
        cookie, own = f"session={plane.people.login(plane.people.key)}", plane.link.split("/login")[0]

        async def get(path: str) -> Any:
            status, body, _ = await ask("GET", path, Cookie=cookie)
            assert status == 200, body
            return json.loads(body)

        async def post(path: str, words: dict[str, Any]) -> tuple[int, Any]:
            given = {"Cookie": cookie, "Content_Type": "application/json", "Origin": own}
            status, body, _ = await ask("POST", path, json.dumps(words).encode(), **given)
            return status, json.loads(body)

        async def until(number: int, state: str) -> dict[str, Any]:
            while (said := await get(f"/api/rollouts/{number}"))["state"] != state:
                await asyncio.sleep(0.05)
            return said  # type: ignore[no-any-return]

        plan = {"devices": {"all": True}, "waves": [1, 1], "soak": "0s"}
        assert await post("/api/rollouts", plan | {"what": "model/washer-2"}) == (202, {"number": 1, "devices": 3})
        await until(1, "done")
        assert [w.now for w in washers.values()] == ["2", "2", "2"]
        assert (await post("/api/rollouts", plan | {"what": "model/washer-3", "at_breach": "back"}))[0] == 202
        said = await until(2, "returned")
        assert said["reason"] == "1 of 1 that tried in wave 1 did not take it; 5 % may"
        assert [w.now for w in washers.values()] == ["2", "2", "2"] and said["devices"] == {"returned": 1, "waits": 2}
        (bad,) = await get("/api/rollouts/2/devices?hit=true")
        assert bad["hit"] == "failed" and "golden vectors differ" in bad["why"] and bad["running"] == "2"
        assert said["can"] == [] and (await get("/api/rollouts/1"))["can"] == ["halt", "back"]
        assert await get("/api/updates") == ["config/site", *(f"model/washer-{n}" for n in "234")]
        (alarm,) = [a for a in await get("/api/alarms?everything=true") if a["key"] == "rollout 2"]
        assert alarm["device"] == "@plane" and not alarm["active"] and "model/washer-3" in alarm["text"]
        assert (await post("/api/rollouts", plan | {"what": "model/washer-4", "soak": "0s"}))[0] == 202
        await until(3, "done")
        assert [w.now for w in washers.values()] == ["4", "4", "4"]
        assert [one["number"] for one in await get("/api/rollouts")] == [3, 2, 1]
        steps = [e["state"] for e in await get("/api/events?kind=rollout") if e["key"] == "2 model/washer-3"]
        assert steps == ["returned", "going_back", "halted", "planned", "started"]
        assert await post("/api/rollouts/3", {"verb": "resume"}) == (
            409,
            {"detail": "rollout 3 is done: it cannot go on (it can: halt, back)"},
        )
        assert (await post("/api/rollouts/3", {"verb": "back"}))[0] == 202
        await until(3, "returned")
        assert [w.now for w in washers.values()] == ["2", "2", "2"]
        status, refusal = await post("/api/rollouts", plan | {"what": "model/washer-9"})
        assert status == 422 and "is not among the updates of this plane" in refusal["detail"]
        assert (await post("/api/rollouts", {"what": "washer"}))[0] == 422
        assert (await ask("GET", "/api/rollouts/77", Cookie=cookie))[0] == 404

    fleet(tmp_path, monkeypatch, 3, work)


def test_the_command_line_beside_a_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work(plane: Plane, ask: Ask, washers: dict[str, Washer]) -> None:
        async def does(*words: str, code: int = 0) -> str:
            given = ["plane", "rollout", *words, "--folder", str(tmp_path / "plane")]
            assert await asyncio.to_thread(main, given) == code
            said = capsys.readouterr()
            return said.err if code else said.out

        file = tmp_path / "washer.yaml"
        file.write_text("what: model/washer-2\ndevices: {all: true}\nwaves: [1]\nsoak: 1d\n")
        assert "rollout 1: model/washer-2 for 2 devices" in await does("start", str(file))
        while json.loads(await does("show", "1", "--json"))["devices"] != {"waits": 1, "watched": 1}:
            await asyncio.sleep(0.05)
        shown = await does("show", "1")
        assert "model/washer-2  running (wave 1 of 2)" in shown and "     wave 1: 1 watched" in shown
        assert "1 devices of wave 1 are at it, or watched" in shown
        assert "is paused now" in await does("pause", "1") and "paused (wave 1 of 2" in await does("list")
        assert "is running now" in await does("resume", "1") and "is halted now" in await does("halt", "1")
        assert "is going back now" in await does("back", "1")
        await does("start", "model/washer-3", "--device", "press-0", "--device", "press-1", "--waves", "1,50%")
        while "halted" not in (shown := await does("show", "2")):
            await asyncio.sleep(0.05)
        assert ": failed: its golden vectors differ" in shown
        assert "rollout 2 is halted: it cannot be paused" in await does("pause", "2", code=2)
        assert "beside a file" in await does("start", str(file), "--all", code=2)
        file.write_text("what: model/washer-2\ndevices: {al: true}\nwaves: [0]\n")
        faults = await does("start", str(file), code=2)
        assert f"{file}:2:11: devices.al: unknown option 'al', did you mean 'all'?" in faults
        assert f"{file}:3:9: waves.0: 0 is no wave" in faults

    fleet(tmp_path, monkeypatch, 2, work)


def test_who_rolls_in_a_part_of_the_tree_stays_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        own = {"Content_Type": "application/json", "Origin": plane.link.split("/login")[0]}
        rows = [{"id": f"d{k}", "secret": "", "enrolled": 1.0, "seen": 0.0, "site": f"acme/{k}"} for k in range(2)]
        await plane.store.write(lambda c: insert_new(c, tables.device, rows))
        roles: list[tuple[str, str]] = []

        async def asker(self: People, request: Any) -> Asker:
            return Asker("li", tuple(roles))

        monkeypatch.setattr(People, "asker", asker)

        async def post(path: str, words: dict[str, Any]) -> int:
            return (await ask("POST", path, json.dumps(words).encode(), **own))[0]

        plan = {"what": "config/site", "devices": {"site": "acme/1"}}
        assert await post("/api/rollouts", plan) == 403
        roles.append(("fleet_manager", "acme/0"))
        assert (
            await post("/api/rollouts", plan) == await post("/api/rollouts", plan | {"devices": {"all": True}}) == 403
        )
        roles.append(("platform_admin", ""))
        assert await post("/api/rollouts", plan) == 202
        roles.pop()
        assert await post("/api/rollouts/1", {"verb": "halt"}) == 404
        for path in ("/api/rollouts/1", "/api/rollouts/1/devices"):
            assert (await ask("GET", path))[0] == 404, path
        assert (await ask("GET", "/api/rollouts"))[1] == b"[]"
        roles.append(("viewer", "acme/1"))
        assert (await ask("GET", "/api/rollouts/1"))[0] == 200 and await post(
            "/api/rollouts/1", {"verb": "halt"}
        ) == 404
        roles.append(("fleet_manager", "acme"))
        assert await post("/api/rollouts", plan) == 202

    page(tmp_path, work)
