"""Every device against every route of its listener, about its own things and about another's: what the table here says is what
happens."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import Connection, select, update

from edge import Case, joined_cases, packed_case
from sync import replacement, wire
from sync.control_plane import cases, config, ddi_state, pieces, tables
from sync.control_plane.ca import Authority
from sync.control_plane.database import insert_new
from sync.control_plane.evidence_tables import keyed
from sync.control_plane.ingest import Ingest
from sync.control_plane.live import Hub
from sync.control_plane.queued import queue
from sync.control_plane.store import Store
from sync.control_plane.twin import Want, want
from sync.control_plane.updates import Updates
from sync.device import key
from tests.sync.enrolled import Shown, shown
from tests.sync.tenants import EPOCH, FOREIGN, OWN, PLACES, told

ANYBODY, ITS, ALL = "anybody", "the device's own", "every device's"
DDI = "/{tenant}/controller/v1/{device}"
TABLE = {  # who is answered at all, and whose things are told
    "GET /d/v1/ca": ANYBODY,
    "POST /d/v1/enroll": ANYBODY,  # these three bring a proof of their own
    "POST /d/v1/replace": ANYBODY,
    "POST /d/v1/certificate": ANYBODY,
    "POST /d/v1/up": ITS,
    "GET /d/v1/stands": ITS,
    "POST /d/v1/live": ITS,
    "GET /d/v1/dn": ITS,
    "GET /d/v1/twin": ITS,
    "GET /d/v1/config/{version}": ITS,
    "PUT /d/v1/draft": ITS,
    "PUT /d/v1/picture/{digest}": ITS,
    "PUT /d/v1/piece/{digest}": ITS,
    "GET /d/v1/object/{digest}": ALL,  # who knows its SHA-256
    "GET /d/v1/cases/{digest}": ITS,
    "GET /d/v1/updates/{path:path}": ALL,
    f"GET {DDI}": ITS,
    f"PUT {DDI}/configData": ITS,
    f"GET {DDI}/deploymentBase/{{action}}": ITS,
    f"POST {DDI}/deploymentBase/{{action}}/feedback": ITS,
    f"GET {DDI}/cancelAction/{{action}}": ITS,
    f"POST {DDI}/cancelAction/{{action}}/feedback": ITS,
    f"GET {DDI}/softwaremodules/{{action}}/artifacts": ITS,
    f"GET {DDI}/softwaremodules/{{action}}/artifacts/{{file}}": ITS,
}
TELLS = {  # of these a device that asks about its own has an answer with its name in it
    "GET /d/v1/dn",
    "GET /d/v1/twin",
    "GET /d/v1/config/{version}",
    "GET /d/v1/object/{digest}",
    "GET /d/v1/cases/{digest}",
    "GET /d/v1/updates/{path:path}",
    f"GET {DDI}",
    f"GET {DDI}/deploymentBase/{{action}}",
    f"GET {DDI}/softwaremodules/{{action}}/artifacts",
    f"GET {DDI}/softwaremodules/{{action}}/artifacts/{{file}}",
}
EMPTY = msgpack.packb([wire.VERSION, EPOCH, *(np.zeros(0, k).tobytes() for k in ("i4", "i8", "f8", "u1")), {}])


def case_of(device: str) -> Case:
    return Case(id=device, symptom=f"{device} hums")


class Plane:
    """What devices talk to, with two devices that have told of everything, and of whom everything is wanted."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store, self.authority, self.folder = store, Authority(folder), folder
        self.ingest = Ingest(store, Hub(), self.authority, updates=Updates(folder))
        self.known = {name: shown(self.authority, name, "s") for name in (OWN, FOREIGN, "revoked-1")}
        self.numbers: dict[str, int] = {}

    async def settles(self) -> None:
        for device, place in PLACES.items():
            await self.store.write(lambda c, d=device, p=place: self._of(c, d, p))  # type: ignore[misc]
        rows = [one.row for name, one in self.known.items() if name not in PLACES]
        await self.store.write(lambda c: insert_new(c, tables.device, [{**row, "revoked": 2.0} for row in rows]))
        await self.ingest.callers.keys.look()

    def _of(self, c: Connection, device: str, place: str) -> None:
        told(c, device, place)
        mine = self.known[device].row["key"]
        c.execute(update(tables.device).where(tables.device.c.id == device).values(key=mine))
        insert_new(c, keyed, [{"device": device, "key": mine, "since": 1.0}])
        cases.take_in(c, place, cases.ready([case_of(device)]), "li")
        queue(c, device, "ack", {"alarm": f"{device}-alarm", "by": "li", "epoch": EPOCH})
        made = config.Rendered(version_of(device), f"# of {device}", {}, ())
        config.keep(c, [made])
        wants = [
            Want(device, config.KIND, config.NAME, made.version),
            Want(device, "firmware", name_of(device), "1"),
            Want(device, "model", device, "1"),
        ]
        self.numbers[device] = want(c, wants) & 0x7FFFFFFF
        pieces.take(c, device, piece_of(device)[0], 0, 1000, piece_of(device)[1], lacks=True)
        ddi_state.begins(c, device)
        body = f"firmware of {device}".encode()
        file = (
            self.folder / "updates" / "targets" / "firmware" / f"{hashlib.sha256(body).hexdigest()}.{name_of(device)}-1"
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)

    async def rows(self, device: str) -> dict[str, list[str]]:
        """All that is kept of a device."""
        found = {
            t.name: select(t).where(t.c.device == device) for t in tables.metadata.sorted_tables if "device" in t.c
        }
        found["device"] = select(tables.device).where(tables.device.c.id == device)
        return await self.store.read(lambda c: {name: sorted(map(str, c.execute(q))) for name, q in found.items()})

    async def ask(self, route: str, about: str, scope: dict[str, Any], signs: str = OWN) -> tuple[int, bytes]:
        method, path = route.split(" ")
        file = next((self.folder / "updates" / "targets" / "firmware").glob(f"*.{name_of(about)}-1"))
        known = {"version": version_of(about), "digest": piece_of(about)[0], "tenant": "t", "device": about}
        known |= {
            "action": str(self.numbers[about]),
            "file": f"{name_of(about)}-1",
            "path": f"targets/firmware/{file.name}",
        }
        if "cases" in path:
            known["digest"] = wire.digest(joined_cases([packed_case(case_of(about))]))[:16]
        if "object" in path:
            known["digest"] = wire.digest(f"a picture of {about}".encode())
        path = re.sub(r"{(\w+)(:path)?}", lambda m: known[m[1]], path)
        whole = f"&whole={piece_of(about)[0]}" if "picture" in path or "up" in path.split("/")[-1:] else ""
        query = f"at=0&most=1000&size=1000&epoch={EPOCH}&seq=7&after=0&run=a&answers=1{whole}"
        sent, body = list[dict[str, Any]](), self._body(route, about, signs)
        came = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            return next(came, None) or await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        head = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "headers": [],
            "client": None,
        }
        head |= {"query_string": query.encode(), "scheme": "https", "server": ("plane", 1), "root_path": ""}
        await self.ingest.app({**head, **scope}, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    def _body(self, route: str, about: str, signs: str) -> bytes:
        mine = key.private(key.made())  # who asks holds some key, and names whom it likes
        if "certificate" in route or "enroll" in route:
            request = key.request(key.made(), about)
            return (
                request.encode()
                if "certificate" in route
                else json.dumps({"invitation": "x", "request": request}).encode()
            )
        if "replace" in route:
            request = key.request(key.made(), about)
            return json.dumps(replacement.asked(mine, request, about, EPOCH, "0" * 64)).encode()
        if "live" in route:
            return EMPTY
        if "feedback" in route:
            return b'{"status": {"execution": "proceeding"}}'
        return b'{"data": {"a": "b"}}' if "configData" in route else b"" if "piece" in route else b"# edited"


def name_of(device: str) -> str:
    return device.replace("-", "_")


def version_of(device: str) -> str:
    return hashlib.sha256(device.encode()).hexdigest()[:16]


def piece_of(device: str) -> tuple[str, bytes]:
    body = f"a piece of {device}".encode().ljust(1000, b".")
    return wire.digest(body), body


def at_the_plane(folder: Path, work: Any) -> None:
    async def body() -> None:
        (folder / "plane").mkdir()
        store = Store(f"sqlite:///{folder / 'plane' / 'plane.db'}")
        try:
            plane = Plane(folder / "plane", store)
            await plane.settles()
            await work(plane)
        finally:
            store.close()

    asyncio.run(body())


def test_the_table_has_the_routes_there_are(tmp_path: Path) -> None:
    async def work(plane: Plane) -> None:
        routes = plane.ingest.app._application.routes  # type: ignore[attr-defined]
        assert {f"{method} {one.path}" for one in routes for method in one.methods - {"HEAD"}} == TABLE.keys()

    at_the_plane(tmp_path, work)


def test_nobody_but_an_enrolled_device_is_answered(tmp_path: Path) -> None:
    async def work(plane: Plane) -> None:
        stolen: Shown = shown(plane.authority, OWN)  # a good certificate of its name, for another key
        strangers = {"nobody": {}, "revoked": plane.known["revoked-1"].scope, "another key": stolen.scope}
        strangers["another authority"] = shown(Authority(tmp_path / "other"), OWN).scope
        wrong = []
        for route, whose in TABLE.items():
            for name, scope in strangers.items():
                status, said = await plane.ask(route, OWN, scope)
                let_in = status < 400 or OWN.encode() in said
                if let_in != (route == "GET /d/v1/ca") or (status != 401 and whose is not ANYBODY):
                    wrong.append((route, name, status, said))
        assert not wrong, "\n".join(map(str, wrong))

    at_the_plane(tmp_path, work)


def test_a_device_gets_and_changes_what_is_its_own_alone(tmp_path: Path) -> None:
    async def work(plane: Plane) -> None:
        me, wrong, before = plane.known[OWN].scope, [], await plane.rows(FOREIGN)
        assert sum(map(len, before.values())) > 10 and FOREIGN in str(before)
        for route, whose in TABLE.items():
            status, said = await plane.ask(route, FOREIGN, me)
            if whose is not ALL and FOREIGN.encode() in said and "asks as another device" not in said.decode():
                wrong.append(("tells", route, status, said))
            assert status < 500, (route, said)
        assert await plane.rows(FOREIGN) == before
        for route in TABLE:
            status, said = await plane.ask(route, OWN, me)
            if (route in TELLS) != (OWN.encode() in said and status == 200):
                wrong.append(("its own", route, status, said))
        assert not wrong, "\n".join(map(str, wrong))

    at_the_plane(tmp_path, work)
