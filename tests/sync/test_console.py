"""The live page in a real browser: values change, an alarm is acknowledged, an inspection shows its picture."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
async_api = pytest.importorskip("playwright.async_api", reason="needs the dev extra")
cv2 = pytest.importorskip("cv2", reason="needs the vision extra")

import numpy as np

from edge import Event, Picture
from sync.control_plane.api import WEB
from tests.sync.test_spine import Rig, rig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `make system-packages` installs it"),
    pytest.mark.skipif(not (WEB / "index.html").is_file(), reason="the console is not built; `make console` builds it"),
]


def test_a_person_watches_the_line(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        it.sim.set("temp", 21)
        async with async_api.async_playwright() as play:
            browser = await play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = await (await browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})).new_page()
            wrong: list[str] = []
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on(
                "console",
                lambda line: wrong.append(line.text) if line.type == "error" and "404" not in line.text else None,
            )
            await page.goto(it.plane.link)
            await page.get_by_role("heading", name="The line is well").wait_for()
            await page.goto(f"{page.url.split('#')[0]}#/device/dev-1")
            value = page.locator('[data-tag="plc.temp"]')
            await async_api.expect(value).to_have_text("21")
            it.sim.set("temp", 85)
            await async_api.expect(value).to_have_text("85")
            await page.keyboard.press("g")
            await page.keyboard.press("a")
            alarm = page.locator('[data-alarm="hot"]')
            await async_api.expect(alarm).to_contain_text("raised, not acknowledged")
            await alarm.get_by_role("button", name="Acknowledge").click()
            await async_api.expect(alarm).to_contain_text("raised, acknowledged")
            inspected(it)
            await page.keyboard.press("g")
            await page.keyboard.press("i")
            await page.locator(".inspection.ng img:not([hidden])").wait_for()
            await async_api.expect(page.locator(".inspection.ng")).to_contain_text("a hole is missing")
            await page.get_by_role("button", name="中文").click()
            await async_api.expect(page.locator(".inspection.ng")).to_contain_text("不合格")
            await it.sim.stop()
            await page.get_by_role("button", name="English").click()
            await page.keyboard.press("g")
            await page.keyboard.press("o")
            await page.get_by_role("heading", name="a part that does not run").wait_for()
            assert not wrong
            await browser.close()

    rig(tmp_path, work)


def inspected(it: Rig) -> None:
    """What an inspection stage would have said."""
    body = cv2.imencode(".jpg", np.full((120, 160, 3), 90, np.uint8))[1].tobytes()
    digest = hashlib.sha256(body).hexdigest()
    data = {
        "part": 7,
        "label": "missing_hole",
        "score": 0.98,
        "boxes": [[20, 20, 60, 60, "missing_hole", 0.98]],
        "took_ms": 4,
    }
    event = Event("inspection", "washer", "ng", severity="medium", text="a hole is missing", data=data, refs=(digest,))
    event = it.daemon.flow._identified(event)
    it.daemon.journal.append(events=[event], pictures=[Picture(digest, "image/jpeg", body)])
