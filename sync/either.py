"""Waiting for whichever comes first."""

from __future__ import annotations

import asyncio
from typing import Any


async def either(*what: asyncio.Event | asyncio.Future[Any], timeout: float | None = None) -> None:
    """Until one of these events is set or one of these futures done, `timeout` seconds at most. Raises what a future of them did;
    leaves those that go on alone."""
    ours = [asyncio.ensure_future(one.wait()) for one in what if isinstance(one, asyncio.Event)]
    given = [one for one in what if isinstance(one, asyncio.Future)]
    try:
        await asyncio.wait([*ours, *given], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for one in given:
            if one.done():
                one.result()
    finally:
        for one in ours:
            one.cancel()
