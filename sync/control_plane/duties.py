"""What the plane does of itself as its file says: rules, forwarding, and telling people of alarms."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from edge import log

from . import alerting, channels, forward_state
from .alerting import Alerting
from .filing import Filing
from .forward_state import OWN
from .forward_target import Target
from .forwarding import Forwarding
from .leader import Work
from .live import Hub
from .plane_file import PlaneFile
from .publish import Broker
from .rules import Rules, standing
from .store import Store
from .unfiled import PREFIX
from .webhook import Webhook


class Duties:
    """`works` is what one process of the plane does at a time, begun anew wherever that is; hardly anything where there is no file.
    `folder` is for files on their way, `page` where people find the plane. Raises LinesideError where a target cannot be used."""

    def __init__(self, store: Store, hub: Hub, file: PlaneFile, folder: Path | None = None, page: str = "") -> None:
        self._store, self._hub, self._file, self._folder, self._page = store, hub, file, folder, page
        self._files()
        for target in self._targets().values():  # what is wrong with one is said at once
            target.close()
        self.works: list[Work] = [self._run if file.given else self._remind]

    def _targets(self) -> dict[str, Target]:
        found: dict[str, Target] = {f"webhook {name}": Webhook(given) for name, given in self._file.webhooks.items()}
        found |= {f"broker {name}": Broker(given) for name, given in self._file.brokers.items()}
        given = self._file.alerts.channels
        return found | {f"{OWN}{name}": channels.opened(name, options) for name, options in given.items()}

    def _files(self) -> dict[str, Filing]:
        given = {f"{PREFIX}{name}": options for name, options in self._file.parquet.items()}
        return {name: Filing(self._store, name, options, self._folder) for name, options in given.items()}

    async def _remind(self) -> None:
        """Without a file nothing of an earlier one ends: a start that forgot it loses nothing. Raises StoreFault."""
        left = [*await self._store.read(standing), *await self._store.read(forward_state.names)]
        if left:
            hint = "start the plane with --config FILE; one without rules and targets ends those of before"
            log.warning("plane: %d alarms and targets of an earlier start stand still: %s", len(left), hint)

    async def _run(self) -> None:
        """Raises StoreFault."""
        targets, files = self._targets(), self._files()
        alerts = self._file.alerts
        follows = {alerting.NAME} if alerts.routes else set()
        for name in await self._store.write(lambda c: forward_state.end(c, {*targets, *files, *follows})):
            log.info("plane: nothing is forwarded to %s any more", name)
        log.info("plane: %d rules, %d targets", len(self._file.rules), len(targets) + len(files))
        if not follows:
            await self._store.write(alerting.end)
        async with asyncio.TaskGroup() as group:
            group.create_task(Rules(self._store, self._hub, self._file.rules, time.time_ns()).run())
            for name, target in targets.items():
                aside = alerting.set_aside if name.startswith(OWN) else None
                group.create_task(Forwarding(self._store, name, target, aside).run())
            for filing in files.values():
                group.create_task(filing.run())
            if follows:
                group.create_task(Alerting(alerts, self._page).run(self._store, self._hub))
