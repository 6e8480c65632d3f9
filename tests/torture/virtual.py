"""One thread and a virtual clock: a run of a seed is the same each time, and an hour of it passes in a second."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from edge import SECOND
from edge.testing import START_UTC, VirtualLoop

T = TypeVar("T")


class Loop(VirtualLoop):
    """Work for other threads is done here, some of it a while later; meanwhile the world goes on."""

    dice = random.Random(0)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        done: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if done.done():
                return
            try:
                done.set_result(func(*args))
            except Exception as error:
                done.set_exception(error)

        wait = self.dice.choice((0.0, 0.0, 0.0, 0.01, 0.3, 2.0)) if executor is not None else 0.0
        if wait:
            self.call_later(wait, work)
        else:
            work()
        return done


class Clock:
    """A machine's clock: `mono` begins anew at each start, `offset` (ns) is how wrong its wall clock is."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began, self.offset = loop.time(), 0
        self._born = loop.time()

    def boot(self) -> None:
        self._began = self._loop.time()

    def mono(self) -> int:
        return round((self._loop.time() - self._began + 1.0) * SECOND)

    def utc(self) -> int:
        return START_UTC + self.offset + round((self._loop.time() - self._born) * 1e6) * 1000


class Time:
    """What the plane's modules know as `time`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def time_ns(self) -> int:
        return START_UTC + round(self._loop.time() * SECOND)

    def time(self) -> float:
        return self.time_ns() / SECOND

    def monotonic(self) -> float:
        return self._loop.time()


def run(work: Coroutine[Any, Any, T], seed: int) -> T:
    """What a callback raises ends the run, and is raised here."""

    async def watched() -> T:
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        raised: list[BaseException] = []

        def ended(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            if "handle" in context and me is not None:
                raised.append(context["exception"])
                me.cancel()

        loop.set_exception_handler(ended)
        try:
            return await work
        except asyncio.CancelledError:
            raise raised[0] if raised else RuntimeError("the run was cancelled") from None

    Loop.dice = random.Random(seed)
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(watched())
