"""The list of devices, a page at a time; and who is heard of without delivering anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from sync.control_plane import tables
from sync.control_plane.database import insert_new
from sync.control_plane.heard import EVERY, Heard, note
from sync.control_plane.plane import Plane
from sync.control_plane.store import Store
from tests.sync.stored import with_store
from tests.sync.test_page import Ask, page

SITES = ("acme/suzhou/line-1", "acme/suzhou/line-10", "acme", "")


def row(name: str, site: str = "", kind: str = "press") -> dict[str, Any]:
    return {"id": name, "secret": "", "enrolled": 1.0, "seen": 0.0, "class": kind, "site": site}


@pytest.mark.usefixtures("database")
def test_devices_come_a_page_at_a_time_and_the_rest_is_said(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        cookie = f"session={plane.people.login(plane.people.key)}"
        rows = [row(f"dev-{k:03}", SITES[k % 4], "press" if k % 2 else "oven") for k in range(25)]
        alarm = {"device": "dev-003", "key": "hot", "epoch": "0" * 16, "seq": 1, "active": True, "acked": False}
        alarm |= {"shelved_until": 0, "since": 1, "severity": "high", "text": "", "by": ""}
        await plane.store.write(lambda c: (insert_new(c, tables.device, rows), insert_new(c, tables.alarm, [alarm])))

        async def listed(words: str) -> tuple[list[str], int]:
            status, body, headers = await ask("GET", f"/api/devices?{words}", Cookie=cookie)
            assert status == 200
            found = json.loads(body)
            assert {d["id"]: d["alarms"] for d in found}.get("dev-003", 1) == 1
            return [d["id"] for d in found], int(headers["x-total-count"])

        names = [one["id"] for one in rows]
        assert await listed("") == (names, 25)
        assert await listed("limit=10") == (names[:10], 25)
        assert await listed("limit=10&after=dev-009") == (names[10:20], 25)
        assert await listed("limit=10&after=dev-019") == (names[20:], 25)
        assert await listed("after=dev-024") == ([], 25)
        assert await listed("class=press&limit=2") == (["dev-001", "dev-003"], 12)
        assert await listed("site=acme/suzhou/line-1&limit=1") == (["dev-000"], 7)
        assert (await listed("site=acme/suzhou"))[1] == 13 and (await listed("site=acme"))[1] == 19
        assert await listed("find=v-02&limit=3&after=dev-020") == (["dev-021", "dev-022", "dev-023"], 5)
        assert await listed("find=%25") == ([], 0), "no pattern"
        assert await listed("id=dev-02") == ([], 0) and await listed("id=dev-020") == (["dev-020"], 1)
        for wrong in ("limit=0", "limit=1001", "limit=x", "after=" + "x" * 65):
            assert (await ask("GET", f"/api/devices?{wrong}", Cookie=cookie))[0] == 422, wrong

    page(tmp_path, work)


def test_who_is_heard_is_told_once_a_minute() -> None:
    now = 100.0
    heard = Heard(lambda: now)
    assert heard.due() == set()
    for device in ("a", "b", "a"):
        heard.saw(device)
    assert heard.due() == {"a", "b"} and heard.due() == set()
    now += EVERY - 1
    heard.saw("a")
    assert heard.due() == set()
    now += 1
    heard.saw("a")
    assert heard.due() == {"a"}


def test_nobody_is_heard_at_an_earlier_time_than_before_but_by_a_clock_that_was_set_back(database: str) -> None:
    async def work(store: Store) -> None:
        await store.write(lambda c: insert_new(c, tables.device, [row("a"), row("b"), row("c")]))
        await store.write(lambda c: note(c, ["a", "b"], 200.0))
        await store.write(lambda c: note(c, ["b"], 150.0))
        await store.write(lambda c: note(c, ["a"], 100.0))
        t = tables.device
        assert await store.read(lambda c: list(c.scalars(select(t.c.seen).order_by(t.c.id)))) == [100.0, 200.0, 0.0]

    with_store(database, work)


@pytest.mark.usefixtures("database")
def test_a_device_that_only_asks_is_heard(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        from sync.control_plane.broker import ask as of_device

        await plane.store.write(lambda c: insert_new(c, tables.device, [row("dev-1")]))
        assert (await of_device(plane.ingest.app, "dev-1", "GET /d/v1/dn?after=0&answers=1", b"", ""))[0] == 200
        t = tables.device
        while not await plane.store.read(lambda c: c.scalar(select(t.c.seen))):
            await plane.ingest.presence.look()

    page(tmp_path, work)
