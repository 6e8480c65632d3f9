"""What is due of an asset is an alarm of the plane's own: told once, where the asset stands, until it is done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from sync.control_plane import asset_due, assets, tables
from sync.control_plane.asset import Asset, Deed
from sync.control_plane.live import Hub
from sync.control_plane.own import PLANE, raised
from sync.control_plane.plane import Plane
from sync.control_plane.store import Store
from tests.sync.stored import with_store
from tests.sync.tenants import FOREIGN, OWN, PLACES, settled, somebody
from tests.sync.test_assets import AT, PUMP, added, enrolled, heartbeats, seen, tells
from tests.sync.test_page import Ask, page
from tests.sync.test_people_api import Does
from tests.sync.told import T0, Told, alerts, hook

LATER = AT + 5 * 3600
OIL = {"what": "oil/filter", "hours": 2.15}
LOOK = {"what": "look", "days": 30.0}


async def said(store: Store) -> list[tuple[str, str]]:
    """Every alarm event of the plane's own, in order."""
    e = tables.event
    own = select(e.c.key, e.c.state).where(e.c.device == PLANE, e.c.kind == "alarm").order_by(e.c.seq)
    return [(row.key, row.state) for row in await store.read(lambda c: c.execute(own).all())]


def test_what_is_due_is_told_once_and_cleared_when_it_is_done_or_asked_for_no_more(database: str) -> None:
    hub = Hub()
    told: list[tuple[str, str]] = []

    async def work(store: Store) -> None:
        await enrolled(store)
        number = await added(store, rules=[OIL, LOOK])
        await asset_due.look(store, hub, LATER)
        assert await said(store) == [], "nothing has run yet"
        await tells(store, 1, *heartbeats(0, 121, 1.0))
        await asset_due.look(store, hub, LATER)
        await asset_due.look(store, hub, LATER + 60)
        told.append(("due P-101 oil-filter", "raised"))
        assert await said(store) == told
        await tells(store, 2, [6.0], [0.0])  # four minutes less: a late sample is no maintenance
        await asset_due.look(store, hub, LATER + 120)
        assert await said(store) == told
        deed = Deed(did="done", rule="oil/filter", at=AT + 7000)
        await store.write(lambda c: assets.do(c, number, deed, "li"))

    async def after_a_restart(store: Store) -> None:
        number = 1
        await asset_due.look(store, hub, LATER + 180)
        told.append(("due P-101 oil-filter", "cleared"))
        assert await said(store) == told
        await asset_due.look(store, hub, AT + 31 * assets.DAY)
        told.append(("due P-101 look", "raised"))
        assert await said(store) == told
        for more, state in (({"retired": LATER}, "cleared"), ({}, "raised"), ({"rules": [OIL]}, "cleared")):
            given = Asset(**{**PUMP, "rules": [OIL, LOOK], **more})
            await store.write(lambda c, g=given: assets.change(c, number, g))  # type: ignore[misc]
            await asset_due.look(store, hub, AT + 31 * assets.DAY)
            told.append(("due P-101 look", state))
            assert await said(store) == told
        other = await added(store, id="P-9", running="", rules=[LOOK])
        await asset_due.look(store, hub, AT + 32 * assets.DAY)
        await store.write(lambda c: assets.remove(c, other))
        assert await added(store, id="P-9", running="", rules=[LOOK]) == other + 1, "its number is nobody else's"
        await asset_due.look(store, hub, AT + 32 * assets.DAY)
        told.extend([("due P-9 look", "raised"), ("due P-9 look", "cleared"), ("due P-9 look (2)", "raised")])
        assert await said(store) == told, "what was told of one that is no more is not another one's"

    with_store(database, work)
    with_store(database, after_a_restart)


def test_it_is_due_when_the_list_of_assets_says_so(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        for k, at in enumerate((None, AT + 1800, AT + 3599.7, AT + 7000)):
            number = await added(
                store, id=f"P-{k}", rules=[{"what": "oil", "hours": 1.2}, {"what": "x", "hours": 0.7, "days": 9}]
            )
            if at is not None:
                await store.write(lambda c, n=number, a=at: assets.do(c, n, Deed(did="x", rule="oil", at=a), "li"))  # type: ignore[misc]
        await tells(store, 1, *heartbeats(0, 121, 1.0))
        rows = await store.read(lambda c: assets.listed(c, [], 9, LATER))
        listed = {(row["number"], rule["what"]): rule["due"] for row in rows for rule in row["due"]}
        standing = await store.read(lambda c: asset_due.standing(c, LATER))
        assert {(one.row["number"], one.rule.what): one.due for one in standing} == listed
        assert set(listed.values()) == {True, False}
        assert (await seen(store, 1)).hours > 2

    with_store(database, work)


def test_the_people_of_its_place_see_it_acknowledge_it_and_are_sent_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_due, "EVERY", 0.05)

    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        store = plane.store
        routes = {name: {"to": ["mes"], "site": place, "keys": "due *"} for name, place in PLACES.items()}
        it = await Told(store, alerts({"mes": hook()}, routes), "").begin()
        given = Asset(id="F-7", name="Fan", place=PLACES[OWN], begun=1.0, rules=[LOOK], **{"class": "fan"})  # type: ignore[arg-type]
        hints = plane.hub.listen()
        await store.write(lambda c: assets.add(c, given))
        async with asyncio.timeout(60):
            places = set[str]()
            while PLACES[OWN] not in places or not await store.read(lambda c: raised(c, "due F-7 look")):
                places |= set((await hints.get() or {}).get("places", ()))
        operator = Does(ask, await somebody(plane, "wang", ("operator", PLACES[OWN])))
        viewer = Does(ask, await somebody(plane, "anna", ("viewer", PLACES[OWN])))
        foreign = Does(ask, await somebody(plane, "bert", ("operator", PLACES[FOREIGN])))
        text = "maintenance of F-7 Fan is due: look (every 30 days)"

        async def of_plane(who: Does, what: str) -> list[tuple[str, str]]:
            return [(row["key"], row["text"]) for row in (await who("GET", what))[1] if row["device"] == PLANE]

        for what in ("alarms", "events"):
            assert ("due F-7 look", text) in await of_plane(operator, what)
            assert "due F-7 look" not in dict(await of_plane(foreign, what))
        order = f"devices/{PLANE}/alarms/due%20F-7%20look"
        assert (await foreign("POST", order, verb="ack"))[0] == 404
        assert (await viewer("POST", order, verb="ack"))[0] == 403
        assert (await operator("POST", order, verb="ack"))[0] == 202
        assert (await operator("POST", f"devices/{PLANE}/alarms/none", verb="ack"))[0] == 404
        await it.look(T0 + 10**18)
        notes: list[dict[str, Any]] = [note for _, event in await it.messages() for note in event["data"]["alarms"]]
        (mine,) = [note for note in notes if note["key"] == "due F-7 look"]
        assert (mine["route"], mine["site"], mine["class"]) == (OWN, PLACES[OWN], "fan")

    page(tmp_path, work)
