"""Signing in at the console, in a real browser: what somebody sees, and what their role leaves out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

async_api = pytest.importorskip("playwright.async_api", reason="needs the dev extra")
pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("cv2", reason="needs the vision extra")

from sqlalchemy import update

from sync.control_plane import tables
from sync.control_plane.api import WEB
from tests.sync.tenants import PASSWORD, somebody
from tests.sync.test_console import chromium, shows
from tests.sync.test_spine import Rig, rig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `make system-packages` installs it"),
    pytest.mark.skipif(not (WEB / "index.html").is_file(), reason="the console is not built; `make console` builds it"),
]


def test_somebody_signs_in_and_out(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        it.sim.set("temp", 85)
        async with chromium(it, may_fail="401 404") as page:
            await shows(page.get_by_role("link", name="Control plane")).to_be_visible()
            await page.keyboard.press("g")
            await page.keyboard.press("a")
            await shows(page.get_by_role("button", name="Acknowledge")).to_be_visible()
            await somebody(it.plane, "wang", ("platform_admin", ""))
            await somebody(it.plane, "li", ("viewer", "acme"), password=PASSWORD)
            move = update(tables.device).values(site="acme/suzhou")
            await it.plane.store.write(lambda c: c.execute(move) and None)
            await page.reload()
            await page.get_by_role("heading", name="Please sign in").wait_for()
            await shows(page.get_by_text("On the first day")).to_have_count(0)
            await page.get_by_label("Name").fill("li")
            await page.get_by_label("Password").fill("not this one")
            await page.get_by_role("button", name="Sign in").click()
            await shows(page.get_by_role("alert")).to_contain_text("do not belong together")
            await page.get_by_label("Password").fill(PASSWORD)
            await page.keyboard.press("Enter")
            alarm = page.locator('[data-alarm="hot"]')
            await shows(alarm).to_contain_text("raised, not acknowledged")
            await shows(page.get_by_role("navigation")).to_contain_text("li")
            await shows(page.get_by_role("link", name="Control plane")).to_have_count(0)
            await shows(alarm.locator("button.acknowledge")).to_be_hidden()
            await page.get_by_role("button", name="中文").click()
            await page.get_by_role("button", name="退出登录").click()
            await page.get_by_role("heading", name="请登录").wait_for()
            await shows(page.get_by_label("密码")).to_be_visible()

    rig(tmp_path, work)
