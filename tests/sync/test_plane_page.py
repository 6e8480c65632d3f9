"""The page of what the plane does of itself, in a real browser."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("playwright.async_api", reason="needs the dev extra")
pytest.importorskip("cv2", reason="needs the vision extra")

from edge import Event
from sync.control_plane import forward_tables, tables
from sync.control_plane.database import insert_new
from sync.control_plane.own import tell
from tests.sync import test_console
from tests.sync.test_console import chromium, shows
from tests.sync.test_spine import Rig, rig

pytestmark = test_console.pytestmark


def test_a_person_sees_what_the_plane_does_of_itself(tmp_path: Path) -> None:
    """Its rules and its alarms, and the system that takes no events."""

    async def work(it: Rig) -> None:
        now = time.time_ns()
        alarm = Event("alarm", "hot@dev-1", "raised", now, "high", "an oven is hot")
        rows = [("hot", "dev-1", True, 0), ("hot", "dev-2", False, 12), ("rejects", "aoi-1", False, 0)]
        minute = now // 60_000_000_000
        judged = [
            {"rule": r, "device": d, "until": minute, "active": a, "held": 0, "blind": b, "said": ""}
            for r, d, a, b in rows
        ]
        away = {"name": "webhook mes", "delivered": 1234, "trouble": "503 Service Unavailable", "since": now / 1e9}
        well = {"name": "webhook desk", "delivered": 7, "trouble": "", "since": 0.0}
        place = {"target": "webhook mes", "device": "dev-1", "epoch": "0" * 16, "seq": 4}
        lost = {**place, "why": "422", "tries": 5, "at": now / 1e9}
        await it.plane.store.write(
            lambda c: (
                tell(c, [alarm]),
                insert_new(c, tables.judged, judged),
                insert_new(c, forward_tables.target, [away, well]),
                insert_new(c, forward_tables.undelivered, [lost]),
            )
        )
        async with chromium(it) as page:
            await page.get_by_role("link", name="Control plane").wait_for()
            await page.keyboard.press("g")
            await page.keyboard.press("p")
            await shows(page.locator('[data-target="webhook mes"]')).to_contain_text("503 Service Unavailable")
            await shows(page.locator('[data-target="webhook mes"]')).to_contain_text("1,234")
            await shows(page.locator('[data-target="webhook desk"]')).to_contain_text("running")
            await shows(page.locator("[data-rule]")).to_have_count(3)
            await shows(page.locator("[data-rule]").nth(0)).to_contain_text("raised")
            await shows(page.locator("[data-rule]").nth(1)).to_contain_text("no value for 12 min")
            await page.get_by_role("button", name="Send again").click()
            await shows(page.locator('[data-target="webhook mes"]').get_by_role("button")).to_have_count(0)
            await page.get_by_role("button", name="中文").click()
            await shows(page.locator("[data-rule]").nth(1)).to_contain_text("无数值已 12 分钟")
            await page.get_by_role("button", name="English").click()
            await page.keyboard.press("g")
            await page.keyboard.press("a")
            own = page.locator('[data-alarm="hot@dev-1"]')
            await shows(own).to_contain_text("Control plane")
            await own.get_by_role("button", name="Acknowledge").click()
            await shows(own).to_contain_text("raised, acknowledged")

    rig(tmp_path, work)
