"""The review page in a real browser: a person answers by keys, sees what became of it, and corrects it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("playwright.async_api", reason="needs the dev extra")
cv2 = pytest.importorskip("cv2", reason="needs the vision extra")

import numpy as np

from edge import Event, Picture
from models.quality.chain import Chain
from sync.control_plane import tables
from tests.sync.test_console import chromium, fits, pytestmark, shows  # noqa: F401  (the mark: skipped without a browser)
from tests.sync.test_reviews import judged, reviews
from tests.sync.test_spine import Rig, rig


def shown(number: int, state: str, label: str) -> tuple[Event, Picture]:
    """A part with two findings and a picture of its own."""
    body = cv2.imencode(".jpg", np.full((120, 160, 3), 20 * number, np.uint8))[1].tobytes()
    digest = hashlib.sha256(body).hexdigest()
    event = judged(number, state, label)
    more = {
        "findings": {"top.copper": [state, 0.93], "top.holes": ["ok", 0.1]},
        "tools": {"top.copper": {"above": 0.5}},
    }
    return replace(
        event, data={**event.data, **more, "boxes": [[90, 20, 120, 60, label, 0.93]]}, refs=(digest,)
    ), Picture(digest, "image/jpeg", body)


async def with_pictures(it: Rig, *parts: tuple[Event, Picture]) -> None:
    chain = Chain()
    for event, picture in parts:
        event = it.daemon.flow._identified(chain.link(event))
        it.daemon.journal.append(events=[event], pictures=[picture])

    async def here() -> bool:
        return len(await it.events("inspection")) == len(parts)

    await it.until(here)


PARTS = ((1, "ng", "spur"), (2, "recheck", "open"), (3, "ng", "missing_hole"), (4, "ok", ""))


def test_a_person_reviews_by_keys_and_corrects(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        await with_pictures(it, *(shown(*part) for part in PARTS))
        async with chromium(it, "404 409") as page:
            await shows(page.locator(".headline")).to_be_visible()
            await page.keyboard.press("g")
            await page.keyboard.press("v")
            rows, one, last = page.locator(".queue li"), page.locator("article"), page.locator(".last")
            await shows(rows).to_have_count(3)
            await shows(one).to_contain_text("part 3")
            await one.locator("img:not([hidden])").wait_for()
            await shows(one.locator(".mark b")).to_have_text("missing hole 93 %")
            await shows(one.locator(".reasons tr.ng")).to_contain_text("above 0.5")
            await page.keyboard.press("b")
            await shows(one.locator(".mark")).to_be_hidden()
            answer = one.locator(".buttons button")
            await shows(one).to_contain_text("Say who you are first")
            await shows(answer.first).to_be_disabled()
            await page.get_by_label("Reviewed by").fill("Anna")
            await page.locator("h1").click()
            await shows(answer).to_have_text(
                ["1 It is OK: a false call", "2 It is NG: missing hole", "3 It is NG: another defect …"]
            )
            await shows(answer.first).to_be_enabled()
            await page.keyboard.press("t")
            await page.keyboard.type("only dust 1 2 3")
            await page.keyboard.press("Enter")
            await page.keyboard.press("1")
            await shows(one).to_contain_text("part 2")
            await shows(last).to_contain_text("✓ Anna: OK · “only dust 1 2 3”")
            await page.reload()
            await shows(rows).to_have_count(2)
            await shows(answer.first).to_be_enabled()
            await page.keyboard.press("3")
            await one.get_by_label("Another name").fill("bent pin")
            await page.keyboard.press("Enter")
            await shows(last).to_contain_text("✓ Anna: NG · bent pin")
            await corrects(it, page)
            await page.get_by_role("button", name="中文").click()
            await shows(page.get_by_role("heading", name="复核")).to_be_visible()
            await page.set_viewport_size({"width": 360, "height": 700})
            await fits(page)

    rig(tmp_path, work)


async def corrects(it: Rig, page: Any) -> None:
    """The one that was answered last; then somebody else is first."""
    one = page.locator("article")
    await page.keyboard.press("u")
    await shows(one).to_contain_text("part 2")
    await shows(one.locator(".buttons")).to_have_text("c Correct this")
    await page.keyboard.press("1")  # no answer without saying that it is a correction
    await page.keyboard.press("c")
    await shows(one.locator(".fine")).to_be_enabled()
    await page.keyboard.press("1")
    await shows(page.locator(".last")).to_contain_text("✓ Anna: OK")
    found = await reviews(it)
    assert [(e.data["part"], e.state, e.data.get("label")) for e in found] == [
        (3, "ok", None),
        (2, "ng", "bent pin"),
        (2, "ok", None),
    ]
    assert found[2].data["corrects"] == found[1].data["hash"]
    proof = page.locator(".proof")
    await shows(proof).to_contain_text("False calls: 1 of 1 audited parts called NG: below 100.000 % at 95 %")
    await shows(proof).to_contain_text("Escapes: none was reviewed yet")
    await shows(one).to_contain_text("part 1")
    await shows(one.locator(".fine")).to_be_enabled()
    await page.route("**/reviews", lambda route: route.fulfill(status=409, json={"detail": "meanwhile"}))
    await page.keyboard.press("2")
    await shows(page.get_by_role("alert")).to_contain_text("This part was reviewed meanwhile")
    await page.unroute("**/reviews")
    await page.get_by_role("group", name="Show").get_by_role("button", name="Reviewed").click()
    await shows(page.locator(".queue li")).to_have_count(2)
    await shows(one).to_contain_text("part 3")


ODD = {
    "boxes": 3,
    "label": {"a": 1},
    "score": "x",
    "findings": [7, "y"],
    "tools": "z",
    "pictures": 5,
    "recipe": [],
    "hash": {},
}
LONG = "name_without_end_" * 12


def odd(c: Any) -> None:
    """A part of which nothing is as it should be, what people say of it neither."""
    row = {
        "device": LONG[:64],
        "epoch": "e",
        "ts": 1,
        "key": LONG,
        "state": "ng",
        "severity": "odd",
        "text": LONG,
        "refs": "[]",
    }
    said = [{"seq": [1], "record": {}, "by": 5}, {"seq": 1, "number": [], "label": ["x"], "by": LONG}]
    rows = [{**row, "kind": "inspection", "seq": 1, "data": json.dumps(ODD)}]
    rows += [{**row, "kind": "review", "seq": 2 + k, "data": json.dumps(data)} for k, data in enumerate(said)]
    c.execute(tables.event.insert(), rows)


def test_odd_parts_and_long_names_leave_the_page_usable(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        await it.plane.store.write(odd)
        async with chromium(it) as page:
            await page.set_viewport_size({"width": 640, "height": 400})
            await page.goto(f"{page.url.split('#')[0]}#/review")
            await page.get_by_role("group", name="Show").get_by_role("button", name="Reviewed").click()
            await shows(page.locator("article")).to_contain_text(LONG)
            await shows(page.locator(".proof")).to_be_visible()
            await fits(page)

    rig(tmp_path, work)


def test_refusals_and_reasons_are_read_in_chinese_and_a_customers_defect_as_it_is_called(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        event, picture = shown(1, "ng", "cut")
        event = replace(event, text="top: 2 missing hole (up to 93%); side: no code can be read; without rear")
        await with_pictures(it, (event, picture))
        async with chromium(it) as page:
            await page.goto(f"{page.url.split('#')[0]}#/review")
            await page.get_by_role("button", name="中文").click()
            one = page.locator("article")
            await shows(one.locator(".why")).to_have_text("top：2 缺孔（最高 93%）；side：读不出码；未检：rear")
            await shows(one.locator(".mark b")).to_have_text("cut 93 %")
            await it.daemon._end(it.daemon.readers.values())  # nothing comes down
            await page.get_by_label("复核人").fill("Anna")
            await page.locator("h1").click()
            await shows(one.locator(".fine")).to_be_enabled()
            await page.keyboard.press("1")
            await shows(page.locator("article")).to_contain_text("正在送往设备")
            (seq,) = await it.daemon.journal.ask(lambda db: next(db.execute(FIRST)))
            async with it.daemon.reviews.turn(seq) as inspection:
                assert inspection is not None
                words = {"seq": seq, "state": "ng", "label": "spur", "by": "carl"}
                await it.daemon.reviews.taken(inspection, words)
            it.daemon._start_reader("sync")
            await shows(page.locator("article")).to_contain_text("设备未接受: 工件 1 已由 carl 复核为：不合格 毛刺")

    rig(tmp_path, work)


FIRST = "SELECT seq FROM event WHERE kind = 'inspection'"


def test_a_part_is_known_and_found_by_its_code_on_both_pages(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        coded = []
        for number, code in ((1, "A7-0031"), (2, "A7-0032"), (3, "")):
            event, picture = shown(number, "ng" if number != 2 else "ok", "spur")
            coded.append((replace(event, data={**event.data, "code": code}), picture))
        await with_pictures(it, *coded)
        async with chromium(it) as page:
            await page.goto(f"{page.url.split('#')[0]}#/review")
            one, rows = page.locator("article"), page.locator(".queue li")
            await shows(one.locator(".code")).to_have_text("no code was read")
            await shows(rows).to_have_count(2)
            await page.keyboard.press("/")
            await page.keyboard.type("a7-0032")
            await shows(rows).to_have_count(1)
            await shows(rows).to_contain_text("part 2 A7-0032 · spur")
            await shows(one.locator(".code")).to_have_text("code A7-0032")
            await page.keyboard.type("9")
            await shows(page.locator("p.calm")).to_have_text("No part like this among the newest")
            await page.goto(f"{page.url.split('#')[0]}#/inspections")
            cards = page.locator("li.inspection")
            await shows(cards).to_have_count(3)
            await page.get_by_label("Part number or code").fill("0031")
            await shows(cards).to_have_count(1)
            await shows(cards.locator(".code")).to_have_text("code A7-0031")

    rig(tmp_path, work)


def test_a_part_stays_before_its_reviewer_whatever_comes_meanwhile(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        await with_pictures(it, shown(1, "ng", "spur"))
        async with chromium(it) as page:
            await page.goto(f"{page.url.split('#')[0]}#/review")
            one = page.locator("article")
            await shows(one).to_contain_text("part 1")
            event, picture = shown(2, "ng", "open")
            it.daemon.journal.append(events=[it.daemon.flow._identified(event)], pictures=[picture])
            await shows(page.locator(".queue li")).to_have_count(2)
            await shows(one).to_contain_text("part 1")
            await page.keyboard.press("j")
            await shows(one).to_contain_text("part 1")
            await page.keyboard.press("k")
            await shows(one).to_contain_text("part 2")

    rig(tmp_path, work)


def test_who_moves_on_during_a_slow_answer_stays_there_and_who_writes_stays_on_the_page(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        await with_pictures(it, *(shown(*part) for part in PARTS))
        async with chromium(it) as page:
            await page.goto(f"{page.url.split('#')[0]}#/review")
            one, note = page.locator("article"), page.get_by_label("Note")
            await page.get_by_label("Reviewed by").fill("Anna")
            await page.locator("h1").click()
            await shows(one.locator(".fine")).to_be_enabled()
            asked, may = asyncio.Event(), asyncio.Event()

            async def slow(route: Any) -> None:
                asked.set()
                await may.wait()
                await route.continue_()

            await page.route("**/reviews", slow)
            await it.daemon._end(it.daemon.readers.values())  # nothing comes down
            await page.keyboard.press("1")
            await asyncio.wait_for(asked.wait(), 40)
            await page.keyboard.press("j")
            await page.keyboard.press("j")
            await shows(one).to_contain_text("part 1")
            may.set()
            await shows(page.locator(".last")).to_contain_text("part 3: … Anna: OK")
            await shows(page.locator("h1")).to_contain_text("2 to do of 3")
            await shows(page.locator(".proof")).to_contain_text("False calls: none was reviewed yet")
            it.daemon._start_reader("sync")
            await shows(page.locator(".last")).to_contain_text("part 3: ✓ Anna: OK")
            await shows(one).to_contain_text("part 1")
            await shows(page.locator(".proof")).to_contain_text("False calls: 1 of 1 audited parts called NG")
            await page.locator("select").first.focus()
            await page.keyboard.type("ga")
            assert await page.evaluate("location.hash") == "#/review"
            await note.focus()
            await note.evaluate("e => e.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true}))")
            await shows(note).to_be_focused()
            await page.keyboard.press("Enter")
            await shows(note).not_to_be_focused()

    rig(tmp_path, work)
