"""Roll-ups: what a long chart shows is what the samples were, whenever they came."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError

from edge import Batch, CodecFault, Quality, decode, encode
from sync import wire
from sync.control_plane import database as migrated
from sync.control_plane import history, rollup, tables
from sync.control_plane.messages import Message, _take_blocks
from sync.control_plane.retention import forget_once
from sync.control_plane.rollup import HOUR, MINUTE, roll_once
from sync.control_plane.store import Store, StoreFault
from tests.sync.stored import rolled, with_store

EPOCH = "0" * 16
START = 500_000 * HOUR  # in 2027; a whole hour
NOW = START + 5 * HOUR
TAG = wire.Frame(EPOCH, "tag", 1, 0, 0, 1, msgpack.packb(["plc.a", "float64", "", {}, "plc"]))


def block(seq: int, ts: np.ndarray, value: np.ndarray, quality: Any = 0, tag: int = 1) -> wire.Frame:
    batch = Batch.of("plc", np.full(len(ts), tag, np.int32), value, ts, quality)
    return wire.Frame(EPOCH, "samples:plc", seq, int(ts.min()), int(ts.max()), len(ts), encode(batch))


def minute_blocks(first: int, many: int, seed: int = 1) -> list[wire.Frame]:
    """Blocks of a minute each from minute `first` on, a sample a second, of noise."""
    chance = np.random.default_rng(seed)
    seconds = np.arange(60, dtype=np.int64) * 10**9
    return [
        block(k + 1, START + k * MINUTE + seconds, chance.normal(size=60).round(3)) for k in range(first, first + many)
    ]


async def chart(store: Store, t0: int, t1: int, points: int = 20) -> tuple[np.ndarray, np.ndarray]:
    ts, value, _ = await store.read(lambda c: history.series(c, "a", "plc.a", t0, t1, points))
    return ts, value


async def rows(store: Store, table: Any) -> int:
    return int(await store.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar()) or 0)


async def roll_all(store: Store, now: int = NOW) -> None:
    while await roll_once(store, now):
        pass


def test_minutes_are_what_their_samples_were(database: str) -> None:
    async def work(store: Store) -> None:
        ts = START + np.array([1, 2, 59, 61, 130]) * 10**9
        quality = np.array([Quality.GOOD, Quality.GOOD, Quality.STALE, Quality.GOOD, Quality.TIMEOUT])
        frames = [block(1, ts, np.array([3.0, -1.0, 99.0, 5.0, np.nan]), quality), block(2, ts, np.arange(5.0), 0, 2)]
        await store.write(Message("a", [TAG, *frames]))
        await roll_all(store)
        body = await store.read(lambda c: c.execute(select(tables.rollup.c.body)).scalar())
        version, *columns = msgpack.unpackb(body)
        low, high, mean, n = (decode("", column) for column in columns)
        assert version == 1 and low.tag.tolist() == [1, 1, 1, 2, 2, 2]
        assert low.ts.tolist() == [START + k * MINUTE for k in (0, 1, 2)] * 2
        assert np.array_equal(low.value, [-1, 5, np.nan, 0, 3, 4], equal_nan=True)
        assert np.array_equal(high.value, [3, 5, np.nan, 2, 3, 4], equal_nan=True)
        assert np.array_equal(mean.value, [1, 5, np.nan, 1, 3, 4], equal_nan=True)
        assert n.value.tolist() == [2, 1, 0, 3, 1, 1]
        assert low.quality.tolist() == [Quality.STALE, Quality.GOOD, Quality.TIMEOUT, 0, 0, 0]

    with_store(database, work)


def test_a_long_chart_reads_roll_ups_and_shows_the_same_extremes(database: str) -> None:
    async def work(store: Store) -> None:
        sent = minute_blocks(0, 180)
        await store.write(Message("a", [TAG, *sent]))
        value = np.concatenate([decode("plc", f.body).value for f in sent])
        before = await chart(store, START, NOW)
        await roll_all(store)
        assert (await rows(store, tables.rollup), await rows(store, tables.stale)) == (3, 0)
        await store.write(lambda c: c.execute(tables.block.delete()))  # to be sure where it comes from
        after = await chart(store, START, NOW)
        for _, shown in (before, after):
            assert (shown.min(), shown.max()) == (value.min(), value.max())
        stream = {"device": "a", "epoch": EPOCH, "stream": "samples:plc"}
        hour = START + HOUR, START + 2 * HOUR - 1
        ((ts, shown),) = await store.read(lambda c: list(rollup.minutes(c, stream, 1, *hour)))
        assert ts.min() == START + HOUR and ts.max() < START + 2 * HOUR
        of_hour = value[3600:7200].reshape(60, 60)
        assert shown.reshape(60, 2).tolist() == np.stack((of_hour.min(axis=1), of_hour.max(axis=1)), axis=1).tolist()

    with_store(database, work)


def test_what_comes_late_is_in_the_chart_at_once_and_in_the_roll_up_later(database: str) -> None:
    async def work(store: Store) -> None:
        sent = minute_blocks(0, 120)
        late = block(121, np.array([START + 30 * MINUTE + 5]), np.array([1000.0]))
        await store.write(Message("a", [TAG, *sent]))
        await roll_all(store)
        await store.write(Message("a", [late]))
        assert (await chart(store, START, NOW))[1].max() == 1000.0
        assert await rows(store, tables.stale) == 1
        await roll_all(store)
        assert await rows(store, tables.stale) == 0
        await store.write(lambda c: c.execute(tables.block.delete()))
        assert (await chart(store, START, NOW))[1].max() == 1000.0

    with_store(database, work)


def test_a_block_that_comes_while_its_hour_is_rolled_up_leaves_it_stale(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(store: Store) -> None:
        first, second = minute_blocks(0, 2)
        await store.write(Message("a", [TAG, first]))
        (place,) = await store.read(lambda c: c.execute(select(tables.stale)).mappings().all())
        found = await store.read(lambda c: rollup.made(c, place))
        await store.write(Message("a", [second]))
        await store.write(lambda c: rollup._settle(c, place, found))
        assert (await rows(store, tables.rollup), await rows(store, tables.stale)) == (0, 1)
        await roll_all(store)
        assert await store.read(lambda c: c.execute(select(tables.rollup.c.n)).scalar()) == 120

    with_store(database, work)


def test_an_hour_that_is_not_over_waits(database: str) -> None:
    async def work(store: Store) -> None:
        await store.write(Message("a", [TAG, *minute_blocks(0, 90)]))
        await roll_all(store, START + 90 * MINUTE)
        assert (await rows(store, tables.rollup), await rows(store, tables.stale)) == (1, 1)
        ts, _ = await chart(store, START, START + 90 * MINUTE)
        assert ts.min() >= START and ts.max() > START + 89 * MINUTE - 10 * MINUTE

    with_store(database, work)


def test_roll_ups_outlive_their_samples_also_when_one_comes_late(database: str) -> None:
    async def work(store: Store) -> None:
        await store.write(Message("a", [TAG, *minute_blocks(0, 60)]))
        await roll_all(store)
        await forget_once(store, "samples", START + 2 * 24 * HOUR)
        assert await rows(store, tables.block) == 0
        await store.write(Message("a", [block(61, np.array([START + 1]), np.array([0.5]))]))
        await roll_all(store)
        assert await store.read(lambda c: c.execute(select(tables.rollup.c.n)).scalar()) == 3600
        assert len((await chart(store, START, NOW))[0]) > 1
        await forget_once(store, "rollups", START + 2 * HOUR)
        assert await rows(store, tables.rollup) == 0

    with_store(database, work)


def test_a_question_is_of_one_moment(database: str) -> None:
    """Else a block that is noted meanwhile would be neither among those with a note nor among those without."""

    async def work(store: Store) -> None:
        await store.write(Message("a", [TAG, *minute_blocks(0, 60)]))

        def ask(c: Connection) -> list[int]:
            noted = select(func.count()).select_from(tables.ledger)
            before = c.execute(noted).scalar()
            rolled(store, "a")
            return [before or 0, c.execute(noted).scalar() or 0]

        assert await store.read(ask) == [0, 0] and await rows(store, tables.ledger) > 0

    with_store(database, work)


CROSSING = block(1, START + np.array([0, 59, 61]) * MINUTE, np.arange(3.0))


async def stale_hours(store: Store) -> list[int]:
    return await store.read(lambda c: sorted(c.execute(select(tables.stale.c.hour)).scalars()))


def test_a_block_that_spans_the_end_of_an_hour_belongs_to_both(database: str) -> None:
    async def work(store: Store) -> None:
        await store.write(Message("a", [TAG, CROSSING]))
        assert await stale_hours(store) == [START // HOUR, START // HOUR + 1]
        await roll_all(store)
        assert await rows(store, tables.rollup) == 2

    with_store(database, work)


def test_the_blocks_of_an_older_plane_wait_for_their_roll_ups(
    without_tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    f = CROSSING
    row = {"device": "a", "epoch": EPOCH, "stream": f.stream, "seq": 1, "t0": f.t0, "t1": f.t1, "n": 3, "body": f.body}

    async def before(store: Store) -> None:
        await store.write(lambda c: c.execute(tables.block.insert().values(row)))

    async def after(store: Store) -> None:
        assert await stale_hours(store) == [START // HOUR, START // HOUR + 1]

    monkeypatch.setattr(migrated, "VERSION", "0004")
    with_store(without_tables, before)
    monkeypatch.undo()
    with_store(without_tables, after)


@pytest.mark.parametrize(
    "odd", [{"n": 2**31}, {"t0": -(2**63)}, {"t1": -(2**63)}, {"t0": 2**63 - 1}, {"t1": 2**63 - 1}]
)
def test_a_block_that_cannot_be_is_refused(database: str, odd: dict[str, int]) -> None:
    async def work(store: Store) -> None:
        first, second = minute_blocks(0, 2)
        with pytest.raises(CodecFault, match=r"block 1 of samples:plc: \d+ samples from .* cannot be"):
            await store.write(Message("a", [replace(first, **odd), second]))
        assert await rows(store, tables.block) == 0
        await store.write(Message("a", [second]))

    with_store(database, work)


def test_what_a_device_says_of_its_blocks_holds_up_no_other(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of blocks that an older plane took in. More hours than are looked at together, all older than the good one."""
    monkeypatch.setattr(rollup, "AT_ONCE", 3)

    async def work(store: Store) -> None:
        good, *small = minute_blocks(0, 3)
        many = [replace(f, n=2**31 - 1) for f in small]
        never = [replace(f, stream=f"samples:x{k}", t0=-(2**63), t1=-(2**63)) for k in range(4) for f in small]
        await store.write(lambda c: _take_blocks(c, [("bad", f) for f in [*many, *never]]))
        await store.write(Message("good", [TAG, good]))
        await roll_all(store)
        assert await rows(store, tables.stale) == 0
        found = await store.read(lambda c: c.execute(select(tables.rollup.c.device, tables.rollup.c.n)).all())
        assert sorted(map(tuple, found)) == [("bad", 120), ("good", 60)]
        assert await rows(store, tables.ledger) == 1 + 1 + len(never), "each block has a note"

    with_store(database, work)


@pytest.mark.parametrize("step", ["made", "_settle"])
def test_a_fault_of_ours_gives_up_one_hour_and_a_database_that_is_away_none(
    database: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async def work(store: Store) -> None:
        sent = minute_blocks(0, 120)
        await store.write(Message("a", [TAG, *sent]))
        plain = getattr(rollup, step)

        def away(*_: Any) -> Any:
            raise OperationalError("", {}, Exception("away"))

        def ours(connection: Connection, place: Any, *rest: Any) -> Any:
            if place["hour"] == START // HOUR:
                raise ZeroDivisionError
            return plain(connection, place, *rest)

        monkeypatch.setattr(rollup, step, away)
        with pytest.raises(StoreFault):
            await roll_once(store, NOW)
        assert (await rows(store, tables.rollup), await rows(store, tables.stale)) == (0, 2)
        monkeypatch.setattr(rollup, step, ours)
        await roll_all(store)
        assert (await rows(store, tables.rollup), await rows(store, tables.stale)) == (1, 0)
        assert await rows(store, tables.ledger) == 61 and await rows(store, tables.block) == 61

    with_store(database, work)
