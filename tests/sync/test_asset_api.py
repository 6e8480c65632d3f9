"""Assets over the API: whose they are, what a request may say, and what the audit keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from sync.control_plane import tables
from sync.control_plane.plane import Plane
from tests.sync.tenants import FOREIGN, OWN, PLACES, settled, somebody
from tests.sync.test_page import Ask, page
from tests.sync.test_people_api import Does

HERE = {"id": "P-101", "place": PLACES[OWN], "device": OWN, "class": "water_pump"}


def test_a_file_is_taken_in_whole_or_not_at_all_and_by_who_may_there(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        engineer = await somebody(plane, "li", ("engineer", "acme/suzhou"))
        li = Does(ask, engineer)
        wang = Does(ask, await somebody(plane, "wang", ("operator", "acme")))
        boss = Does(ask, await somebody(plane, "boss", ("platform_admin", "")))
        assert (await boss("POST", "assets", id="P-9", place="acme/wuxi"))[0] == 201

        async def given(who: Does, body: str, place: str = "acme/suzhou", kind: str = "csv") -> tuple[int, Any]:
            return await who("POST", "assets/import", place=place, kind=kind, name="pumps.csv", body=body)

        good = f"id,place,device,name\nP-1,,{OWN},first\nP-2,acme/suzhou/line-2,,\n"
        assert (await given(wang, good))[0] == (await given(li, good, "acme/wuxi"))[0] == 403
        wrong = f"P-3,acme/wuxi,,\nP-9,,,\nP-4,,{FOREIGN},\nP-5,,no-one,\nP-1,,,\n"
        status, said = await given(li, good + wrong)
        assert status == 422 and said["detail"].splitlines() == [
            "pumps.csv:4: P-3: your roles do not reach acme/wuxi (name a place below your own)",
            "pumps.csv:5: P-9: there is an asset P-9 in acme already (at a place that is not yours)",
            "pumps.csv:6: P-4: there is no such device here",
            "pumps.csv:7: P-5: there is no such device here",
            "pumps.csv:8: P-1: it stands twice in the file (first at pumps.csv:2)",
            "nothing of the file is kept",
        ]
        assert (await given(li, "id\nP-1\n", place=""))[1]["detail"].startswith("pumps.csv:2: P-1: your roles do not")
        assert "pumps.csv: not UTF-8 text" in (await given(li, "id\n\ufffd"))[1]["detail"]
        assert (await given(li, "id\nP\n", kind="yaml"))[0] == (await given(li, "x" * 4_000_001))[0] == 422
        assert (await given(li, "x" * 8 * 2**20))[0] == 413
        assert (await li("GET", "assets"))[1] == []
        assert await given(li, good) == (200, {"new": 2, "changed": 0})
        again = '[{"id": "P-1", "name": "again"}, {"id": "P-6"}]'
        assert await given(li, again, kind="json") == (200, {"new": 1, "changed": 1})
        rows = [(one["id"], one["place"], one["device"], one["name"]) for one in (await li("GET", "assets"))[1]]
        assert rows == [
            ("P-1", "acme/suzhou", OWN, "again"),
            ("P-6", "acme/suzhou", "", ""),
            ("P-2", "acme/suzhou/line-2", "", ""),
        ]
        text = (await ask("GET", "/api/assets/export", **engineer))[1].decode("utf-8-sig")
        assert await given(li, text) == (200, {"new": 0, "changed": 3}), "as it went out"

    page(tmp_path, work)


def test_an_asset_and_what_is_done_to_it(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        engineer = Does(ask, await somebody(plane, "li", ("engineer", "acme")))
        operator = Does(ask, await somebody(plane, "wang", ("operator", PLACES[OWN])))
        viewer = Does(ask, await somebody(plane, "anna", ("viewer", "acme")))
        elsewhere = Does(ask, await somebody(plane, "bert", ("tenant_admin", "foreign-corp")))
        status, said = await engineer("POST", "assets", **HERE, rules=[{"what": "oil", "days": 0.001}], begun=1.0)
        its = f"assets/{said['number']}"
        assert status == 201
        assert (await engineer("POST", "assets", **HERE)) == (
            409,
            {"detail": "there is an asset P-101 in acme already"},
        )
        for wrong, status in (
            ({**HERE, "id": "P", "place": "foreign-corp"}, 403),
            ({**HERE, "id": "P", "place": ""}, 403),
            ({**HERE, "id": "P", "device": FOREIGN}, 404),
            ({**HERE, "id": "P", "device": "none"}, 404),
            ({**HERE, "id": "P", "plase": "acme"}, 422),
        ):
            assert (await engineer("POST", "assets", **wrong))[0] == status, wrong
            assert (await engineer("PUT", its, **wrong))[0] == status, wrong
        assert (await operator("POST", "assets", **HERE))[0] == (await operator("PUT", its, **HERE))[0] == 403
        assert (await viewer("POST", f"{its}/maintenance", did="oiled"))[0] == 403
        (one,) = (await viewer("GET", "assets?due=true&find=PUMP"))[1]
        assert one["id"] == "P-101" and one["due"][0]["due"] and (one["hours"], one["open"]) == (None, 0)
        assert (await viewer("GET", "assets?find=fan"))[1] == [] == (await elsewhere("GET", "assets"))[1]
        status, said = await operator("POST", f"{its}/work-orders", title="oil", origin="due", about="oil")
        order = f"work-orders/{said['number']}"
        assert (await elsewhere("POST", order, state="dropped", deed={"did": "x"}))[0] == 404
        assert (await elsewhere("GET", its))[0] == (await elsewhere("DELETE", its))[0] == 404
        parts = [{"position": "bearing", "part": "6205", "serial": "A1"}]
        assert (await operator("POST", order, state="done", deed={"did": "oiled", "parts": parts}))[0] == 204
        assert (await operator("POST", order, state="done", deed={"did": "oiled"}))[0] == 409
        assert (await operator("POST", f"{its}/parts", position="bearing"))[0] == 204
        told = (await viewer("GET", its))[1]
        assert [(part["part"], part["removed_by"]) for part in told["parts"]] == [("6205", "wang")]
        assert [did["rule"] for did in told["maintenance"]] == ["oil"] and told["work_orders"][0]["state"] == "done"
        assert [alarm["key"] for alarm in told["alarms"]] == [f"{OWN}-alarm"]
        assert not told["due"][0]["due"]
        assert (await engineer("DELETE", its))[0] == 409
        moved = tables.device.update().where(tables.device.c.id == OWN).values(site="foreign-corp")
        await plane.store.write(lambda c: c.execute(moved) and None)
        assert (await engineer("PUT", its, **HERE, name="spare"))[0] == 204, "its device was moved away"
        assert (await engineer("PUT", its, **HERE, running=f"plc.{OWN}"))[0] == 404
        audit = (
            select(tables.audit).where(tables.audit.c.about.startswith("work order")).order_by(tables.audit.c.number)
        )
        row = (await plane.store.read(lambda c: c.execute(audit).mappings().all()))[0]
        assert (row["about"], row["place"], row["result"]) == ("work order 1 of P-101: done", PLACES[OWN], "204")

    page(tmp_path, work)


def test_an_export_is_a_file_that_a_spreadsheet_reads_as_text(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        who = await somebody(plane, "li", ("engineer", "acme"))
        li = Does(ask, who)
        number = (await li("POST", "assets", **HERE, name="泵 1", begun=0.0))[1]["number"]
        await li("POST", f"assets/{number}/work-orders", title="=cmd|' /C calc'!A0")
        status, body, heads = await ask("GET", "/api/work-orders/export", **who)
        assert status == 200 and heads["content-disposition"] == 'attachment; filename="work-orders.csv"'
        row = body.decode("utf-8-sig").splitlines()[1]
        assert row.startswith("1,open,P-101,泵 1,acme/suzhou/line-1,water_pump,hand,,'=cmd|' /C calc'!A0,")
        assert (await ask("GET", "/api/work-orders/export?since=4000000000", **who))[1].decode("utf-8-sig").count(
            "\n"
        ) == 1
        assert json.loads((await ask("GET", "/api/work-orders/export?format=json", **who))[1])[0]["number"] == 1
        _, body, _ = await ask("GET", "/api/assets/export", **who)
        assert (
            body.decode("utf-8-sig").splitlines()[1] == f"P-101,acme/suzhou/line-1,泵 1,water_pump,{OWN},,,0.0,,0.0,,,"
        )

    page(tmp_path, work)
