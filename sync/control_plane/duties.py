"""What the plane does of itself as its file says: rules and forwarding."""

from __future__ import annotations

import asyncio
import time

from edge import log

from . import forwarding
from .forwarding import Forwarding
from .leader import Work
from .live import Hub
from .plane_file import PlaneFile
from .rules import Rules
from .store import Store
from .webhook import Webhook


class Duties:
    """`works` is what one process of the plane does at a time, begun anew wherever that is; nothing where there is no file. Raises
    ConfigFault where a target cannot be used."""

    def __init__(self, store: Store, hub: Hub, file: PlaneFile) -> None:
        self._store, self._hub, self._file = store, hub, file
        self._targets = {f"webhook {name}": Webhook(options) for name, options in file.webhooks.items()}
        self.works: list[Work] = [self._run] if file.given else []

    async def _run(self) -> None:
        """Raises StoreFault."""
        for name in await self._store.write(lambda c: forwarding.end(c, set(self._targets))):
            log.info("plane: nothing is forwarded to %s any more", name)
        log.info("plane: %d rules, %d targets of events", len(self._file.rules), len(self._targets))
        async with asyncio.TaskGroup() as group:
            group.create_task(Rules(self._store, self._hub, self._file.rules, time.time_ns()).run())
            for name, target in self._targets.items():
                group.create_task(Forwarding(self._store, name, target).run())
