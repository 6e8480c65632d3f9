"""The live page in a real browser: values change, an alarm is acknowledged, an inspection shows its picture."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
async_api = pytest.importorskip("playwright.async_api", reason="needs the dev extra")
cv2 = pytest.importorskip("cv2", reason="needs the vision extra")

import msgpack
import numpy as np

from edge import Event, Picture
from sync.control_plane import api, config, refused, tables
from sync.control_plane.api import WEB
from sync.control_plane.database import insert_new
from sync.control_plane.live import Newest
from sync.control_plane.messages import apply_frames
from sync.control_plane.twin import Want
from sync.wire import Frame
from tests.sync import test_spine
from tests.sync.test_spine import Rig, rig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `make system-packages` installs it"),
    pytest.mark.skipif(not (WEB / "index.html").is_file(), reason="the console is not built; `make console` builds it"),
]


shows = async_api.expect
shows.set_options(timeout=40_000)  # ms: a device comes back to its plane after a wait by the dice


async def pressed(it: Any, **options: Any) -> None:
    """A click all of whose conditions hold, in one piece: what arrives between a button's down and its up moves
    nothing from under it, which on a loaded machine takes a click now and then."""
    await TRIED(it, trial=True, **options)
    await it.evaluate("element => { document.activeElement?.blur(); element.focus(); element.click(); }")


TRIED = async_api.Locator.click
async_api.Locator.click = pressed  # type: ignore[method-assign,assignment]


@asynccontextmanager
async def chromium(it: Rig, may_fail: str = "404") -> AsyncIterator[Any]:
    """A page that came by the link. What the browser complains about is a fault, but for answers that `may_fail`."""
    async with async_api.async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await (await browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})).new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.set_default_timeout(40_000)
        await page.route(
            "**/nowhere", lambda route: route.abort()
        )  # a first route in mid-page may come after a request
        await page.clock.install()
        await page.goto(it.plane.link)
        yield page
        await browser.close()
        assert [text for text in wrong if "ERR_" not in text and not any(c in text for c in may_fail.split())] == []


async def fits(page: Any) -> None:
    """Nothing is wider than the window, once its charts have heard of their new size."""
    await page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")


def detector(it: Rig) -> Frame:
    """What a device would have told of its stage `health`."""
    body = msgpack.packb(["health.alarm", "uint8", "", {}, "health"])
    return Frame(it.daemon.journal.epoch, "tag", 999, 0, 0, 1, body)


def test_a_person_watches_the_line(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        it.sim.set("temp", 21)
        async with chromium(it) as page:
            await page.get_by_role("heading", name="The line is well").wait_for()
            await page.goto(f"{page.url.split('#')[0]}#/device/dev-1")
            value = page.locator('[data-tag="plc.temp"]')
            await shows(value).to_have_text("21")
            it.sim.set("temp", 85)
            await shows(value).to_have_text("85")
            await page.keyboard.press("g")
            await page.keyboard.press("a")
            alarm = page.locator('[data-alarm="hot"]')
            await shows(alarm).to_contain_text("raised, not acknowledged")
            await alarm.get_by_role("button", name="Acknowledge").click()
            await shows(alarm).to_contain_text("raised, acknowledged")
            await alarm.get_by_role("button", name="Shelve 1 h").click()
            await shows(alarm).to_contain_text("shelved until")
            await alarm.focus()
            await page.keyboard.press("s")
            await shows(alarm).not_to_contain_text("shelved")
            await shows(alarm.get_by_role("button", name="Shelve 1 h")).to_be_enabled()
            await it.plane.store.write(lambda c: apply_frames(c, "dev-1", [detector(it)]))
            it.daemon.accept(Event("anomaly", "health", "raised", text="unlike normal: plc.temp +9.0 (100%)"))
            await page.get_by_role("button", name="That is normal").click()
            await shows(page.get_by_role("group")).to_contain_text("health: take what the machine does now for normal?")
            await page.get_by_role("group").get_by_role("button", name="That is normal").click()
            await page.get_by_text("this site has no such detector").wait_for()
            await page.get_by_role("button", name="中文").click()
            await shows(alarm.locator(".badge")).to_have_text("高")
            await page.get_by_role("button", name="English").click()
            inspected(it)
            await page.keyboard.press("g")
            await page.keyboard.press("i")
            await page.locator(".inspection.ng img:not([hidden])").wait_for()
            await shows(page.locator(".inspection.ng")).to_contain_text("a hole is missing")
            labels = page.locator(".inspection.ng .mark b")
            await shows(labels).to_have_text(["missing hole 98 %", "scratch 51 %"])
            picture = await page.locator(".inspection.ng .frame").bounding_box()
            for label in await labels.all():
                box = await label.bounding_box()
                assert picture["x"] <= box["x"] and box["x"] + box["width"] <= picture["x"] + picture["width"]
                assert picture["y"] <= box["y"] and box["y"] + box["height"] <= picture["y"] + picture["height"]
            await page.get_by_role("button", name="Larger: part 7").press("Enter")
            await shows(page.get_by_role("dialog")).to_contain_text("judged in")
            await page.keyboard.press("Escape")
            await shows(page.get_by_role("dialog")).to_have_count(0)
            await page.get_by_role("button", name="中文").click()
            await shows(page.locator(".inspection.ng")).to_contain_text("不合格")
            await it.sim.stop()
            await page.get_by_role("button", name="English").click()
            await page.keyboard.press("g")
            await page.keyboard.press("o")
            await page.get_by_role("heading", name="a part that does not run").wait_for()

    rig(tmp_path, work)


def test_a_person_sees_what_is_missing(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        async with chromium(it) as page:
            await page.goto(f"{page.url.split('#')[0]}#/device/dev-1")
            complete = page.locator("#complete")
            await shows(complete).to_contain_text("of 5 minutes are complete")

            async def lost(route: Any) -> None:
                gap = {"from": 0, "to": 60_000, "minutes": 1, "cause": "not_arrived"}
                await route.fulfill(json={"minutes": 30, "complete": 29, "gaps": [gap]})

            await page.route("**/complete?*", lost)
            await page.get_by_role("button", name="30 min").click()
            await shows(complete).to_contain_text("29 of 30 minutes are complete")
            await shows(complete).to_contain_text("not arrived")
            await page.get_by_role("button", name="中文").click()
            await shows(complete).to_contain_text("数据块缺失")

    rig(tmp_path, work)


def test_the_page_finds_its_way_back(tmp_path: Path) -> None:
    """After an error of HTTP, and after the plane was started anew, everything shown is loaded again."""

    async def work(it: Rig) -> None:
        it.sim.set("temp", 21)
        async with chromium(it, "401 503") as page:
            await page.goto(f"{page.url.split('#')[0]}#/alarms")
            await page.get_by_text("No alarm stands").wait_for()

            async def refuse(route: Any) -> None:
                await route.fulfill(status=503, body="not now")

            await page.route("**/api/live", refuse)
            for queue in it.plane.hub._pages:
                queue.put_nowait(None)
            await page.get_by_role("alert").get_by_text("Connection lost").wait_for()
            it.sim.set("temp", 85)

            async def raised() -> bool:
                return ("hot", "raised") in await it.events("alarm")

            await it.until(raised)
            await page.unroute("**/api/live")
            await shows(page.locator('[data-alarm="hot"]')).to_contain_text("raised")
            await shows(page.get_by_role("alert")).to_have_count(0)

            await page.goto(f"{page.url.split('#')[0]}#/device/dev-1")
            await shows(page.locator('[data-tag="plc.temp"]')).to_have_text("85")
            await it.plane.stop()
            await page.get_by_role("alert").get_by_text("Connection lost").wait_for()
            it.sim.set("temp", 33)
            await it.plane_starts()
            await shows(page.locator('[data-tag="plc.temp"]')).to_have_text("33")
            await shows(page.get_by_role("alert")).to_have_count(0)

            (it.folder / "plane" / "sessions.key").unlink()
            await it.plane.stop()
            await it.plane_starts()
            await page.get_by_role("heading", name="Please sign in").wait_for()
            tab = await page.context.new_page()
            await tab.goto(it.plane.link)
            await page.clock.fast_forward(20_000)
            await shows(page.locator('[data-tag="plc.temp"]')).to_have_text("33")

    rig(tmp_path, work)


def test_a_link_that_only_is_silent_shows_the_banner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(it: Rig) -> None:
        async with chromium(it) as page:
            await page.get_by_role("heading", name="The line is well").wait_for()
            await page.clock.fast_forward(11_000)
            await shows(page.get_by_role("alert")).to_have_count(0)
            monkeypatch.setattr(api, "ALIVE_SECONDS", 3600.0)
            await it.daemon._end(it.daemon.readers.values())
            await page.reload()
            await page.locator(".card").wait_for()
            await page.route("**/api/live", lambda route: route.abort())
            await page.clock.fast_forward(13_000)
            await page.get_by_role("alert").get_by_text("Connection lost").wait_for()
            await page.get_by_role("heading", name="Not known now").wait_for()

    rig(tmp_path, work)


def test_a_device_is_silent_after_its_time_whatever_it_says_of_it(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        await it.daemon._end(it.daemon.readers.values())
        newest = it.plane.hub.devices.setdefault("dev-1", Newest())
        newest.status, newest.heard = {"every": 1e9}, time.monotonic() - 10_000
        async with chromium(it) as page:
            card = page.locator(".card")
            await shows(card).to_have_class(re.compile("is-silent"))
            newest.status, newest.heard = {"every": "soon"}, time.monotonic() + 3600
            await page.reload()
            await card.wait_for()
            await shows(card).not_to_have_class(re.compile("is-silent"))

    rig(tmp_path, work)


LONG = "name_without_end_" * 12


# What a meter, a sensor, a float in the wrong byte order and a counter show.
READS = {
    1234567.8: "1,234,567.8",
    21.299999237: "21.3",
    -0.00012345678: "-0.00012346",
    1.17549435e-38: "1.1755e-38",
    3e38: "3.0000e+38",
    9007199254740991.0: "9,007,199,254,740,991",
    0.0: "0",
}


TAGS = [
    {
        "device": "far",
        "epoch": "e",
        "id": k,
        "name": f"plc.t{k}",
        "type": "float64",
        "unit": "",
        "labels": "{}",
        "source": "",
    }
    for k in range(2000)
]


def crowd(c: Any) -> None:
    """Two devices, 2,000 tags, names without end, and an event of which nothing is as it should be."""
    alarm = {"device": "far", "key": LONG, "epoch": "e", "seq": 1, "active": True, "acked": False, "shelved_until": 0}
    odd = {
        "device": LONG,
        "epoch": "e",
        "seq": 1,
        "ts": 1,
        "kind": "inspection",
        "key": LONG,
        "state": "perhaps",
        "refs": "[]",
    }
    odd |= {"severity": "odd", "text": "", "data": '{"boxes": 3, "label": 4, "score": "x", "took_ms": "y"}'}
    c.execute(
        tables.device.insert(),
        [{"id": name, "secret": "", "enrolled": 0, "seen": 0} for name in ("far", LONG[:64])],
    )
    c.execute(tables.tag.insert(), TAGS)
    c.execute(tables.alarm.insert(), [alarm | {"since": 1, "severity": "high", "text": "", "by": ""}])
    c.execute(tables.event.insert(), [odd])


def test_many_tags_and_long_names_leave_the_page_usable(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        await it.plane.store.write(crowd)
        async with chromium(it) as page:
            start = page.url.split("#")[0]
            await page.set_viewport_size({"width": 640, "height": 400})  # 1280 x 800 at 200 %
            called = {"": "Overview", "alarms": "Alarms", "inspections": "Inspections"}
            for place in (*called, f"device/{LONG[:64]}", "device/far"):
                await page.evaluate("document.activeElement.blur()")
                await page.goto(f"{start}#/{place}")
                await shows(page).to_have_title(f"{called.get(place, place.partition('/')[2])} · Lineside")
                await shows(page.locator("main" if place else "body")).to_be_focused()
                await page.locator("h1").wait_for()
                await fits(page)
            await shows(page).to_have_title("far · Lineside")
            await shows(page.get_by_role("row")).to_have_count(201)
            await shows(page.get_by_text("1,800 more; filter to see them")).to_be_visible()
            await page.keyboard.press("/")
            await page.keyboard.type("t1999")
            await shows(page.get_by_role("row")).to_have_count(2)
            now = {"value": 0, "quality": "GOOD", "ts": 10**18, "labels": {}}
            await page.route(
                "**/far/tags", partial(fulfill, [{**t, **now, "value": v} for t, v in zip(TAGS, READS, strict=False)])
            )
            await page.goto(f"{start}#/")
            await shows(page).to_have_title("Overview · Lineside")
            await page.goto(f"{start}#/device/far")
            await shows(page.locator("td[data-tag]")).to_have_text(list(READS.values()))
            await page.goto(f"{start}#/inspections")
            await shows(page.locator(".inspection")).to_contain_text("perhaps")
            await page.locator(".inspection button").press("Enter")
            await shows(page.get_by_role("dialog")).to_contain_text("judged in")
            await page.keyboard.press("Escape")
            for name in ("%", "nobody"):
                await page.goto(f"{start}#/device/{name}")
                await page.get_by_text(f"No device is called: {name}").wait_for()
            await page.keyboard.press("g")
            await page.keyboard.press("a")
            await shows(
                page.locator(f'[data-alarm="{LONG}"]').get_by_role("button", name="Acknowledge")
            ).to_be_in_viewport()

    rig(tmp_path, work)


async def fulfill(answer: Any, route: Any) -> None:
    await route.fulfill(json=answer)


def test_a_chart_shows_what_there_is_and_no_more(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        async with chromium(it) as page:
            await page.goto(f"{page.url.split('#')[0]}#/device/dev-1")
            chart = page.locator(".chart")
            await page.get_by_role("button", name="24 h").click()
            await shows(chart).to_have_attribute("data-points", re.compile(r"\d\d+"))
            assert int(await chart.get_attribute("data-seconds")) < 120, "it starts where history starts"
            await shows(chart).to_have_attribute("data-gaps", "0")
            await it.sim.stop()
            await shows(chart).to_have_attribute("data-gaps", re.compile(r"[1-9]\d*"))
            await it.daemon._end(it.daemon.readers.values())
            for minutes, step_ms, kept in (("5 min", 6000, re.compile(r"5[0-3]")), ("30 min", 20, "12000")):
                to = it.daemon.clock.utc() // 1_000_000
                times = [to - step_ms * i for i in reversed(range(100 if step_ms == 6000 else 13_000))]
                answer = {"tag": "plc.temp", "unit": "", "t": times, "v": [1.0] * len(times), "to": to}
                await page.unroute_all()
                await page.route("**/series?**", partial(fulfill, answer))
                await page.get_by_role("button", name=minutes, exact=True).click()
                await shows(chart).to_have_attribute("data-points", kept)

    rig(tmp_path, work)


def with_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    tag = '      recipe: {{address: "holding:10", type: text, length: 8, encoding: utf-8}}\n      stop:'
    monkeypatch.setattr(test_spine, "SITE", test_spine.SITE.replace("      stop:", tag))


@asynccontextmanager
async def recipe_page(it: Rig) -> AsyncIterator[tuple[Any, Any]]:
    """The page of the device, and where it shows the recipe, which is A7."""
    it.sim.set("recipe", "A7")
    async with chromium(it) as page:
        await page.goto(f"{page.url.split('#')[0]}#/device/dev-1")
        value = page.locator('[data-tag="plc.recipe"]')
        await shows(value).to_have_text("A7")
        yield page, value


def newest(n: int) -> str:
    """The newest changes; older ones may be of scans before the first move."""
    return f".changes tr:nth-child(-n+{n}) td:last-child"


def test_a_text_is_shown_as_its_string_with_its_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_recipe(monkeypatch)

    async def work(it: Rig) -> None:
        async with recipe_page(it) as (page, value):
            await page.get_by_role("button", name="plc.recipe").click()
            await shows(page.locator(".now")).to_have_text(re.compile("A7"))
            for text, seen in (("<b>配方</b>", "<b>配方</b>"), ("", "(empty)"), ("A7", "A7")):
                it.sim.set("recipe", text)
                await shows(value).to_have_text(seen)
            await shows(page.locator(newest(4))).to_have_text(["A7", "(empty)", "<b>配方</b>", "A7"])
            await shows(page.locator(".chart")).to_have_count(0)
            await page.get_by_role("button", name="中文").click()
            await page.get_by_role("button", name="plc.recipe").click()
            await shows(page.locator(".changes td:last-child").nth(1)).to_have_text("（空）")

    rig(tmp_path, work)


def test_an_answer_that_comes_late_takes_no_change_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_recipe(monkeypatch)

    async def work(it: Rig) -> None:
        async with recipe_page(it) as (page, value):
            told = page.locator(newest(5))
            for text in ("B8", "A7"):
                it.sim.set("recipe", text)
                await shows(value).to_have_text(text)
            answered, come = asyncio.Event(), asyncio.Event()

            async def late(route: Any) -> None:
                answer = await route.fetch()
                answered.set()
                await come.wait()
                await route.fulfill(response=answer)

            await page.route("**/series?*", late)
            await page.get_by_role("button", name="plc.recipe").click()
            await answered.wait()
            for text in ("B8", "A7"):
                it.sim.set("recipe", text)
                await shows(value).to_have_text(text)
            come.set()
            await shows(told).to_have_text(["A7", "B8", "A7", "B8", "A7"])

    rig(tmp_path, work)


def test_a_number_that_overtakes_its_string_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_recipe(monkeypatch)

    async def work(it: Rig) -> None:
        async with recipe_page(it) as (page, value):
            told = page.locator(newest(2))
            await page.get_by_role("button", name="plc.recipe").click()
            await shows(told.first).to_have_text("A7")
            early = await (await page.request.get(f"{page.url.split('/#')[0]}/api/devices/dev-1/tags")).text()
            lacking = asyncio.Event()

            async def without(route: Any) -> None:
                if lacking.is_set():
                    await route.continue_()
                else:
                    await route.fulfill(body=early, content_type="application/json")

            await page.route("**/api/devices/dev-1/tags", without)
            it.sim.set("recipe", "B8")
            await shows(value).to_have_text("…")
            await shows(told).to_have_text(["…", "A7"])
            lacking.set()
            await shows(value).to_have_text("B8")
            await shows(told).to_have_text(["B8", "A7"])

    rig(tmp_path, work)


def inspected(it: Rig) -> None:
    """What an inspection stage would have said."""
    body = cv2.imencode(".jpg", np.full((120, 160, 3), 90, np.uint8))[1].tobytes()
    digest = hashlib.sha256(body).hexdigest()
    data = {
        "part": 7,
        "label": "missing_hole",
        "score": 0.98,
        "boxes": [[2, 2, 60, 60, "missing_hole", 0.98], [120, 70, 158, 118, "scratch", 0.51]],
        "took_ms": 4,
    }
    event = Event("inspection", "washer", "ng", severity="medium", text="a hole is missing", data=data, refs=(digest,))
    event = it.daemon.flow._identified(event)
    it.daemon.journal.append(events=[event], pictures=[Picture(digest, "image/jpeg", body)])


async def set_aside(it: Rig, *whys: str) -> None:
    for seq, why in enumerate(whys, 1):
        frame = Frame("0" * 16, "samples:plc" if seq % 2 else "event", seq, 1, 2, 20 * seq % 60, b"\0" * 700 * seq)
        await it.plane.store.write(lambda c, frame=frame, why=why: refused.set_aside(c, "dev-1", frame, why))


def test_what_could_not_be_read_is_listed_fetched_and_discarded_with_a_reason(tmp_path: Path) -> None:
    whys = ["a block of version 9, which is not known here", "no event: <b>它不是事件</b>"]

    async def work(it: Rig) -> None:
        async with chromium(it) as page:
            await shows(page.locator(".headline")).to_be_visible()
            await shows(page.locator(".notice")).to_have_count(0)
            await page.get_by_role("link", name="Refused records").click()
            await shows(page.locator(".calm")).to_contain_text("Everything that came could be read")
            await set_aside(it, *whys)
            await page.goto(f"{page.url.split('#')[0]}#/")
            await page.get_by_role("link", name="2 records could not be read").click()
            rows = page.locator("[data-refused]")
            await shows(rows).to_have_count(2)
            await shows(rows.first).to_contain_text("1.4 kB")
            await shows(rows.first.locator(".why")).to_have_text(whys[1])
            await page.keyboard.press("/")
            await page.keyboard.type("version 9")
            await shows(rows).to_have_count(1)
            async with page.expect_download() as coming:
                await rows.get_by_role("link", name="Download").click()
            copy = await coming.value
            assert copy.suggested_filename == f"dev-1-{'0' * 16}-samples_plc-1.bin"
            assert (await copy.path()).read_bytes() == b"\0" * 700
            await rows.get_by_role("button", name="Discard …").click()
            now = rows.get_by_role("button", name="Discard for ever")
            await shows(now).to_be_disabled()
            await page.keyboard.type("made by a test release")
            await now.click()
            await shows(page.get_by_text("No record like this")).to_be_visible()
            await page.locator("#filter").fill("")
            await shows(rows).to_have_count(1)
            await page.get_by_role("button", name="中文").click()
            await shows(page.get_by_role("heading", name="拒收记录")).to_be_visible()
            await page.goto(f"{page.url.split('#')[0]}#/alarms")
            await shows(page.locator("table")).to_contain_text("record 1 of samples:plc: made by a test release")
        assert await it.events("refused") == [("dev-1", "discarded")]

    rig(tmp_path, work)


def test_what_the_plane_wants_of_a_device_is_shown_beside_what_runs_and_why(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        async with chromium(it) as page:
            await page.goto(f"{page.url.split('#')[0]}#/device/dev-1")
            await shows(page.locator("#complete")).to_be_visible()
            twin = page.locator("#twin")
            await shows(twin).to_have_count(0)
            await it.plane.ingest.want([Want("dev-1", "config", "site", "0" * 16)])
            await shows(twin.locator("tbody tr")).to_contain_text(
                f"config site{'0' * 16}–its own▲ refused this site takes no"
            )
            drafted = "alarms: {hot: {when: plc.temp > 9}}"
            sent = {"version": "0" * 16, "at": 1.0, "body": "{}", "origins": "[]"}
            await it.plane.store.write(lambda c: insert_new(c, tables.config_document, [sent]) and None)
            await it.plane.store.write(lambda c: config.keep_draft(c, "dev-1", drafted))
            await page.reload()
            await shows(twin.get_by_role("listitem")).to_have_text("+ alarms: {hot: {when: plc.temp > 9}}")
            await page.get_by_role("button", name="中文").click()
            await shows(twin.get_by_role("heading", name="平台期望状态")).to_be_visible()
            await shows(twin.locator("tbody tr")).to_contain_text("拒绝 本站点不接受平台下发的 config")

    rig(tmp_path, work)
