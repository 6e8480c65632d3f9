"""A file of assets: planned beside the writer, and kept as it is by then."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import event, select

from edge import LinesideError
from sync.control_plane import asset_files, asset_import, assets
from sync.control_plane.asset import Asset
from sync.control_plane.asset_tables import asset as A
from sync.control_plane.store import Store
from tests.sync.stored import with_store
from tests.sync.test_assets import PUMP, added, enrolled, tells, worked

FILE = "id,place,device,running,begun,name\nP-101,acme,gate,pump.on,,new\nP-102,acme,gate,pump.on,,\n"


def test_what_changed_while_a_file_was_read_is_not_undone_by_it(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        number = await added(store)
        given = asset_files.read("a.csv", FILE.encode())
        plan = await store.read(lambda c: asset_import.planned(c, given, ""))
        await added(store, id="P-102", name="another")
        await store.write(lambda c: assets.change(c, number, Asset(**{**PUMP, "class": "fan"})))
        assert await store.write(lambda c: asset_import.keep(c, plan, given, "")) == (0, 2)
        rows = await store.read(lambda c: c.execute(select(A).order_by(A.c.number)).mappings().all())
        assert [(row["id"], row["name"], row["class"], row["tags"]) for row in rows] == [
            ("P-101", "new", "fan", "pump"),
            ("P-102", "", "", "pump"),
        ]
        assert (await store.read(lambda c: asset_import.planned(c, given, ""))).new == []
        bad = asset_files.read("a.csv", FILE.replace("P-102,acme,gate,pump.on", "P-102,acme,gate,pump.onn").encode())
        with pytest.raises(LinesideError, match=r"a.csv:3: P-102: no tag of gate is called 'pump.onn' .*'pump.on'"):
            await asset_import.take(store, bad)

    with_store(database, work)


def test_a_file_costs_the_writer_as_many_statements_however_many_assets_it_has(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        await tells(store, 1, [0.0, 60.0], [1.0, 0.0])
        said: list[str] = []
        event.listen(store.writing, "before_cursor_execute", lambda *a: said.append(a[2]))
        many = []
        for prefix, rows in (("A", 3), ("B", 40)):
            text = "id,place,device,running,begun\n" + "".join(
                f"{prefix}-{k},acme,gate,pump.on,2025-11-01\n" for k in range(rows)
            )
            given = asset_files.read("a.csv", text.encode())
            plan = await store.read(lambda c, g=given: asset_import.planned(c, g, ""))  # type: ignore[misc]
            said.clear()
            await store.write(lambda c, p=plan, g=given: asset_import.keep(c, p, g, ""))  # type: ignore[misc]
            many.append(len(said))
        assert many[0] == many[1] < 8
        await worked(store)
        (last,) = await store.read(lambda c: assets.listed(c, [A.c.id == "B-39"], 9, 2e9))
        assert last["hours"] * 60 == pytest.approx(11), "its history is counted"

    with_store(database, work)
