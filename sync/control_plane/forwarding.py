"""Forwarding of events to other systems: one cursor for each target and journal, moved when the target has taken the event.

Events of one device go one after the other in the order of their journal; what is behind a hole waits for it. A kill between
delivery and commit sends an event once more, under the same key. What a target refuses is set aside after some tries, in the
transaction that moves the cursor; what it cannot take now is tried until it can, and holds up no other device.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy import Connection, update

from edge import LinesideError, log

from . import forward_tables
from .database import word
from .forward_state import AT_ONCE, Journal, begin, marked, move, pass_by, pending, read, sent_again
from .forward_target import Happened, Later, Refused, Target
from .repeat import repeat
from .store import Store

EVERY = 2.0  # seconds between looks
MOST_STREAMS = 1000  # journals under way at a time
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0  # seconds between tries
ASIDE: Journal = ("", "")  # what was set aside, on its way once more
Aside = Callable[[Connection, Happened], None]  # what else follows, in the same transaction, where one is set aside


class Forwarding:
    """Forwards to one target for as long as `run()` runs."""

    def __init__(self, store: Store, name: str, target: Target, aside: Aside | None = None) -> None:
        self._store, self._name, self._target, self._aside = store, name, target, aside
        self._under_way: dict[Journal, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(target.at_once)
        self._troubles: dict[str, str] = {}  # by device
        self._said = ""
        self._begun = False

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await repeat(self._look, EVERY, f"events for {self._name} wait")
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)
            self._target.close()

    async def _look(self) -> None:
        if not self._begun:
            await self._store.write(lambda c: begin(c, self._name))
            self._begun = True
        busy = set(self._under_way)  # whose cursors move while we ask
        waiting = await self._store.read(lambda c: pending(c, self._name))
        unwanted = {journal: to for journal, (_, to) in waiting.items() if not self._target.options.wants(journal[0])}
        if unwanted:
            await self._store.write(lambda c: pass_by(c, self._name, unwanted))
        for journal, (after, to) in waiting.items():
            if journal in unwanted or journal in busy or len(self._under_way) >= MOST_STREAMS:
                continue
            self._start(journal, self._drain(journal, after, to))
        if ASIDE not in busy and (anew := await self._store.read(lambda c: marked(c, self._name))):
            self._start(ASIDE, self._once_more(anew))

    def _start(self, journal: Journal, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._under_way[journal] = task
        task.add_done_callback(lambda _: self._under_way.pop(journal, None))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except LinesideError as fault:  # the database is away, or another plane is quicker
            log.warning("plane: forwarding to %s begins anew: %s", self._name, fault)
        except Exception:
            log.exception("plane: forwarding to %s failed", self._name)

    async def _drain(self, journal: Journal, after: int, to: int) -> None:
        """Everything of a journal from `after` up to `to`."""
        kinds, key = self._target.options.kinds, self._target.key
        while after < to:
            events = await self._store.read(lambda c, a=after: read(c, journal, a, to, kinds, key))  # type: ignore[misc]
            for happened in events:
                why, tries = await self._send(happened)
                await self._store.write(
                    lambda c, h=happened, a=after, w=why, n=tries: self._move(c, h, a, w, n)  # type: ignore[misc]
                )
                after = happened.seq
            if len(events) < AT_ONCE:
                await self._store.write(lambda c: pass_by(c, self._name, {journal: to}))
                return

    def _move(self, connection: Connection, happened: Happened, after: int, why: str, tries: int) -> None:
        move(connection, self._name, happened, after, why, tries)
        if why and self._aside:
            self._aside(connection, happened)

    async def _once_more(self, events: list[Happened]) -> None:
        """What was set aside, as somebody asked; what is refused again is aside again."""
        for happened in events:
            why, tries = await self._send(happened)
            await self._store.write(
                lambda c, h=happened, w=why, n=tries: sent_again(c, self._name, h, w, n)  # type: ignore[misc]
            )

    async def _send(self, happened: Happened) -> tuple[str, int]:
        """Returns when it was taken ("", tries), or is to be set aside (why, tries)."""
        tries = refused = 0
        while True:
            try:
                async with self._turn:
                    await self._target.deliver(happened)
                await self._say(happened.device, "")
                return "", tries + 1
            except Refused as fault:
                refused += 1
                why, wish = str(fault), 0.0
                if refused >= self._target.tries:
                    log.warning("plane: %s is set aside, %s does not take it: %s", happened.key, self._name, why)
                    await self._say(happened.device, "")
                    return why, tries + 1
            except Later as fault:
                why, wish = str(fault), fault.wish
            await self._say(happened.device, why)
            await asyncio.sleep(delay(tries, wish))
            tries += 1

    async def _say(self, device: str, trouble: str) -> None:
        """Keep why events of a device wait, for people."""
        self._troubles.pop(device, None)
        if trouble:
            self._troubles[device] = trouble
        shown = next(iter(self._troubles.values()), "")
        if shown == self._said:
            return
        if shown:
            log.warning("plane: %s does not take events: %s", self._name, shown)
        self._said, trouble = shown, shown
        t, since = forward_tables.target, time.time() if trouble else 0.0
        values = {"trouble": word(trouble, 500), "since": since}
        await self._store.write(lambda c: c.execute(update(t).where(t.c.name == self._name).values(**values)) and None)


def delay(tries: int, wish: float = 0.0) -> float:
    """Seconds before the next try: longer each time, never the same for many planes at once, never less than was wished."""
    return max(wish, min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries, 20)) * random.uniform(0.5, 1.0))
