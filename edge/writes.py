"""The way out: guards every write and hands it to the driver that owns the tag, newest wins."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .clock import Clock
from .errors import LinesideError, WriteRefused
from .event import Event, Write
from .log import log
from .tags import TagTable

MOST_WAITING = 64
WITHIN = 10.0  # seconds a driver may take for one write; a hanging one would hold back all that follow
ENDED = "its driver was stopped before"


def guard(write: Write, table: TagTable, mono: int) -> None:
    """Raise WriteRefused unless the site allows this write now."""
    try:
        tag = table.by_id(write.tag)
    except KeyError:
        raise WriteRefused(f"tag {write.tag} is not part of this site") from None
    if tag.writable is None:
        raise WriteRefused(f"{tag.name} is read-only", hint="allow it with `writable: {range: [low, high]}`")
    low, high = tag.writable
    if not math.isfinite(write.value) or not low <= write.value <= high:
        raise WriteRefused(f"{write.value:g} is outside {low:g}..{high:g} of {tag.name}")
    if write.expires and mono > write.expires:
        raise WriteRefused(f"came too late for {tag.name}")


class WriteQueue:
    """The writes of one driver: at most one waiting per tag, the newest; served ahead of reads."""

    def __init__(self, table: TagTable, clock: Clock, report: Callable[[Event], None]) -> None:
        self._table, self._clock, self._report = table, clock, report
        self._waiting: dict[int, Write] = {}
        self._arrived = asyncio.Event()

    def put(self, write: Write) -> list[Event]:
        """Queue a guarded write; the events say what it pushed out."""
        out = []
        older = self._waiting.pop(write.tag, None)
        if older is not None:
            out.append(outcome(older, self._table, "superseded"))
        elif len(self._waiting) >= MOST_WAITING:
            return [outcome(write, self._table, "refused", f"{MOST_WAITING} writes are waiting already")]
        self._waiting[write.tag] = write
        self._arrived.set()
        return out

    def serving(self, table: TagTable) -> WriteQueue:
        """The same queue under a new table (its driver did not change)."""
        self._table = table
        return self

    async def serve(self, driver: Any) -> None:
        """Hand writes to the driver one after another, until cancelled; each outcome is reported as an event, also that of
        those that the end overtakes."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    await self._serve(driver, self._waiting.pop(next(iter(self._waiting))))
        finally:
            while self._waiting:
                write = self._waiting.pop(next(iter(self._waiting)))
                self._report(outcome(write, self._table, "failed", ENDED))

    async def _serve(self, driver: Any, write: Write) -> None:
        try:
            guard(write, self._table, self._clock.mono())
            async with asyncio.timeout(WITHIN):
                await driver.write(write)
            self._report(outcome(write, self._table, "done"))
        except WriteRefused as error:
            self._report(outcome(write, self._table, "refused", str(error)))
        except (LinesideError, OSError, TimeoutError) as error:
            self._report(outcome(write, self._table, "failed", str(error) or "no answer"))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                self._report(outcome(write, self._table, "failed", f"{ENDED}; it may have been done"))
                raise
            self._report(outcome(write, self._table, "failed", "the driver gave it up"))
        except Exception as error:
            log.exception("a write failed in an unexpected way; the next ones are served")
            self._report(outcome(write, self._table, "failed", f"{type(error).__name__}: {error}"))


def outcome(write: Write, table: TagTable, state: str, text: str = "") -> Event:
    """The event that says how a write ended."""
    try:
        name = table.by_id(write.tag).name
    except KeyError:
        name = f"tag {write.tag}"
    severity = "info" if state == "done" else "medium"
    data = {"value": write.value, "cause": write.cause, "write": write.id}
    return Event("write", name, state, severity=severity, text=text, data=data)


class Writes:
    """Routes each write to the queue of the driver that owns its tag."""

    def __init__(self, table: TagTable, clock: Clock) -> None:
        self.table, self.clock = table, clock
        self.queues: dict[str, WriteQueue] = {}
        self._number = 0

    def __call__(self, write: Write) -> list[Event]:
        self._number += 1
        write = write if write.id else replace(write, id=f"w{self._number}")
        try:
            guard(write, self.table, self.clock.mono())
        except WriteRefused as error:
            return [outcome(write, self.table, "refused", str(error))]
        tag = self.table.by_id(write.tag)
        queue = self.queues.get(tag.source)
        if queue is None:
            return [outcome(write, self.table, "refused", f"the driver of {tag.source} cannot write")]
        return queue.put(write)
