"""People who look after people over the API: nobody gives what they do not have, nor reaches who has more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select, update

from sync.control_plane import tables
from sync.control_plane.plane import Plane
from tests.sync.tenants import OWN, PASSWORD, settled, somebody
from tests.sync.test_page import Ask, page


class Does:
    """What somebody asks of the plane, with its status and answer."""

    def __init__(self, ask: Ask, who: dict[str, str]) -> None:
        self._ask, self._who = ask, who

    async def __call__(self, method: str, path: str, **body: Any) -> tuple[int, Any]:
        given = json.dumps(body).encode() if body else b""
        status, said, _ = await self._ask(method, f"/api/{path}", given, **self._who, Content_Type="application/json")
        return status, json.loads(said) if said else None


async def roles_of(does: Does) -> dict[str, list[list[str]]]:
    return {one["name"]: one["roles"] for one in (await does("GET", "people"))[1]}


def test_a_tenants_admin_looks_after_its_people_alone(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await somebody(plane, "wang", ("platform_admin", ""))
        await somebody(plane, "anna", ("operator", "acme/suzhou"), ("viewer", "beta"))
        await somebody(plane, "bert", ("engineer", "beta"))
        await somebody(plane, "nobody")
        admin = Does(ask, await somebody(plane, "li", ("tenant_admin", "acme")))
        new = {"name": "carl", "password": PASSWORD, "role": "engineer", "at": "acme/east"}
        assert await admin("POST", "people", **new) == (201, {"name": "carl"})
        assert (await admin("POST", "people", **new))[0] == 409
        assert await roles_of(admin) == {
            "anna": [["operator", "acme/suzhou"]],
            "carl": [["engineer", "acme/east"]],
            "li": [["tenant_admin", "acme"]],
        }
        for role, at in (
            ("viewer", "beta"),
            ("viewer", ""),
            ("viewer", "acmee"),
            ("platform_admin", ""),
            ("tenant_admin", ""),
        ):
            status, said = await admin("POST", "people/carl/roles", role=role, at=at)
            assert status == 403 and said["detail"].startswith("nobody gives or takes what they do not have"), (
                role,
                at,
            )
            assert (await admin("POST", "people", **{**new, "name": "dora", "role": role, "at": at}))[0] == 403
            assert (await admin("POST", "keys", name="k", role=role, at=at))[0] == 403
        for name in ("bert", "wang", "nobody", "zoe"):
            for method, path, body in (
                ("POST", "password", {"password": PASSWORD}),
                ("POST", "signout", {}),
                ("POST", "roles", {"role": "viewer", "at": "acme"}),
                ("DELETE", "roles?role=viewer&at=acme", {}),
                ("DELETE", "", {}),
            ):
                assert (await admin(method, f"people/{name}/{path}".rstrip("/"), **body))[0] == 404, (name, path)
        for method, path, body in (
            ("POST", "/password", {"password": PASSWORD}),
            ("POST", "/signout", {}),
            ("DELETE", "", {}),
        ):
            assert (await admin(method, f"people/anna{path}", **body))[0] == 403, "she is something elsewhere, too"
            assert (await admin(method, f"people/li{path}", **body))[0] == 409, "nobody locks themselves out"
        assert (await admin("POST", "people/anna/roles", role="auditor", at="acme"))[0] == 204
        assert (await admin("DELETE", "people/anna/roles?role=operator&at=acme/suzhou"))[0] == 204
        assert (await admin("DELETE", "people/anna/roles?role=operator&at=acme/suzhou"))[0] == 409
        assert (await roles_of(admin))["anna"] == [["auditor", "acme"]]
        assert (await admin("POST", "people/carl/password", password="short"))[0] == 422
        assert (await admin("DELETE", "people/carl"))[0] == 204 and "carl" not in await roles_of(admin)

    page(tmp_path, work)


def test_who_administers_every_tenant_reaches_no_platform_admin(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await somebody(plane, "wang", ("platform_admin", ""))
        admin = Does(ask, await somebody(plane, "li", ("tenant_admin", "")))
        assert set(await roles_of(admin)) == {"wang", "li"}
        assert (await admin("POST", "people/wang/password", password=PASSWORD))[0] == 403
        assert (await admin("POST", "people/wang/roles", role="platform_admin", at=""))[0] == 403
        assert (await admin("DELETE", "people/wang/roles?role=platform_admin"))[0] == 403

    page(tmp_path, work)


def test_somebody_gives_themselves_another_password_who_knows_the_old_one(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        li = Does(ask, await somebody(plane, "li", ("viewer", "acme"), password=PASSWORD))
        assert (await li("POST", "password", old="another one entirely", new=f"{PASSWORD} 2"))[0] == 403
        assert (await li("POST", "password", old=PASSWORD, new="short"))[0] == 422
        assert (await li("GET", "me"))[0] == 200
        assert (await li("POST", "password", old=PASSWORD, new=f"{PASSWORD} 2"))[0] == 204
        assert (await li("GET", "me"))[0] == 401, "who was signed in with the old one is not any more"
        entry = json.dumps({"name": "li", "password": f"{PASSWORD} 2"}).encode()
        assert (await ask("POST", "/api/login", entry, Content_Type="application/json"))[0] == 204
        t = tables.audit
        rows = await plane.store.read(lambda c: c.execute(select(t.c.what, t.c.after)).all())
        assert [after for what, after in rows if what == "POST /api/password"] == [""] * 3

    page(tmp_path, work)


def test_a_key_is_said_once_and_opens_until_it_is_taken_back(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        admin = Does(ask, await somebody(plane, "li", ("tenant_admin", "acme")))
        root = Does(ask, await somebody(plane, "wang", ("platform_admin", "")))
        status, said = await admin("POST", "keys", name="grafana", role="viewer", at="acme", days=30)
        program = Does(ask, {"Authorization": f"Bearer {said['key']}"})
        assert status == 201 and [one["id"] for one in (await program("GET", "devices"))[1]] == [OWN]
        assert (await root("POST", "keys", name="whole", role="auditor"))[0] == 201
        (key,) = (await admin("GET", "keys"))[1]
        assert key.keys() == {"name", "role", "place", "created", "expires"} and key["name"] == "grafana"
        assert 29 * 86400 < key["expires"] - key["created"] <= 30 * 86400
        assert (await admin("POST", "keys", name="long", role="viewer", at="acme", days=367))[0] == 422
        assert (await admin("DELETE", "keys/whole"))[0] == 404
        status, said = await admin("POST", "keys", name="robot", role="tenant_admin", at="acme")
        robot = Does(ask, {"Authorization": f"Bearer {said['key']}"})
        assert status == 201 and (await robot("GET", "keys"))[0] == 200
        for method, path, body in (
            ("POST", "keys", {"name": "next", "role": "viewer", "at": "acme"}),
            ("DELETE", "keys/grafana", {}),
            ("POST", "people", {"name": "eve", "password": PASSWORD, "role": "viewer", "at": "acme"}),
            ("POST", "people/li/roles", {"role": "viewer", "at": "acme"}),
            ("POST", "people/li/signout", {}),
        ):
            assert (await robot(method, path, **body))[0] == 403, "no key outlives its end by giving another"
        assert (await admin("DELETE", "keys/grafana"))[0] == 204 and (await program("GET", "devices"))[0] == 401
        assert (await admin("GET", "tree"))[1] == [{"place": "acme/suzhou/line-1", "devices": 1}]

    page(tmp_path, work)


def test_the_audit_keeps_nothing_of_a_password_is_searched_and_says_whether_it_holds(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        root = Does(ask, await somebody(plane, "wang", ("platform_admin", "")))
        t = tables.audit
        for body in (
            {"name": "carl", "password": PASSWORD},
            {"name": "carl", "password": PASSWORD, "role": "viewer", "at": "acme"},
        ):
            await root("POST", "people", **body)
        await root("POST", "people/carl/password", password=PASSWORD, more=1)
        refused, new, other = await plane.store.read(
            lambda c: c.execute(select(t).order_by(t.c.number)).mappings().all()
        )
        assert (refused["result"], new["result"], other["result"]) == ("422", "201", "204")
        assert refused["after"] == "" != new["after"] and (new["about"], new["place"]) == ("carl", "acme")
        assert new["after"] != refused["after"] and other["about"] == "carl"
        assert [row["number"] for row in (await root("GET", "audit?find=CARL/"))[1]] == []
        assert [row["number"] for row in (await root("GET", "audit?find=/password"))[1]] == [3]
        assert [row["number"] for row in (await root("GET", "audit?refused=true"))[1]] == [1]
        status, chain = await root("GET", "audit/chain")
        assert (status, chain["rows"], chain["broken"]) == (200, 3, "")
        await plane.store.write(lambda c: c.execute(update(t).where(t.c.number == 2).values(who="someone")) and None)
        assert "audit row 2 does not follow" in (await root("GET", "audit/chain"))[1]["broken"]

    page(tmp_path, work)


def test_a_dossier_is_of_what_is_ours(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        ours = Does(ask, await somebody(plane, "li", ("viewer", "acme")))
        status, said = await ours("GET", "dossier?at=acme&days=7")
        assets, made, *_ = said["tables"]
        assert status == 200 and [row[0] for row in assets["rows"]] == [OWN] and said["at"] == "acme"
        assert made["heads"] == ["device", "parts", "OK", "NG", "OK of all"] and len(said["version"]) == 64
        assert said == (await ours("GET", "dossier?at=acme&days=7"))[1]
        for elsewhere in ("", "foreign-corp", "acmee"):
            assert (await ours("GET", f"dossier?at={elsewhere}"))[0] == 404

    page(tmp_path, work)
