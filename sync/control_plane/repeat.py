"""Work that is done again and again, also after a time without its database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from edge import LinesideError, log


async def repeat(work: Callable[[], Awaitable[None]], every: float, what: str) -> None:
    """`work()` every so many seconds until cancelled. A fault that heals is said once, with `what` comes of it."""
    trouble = ""
    while True:
        try:
            await work()
            trouble = ""
        except LinesideError as fault:
            if str(fault) != trouble:
                log.warning("plane: %s: %s", what, fault)
            trouble = str(fault)
        except Exception:
            log.exception("plane: %s", what)
        await asyncio.sleep(every)
