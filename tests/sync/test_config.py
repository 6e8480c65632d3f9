"""Layers of configurations on the plane: what comes of them, for whom, with which faults, and who may change them."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import LinesideError, read_document
from edge.cli import main
from sync.control_plane import config, config_send, tables
from sync.control_plane.access import Asker
from sync.control_plane.config_api import _holds
from sync.control_plane.database import insert_new
from sync.control_plane.plane import Plane
from sync.control_plane.store import Store
from sync.control_plane.twin import want, wanted
from tests.sync.stored import with_store
from tests.sync.test_page import Ask, page

PRESS = """
drivers:
  plc: {driver: modbus, url: "tcp://10.0.0.1", every: 1s, tags: {temp: {address: "holding:0", type: int16}}}
alarms:
  hot: {when: plc.temp > 80}
"""
HERE = [
    ("p1", "press", "suzhou/line-3"),
    ("p2", "press", "suzhou/line-4"),
    ("p3", "press", "wuxi"),
    ("o1", "oven", "suzhou"),
]


def devices(c: Any) -> None:
    rows = [{"id": d, "secret": "", "enrolled": 1.0, "seen": 0.0, "class": k, "site": s} for d, k, s in HERE]
    insert_new(c, tables.device, rows)


async def wanting_of(store: Store) -> Any:
    await store.write(devices)

    async def wanting(wants: Any, again: bool) -> int:
        return await store.write(lambda c: want(c, wants, again))

    return wanting


def test_layers_make_a_document_for_all_devices_that_have_the_same(database: str) -> None:
    async def work(store: Store) -> None:
        wanting = await wanting_of(store)
        for name, body in (
            ("class/press", PRESS),
            ("site/suzhou", "alarms: {hot: {for: 5s}}"),
            ("site/suzhou/line-3", "alarms: {hot: {when: plc.temp > 60}}"),
            ("device/p2", "alarms: {hot: null}"),
        ):
            assert (await store.write(lambda c: config.put(c, name, body, "anna"))).version == 1  # noqa: B023
        made = await config_send.send(store, "class/press", "anna", wanting)
        found = {d: read_document(one.after.text, "").data["alarms"] for one in made for d in one.devices}
        assert found == {
            "p1": {"hot": {"when": "plc.temp > 60", "for": "5s"}},
            "p2": {},
            "p3": {"hot": {"when": "plc.temp > 80"}},
        }
        versions = {d: one.after.version for one in made for d in one.devices}
        assert len(set(versions.values())) == 3
        for device, version in versions.items():
            (one,) = await store.read(lambda c: wanted(c, device))  # noqa: B023
            assert (one.kind, one.name, one.version, one.by) == ("config", "site", version, "anna")
            assert await store.read(lambda c: config.document(c, version))  # noqa: B023
        now = await config_send.stands(store, "p1")
        origin = {one["path"]: (one["value"], one["from"]) for one in now["values"]}
        assert origin["alarms.hot.when"] == ("plc.temp > 60", "site/suzhou/line-3@1")
        assert origin["alarms.hot.for"] == ("5s", "site/suzhou@1")
        assert origin["drivers.plc.every"] == ("1s", "class/press@1")
        assert now["layers"] == ["class/press@1", "site/suzhou@1", "site/suzhou/line-3@1"] and not now["unsent"]
        assert await config_send.send(store, "device/p1", "li", wanting)
        assert (await store.read(lambda c: wanted(c, "p1")))[0].by == "anna", "it was wanted already"

    with_store(database, work)


def test_versions_are_kept_with_who_and_when(database: str) -> None:
    async def work(store: Store) -> None:
        for body, version in (("tags: {}", 1), ("tags: {}", 1), ("stages: {}", 2), ("tags: {}", 3)):
            layer = await store.write(lambda c: config.put(c, "site/suzhou", body, f"by {version}"))  # noqa: B023
            assert layer.version == version
        found = await store.read(lambda c: config.versions(c, "site/suzhou"))
        assert [(one.version, one.by, one.body) for one in found] == [
            (3, "by 3", "tags: {}"),
            (2, "by 2", "stages: {}"),
            (1, "by 1", "tags: {}"),
        ]
        assert (await store.read(config.newest))["site/suzhou"] == found[0]

    with_store(database, work)


@pytest.mark.parametrize(
    "name", ["press", "class/", "class/a b", "site/", "site/a//b", "device/-x", "line/x", "class/" + "x" * 65]
)
def test_what_is_no_layer_is_told(name: str) -> None:
    with pytest.raises(LinesideError, match=r"layer|place"):
        config.layer_named(name)


def test_a_fault_is_told_with_its_place_in_the_layer_and_nothing_faulty_is_sent(database: str) -> None:
    async def work(store: Store) -> None:
        wanting = await wanting_of(store)
        await store.write(lambda c: config.put(c, "class/press", PRESS, "anna"))
        bad = "alarms:\n  hot: {wen: 1, for: 5}\n  cold: {when: plc.tmp < 0}\n"
        (change,) = await config_send.check(store, "site/suzhou/line-3", bad)
        assert change.devices == ["p1"]
        assert [p.split(", ")[0] for p in change.after.problems] == [
            "site/suzhou/line-3@1:2:9: alarms.hot.wen: unknown option 'wen'",
            "site/suzhou/line-3@1:2:22: alarms.hot.for: 5 is no duration; write a number and a unit",
            "site/suzhou/line-3@1:3:16: alarms.cold.when: no tag is called 'plc.tmp'",
        ]
        assert list(await store.read(config.newest)) == ["class/press"]
        await store.write(lambda c: config.put(c, "site/suzhou/line-3", bad, "anna"))
        made = await config_send.send(store, "class/press", "anna", wanting)
        assert sorted(d for one in made if one.after.problems for d in one.devices) == ["p1"]
        assert not await store.read(lambda c: wanted(c, "p1")) and await store.read(lambda c: wanted(c, "p2"))
        with pytest.raises(LinesideError, match=r"class/press@2:1:10: sync.url: belongs to the device"):
            await config_send.check(store, "class/press", "sync: {  url: 'https://elsewhere'}")
        (only,) = await config_send.check(store, "class/oven", "journal: {keep: 24h}")
        assert only.after.problems[0].startswith("no layer says `drivers`: a document is the whole site")
        with pytest.raises(LinesideError, match="no device has the layer class/lathe"):
            await config_send.send(store, "class/lathe", "anna", wanting)

    with_store(database, work)


def test_a_draft_is_made_a_layer_or_left(database: str) -> None:
    async def work(store: Store) -> None:
        wanting = await wanting_of(store)
        await store.write(lambda c: config.put(c, "class/press", PRESS, "anna"))
        with pytest.raises(LinesideError, match="no configuration is wanted of p1"):
            await config_send.revert(store, "p1", "anna", wanting)
        with pytest.raises(LinesideError, match="p1 has told of no draft"):
            await config_send.adopt(store, "p1", "anna", wanting)
        await config_send.send(store, "device/p1", "anna", wanting)
        (before,) = await store.read(lambda c: wanted(c, "p1"))
        draft = PRESS.replace("> 80", "> 70").replace('"tcp://10.0.0.1"', "!secret plc")
        await store.write(lambda c: config.keep_draft(c, "p1", draft))
        drift = (await config_send.stands(store, "p1"))["drift"]
        assert drift == [
            "drivers.plc.url: tcp://10.0.0.1 -> !secret 'plc'",
            "alarms.hot.when: plc.temp > 80 -> plc.temp > 70",
        ]
        assert await config_send.revert(store, "p1", "li", wanting) == before.version
        (again,) = await store.read(lambda c: wanted(c, "p1"))
        assert again.generation > before.generation and again.by == "li"
        layer = await config_send.adopt(store, "p1", "anna", wanting)
        assert layer.place == "device/p1@1" and read_document(layer.body, "").data == {
            "drivers": {"plc": {"url": "plc"}},
            "alarms": {"hot": {"when": "plc.temp > 70"}},
        }
        (now,) = await store.read(lambda c: wanted(c, "p1"))
        text = await store.read(lambda c: config.document(c, now.version))
        assert read_document(text or "", "").data == read_document(draft, "").data
        await store.write(lambda c: config.keep_draft(c, "p1", draft.replace("plc.temp >", "pump.tmp >")))
        with pytest.raises(LinesideError, match=r"device/p1@2:\d+:\d+: alarms.hot.when: no tag is called 'pump.tmp'"):
            await config_send.adopt(store, "p1", "anna", wanting)
        await store.write(lambda c: config.keep_draft(c, "p1", ""))
        assert not (await config_send.stands(store, "p1"))["drift"]

    with_store(database, work)


def test_a_document_is_for_whom_it_is_wanted_of(database: str) -> None:
    async def work(store: Store) -> None:
        wanting = await wanting_of(store)
        await store.write(lambda c: config.put(c, "class/press", PRESS, "anna"))
        (made,) = await config_send.send(store, "device/p1", "anna", wanting)
        version = made.after.version
        assert await store.read(lambda c: config.document_for(c, "p1", version)) == made.after.text
        assert await store.read(lambda c: config.document_for(c, "o1", version)) is None

    with_store(database, work)


def test_a_document_that_no_device_needs_is_forgotten(database: str) -> None:
    async def work(store: Store) -> None:
        wanting = await wanting_of(store)
        made = []
        for limit in ("80", "70", "60", "50"):
            await store.write(lambda c, n=limit: config.put(c, "class/press", PRESS.replace("80", n), "anna"))  # type: ignore[misc]
            made += [one.after.version for one in await config_send.send(store, "device/p1", "anna", wanting)]
        plan = {"rollout": 1, "device": "p1", "place": 0, "wave": 0, "site": "", "state": "good", "late": False}
        plan |= {"hit": "", "version": made[2], "before": made[1], "asked": 0.0, "began": 0.0, "ended": 0.0}
        rollout = {"number": 1, "kind": "config", "name": "site", "version": "", "plan": "{}", "state": "done"}
        rollout |= {"since": 0.0, "reason": "", "by": "", "created": 0.0, "wave": 0, "sizes": "[]", "forgiven": 0.0}
        await store.write(lambda c: insert_new(c, tables.rollout, [rollout]))
        await store.write(
            lambda c: insert_new(
                c, tables.rollout_device, [plan | {"told": "", "why": "", "began_ts": 0, "generation": 0}]
            )
        )
        assert await store.write(lambda c: config.forget(c, time.time() - 60)) == 0, "it was made just now"
        assert await store.write(lambda c: config.forget(c, time.time() + 60)) == 1
        left = [await store.read(lambda c, v=version: config.document(c, v)) for version in made]  # type: ignore[misc]
        assert [one is not None for one in left] == [False, True, True, True], "wanted, planned, and to go back to"

    with_store(database, work)


def test_a_layer_is_for_who_holds_every_device_of_it(database: str) -> None:
    async def work(store: Store) -> None:
        await wanting_of(store)
        asks = Asker("li", (("engineer", "suzhou"),)).scope("configure")
        whole = Asker("root", (("platform_admin", ""),)).scope("configure")
        for name, may in (
            ("class/press", False),
            ("site/suzhou", True),
            ("site/suzhou/line-3", True),
            ("site/suzhou2", False),
            ("site/wuxi", False),
            ("device/p1", True),
            ("device/p3", False),
            ("device/nobody", False),
        ):
            assert await store.read(lambda c: _holds(c, asks, name)) == may, name  # noqa: B023
            assert await store.read(lambda c: _holds(c, whole, name))  # noqa: B023

    with_store(database, work)


def test_the_command_beside_a_plane(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = tmp_path / "plane", tmp_path / "press.yaml"
    file.write_text(PRESS)

    def plane(*words: str) -> tuple[int, str]:
        code = main(["plane", "config", *words, "--folder", str(folder)])
        said = capsys.readouterr()
        return code, said.out + said.err

    async def work(running: Plane, ask: Ask) -> None:
        await running.store.write(devices)

    assert plane("layers")[0] == 2, "no plane has run here"
    page(tmp_path, work)
    assert "no layer is kept yet" in plane("layers")[1]
    code, said = plane("put", "class/press", str(file))
    assert code == 0 and "class/press@1 is kept" in said and "p1, p2, p3: 2 changes" in said
    assert "    + alarms: {hot: {when: plc.temp > 80}}" in said
    assert "class/press@1" in plane("layers")[1] and plane("layer", "class/press") == (0, PRESS)
    code, said = plane("send", "class/press")
    assert code == 0 and "is wanted of p1, p2, p3" in said
    code, said = plane("show", "p1")
    assert code == 0 and "class/press@1                alarms.hot.when: plc.temp > 80" in said and "state" not in said
    file.write_text(PRESS.replace("80", "80 +"))
    code, said = plane("check", "class/press", str(file))
    assert code == 1 and "not for p1, p2, p3:\n    class/press@2:5:15: alarms.hot.when" in said
    file.write_text(PRESS.replace("80", "70"))
    assert (
        "p1, p2, p3: 1 change\n    alarms.hot.when: plc.temp > 80 -> plc.temp > 70\n"
        in plane("check", "class/press", str(file))[1]
    )
    assert "is wanted of p1 once more" in plane("revert", "p1")[1]
    assert "config/press-9 is not among the updates of this plane" in plane("want", "class/press", "press-9")[1]
    file.write_bytes(b"\xd0")
    assert f"{file}: not UTF-8 text" in plane("put", "class/press", str(file))[1]
    assert plane("adopt", "p1")[0] == 2 and plane("nonsense")[0] == 2 and plane("layer", "class/press", "7")[0] == 2
    assert "class/press@1" in plane("history", "class/press")[1] and plane("show", "nobody")[0] == 2


@pytest.mark.usefixtures("database")
def test_the_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers, read = set[str](), config.read_document

    def seen(body: str, called: str) -> Any:
        readers.add(threading.current_thread().name)
        return read(body, called)

    monkeypatch.setattr(config, "read_document", seen)

    async def work(plane: Plane, ask: Ask) -> None:
        await plane.store.write(devices)
        session = {"Cookie": f"session={plane.people.login(plane.people.key)}", "Content_Type": "application/json"}
        session["Origin"] = plane.link.split("/login")[0]

        async def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            status, said, _ = await ask(method, path, json.dumps(body).encode() if body else b"", **session)
            return status, json.loads(said)

        status, said = await call("PUT", "/api/config/class/press", {"body": PRESS})
        assert (
            status == 200 and said["layer"] == "class/press@1" and said["changes"][0]["devices"] == ["p1", "p2", "p3"]
        )
        status, said = await call("PUT", "/api/config/class/press", {"body": "a: ["})
        assert status == 409 and "class/press@2:1:5: not YAML" in said["detail"]
        assert (await call("GET", "/api/config/site/"))[0] == 409
        status, said = await call("POST", "/api/config/check/site/suzhou", {"body": "alarms: {hot: {when: x > 1}}"})
        assert status == 200 and any("site/suzhou@1:1:22" in fault for one in said for fault in one["faults"])
        assert [one["name"] for one in (await call("GET", "/api/config"))[1]] == ["class/press"]
        assert (await call("GET", "/api/config/class/press"))[1][0]["body"] == PRESS
        status, said = await call("POST", "/api/config/send/class/press")
        assert status == 202 and said["sent"][0]["devices"] == ["p1", "p2", "p3"] and not said["faults"]
        status, said = await call("GET", "/api/devices/p1/twin")
        assert said["wanted"][0]["name"] == "site" and said["told"] == []
        assert (await call("POST", "/api/devices/p1/config", {"do": "revert"}))[0] == 202
        assert (await call("POST", "/api/devices/p1/config", {"do": "adopt"}))[0] == 409
        assert (await call("POST", "/api/devices/p1/config", {"do": "send"}))[0] == 202
        assert (await call("POST", "/api/devices/p1/config", {"do": "leave"}))[0] == 202
        assert (await call("GET", "/api/devices/p1/config"))[1]["wanted"]["version"] == ""
        assert (await call("GET", "/api/devices/p1/config"))[1]["layers"] == ["class/press@1"]

    page(tmp_path, work)
    assert readers == {"plane-config_0"}, "a large document holds up neither the writer nor whoever wants a thread"
