"""Small blocks become large ones: the same samples, once, whatever comes again or is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from edge import Batch, decode, encode
from sync import wire
from sync.control_plane import compact, history, rollup, tables
from sync.control_plane.messages import Message
from sync.control_plane.store import Store
from tests.sync.stored import rolled, with_store
from tests.sync.test_rollups import EPOCH, START, TAG, block, minute_blocks

HOUR, MINUTE = rollup.HOUR, rollup.MINUTE


async def rows(store: Store) -> list[tuple[int, int | None, int]]:
    """(first, last number, samples) of each block."""
    b = tables.block
    wanted = select(b.c.seq, b.c.last, b.c.n).order_by(b.c.seq)
    return [tuple(row) for row in await store.read(lambda c: c.execute(wanted).all())]


async def samples(store: Store) -> list[tuple[Any, ...]]:
    """All of them, in the order of tag and time."""
    bodies = await store.read(lambda c: c.execute(select(tables.block.c.body)).scalars().all())
    found = [decode("", body) for body in bodies]
    return sorted(one for b in found for one in zip(b.tag, b.ts, b.value.view(np.int64), b.quality, strict=True))


def test_the_blocks_of_an_hour_become_one_and_say_the_same(database: str) -> None:
    async def work(store: Store) -> None:
        async def said() -> list[Any]:
            ts, value, _ = await store.read(
                partial(history.series, device="a", tag="plc.a", t0=START, t1=START + HOUR, points=9000)
            )
            return [await samples(store), ts.tolist(), value.tolist()]

        await store.write(Message("a", [TAG, *minute_blocks(0, 120)]))
        before = await said()
        rolled(store, "a")
        assert await rows(store) == [(1, 60, 3600), (61, 120, 3600)]
        assert await said() == before and len(before[1]) == 3601

    with_store(database, work)


def test_what_is_sent_again_is_known_in_a_large_block_too(database: str) -> None:
    async def work(store: Store) -> None:
        sent = minute_blocks(0, 60)
        await store.write(Message("a", sent))
        rolled(store, "a")
        answer = await store.write(Message("a", [sent[0], sent[30], sent[59]]))
        assert answer["samples:plc"].watermark == 60
        assert await rows(store) == [(1, 60, 3600)]

    with_store(database, work)


def test_what_is_late_joins_and_a_hole_stays_a_hole(database: str) -> None:
    async def work(store: Store) -> None:
        sent = minute_blocks(0, 60)
        await store.write(Message("a", sent[:20] + sent[25:]))
        rolled(store, "a")
        assert await rows(store) == [(1, 20, 1200), (26, 60, 2100)]
        await store.write(Message("a", sent[20:24]))
        rolled(store, "a")
        assert await rows(store) == [(1, 24, 1440), (26, 60, 2100)]
        await store.write(Message("a", sent))
        rolled(store, "a")
        assert await rows(store) == [(1, 60, 3600)]
        rolled(store, "a")
        assert len(set(await samples(store))) == len(await samples(store)) == 3600

    with_store(database, work)


def test_what_cannot_be_read_stays_as_it_came(database: str) -> None:
    async def work(store: Store) -> None:
        sent = minute_blocks(0, 3)
        spoiled = wire.Frame(EPOCH, "samples:plc", 2, sent[1].t0, sent[1].t1, 60, b"\1nothing")
        await store.write(Message("a", [sent[0], spoiled, sent[2]]))
        rolled(store, "a")
        assert await rows(store) == [(1, None, 60), (2, None, 60), (3, None, 60)]

    with_store(database, work)


def test_a_large_block_grows_up_to_a_bound(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "MOST", 600)

    async def work(store: Store) -> None:
        await store.write(Message("a", minute_blocks(0, 25)))
        for _ in range(2):
            rolled(store, "a")
            assert (await rows(store))[:3] == [(1, 10, 600), (11, 20, 600), (21, 25, 300)]
            await store.write(Message("a", minute_blocks(50, 1)))

    with_store(database, work)


def test_a_block_that_would_not_say_the_same_is_not_made(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "encode", lambda batch: encode(batch.where(slice(0, len(batch) - 1))))

    async def work(store: Store) -> None:
        await store.write(Message("a", minute_blocks(0, 5)))
        rolled(store, "a")
        assert len(await rows(store)) == 5

    with_store(database, work)


def test_samples_of_many_kinds_come_through(database: str) -> None:
    """Changing tags, qualities, no numbers, several at one time, a clock that goes back."""
    chance = np.random.default_rng(7)

    def odd(seq: int) -> wire.Frame:
        n = int(chance.integers(1, 40))
        ts = START + MINUTE * seq + chance.integers(-90, 30, n) * 10**9
        value = np.where(chance.random(n) < 0.2, np.nan, chance.normal(size=n))
        batch = Batch.of("plc", chance.integers(1, 4, n).astype(np.int32), value, ts, chance.choice([0, 0, 2, 6], n))
        return wire.Frame(EPOCH, "samples:plc", seq, int(ts.min()), int(ts.max()), n, encode(batch))

    async def work(store: Store) -> None:
        await store.write(Message("a", [odd(seq) for seq in range(1, 50)]))
        before = await samples(store)
        rolled(store, "a")
        assert await samples(store) == before and len(await rows(store)) < 10

    with_store(database, work)


def test_a_kill_in_the_middle_loses_and_doubles_nothing(database: str) -> None:
    async def work(store: Store) -> None:
        await store.write(Message("a", [*minute_blocks(0, 30), block(31, np.array([START + 1]), np.array([0.5]))]))

    with_store(database, work)
    done = subprocess.run(
        [sys.executable, "-m", "tests.sync.killed", database], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) > 5 and said[:-1] == [[True, 31, 1801, 1]] * (len(said) - 1)
    assert said[-1] == [False, 1, 1801, 0]
