"""The composition root: one site, running."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import plugins, retention
from .alarms import Alarms
from .clock import Clock, SystemClock
from .config.site import Config
from .diagnosis import Diagnosis
from .errors import LinesideError
from .event import Event, Write
from .flow import Flow
from .frame import Frame
from .health import Health
from .journal import Journal
from .live import Live
from .log import log
from .memory import PREFIX
from .outlet import Outlet
from .reader import delivering, readers_of
from .reviews import Reviews
from .sent import Sent
from .stage import Item
from .supervise import supervise
from .tags import TagTable
from .timekeeping import Settable, Timekeeper
from .told import promised
from .wiring import stages_of
from .work import Pool
from .writes import WriteQueue, Writes
from .written import last_written

STOP_WITHIN = 3.0  # seconds a part may take to end; then it is left behind
ASK_TO_STOP = 3  # times: native code and careless drivers swallow one cancellation


@dataclass
class Running:
    """One driver or reader with its tasks."""

    config: Any
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    outlet: Outlet | None = None
    queue: WriteQueue | None = None
    driver: Any = None


class Daemon:
    """Journal, flow, drivers and readers of one device. `start`, then `stop`; `change` exchanges the site in between."""

    def __init__(self, config: Config, folder: Path, clock: Clock | None = None, sent: Sent | None = None) -> None:
        self.config, self.folder, self.clock = config, folder, clock or SystemClock()
        self.health = Health(self.clock)
        self.journal = Journal(folder / "journal.db", self.clock, config.journal)
        self.sent = sent or Sent(folder, config.path)
        self.sent.begin()
        self.journal.readers = delivering(config.sections)  # before anything may have to give way for it
        self.reviews = Reviews(self.journal, self.clock, self.accept)
        self.pool = Pool(self.clock, self.health, max(1, (os.cpu_count() or 2) - 1))
        self.drivers: dict[str, Running] = {}
        self.readers: dict[str, Running] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 2**63
        self._journaling: asyncio.Task[None] | None = None
        self._timekeeping: asyncio.Task[None] | None = None
        self.changing = asyncio.Lock()  # one exchange of the site at a time
        self.started = self.clock.mono()
        self.listeners: set[Callable[[Item], None]] = set()
        self.diagnosis = Diagnosis(self)
        self.restart: Callable[[], None] = lambda: None  # ends this process, for another release to begin
        self.written: dict[int, int] = {}  # when each tag was last written, monotonic ns
        self.refused: dict[str, tuple[Any, str]] = {}  # stages that could not be built at the start, and why
        self._wire(config, starting=True)
        kept = self.journal.snapshots()
        self.flow.restore(kept)
        self.memories = {n.removeprefix(PREFIX): body for n, body in kept.items() if n.startswith(PREFIX)}

    # Wiring

    def _wire(self, config: Config, *, starting: bool = False) -> None:
        """Build table, stages and flow of a site; nothing of the old one is touched before all of it stands. At the start a
        stage that cannot be built (a model cut off by a power cut) stops nothing else."""
        config.tree.forget()  # its faults have been told
        refused: dict[str, tuple[Any, str]] = {}

        def refuse(name: str, entry: Any, error: Exception) -> None:
            if not starting and self.refused.get(name, (None,))[0] != entry:
                raise error
            reason = str(error) or type(error).__name__
            log.error("%s cannot start: %s", name, reason, exc_info=not isinstance(error, LinesideError))
            refused[name] = entry, reason
            self.health.state(name, "stopped", reason)

        table = TagTable.numbered(config.tags(), self.journal.tag_ids, self.journal.texts)
        live, writes = Live(table), Writes(table, self.clock, self.written)
        flow = Flow(
            table,
            stages_of(config, table, refuse, self._answering(config, table), self.folder),
            self.journal,
            self.clock,
            self.health,
            write=writes,
            submit=self.pool.submit,
            watch=live,
        )
        for name in self.refused.keys() - refused.keys():
            self.health.forget(name)
        self.refused = refused
        self.config, self.table, self.live, self.writes, self.flow = config, table, live, writes, flow
        self.journal.config = config.journal
        self.journal.readers = delivering(config.sections)

    def _stays(self, name: str, config: Config, table: TagTable) -> bool:
        """Whether a driver runs on untouched under this site."""
        running = self.drivers[name]
        same_tags = running.outlet is not None and table.of_source(name) == running.outlet.tags
        return config.drivers.get(name) == running.config and same_tags

    def _answering(self, config: Config, table: TagTable) -> frozenset[str]:
        up = (name for name, one in self.drivers.items() if one.outlet and one.outlet.state == "running")
        return frozenset(name for name in up if self._stays(name, config, table))

    def accept(self, item: Item | Write) -> None:
        """The only way in. On the event loop; does not block."""
        if isinstance(item, Frame):
            self.diagnosis.saw(item)
        self.flow.accept(item)  # type: ignore[arg-type]
        for listener in tuple(self.listeners):
            listener(item)  # type: ignore[arg-type]
        self._schedule()

    def alarms(self) -> list[dict[str, Any]]:
        """Every alarm that is active, not acknowledged or shelved, as JSON."""
        stages: list[Any] = [stage for _, stage in self.flow.stages]
        return [alarm for stage in stages if isinstance(stage, Alarms) for alarm in stage.status(self.clock.mono())]

    def _schedule(self) -> None:
        due = self.flow.due()
        if due >= self._timer_due and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        wait = max(0, due - self.clock.mono()) / 1e9
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_due = None, 2**63
        if self.flow.due() <= self.clock.mono():
            self.flow.tick()
        self._schedule()

    # Life

    async def start(self) -> None:
        """Start everything. Parts that cannot start are shown as such and tried again; they stop nothing else."""
        self.pool.start(asyncio.get_running_loop())
        self._journaling = asyncio.create_task(self.journal.run(), name="journal")
        if isinstance(self.clock, Settable):
            keeper = Timekeeper(self.clock, self.journal, self._stepped)
            self._timekeeping = asyncio.create_task(keeper.run(), name="clock")
        self.accept(promised(self.config, self.table, "started"))
        await self._forget_readers()
        self.written |= await last_written(self.journal, self.table, self.clock)
        for name, (_, reason) in self.refused.items():
            self.accept(Event("stage", name, "refused", severity="high", text=reason))
        for name in self.config.drivers:
            self._start_driver(name)
        for name in readers_of(self.config.sections):
            self._start_reader(name)
        self._schedule()

    def _stepped(self, event: Event) -> None:
        """The clock was set: what came before makes nothing late that comes now, and what was promised holds by the new time."""
        self.flow.forget_times()
        self.accept(event)
        self.accept(promised(self.config, self.table, "changed"))

    def _start_driver(self, name: str, *, lost: bool = False) -> None:
        """`lost`: that was said of its device already, so the first answer brings it back."""
        part = self.config.drivers[name]
        outlet = Outlet(name, self.table.of_source(name), self)
        outlet.state = "lost" if lost else outlet.state
        running = self.drivers[name] = Running(part, outlet=outlet)
        try:
            driver = plugins.find("drivers", part.driver)(part, outlet)
        except Exception as error:
            reason = str(error) or type(error).__name__
            log.error("%s cannot start: %s", name, reason, exc_info=not isinstance(error, LinesideError))
            self.health.state(name, "stopped", reason)
            outlet.lost(reason)
            return
        running.driver = driver
        if hasattr(driver, "write"):
            running.queue = self.writes.open(name, self.accept)
            running.tasks.append(asyncio.create_task(running.queue.serve(driver), name=f"{name} writes"))
        running.tasks.append(self._supervised(name, driver.run, outlet.lost))

    def _start_reader(self, name: str) -> None:
        reader = plugins.find("readers", name)(self.config.sections[name], self)
        self.readers[name] = Running(self.config.sections[name], [self._supervised(name, reader.run)])

    def _supervised(
        self, name: str, run: Callable[[], Awaitable[None]], lost: Callable[[str], None] = lambda reason: None
    ) -> asyncio.Task[None]:
        return asyncio.create_task(supervise(name, run, self.health, on_lost=lost), name=name)

    async def _forget_readers(self) -> None:
        """A reader that left the site loses its cursor, and an event says where it stood."""
        await self.journal.commit()  # else a cursor that waits would come again after its end
        known = await self.journal.ask(lambda db: [row[0] for row in db.execute("SELECT DISTINCT reader FROM cursor")])
        for name in set(known) - self.journal.readers:
            stood = await self.journal.on_writer(retention.end_reader, name)
            self.accept(Event("reader", name, "ended", text=f"{name} left the site", data={"stood": stood}))

    async def _end(self, parts: Iterable[Running]) -> None:
        tasks = [task for part in parts for task in part.tasks]
        for part in parts:
            if part.outlet:
                part.outlet.closed = True
        stuck = set(tasks)
        for _ in range(ASK_TO_STOP):
            for task in stuck:
                task.cancel()
            if stuck:
                _, stuck = await asyncio.wait(stuck, timeout=STOP_WITHIN / ASK_TO_STOP)
        for task in stuck:
            log.error("%s does not end and is left behind", task.get_name())

    async def stop(self) -> None:
        """End everything within 5 s, with all that was read durable."""
        self.sent.close()
        await self._end([*self.drivers.values(), *self.readers.values()])
        self.drivers, self.readers = {}, {}
        self.accept(Event("device", self.config.device.id, "stopped"))
        if self._timer is not None:
            self._timer.cancel()
        if self._timekeeping is not None:
            self._timekeeping.cancel()
        self.flow.snapshot()
        if self._journaling is not None:
            self._journaling.cancel()
            await asyncio.gather(self._journaling, return_exceptions=True)
        self.pool.close()
        self.journal.close()

    async def change(self, config: Config) -> list[str]:
        """Exchange the site: parts whose options did not change run on untouched. Returns what was started, stopped, changed.

        Raises LinesideError, with the old site still whole, when the new one cannot be wired.
        """
        old_config, old_flow, old_live = self.config, self.flow, self.live
        old_flow.snapshot()
        kept_states = {name: state for name, stage in old_flow.stages if (state := stage.snapshot()) is not None}
        self._wire(config)
        self.live.carry(old_live)
        self.flow.restore(kept_states)
        said, ended, fresh = [], [], []
        for name in list(self.drivers):
            if self._stays(name, config, self.table):
                if (queue := self.drivers[name].queue) is not None:
                    self.writes.queues[name] = queue.serving(self.table)
                continue
            ended.append(self.drivers.pop(name))
            said.append(f"{name}: {'changed' if name in config.drivers else 'stopped'}")
        for name in list(self.readers):
            if config.sections.get(name) != self.readers[name].config:
                ended.append(self.readers.pop(name))
                said.append(f"{name}: {'changed' if name in config.sections else 'stopped'}")
        await self._end(ended)
        self.accept(promised(config, self.table, "changed"))
        for name in set(old_config.parts()) - set(config.parts()):
            self.health.forget(name)  # only now: a part that ends says so
        await self._forget_readers()
        was_lost = {p.outlet.name for p in ended if p.outlet and p.outlet.state == "lost"}
        for name in config.drivers:
            if name not in self.drivers:
                self._start_driver(name, lost=name in was_lost)
                fresh.append(name)
        for name in sorted(set(readers_of(config.sections)) - set(self.readers)):
            self._start_reader(name)
            fresh.append(name)
        said += [f"{name}: started" for name in fresh if f"{name}: changed" not in said]
        self._timer_due = 2**63
        self._schedule()
        return said
