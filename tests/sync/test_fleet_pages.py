"""The pages about the fleet and its people, in a real browser, with a plane alone: what devices tell is written down for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("playwright.async_api", reason="needs the dev extra")
pytest.importorskip("cv2", reason="needs the vision extra")

import msgpack

from edge import Event
from sync.control_plane.messages import apply_frames
from sync.control_plane.plane import Plane
from sync.control_plane.questions import told
from sync.control_plane.rollout_options import from_words
from sync.wire import Frame
from tests.sync.rolled import EPOCH, Fleet
from tests.sync.tenants import PASSWORD, somebody
from tests.sync.test_console import chromium, fits, pytestmark, shows  # noqa: F401  (the mark: skipped without a browser)
from tests.sync.test_page import Ask, page

TEN = [f"press-{k}" for k in range(10)]


def browsed(folder: Path, work: Callable[[Plane, Any], Awaitable[None]], may_fail: str = "404") -> None:
    """`work(plane, page)` with a browser that came by the link."""

    async def opened(plane: Plane, _: Ask) -> None:
        async with chromium(SimpleNamespace(plane=plane), may_fail) as shown:  # type: ignore[arg-type]
            await shown.get_by_role("link", name="Rollouts").wait_for()
            await work(plane, shown)

    page(folder, opened)


async def goes(shown: Any, keys: str) -> None:
    for key in keys:
        await shown.keyboard.press(key)


async def signs_in(plane: Plane, shown: Any, *roles: tuple[str, str]) -> None:
    """As somebody with these roles, on a plane that people with accounts look after."""
    await somebody(plane, "wang", ("platform_admin", ""))
    await somebody(plane, "li", *roles, password=PASSWORD)
    await shown.reload()
    await shown.locator("input[name=name]").fill("li")
    await shown.locator("input[name=password]").fill(PASSWORD)
    await shown.keyboard.press("Enter")
    await shows(shown.get_by_role("navigation")).to_contain_text("li")


async def fits_narrow(shown: Any) -> None:
    await shown.set_viewport_size({"width": 360, "height": 700})
    await fits(shown)
    await shown.set_viewport_size({"width": 1280, "height": 800})


async def asks_more(shown: Any) -> None:
    """Limits, hours and gates, which are folded away until something is wrong with them."""
    form, begin = shown.get_by_role("form"), shown.get_by_role("button", name="Begin")
    await form.locator("summary").click()
    await form.get_by_label("At one site at a time").fill("few")
    failed, silent, ng = (form.locator(f'[data-asks="{gate}"]') for gate in ("failed", "silent", "ng"))
    await failed.get_by_label("May be").fill("some")
    for _ in range(3):
        await form.get_by_role("button", name="Only between").click()
    first, second, third = (form.locator(f'[data-name="hours.{k}"]') for k in range(3))
    await first.get_by_label("Time zone").fill("")
    await form.locator("summary").click()
    await begin.click()
    await shows(form.get_by_role("alert")).to_have_count(3)
    await shows(form.get_by_label("At one site at a time")).to_be_focused()
    await shows(form.locator(".field", has_text="site at a time")).to_contain_text("must be a whole number, not 'few'")
    await shows(failed).to_contain_text("'some' is no share")
    await shows(first.get_by_role("alert")).to_have_text("is missing")
    await failed.get_by_label("May be").fill("")
    await silent.get_by_label("For minutes").fill("10")
    await ng.get_by_label("Judge it, too").check()
    await ng.get_by_label("May be").fill("30")
    await form.get_by_label("At one site at a time").fill("7")
    await first.get_by_role("button", name="Take these hours away").click()
    await first.get_by_label("Time zone").fill("UTC")
    await second.get_by_label("from", exact=True).fill("22:00")
    await second.get_by_label("to", exact=True).fill("22:00")
    await begin.click()
    await shows(second).to_contain_text("it ends when it begins")
    await second.get_by_label("to", exact=True).fill("05:00")
    await second.get_by_label("Time zone").fill("Asia/Shanghai")
    await second.get_by_label("Sat").check()
    await shows(third).to_have_count(0)
    plan = from_words({"what": "config/site", "devices": {"all": True}, "gates": {"ng": {}}})
    defaults = {"per_minute": plan.per_minute, "gates.silent.after": plan.gates.silent.after / 60}
    for name, gate in plan.gates:
        defaults |= {f"gates.{name}.most": gate.most * 100, f"gates.{name}.at_least": gate.at_least}
    for name, default in {**defaults, "gates.ng.parts": plan.gates.ng and plan.gates.ng.parts}.items():
        await shows(form.locator(f'[name="{name}"]')).to_have_attribute("placeholder", f"{default:g}")
    await fits_narrow(shown)


def test_a_person_begins_a_rollout_sees_why_it_halted_and_takes_it_back(tmp_path: Path) -> None:
    async def work(plane: Plane, shown: Any) -> None:
        it = Fleet(plane.store)
        await it.enrol(*TEN, site="acme/suzhou")
        targets = tmp_path / "plane" / "updates" / "targets" / "model"
        targets.mkdir(parents=True)
        (targets / f"{'0' * 64}.washer-3").touch()
        await goes(shown, "gw")
        await shows(shown.locator(".calm")).to_contain_text("Nothing was rolled out yet")
        await shown.get_by_role("button", name="New rollout").click()
        await shown.get_by_role("combobox", name="What").select_option("model/washer-3")
        await shows(shown.get_by_role("button", name="Begin")).to_be_disabled()
        await shown.get_by_label("Devices of class").fill("press")
        await shows(shown.get_by_role("status")).to_have_text("10 devices fit")
        await shown.get_by_label("Waves").fill("two")
        await shown.get_by_role("button", name="Begin").click()
        await shows(shown.locator(".field", has_text="Waves").get_by_role("alert")).to_contain_text("'two' is no wave")
        await shown.get_by_label("Waves").fill("2, 50%")
        await asks_more(shown)
        await shown.get_by_role("button", name="Begin").click()
        await shows(shown.get_by_role("heading", name="model/washer-3")).to_be_visible()
        said = {
            "what": "model/washer-3",
            "devices": {"class": "press"},
            "waves": [2, "50%"],
            "per_site": 7,
            "hours": [{"zone": "UTC"}, {"zone": "Asia/Shanghai", "from": "22:00", "to": "05:00", "days": ["sat"]}],
            "gates": {"silent": {"after": "10min"}, "ng": {"most": "30%"}},
        }
        assert (await it.rollout(1)).plan == from_words(said), "what was not said is as the plane has it"
        await it.look()
        first = await it.asked()
        await it.takes(first, "rolled_back")
        await shown.clock.run_for(3100)
        stands = shown.locator(".stands")
        await shows(stands).to_contain_text("halted")
        await shows(stands).to_contain_text("2 of 2 that tried in wave 1 did not take it; 5 % may")
        await shows(shown.locator('[data-gate="failed"]')).to_contain_text("42.5 %5 %")
        await shows(shown.locator('[data-wave="2"]')).to_contain_text("5 wait")
        await shown.get_by_role("button", name="failed 2").click()
        await shows(shown.locator("[data-device]")).to_have_count(2)
        await shows(shown.locator(f'[data-device="{first[0]}"]')).to_contain_text("▲ failed")
        await shown.get_by_role("button", name="中文").click()
        await shows(stands).to_contain_text("第 1 批已尝试的 2 台中有 2 台未能接受；允许 5 %")
        await goes(shown, "ga")
        alarm = shown.locator('[data-alarm="rollout 1"]')
        await shows(alarm).to_contain_text("model/washer-3：第 1 批已尝试的 2 台中有 2 台未能接受")
        await alarm.get_by_role("link", name="rollout 1").click()
        await shown.get_by_role("button", name="English").click()
        await fits_narrow(shown)
        await shown.get_by_role("button", name="Take back").press("Enter")
        await shows(shown.get_by_role("button", name="Cancel")).to_be_focused()
        await shown.keyboard.press("Escape")
        await shown.get_by_role("button", name="Resume").click()
        await shown.get_by_role("button", name="Resume").click()
        await shows(stands).to_contain_text("running")
        await signs_in(plane, shown, ("viewer", "acme"))
        await shows(shown.locator(".calm")).to_contain_text("There is no such rollout here: 1")

    browsed(tmp_path, work, "401 404 422")


def asked_of(device: str, number: int, verb: str, state: str, text: str = "", **answer: Any) -> Event:
    data = {"number": number, "by": "anna"} | ({"answer": answer} if answer else {})
    return Event("command", verb, state, 0, "info", text, data)


def test_a_device_is_asked_and_orders_are_given_by_who_may_there(tmp_path: Path) -> None:
    async def work(plane: Plane, shown: Any) -> None:
        it = Fleet(plane.store)
        await it.enrol("press-1", site="acme/suzhou")
        tag = msgpack.packb(["plc.oil", "float64", "°C", {}, "plc"])
        await plane.store.write(lambda c: apply_frames(c, "press-1", [Frame(EPOCH, "tag", 1, 0, 0, 1, tag)]))

        async def tells(number: int, verb: str, state: str, text: str = "", **answer: Any) -> None:
            await it.happens("press-1", asked_of("press-1", number, verb, state, text, **answer))
            plane.hub.tell({"kind": "events", "device": "press-1"})

        await shown.goto(f"{shown.url.split('#')[0]}#/device/press-1")
        panel = shown.locator("#asked")
        await shows(panel).to_contain_text("The device is not heard")
        for k, button in enumerate(("Read plc.oil", "Live 5 min: plc.oil", "Self-test", "Support bundle"), 1):
            await panel.get_by_role("button", name=button).click()
            await shows(panel.locator("[data-asked]")).to_have_count(k)
        orders = await plane.store.read(lambda c: told(c, "press-1"))
        numbers = {one["verb"]: one["number"] for one in orders}
        assert orders[2]["asked"] == {"tags": ["plc.oil"], "every": 0.2, "seconds": 300.0}
        value = {"tag": "plc.oil", "value": 61.5, "unit": "°C", "quality": "GOOD", "age": 2.0}
        await tells(numbers["read"], "read", "done", values=[value])
        read, live, bundle = (panel.locator(f'[data-asked="{verb}"]') for verb in ("read", "live", "support"))
        await read.locator("summary").press("Enter")
        await shows(read.locator("table")).to_contain_text("plc.oil61.5 °C")
        await tells(numbers["live"], "live", "done", tags=["plc.oil"], every=0.2, seconds=300)
        await live.locator("summary").click()
        await shows(live).to_contain_text("Live for")
        await live.get_by_role("button", name="End it").click()
        await shows(panel.locator("[data-asked]")).to_have_count(5)
        odd = {"values": [7, {"tag": {}}], "findings": "x", "events": [None], "log": {"a": 1}, "picture": "../x"}
        await tells(numbers["selftest"], "selftest", "done", **odd)
        await shows(panel.locator('[data-asked="selftest"] summary')).to_contain_text("done")
        await panel.locator('[data-asked="selftest"] summary').click()
        await shows(panel.locator('[data-asked="selftest"] .said')).to_be_visible()
        found = [{"state": "bad", "what": "clock", "how": "it is behind", "todo": "set it"}]
        await tells(numbers["selftest"], "selftest", "done", passed=False, findings=found)
        await shows(panel.locator('[data-asked="selftest"] tr')).to_contain_text("▲ clock")
        refusal = "this site does not answer that; `sync: {commands: [..., support]}` allows it"
        await tells(numbers["support"], "support", "refused", refusal)
        await shows(bundle).to_contain_text(refusal)
        await shown.get_by_role("button", name="中文").click()
        await shows(bundle).to_contain_text("本站点不应答该询问")
        await fits_narrow(shown)
        await shown.get_by_role("button", name="English").click()
        await it.begin(devices={"site": "acme/suzhou"})
        await signs_in(plane, shown, ("viewer", "acme"), ("fleet_manager", "acme/wuxi"))
        await shows(panel.locator("[data-asked]")).to_have_count(5)
        await shows(panel.get_by_role("button")).to_have_count(0)
        await goes(shown, "gw")
        await shown.get_by_role("link", name="1 model/washer-3").click()
        await shows(shown.locator("[data-device]")).to_have_count(1)
        await shows(shown.get_by_role("button", name="Halt")).to_have_count(0)

    browsed(tmp_path, work, "401 404")


def test_people_get_accounts_roles_and_keys_and_the_audit_says_so(tmp_path: Path) -> None:
    async def work(plane: Plane, shown: Any) -> None:
        it = Fleet(plane.store)
        await it.enrol("press-1", "press-2", site="acme/suzhou")
        await goes(shown, "gu")
        tree, accounts, keys = (
            shown.get_by_label(name, exact=True) for name in ("Tree", "Accounts", "Keys of programs")
        )
        await shows(tree).to_contain_text("suzhou2 devices")
        await tree.get_by_role("button", name="acme").click()
        await accounts.get_by_role("button", name="New person").click()
        await accounts.get_by_label("Name").fill("anna")
        await accounts.get_by_label("First password").fill(PASSWORD)
        await shows(accounts.get_by_label("At", exact=True)).to_have_value("acme")
        await shown.keyboard.press("Enter")
        anna = shown.locator('[data-person="anna"]')
        await shows(anna.locator(".roles li")).to_have_text(["operator acme"])
        await anna.get_by_role("button", name="Change").click()
        await anna.get_by_role("combobox", name="Role").select_option("auditor")
        await anna.get_by_label("At", exact=True).fill("acme//x")
        await anna.get_by_role("button", name="Give this role").click()
        await shows(shown.get_by_role("alert")).to_contain_text("is no place in the tree")
        await anna.get_by_label("At", exact=True).fill("acme/suzhou")
        await anna.get_by_role("button", name="Give this role").click()
        await shows(anna.locator(".roles li")).to_have_count(2)
        await anna.get_by_role("button", name="Take this role: operator acme").click()
        await shows(anna.locator(".roles li")).to_contain_text(["auditor acme/suzhou"])
        await keys.get_by_role("button", name="New key").click()
        await keys.get_by_label("Name of the program").fill("grafana")
        await shown.keyboard.press("Enter")
        await shows(keys.locator("code")).to_contain_text("lsk_")
        await keys.get_by_role("button", name="I have it").click()
        await shows(keys.locator("code")).to_have_count(0)
        grafana = keys.locator('[data-key="grafana"]')
        await grafana.get_by_role("button", name="Revoke").click()
        await grafana.get_by_role("button", name="Revoke").click()
        await shows(grafana).to_have_count(0)
        await fits_narrow(shown)
        await goes(shown, "gl")
        await shows(shown.get_by_role("status")).to_contain_text("rows, and the chain holds")
        await shows(shown.locator("[data-deed]")).to_have_count(7)
        await goes(shown, "/")
        await shown.keyboard.type("KEYS")
        await shows(shown.locator("[data-deed]")).to_have_count(2)
        await shown.get_by_role("button", name="Refused").click()
        await shows(shown.locator("[data-deed]")).to_have_count(0)
        await shown.get_by_label("Who, what").fill("")
        await shows(shown.locator("[data-deed]")).to_contain_text(["▲ 422"])
        await fits_narrow(shown)
        await shown.locator("h1").click()
        await goes(shown, "gd")
        await shows(shown.locator(".paper")).to_contain_text("Dossier of the whole plane")
        await shown.get_by_role("combobox", name="Place").select_option("acme/suzhou")
        await shows(shown.locator(".paper tbody tr").first).to_contain_text("press-1press")
        await shown.get_by_role("button", name="中文").click()
        await shows(shown.locator(".paper").get_by_role("heading", name="设备", exact=True)).to_be_visible()
        await fits_narrow(shown)
        await signs_in(plane, shown, ("viewer", "acme"))
        await shows(shown.locator(".paper")).to_contain_text("acme")
        await shown.get_by_role("link", name="li", exact=True).click()
        await shown.get_by_label("当前密码").fill("not the one of li")
        await shown.get_by_label("新密码").last.fill(f"{PASSWORD} 2")
        await shown.keyboard.press("Enter")
        await shows(shown.get_by_role("alert")).to_have_text("当前密码不正确")
        await shown.locator("h1").click()
        await goes(shown, "gu")
        await shows(shown.locator(".calm")).to_have_text("您的角色不能查看本页面")
        await shows(shown.get_by_role("link", name="人员")).to_have_count(0)

    browsed(tmp_path, work, "401 403 404 422")
