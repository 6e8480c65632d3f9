"""Several processes on one PostgreSQL: what two of them take in at once is there once, and none of it is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import Connection, func, select, text
from starlette.requests import Request

from edge import Cursor, Event, decode, encode_event
from sync import wire
from sync.control_plane import database, hold, tables
from sync.control_plane.ca import Authority
from sync.control_plane.ingest import Ingest
from sync.control_plane.live import Hub
from sync.control_plane.messages import Message, apply_frames
from sync.control_plane.rollup import roll_once
from sync.control_plane.standing import stands
from sync.control_plane.store import Store
from tests.postgres import Postgres
from tests.sync.enrolled import Shown, shown
from tests.sync.test_rollups import EPOCH, NOW, TAG, minute_blocks

DEVICES = ("a", "b", "c")
STREAM = "samples:plc"


@pytest.fixture
def shared(postgres: Postgres) -> str:
    return postgres.address(postgres.database())


@contextlib.asynccontextmanager
async def two(address: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two processes' stores on one database, which knows the devices."""
    stores = Store(address), Store(address)
    rows = [{"id": name, "secret": wire.key_of("old"), "enrolled": 0.0, "seen": 0.0} for name in DEVICES]
    await stores[0].write(lambda c: c.execute(tables.device.insert(), rows))
    try:
        async with asyncio.timeout(120):
            yield stores
    finally:
        for store in stores:
            store.close()


def run(work: Callable[..., Any], *arguments: Any) -> None:
    asyncio.run(work(*arguments))


async def waits(store: Store) -> bool:
    """Whether anybody waits for what another one holds."""
    wanted = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return bool(await store.read(lambda c: c.execute(wanted).scalar()))


async def until(true: Callable[[], Any]) -> None:
    while not await true():
        await asyncio.sleep(0.01)


def told(seq: int) -> wire.Frame:
    return wire.Frame(EPOCH, "event", seq, 1, 1, 1, encode_event(Event("gap", "plc", "lost", 1)))


def test_what_two_take_in_at_once_is_there_once_and_all_acknowledged(shared: str) -> None:
    """Without a hold one would write over where the stream stands for the other."""

    async def work() -> None:
        frames = [[block, told(block.seq)] for block in minute_blocks(0, 120)]
        async with two(shared) as (one, other):

            async def sends(store: Store, part: list[list[wire.Frame]]) -> None:
                for frames in part:
                    answers = await asyncio.gather(*(store.write(Message(name, frames)) for name in DEVICES))
                    assert all({STREAM, "event"} == answer.keys() for answer in answers)

            await asyncio.gather(sends(one, frames[::2]), sends(other, frames[1::2]))
            await asyncio.gather(sends(one, frames[:20]), sends(other, frames[19::-1]))  # and again
            for name in DEVICES:
                found = await one.read(lambda c, d=name: stands(c, d, EPOCH))
                assert found == {STREAM: Cursor(120), "event": Cursor(120)}, "what was acknowledged stays acknowledged"
            for table in (tables.block, tables.event):
                number = select(func.count()).select_from(table)
                assert await one.read(lambda c, n=number: c.execute(n).scalar()) == 360

    run(work)


def test_two_that_wait_for_each_other_both_arrive(shared: str) -> None:
    async def work() -> None:
        seen, both = list[str](), threading.Barrier(2)

        def order(first: str, second: str) -> Callable[[Connection], None]:
            def held(connection: Connection) -> None:
                hold.devices(connection, [first])
                seen.append(first)
                if seen.count(first) == 1:  # and not when it is done again
                    both.wait(20)
                    hold.devices(connection, [second])

            return held

        async with two(shared) as (one, other):
            await asyncio.gather(one.write(order("a", "b")), other.write(order("b", "a")))
            assert len(seen) == 3, "one was given up and done again"

    run(work)


def test_a_block_that_comes_while_its_hour_is_rolled_up_is_on_long_charts_too(shared: str) -> None:
    async def work() -> None:
        first, second = minute_blocks(0, 1), minute_blocks(1, 1)
        async with two(shared) as (ingest, worker):
            await ingest.write(Message("a", [TAG, *first]))
            with ingest.engine.connect() as connection:
                hold.devices(connection, ["a"])
                apply_frames(connection, "a", second)  # its hour is marked already, and not committed
                rolled = asyncio.ensure_future(roll_once(worker, NOW))

                async def held_up() -> bool:
                    return rolled.done() or await waits(worker)

                await until(held_up)
                connection.commit()
            await rolled
            while await roll_once(worker, NOW):
                pass
            body = await worker.read(lambda c: c.execute(select(tables.rollup.c.body)).scalar())
            assert decode("", msgpack.unpackb(body)[-1]).value.sum() == 120

    run(work)


def test_orders_of_two_processes_reach_their_device_each_and_in_order(tmp_path: Path, shared: str) -> None:
    async def work() -> None:
        authority, t, seen = Authority(tmp_path), tables.command, []
        async with two(shared) as stores:
            planes = [Ingest(store, Hub(), authority) for store in stores]
            given = [planes[k % 2].command("a", "ack", {"n": k}) for k in range(200)]
            everything = asyncio.ensure_future(asyncio.gather(*given))
            ended = False
            while not ended:
                ended = everything.done()
                above = select(t.c.number).where(t.c.number > (seen[-1] if seen else 0)).order_by(t.c.number)
                seen += await stores[0].read(lambda c, q=above: list(c.scalars(q)))
            await everything
            assert len(seen) == 200

    run(work)


def test_a_process_that_is_frozen_holds_nobody_up(shared: str) -> None:
    async def work() -> None:
        async with two(shared) as (one, other):
            with one.engine.connect() as frozen:
                limit = "idle_in_transaction_session_timeout"
                assert frozen.exec_driver_sql(f"SHOW {limit}").scalar() == f"{database.FROZEN:.0f}s"
                frozen.exec_driver_sql(f"SET {limit} = 3000")  # ms, not to wait for it here
                frozen.commit()
                hold.devices(frozen, ["a"])  # and nothing more comes
                assert (await other.write(Message("a", minute_blocks(0, 1))))[STREAM].watermark == 1
                frozen.invalidate()

    run(work)


def test_who_is_enrolled_again_at_one_process_is_known_at_the_other(tmp_path: Path, shared: str) -> None:
    async def work() -> None:
        authority = Authority(tmp_path)
        async with two(shared) as stores:
            one, other = (Ingest(store, Hub(), authority) for store in stores)

            old, new, guess = (shown(authority, "a") for _ in range(3))

            async def knows(plane: Ingest, who: Shown) -> bool:
                return await plane.callers.device(Request({"type": "http", "headers": [], **who.scope})) == "a"

            async def holds(who: Shown) -> None:
                fresh = tables.device.update().where(tables.device.c.id == "a").values(key=who.row["key"])
                await stores[0].write(lambda c: c.execute(fresh))

            await holds(old)
            assert await knows(one, old) and await knows(other, old)
            await holds(new)
            assert await knows(one, new) and await knows(other, new)
            assert not await knows(one, old) and not await knows(other, guess)

    run(work)
