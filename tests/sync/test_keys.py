"""The secrets of devices: asked for together, never older than what was enrolled meanwhile."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy.event import listen

from sync.control_plane import keys as keys_module
from sync.control_plane import tables
from sync.control_plane.database import insert_new, upsert
from sync.control_plane.keys import Keys, Known
from sync.control_plane.standing import StoreFault
from sync.control_plane.store import Store
from tests.sync.stored import with_store


def row(device: str, secret: str) -> dict[str, Any]:
    return {"id": device, "secret": secret, "key": "k", "enrolled": 1.0, "seen": 0.0}


def known(secret: str) -> Known:
    return Known(secret, "k")


async def enrolled(store: Store, *names: str) -> None:
    rows = [row(name, f"key of {name}") for name in names]
    await store.write(lambda c: insert_new(c, tables.device, rows))


def questions(store: Store) -> list[str]:
    asked: list[str] = []
    listen(
        store.engine,
        "before_cursor_execute",
        lambda c, k, text, given, x, many: asked.append(text) if "FROM device" in text else None,
    )
    return asked


def test_thousands_that_come_at_once_are_a_few_questions(database: str) -> None:
    async def work(store: Store) -> None:
        names = [f"d{k}" for k in range(1200)]
        await enrolled(store, *names)
        keys, asked = Keys(store), questions(store)
        found = await asyncio.gather(*(keys.of(name) for name in [*names, "stranger", "no device/at all", *names]))
        wanted = [known(f"key of {name}") for name in names]
        assert found == [*wanted, None, None, *wanted] and len(asked) <= 5
        asked.clear()
        assert await keys.of("d7") == known("key of d7") and not asked
        assert await keys.of("stranger") is None and len(asked) == 1, "it may have been enrolled meanwhile"

    with_store(database, work)


def test_an_answer_that_was_under_way_takes_nothing_back(database: str) -> None:
    """A device is enrolled again while its old secret is read."""

    async def work(store: Store) -> None:
        await enrolled(store, "a", "b")
        keys, read, go = Keys(store), threading.Event(), threading.Event()

        def held(_c: Any, _k: Any, text: str, *_: Any) -> None:
            if "FROM device" in text and not read.is_set():
                read.set()
                assert go.wait(20)

        listen(store.engine, "after_cursor_execute", held)
        asked = asyncio.ensure_future(keys.of("a"))
        assert await asyncio.to_thread(read.wait, 20)
        await store.write(lambda c: upsert(c, tables.device, row("a", "another")))
        keys.put("a", known("another"))
        go.set()
        assert await asked == known("key of a"), "as it was when it was asked"
        assert await keys.of("a") == known("another")
        await store.write(lambda c: upsert(c, tables.device, row("b", "another")))
        assert await keys.of("b") == known("another")
        await store.write(lambda c: upsert(c, tables.device, row("b", "a third")))
        assert await keys.of("b") == known("another") and await keys.of("b", anew=True) == known("a third")
        await store.write(lambda c: upsert(c, tables.device, row("b", "a fourth")))
        keys.forget("b")
        assert await keys.of("b") == known("a fourth")

    with_store(database, work)


def test_a_database_that_is_away_is_told_to_each_who_waits_and_asked_again(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(store: Store) -> None:
        await enrolled(store, "a", "b")
        keys, glance = Keys(store), store.glance

        async def away(_: Any) -> Any:
            raise StoreFault("the plane cannot read: it is away")

        monkeypatch.setattr(store, "glance", away)
        found = await asyncio.gather(keys.of("a"), keys.of("b"), return_exceptions=True)
        assert all(isinstance(one, StoreFault) for one in found)
        monkeypatch.setattr(store, "glance", glance)
        assert await asyncio.gather(keys.of("a"), keys.of("b")) == [known("key of a"), known("key of b")]

    with_store(database, work)


def test_one_who_leaves_takes_no_answer_from_the_others(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "AT_ONCE", 2)

    async def work(store: Store) -> None:
        names = ["a", "b", "c", "d", "e"]
        await enrolled(store, *names)
        keys = Keys(store)
        tasks = [asyncio.ensure_future(keys.of(name)) for name in names]
        await asyncio.sleep(0)
        tasks[0].cancel()
        assert await asyncio.gather(*tasks[1:]) == [known(f"key of {name}") for name in names[1:]]

    with_store(database, work)
