"""Everybody against every route, for a device of theirs and for one of another enterprise: what permissions.py says is
what happens."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import func, select

from sync.control_plane import tables
from sync.control_plane.access import ELSEWHERE
from sync.control_plane.permissions import CHANGES, ROLES, TABLE, Of
from sync.control_plane.plane import Plane
from tests.sync.tenants import FOREIGN, OWN, PLACES, governed, picture_of, settled, somebody
from tests.sync.test_page import Ask, page
from tests.walks import LONG

TOP = "acme"  # where everybody has their role
ENDLESS = ("GET /api/live",)  # has a test of its own
QUERIES = {"tag": "plc.{device}", "from": "-60000000000", "key": "x", "epoch": "0" * 16, "stream": "samples:plc"}
QUERIES |= {"seq": "9", "device": "{device}"}
NUMBERED = re.compile("/(rollouts|assets|work-orders|cases)/{number}")
NAMES_ITS_PLACE = (
    "POST /api/assets",
    "POST /api/assets/import",
    "POST /api/cases",
    "POST /api/cases/file",
    "GET /api/cases",
)
CASE = {"id": "{device}-case", "symptom": "{device} hums"}
BODIES = {
    "POST /api/cases": {"place": "{place}", "case": CASE},
    "PUT /api/cases/{number}": CASE,
    "POST /api/cases/file": {"place": "{place}", "kind": "csv", "body": "id,symptom\n{device}-case,hums"},
    "POST /api/assets": {"id": "new", "place": "{place}", "device": "{device}"},
    "POST /api/assets/import": {"place": "{place}", "kind": "csv", "body": "id,device\n{device}-fan,{device}"},
    "PUT /api/assets/{number}": {"id": "{device}-pump", "place": "{place}", "device": "{device}"},
    "POST /api/assets/{number}/parts": {"position": "drive end", "part": "6205"},
    "POST /api/assets/{number}/maintenance": {"did": "oiled"},
    "POST /api/assets/{number}/work-orders": {"title": "it leaks"},
    "POST /api/work-orders/{number}": {"state": "dropped", "deed": {"did": "it does not"}},
}


def asked(route: str, device: str) -> tuple[str, str, bytes]:
    """A request to a route about a device: what is not known about it is nonsense."""
    method, path = route.split(" ")
    known = {"device": device, "digest": picture_of(device), "epoch": "0" * 16, "seq": "2", "key": f"{device}-alarm"}
    known |= {"tag": f"plc.{device}", "layer": f"site/{PLACES[device]}"}
    known |= {"number": str(list(PLACES).index(device) + 1)} if NUMBERED.search(path) else {}
    path = re.sub(r"{(\w+)(:path)?}", lambda m: known.get(m[1], "0"), path)
    query = {**QUERIES, **({"seq": "2"} if "pictures" in path else {})} if method == "GET" else {}
    query |= {"version": "0"} if method in ("PUT", "DELETE") and "cases" in path else {}
    if "refused/body" in path:
        query = {name: query[name] for name in ("device", "epoch", "stream", "seq")}
    words = "&".join(f"{name}={value.format(device=device)}" for name, value in query.items())
    body = {
        "device": device,
        "epoch": "0" * 16,
        "stream": "samples:plc",
        "seq": 9,
        "reason": "x",
        "verb": "pause" if "rollouts" in path else "ack",
        "value": 1,
        "body": "alarms: {}",
    }
    said = json.dumps(BODIES.get(route, body)).replace("{place}", PLACES[device]).replace("{device}", device)
    return method, f"{path}?{words}", b"" if method == "GET" else said.encode()


def lets_in(status: int, body: bytes) -> bool:
    return status not in (401, 403) and not any(
        why.encode() in body
        for why in (
            ELSEWHERE,
            *(f"there is no such {what} here" for what in ("rollout", "asset", "work order", "case")),
        )
    )


def guarded() -> list[str]:
    return [route for route, need in TABLE.items() if need.of is not Of.ANYONE and route not in ENDLESS]


def wanted(route: str, role: str, place: str, device: str) -> bool:
    """What the table says of somebody who has that role at that node."""
    need = TABLE[route]
    if need.of is Of.SELF:
        return True
    if need.permission not in ROLES[role]:
        return False
    if need.of is Of.PLANE:
        return place == ""
    its = "{device}" in route or "{layer" in route or NUMBERED.search(route) or route in NAMES_ITS_PLACE
    return not its or PLACES[device].startswith(place)


@pytest.mark.parametrize("place", [TOP, pytest.param("", marks=LONG)])
def test_each_role_gets_of_each_route_what_the_table_says(tmp_path: Path, place: str) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        await governed(plane)
        wrong, leaks = [], []

        async def tries(role: str) -> None:
            who = await somebody(plane, role, (role, place))
            for route in guarded():
                if route == "POST /api/logout":
                    continue
                for device in PLACES:
                    method, path, body = asked(route, device)
                    status, said, _ = await ask(method, path, body, **who, Content_Type="application/json")
                    if lets_in(status, said) != wanted(route, role, place, device):
                        wrong.append((role, route, device, status, said))
                    if place and method == "GET" and FOREIGN.encode() in said:
                        leaks.append((role, route, device, said))
                    assert status < 500, (route, said)

        for role in ROLES:
            if not place or role != "platform_admin":
                await tries(role)
        assert not wrong and not leaks

    page(tmp_path, work)


def test_lists_hold_what_is_ours_and_nothing_foreign(tmp_path: Path) -> None:
    """So that no list passes the matrix by being empty."""

    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        await governed(plane)
        ours = await somebody(plane, "li", ("engineer", TOP))
        all_of_it = await somebody(plane, "wang", ("platform_admin", ""))
        for route in (
            "devices",
            "alarms",
            "events",
            "inspections",
            "rules",
            "refused",
            "refused/body",
            "refused/count",
            "proof",
            "config",
            "rollouts",
            "assets",
            "assets/export",
            "work-orders",
            "work-orders/export",
            "cases",
            "cases/graph",
        ):
            _, path, _ = asked(f"GET /api/{route}", OWN)
            plain = path if "body" in path else path.split("?")[0]
            _, mine, _ = await ask("GET", plain, **ours)
            _, whole, _ = await ask("GET", plain, **all_of_it)
            if "body" in path:
                assert mine == whole == b"x" and (await ask("GET", path.replace(OWN, FOREIGN), **ours))[0] == 404
            elif "count" in path:
                assert json.loads(mine) == {"records": 1} and json.loads(whole) == {"records": 2}
            else:
                assert OWN.encode() in mine and FOREIGN.encode() not in mine, route
                assert OWN.encode() in whole and FOREIGN.encode() in whole, route
        for device, status in ((OWN, 200), (FOREIGN, 404)):
            _, path, _ = asked("GET /api/pictures/{digest}", device)
            assert (await ask("GET", path, **ours))[0] == status
            assert (await ask("GET", path.split("?")[0], **ours))[0] == 404, "nobody says which event shows it"
            assert (await ask("GET", path.split("?")[0], **all_of_it))[0] == 200
        lent = asked("GET /api/pictures/{digest}", OWN)[1].replace(picture_of(OWN), picture_of(FOREIGN))
        assert (await ask("GET", lent, **ours))[0] == 404, (
            "a picture is not theirs because they name an event of theirs"
        )

    page(tmp_path, work)


def test_the_table_has_the_routes_there_are(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        who = await somebody(plane, "wang", ("viewer", ""))
        _, said, _ = await ask("GET", "/openapi.json", **who)
        served = {
            f"{method.upper()} {path}" for path, methods in json.loads(said)["paths"].items() for method in methods
        }
        hidden = {"GET /openapi.json", "GET /{path:path}", "GET /login", *HIDDEN}
        assert {route for route in TABLE if route.replace(":path", "") not in served} == hidden
        assert len(served) == len(TABLE) - len(hidden)

    page(tmp_path, work)


HIDDEN = {route for route in TABLE if "openid" in route}


def test_each_route_that_changes_something_leaves_one_row(tmp_path: Path) -> None:
    """Done or refused; and one that only looks leaves none."""

    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        await governed(plane)
        count = select(func.count()).select_from(tables.audit)
        newest = select(tables.audit).order_by(tables.audit.c.number.desc())
        for role, place, device in (("platform_admin", "", OWN), ("viewer", TOP, OWN), ("tenant_admin", TOP, FOREIGN)):
            who = await somebody(plane, f"{role}.1", (role, place))
            for route in sorted(guarded(), key="POST /api/logout".__eq__):
                before = await plane.store.read(lambda c: c.scalar(count))
                method, path, body = asked(route, device)
                status, said, _ = await ask(method, path, body, **who, Content_Type="application/json")
                rows = await plane.store.read(lambda c: c.scalar(count)) - before
                assert rows == (method in CHANGES), (route, said)
                if rows:
                    row = await plane.store.read(lambda c: c.execute(newest).mappings().first())
                    assert row and (row["who"], row["origin"], row["what"]) == (f"{role}.1", "127.0.0.1", route)
                    assert row["result"] == str(status)
                    assert route.endswith("logout") or row["after"] or row["about"] or TABLE[route].secret
                    if "{device}" in route:
                        assert device in row["about"] and row["place"] == PLACES[device]
        notes = select(func.count()).select_from(tables.audit_note)
        assert await plane.store.read(lambda c: c.scalar(notes)) == 0, "each row takes its note away"

    page(tmp_path, work)


def test_the_live_lane_tells_of_their_devices_alone_and_ends_with_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sync.control_plane import api, people

    monkeypatch.setattr(api, "LOOK_SECONDS", 0.0)

    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        who = await somebody(plane, "li", ("viewer", TOP))
        follows = asyncio.ensure_future(ask("GET", "/api/live", **who))
        while not plane.hub._pages:
            await asyncio.sleep(0)
        for device in (
            FOREIGN,
            "@plane",
            "unknown",
            OWN,
            FOREIGN,
        ):  # once the last one is taken, those before it are told
            plane.hub.tell({"kind": "events", "device": device})
        (follower,) = plane.hub._pages
        while follower.qsize():
            await asyncio.sleep(0)
        await plane.store.write(lambda c: people.end(c, "li"))
        plane.hub.tell({"kind": "events", "device": OWN, "late": True})
        _, said, _ = await follows
        told = [json.loads(line[6:]) for line in said.decode().splitlines() if line.startswith("data: ")]
        assert told == [{"kind": "open"}, {"kind": "events", "device": OWN}]

    page(tmp_path, work)
