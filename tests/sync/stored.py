"""The plane's store alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import select

from sync.control_plane import rollup, tables
from sync.control_plane.store import Store


def with_store(address: str, work: Callable[[Store], Awaitable[None]]) -> None:
    async def body() -> None:
        store = Store(address)
        try:
            await work(store)
        finally:
            store.close()

    asyncio.run(body())


def rolled(store: Store, device: str) -> None:
    """The hourly work for a device, of all hours, over or not."""
    t = tables.stale
    with store.engine.begin() as connection:
        for place in connection.execute(select(t).where(t.c.device == device)).mappings().all():
            rollup._settle(connection, place, rollup.made(connection, place))
