"""Rollouts: wave after wave, halted before worse comes, taken back; whoever is away, late, or killed in the middle."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import update

from edge import SECOND, ConfigFault, Event, LinesideError
from sync.control_plane import config, rollout_wants, rollout_work, tables
from sync.control_plane.database import insert_new
from sync.control_plane.live import Hub
from sync.control_plane.retention import forget_once
from sync.control_plane.rollout_commands import _hit
from sync.control_plane.rollout_options import RolloutOptions, from_words
from sync.control_plane.rollout_plan import Some, nearest, place, sizes, wilson
from sync.control_plane.rollout_work import Rollouts, at_work
from sync.control_plane.rollouts import R, listed, rollouts, start, summary
from sync.control_plane.standing import StoreFault
from sync.control_plane.store import Store
from sync.control_plane.twin import Want, want
from tests.sync.rolled import CALM, Fleet
from tests.sync.stored import with_store

TEN = [f"press-{k}" for k in range(10)]


def test_waves_are_counts_and_shares_and_the_rest() -> None:
    assert sizes([1, "2%", "10%", "50%"], 100_000) == [1, 2000, 10_000, 50_000, 37_999]
    assert sizes([1, "2%", "10%", "50%"], 3) == [1, 1, 1]
    assert sizes(["100%"], 7) == [7] and sizes([], 7) == [7] and sizes([20, 5], 7) == [7]
    assert sizes(["0.1%"], 10) == [1, 9], "a share of few is one"


def test_the_order_is_another_one_for_each_rollout() -> None:
    first, second = (sorted(TEN, key=lambda device: place(n, device)) for n in (1, 2))
    assert first != second and sorted(first) == sorted(second)


@pytest.mark.parametrize(
    ("found", "of", "low", "high"),
    [(0, 10, 0.0, 0.2130), (1, 1, 0.2698, 1.0), (1, 3, 0.0783, 0.7465), (0, 0, 0.0, 1.0)],
)
def test_bounds_are_those_of_wilson(found: int, of: int, low: float, high: float) -> None:
    assert wilson(found, of) == pytest.approx((low, high), abs=1e-4)


def test_of_each_gate_it_is_told_where_it_is_nearest_to_a_breach() -> None:
    gates = from_words({"what": "model/washer-3", "devices": {"all": True}, "gates": {"silent": {"at_least": 9}}}).gates
    counts = {Some(0, "good", "", False, True): 5, Some(1, "failed", "failed", False, True): 1}
    counts |= {Some(1, "trying", "", True, True): 3, Some(1, "waits", "", False, False): 7}
    failed, alarms, silent = nearest(counts, gates)
    assert failed["low"] == pytest.approx(26.98, abs=0.01)
    where = [(one["gate"], one["wave"], one["found"], one["of"], one["enough"]) for one in (failed, alarms, silent)]
    assert where == [("failed", 1, 1, 1, True), ("alarms", None, 0, 9, True), ("silent", None, 0, 9, True)]
    assert [one["most"] for one in nearest({}, gates)] == [5.0] * 3 and not nearest({}, gates)[0]["of"]


def test_a_long_look_is_followed_by_a_rest_that_lets_no_halt_come_late() -> None:
    assert [rollout_work.rest(took) for took in (0.01, 0.5, 40.0)] == pytest.approx([0.09, 4.5, 10.0])


def test_a_rollout_goes_wave_after_wave_and_soaks(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        await it.enrol("oven-1", **{"class": "oven"})
        n = await it.begin(waves=[1, "30%"])
        ((first, *rest),) = [list(await it.column(n, "state"))]
        assert await it.asked() == [first] == it.nudged
        await it.tells(first, "trying")
        await it.look(1)
        assert (await it.column(n, "state"))[first] == "trying"
        await it.tells(first, "running")
        await it.look(599)
        assert await it.asked() == [first], "it is watched"
        await it.look(600)
        assert await it.asked() == sorted([first, *rest[:3]])
        await it.takes(rest[:3])
        await it.look(600)
        assert await it.asked() == sorted(TEN)
        await it.takes(rest[3:])
        await it.look(600)
        assert await it.counts(n) == {"good": 10} and (await it.rollout(n)).state == "done"
        assert await it.steps() == ["started", "planned", "wave", "wave", "done"]
        assert await it.steps("alarm") == []

    with_store(database, work)


def test_a_failing_wave_halts_and_nobody_who_has_not_begun_does(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[5])
        first = await it.asked()
        await it.takes(first[:1], "refused", "2")
        assert (await it.rollout(n)).state == "halted"
        assert (await it.rollout(n)).reason == "1 of 1 that tried in wave 1 did not take it; 5 % may"
        assert await it.asked() == first[:1], "the others are asked no more"
        assert await it.counts(n) == {"waits": 9, "failed": 1}
        assert (await it.steps())[-1] == "halted" and await it.steps("alarm") == ["raised"]
        await it.look(86400)
        assert await it.asked() == first[:1]
        await it.order(n, "resume")
        assert len(await it.asked()) == 5 and await it.steps("alarm") == ["raised", "cleared"]
        await it.takes(set(await it.asked()) - set(first[:1]))
        await it.look(600)
        assert len(await it.asked()) == 10, "what was before the resume is not judged again"

    with_store(database, work)


def test_of_long_ago_the_counts_are_kept_and_nothing_more_is_done_with_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.control_plane.database.FEW", 4)  # rows a transaction

    async def work(store: Store) -> None:
        async def shown(number: int) -> dict[str, Any]:
            (one,) = await store.read(lambda c: rollouts(c, R.c.number == number))
            return await store.read(lambda c: summary(c, one, whole=True))

        it = Fleet(store)
        await it.enrol(*TEN)
        halted = await it.begin(waves=[5])
        await it.takes((await it.asked())[:1], "refused", "2")
        done = await it.begin("model/washer-4", waves=[])
        await it.takes(TEN)
        await it.look(600)
        before = await shown(halted)
        assert await forget_once(store, "rollouts", round((it.now - 86400) * SECOND)) == 0, "it is not so long ago"
        later = round((it.now + 1) * SECOND)
        assert await forget_once(store, "rollouts", later) == 10 and await it.counts(halted) == {}
        left = {"waits_for": "nothing more is done with it: what each of its devices did is forgotten", "can": []}
        assert await shown(halted) == before | left and before["devices"] == {"over": 9, "failed": 1}
        with pytest.raises(LinesideError, match=f"rollout {halted} is halted, and of so long ago"):
            await it.order(halted, "resume")
        assert await it.steps("alarm") == ["raised", "cleared"]
        assert await it.counts(done) == {"good": 10}, "devices that are enrolled later get it"
        await it.begin("model/washer-5", waves=[1])
        assert await forget_once(store, "rollouts", later) == 10 and (await shown(done))["devices"] == {"good": 10}
        await it.enrol("press-new", enrolled=it.now + 9)
        await it.look(60)
        assert await it.counts(done) == {}

    with_store(database, work)


def test_few_of_many_may_fail(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*(f"press-{k}" for k in range(100)))
        n = await it.begin(waves=[50])
        asked = await it.asked()
        await it.takes(asked[:40])
        await it.takes(asked[40:44], "rolled_back", "2")
        assert (await it.rollout(n)).state == "running", "4 of 44: chance explains it"
        await it.takes(asked[44:50], "rolled_back", "2")
        assert (await it.rollout(n)).state == "halted"

    with_store(database, work)


def test_at_least_so_many_have_to_have_tried(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[5], gates=CALM | {"failed": {"at_least": 3}})
        asked = await it.asked()
        await it.takes(asked[:2], "refused")
        assert (await it.rollout(n)).state == "running"
        await it.takes(asked[2:3], "refused")
        assert (await it.rollout(n)).state == "halted"

    with_store(database, work)


def test_a_breach_takes_back_where_that_is_the_plan(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        await store.write(lambda c: want(c, [Want(d, "model", "washer", "2") for d in TEN]))
        await it.tells(TEN, "running")
        n = await it.begin(waves=[4], at_breach="back")
        a, b, c, d = await it.asked()
        await it.tells(a, "trying")
        await it.takes([b])
        await it.takes([c], "rolled_back", "2")
        assert (await it.steps())[-2:] == ["halted", "going_back"], "the halt is first"
        assert await it.asked("3") == [] and (await it.rollout(n)).state == "back"
        states = await it.column(n, "state")
        assert (states[a], states[b], states[c], states[d]) == ("back", "back", "back", "waits")
        await it.tells([a, b, c], "running")
        await it.look()
        assert await it.counts(n) == {"returned": 3, "waits": 7}
        assert (await it.rollout(n)).state == "returned" and (await it.steps())[-1] == "returned"
        assert await it.steps("alarm") == ["raised", "cleared"]

    with_store(database, work)


def test_a_person_takes_a_whole_rollout_back_and_who_is_away_holds_nothing_up(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[])
        await it.takes(TEN)
        await it.look(600)
        assert (await it.rollout(n)).state == "done"
        await it.order(n, "back")
        assert await it.asked("") == TEN
        await it.tells(TEN[1:8], "running")
        await it.tells(TEN[8], "rolled_back")
        await it.tells(TEN[9], "refused", "3")
        await it.look()
        assert await it.counts(n) == {"back": 1, "returned": 8, "stuck": 1}
        assert (await it.rollout(n)).state == "back"
        await it.tells(TEN[0], "waiting", reason="nobody signed model/washer-2")
        await it.look()
        assert (await it.column(n, "why"))[TEN[0]] == "it cannot go back yet: nobody signed model/washer-2"
        rows = await store.read(lambda c: [*listed(c, n, "back"), *listed(c, n, "stuck")])
        assert _hit(rows)[0].endswith(": back: it cannot go back yet: nobody signed model/washer-2")
        await it.look(600)
        assert (await it.rollout(n)).state == "returned"

    with_store(database, work)


def test_devices_that_are_away_do_not_block_and_others_take_their_places(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[2, 3])
        first = await it.asked()
        await it.look(599)
        assert await it.asked() == first
        await it.look(1)
        second = sorted(set(await it.asked()) - set(first))
        assert len(second) == 1 and "filled" in await it.steps(), "half of the wave is enough"
        await it.takes(second)
        await it.look(600)
        assert (await it.rollout(n)).wave == 1 and len(await it.asked()) == 5
        await it.takes(set(await it.asked()) - {*first, *second})
        await it.look(600)
        await it.takes(set(await it.asked()) - set(first))
        await it.look(600)
        assert (await it.rollout(n)).state == "done" and await it.counts(n) == {"good": 8, "asked": 2}
        await it.takes(first)
        await it.look(31)
        await it.look(600)
        assert await it.counts(n) == {"good": 10}, "it came back later"

    with_store(database, work)


def test_a_wave_of_absent_devices_alone_does_not_open_the_next_one(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        await it.begin(waves=[1, 3])
        for many in range(1, 11):
            assert len(await it.asked()) == many, "one more at a time"
            await it.look(600)

    with_store(database, work)


def test_a_clock_that_is_set_back_holds_nothing_up_and_hides_nothing(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN, enrolled=it.now - 86400)
        n = await it.begin(waves=[], per_minute=2, gates=CALM | {"silent": {"after": "5min"}})
        failed, *_ = first = await it.asked()
        await it.takes([failed], "refused", "2")
        await it.order(n, "resume")
        then = {"since": it.now, "forgiven": it.now}  # and not by the clock of this machine
        await store.write(lambda c: c.execute(update(R).values(then)) and None)
        await it.takes(first[1:])
        await it.look(50)
        await it.look(-7200)
        assert await it.asked() == first, "two a minute"
        await it.look(61)
        assert (await it.rollout(n)).state == "running" and len(await it.asked()) == 4, (
            "what failed before is not judged"
        )
        (again,) = set(await it.asked()) - {*first} - {max(set(await it.asked()) - {*first})}
        await it.takes([again], "refused", "2")
        assert (await it.rollout(n)).state == "halted", "what is tried after it is"
        await it.look(301)
        await it.look(300)
        heard = await it.column(n, "hit")
        assert (heard[first[1]], heard[again]) == ("silent", "failed"), "it has not spoken since"
        ahead = update(tables.rollout_device).values(began=time.time() + 7200)
        await store.write(lambda c: c.execute(ahead) and None)
        await it.order(n, "resume")
        assert (await it.rollout(n)).state == "running", "also where it stood still at that time"

    with_store(database, work)


def test_a_clock_that_was_ahead_for_a_moment_ends_no_soak(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[3], soak="3h", attempt="3h")
        first, second, third = await it.asked()
        await it.takes([first])
        await it.tells(second, "trying")
        await it.look(60)
        await it.look(7200)
        await it.takes([third])
        with monkeypatch.context() as broken:
            broken.setattr(rollout_work, "look", lambda *_: 1 / 0)
            with pytest.raises(StoreFault):
                await it.look(-7200)
        await it.look(1)
        await it.look(3700)
        states = await it.column(n, "state")
        assert [states[device] for device in (first, second, third)] == ["watched", "trying", "watched"]
        then = it.now
        for now in (30.0, then, then + 301):  # it starts before its clock is set
            await it.look(now - it.now)
        assert await it.column(n, "state") == states
        await it.takes([second])
        await it.look(3 * 3600)
        assert set((await it.column(n, "state")).values()) == {"good", "asked"}, "though the first look after it failed"

    with_store(database, work)


def test_limits_by_minute_and_by_site(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        east, west = [f"e{k}" for k in range(6)], [f"w{k}" for k in range(6)]
        await it.enrol(*east, site="acme/east")
        await it.enrol(*west, site="acme/west")
        n = await it.begin(waves=[], per_site=2, per_minute=3)
        assert len(await it.asked()) == 3
        await it.look(30)
        assert len(await it.asked()) == 3
        await it.look(30)
        asked = await it.asked()
        assert sum(d[0] == "e" for d in asked) == sum(d[0] == "w" for d in asked) == 2
        await it.look(120)
        assert await it.asked() == asked, "two are under way at each"
        await it.takes([d for d in asked if d[0] == "e"])
        assert sorted(d[0] for d in set(await it.asked()) - set(asked)) == ["e", "e"]
        assert (await it.rollout(n)).state == "running"

    with_store(database, work)


def test_devices_begin_only_in_the_hours(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        it.now = 1_795_132_800.0  # 2026-11-20 00:00 UTC
        n = await it.begin(waves=[], attempt="2d", hours=[{"zone": "UTC", "from": "22:00", "to": "02:00"}])
        assert len(await it.asked()) == 10
        await it.tells(TEN[0], "trying")
        await it.look(7200)
        assert await it.asked() == TEN[:1], "who has not begun does not begin now"
        assert (await it.counts(n))["waits"] == 9
        await it.look(20 * 3600)
        assert len(await it.asked()) == 10

    with_store(database, work)


def test_one_that_has_it_already_tries_nothing(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        await store.write(lambda c: want(c, [Want(d, "model", "washer", "3") for d in TEN[:2]]))
        await it.tells(TEN[0], "running")
        await it.tells(TEN[1], "refused", "2")
        before = [await it.wants(d) for d in TEN[:2]]
        n = await it.begin(waves=[])
        assert (await it.column(n, "state"))[TEN[0]] == "good" and await it.wants(TEN[0]) == before[0]
        assert (await it.wants(TEN[1]))[2] > before[1][2], "it is tried once more"
        assert (await it.column(n, "state"))[TEN[1]] == "asked"

    with_store(database, work)


def test_a_model_in_shadow(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol("press-1")
        n = await it.begin(stage="shadow", soak="0s")
        assert (await it.wants("press-1"))[:2] == ("3", "shadow")
        await it.takes(["press-1"], "shadow")
        assert (await it.rollout(n)).state == "done"
        m = await it.begin(soak="0s")
        assert (await it.wants("press-1"))[:2] == ("3", "run"), "the same version, run now"
        await it.takes(["press-1"])
        assert (await it.rollout(m)).state == "done"

    with_store(database, work)


def test_a_newer_rollout_takes_the_place_of_what_has_not_begun(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        old = await it.begin(waves=[3])
        first = await it.asked("3")
        await it.tells(first[0], "trying")
        await it.look()
        new = await it.begin("model/washer-4", waves=[])
        states = await it.column(old, "state")
        assert [states[d] for d in first] == ["trying", "over", "over"] and (await it.counts(old))["over"] == 9
        assert await it.asked("3") == first[:1], "what has begun goes to its end"
        assert len(await it.asked("4")) == 9
        await it.tells(first[0], "running")
        await it.look()
        await it.look(1)
        assert len(await it.asked("4")) == 10, "then the newer one is next"
        await it.takes(TEN)
        await it.look(600)
        assert {(await it.rollout(k)).state for k in (old, new)} == {"done"}

    with_store(database, work)


def test_a_person_who_wants_something_else_is_not_overruled(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[])
        await it.takes(TEN[:1])
        await store.write(lambda c: want(c, [Want(d, "model", "washer", "9") for d in TEN[:2]]))
        await it.look(31)
        assert (await it.column(n, "state"))[TEN[1]] == "over"
        await store.write(lambda c: want(c, [Want(TEN[2], "model", "washer", "8")]))
        await it.order(n, "halt")
        assert [(await it.wants(d))[0] for d in TEN[:4]] == ["9", "9", "8", ""]
        await it.order(n, "back")
        assert [(await it.wants(d))[0] for d in TEN[:4]] == ["9", "9", "8", ""]
        assert await it.counts(n) == {"over": 3, "waits": 7}

    with_store(database, work)


def test_one_that_began_anew_after_a_halt_is_judged(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[1])
        first = await it.asked()
        for state in ("trying", "waiting"):
            await it.tells(first, state)
            await it.look(1)
        await it.order(n, "halt")
        it.now += 60
        await it.order(n, "resume")
        it.now += 1
        await it.takes(first, "refused")
        assert (await it.rollout(n)).state == "halted"

    with_store(database, work)


def test_one_that_is_at_something_newer_has_not_failed(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[1])
        first = await it.asked()
        await it.tells(first, "trying")
        await it.look(1)
        await store.write(lambda c: want(c, [Want(first[0], "model", "washer", "9")]))
        await it.tells(first, "running")
        await it.look(31)
        assert (await it.column(n, "state"))[first[0]] == "over"
        assert len(await it.asked()) == 1, "another one takes its place"
        await it.look(3600)
        assert (await it.rollout(n)).state != "halted"

    with_store(database, work)


def test_what_stands_still_costs_no_look(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)

        async def looked(seldom: bool) -> list[int]:
            return [one.number for one in await store.read(lambda c: at_work(c, seldom))]

        n = await it.begin(waves=[5])
        assert await looked(False) == [n]
        await it.takes((await it.asked())[:1], "refused")
        assert (await it.rollout(n)).state == "halted" and await looked(True) == []
        m = await it.begin("model/other-1", waves=[], soak="0s")
        await it.tells(TEN[1:], "running", name="other")
        await it.look()
        await it.look(600)
        assert (await it.rollout(m)).state == "done"
        assert await looked(False) == [] and await looked(True) == [m], "one may still come"

    with_store(database, work)


def test_late_devices_get_it_with_the_last_wave_and_after(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        older = await it.begin("model/washer-2", waves=[])
        n = await it.begin(waves=[1], soak="0s")
        it.now += 60
        await it.enrol("press-new")
        await it.enrol("oven-new", **{"class": "oven"})
        await it.look(31)
        assert (await it.column(n, "wave"))["press-new"] == 1 and "press-new" not in await it.asked()
        assert "press-new" not in await it.column(older, "wave"), "the newest one only"
        await it.takes(await it.asked())
        await it.takes(await it.asked())
        assert (await it.rollout(n)).state == "done" and "press-new" in await it.asked()
        it.now += 60
        await it.enrol("press-newer")
        await it.look(31)
        await it.look(31)
        assert "press-newer" in await it.asked() and "oven-new" not in await it.asked()
        await it.takes(["press-newer"], "refused")
        await it.order(n, "halt")
        it.now += 60
        await it.enrol("press-newest")
        await it.look(31)
        assert "press-newest" not in await it.column(n, "wave")

    with_store(database, work)


def test_who_comes_late_gets_nothing_that_was_retired(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol("press-1")
        n = await it.begin(waves=[], soak="0s")
        await it.takes(["press-1"])
        row = {"number": 1, "name": "washer", "version": "3", "stage": "retired", "at": 0.0, "by": "", "note": ""}
        await store.write(lambda c: insert_new(c, tables.model_stage, [row]))
        it.now += 60
        await it.enrol("press-2")
        await it.look(31)
        assert list(await it.column(n, "state")) == ["press-1"]

    with_store(database, work)


def test_a_revoked_device_holds_nothing_up(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[2, 2])
        first = await it.asked()
        t = tables.device
        await store.write(lambda c: c.execute(update(t).where(t.c.id.in_(first)).values(revoked=1.0)))
        await it.look(31)
        assert (await it.counts(n))["gone"] == 2 and "filled" in await it.steps()
        (third,) = set(await it.asked()) - set(first)
        await it.takes([third])
        await it.look(600)
        assert (await it.rollout(n)).wave == 1
        again = {"revoked": 0.0, "enrolled": it.now}
        await store.write(lambda c: c.execute(update(t).where(t.c.id == first[0]).values(again)))
        await it.look(31)
        assert (await it.column(n, "state"))[first[0]] == "waits", "it is enrolled anew"
        assert "gone" in (await it.counts(n))

    with_store(database, work)


def test_a_device_that_was_moved_to_another_tenant_is_asked_for_nothing_more(database: str) -> None:
    async def work(store: Store) -> None:
        it, t = Fleet(store), tables.device
        await it.enrol(*TEN, site="acme/line-1")
        n = await it.begin(waves=[2, 2], devices={"site": "acme"})
        has, waits = (await it.asked())[0], sorted(set(TEN) - set(await it.asked()))[0]
        await it.takes(await it.asked())
        moved = update(t).where(t.c.id.in_([has, waits])).values(site="beta/line-1")
        await store.write(lambda c: c.execute(moved))
        await it.look(600)
        await it.look(31)
        assert (await it.column(n, "why"))[waits] == "it stands elsewhere now" and waits not in await it.asked()
        await it.order(n, "back")
        assert (await it.wants(has))[0] == "3", "who has acme takes nothing from it any more"
        assert (await it.counts(n))["back"] == 1

    with_store(database, work)


def test_pausing_and_going_on(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[1])
        await it.order(n, "pause")
        await it.takes(await it.asked())
        await it.look(600)
        assert len(await it.asked()) == 1 and (await it.counts(n))["good"] == 1
        await it.order(n, "resume")
        assert len(await it.asked()) == 10
        await it.order(n, "pause")
        await it.takes(TEN[:5], "refused")
        assert (await it.rollout(n)).state == "halted", "gates judge while it is paused"

    with_store(database, work)


# Gates that look at devices


@pytest.mark.parametrize("reached", ["trying", "running"])
def test_one_that_had_begun_when_it_was_asked_no_more_has_its_turn_again(database: str, reached: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol("press-1", "press-2")
        await store.write(lambda c: want(c, [Want("press-1", "model", "washer", "2")]))
        await it.tells("press-1", "running")
        n = await it.begin(soak="1s", waves=[2])
        await it.tells("press-2", "trying")
        await it.look()
        version, _, generation = await it.wants("press-1")
        assert version == "3"
        await it.order(n, "halt")
        said = {"version": "3", "stage": "run", "generation": generation, "tried": "3", "running": "3"}
        await it.happens("press-1", Event("twin", "model/washer", reached, 0, "info", "", said))
        await it.look(10)
        await it.tells("press-1", "running")  # 2, as the halt wants it
        await it.look(31)
        assert await it.counts(n) == {"trying": 1, "waits": 1}, "it runs 2"
        await it.order(n, "resume")
        assert (await it.wants("press-1"))[0] == "3"
        await it.takes(["press-1"])
        await it.look(31)
        assert await it.counts(n) == {"good": 1, "trying": 1}

    with_store(database, work)


def alarm(key: str, state: str = "raised", severity: str = "high") -> Event:
    return Event("alarm", key, state, 0, severity)


def test_new_alarms_halt_and_old_ones_do_not(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        for device in TEN:
            await it.happens(device, alarm("oil_hot"), it.now - 3600)
        n = await it.begin(waves=[3])
        a, b, c = await it.asked()
        await it.takes([a, b, c])
        await it.happens(a, alarm("oil_hot"), it.now + 1)
        await it.happens(b, alarm("jam", severity="low"), it.now + 1)
        await it.happens(c, alarm("jam"), it.now - 60)
        await it.look(5)
        assert (await it.rollout(n)).state == "running", "known before, not grave, and from before it began"
        await it.happens(b, alarm("jam", severity="critical"), it.now + 1)
        await it.look(5)
        assert (await it.rollout(n)).reason == "1 of 3 that tried in wave 1 raised new alarms after it; 5 % may"
        assert (await it.column(n, "why"))[b] == "raised jam, which it had not before"

    with_store(database, work)


def test_a_gate_that_is_off_hides_no_failure(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[1], gates=CALM | {"alarms": {"most": "100%"}})
        (first,) = await it.asked()
        await it.tells(first, "trying")
        await it.happens(first, alarm("jam"), it.now + 1)
        await it.look(5)
        assert (await it.column(n, "hit"))[first] == "alarms" and (await it.rollout(n)).state == "running"
        await it.takes([first], "rolled_back", "2")
        assert (await it.column(n, "hit"))[first] == "failed" and (await it.rollout(n)).state == "halted"

    with_store(database, work)


def test_an_alarm_between_the_attempt_and_its_end_counts_where_both_come_at_once(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[1])
        (first,) = await it.asked()
        await it.tells(first, "trying")
        await it.happens(first, alarm("jam"), it.now + 10)
        it.now += 20
        await it.tells(first, "running")
        await it.look()
        assert (await it.rollout(n)).state == "halted"

    with_store(database, work)


def test_a_device_that_falls_silent_after_it_halts(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[3], gates={"silent": {"after": "5min"}, "failed": {"at_least": 3}}, soak="1h")
        a, b, _ = await it.asked()
        await it.tells(a, "trying")
        await it.takes([b])
        await it.look(299)
        assert (await it.rollout(n)).state == "running"
        await it.happens(b, alarm("x", severity="low"))
        await it.look(2)
        assert (await it.column(n, "hit"))[a] == "silent" and (await it.rollout(n)).state == "halted"
        assert (await it.rollout(n)).reason == "1 of 2 that tried in wave 1 are not heard after it; 5 % may"
        await it.happens(a, alarm("x", severity="low"))
        await it.look()
        assert (await it.column(n, "hit"))[a] == "", "it is back"
        anew = {"seen": 0.0, "enrolled": it.now}
        t = tables.device
        await store.write(lambda c: c.execute(update(t).where(t.c.id == b).values(anew)))
        await it.look(10)
        assert (await it.column(n, "hit"))[b] == "", "it was just enrolled anew, and has not spoken yet"

    with_store(database, work)


def test_a_plane_that_was_away_itself_judges_nobody_by_that(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[3], gates={"silent": {"after": "5min"}, "failed": {"at_least": 3}}, soak="10min")
        a, b, c = await it.asked()
        await it.takes([a])
        await it.tells(b, "trying")
        await it.restart(7200)
        assert await it.column(n, "hit") == dict.fromkeys(await it.column(n, "hit"), "")
        assert (await it.counts(n), await it.asked()) == (
            {"asked": 1, "trying": 1, "watched": 1, "waits": 7},
            [a, b, c],
        )
        assert not (await it.column(n, "late"))[c], "it could not begin meanwhile"
        for _ in range(5):
            await it.happens(a, alarm("x", severity="low"))
            await it.look(50)
        assert (await it.rollout(n)).state == "running"
        await it.look(55)
        assert (await it.column(n, "state"))[a] == "good"
        assert (await it.rollout(n)).reason == "1 of 2 that tried in wave 1 are not heard after it; 5 % may"

    with_store(database, work)


def test_one_that_begins_and_never_ends_has_failed_and_may_still_come(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[1], gates=CALM | {"failed": {"at_least": 2}})
        (first,) = await it.asked()
        await it.tells(first, "trying")
        await it.look()
        await it.look(3600)
        assert (await it.column(n, "hit"))[first] == "failed"
        await it.tells(first, "running")
        await it.look()
        await it.look(600)
        assert (await it.column(n, "state"))[first] == "good" and (await it.column(n, "hit"))[first] == ""

    with_store(database, work)


def test_more_ng_than_in_its_own_time_before_halts(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)

        async def parts(device: str, of: int, ng: int, at: float) -> None:
            for k in range(of):
                await it.happens(device, Event("inspection", "top", "ng" if k < ng else "ok"), at + k)

        await parts("press-0", 60, 3, it.now - 7200)
        await parts("press-1", 60, 20, it.now - 7200)
        plan: dict[str, Any] = {"ids": ["press-0", "press-1"]}
        n = await it.begin(waves=[], devices=plan, gates=CALM | {"ng": {}}, soak="1h")
        await it.takes(["press-0", "press-1"])
        await parts("press-1", 60, 22, it.now + 1)
        await it.look(31)
        assert (await it.column(n, "hit"))["press-1"] == "", "it was no better before"
        await parts("press-0", 60, 22, it.now + 1)
        await it.look(31)
        assert (await it.column(n, "why"))["press-0"] == "22 of 60 parts NG; before 3 of 60"
        assert (await it.rollout(n)).state == "running", "1 of 2 is no more than a share of 20 % explains"

    with_store(database, work)


def test_going_back_by_itself_later_is_a_failure_too(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[1], soak="0s")
        first = await it.asked()
        await it.takes(first)
        await it.tells(first, "rolled_back", "2", "the model drifts")
        await it.look()
        assert (await it.column(n, "why"))[first[0]] == "the model drifts"
        assert (await it.rollout(n)).state == "halted"

    with_store(database, work)


# Crashes, and several


def test_whoever_is_killed_in_the_middle_another_one_goes_on(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each transaction in turn fails at its end; the next process finds everything as before it."""

    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        for module in (rollout_work, rollout_wants):
            monkeypatch.setattr(module, "AT_ONCE", 4)
        commits, broken = 0, 0
        true = Store.write

        async def write(self: Store, job: Any, device: str = "") -> Any:
            nonlocal commits
            commits += 1

            def breaks(connection: Any) -> Any:
                job(connection)
                raise LinesideError("killed")

            return await true(self, breaks if commits == broken else job, device)

        number, _ = await store.write(
            lambda c: start(c, from_words({"what": "model/washer-3", "devices": {"all": True}, "gates": CALM}), "li")
        )
        monkeypatch.setattr(Store, "write", write)
        for last in range(1, 8):
            commits, broken, it.work = 0, last, Rollouts(store, Hub(), it.nudged.extend)
            with pytest.raises(LinesideError, match="killed"):
                await it.look()
            if (await it.rollout(number)).state != "planning":
                break
        monkeypatch.setattr(Store, "write", true)
        it.work = Rollouts(store, Hub(), it.nudged.extend)
        await it.look()
        assert (await it.counts(number)) == {"asked": 1, "waits": 9}
        assert await it.steps() == ["started", "planned"] and broken >= 5

    with_store(database, work)


