"""How the plane knows who asks: a session of somebody with an account, a program's key, or the link printed at start."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from pathlib import Path

from fastapi import HTTPException, Request

from edge import LinesideError

from . import people
from .access import Asker
from .ca import alone, keep
from .limits import Limits
from .openid import OpenId
from .store import Store

LINK_SECONDS = 7 * 24 * 3600
KEY_BYTES = 32
FIRST = Asker("console", (("platform_admin", ""),))  # who came by the link
WRONG = "this name and password do not belong together"  # whichever of both is wrong
TRIES, EVERY = 5, 20.0  # at once for a name, and seconds until one more; an address has ten times that
HASHING = 2  # passwords at a time: each takes 64 MiB


class People:
    """`file` keeps what signs sessions of the link, so that they outlive a restart; without it everyone who came by the link has to
    come anew. The link is of this start, or with `several` processes of all that have this file, since it may lead to any of them.
    Once somebody with an account looks after the whole plane the link lets nobody in."""

    def __init__(self, file: Path, several: bool = False, store: Store | None = None) -> None:
        with alone(file.parent):
            if (
                not file.exists() or file.stat().st_size != KEY_BYTES
            ):  # half written is no key: anybody could sign with it
                keep(file, secrets.token_bytes(KEY_BYTES))
        self._signs, self._store = file.read_bytes(), store
        shared = hmac.new(self._signs, b"the link", "sha256").hexdigest()
        self.key = shared if several else secrets.token_urlsafe(24)
        self._names, self._places = Limits(1 / EVERY, TRIES), Limits(10 / EVERY, 10 * TRIES)
        self._hashing = asyncio.Semaphore(HASHING)
        self.openid: OpenId | None = None

    @property
    def store(self) -> Store:
        assert self._store is not None
        return self._store

    def signed(self, words: str) -> str:
        """`words` with what proves that they are ours; they have no dot."""
        return f"{words}.{hmac.new(self._signs, words.encode(), 'sha256').hexdigest()}"

    def ours(self, said: str | None) -> str | None:
        """The words of what we signed."""
        words = (said or "").partition(".")[0]
        return words if hmac.compare_digest(self.signed(words).encode(), (said or "").encode()) else None

    def login(self, key: str) -> str | None:
        """A session for who has the link."""
        if not hmac.compare_digest(key.encode(errors="replace"), self.key.encode()):
            return None
        return self.signed(f"{secrets.token_hex(8)}-{round(time.time()) + LINK_SECONDS}")

    def known(self, session: str | None) -> bool:
        """Whether it is a session of the link that is not over."""
        words = (self.ours(session) or "").rpartition("-")
        return bool(words[0]) and words[2].isdecimal() and int(words[2]) > time.time()

    async def by_link(self) -> bool:
        """Whether the link lets anybody in."""
        return not await self.store.glance(people.administered)

    async def asker(self, request: Request) -> Asker | None:
        """Who asks; None: nobody who is known here."""
        said = request.headers.get("authorization")
        if said is not None:
            kind, _, token = said.partition(" ")
            return (
                await self.store.glance(lambda c: people.of_key(c, token.strip())) if kind.lower() == "bearer" else None
            )
        session = request.cookies.get("session")
        if self.known(session):
            return FIRST if await self.by_link() else None
        return await self.store.glance(lambda c: people.of_session(c, session)) if session else None

    async def proves(self, name: str, password: str, origin: str) -> str | None:
        """How somebody's password is kept, where they know it; else None. Raises HTTPException 429 for who guesses."""
        wait = max(self._names.take(name.lower()), self._places.take(origin))
        if wait:
            raise HTTPException(429, "too many tries; wait a little", {"Retry-After": str(round(wait + 0.5))})
        kept = await self.store.glance(lambda c: people.kept(c, name))
        async with self._hashing:
            good = await asyncio.to_thread(people.right, kept, password)
        return kept if good else None

    async def enter(self, name: str, password: str, origin: str) -> str:
        """A session for who knows the password. Raises HTTPException: 401, or 429 for who guesses."""
        if (kept := await self.proves(name, password, origin)) is None:
            raise HTTPException(401, WRONG)
        try:
            return await self.store.write(lambda c: people.begin(c, name, kept))
        except LinesideError:  # removed, or another password meanwhile
            raise HTTPException(401, WRONG) from None
