"""Rules of the plane: each minute is judged once, whatever comes late, twice or not at all, and whoever is killed."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from edge import Event, Quality, encode_event
from edge.cli import main
from sync import wire
from sync.control_plane import cells, tables
from sync.control_plane import rules as at_work
from sync.control_plane.database import insert_new
from sync.control_plane.judge import Rule
from sync.control_plane.live import Hub
from sync.control_plane.messages import Message
from sync.control_plane.own import PLANE, order, tell
from sync.control_plane.plane import Plane
from sync.control_plane.plane_file import PlaneFile, load
from sync.control_plane.rollup import MINUTE
from sync.control_plane.rule_options import RuleOptions, ValueOptions
from sync.control_plane.rules import Rules, standing
from sync.control_plane.store import Store
from tests.sync.stored import with_store
from tests.sync.test_page import Ask, page
from tests.sync.test_rollups import EPOCH, START, TAG, block

HOT = """
rules:
  hot:
    each: "oven-*"
    values:
      temp: {tag: plc.a, take: max}
    when: temp > 80
    for: 2min
    clear: temp < 75
    severity: high
    text: an oven is hot
"""


def file_of(tmp_path: Path, text: str) -> PlaneFile:
    path = tmp_path / "plane.yaml"
    path.write_text(text, "utf-8")
    return load(path)


def rules_of(tmp_path: Path, text: str = HOT) -> dict[str, Rule]:
    found = file_of(tmp_path, text)
    assert not found.faults
    return found.rules


async def enrol(store: Store, *devices: str) -> None:
    rows = [{"id": d, "secret": "", "enrolled": 0.0, "seen": 0.0} for d in devices]
    await store.write(lambda c: insert_new(c, tables.device, rows))


async def sends(store: Store, device: str, first: int, values: Sequence[float], quality: Any = 0) -> None:
    """A block for each minute from `first` on, with three samples of a value; then one sample of the minute after."""
    ts = np.array([1, 20, 59], np.int64) * 10**9
    frames = [
        block(first + k + 1, START + (first + k) * MINUTE + ts, np.full(3, v), quality) for k, v in enumerate(values)
    ]
    await store.write(Message(device, [TAG, *frames]))


async def happened(store: Store, kind: str = "alarm") -> list[tuple[str, str, int]]:
    """(key, state, minute since START) of the plane's own events, in their order."""
    e = tables.event
    wanted = select(e.c.key, e.c.state, e.c.ts).where(e.c.device == PLANE, e.c.kind == kind).order_by(e.c.seq)
    rows = await store.read(lambda c: c.execute(wanted).all())
    return [(key, state, (ts - START) // MINUTE) for key, state, ts in rows]


def working(store: Store, rules: dict[str, Rule], since: int = START) -> Rules:
    return Rules(store, Hub(), rules, since)


async def look(rules: Rules, minute: float) -> None:
    while await rules.look(START + round(minute * MINUTE)):
        pass


def test_an_alarm_is_raised_once_held_and_cleared(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await enrol(store, "oven-1", "oven-2", "press-1")
        rules = working(store, rules_of(tmp_path))
        await look(rules, 0)
        hot = [70, 85, 70, 85, 85, 85, 78, 78, 70, 70, 85, 60]
        for minute, value in enumerate(hot):
            await sends(store, "oven-1", minute, [value])
            await sends(store, "press-1", minute, [value])
            await look(rules, minute + 1.5)
            await look(rules, minute + 1.6)
        assert await happened(store) == [("hot@oven-1", "raised", 5), ("hot@oven-1", "cleared", 9)]
        t = tables.alarm
        (alarm,) = await store.read(lambda c: c.execute(select(t)).mappings().all())
        assert (alarm["device"], alarm["key"], alarm["active"], alarm["acked"]) == (PLANE, "hot@oven-1", False, False)
        assert (alarm["severity"], alarm["text"]) == ("high", "an oven is hot")

    with_store(database, work)


def test_a_kill_at_any_moment_judges_nothing_twice(database: str, tmp_path: Path) -> None:
    """A plane that ends before its commit has judged nothing, one that ends after it is not judged again; a second one that works
    beside it does no harm."""

    async def work(store: Store) -> None:
        await enrol(store, "oven-1")
        rules = rules_of(tmp_path)
        await look(working(store, rules), 0)
        for minute in range(12):
            await sends(store, "oven-1", minute, [85 if minute % 6 < 4 else 60])
            one, other = working(store, rules), working(store, rules)
            now = START + minute * MINUTE + MINUTE * 3 // 2
            await one._places(now)
            await other._places(now)
            moves = await store.read(partial(one._judged, places=[("hot", "oven-1")], now=now))
            await look(other, minute + 1.5)
            lost = await store.write(partial(at_work.settle, moves=moves))
            assert lost == {place for place, *_ in moves}
        states = [(state, minute) for _, state, minute in await happened(store)]
        assert states == [("raised", 2), ("cleared", 5), ("raised", 8), ("cleared", 11)]

    with_store(database, work)


def test_a_day_that_comes_late_changes_history_and_raises_nothing(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await enrol(store, "oven-1")
        rules = working(store, rules_of(tmp_path))
        await look(rules, 0)
        await sends(store, "oven-1", 0, [60, 60])
        await look(rules, 2.5)
        for minute in range(3, 1440, 30):  # the plane goes on without it
            await look(rules, minute)
        await look(rules, 1440)
        assert await happened(store) == []
        ((key, state, since),) = await happened(store, "rule")
        assert (key, state) == ("hot@oven-1", "blind") and since > 12
        await sends(store, "oven-1", 2, [90] * 1420)
        await look(rules, 1440.2)
        assert await happened(store) == []  # all of it is older than `wait`
        await sends(store, "oven-1", 1422, [90] * 20)
        await look(rules, 1442.5)
        (raised,) = await happened(store)
        assert raised[:2] == ("hot@oven-1", "raised") and 1431 <= raised[2] <= 1434
        assert [state for _, state, _ in await happened(store, "rule")] == ["blind", "sees"]

    with_store(database, work)


def test_a_plane_that_was_away_judges_what_it_missed_in_order(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await enrol(store, "oven-1")
        rules = rules_of(tmp_path)
        await look(working(store, rules), 0)
        back = 2000
        again = working(store, rules, START + back * MINUTE)
        await look(again, back + 1)  # devices have `wait` to come back
        assert (await store.read(standing))["hot", "oven-1"].until == START // MINUTE
        await sends(store, "oven-1", 0, [60] * 100 + [90] * 100 + [60] * (back - 199))
        await look(again, back + 2)
        assert await happened(store) == [("hot@oven-1", "raised", 102), ("hot@oven-1", "cleared", 201)]
        assert await happened(store, "rule") == []

    with_store(database, work)


TWO = """
rules:
  apart:
    values:
      one: {device: oven-1, tag: plc.a}
      two: {device: oven-2, tag: plc.a}
    when: one - two > 10
  together:
    values:
      one: {device: oven-1, tag: plc.a, stale_after: 0s}
      two: {device: oven-2, tag: plc.a, stale_after: 0s}
    when: one > 50 or two > 50
"""


def test_a_rule_across_devices_waits_for_all_and_a_missing_one_is_no_zero(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await enrol(store, "oven-1", "oven-2")
        rules = working(store, rules_of(tmp_path, TWO))
        await look(rules, 0)
        await sends(store, "oven-1", 0, [20.0] * 3)
        await look(rules, 4)
        assert {s.until for s in (await store.read(standing)).values()} == {START // MINUTE}  # the other may be late
        await sends(store, "oven-2", 0, [15.0] * 3)
        await look(rules, 4)
        assert {s.until for s in (await store.read(standing)).values()} == {START // MINUTE + 2}
        await sends(store, "oven-1", 3, [60.0] * 30)
        await look(rules, 40)
        raised = await happened(store)  # 60 - nothing is not 60; but 60 > 50 whatever the other is
        assert [one for one in raised if one[0] == "together"] == [("together", "raised", 4)]
        assert [one for one in raised if one[0] == "apart"] == [
            ("apart", "raised", 4)
        ]  # its last value stands for a while
        await sends(store, "oven-1", 33, [20.0] * 30)
        await look(rules, 75)
        assert await happened(store) == raised  # silence clears nothing

    with_store(database, work)


REJECTS = """
rules:
  rejects:
    each: "*"
    values:
      bad: {kind: inspection, state: ng, over: 1h}
    when: bad > 3
  nothing_made:
    each: "*"
    values:
      parts: {kind: inspection, over: 10min}
    when: parts < 1
    for: 5min
"""


def inspected(seq: int, minute: float, state: str) -> wire.Frame:
    ts = START + round(minute * MINUTE)
    return wire.Frame(EPOCH, "event", seq, ts, ts, 1, encode_event(Event("inspection", "top", state, ts)))


def test_events_are_counted_and_who_is_silent_has_not_none(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await enrol(store, "aoi-1")
        rules = working(store, rules_of(tmp_path, REJECTS))
        await look(rules, 0)
        parts = [inspected(k + 1, 2 + 2 * k, "ng" if k % 2 else "ok") for k in range(10)]
        await store.write(Message("aoi-1", parts))
        await sends(store, "aoi-1", 0, [1.0] * 25)
        await look(rules, 26)
        assert await happened(store) == [("rejects@aoi-1", "raised", 17)]
        await look(rules, 120)  # an hour and a half of silence
        assert await happened(store) == [("rejects@aoi-1", "raised", 17)]
        await sends(store, "aoi-1", 25, [1.0] * 100)  # it did run, and made nothing
        await look(rules, 126)
        assert ("nothing_made@aoi-1", "raised") in [one[:2] for one in await happened(store)]

    with_store(database, work)


def test_what_is_not_to_be_trusted_is_not_judged(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await enrol(store, "oven-1")
        rules = working(store, rules_of(tmp_path))
        await look(rules, 0)
        await sends(store, "oven-1", 0, [85.0])
        await sends(store, "oven-1", 1, [85.0] * 3, Quality.TIMEOUT)
        await sends(store, "oven-1", 4, [85.0] * 2)
        await look(rules, 6.5)
        assert await happened(store) == [("hot@oven-1", "raised", 5)]  # two minutes of heat, with three unknown between

    with_store(database, work)


LONG = """
rules:
  warm:
    each: "oven-*"
    values: {temp: {tag: plc.a, over: 10min}}
    when: temp > 50
"""


def test_a_window_is_of_all_its_minutes_also_of_those_that_came_late(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await enrol(store, "oven-1")
        rules = working(store, rules_of(tmp_path, LONG))
        await look(rules, 0)
        await sends(store, "oven-1", 0, [40.0] * 8)
        await look(rules, 8.5)
        await sends(store, "oven-1", 8, [40.0] * 8)
        await look(rules, 16.5)
        await store.write(Message("oven-1", [block(900, START + np.array([3 * MINUTE + 40]), np.array([9000.0]))]))
        await sends(store, "oven-1", 16, [40.0])
        await look(rules, 17.5)
        assert await happened(store) == []  # minute 3 has left the window of the last ten
        await store.write(Message("oven-1", [block(901, START + np.array([12 * MINUTE + 40]), np.array([9000.0]))]))
        await sends(store, "oven-1", 17, [40.0])
        await look(rules, 18.5)
        assert await happened(store) == [("warm@oven-1", "raised", 17)]

    with_store(database, work)


def test_what_is_pushed_out_of_memory_is_read_again_and_not_left_out(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "MOST_KEPT", 40)  # 20 blocks of one minute

    async def work(store: Store) -> None:
        for device in ("a", "b"):
            ts = [START + k * MINUTE + np.array([10**9], np.int64) for k in range(31)]
            await store.write(Message(device, [TAG, *(block(k + 1, t, np.ones(1)) for k, t in enumerate(ts))]))
        minutes, start = cells.Minutes(), START // MINUTE
        for end in range(13, 31):
            for device in ("a", "b"):
                (home,) = await store.read(lambda c, d=device: cells.homes(c, d, "plc.a"))  # type: ignore[misc]
                found = await store.read(
                    lambda c, d=device, h=home, e=end: minutes.of(c, d, [h], start + e - 12, start + e)  # type: ignore[misc]
                )
                assert set(range(end - 12, end)) <= set((found[0][:, 0] - start).tolist()), (device, end)

    with_store(database, work)


def test_a_rule_that_is_no_more_ends_its_alarm(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await enrol(store, "oven-1")
        rules = working(store, rules_of(tmp_path))
        await look(rules, 0)
        await sends(store, "oven-1", 0, [85.0] * 4)
        await look(rules, 4.5)
        assert await store.write(lambda c: order(c, "ack", "hot@oven-1", 0, "anna"))
        assert await store.write(lambda c: order(c, "ack", "hot@oven-1", 0, "anna"))  # twice is once
        assert not await store.write(lambda c: order(c, "ack", "cold@oven-1", 0, "anna"))
        await look(working(store, {}), 5)
        states = [state for _, state, _ in await happened(store)]
        assert states == ["raised", "acked", "cleared"] and not await store.read(standing)

    with_store(database, work)


FAULTS = """rules:
  hot:
    values:
      temp: {tag: plc.a, take: maximum}
  cold:
    each: "oven-*"
    values:
      temp: {tag: plc.a, kind: alarm}
    when: temp < 5
  odd:
    each: "oven-*"
    values:
      temp: {tag: plc.a, over: 90s}
    when: tmp > 5
  words:
    values: {temp: {tag: plc.a}}
    when: temp == "A"
tests:
  - name: a test
    rule: odder
    given: {temp: [1]}
    expect: []
rulez: {}
"""


def test_every_fault_of_a_file_is_said_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plane.yaml"
    path.write_text(FAULTS, "utf-8")
    assert main(["plane", "check", str(path)]) == 1
    said = [line.removeprefix(f"{path}:") for line in capsys.readouterr().err.splitlines()]
    for place, words in (
        ("4:32", "must be 'mean', 'min', 'max' or 'last', not 'maximum'"),
        ("3:5", "rules.hot.when: is missing"),
        ("8:13", "say one of `tag` (a number of its samples) and `kind`"),
        ("13:13", "`over` is whole minutes"),
        ("16:14", "nobody knows of which device, say `device`, or in the rule `each`"),
        ("17:11", "the values of the plane are numbers"),
        ("20:11", "no rule is called 'odder', did you mean 'odd'?"),
        ("23:1", "unknown section 'rulez', did you mean 'rules'?"),
    ):
        assert any(line.startswith(f"{place}:") and words in line for line in said), (place, words, said)
    assert main(["plane", "--config", str(path), "--folder", str(tmp_path / "none")]) == 2
    assert "unknown section" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_the_file_on_the_page_is_fine_and_passes_its_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "plane-rules.md").read_text("utf-8")
    path = tmp_path / "plane.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", page, re.S)[0], "utf-8")
    for do, said in (("check", "2 rules, 1 tests"), ("test", "ok: an oven that stays hot raises one alarm")):
        assert f"lineside plane {do} plane.yaml" in page
        assert main(["plane", do, str(path)]) == 0
        assert said in capsys.readouterr().out
    path.write_text(path.read_text("utf-8").replace("minute: 5", "minute: 4"), "utf-8")
    assert main(["plane", "test", str(path)]) == 1
    assert "happened raised in minute 5, cleared in minute 7" in capsys.readouterr().out
    for option in RuleOptions.model_fields.values():
        assert option.description
    for name, option in [*RuleOptions.model_fields.items(), *ValueOptions.model_fields.items()]:
        assert f"`{option.alias or name}`" in page, name


@pytest.mark.usefixtures("database")
def test_a_whole_plane_shows_its_alarms_and_takes_orders_about_them(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        cookie, own = f"session={plane.people.login(plane.people.key)}", plane.link.split("/login")[0]

        async def shown(path: str) -> Any:
            return json.loads((await ask("GET", path, Cookie=cookie))[1])

        while [rule["rule"] for rule in await shown("/api/rules")] != ["hall"]:
            await asyncio.sleep(0.01)
        raised = Event("alarm", "hot@oven-1", "raised", time.time_ns(), "high", "an oven is hot")
        await plane.store.write(lambda c: tell(c, [raised]))
        assert [(a["key"], a["acked"]) for a in await shown("/api/alarms")] == [("hot@oven-1", False)]
        given = {"Cookie": cookie, "Content_Type": "application/json", "Origin": own}
        for verb in ("shelve", "unshelve", "ack"):
            path = f"/api/devices/{PLANE}/alarms/hot%40oven-1"
            assert (await ask("POST", path, json.dumps({"verb": verb}).encode(), **given))[0] == 202
            (alarm,) = await shown("/api/alarms")
            assert (alarm["shelved"], alarm["acked"], alarm["by"]) == (verb == "shelve", verb == "ack", "console")
        path = f"/api/devices/{PLANE}/alarms/cold"
        assert (await ask("POST", path, b'{"verb": "ack"}', **given))[0] == 404
        for verb in (b"acknowledge", b"xackx", b"unshelved"):
            path = f"/api/devices/{PLANE}/alarms/hot%40oven-1"
            assert (await ask("POST", path, b'{"verb": "%s"}' % verb, **given))[0] == 422, verb

    path = tmp_path / "plane.yaml"
    path.write_text("rules: {hall: {values: {a: {device: x, tag: plc.a}}, when: a > 5}}", "utf-8")
    page(tmp_path, work, path)
