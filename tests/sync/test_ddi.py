"""hawkBit's DDI: what its clients ask and say, in the shapes of its documents, over TLS with a device's own certificate."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select, update

from sync.control_plane import ddi_state, tables
from sync.control_plane.ddi_state import said
from sync.control_plane.invite import Wish, invited
from sync.control_plane.own import PLANE
from sync.control_plane.plane import Plane
from sync.control_plane.twin import Want, told
from sync.device import enrolment
from sync.invitation import token
from tests.sync.enrolled import tls_of
from tests.sync.test_page import Ask, page

pytestmark = pytest.mark.usefixtures("database")
BUNDLE = b"hsqs" + bytes(range(256)) * 4000
DIGEST = hashlib.sha256(BUNDLE).hexdigest()


class Client:
    """What a client of hawkBit on one device does, by HTTP."""

    def __init__(self, plane: Plane, folder: Path, device: str) -> None:
        self.base = f"{plane.url}/DEFAULT/controller/v1/{device}"
        self._line = urllib3.PoolManager(ssl_context=tls_of(folder, device), retries=False, timeout=60)

    async def ask(self, method: str, where: str, words: Any = None, **headers: str) -> urllib3.BaseHTTPResponse:
        body = json.dumps(words).encode() if words is not None else None
        given = {"Accept": "application/hal+json", **headers}
        return await asyncio.to_thread(self._line.request, method, where, body=body, headers=given)

    async def poll(self) -> dict[str, Any]:
        answer = await self.ask("GET", self.base)
        assert answer.status == 200 and answer.headers["Content-Type"].startswith("application/hal+json")
        return answer.json()  # type: ignore[no-any-return]

    async def says(self, where: str, execution: str, finished: str = "none", *details: str) -> int:
        result = {"finished": finished, "progress": {"cnt": 1, "of": 2}}
        status = {"execution": execution, "result": result, "details": list(details)}
        return (await self.ask("POST", f"{where}/feedback", {"id": "1", "status": status})).status


def served(folder: Path, work: Callable[[Plane, Client, Client], Awaitable[None]]) -> None:
    """`work` with a plane that has `firmware/image-1` and `-2`, and clients of two devices."""
    targets = folder / "plane" / "updates" / "targets" / "firmware"
    targets.mkdir(parents=True)
    for version in (1, 2):
        (targets / f"{DIGEST}.image-{version}").write_bytes(BUNDLE)
    (targets / f"{'0' * 64}.image-3").write_bytes(BUNDLE)

    async def with_clients(plane: Plane, ask: Ask) -> None:
        clients = []
        for name in ("gate-1", "gate-2"):
            words = token(plane.url, plane.authority.fingerprint, await invited(plane.store, Wish()))
            await asyncio.to_thread(enrolment.enroll, words, name, folder / name)
            clients.append(Client(plane, folder / name, name))
        await work(plane, clients[0], clients[1])

    page(folder, with_clients)


async def wants(plane: Plane, version: str) -> int:
    """The number of that action, in the 31 bits that clients keep."""
    return await plane.ingest.want([Want("gate-1", "firmware", "image", version)]) & 0x7FFFFFFF


async def attributes(plane: Plane) -> dict[str, str]:
    t = tables.ddi
    return json.loads(await plane.store.read(lambda c: c.scalar(select(t.c.attributes))) or "")  # type: ignore[no-any-return]


async def state(plane: Plane) -> tuple[str, str, str, str]:
    """(state, running, tried, reason) as the plane knows it."""
    (one,) = await plane.store.read(lambda c: told(c, "firmware", "image", ["gate-1"]))
    return one.state, one.running, one.tried, one.reason


def test_a_client_gets_its_firmware_and_what_it_says_is_what_the_device_tells(tmp_path: Path) -> None:
    async def work(plane: Plane, it: Client, other: Client) -> None:
        first = await it.poll()
        assert first == {
            "config": {"polling": {"sleep": "00:05:00"}},
            "_links": {"configData": {"href": f"{it.base}/configData"}},
        }
        words = {"mode": "merge", "data": {"hw": "rev3", "serial": 7}}
        assert (await it.ask("PUT", first["_links"]["configData"]["href"], words)).status == 200
        assert await attributes(plane) == {"hw": "rev3", "serial": "7"}
        for mode, data in (("merge", {"hw": "rev4"}), ("remove", {"serial": ""})):
            assert (await it.ask("PUT", f"{it.base}/configData", {"mode": mode, "data": data})).status == 200
        assert await attributes(plane) == {"hw": "rev4"}
        many = {"mode": "merge", "data": {f"a{k}": "" for k in range(100)}}
        assert (await it.ask("PUT", f"{it.base}/configData", many)).status == 422, "a hundred in all"
        number = await wants(plane, "1")
        found = await it.poll()
        href = f"{it.base}/deploymentBase/{number}"
        assert found["_links"] == {"deploymentBase": {"href": href}}
        assert found["config"]["polling"]["sleep"] == "00:01:00"
        what = (await it.ask("GET", href)).json()
        artifact = f"{it.base}/softwaremodules/{number}/artifacts/image-1.raucb"
        sums = {"sha1": hashlib.sha1(BUNDLE).hexdigest(), "md5": hashlib.md5(BUNDLE).hexdigest(), "sha256": DIGEST}
        links = {"download": {"href": artifact}, "md5sum": {"href": f"{artifact}.MD5SUM"}}
        file = {"filename": "image-1.raucb", "hashes": sums, "size": len(BUNDLE), "_links": links}
        chunk = {"part": "os", "version": "1", "name": "image", "artifacts": [file]}
        assert what == {
            "id": str(number),
            "deployment": {"download": "forced", "update": "forced", "chunks": [chunk]},
        }
        assert (await it.ask("GET", f"{it.base}/softwaremodules/{number}/artifacts")).json() == [file]
        assert (await it.ask("GET", artifact)).data == BUNDLE
        part = await it.ask("GET", artifact, Range="bytes=1000-")
        assert (part.status, part.data) == (206, BUNDLE[1000:])
        assert (await it.ask("GET", f"{artifact}.MD5SUM")).data.split() == [sums["md5"].encode(), b"image-1.raucb"]
        assert await it.says(href, "proceeding", "none", "downloading") == 200
        assert await state(plane) == ("trying", "", "1", "downloading; 1 of 2")
        assert (await it.poll())["_links"] == {"deploymentBase": {"href": href}}
        assert await it.says(href, "closed", "success") == 200
        assert await state(plane) == ("running", "1", "1", "1 of 2")
        assert (await it.poll())["_links"] == {} and await it.says(href, "closed", "failure") == 410
        second = await wants(plane, "2")
        assert await it.says(f"{it.base}/deploymentBase/{second}", "closed", "failure", "no space") == 200
        assert await state(plane) == ("refused", "1", "2", "no space; 1 of 2")
        assert (await it.poll())["_links"] == {}, "what failed is not offered again"
        e = tables.event
        asked = select(e.c.key, e.c.state).where(e.c.device == PLANE, e.c.kind == "ddi").order_by(e.c.seq)
        rows = await plane.store.read(lambda c: [tuple(row) for row in c.execute(asked)])
        assert rows == [("gate-1 firmware/image", s) for s in ("trying", "running", "refused")]

    served(tmp_path, work)


def test_what_is_wanted_no_more_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(plane: Plane, it: Client, other: Client) -> None:
        first = await wants(plane, "1")
        old = f"{it.base}/deploymentBase/{first}"
        assert await it.says(old, "proceeding") == 200
        second = await wants(plane, "2")
        cancel = f"{it.base}/cancelAction/{first}"
        assert (await it.poll())["_links"]["cancelAction"] == {"href": cancel}
        number = str(first)
        assert (await it.ask("GET", cancel)).json() == {"id": number, "cancelAction": {"stopId": number}}
        assert await it.says(cancel, "rejected") == 200
        assert (await state(plane))[0] == "trying", "it goes on, and to its end"
        assert await it.says(cancel, "closed", "success") == 200
        assert (await state(plane))[::2] == ("refused", "1")
        found = (await it.poll())["_links"]["deploymentBase"]
        assert found == {"href": f"{it.base}/deploymentBase/{second}"}
        assert (await it.ask("GET", cancel)).status == 404
        assert await it.says(f"{it.base}/deploymentBase/{second}", "proceeding") == 200
        third = await wants(plane, "1")
        for _ in range(2):  # it is asked to stop, and says nothing to that
            assert (await it.poll())["_links"].keys() & {"cancelAction", "deploymentBase"} == {"cancelAction"}
        monkeypatch.setattr(ddi_state, "PATIENCE", 0.0)
        assert (await it.poll())["_links"]["deploymentBase"] == {"href": f"{it.base}/deploymentBase/{third}"}
        why = "it was asked to stop, and has said nothing for 0 minutes; it may still be at it"
        assert await state(plane) == ("refused", "", "2", why)
        assert await it.says(f"{it.base}/deploymentBase/{second}", "closed", "success") == 410
        assert await it.says(f"{it.base}/deploymentBase/{third}", "proceeding") == 200
        await wants(plane, "2")
        t = tables.ddi
        await it.poll()
        await plane.store.write(lambda c: c.execute(update(t).values(stops_since=time.time() + 1e6)) and None)
        assert "cancelAction" in (await it.poll())["_links"], "a clock that was set back gives it its time anew"
        assert "deploymentBase" in (await it.poll())["_links"]
        await wants(plane, "")
        assert "deploymentBase" not in (await it.poll())["_links"]

    served(tmp_path, work)


def test_nobody_asks_for_another_device_and_nothing_else_is_given(tmp_path: Path) -> None:
    async def work(plane: Plane, it: Client, other: Client) -> None:
        number = await wants(plane, "1")
        for path in ("", f"/deploymentBase/{number}", f"/softwaremodules/{number}/artifacts/image-1.raucb"):
            assert (await other.ask("GET", it.base + path)).status == 403, path
            assert (await other.ask("GET", other.base + path)).status == (404 if path else 200), path
        context = tls_of(tmp_path / "gate-1", "gate-1")
        context = type(context)(context.protocol)
        context.check_hostname, context.verify_mode = False, 0  # type: ignore[assignment]
        stranger = urllib3.PoolManager(ssl_context=context, retries=False, timeout=60)
        bare = await asyncio.to_thread(stranger.request, "GET", it.base, headers={"Authorization": "TargetToken x"})
        assert bare.status == 401
        files = f"{it.base}/softwaremodules/{number}/artifacts"
        for name in ("image-2.raucb", "..%2f..%2fca.key", "image-1"):
            assert (await it.ask("GET", f"{files}/{name}")).status == 404, name
        for wrong in ("0", "x", "9" * 30, str(number + 1)):
            assert (await it.ask("GET", f"{it.base}/deploymentBase/{wrong}")).status == 404, wrong
        feedback = f"{it.base}/deploymentBase/{number}/feedback"
        for words in ({}, [], {"status": {}}, {"status": {"execution": "flying"}}, {"status": {"execution": "closed"}}):
            assert (await it.ask("POST", feedback, words)).status == 400, words
        for words in ({}, {"data": []}, {"data": {}, "mode": "x"}, {"data": {"k": "v" * 600}}):
            assert (await it.ask("PUT", f"{it.base}/configData", words)).status == 400, words
        assert (await it.ask("POST", feedback, {"x": "y" * 70_000})).status == 422

    served(tmp_path, work)


def test_a_bundle_that_is_missing_or_was_changed_is_not_offered(tmp_path: Path) -> None:
    async def work(plane: Plane, it: Client, other: Client) -> None:
        await wants(plane, "9")
        assert "deploymentBase" not in (await it.poll())["_links"]
        assert (await state(plane))[::3] == ("waiting", "firmware/image-9 is not among the updates of this plane")
        number = await wants(plane, "3")
        assert (await it.ask("GET", f"{it.base}/deploymentBase/{number}")).status == 404, "not the digest in its name"

    served(tmp_path, work)


def test_the_twin_of_such_a_device_says_nothing_of_firmware(tmp_path: Path) -> None:
    async def work(plane: Plane, it: Client, other: Client) -> None:
        import msgpack

        await plane.ingest.want([Want("gate-1", k, "image", "1") for k in ("firmware", "model")])
        where = f"{it.base.split('/DEFAULT')[0]}/d/v1/twin"

        async def kinds() -> set[str]:
            return {one["kind"] for one in msgpack.unpackb((await it.ask("GET", where)).data)["wants"]}

        assert await kinds() == {"firmware", "model"}
        await it.poll()
        assert await kinds() == {"model"}

    served(tmp_path, work)


@pytest.mark.parametrize(
    ("execution", "finished", "state"),
    [
        ("scheduled", "none", "trying"),
        ("download", "none", "trying"),
        ("rejected", "none", "refused"),
        ("canceled", "none", "refused"),
        ("closed", "success", "running"),
        ("closed", "none", "running"),
        ("closed", "failure", "refused"),
    ],
)
def test_what_a_feedback_means(execution: str, finished: str, state: str) -> None:
    assert said({"execution": execution, "result": {"finished": finished}})[0] == state
