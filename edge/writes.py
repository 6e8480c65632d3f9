"""The way out: guards every write, hands it to the driver that owns the tag (newest wins), and sees that it holds."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .batch import shown
from .clock import SECOND, Clock
from .config.types import as_duration
from .errors import LinesideError, WriteRefused
from .event import Event, Write
from .log import log
from .tags import Tag, TagTable
from .texts import LONGEST, TYPE, clean

if TYPE_CHECKING:
    from .driver import Writable

MOST_WAITING = 64
WITHIN = 10.0  # seconds a driver may take for one write; a hanging one would hold back all that follow
SETTLES = 3.0  # seconds until a device that confirmed a write has to show it, where it is read back
ENDED = "its driver was stopped before"


def guard(write: Write, table: TagTable, mono: int) -> Writable:
    """What the site says of writing this tag. Raises WriteRefused unless it allows this write now."""
    try:
        tag = table.by_id(write.tag)
    except KeyError:
        raise WriteRefused(f"tag {write.tag} is not part of this site") from None
    if tag.writable is None:
        allows = "one_of: [A, B]" if tag.type == TYPE else "range: [low, high]"
        raise WriteRefused(f"{tag.name} is read-only", hint=f"allow it with `writable: {{{allows}}}`")
    if why := tag.writable.why_not(write.value, tag.name):
        raise WriteRefused(why)
    if write.expires and mono > write.expires:
        lives = as_duration(tag.writable.expires)
        raise WriteRefused(f"came too late: an order for {tag.name} is good for {lives}")
    return tag.writable


class WriteQueue:
    """The writes of one driver: at most one waiting per tag, the newest; served ahead of reads. `written` keeps when each tag
    was handed to a driver last (monotonic ns)."""

    def __init__(self, table: TagTable, clock: Clock, report: Callable[[Event], None], written: dict[int, int]) -> None:
        self._table, self._clock, self._report, self._written = table, clock, report, written
        self._waiting: dict[int, Write] = {}
        self._proofs: dict[int, asyncio.Task[None]] = {}  # by tag: reads back what was written last
        self._arrived = asyncio.Event()

    def put(self, write: Write) -> list[Event]:
        """Queue a guarded write; the events say what it pushed out."""
        out = []
        older = self._waiting.pop(write.tag, None)
        if older is not None:
            out += [] if older.quiet else [outcome(older, self._table, "superseded", "a newer order came first")]
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
        those that the end overtakes. A value is read back beside the writes that follow."""
        try:
            async with asyncio.TaskGroup() as proofs:
                while True:
                    await self._arrived.wait()
                    self._arrived.clear()
                    while self._waiting:
                        await self._serve(driver, self._waiting.pop(next(iter(self._waiting))), proofs)
        finally:
            while self._waiting:
                write = self._waiting.pop(next(iter(self._waiting)))
                self._report(outcome(write, self._table, "failed", ENDED))

    async def _serve(self, driver: Any, write: Write, proofs: asyncio.TaskGroup) -> None:
        with self._telling(write, lambda task: ("failed", f"{ENDED}; it may have been done")):
            allowed = guard(write, self._table, self._clock.mono())
            if older := self._proofs.pop(write.tag, None):
                older.cancel()
            before, self._written[write.tag] = self._written.get(write.tag), self._clock.mono()
            try:
                async with asyncio.timeout(WITHIN):
                    stored = await driver.write(write)
            except WriteRefused:  # nothing was sent, so that the next order need not wait
                self._written.pop(write.tag)
                self._written |= {} if before is None else {write.tag: before}
                raise
            if allowed.readback is None:
                self._tell(write, "done")
                return
            wanted = write.value if stored is None else stored
            self._proofs[write.tag] = proofs.create_task(self._prove(driver, write, wanted, allowed.readback))

    async def _prove(self, driver: Any, write: Write, wanted: float | str, tolerance: float) -> None:
        def overtaken(task: Any) -> tuple[str, str]:
            newer = self._proofs.get(write.tag) is not task
            return (
                ("superseded", "sent; a newer order came") if newer else ("failed", f"sent; {ENDED} it was read back")
            )

        with self._telling(write, overtaken):
            fault = await read_back(driver, write.tag, wanted, tolerance)
            self._tell(write, "failed" if fault else "done", fault)

    def _tell(self, write: Write, state: str, why: str = "") -> None:
        if not write.quiet or state == "failed":
            self._report(outcome(write, self._table, state, why))

    @contextlib.contextmanager
    def _telling(self, write: Write, overtaken: Callable[[Any], tuple[str, str]]) -> Iterator[None]:
        """Report what goes wrong inside as the outcome of the write; only a cancellation from outside goes on."""
        try:
            yield
        except WriteRefused as error:
            self._report(outcome(write, self._table, "refused", str(error)))
        except (LinesideError, OSError, TimeoutError) as error:
            self._report(outcome(write, self._table, "failed", str(error) or "no answer"))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                self._tell(write, *overtaken(task))
                raise
            self._report(outcome(write, self._table, "failed", "the driver gave it up"))
        except Exception as error:
            log.exception("a write failed in an unexpected way; the next ones are served")
            self._report(outcome(write, self._table, "failed", f"{type(error).__name__}: {error}"))


