"""The grid of times that a source is read on, and the poller most drivers are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from .batch import Batch, Quality, shown
from .clock import SECOND
from .config.types import Identifier, Period
from .driver import DriverConfig, Point, Source
from .errors import DeviceLost, DeviceRefused, DeviceSilent
from .tags import Tag
from .texts import TYPE


class Grid:
    """A drift-free grid of times, `period` seconds apart. The first slot is at once, the second is earlier by the source's phase.
    A slot that was missed is skipped, and counted."""

    def __init__(self, period: float, source: Source) -> None:
        self._step, self._clock = max(1, round(period * SECOND)), source.clock
        self._origin = source.clock.mono() - int(source.phase * self._step)
        self._slot = -1

    async def next(self) -> int:
        """Wait for the next slot; returns how many slots had to be skipped."""
        now = self._clock.mono()
        due = self._slot + 1
        reached = (now - self._origin) // self._step
        skipped = max(0, reached - due)
        if skipped and (now - self._origin) % self._step == 0:
            skipped -= 1
        self._slot = due + skipped
        wait = self._origin + self._slot * self._step - now
        await asyncio.sleep(max(0, wait) / SECOND)
        return skipped


class Poller:
    """A driver that reads the same thing again and again.

    A subclass writes `poll()`, and `connect()` and `close()` where there is a connection. `poll()` returns a Batch, or
    {name below the entry: value, or the string of a text}. When it fails, every tag gets a sample whose quality says why,
    and the error decides what follows: DeviceRefused and DeviceSilent keep the connection, anything else is raised to the
    supervisor.
    """

    class Config(DriverConfig):
        every: Period = Field(1.0, description="how often to read", validate_default=False)
        timeout: Period = Field(2.0, description="how long to wait for an answer", validate_default=False)
        tags: dict[Identifier, Point] = Field(default_factory=dict, description="what to read")

    def __init__(self, config: Any, source: Source) -> None:
        self.config, self.source = config, source
        self.ids = np.array([tag.id for tag in source.tags.values()], np.int32)
        self.ids.flags.writeable = False

    async def connect(self) -> None:
        """Open what `poll` needs. Raises DeviceLost."""

    async def close(self) -> None:
        """Undo `connect`. Must not raise."""

    async def poll(self) -> Batch | Mapping[str, float | str]:
        raise NotImplementedError

    def cycles(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What runs while connected; the first that raises ends all."""
        return [self.cycle(self.config.every, self.poll, self.ids)]

    async def run(self) -> None:
        await self._connect_in_time()
        try:
            await _together(self.cycles())
        finally:
            await self.close()

    async def _connect_in_time(self) -> None:
        try:
            async with asyncio.timeout(max(5.0, 2 * self.config.timeout)):
                await self.connect()
        except TimeoutError:
            await self.close()
            raise DeviceLost("no connection in time", hint="check address, cable and firewall") from None

    async def cycle(
        self, every: float, poll: Callable[[], Awaitable[Batch | Mapping[str, float | str]]], ids: np.ndarray
    ) -> None:
        """Poll on a grid of `every` seconds for ever; `ids` are the tags that get a cause when it fails."""
        grid, silent = Grid(every, self.source), 0
        while True:
            self.source.count("overruns", await grid.next())
            if not self.source.ready():
                self.source.count("skipped_journal_full")
                continue
            try:
                if len(batch := await self._once(poll)):
                    self.source.emit(batch)
                self.source.running()
                silent = 0
            except (DeviceSilent, DeviceRefused) as error:
                refused = isinstance(error, DeviceRefused)
                quality = Quality.EXCEPTION if refused else Quality.TIMEOUT
                self.source.count(quality.name.lower())
                self.source.emit(self.failed(quality, ids))
                silent = 0 if refused else silent + 1
                if silent >= 3:
                    raise DeviceLost(f"no answer {silent} times in a row: {error}") from error

    def patience(self) -> float | None:
        """Seconds that a poll may take in all; None where `poll` sees to that itself."""
        return float(self.config.timeout)

    async def _once(self, poll: Callable[[], Awaitable[Batch | Mapping[str, float | str]]]) -> Batch:
        try:
            async with asyncio.timeout(self.patience()):
                answer = await poll()
        except TimeoutError as error:
            raise DeviceSilent(f"no answer within {self.config.timeout:g} s") from error
        return answer if isinstance(answer, Batch) else self.batch(answer)

    def batch(self, values: Mapping[str, float | str]) -> Batch:
        """A batch of the named values, stamped now; names that this site does not use are left out. A string belongs to a tag of
        type text, and nothing else does: what does not fit is BAD."""
        rows = [self._row(self.source.tags[name], value) for name, value in values.items() if name in self.source.tags]
        ids, numbers, causes = zip(*rows, strict=True) if rows else ((), (), ())
        return Batch.of(self.source.name, ids, numbers, self.source.clock.utc(), np.array(causes, np.uint8))

    def _row(self, tag: Tag, value: float | str) -> tuple[int, float, int]:
        if isinstance(value, str) != (tag.type == TYPE):
            return tag.id, np.nan, Quality.BAD
        if not isinstance(value, str):
            return tag.id, value, Quality.GOOD
        number = self.source.text(tag.id, value)
        return tag.id, number, Quality.RANGE if np.isnan(number) else Quality.GOOD

    def failed(self, quality: Quality, ids: np.ndarray | None = None) -> Batch:
        """These tags (all of this source) without a value, for this cause."""
        ids = self.ids if ids is None else ids
        return Batch.of(self.source.name, ids, np.full(len(ids), np.nan), self.source.clock.utc(), quality)

    async def probe(self) -> Sequence[str]:
        """Connect once and read once: a line per tag."""
        await self._connect_in_time()
        try:
            batch = await self._once(self.poll)
        finally:
            await self.close()
        self.source.emit(batch)
        by_id = {tag.id: (name, tag.type) for name, tag in self.source.tags.items()}

        def said(name: str, kind: str, value: float) -> str:
            text = self.source.texts.show(value) if kind == TYPE else None
            return f"{name} = {shown(value) if text is None else repr(text)}"

        return [
            f"{said(*by_id[int(t)], v)} ({Quality(int(q)).name})"
            for t, v, q in zip(batch.tag, batch.value, batch.quality, strict=True)
        ]


async def _together(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    if len(work) == 1:
        await work[0]
        return
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
