"""Pictures wherever they lie: they come into the database, and a worker moves them to the store of objects, if there is one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, delete, func, select, update

from .. import wire
from . import loose, pieces, tables
from .objects import NAME, Objects, ObjectsFault, name_of
from .repeat import repeat
from .store import Store

T = TypeVar("T")
EVERY, AT_ONCE = 10.0, 16  # seconds between two looks for what has come; pictures a look
DROPPED_AT_ONCE = 500
SWEPT, OLD = 3600.0, 24 * 3600.0  # seconds between two looks for objects that no picture has; how old those are
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
        names = {digest: name_of(digest) for digest, _ in found}
        if names:
            await self._store.write(lambda c: loose.note(c, names.values()))
        for digest, old in found:
            mine = select(t.c.body).where(t.c.digest == digest)
            if not (body := await self._store.read(lambda c, m=mine: c.execute(m).scalar())):  # type: ignore[misc]
                continue
            fresh = names[digest]
            name = await self._blocking(lambda objects, f=fresh, o=old, b=body: _put(objects, f, o, bytes(b)))  # type: ignore[misc]
            if not await self._store.write(lambda c, d=digest, o=old, n=name: _placed(c, d, o, n)) and name != old:  # type: ignore[misc]
                await self._blocking(lambda objects, n=name: objects.drop(n))  # type: ignore[misc]  # forgotten, or moved by another
        return len(found)

    async def forget(self, before: float) -> int:
        """Forget pictures that came before that time (seconds), in the database first: what is left of one in the store is no
        harm, a row without its object is. How many."""
        total, last = 0, DROPPED_AT_ONCE
        while last == DROPPED_AT_ONCE:
            places = await self._store.write(lambda c: _forget(c, before))
            total, last = total + len(places), len(places)
            await self._drop(list(filter(NAME.fullmatch, places)))
        return total

    async def _drop(self, names: list[str]) -> None:
        for name in names:
            await self._blocking(lambda objects, n=name: objects.drop(n))  # type: ignore[misc]
        if names:
            await self._store.write(lambda c: loose.dropped(c, names))

    async def sweep(self) -> None:
        """Keep looking for objects that a kill, or a store that was away, left behind. Until cancelled."""

        async def work() -> None:
            while await self.sweep_once(time.time() - OLD) == loose.AT_ONCE:
                pass

        if self._objects is not None:
            await repeat(work, SWEPT, "objects that no picture has stay in their store for now")

    async def sweep_once(self, before: float) -> int:
        """Drop some that were noted before that time (seconds) and that no picture has; how many. Raises LinesideError."""
        names = await self._store.write(lambda c: loose.claimed(c, before))
        await self._drop(names)
        return len(names)


def _put(objects: Objects, name: str, old: str, body: bytes) -> str:
    """Where it lies now: where it did, if it came once more and is still there, else under that name. Raises ObjectsFault."""
    if old:
        with contextlib.suppress(ObjectsFault):
            if objects.get(old)[1] == body:
                return old
    objects.put(name, body)
    return name


def _placed(connection: Connection, digest: str, old: str, name: str) -> bool:
    """The picture lies there and no longer here; not where it was forgotten, or moved by another. Raises ObjectsFault where it is
    being dropped there."""
    t = tables.picture
    stays = update(t).where(t.c.digest == digest, t.c.place == old).values(place=name, body=b"")
    moved = connection.execute(stays).rowcount > 0
    if moved and name != old and not loose.placed(connection, name):
        raise ObjectsFault(f"the object {name} came so late that it is dropped again")
    return moved


def _elsewhere(digest: str) -> Select[Any]:
    t = tables.picture
    return select(t.c.place).where(t.c.digest == digest, func.length(t.c.body) == 0)


def _forget(connection: Connection, before: float) -> list[str]:
    """The places of those that were deleted."""
    t = tables.picture
    some = select(t.c.digest).where(t.c.stored < before).limit(DROPPED_AT_ONCE)
    gone = delete(t).where(t.c.stored < before, t.c.digest.in_(some)).returning(t.c.place)
    places = list(connection.execute(gone).scalars())
    loose.note(connection, filter(NAME.fullmatch, places))
    return places
