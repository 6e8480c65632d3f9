"""Work that may hang for long, on a thread of its own: it takes nobody else's turn, and never holds up the end of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def apart(name: str, work: Callable[[], T]) -> T:
    """What `work()` returns or raises. Cancelled, it leaves `work` alone: whoever cancels has to end it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(answer: T | None, fault: Exception | None) -> None:
        if not done.done():
            done.set_exception(fault) if fault else done.set_result(answer)  # type: ignore[arg-type]

    def run() -> None:
        answer, fault = None, None
        try:
            answer = work()
        except Exception as error:
            fault = error
        try:
            loop.call_soon_threadsafe(settle, answer, fault)
        except RuntimeError:  # the loop has ended
            return

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
