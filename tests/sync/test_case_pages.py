"""The pages about fault cases, and the cases of an alarm, in a real browser, with a plane alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("playwright.async_api", reason="needs the dev extra")
pytest.importorskip("cv2", reason="needs the vision extra")

from edge import Event
from sync.control_plane import assets, cases
from sync.control_plane.asset import Asset
from sync.control_plane.cases import T
from sync.control_plane.plane import Plane
from tests.sync.rolled import Fleet
from tests.sync.test_console import pytestmark, shows  # noqa: F401  (the mark: skipped without a browser)
from tests.sync.test_fleet_pages import browsed, fits_narrow, goes, signs_in

FILE = """id,asset,component,symptom,alarm,shares,cause,remedy
P-017,water_pump,suction line,the pump runs and nothing flows,no_flow,,air in the line,vent it
P-021,water_pump,阀门,流量下降,,flow=-0.8; current=0.2,出口阀门关闭,打开阀门
"""


def test_cases_come_in_a_file_and_are_looked_for_browsed_written_and_made_of_an_alarm(tmp_path: Path) -> None:
    async def work(plane: Plane, shown: Any) -> None:
        await has_an_alarm(plane, shown)
        await come_in_a_file(shown)
        await are_written(plane, shown)
        await are_browsed(shown)
        await are_made_of_an_alarm(plane, shown)
        await go(plane, shown)

    browsed(tmp_path, work, "401 404 409 422")


async def has_an_alarm(plane: Plane, shown: Any) -> None:
    """A device with an alarm that knows a case near it; nothing is written yet."""
    it, now = Fleet(plane.store), time.time_ns()
    await it.enrol("gate", site="acme/suzhou")
    await it.happens(
        "gate", Event("alarm", "no_flow", "raised", now, "high", "Nothing flows", {"when": "pump.flow < 5"})
    )
    near = {
        "id": "P-017",
        "symptom": "the pump runs",
        "cause": "air in the line",
        "remedy": "",
        "near": 1.0,
        "parts": ["seal"],
    }
    told = {"about": "alarm", "key": "no_flow", "raised": 1, "cases": [near, {"id": 7}, None]}
    await it.happens("gate", Event("cases", "known.no_flow", "found", now, text="like P-017", data=told))
    await goes(shown, "gc")
    await shows(shown.locator(".calm")).to_contain_text("No fault case is written yet")


async def come_in_a_file(shown: Any) -> None:
    """And are looked for."""
    await shown.get_by_role("button", name="Take a file in").click()
    form = shown.get_by_role("dialog")
    wrong = {"name": "found.csv", "mimeType": "text/csv", "buffer": b"id,symptom\nP-1,\n"}
    await form.get_by_label("A file").set_input_files(wrong)
    await form.get_by_label("Serves at").fill("acme")
    await form.get_by_role("button", name="Take it in").click()
    await shows(form.get_by_role("alert")).to_contain_text("found.csv:2:2: cases.0.symptom: is missing")
    await form.get_by_label("A file").set_input_files({**wrong, "buffer": FILE.encode()})
    await form.get_by_role("button", name="Take it in").click()
    await shows(shown.get_by_role("status")).to_have_text("2 new, 0 took the place of those with their ids")
    await shows(shown.locator("[data-case]")).to_have_count(2)
    await goes(shown, "/")
    await shown.keyboard.type("阀门")
    await shown.clock.run_for(300)
    await shows(shown.locator("[data-case]")).to_have_count(1)
    await shows(shown.locator('[data-case="P-021"]')).to_contain_text("near 100 %")


async def are_written(plane: Plane, shown: Any) -> None:
    """While somebody else writes the same one."""
    form = shown.get_by_role("dialog")
    await shown.get_by_role("link", name="流量下降").click()
    await shows(shown.locator(".shares")).to_contain_text("↓ flow-0.8↑ current0.2")
    await shown.get_by_role("button", name="Change").click()
    await form.get_by_label("Shares").fill("flow=much")
    await form.get_by_role("button", name="Keep").click()
    await shows(form.get_by_role("alert")).to_contain_text("flow=much is no share of a tag")
    await form.get_by_label("Shares").fill("flow=-0.9; flow=1")
    await form.get_by_role("button", name="Keep").click()
    await shows(form.get_by_role("alert")).to_contain_text("flow=1 is no share of a tag")
    await form.get_by_label("Shares").fill("flow=-0.9; a=b=1e-7")
    await form.get_by_label("Component").fill("suction line")
    (kept,) = await plane.store.read(lambda c: cases.listed(c, T.c.id == "P-021"))
    theirs = kept.case.model_copy(update={"cause": "the seat is worn", "remedy": "grind it"})
    await plane.store.write(lambda c: cases.change(c, kept.number, theirs, "wang", kept.version))
    await form.get_by_role("button", name="Keep").click()
    await shows(form.get_by_role("alert")).to_contain_text("wang has written this case anew since you read it")
    await shows(form.locator("[data-other]")).to_have_text(["wang: the seat is worn Take it", "wang: grind it Take it"])
    await form.locator('[data-other="cause"]').get_by_role("button").click()
    await form.get_by_role("button", name="Keep").click()
    await shows(shown.locator(".told-case")).to_contain_text("Causethe seat is wornRemedy打开阀门")
    await shows(shown.locator(".shares")).to_contain_text("↓ flow-0.9↑ a=b")


async def are_browsed(shown: Any) -> None:
    """From a component to a remedy."""
    await shown.get_by_role("link", name="suction line").click()
    await shows(shown.locator(".path")).to_contain_text("Component suction line 2 cases")
    await shown.get_by_label("Cause").get_by_role("link", name="air in the line").click()
    await shows(shown.locator("[data-behind]")).to_have_count(1)
    await shows(shown.get_by_label("Remedy")).to_contain_text("vent it")
    await fits_narrow(shown)


async def are_made_of_an_alarm(plane: Plane, shown: Any) -> None:
    """Beside a work order."""
    form = shown.get_by_role("dialog")
    await goes(shown, "ga")
    alarm = shown.locator('[data-alarm="no_flow"]')
    await alarm.get_by_text("Similar cases: P-017 100 %").click()
    await shows(alarm.locator("details")).to_contain_text("air in the line")
    await fits_narrow(shown)
    await alarm.get_by_role("button", name="Work order").click()
    await shows(alarm.get_by_role("status")).to_contain_text("No asset names this device")
    await plane.store.write(lambda c: assets.add(c, Asset(id="P-101", place="acme/suzhou", device="gate")))
    await alarm.get_by_role("button", name="Work order").click()
    await form.get_by_role("button", name="Open it").click()
    await shows(alarm.get_by_role("status")).to_have_text("The work order is open")
    await alarm.get_by_role("button", name="Make a case").click()
    await shows(form.get_by_label("Asset")).to_have_value("pump")
    await shows(form).to_contain_text("It looks likeP-017")
    await form.get_by_label("Id").fill("P-030")
    await form.get_by_label("Cause").fill("the shaft is broken")
    await form.get_by_role("button", name="Cancel").press("a")
    await form.get_by_role("button", name="Keep").click()
    await alarm.get_by_role("link", name="The case is written").click()
    await shows(shown.get_by_role("heading", name="P-030")).to_be_visible()
    await shows(shown.locator(".told-case")).to_contain_text("acme/suzhou")


async def go(plane: Plane, shown: Any) -> None:
    """In Chinese; who may only look finds no button."""
    alarm = shown.locator('[data-alarm="no_flow"]')
    await shown.get_by_role("button", name="中文").click()
    await shows(shown.locator(".told-case")).to_contain_text("原因the shaft is broken")
    await fits_narrow(shown)
    await shown.get_by_role("button", name="删除").click()
    await shown.get_by_role("button", name="删除").click()
    await shows(shown.locator("[data-case]")).to_have_count(2)
    await goes(shown, "ga")
    await shows(
        alarm.get_by_role("button", name="确认")
    ).to_be_enabled()  # the key `a` in the dialog was none for the alarm
    await shown.get_by_role("button", name="English").click()
    await signs_in(plane, shown, ("viewer", "acme"))
    await shows(alarm.get_by_role("button", name="Make a case")).to_have_count(0)
    await goes(shown, "gc")
    await shows(shown.locator("[data-case]")).to_have_count(2)
    await shows(shown.locator("main button")).to_have_count(0)