def test_two_processes_at_work_at_one_time_ask_nobody_twice(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)
        n = await it.begin(waves=[1, 2], soak="0s")
        other = Store(store.engine.url.render_as_string(hide_password=False))
        try:
            works = [it.work, Rollouts(other, Hub(), it.nudged.extend)]
            for _ in range(3):
                new = [d for d, s in (await it.column(n, "state")).items() if s == "asked"]
                await it.tells(new, "trying")
                await it.tells(new, "running")
                for _ in range(4):
                    await asyncio.gather(*(one.look(it.now) for one in works))
        finally:
            other.close()
        assert await it.steps() == ["started", "planned", "wave", "wave", "done"]
        assert sorted(it.nudged) == sorted(TEN)

    with_store(database, work)


# What is refused


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"what": "washer", "devices": {"all": True}}, "'washer' is no name of an artefact"),
        ({"what": "model/washer-3"}, "devices: is missing"),
        ({"what": "model/washer-3", "devices": {}}, "say `class`, `site` or `ids`"),
        ({"what": "model/washer-3", "devices": {"all": True, "class": "press"}}, "say `class`, `site` or `ids`"),
        ({"what": "model/washer-3", "devices": {"ids": ["a b"]}}, "'a b' is no device id"),
        ({"what": "model/washer-3", "devices": {"site": "a//b"}}, "is no place in the tree"),
        ({"what": "model/washer-3", "devices": {"all": True}, "waves": ["0%"]}, "'0%' is no wave"),
        ({"what": "model/washer-3", "devices": {"all": True}, "soack": "1h"}, "did you mean 'soak'?"),
        ({"what": "model/washer-3", "devices": {"all": True}, "soak": 600}, "is no duration"),
        ({"what": "model/washer-3", "devices": {"all": True}, "gates": {"failed": {"most": 5}}}, "is no share"),
        ({"what": "runtime/lineside-1", "devices": {"all": True}, "stage": "shadow"}, "only a model runs in shadow"),
        ({"what": "model/washer-3", "devices": {"all": True}, "hours": [{"zone": "Asia/Sanghai"}]}, "Asia/Shanghai"),
    ],
)
def test_what_cannot_be_is_refused_in_words(plan: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigFault) as refused:
        from_words(plan)
    assert words in str(refused.value)


