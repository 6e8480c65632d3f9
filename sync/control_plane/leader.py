"""What one process of a plane does for all of them: forget what has aged, roll up.

Which one, PostgreSQL decides by an advisory lock that ends with its connection, so that another one takes over when the process
ends, freezes, or its machine is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import Engine

from edge import LinesideError, log

from .database import own_line

LEADS = 0x776F726B  # the advisory lock
LOOK, AGAIN = 2.0, 10.0  # seconds: between two looks at the lock, and until a work that failed begins anew
SILENT = 20.0  # seconds after which the lock of a process that says nothing is free; PostgreSQL 14 and newer

Work = Callable[[], Awaitable[Any]]


async def lead(engine: Engine, works: Sequence[Work]) -> None:
    """Run these works whenever no other process of the plane does. Until cancelled."""
    if engine.dialect.name != "postgresql":
        await _all(works)
        return
    said = ""
    while True:
        try:
            async with own_line(engine, "lineside plane works") as line:
                if line.info.server_version >= 140000:
                    await line.execute(f"SET idle_session_timeout = '{SILENT * 1000:.0f}ms'")
                await _while_first(line, works)
        except (LinesideError, OSError) as error:
            why = " ".join(str(error).split())
            if why != said:
                log.warning("plane: roll-ups and what ages wait: %s", why)
            said = why
        await asyncio.sleep(LOOK)


async def _while_first(line: Any, works: Sequence[Work]) -> None:
    """Wait for the lock, then work as long as it is ours. Raises LinesideError when it no longer is."""
    while not (await (await line.execute(f"SELECT pg_try_advisory_lock({LEADS})")).fetchone())[0]:
        await asyncio.sleep(LOOK)
    log.info("plane: this process does the roll-ups and what else is done once")
    working = asyncio.create_task(_all(works))
    try:
        while True:
            await asyncio.sleep(LOOK)
            await line.execute("SELECT 1")
    finally:
        working.cancel()
        await asyncio.wait([working])


async def _all(works: Sequence[Work]) -> None:
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(_again(work))


async def _again(work: Work) -> None:
    while True:
        try:
            await work()
            return
        except LinesideError as fault:
            log.warning("plane: %s; tried again", fault)
        except Exception:
            log.exception("plane: a work of the plane failed")
        await asyncio.sleep(AGAIN)
