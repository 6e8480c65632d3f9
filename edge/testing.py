"""The test kit, for our own drivers and for strangers': virtual time and a fake source.

from edge.testing import FakeSource, virtual_run

def test_my_driver():
    source = FakeSource("plc", ["oil_temp"])
    virtual_run(source.collect(MyDriver(config, source), seconds=3))
    assert source.values("oil_temp") == [...]
"""

from __future__ import annotations

import asyncio
import os
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .batch import Batch
from .clock import SECOND
from .event import Event
from .frame import Frame
from .memory import packed, unpacked
from .tags import Tag, TagTable

T = TypeVar("T")
START_UTC = 1_700_000_000 * SECOND


class _JumpingSelector:
    """A selector that does not wait: when nothing is ready it moves the loop's time to the next timer. While work runs on other
    threads (an executor, a held section), and while sockets are open and `patience` says so, it waits for real."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[Any]:
        if self._loop.outside > 0:
            return self._real.select(0.02 if timeout is None else min(timeout, 0.02))
        ready = self._real.select(0)
        if not ready and timeout is None:
            return self._real.select(0.5)
        if not ready and timeout:
            self._loop.now += timeout
        return ready

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps from timer to timer: an hour passes in milliseconds, and always in the same order."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.outside = 0
        super().__init__(_JumpingSelector(self))  # type: ignore[arg-type]

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Time stands still while another thread works."""
        future = super().run_in_executor(executor, func, *args)
        self.outside += 1
        future.add_done_callback(lambda _: setattr(self, "outside", self.outside - 1))
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        """Likewise at the end: from Python 3.12 on it gives up after minutes of the loop's own time."""
        self.outside += 1
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self.outside -= 1


class VirtualClock:
    """The loop's virtual time as a Clock, for any thread; `offset` (ns) moves the wall clock alone."""

    def __init__(self, utc: int = START_UTC) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self.offset = utc

    def mono(self) -> int:
        return round(self._loop.time() * SECOND)

    def utc(self) -> int:
        return self.offset + round((self._loop.time() - self._origin) * 1e6) * 1000


def virtual_run(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class FakeSource:
    """A `Source` that keeps what a driver hands out. `full = True` plays a full journal."""

    def __init__(
        self, name: str, tags: Sequence[str | Tag], clock: Any = None, folder: Path = Path(os.devnull)
    ) -> None:
        made = [t if isinstance(t, Tag) else Tag(f"{name}.{t}", source=name) for t in tags]
        self.name, self.table = name, TagTable.numbered(made)
        self.tags = self.table.of_source(name)
        self.texts = self.table.texts
        self.text = self.texts.value
        self._clock, self.folder = clock, folder
        self.batches: list[Batch] = []
        self.frames: list[Frame] = []
        self.events: list[Event] = []
        self.counts: Counter[str] = Counter()
        self.full = False
        self.phase = 0.0
        self.memory: dict[str, Any] = {}
        self._arrived = asyncio.Event()

    @property
    def clock(self) -> Any:
        if self._clock is None:
            self._clock = VirtualClock()
        return self._clock

    def ready(self) -> bool:
        return not self.full

    def emit(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._arrived.set()

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._arrived.set()

    def event(self, event: Event) -> None:
        self.events.append(event)

    def count(self, cause: str, n: int = 1) -> None:
        if n:
            self.counts[cause] += n

    def running(self) -> None: ...

    def remember(self, facts: Mapping[str, Any]) -> None:
        """Raises ValueError for what would not be kept."""
        self.memory = unpacked(self.name, packed(self.name, facts))

    def values(self, tag: str) -> list[float]:
        """Everything that arrived for a tag, in order."""
        return [float(v) for b in self.batches for v in b.value[b.tag == self.tags[tag].id]]

    def strings(self, tag: str) -> list[str | None]:
        """Likewise of a text tag, as strings."""
        return [self.texts.show(value) for value in self.values(tag)]

    def qualities(self, tag: str) -> list[int]:
        return [int(q) for b in self.batches for q in b.quality[b.tag == self.tags[tag].id]]

    async def collect(
        self, driver: Any, *, seconds: float | None = None, until: Callable[[], bool] | None = None
    ) -> None:
        """Run a driver for `seconds`, or until `until()` holds after something arrived. What it raises is raised here."""
        running = asyncio.ensure_future(driver.run())
        try:
            if seconds is not None:
                await asyncio.wait([running], timeout=seconds)
            else:
                assert until is not None
                while not until() and not running.done():
                    self._arrived.clear()
                    arrived = asyncio.ensure_future(self._arrived.wait())
                    await asyncio.wait([running, arrived], return_when=asyncio.FIRST_COMPLETED)
                    arrived.cancel()
        finally:
            if running.done():
                running.result()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
