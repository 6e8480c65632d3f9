"""What the plane forgets by age, and the days of its blocks on PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

import msgpack
from sqlalchemy import select
from sqlalchemy.event import listen

from edge import Batch, Event, encode, encode_event
from edge.cli import main
from sync import wire
from sync.control_plane import database as plane_database
from sync.control_plane import days, history, tables
from sync.control_plane.database import insert_new, snapshots
from sync.control_plane.messages import Message
from sync.control_plane.pictures import Pictures
from sync.control_plane.retention import CLASSES, forget_once
from sync.control_plane.rollup import roll
from sync.control_plane.store import Store
from tests.postgres import Postgres
from tests.sync.stored import rolled, with_store

EPOCH, NOW = "0" * 16, time.time_ns()
DAY = days.DAY


def block(seq: int, ts: int) -> wire.Frame:
    return wire.Frame(EPOCH, "samples:plc", seq, ts, ts, 1, encode(Batch.of("plc", [1], [float(seq)], ts)))


async def numbers(store: Store) -> list[int]:
    t = tables.block
    return list(await store.read(lambda c: c.execute(select(t.c.seq).order_by(t.c.seq)).scalars()))


async def homes(store: Store) -> dict[int, str]:
    """In which partition each block lies."""
    wanted = "SELECT seq, tableoid::regclass::text FROM block"
    return await store.read(lambda c: dict(c.exec_driver_sql(wanted).tuples().all()))


def day_of(ts: int) -> str:
    return time.strftime("block_%Y%m%d", time.gmtime(ts // 10**9))


def test_samples_leave_by_their_age_and_do_not_come_back(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane_database, "FEW", 2)

    async def work(store: Store) -> None:
        old = [block(k, NOW - 100 * DAY + k) for k in range(1, 6)]
        unset, young, fresh = block(6, 5 * DAY), block(7, NOW - 50 * DAY), block(8, NOW)
        await store.write(Message("a", [*old, unset, young, fresh]))
        rolled(store, "a")
        assert await forget_once(store, "samples", NOW - 60 * DAY)
        assert await numbers(store) == [6, 7, 8], "and not what a clock that was never set calls old"
        answer = await store.write(Message("a", old))
        assert answer["samples:plc"].watermark == 8 and await numbers(store) == [6, 7, 8]
        assert await forget_once(store, "samples", NOW - 60 * DAY) == 0
        for name in (*CLASSES, "rollouts"):
            assert await forget_once(store, name, NOW - 2**65) == 0, "kept for a thousand years"

    with_store(database, work)


def test_events_and_pictures_leave_by_their_age(database: str) -> None:
    async def work(store: Store) -> None:
        ages = {1: NOW - 100 * DAY, 2: NOW, 3: 0}
        events = [wire.Frame(EPOCH, "event", n, t, t, 1, encode_event(Event("k", "x", ts=t))) for n, t in ages.items()]
        await store.write(Message("a", events))
        pictures = [{"digest": str(n), "media": "image/png", "body": b"", "stored": t / 1e9} for n, t in ages.items()]
        await store.write(lambda c: insert_new(c, tables.picture, pictures[:2]))
        await store.write(lambda c: insert_new(c, tables.picture, [{"digest": "9", "media": "image/png", "body": b""}]))
        assert await forget_once(store, "events", NOW - 60 * DAY) == 1
        assert await Pictures(store).forget((NOW - 60 * DAY) / 1e9) == 1
        found = await store.read(
            lambda c: list(c.execute(select(tables.event.c.seq).order_by(tables.event.c.seq)).scalars())
        )
        assert found == [2, 3]
        found = await store.read(lambda c: sorted(c.execute(select(tables.picture.c.digest)).scalars()))
        assert found == ["2", "9"]

    with_store(database, work)


def test_each_day_has_its_own_table(postgres: Postgres) -> None:
    async def work(store: Store) -> None:
        times = {1: NOW - 2 * DAY, 2: NOW, 3: NOW, 4: 5 * DAY, 5: NOW + 3 * DAY}
        await store.write(Message("a", [block(seq, ts) for seq, ts in times.items()]))
        far = {4: "block_other", 5: "block_other"}
        assert await homes(store) == {seq: day_of(ts) for seq, ts in times.items()} | far
        await store.write(lambda c: days.prepare(c, [NOW + 3 * DAY], NOW + 3 * DAY))
        assert (await homes(store))[5] == day_of(NOW + 3 * DAY), "a stray moves to its day when that has come"
        await forget_once(store, "samples", NOW - DAY)
        assert len(await homes(store)) == 5, "not before it is rolled up"
        rolled(store, "a")
        await forget_once(store, "samples", NOW - DAY)
        assert await homes(store) == {2: day_of(NOW), 4: "block_other", 5: day_of(NOW + 3 * DAY)}, "2 and 3 are one now"
        await store.write(Message("b", [block(1, NOW - 2 * DAY)]))  # late, of a day that is gone
        await store.write(Message("b", [block(2, NOW - 2 * DAY)]))
        rolled(store, "b")
        await forget_once(store, "samples", NOW - DAY)
        assert len(await homes(store)) == 3

    with_store(postgres.address(postgres.database()), work)


def test_who_reads_long_stops_nobody(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup, say. What comes of a new day shares `block_other` until then; a day that has aged stays that long."""
    monkeypatch.setattr(days, "AGAIN", 0.0)

    async def work(store: Store) -> None:
        await store.write(Message("a", [block(1, NOW - 2 * DAY), block(2, NOW - 5 * DAY)]))
        rolled(store, "a")
        with snapshots(store.engine).connect() as reading:
            assert reading.execute(select(tables.block)).all()
            await store.write(Message("a", [block(3, NOW)]))
            assert (await homes(store))[3] == "block_other"
            assert await forget_once(store, "samples", NOW - DAY) == 0
            await store.write(Message("b", [block(1, NOW - 2 * DAY)]))
        await store.write(Message("a", [block(4, NOW)]))
        assert set((await homes(store)).values()) == {day_of(NOW - 5 * DAY), day_of(NOW - 2 * DAY), day_of(NOW)}
        await forget_once(store, "samples", NOW - DAY)
        assert set((await homes(store)).values()) == {day_of(NOW - 2 * DAY), day_of(NOW)}, (
            "one waits for its roll-up again"
        )

    with_store(postgres.address(postgres.database()), work)


