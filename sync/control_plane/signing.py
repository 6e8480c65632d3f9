"""Certificates that are signed for devices, and who may have signed those that are shown: what the processes of a plane tell each
other of it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import Request

from . import issuers
from .ca import Asked, Authority
from .shown import Who, who
from .store import Store

AT_ONCE = 4  # certificates that are signed at once: a command may take long
REPEATED = 10.0  # seconds in which a device gets the same one of a command again
MOST_FRESH = 1000  # devices that one is kept for
AGAIN = 1.0  # seconds between two questions for an issuer that is not known


class Signing:
    def __init__(self, store: Store, authority: Authority) -> None:
        self._store, self._authority = store, authority
        self._asked, self._told, self._disowned = -AGAIN, list[str](), b""
        self._fresh: OrderedDict[str, tuple[float, bytes]] = OrderedDict()  # by device and key: when, and what
        self._threads = ThreadPoolExecutor(AT_ONCE, "signs")

    async def sign(self, asked: Asked) -> bytes:
        """Certificates (PEM) for an enrolled device, and what it is told of issuers that count no more. Raises LinesideError."""
        return await self._signed(asked) + self._disowned

    async def _signed(self, asked: Asked) -> bytes:
        """Of a command's: those of a moment ago, where there are some, so that nobody keeps it busy."""
        which = f"{asked.device} {asked.key}"
        then, signed = self._fresh.get(which, (-REPEATED, b""))
        if time.monotonic() - then < REPEATED:
            return signed
        signed = await asyncio.get_running_loop().run_in_executor(self._threads, self._authority.client, asked)
        if self._told != self._authority.issuers:  # a command's: other processes hear of it before they see it
            await self.learn()
        if self._authority.by_command:
            self._fresh[which] = time.monotonic(), signed
        while len(self._fresh) > MOST_FRESH:
            self._fresh.popitem(last=False)
        return signed

    async def who(self, request: Request) -> Who | None:
        """Whom a certificate names. One of an issuer that nobody here has heard of may be of a process that has just begun."""
        found = who(request, self._authority)
        if found and not found.signed and time.monotonic() - self._asked > AGAIN:
            self._asked = time.monotonic()
            await self.learn()
            found = who(request, self._authority)
        return found

    async def learn(self) -> None:
        """Say who signs here, and see who does elsewhere. Raises StoreFault."""
        signs: list[str] | None = None
        while signs != self._authority.issuers:  # once more where somebody new signs: nobody gets a certificate untold
            signs = self._authority.issuers
            if self._told != signs:
                await self._store.write(lambda c, s=signs: issuers.tell(c, s))  # type: ignore[misc]
                self._told = signs
            known, self._disowned = await self._store.glance(lambda c: (issuers.known(c), issuers.disowned(c)))
            self._authority.learn(*known)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
