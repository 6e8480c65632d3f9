"""The pool for slow jobs: earliest deadline first, bounded, and not to be ended by any job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from edge import Event
from edge.clock import SECOND, ManualClock
from edge.event import Job
from edge.health import Health
from edge.work import Pool


def pooled(work: Callable[[Pool, ManualClock, Health], Awaitable[None]], most: int = 64) -> None:
    async def main() -> None:
        clock = ManualClock()
        health = Health(clock)
        pool = Pool(clock, health, threads=1, most=most)
        try:
            async with asyncio.timeout(30):
                await work(pool, clock, health)
        finally:
            pool.close()

    asyncio.run(main())


def job(name: str, deadline: float = 0, run: Callable[[], Any] | None = None, **more: Any) -> Job:
    return Job(run or (lambda: [Event("done", name)]), deadline=round(deadline * SECOND), name=name, **more)


class Gathers:
    """Keys of what came back, and a wait for `n` answers."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.answers = 0
        self.more = asyncio.Event()

    def __call__(self, results: Any) -> None:
        self.keys += [e.key for e in results]
        self.answers += 1
        self.more.set()

    async def wait(self, n: int) -> None:
        while self.answers < n:
            self.more.clear()
            await self.more.wait()


def test_the_nearest_deadline_runs_first_and_none_runs_last() -> None:
    async def work(pool: Pool, clock: ManualClock, health: Health) -> None:
        got = Gathers()
        for name, deadline in (("late", 90), ("never", 0), ("soon", 10), ("middle", 50)):
            pool.submit(job(name, deadline), got)
        pool.start(asyncio.get_running_loop())
        await got.wait(4)
        assert got.keys == ["soon", "middle", "late", "never"]

    pooled(work)


def test_of_too_many_the_farthest_deadline_gives_way_and_says_so() -> None:
    async def work(pool: Pool, clock: ManualClock, health: Health) -> None:
        got = Gathers()
        pool.start(asyncio.get_running_loop())
        held, begun = threading.Event(), threading.Event()
        pool.submit(job("holds", 1, lambda: begun.set() or (held.wait(20) and ())), got)
        await asyncio.to_thread(begun.wait, 20)
        for name, deadline in (("a", 20), ("b", 30), ("far", 99)):
            pool.submit(job(name, deadline, expired=lambda name=name: [Event("expired", f"no {name}")]), got)
        held.set()
        await got.wait(4)
        assert got.keys == ["no far", "a", "b"] and health.part("work").counts["overload"] == 1

    pooled(work, most=2)


def test_a_job_whose_time_has_passed_is_not_run() -> None:
    async def work(pool: Pool, clock: ManualClock, health: Health) -> None:
        got, ran = Gathers(), []
        pool.submit(job("old", 2, lambda: ran.append(1) or (), expired=lambda: [Event("expired", "old")]), got)
        clock.advance(60)
        pool.start(asyncio.get_running_loop())
        await got.wait(1)
        assert got.keys == ["old"] and not ran and health.part("work").counts["expired"] == 1

    pooled(work)


def test_no_job_ends_the_thread_whatever_it_raises() -> None:
    async def work(pool: Pool, clock: ManualClock, health: Health) -> None:
        got = Gathers()
        pool.submit(job("bad", 10, lambda: 1 / 0, expired=lambda: 1 / 0), got)
        pool.submit(job("next", 20), got)
        pool.start(asyncio.get_running_loop())
        await got.wait(2)
        assert got.keys == ["next"] and health.part("work").counts["failed"] == 1

    pooled(work)
