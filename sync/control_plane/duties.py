"""What the plane does of itself as its file says: rules. One object that the plane starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from edge import log

from .live import Hub
from .plane_file import PlaneFile
from .rules import Rules
from .store import Store


class Duties:
    """Nothing runs, and nothing is read, where the file asks for nothing."""

    def __init__(self, store: Store, hub: Hub, file: PlaneFile) -> None:
        self._works: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []
        if file.rules or file.given:
            self._works.append(Rules(store, hub, file.rules, time.time_ns()).run)
        self._many = len(file.rules)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(work()) for work in self._works]
        if self._many:
            log.info("plane: %d rules are judged every minute", self._many)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
