"""Which devices are heard, which speak from two places, and who is no device any more: looked at for as long as the plane runs."""

from __future__ import annotations

import asyncio
import time

from edge import log

from .ca import Authority
from .callers import Callers
from .clones import Clones
from .heard import Heard, note
from .live import Hub
from .own import PLANE, doubled, raised, say
from .standing import StoreFault
from .store import Store

LOOK = 10.0  # seconds between two looks at who is revoked
MOST_RUN = 32  # characters of what a run of a device calls itself


class Presence:
    def __init__(self, store: Store, hub: Hub, authority: Authority, callers: Callers) -> None:
        self._store, self._hub, self._authority, self._callers = store, hub, authority, callers
        self._clones = Clones()
        self._heard = Heard()
        self._due: bool | None = None

    def saw(self, device: str) -> None:
        """It was heard."""
        self._heard.saw(device)

    async def asked(self, device: str, run: str) -> None:
        """It asked for orders, and calls this run of itself so."""
        self._heard.saw(device)
        if self._clones.saw(device, run[:MOST_RUN]):
            await self._clone(device, True)

    async def enrolled(self, device: str) -> None:
        """Its key is a new one: its double, if there was one, is none any more."""
        self._clones.forget(device)
        await self._clone(device, False)

    async def watch(self) -> None:
        """See who is revoked, who was heard, and whose double has gone, for as long as the plane runs."""
        remembers = not self._store.shared  # of several processes each would end what another one sees
        while True:
            try:
                for device in await self._store.glance(doubled) if remembers else ():
                    self._clones.stood(device)
                remembers = False
                await self.look()
            except StoreFault as error:
                log.warning("plane: cannot see who is revoked, nor keep who was heard: %s", error)
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        """Once. Raises StoreFault."""
        await self._callers.keys.look()
        await self._callers.signing.learn()
        if heard := self._heard.due():
            await self._store.write(lambda c: note(c, heard, time.time()))
        for device in self._clones.over():
            await self._clone(device, False)
        if self._due != (due := self._authority.due):
            text = "who signs certificates for this plane has a third of its time left: `lineside plane issuer --root-key FILE`"
            await self._alarm("issuer", due, "medium", text)
            self._due = due

    async def _clone(self, device: str, two: bool) -> None:
        text = f"{device} speaks from two places: its state folder was copied; revoke it, and enrol the right one anew"
        await self._alarm(f"clone {device}", two, "high", text)

    async def _alarm(self, key: str, stands: bool, severity: str, text: str) -> None:
        """An alarm of the plane's own."""
        if await self._store.glance(lambda c: raised(c, key)) == stands:
            return
        if await self._store.write(lambda c: say(c, key, stands, severity, text)):
            self._hub.tell({"kind": "events", "device": PLANE})
