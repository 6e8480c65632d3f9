"""What every request of people passes, before anything of it is read: how often and how much, and one row of the audit for each
change that somebody known here asked for, before they hear how it ended."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge import LinesideError

from .audit import Deed, record
from .ca import Authority
from .limits import Limits
from .permissions import CHANGES, TABLE
from .shown import speaker
from .store import Store
from .unended import Under

RATE, BURST = 200.0, 1000.0  # requests a second of one address, and at once
MOST_BODY = 2**20  # bytes, of a request to a route that is not among LARGE
LARGE = {"/api/cases/file": 4 * 2**20, "/api/assets/import": 8 * 2**20}  # how a path begins that takes more -> bytes
TRIED, TRIES = 0.5, 100.0  # rows a second of strangers at one address, and at once: the audit is never forgotten
DEVICE_RATE, DEVICE_BURST = 100.0, 2000.0  # the same of one device, on its own listener


class Measured:
    """The devices' listener: none of them, and no stranger's address, takes the time of the others."""

    def __init__(self, application: ASGIApp, authority: Authority) -> None:
        self._application, self._authority = application, authority
        self._limits = Limits(DEVICE_RATE, DEVICE_BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (wait := self._limits.take(speaker(scope, self._authority))):
            await _refused(429, "this device asks too often", scope, receive, send, wait)
        else:
            await self._application(scope, receive, send)


class TooLarge(Exception):
    """A body beyond what its route takes."""


class Entrance:
    """`application` behind it serves no request that is not let in here."""

    def __init__(self, application: ASGIApp, store: Store) -> None:
        self._application, self._store = application, store
        self._limits, self._strangers = Limits(RATE, BURST), Limits(TRIED, TRIES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        origin = (scope.get("client") or ("",))[0]
        if wait := self._limits.take(origin):
            await _refused(429, "too many requests from this address", scope, receive, send, wait)
            return
        await _Request(scope, receive, send, origin, self._store, self._strangers).served(self._application)


class _Request:
    """One request on its way."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, origin: str, store: Store, strangers: Limits
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._origin, self._store, self._strangers = origin, store, strangers
        self._most = next((most for start, most in LARGE.items() if scope["path"].startswith(start)), MOST_BODY)
        self._body, self._size = hashlib.sha256(), 0
        self._state: dict[str, Any] = scope.setdefault("state", {})
        self._state["origin"] = origin
        self._answered = self._dropped = False
        self._under = Under(lambda: self._deed(""))

    async def served(self, application: ASGIApp) -> None:
        said = dict(self._scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or len(said) > 15 or int(said) > self._most:
            await self._too_large()
            return
        with contextlib.suppress(TooLarge), self._under.way():
            await application(self._scope, self._read, self._say)
        if self._size > self._most and not self._answered:
            await self._too_large()

    async def _too_large(self) -> None:
        self._answered = self._dropped = True
        await _refused(413, f"more than {self._most:,} bytes", self._scope, self._receive, self._send)

    async def _read(self) -> Message:
        message = await self._receive()
        body = message.get("body", b"")
        self._size += len(body)
        if self._size > self._most:
            raise TooLarge
        self._body.update(body)
        return message

    async def _say(self, message: Message) -> None:
        if self._size > self._most and not self._answered:
            await self._too_large()  # whatever the application made of it
        elif message["type"] == "http.response.start":
            if deed := self._deed(str(message["status"])):
                await self._recorded(deed)
            self._answered = True
        if not self._dropped:
            await self._send(message)

    async def _recorded(self, deed: Deed) -> None:
        """Before anybody hears how it ended. What strangers try beyond so often has no row, and no other answer than that."""
        if self._state.get("asker") is None and (wait := self._strangers.take(self._origin)):
            self._dropped = True
            await _refused(429, "too many tries from this address", self._scope, self._receive, self._send, wait)
            return
        try:
            await self._store.write(self._under.ends(record, deed))
        except LinesideError as error:
            self._dropped = True
            said = f"it cannot be recorded who did this, so do not rely on it: {error}"
            await _refused(503, said, self._scope, self._receive, self._send)

    def _deed(self, result: str) -> Deed | None:
        """What is recorded of it, if anything."""
        what, asker, told = (self._state.get(name) for name in ("what", "asker", "told"))
        need = TABLE.get(what or "")
        if what is None or need is None or not (need.recorded or self._scope["method"] in CHANGES):
            return None
        if asker is None and not need.recorded:
            return None  # nobody in particular, and nothing was done
        said = self._size and not (need.recorded or need.secret)  # of a password nothing is kept here
        more = {"after": self._body.hexdigest() if said else "", **(told or {})}
        more.setdefault("about", self._state.get("about", ""))
        more.setdefault("place", self._state.get("place", ""))
        return Deed(asker.name if asker else "", self._origin, what, result=result, **more)


async def _refused(status: int, why: str, scope: Scope, receive: Receive, send: Send, wait: float = 0.0) -> None:
    headers = {"Retry-After": str(round(wait + 0.5) or 1)} if wait else {}
    await JSONResponse({"detail": why}, status, headers)(scope, receive, send)
