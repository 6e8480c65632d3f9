"""The plane on PostgreSQL: what is only there. That it does the same as on SQLite, the tests beside this one say."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from edge import Batch, Event, LinesideError, encode, encode_event
from edge.cli import main
from sync import wire
from sync.control_plane import database, tables
from sync.control_plane.messages import Message, apply_frames
from sync.control_plane.store import Store, StoreFault
from sync.control_plane.where import Where, opened
from tests.postgres import Postgres, running
from tests.sync.test_spine import Rig

EPOCH = "0" * 16


@pytest.fixture
def empty(postgres: Postgres) -> str:
    return postgres.address(postgres.database())


def test_the_folder_remembers_the_database(tmp_path: Path, empty: str) -> None:
    opened(Where(tmp_path, database=empty)).close()
    assert (tmp_path / "database").stat().st_mode & 0o077 == 0, "it may hold a password"
    store = opened(Where(tmp_path))
    assert store.engine.dialect.name == "postgresql" and not (tmp_path / "plane.db").exists()
    store.close()
    opened(Where(tmp_path, database=f"sqlite:///{tmp_path / 'plane.db'}")).close()
    store = opened(Where(tmp_path))
    assert store.engine.dialect.name == "sqlite"
    store.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("plane.example", "no address (postgresql://USER@HOST/NAME"),
        ("mysql://plane.example/lineside", "PostgreSQL or SQLite, not in mysql"),
        ("postgresql://me:secret@/lineside?host=/nowhere", "`psql` with the same address"),
        ("postgresql://me@127.0.0.1:1/lineside", "refused"),
    ],
)
def test_an_address_that_leads_nowhere_is_told(
    tmp_path: Path, postgres: Postgres, capsys: pytest.CaptureFixture[str], address: str, words: str
) -> None:
    assert main(["plane", "--folder", str(tmp_path), "--database", address, "--port", "0", "--page-port", "0"]) == 2
    said = capsys.readouterr().err
    assert words in said and "secret" not in said and "Traceback" not in said
    assert not (tmp_path / "database").exists(), "only one that works is remembered"


def test_a_database_of_another_encoding_is_refused(postgres: Postgres) -> None:
    name = postgres.database("ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(LinesideError, match=r"LATIN1.*ENCODING 'UTF8'"):
        Store(postgres.address(name))


def test_without_its_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LinesideError, match=r"lineside\[postgres\]"):
        Store("postgresql://me@/lineside")


def test_a_commit_is_durable_whatever_the_database_was_told(empty: str) -> None:
    store = Store(empty)
    with store.engine.begin() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar()
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    store.close()
    store = Store(empty)
    for engine in (store.engine, store.writing, database.snapshots(store.engine)):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            raw: Any = connection.connection.driver_connection
            assert {name: int(raw.info.get_parameters()[name]) for name in database.WATCH} == database.WATCH
    store.close()


def test_two_planes_that_start_at_once_make_the_tables_once(empty: str) -> None:
    opened_here: list[Store] = []
    both = [threading.Thread(target=lambda: opened_here.append(Store(empty))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(opened_here) == 2
    for store in opened_here:
        store.close()


def test_an_event_with_what_postgresql_cannot_hold_is_kept_without_it(database: str) -> None:
    """NUL, and words longer than their column: refused, they would be lost for nothing."""
    event = encode_event(Event("alarm", "k" * 300 + "\0", "raised", 1, "high", "a\0b" * 3000, {"x": "\0"}))
    gap = encode_event(Event("gap", "k", "lost", 1, data={"stream": "s\0" * 300, "first": 1, "last": 2}))
    frames = [wire.Frame(EPOCH, "event", n, 1, 1, 1, body) for n, body in enumerate((event, gap), 1)]

    async def work() -> None:
        store = Store(database)
        assert (await store.write(lambda c: apply_frames(c, "d", frames)))["event"].watermark == 2
        t = tables.event
        key, text, data = await store.read(lambda c: tuple(c.execute(select(t.c.key, t.c.text, t.c.data)).first()))
        assert (key, text[:3], len(text), data) == ("k" * 200, "a\ufffdb", 2000, '{"x": "\\u0000"}')
        store.close()

    asyncio.run(work())


def test_the_database_away_and_back_loses_and_doubles_nothing(tmp_path: Path, postgres: Postgres) -> None:
    async def work(server: Postgres) -> None:
        async with Rig(tmp_path) as it:

            async def some() -> bool:
                return await it.count() > 10

            async def sealed() -> bool:
                return it.daemon.journal.totals.sealed > before

            await it.until(some)
            for _ in range(2):
                server.stop()
                with pytest.raises(StoreFault, match="the plane cannot read"):
                    await it.count()
                before = it.daemon.journal.totals.sealed + 2
                await it.until(sealed)
                server.start()
            assert await it.all_arrived() == it.daemon.journal.totals.appended

    with running() as server:
        (tmp_path / "plane").mkdir()
        (tmp_path / "plane" / "database").write_text(server.address(server.database()))
        asyncio.run(work(server))


def test_planes_on_databases_of_their_own_know_nothing_of_each_other(postgres: Postgres) -> None:
    stores = [Store(postgres.address(postgres.database())) for _ in range(2)]
    body = encode(Batch.of("plc", [1], [1.0], 1))
    blocks = [wire.Frame(EPOCH, "samples:plc", seq, 1, 1, 1, body) for seq in (1, 2)]

    async def work() -> None:
        for n, store in enumerate(stores, 1):
            assert (await store.write(Message("a", blocks[:n])))["samples:plc"].watermark == n
        for n, store in enumerate(stores, 1):
            held = await store.read(lambda c: c.execute(select(tables.block.c.seq)).all())
            assert len(held) == n
            store.close()

    asyncio.run(work())