def test_the_days_to_come_are_made_before_they_are_needed(postgres: Postgres) -> None:
    async def work(store: Store) -> None:
        made = f"SELECT to_regclass('{day_of(time.time_ns() + DAY)}')"
        rolling = asyncio.ensure_future(roll(store))
        async with asyncio.timeout(120):
            while not await store.read(lambda c: c.exec_driver_sql(made).scalar()):
                await asyncio.sleep(0.01)
        rolling.cancel()

    with_store(postgres.address(postgres.database()), work)


def test_a_chart_reads_its_days_only(postgres: Postgres) -> None:
    asked: list[tuple[str, Any]] = []

    async def work(store: Store) -> None:
        tag = wire.Frame(EPOCH, "tag", 1, 0, 0, 1, msgpack.packb(["plc.a", "float64", "", {}, "plc"]))
        await store.write(Message("a", [tag, *(block(k, NOW - (9 - k) * DAY) for k in range(1, 10))]))
        listen(store.engine, "before_cursor_execute", lambda c, k, text, given, x, many: asked.append((text, given)))
        ts, _, _ = await store.read(lambda c: history.series(c, "a", "plc.a", NOW - DAY, NOW, 5000))
        assert len(ts) == 2
        ((text, given),) = [(text, given) for text, given in asked if "FROM block" in text]
        plan = await store.read(lambda c: "\n".join(c.exec_driver_sql(f"EXPLAIN {text}", given).scalars()))
        assert day_of(NOW) in plan and day_of(NOW - 5 * DAY) not in plan

    with_store(postgres.address(postgres.database()), work)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("frames=1d", "names no class of samples, rollups, events, pictures"),
        ("samples=soon", "no duration"),
        ("events=1s", "less than"),
    ],
)
def test_what_cannot_be_kept_is_told(capsys: pytest.CaptureFixture[str], given: str, words: str) -> None:
    assert main(["plane", "--keep", given]) == 2 and words in capsys.readouterr().err
