"""What the plane does of itself as its file says: rules and forwarding. One object that the plane starts and stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from edge import log

from . import forwarding
from .forwarding import Forwarding
from .live import Hub
from .plane_file import PlaneFile
from .rules import Rules
from .store import Store
from .webhook import Webhook


class Duties:
    """Nothing of it runs where there is no file. Raises ConfigFault where a target cannot be used."""

    def __init__(self, store: Store, hub: Hub, file: PlaneFile) -> None:
        self._store, self._file = store, file
        self._works: list[Callable[[], Awaitable[None]]] = []
        self._tasks: list[asyncio.Future[None]] = []
        targets = {f"webhook {name}": Webhook(options) for name, options in file.webhooks.items()}
        self._targets = set(targets)
        if file.given:
            self._works = [Rules(store, hub, file.rules, time.time_ns()).run]
            self._works += [Forwarding(store, name, target).run for name, target in targets.items()]

    async def start(self) -> None:
        """Raises StoreFault."""
        if self._file.given:
            for name in await self._store.write(lambda c: forwarding.end(c, self._targets)):
                log.info("plane: nothing is forwarded to %s any more", name)
            log.info("plane: %d rules, %d targets of events", len(self._file.rules), len(self._targets))
        self._tasks = [asyncio.ensure_future(work()) for work in self._works]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