def test_a_plan_is_the_same_after_it_was_kept() -> None:
    given = {"what": "model/washer-3", "devices": {"class": "press"}, "hours": [{"zone": "UTC", "from": "20:00"}]}
    plan = from_words(given | {"gates": {"ng": {"most": "7%"}}, "soak": "90s", "waves": [2, "5%"]})
    assert RolloutOptions.model_validate_json(plan.model_dump_json(by_alias=True)) == plan


def test_a_rollout_of_nothing_or_for_nobody_is_refused(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        await it.enrol(*TEN)

        async def refused(**plan: Any) -> str:
            given = from_words({"what": "model/washer-3", "devices": {"class": "press"}, **plan})
            with pytest.raises(LinesideError) as fault:
                await store.write(lambda c: start(c, given, "li", lambda what: what == "model/washer-3"))
            return str(fault.value)

        assert "model/washer-4 is not among the updates" in await refused(what="model/washer-4")
        assert "no device fits (class oven)" in await refused(devices={"class": "oven"})
        await it.enrol("beta-1", site="beta")
        await it.enrol("acme-1", site="acme")
        elsewhere = await refused(devices={"site": "acme", "ids": ["acme-1", "beta-1", "none"]})
        assert "not enrolled here at acme, or revoked: beta-1, none" in elsewhere, "nobody learns who is elsewhere"
        assert "not enrolled here, or revoked: press-77" in await refused(devices={"ids": ["press-1", "press-77"]})
        n = await it.begin()
        with pytest.raises(LinesideError, match="is running: it cannot go on"):
            await it.order(n, "resume")
        with pytest.raises(LinesideError, match="there is no rollout 77"):
            await it.order(77, "halt")

    with_store(database, work)


def test_each_device_gets_the_configuration_that_its_layers_make(database: str) -> None:
    async def work(store: Store) -> None:
        it = Fleet(store)
        for name, site in (("press-1", "a"), ("press-2", "b"), ("press-3", "c")):
            await it.enrol(name, site=site)
        layers = {
            "class/press": "drivers: {}\njournal: {keep: 2d}",
            "site/a": "journal: {keep: 3d}",
            "site/c": "journal: {keep: long}",
        }
        for name, body in layers.items():
            await store.write(lambda c, n=name, b=body: config.put(c, n, b, "li"))  # type: ignore[misc]
        n = await it.begin("config/site", waves=[])
        made = await it.column(n, "version")
        assert set(made) == {"press-1", "press-2"} and len(set(made.values())) == 2
        for device, version in made.items():
            assert (await it.wants(device, "site"))[0] == version
            assert await store.read(lambda c, v=version: config.document(c, v))  # type: ignore[misc]
        reason = (await it.rollout(n)).reason
        assert reason.startswith("1 left out, as press-3: site/c@1:1:") and "'long' is no duration" in reason

    with_store(database, work)
