"""Assets over the API: whose they are, what a request may say, and what the audit keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from sync.control_plane import tables
from sync.control_plane.plane import Plane
from tests.sync.tenants import FOREIGN, OWN, PLACES, settled, somebody
from tests.sync.test_page import Ask, page
from tests.sync.test_people_api import Does

HERE = {"id": "P-101", "place": PLACES[OWN], "device": OWN, "class": "water_pump"}


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
