"""Assets: how long they ran by the plane's own history, what is built in, what is due, and work orders."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from pydantic import ValidationError
from sqlalchemy import delete, func, select

from edge import Batch, Event, LinesideError, Quality, encode, encode_event
from sync import wire
from sync.control_plane import asset_files, asset_marks, assets, running, tables, work_orders
from sync.control_plane.asset import Asset, Deed, Part
from sync.control_plane.asset_alarms import alarms_of, of_asset
from sync.control_plane.asset_tables import asset_hour, asset_mark
from sync.control_plane.case_draft import draft
from sync.control_plane.database import insert_new
from sync.control_plane.messages import Message, apply_frames
from sync.control_plane.rollup import HOUR, MINUTE, roll_once
from sync.control_plane.store import Store
from sync.control_plane.work_orders import Ending, Opening
from tests.sync.stored import with_store

EPOCH = "0" * 16
FIRST = 490_000  # hour, in 2025
START = FIRST * HOUR
AT = FIRST * 3600.0
PUMP = {"id": "P-101", "place": "acme/suzhou", "device": "gate", "tags": "pump", "running": "pump.on", "begun": AT}


async def enrolled(
    store: Store, device: str = "gate", site: str = "acme/suzhou", kind: str = "bool", unit: str = ""
) -> None:
    row = {"id": device, "secret": "s", "enrolled": 1.0, "seen": 1.0, "site": site}
    await store.write(lambda c: insert_new(c, tables.device, [row]))
    tag = msgpack.packb(["pump.on", kind, unit, {}, "pump"])
    await store.write(Message(device, [wire.Frame(EPOCH, "tag", 1, 0, 0, 1, tag)]))


async def tells(store: Store, seq: int, minutes: list[float], values: list[float], quality: Any = 0) -> None:
    """Samples at these minutes after the start, and the work of the hours they are in."""
    ts = START + (np.array(minutes) * MINUTE).astype(np.int64)
    batch = Batch.of("pump", np.ones(len(ts), np.int32), np.array(values), ts, quality)
    frame = wire.Frame(EPOCH, "samples:pump", seq, int(ts.min()), int(ts.max()), len(ts), encode(batch))
    await store.write(Message("gate", [frame]))
    await worked(store)


async def worked(store: Store) -> None:
    while await roll_once(store, START + 5000 * HOUR):
        pass
    while await running.count_once(store):
        pass


async def added(store: Store, **more: Any) -> int:
    return await store.write(lambda c: assets.add(c, Asset(**{**PUMP, **more})))


async def seen(store: Store, number: int) -> running.Hours:
    return await store.read(lambda c: running.hours(c, assets.found(c, number), AT + 5 * 3600))


def heartbeats(first: float, last: float, value: float) -> tuple[list[float], list[float]]:
    """A value that does not change, as a deadband keeps it."""
    times = [*np.arange(first, last, 10.0).tolist()]
    return times, [value] * len(times)


def test_hours_are_those_in_which_its_tag_said_so(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        number = await added(store)
        on, ones = heartbeats(0, 90.5, 1.0)  # until 10:30 after the start of an hour, then off, then a line that is cut
        await tells(store, 1, [*on, 90.5, 100.0], [*ones, 0.0, 0.0])
        one = await seen(store, number)
        assert one.hours * 60 == pytest.approx(90.5) and one.until == AT + 2 * 3600
        assert await store.read(lambda c: running.since(c, number, AT + 3600)) == pytest.approx(3600)
        await tells(store, 2, [180.0, 185.0], [1.0, 1.0], [Quality.GOOD, Quality.TIMEOUT])
        assert (await seen(store, number)).hours * 60 == pytest.approx(95.5), "five minutes, then nobody knows"
        await tells(store, 3, [240.0], [1.0])
        assert (await seen(store, number)).hours * 60 == pytest.approx(106.5), "a sample stands for eleven minutes"
        known = select(func.sum(asset_hour.c.known)).where(asset_hour.c.asset == number)
        assert (await store.read(lambda c: c.scalar(known))) / 60 == pytest.approx(90.5 + 9.5 + 11 + 5 + 11)
        await tells(store, 4, [120.0, 130.0], [1.0, 0.0])
        assert (await seen(store, number)).hours * 60 == pytest.approx(116.5), "what comes late counts in its own hour"
        await tells(store, 5, [310.0], [0.0])
        await tells(store, 6, [295.0], [1.0])
        assert (await seen(store, number)).hours * 60 == pytest.approx(127.5), (
            "and in the next one, where that is counted"
        )

    with_store(database, work)


def test_what_was_counted_outlives_its_samples_and_what_was_not_is_counted_of_minutes(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        number = await added(store)
        on, ones = heartbeats(0, 60, 1.0)
        await tells(store, 1, [*on, 60.0], [*ones, 0.0])
        await store.write(lambda c: c.execute(delete(tables.block)) and None)
        late = await added(store, id="P-102", begun=AT + 1800)
        await worked(store)
        assert (await seen(store, late)).hours == pytest.approx(0.5), "of roll-ups, from when it began"
        await tells(store, 2, [30.0], [0.0])
        assert (await seen(store, number)).hours == pytest.approx(1.0), "a late one alone is not the hour"
        await store.write(lambda c: c.execute(delete(tables.rollup)) and None)
        assert (await seen(store, number)).hours == pytest.approx(1.0)
        assert (await seen(store, await added(store, id="P-103", before=4200.0))).hours == 4200
        await store.write(lambda c: assets.change(c, number, Asset(**{**PUMP, "begun": AT + 3600})))
        assert (await seen(store, number)).hours == 0, "it began later"

    with_store(database, work)


def test_a_counter_goes_on_from_what_it_read_and_a_fall_of_it_counts_nothing(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store, kind="float64", unit="h")
        number = await added(store, running="", counter="pump.on", before=1000.0)
        await tells(store, 1, [10, 59, 70, 190], [1000.0, 1000.5, 1000.6, 1002.6])
        assert (await seen(store, number)).hours == pytest.approx(1000 + 2.1)
        await tells(store, 2, [250, 310], [3.0, 3.5])
        assert (await seen(store, number)).hours == pytest.approx(1000 + 2.6), "another counter was built in"
        await tells(store, 3, [370], [9000.0])
        assert (await seen(store, number)).hours == pytest.approx(1000 + 2.6 + 2), "more than the clock allows"
        await tells(store, 4, [130], [1001.6])
        assert (await seen(store, number)).hours == pytest.approx(1000 + 2.6 + 2), "a late one parts what was known"
        await store.write(
            lambda c: assets.change(c, number, Asset(**{**PUMP, "device": "", "tags": "", "running": ""}))
        )
        await store.write(lambda c: assets.change(c, number, Asset(**{**PUMP, "counter": "pump.on", "running": ""})))
        await tells(store, 5, [430, 490], [20_000.0, 20_000.5])
        assert (await seen(store, number)).hours == pytest.approx(2.6 + 2 + 0.5), "two counters have no difference"
        t = asset_hour
        rows = await store.read(lambda c: c.execute(select(t.c.ran).order_by(t.c.hour)).scalars().all())
        assert [ran / 3600 for ran in rows] == pytest.approx([0, 0.1, 1.0, 1.0, 0, 0.5, 2.0, 0, 0.5])

    with_store(database, work)


def test_another_tag_or_enterprise_counts_anew_or_no_more(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        number = await added(store)
        await tells(store, 1, [0, 10], [1.0, 7.0])
        assert (await seen(store, number)).hours * 60 == pytest.approx(21)
        await store.write(lambda c: assets.change(c, number, Asset(**{**PUMP, "above": 5.0, "place": "acme"})))
        await worked(store)
        assert (await seen(store, number)).hours * 60 == pytest.approx(21), "what was counted stays"
        await store.write(lambda c: assets.change(c, number, Asset(**{**PUMP, "above": 5.0}), recount=True))
        assert (await seen(store, number)).waits == 5
        await worked(store)
        assert (await seen(store, number)).hours * 60 == pytest.approx(11)
        move = tables.device.update().values(site="beta/wuxi")
        await store.write(lambda c: c.execute(move) and None)
        await tells(store, 2, [60.0], [9.0])
        assert (await seen(store, number)).hours * 60 == pytest.approx(11), "the device is somebody else's by now"
        assert await store.read(lambda c: c.scalar(select(func.count()).select_from(asset_mark))) == 0
        hot = encode_event(Event("alarm", "hot", "raised", START, "high", data={"when": "pump.heat > 80"}))
        await store.write(lambda c: apply_frames(c, "gate", [wire.Frame(EPOCH, "event", 1, 1, 1, 1, hot)]))
        row = await store.read(lambda c: assets.found(c, number))
        assert await store.read(lambda c: alarms_of(c, row, lambda _: [])) == []
        opening = Opening(title="x", origin="alarm", about="hot")
        with pytest.raises(LinesideError, match="never had an alarm 'hot'"):
            await store.write(lambda c: work_orders.open_one(c, number, opening, "li"))
        mine = Asset(**{**PUMP, "above": 5.0, "name": "old", "begun": AT - 1})
        await store.write(lambda c: assets.change(c, number, mine, recount=True))
        await worked(store)
        assert (await seen(store, number)).hours * 60 == pytest.approx(11), "it can be named, and is not counted"
        with pytest.raises(LinesideError, match="gate stands at beta/wuxi"):
            await store.write(lambda c: assets.change(c, number, mine.model_copy(update={"running": "pump.of"})))
        back = tables.device.update().values(site="acme")
        await store.write(lambda c: c.execute(back) and None)
        assert [one["key"] for one in await store.read(lambda c: alarms_of(c, row, lambda _: []))] == ["hot"]

    with_store(database, work)


def test_what_was_counted_stays_when_an_asset_is_moved_exported_or_goes_out_of_service(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        number = await added(store, begun=AT + 0.5)
        on, ones = heartbeats(0, 120, 1.0)
        await tells(store, 1, [*on, 120.0], [*ones, 0.0])
        await tells(store, 2, *heartbeats(180, 300, 1.0))
        before = (await seen(store, number)).hours
        assert before == pytest.approx(2 + 2)
        await store.write(
            lambda c: c.execute(delete(tables.block).where(tables.block.c.t1 < START + 2 * HOUR)) and None
        )
        await store.write(lambda c: c.execute(delete(tables.rollup).where(tables.rollup.c.hour < FIRST + 2)) and None)

        async def changed(**more: Any) -> float:
            await store.write(lambda c: assets.change(c, number, Asset(**{**PUMP, "begun": None, **more})))
            await worked(store)
            return (await seen(store, number)).hours

        assert await changed(place="acme/wuxi") == before
        row = await store.read(lambda c: assets.found(c, number))
        ((_, again),) = asset_files.read("a.csv", asset_files.assets_as("csv", [row]).encode())
        await store.write(lambda c: assets.change(c, number, again))
        assert (await seen(store, number)).hours == before, "a file says whole seconds"
        assert await changed(retired=AT + 4.5 * 3600) == pytest.approx(2 + 1.5), "none after that"
        await tells(store, 3, [300.0], [1.0])
        assert (await seen(store, number)).hours == pytest.approx(2 + 1.5)
        assert await changed(retired=0) == pytest.approx(before + 11 / 60), "it is back"

    with_store(database, work)


def test_a_rule_that_was_never_done_counts_from_the_minute_in_which_its_asset_began(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        number = await added(store, begun=AT + 1800, rules=[{"what": "oil", "hours": 0.5}])
        await tells(store, 1, *heartbeats(0, 61, 1.0))
        row, hours = await store.read(lambda c: assets.found(c, number)), await seen(store, number)
        (oil,) = await store.read(lambda c: assets.due(c, row, hours, AT + 7200))
        assert oil["ran"] == pytest.approx(hours.hours) and oil["due"]

    with_store(database, work)


def test_a_mark_that_is_made_while_its_hour_is_counted_stays(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        number = await added(store)
        await store.write(lambda c: asset_marks.add(c, [(number, FIRST)]))
        waits = await store.read(running._waiting)
        found = await store.read(lambda c: running._counted(c, "gate", waits))
        await store.write(lambda c: asset_marks.add(c, [(number, FIRST)]))
        await store.write(lambda c: running._settle(c, waits[0], found[number]))
        assert [list(one.marks) for one in await store.read(running._waiting)] == [[FIRST]]
        assert (await seen(store, number)).waits == 1, "and its history is counted"

    with_store(database, work)


def test_parts_maintenance_and_what_is_due(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        rules = [
            {"what": "oil", "hours": 1.0},
            {"what": "look", "days": 30, "hours": 100},
            {"what": "seal", "days": 365},
        ]
        number = await added(store, rules=rules)
        on, ones = heartbeats(0, 120, 1.0)
        await tells(store, 1, [*on, 120.0], [*ones, 0.0])

        async def due(now: float) -> dict[str, Any]:
            row = await store.read(lambda c: assets.found(c, number))
            hours = await seen(store, number)
            return {one["what"]: one for one in await store.read(lambda c: assets.due(c, row, hours, now))}

        told = await due(AT + 3 * 3600)
        assert told["oil"]["due"] and told["oil"]["at"] == AT + 3 * 3600 and told["oil"]["ran"] == pytest.approx(2)
        daily = 2 / (3 / 24)  # two of the three hours that are counted
        assert not told["look"]["due"] and told["look"]["at"] == pytest.approx(AT + 3 * 3600 + 98 / daily * 86400)
        assert told["seal"]["at"] == AT + 365 * 86400 and told["seal"]["last"] is None
        bearing = Part(position="drive end", part="6205", serial="A1")
        first = Deed(did="oil changed", rule="oil", at=AT + 1800, parts=[bearing])
        await store.write(lambda c: assets.do(c, number, first, "li"))
        told = await due(AT + 3 * 3600)
        assert told["oil"]["due"] and told["oil"]["ran"] == pytest.approx(1.5) and told["oil"]["last"] == AT + 1800
        second = Deed(did="bearing again", at=AT + 5400, parts=[Part(position="drive end", part="6205", serial="A2")])
        await store.write(lambda c: assets.do(c, number, second, "wang"))
        for at, part in ((AT + 3600, "G"), (AT + 7200, "")):
            gland = Part(position="gland", part=part)
            await store.write(lambda c, g=gland, a=at: assets.exchange(c, number, g, "li", a))  # type: ignore[misc]
        row = await store.read(lambda c: assets.found(c, number))
        built = await store.read(lambda c: assets.parts_of(c, row))
        assert [(one["serial"], one["ran"], bool(one["removed"]), one["removed_by"]) for one in built] == [
            ("A2", pytest.approx(0.5), False, ""),
            ("A1", pytest.approx(1.0), True, "wang"),
            ("", pytest.approx(1.0), True, "li"),
        ]
        deeds = await store.read(lambda c: assets.maintained(c, row))
        assert [(one["did"], one["ran"]) for one in deeds] == [
            ("bearing again", pytest.approx(0.5)),
            ("oil changed", pytest.approx(1.5)),
        ]
        for deed, words in (
            (Deed(did="x", rule="oli"), "has no rule 'oli'"),
            (Deed(did="x", at=4e9), "still to come"),
            (Deed(did="x", parts=[Part(position="gland")]), "nothing is built in at 'gland'"),
            (Deed(did="x", at=AT + 60, parts=[Part(position="gland", part="G")]), "G was at 'gland' until after that"),
            (
                Deed(did="x", at=AT, parts=[Part(position="drive end", part="6205")]),
                "came to 'drive end' later than that",
            ),
        ):
            with pytest.raises(LinesideError, match=words):
                await store.write(lambda c, d=deed: assets.do(c, number, d, "li"))  # type: ignore[misc]
        with pytest.raises(LinesideError, match=r"has a history.*retired"):
            await store.write(lambda c: assets.remove(c, number))
        await store.write(lambda c: assets.change(c, number, Asset(**{**PUMP, "retired": AT + 9 * 3600})))
        (one,) = await store.read(lambda c: assets.listed(c, [], 10, AT))
        assert one["due"] == []

    with_store(database, work)


def test_a_work_order_is_opened_from_what_is_due_or_an_alarm_and_done_once(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        number = await added(store, rules=[{"what": "oil", "hours": 1.0}], **{"class": "water_pump"})
        hot = Event("alarm", "hot", "raised", START, "high", data={"when": "pump.heat > 80"})
        other = Event(
            "alarm", "cold", "raised", START, "high", data={"when": "fan.heat < 8", "reasons": [{"tag": "pumps.x"}]}
        )
        seen = Event(
            "alarm",
            "odd",
            "raised",
            START,
            "low",
            data={"when": "health.alarm > 0", "reasons": [{"tag": "pump.flow", "share": 0.5, "deviation": 2}]},
        )
        frames = [wire.Frame(EPOCH, "event", n, 1, 1, 1, encode_event(e)) for n, e in enumerate((hot, other, seen), 1)]
        await store.write(lambda c: apply_frames(c, "gate", frames))
        row = await store.read(lambda c: assets.found(c, number))
        odd = await store.read(lambda c: draft(c, "gate", EPOCH, 3))
        assert odd and odd["case"]["asset"] == "water_pump" and odd["case"]["signature"]["shares"] == {"flow": 0.5}
        cold = await store.read(lambda c: draft(c, "gate", EPOCH, 2))
        assert cold and cold["case"]["asset"] == ""
        about = [await store.read(lambda c, k=key: of_asset(c, row, k)) for key in ("hot", "cold", "odd")]  # type: ignore[misc]
        assert about == [True, False, True]

        def opens(**given: Any) -> Any:
            return store.write(lambda c: work_orders.open_one(c, number, Opening(**given), "li"))

        one = await opens(title="change the oil", origin="due", about="oil")
        two = await opens(title="it is hot", origin="alarm", about="hot")
        for given, words in (
            ({"origin": "due", "about": "oil"}, f"work order {one} is open for 'oil' already"),
            ({"origin": "due", "about": "seal"}, "has no rule 'seal'"),
            ({"origin": "alarm", "about": "cool"}, "gate never had an alarm 'cool'"),
        ):
            with pytest.raises(LinesideError, match=words):
                await opens(title="x", **given)
        part = Part(position="drain", part="gasket 12", serial="")
        done = Ending(state="done", deed=Deed(did="=changed, and a gasket", parts=[part]))
        await store.write(lambda c: work_orders.end(c, one, done, "wang"))
        await store.write(lambda c: work_orders.end(c, two, Ending(state="dropped", deed=Deed(did="a sensor")), "li"))
        with pytest.raises(LinesideError, match=f"work order {two} is dropped already, by li"):
            await store.write(lambda c: work_orders.end(c, two, done, "li"))
        (did,) = await store.read(lambda c: assets.maintained(c, row))
        assert (did["rule"], did["work_order"], did["by"]) == ("oil", one, "wang")
        rows = await store.read(lambda c: work_orders.orders(c, [], 10))
        assert [row["state"] for row in rows] == ["dropped", "done"]
        head, first, second = asset_files.orders_as("csv", rows).splitlines()
        assert head == (
            "number,state,asset,name,place,class,origin,about,title,note,opened,opened_by,ended,ended_by,did,installed,removed"
        )
        assert first.startswith(f"{two},dropped,P-101,,acme/suzhou,water_pump,alarm,hot,it is hot,,20")
        assert second.endswith(""",wang,"'=changed, and a gasket",drain: gasket 12,""")
        told = json.loads(asset_files.orders_as("json", rows))[1]
        assert list(told) == head.split(",") and told["installed"] == [
            {"position": "drain", "part": "gasket 12", "serial": ""}
        ]

    with_store(database, work)


def test_what_an_asset_cannot_be_is_refused(database: str) -> None:
    async def work(store: Store) -> None:
        await enrolled(store)
        await enrolled(store, "theirs", "beta")
        await added(store)
        for more, words in (
            ({}, "there is an asset P-101 in acme already"),
            ({"id": "P", "device": "gat"}, "gat is not enrolled here"),
            ({"id": "P", "device": "theirs"}, "theirs stands at beta, and the asset at acme/suzhou"),
            ({"id": "P", "running": "pump.onn"}, r"no tag of gate is called 'pump.onn' .*'pump.on'"),
            ({"id": "P", "place": "acme//x"}, "is no place in the tree"),
            ({"id": "P", "retired": 4e9}, r"still to come \(say since when it is out of service"),
        ):
            with pytest.raises(LinesideError, match=words):
                await added(store, **more)
        await added(store, place="beta", device="theirs")  # another enterprise has a P-101 of its own

    with_store(database, work)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"id": "a b"}, "id"),
        ({"counter": "pump.h"}, "name one of them"),
        ({"device": ""}, "of which `device`"),
        ({"rules": [{"what": "oil"}]}, "after how many `hours`"),
        ({"rules": [{"what": "oil", "days": 1}] * 2}, "called the same"),
        ({"running": "", "rules": [{"what": "oil", "hours": 1}]}, "needs `running` or `counter`"),
        ({"name": "a\nb"}, "control characters"),
        ({"above": float("nan")}, "above"),
        ({"rules": [{"what": "oil; filter", "days": 1}]}, "a semicolon parts rules"),
    ],
)
def test_an_asset_that_makes_no_sense_says_why(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Asset(**{**PUMP, **more})


def test_a_deed_has_one_part_at_a_position() -> None:
    with pytest.raises(ValidationError, match="at the same position"):
        Deed(did="x", parts=[Part(position="a", part="6205"), Part(position="a", part="6206")])
