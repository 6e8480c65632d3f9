"""The pages about assets and work orders, in a real browser, with a plane alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("playwright.async_api", reason="needs the dev extra")
pytest.importorskip("cv2", reason="needs the vision extra")

from edge import Event, encode_event
from sync import wire
from sync.control_plane.messages import apply_frames
from sync.control_plane.plane import Plane
from tests.sync.tenants import EPOCH, OWN, PLACES, settled
from tests.sync.test_console import pytestmark, shows  # noqa: F401  (the mark: skipped without a browser)
from tests.sync.test_fleet_pages import browsed, fits_narrow, goes, signs_in


def test_a_machine_is_named_looked_after_and_its_parts_are_exchanged(tmp_path: Path) -> None:
    async def work(plane: Plane, shown: Any) -> None:
        await is_named(plane, shown)
        await has_orders(shown)
        await has_its_part_exchanged(shown)
        await comes_in_a_file(shown)
        await is_found(plane, shown)

    browsed(tmp_path, work, "401 404 409 422")


async def is_named(plane: Plane, shown: Any) -> None:
    """What is wrong with a new asset stands in its form; then it is there."""
    await settled(plane)
    said = Event("alarm", "long", "raised", time.time_ns(), "low", "热😀" * 120)
    frame = wire.Frame(EPOCH, "event", 9, said.ts, said.ts, 1, encode_event(said))
    await plane.store.write(lambda c: apply_frames(c, OWN, [frame]))
    await goes(shown, "gs")
    await shows(shown.locator(".calm")).to_contain_text("No asset is named yet")
    await shown.get_by_role("button", name="New asset").click()
    form = shown.get_by_role("dialog")
    await form.get_by_label("Id", exact=True).fill("P-101")
    await form.get_by_label("What it is").fill("Coolant pump")
    await form.get_by_label("Place", exact=True).fill("foreign-corp")
    await form.get_by_label("Device").fill(OWN)
    await form.get_by_label("Tag", exact=True).fill("plc.none")
    await form.get_by_role("textbox", name="What", exact=True).fill("change oil")
    await form.get_by_label("every … h").fill("500")
    await form.get_by_label("every … days").fill("0.001")
    await form.get_by_label("Counted from").fill("2026-01-01T08:00")
    await shown.keyboard.press("Enter")
    await shows(form.get_by_role("alert")).to_contain_text(
        "stands at acme/suzhou/line-1, and the asset at foreign-corp"
    )
    await form.get_by_label("Place").fill(PLACES[OWN])
    await form.get_by_role("button", name="Keep").click()
    await shows(form.get_by_role("alert")).to_contain_text("no tag of ours-1 is called 'plc.none'")
    await form.get_by_label("Tag", exact=True).fill(f"plc.{OWN}")
    await form.get_by_role("button", name="Keep").click()
    await shows(shown.get_by_role("heading", name="P-101")).to_be_visible()


async def has_orders(shown: Any) -> None:
    """A work order of what is due, and of an alarm; the first is done, with a part."""
    form = shown.get_by_role("dialog")
    due = shown.locator('[data-rule="change oil"]')
    await shows(due).to_contain_text("▲ due")
    await due.get_by_role("button", name="Work order").click()
    await form.get_by_role("button", name="Open it").click()
    await shows(due).to_contain_text("1: work order is open")
    await shown.locator('[data-alarm="long"]').get_by_role("button", name="Work order").click()
    await shows(form.get_by_label("What is to be done")).to_have_value("热😀" * 100)
    await shown.keyboard.press("Escape")
    await shows(form).to_have_count(0)
    alarm = shown.locator(f'[data-alarm="{OWN}-alarm"]')
    await alarm.get_by_role("button", name="Work order").click()
    await shows(form.get_by_label("What is to be done")).to_have_value(f"{OWN} is hot")
    await shown.keyboard.press("Escape")
    await shows(form).to_have_count(0)
    await shows(alarm.get_by_role("button", name="Work order")).to_be_focused()
    await shown.locator('[data-order="1"]').get_by_role("button", name="Done …").click()
    await form.get_by_label("What was done").fill("oil changed")
    await shows(form.get_by_label("What was due")).to_have_value("change oil")
    await form.get_by_role("button", name="One more part").click()
    await form.get_by_label("Position").fill("drive end")
    await form.get_by_label("Part number").fill("6205")
    await form.get_by_label("Serial").fill("A1")
    await form.get_by_role("button", name="Keep").click()
    await shows(due).not_to_contain_text("never done")


async def has_its_part_exchanged(shown: Any) -> None:
    """In both languages, and what lacks is said in them."""
    form = shown.get_by_role("dialog")
    part = shown.locator('[data-part="drive end"]')
    await part.get_by_role("button", name="Exchange").click()
    await form.get_by_label("Serial").fill("A2")
    await shown.keyboard.press("Enter")
    await shows(part).to_contain_text("A2")
    await shown.locator("summary").click()
    await shows(shown.locator("details")).to_contain_text("A1")
    await shows(shown.locator("[data-deed]")).to_contain_text(["change oil: oil changed"])
    await shown.get_by_role("button", name="中文").click()
    await shows(shown.locator('[data-order="1"]')).to_contain_text("已完成")
    await shown.get_by_role("button", name="登记维护").click()
    await form.get_by_label("完成的工作").fill("看过")
    await form.get_by_role("button", name="再加一个零件").click()
    await form.get_by_label("安装位置").fill("轴封")
    await form.get_by_role("button", name="保存").click()
    await shows(form.get_by_role("alert")).to_contain_text("处没有零件，请填写零件号")
    await fits_narrow(shown)
    await shown.keyboard.press("Escape")
    await fits_narrow(shown)
    await shown.get_by_role("button", name="English").click()


async def comes_in_a_file(shown: Any) -> None:
    """Whole, or with a line for each fault."""
    form = shown.get_by_role("dialog")
    await goes(shown, "gs")
    await shows(shown.locator('[data-asset="P-101"]')).to_contain_text("change oil: due on")
    await shown.get_by_role("button", name="Take a file in").click()
    file = {"name": "pumps.csv", "mimeType": "text/csv"}
    bad = b"id,device\nP-102,\nP-103,no-one\nP-102,\n"
    await form.get_by_label("A file").set_input_files({**file, "buffer": bad})
    await form.get_by_label("Where those stand").fill("acme/suzhou")
    await form.get_by_role("button", name="Take it in").click()
    await shows(form.get_by_role("alert")).to_contain_text(
        "pumps.csv:4: P-102: it stands twice in the file (first at pumps.csv:2)"
    )
    good = b"id,name\nP-101,Cooling pump\nP-102,Vacuum pump\n"
    await form.get_by_label("A file").set_input_files({**file, "buffer": good})
    await form.get_by_role("button", name="Take it in").click()
    await shows(shown.get_by_role("status")).to_have_text("1 new, 1 changed")
    await shows(shown.locator('[data-asset="P-102"]')).to_contain_text("Vacuum pump")


async def is_found(plane: Plane, shown: Any) -> None:
    """By words, by its orders, and by who may only look."""
    await goes(shown, "/")
    await shown.keyboard.type("fan")
    await shown.clock.run_for(300)
    await shows(shown.locator(".calm")).to_contain_text("No asset like this")
    await shown.get_by_role("link", name="Work orders").click()
    await shows(shown.locator(".orders, main > .quiet")).to_contain_text("No work order like this")
    await shown.get_by_role("button", name="done", exact=True).click()
    await shows(shown.locator('[data-order="1"]')).to_contain_text("oil changed, drive end: 6205 (A1)")
    await fits_narrow(shown)
    await shown.get_by_role("link", name="P-101").click()
    await signs_in(plane, shown, ("viewer", "acme"))
    await shows(shown.locator('[data-part="drive end"]')).to_contain_text("A2")
    await shows(shown.locator("main button:visible")).to_have_count(0)
