"""The plane's store alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sync.control_plane.store import Store


def with_store(address: str, work: Callable[[Store], Awaitable[None]]) -> None:
    async def body() -> None:
        store = Store(address)
        try:
            await work(store)
        finally:
            store.close()

    asyncio.run(body())