async def read_back(driver: Any, tag: int, wanted: float | str, tolerance: float) -> str:
    """Empty once the device shows the value, else what it shows. A device may confirm before it holds a value, so it is asked
    again, ever more seldom, for SETTLES seconds."""
    said, pause = "it cannot be read back: no answer", 0.02
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLES):
            while True:
                try:
                    found = await driver.read(tag)
                    if _same(found, wanted, tolerance):
                        return ""
                    said = f"the device confirmed it, and shows {said_of(found)}"
                except (LinesideError, OSError) as error:
                    said = f"it cannot be read back: {str(error) or 'no answer'}"
                await asyncio.sleep(pause)
                pause *= 2
    return said


def _same(found: float | str, wanted: float | str, tolerance: float) -> bool:
    if isinstance(found, str) or isinstance(wanted, str):
        return found == wanted
    return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=tolerance)


def said_of(value: float | str) -> str:
    """A value in a sentence: a string in quotes, whatever is in it."""
    return repr(clean(value[:LONGEST])) if isinstance(value, str) else shown(value)


def value_of(given: Any, tag: Tag) -> float | str:
    """What a person wrote for this tag: the string itself for a text, else a number. Raises LinesideError."""
    if tag.type == TYPE and isinstance(given, str):
        return given
    try:
        number = float(given)
    except (ValueError, TypeError):
        told = repr(clean(str(given)[:LONGEST]))
        raise LinesideError(f"{tag.name}: {told} is no number", hint="0 or 1 for a bit, as in plc.stop=1") from None
    return f"{number:.15g}" if tag.type == TYPE else number


def outcome(write: Write, table: TagTable, state: str, why: str = "") -> Event:
    """The event that says how a write ended: which tag, which value, by whom and, unless it is done, why."""
    try:
        name = table.by_id(write.tag).name
    except KeyError:
        name = f"tag {write.tag}"
    severity = "info" if state == "done" else "medium"
    text = f"{said_of(write.value)} by {write.cause or 'nobody named'}" + (f": {why}" if why else "")
    value = clean(write.value[:LONGEST]) if isinstance(write.value, str) else write.value
    data = {"value": value, "cause": write.cause, "write": write.id}
    return Event("write", name, state, severity=severity, text=text, data=data)


class Writes:
    """Routes each write to the queue of the driver that owns its tag."""

    def __init__(self, table: TagTable, clock: Clock, written: dict[int, int] | None = None) -> None:
        self.table, self.clock = table, clock
        self.written = {} if written is None else written
        self.queues: dict[str, WriteQueue] = {}
        self._number = 0

    def open(self, source: str, report: Callable[[Event], None]) -> WriteQueue:
        """A new queue for the driver of this source."""
        self.queues[source] = WriteQueue(self.table, self.clock, report, self.written)
        return self.queues[source]

    def __call__(self, write: Write) -> list[Event]:
        self._number += 1
        write = write if write.id else replace(write, id=f"w{self._number}")
        now = self.clock.mono()
        try:
            allowed = guard(write, self.table, now)
            tag = self.table.by_id(write.tag)
            since = (now - self.written.get(tag.id, -(2**62))) / SECOND
            if since < allowed.every:
                raise WriteRefused(
                    f"{tag.name} takes one write in {as_duration(allowed.every)}; the last was {since:.1f} s ago"
                )
        except WriteRefused as error:
            return [outcome(write, self.table, "refused", str(error))]
        queue = self.queues.get(tag.source)
        if queue is None:
            why = f"{tag.source} does not run at this moment, or its driver cannot write"
            return [outcome(write, self.table, "refused", why)]
        ends = now + round(allowed.expires * SECOND)
        return queue.put(replace(write, expires=min(write.expires or ends, ends)))
