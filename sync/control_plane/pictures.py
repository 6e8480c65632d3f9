"""Pictures wherever they lie: they come into the database, and a worker moves them to the store of objects, if there is one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, delete, func, select, update

from .. import wire
from . import pieces, tables
from .objects import NAME, Objects, ObjectsFault, name_of
from .repeat import repeat
from .store import Store

T = TypeVar("T")
EVERY, AT_ONCE = 10.0, 16  # seconds between two looks for what has come; pictures a look
DROPPED_AT_ONCE = 500
PATIENCE = 3.0  # seconds that a device waits for what the store of objects says


class Pictures:
    """By their SHA-256."""

    def __init__(self, store: Store, objects: Objects | None = None) -> None:
        self._store, self._objects = store, objects
        self._threads = ThreadPoolExecutor(4, "objects")  # of their own: a store that hangs holds up nothing else

    def close(self) -> None:
        """What is under way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def whole(self, digest: str) -> tuple[str, bytes] | None:
        """(media type, body); None where it is not here. Raises ObjectsFault, also for a body that is another one."""
        t = tables.picture
        wanted = select(t.c.media, t.c.place, t.c.body).where(t.c.digest == digest)
        row = await self._store.read(lambda c: c.execute(wanted).first())
        if row is None or not row.place or row.body:
            return None if row is None else (row.media, bytes(row.body))
        _, body = await self._blocking(lambda objects: objects.get(row.place))
        if wire.digest(body) != digest:
            raise ObjectsFault(f"the object {row.place} in the store is damaged")
        return row.media, body

    async def part(self, digest: str, at: int, most: int) -> tuple[int, bytes] | None:
        """(size, bytes from `at` on, at most so many); None where it is not here. Raises ObjectsFault."""
        place: str | None = await self._store.glance(lambda c: c.scalar(_elsewhere(digest)))
        if not place:
            return await self._store.glance(lambda c: pieces.read(c, digest, at, most))
        return await self._blocking(lambda objects: objects.get(place, at, most))

    async def lacks(self, digest: str) -> bool:
        """Whether a device has to send it: it is not here, or not to be had from the store of objects now."""
        t = tables.picture
        here = select(t.c.place, func.length(t.c.body).label("size")).where(t.c.digest == digest)
        row = await self._store.glance(lambda c: c.execute(here).first())
        if row is None or row.size or not row.place:
            return row is None
        try:
            async with asyncio.timeout(PATIENCE):
                await self._blocking(lambda objects: objects.get(row.place, 0, 0))
                return False
        except (ObjectsFault, TimeoutError):
            return True

    async def _blocking(self, work: Callable[[Objects], T]) -> T:
        if (objects := self._objects) is None:
            raise ObjectsFault("it lies in a store of objects that this process was not told of", hint="--objects")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, objects)

    async def move(self) -> None:
        """Keep moving what comes to the store of objects, if there is one. Until cancelled."""

        async def work() -> None:
            while await self.move_once() == AT_ONCE:
                pass

        if self._objects is not None:
            await repeat(work, EVERY, "pictures stay in the database for now")

    async def move_once(self) -> int:
        """Move some that are in the database; how many there were. Raises LinesideError."""
        t = tables.picture
        here = select(t.c.digest, t.c.place).where(func.length(t.c.body) > 0).limit(AT_ONCE)
        found = await self._store.read(lambda c: c.execute(here).all())
        for digest, old in found:
            mine = select(t.c.body).where(t.c.digest == digest)
            if not (body := await self._store.read(lambda c, m=mine: c.execute(m).scalar())):  # type: ignore[misc]
                continue
            name = await self._blocking(lambda objects, d=digest, o=old, b=body: _put(objects, d, o, bytes(b)))  # type: ignore[misc]
            stays = update(t).where(t.c.digest == digest, t.c.place == old).values(place=name, body=b"")
            if not await self._store.write(lambda c, s=stays: c.execute(s).rowcount) and name != old:  # type: ignore[misc]
                await self._blocking(lambda objects, n=name: objects.drop(n))  # type: ignore[misc]  # forgotten, or moved by another
        return len(found)

    async def forget(self, before: float) -> int:
        """Forget pictures that came before that time (seconds), in the database first: what is left of one in the store is no
        harm, a row without its object is. How many."""
        total, last = 0, DROPPED_AT_ONCE
        while last == DROPPED_AT_ONCE:
            places = await self._store.write(lambda c: _forget(c, before))
            total, last = total + len(places), len(places)
            for place in filter(NAME.fullmatch, places):
                await self._blocking(lambda objects, p=place: objects.drop(p))  # type: ignore[misc]
        return total


def _put(objects: Objects, digest: str, old: str, body: bytes) -> str:
    """Where it lies now: where it did, if it came once more and is still there. Raises ObjectsFault."""
    if old:
        with contextlib.suppress(ObjectsFault):
            if objects.get(old)[1] == body:
                return old
    name = name_of(digest)
    objects.put(name, body)
    return name


def _elsewhere(digest: str) -> Select[Any]:
    t = tables.picture
    return select(t.c.place).where(t.c.digest == digest, func.length(t.c.body) == 0)


def _forget(connection: Connection, before: float) -> list[str]:
    """The places of those that were deleted."""
    t = tables.picture
    some = select(t.c.digest).where(t.c.stored < before).limit(DROPPED_AT_ONCE)
    gone = delete(t).where(t.c.stored < before, t.c.digest.in_(some)).returning(t.c.place)
    return list(connection.execute(gone).scalars())
