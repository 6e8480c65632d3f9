"""Configurations of the plane: fetched, tried by the daemon as `lineside apply` would, and what a person writes here beside them
told as a draft."""

from __future__ import annotations

import asyncio
import hashlib
import re

from edge import Host, LinesideError, log

from ..updates.manifest import parted
from .transport import Refused, Stranger, Transport
from .twin import Tell, Want
from .twin_updates import Brought

NAME = "site"
DIGEST = re.compile(r"[0-9a-f]{16}")
SOME = 5  # lines of a draft in what is told


class Missing(LinesideError):
    """What is wanted is not there yet, or no more."""

    heals = True


class Configs:
    """Of one device. What runs outlives the link and this very object: a configuration may change `sync:` itself. With `signed` the
    plane is not enough: a configuration is taken where those have signed it who sign updates."""

    def __init__(self, host: Host, transport: Transport, brought: Brought, signed: bool) -> None:
        self._sent, self._host, self._transport = host.sent, host, transport
        self._brought, self._signed = brought, signed
        self._told: str | None = None  # the draft that the plane has, as far as we know

    def running(self, name: str) -> str:
        return str(self._sent.running) if name == NAME else ""

    async def __call__(self, want: Want, tell: Tell) -> None:
        if want.name != NAME:
            raise LinesideError(f"a device has one configuration, and it is called {NAME!r}")
        sent = self._sent
        if want.version and want.version == sent.running and sent.stands.ended.generation != want.generation:
            await asyncio.to_thread(sent.settle, want.generation)
        elif sent.stands.ended.generation != want.generation:
            text = await self._fetch(want, tell) if want.version else None
            tell("trying", "")
            await sent.take(self._host, want.generation, want.version, text)
        tell(sent.stands.ended.state, await self._words(want))
        await self.look(want, tell)

    async def look(self, want: Want, tell: Tell) -> None:
        """What was tried may run no more, and a person may have written a draft."""
        sent = self._sent
        ended = sent.stands.ended
        if ended.generation == want.generation:  # else it was refused before it was tried
            state = ended.state
            if state == "running" and sent.running != want.version:
                state = "rolled_back" if sent.trouble else "draft"
            tell(state, await self._words(want))
        draft = await asyncio.to_thread(sent.draft) or ""
        if draft != self._told:
            await self._show(draft)
            self._told = draft

    async def _show(self, draft: str) -> None:
        """To the plane. One that it does not take, as for its size, is not sent again and again: the line is there for the rest."""
        try:
            await self._transport.exchange("PUT", "/d/v1/draft", draft.encode())
        except Stranger:
            raise
        except Refused as error:
            log.warning("sync: the plane cannot show what was written at this device: %s", error)

    async def _words(self, want: Want) -> str:
        sent = self._sent
        if sent.stands.ended.state != "running":
            return str(sent.stands.ended.reason)
        if sent.trouble:
            return str(sent.trouble)
        draft = await asyncio.to_thread(sent.draft)
        lines = await asyncio.to_thread(sent.drift, draft) if draft else []
        if sent.running != want.version:
            return f"{sent.own.name} was applied at the device and runs: {_some(lines)}"
        return f"{sent.own.name} was edited since and does not run: {_some(lines)}" if draft else ""

    async def _fetch(self, want: Want, tell: Tell) -> str:
        """A digest names a document of the plane, NAME-VERSION an artefact that is signed."""
        if not DIGEST.fullmatch(want.version):
            _, name, version = parted(f"config/{want.version}")
            place = await self._brought(want._replace(name=name, version=version), tell)
            return await asyncio.to_thread(place.read_text, "utf-8")
        if self._signed:
            hint = "sign it as config/NAME-VERSION, and have that wanted"
            raise LinesideError("this site takes no configuration that is not signed", hint=hint)
        try:
            body = await self._transport.exchange("GET", f"/d/v1/config/{want.version}")
        except Refused as error:
            if error.status == 404:
                raise Missing(f"the plane has no configuration {want.version}", hint="send it again") from None
            raise
        if hashlib.sha256(body).hexdigest()[: len(want.version)] != want.version:
            raise LinesideError("what the plane gave is not the configuration that it wants")
        return body.decode()


def _some(lines: list[str]) -> str:
    more = f"; and {len(lines) - SOME} more" if len(lines) > SOME else ""
    return "; ".join(lines[:SOME]) + more or "it says the same"
