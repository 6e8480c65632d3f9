"""`lineside read` and `write` where no daemon runs: the devices are opened for as long as it takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import plugins
from ..batch import Batch
from ..clock import SystemClock
from ..config.check import raise_if_faulty
from ..config.site import Config
from ..control import telling_what_was_done
from ..errors import LinesideError, WriteRefused
from ..event import Event, Write
from ..flow import Flow
from ..frame import Frame
from ..health import Health
from ..live import Live
from ..log import log
from ..rehearse import Kept
from ..state import state_folder
from ..supervise import supervise
from ..tags import TagTable, named
from ..virtual import layered
from ..writes import Writes, guard, outcome, value_of
from ..written import Record, last_written, record

PATIENCE = 10.0  # seconds until the last tag must have come


class Bus:
    """The drivers of a site without journal and alarms: values come in, computed tags follow, nothing is kept."""

    def __init__(self, config: Config, state: Path | None = None) -> None:
        self.config, self.clock = raise_if_faulty(config), SystemClock()
        self.folder = state_folder(config.device.id, state)
        self.table = TagTable.numbered(config.tags())
        self.live = Live(self.table)
        stages: Any = layered(config.virtual, self.table)
        self.flow = Flow(
            self.table, stages, Kept(), self.clock, Health(self.clock), write=lambda order: [], watch=self.live
        )
        self.health, self.moved = Health(self.clock), asyncio.Event()
        self._answers: set[str] = set()

    async def read(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """The newest value of each tag, after each had its chance."""
        for name in names:
            named(self.table, name)
        wanted = list(names) or [tag.name for tag in self.table]
        slots = [self.table.slot(name) for name in wanted]
        async with self._open(self._sources(wanted)) as running, _patience():
            while not self.live.ts[slots].all() and not all(task.done() for task in running.values()):
                await self._next(running)
        return [self.live.show(name) for name in wanted]

    async def write(self, values: Mapping[str, float | str], by: str, folder: Path) -> dict[str, float | str]:
        """One after another, under the same rules as the daemon's and on record in the journal of `folder`; returns what was
        written. Raises LinesideError where the site or the device says no; the site is asked of all before the first is written."""
        tags = {name: named(self.table, name) for name in values}
        orders = [Write(tag.id, value_of(values[name], tag), id="1", cause=by) for name, tag in tags.items()]
        async with record(self.config, folder, self.clock) as kept:
            for order in orders:
                try:
                    guard(order, self.table, self.clock.mono())
                except WriteRefused as error:
                    await _conclude(kept, outcome(order, self.table, "refused", str(error)))
            writes = Writes(self.table, self.clock, await last_written(kept.journal, self.table, self.clock))
            async with self._open({self.table.by_id(order.tag).source for order in orders}) as running:
                done: list[str] = []
                for name, order in zip(values, orders, strict=True):
                    with telling_what_was_done(done):
                        await _conclude(kept, await self._write(order, writes, running))
                    done.append(name)
        return {name: order.value for name, order in zip(values, orders, strict=True)}

    async def _write(self, order: Write, writes: Writes, running: dict[str, asyncio.Task[None]]) -> Event:
        """How the order ended."""
        source = self.table.by_id(order.tag).source
        async with _patience():
            while not self._ready(source) and not running[source].done():
                await self._next(running)
        told: asyncio.Queue[Event] = asyncio.Queue()
        serving = asyncio.create_task(writes.open(source, told.put_nowait).serve(self._drivers[source]))
        try:
            refused = writes(order)
            return refused[0] if refused else await told.get()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    def _ready(self, source: str) -> bool:
        return source in self._answers

    def _sources(self, names: Sequence[str]) -> set[str]:
        """The drivers behind these tags; behind a computed one, all."""
        found = {self.table[name].source for name in names}
        return found if found <= set(self.config.drivers) else set(self.config.drivers)

    @contextlib.asynccontextmanager
    async def _open(self, sources: set[str]) -> AsyncIterator[dict[str, asyncio.Task[None]]]:
        self._answers = set()
        self._drivers = {
            name: plugins.find("drivers", self.config.drivers[name].driver)(
                self.config.drivers[name], _Line(name, self)
            )
            for name in sources
        }
        running = {name: asyncio.create_task(driver.run()) for name, driver in self._drivers.items()}
        try:
            yield running
        finally:
            for task in running.values():
                task.cancel()
            ends = await asyncio.gather(*running.values(), return_exceptions=True)
            for name, end in zip(running, ends, strict=True):
                if isinstance(end, Exception):
                    log.warning("%s: %s", name, end if isinstance(end, (LinesideError, OSError)) else repr(end))

    @contextlib.asynccontextmanager
    async def serving(self, name: str) -> AsyncIterator[Any]:
        """One driver, kept running as the daemon does, for a tool that watches it."""
        part = self.config.drivers[name]
        driver = plugins.find("drivers", part.driver)(part, _Line(name, self))
        running = asyncio.create_task(supervise(name, driver.run, self.health), name=name)
        try:
            yield driver
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _next(self, running: dict[str, asyncio.Task[None]]) -> None:
        """Wait until a value came or a driver ended."""
        self.moved.clear()
        moved = asyncio.ensure_future(self.moved.wait())
        try:
            await asyncio.wait(
                [moved, *(task for task in running.values() if not task.done())], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            moved.cancel()

    def arrived(self, source: str, batch: Batch | None) -> None:
        self._answers.add(source)
        if batch is not None:
            self.flow.accept(batch)
        self.moved.set()


class _Line:
    """What a driver of the bus is given."""

    def __init__(self, name: str, bus: Bus) -> None:
        self.name, self.tags, self.clock, self._bus = name, bus.table.of_source(name), bus.clock, bus
        self.memory: dict[str, Any] = {}
        self.texts = bus.table.texts
        self.text = self.texts.value
        self.folder, self.phase = bus.folder, 0.0

    def ready(self) -> bool:
        return True

    def emit(self, batch: Batch) -> None:
        self._bus.arrived(self.name, batch)

    def frame(self, frame: Frame) -> None:
        frame.release()

    def event(self, event: Event) -> None: ...

    def count(self, cause: str, n: int = 1) -> None: ...

    def remember(self, facts: object) -> None: ...

    def running(self) -> None:
        self._bus.health.state(self.name, "running")
        self._bus.arrived(self.name, None)


async def _conclude(kept: Record, end: Event) -> None:
    """Put the end of an order on record. Raises LinesideError unless it was carried out."""
    await kept.keep(end)
    if end.state != "done":
        raise LinesideError(f"{end.key} {end.state}: {end.text}")


@contextlib.asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            yield
