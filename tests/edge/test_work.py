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
            async with asyncio.timeout(120):
                await work(pool, clock, health)
        finally:
            pool.close()

    asyncio.run(main())


def job(name: str, deadline: float = 0, run: Callable[[], Any] | None = None, **more: Any) -> Job:
    return Job(run or (lambda: [Event("done", name)]), deadline=round(deadline * SECOND), name=name, **more)


class Gathers:
    """Keys of what came back, and a wait for `n` of them."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.more = asyncio.Event()

    def __call__(self, results: Any) -> None:
        self.keys += [e.key for e in results]
        self.more.set()

    async def wait(self, n: int) -> None:
        while len(self.keys) < n:
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
        await got.wait(3)
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
        await got.wait(1)
        assert got.keys == ["next"] and health.part("work").counts["failed"] == 1

    pooled(work)


def test_a_result_does_not_wait_for_a_job_that_may_be_long() -> None:
    async def work(pool: Pool, clock: ManualClock, health: Health) -> None:
        got, go = Gathers(), threading.Event()
        pool.submit(job("first", 10), got)
        pool.submit(job("unknown", 20, lambda: go.wait(20) and [Event("done", "unknown")]), got)
        pool.submit(job("last", 30), got)
        pool.start(asyncio.get_running_loop())
        await got.wait(1)
        assert got.keys == ["first"]
        go.set()
        await got.wait(3)

    pooled(work)


def test_short_jobs_come_back_together_and_in_order() -> None:
    async def work(pool: Pool, clock: ManualClock, health: Health) -> None:
        calls: list[str] = []
        came = asyncio.Event()

        def done(results: Any) -> None:
            calls.append("".join(e.key for e in results))
            came.set()

        go, begun = threading.Event(), threading.Event()
        pool.submit(job("short", 1, lambda: [Event("done", "s")]), done)
        pool.start(asyncio.get_running_loop())
        await came.wait()
        pool.submit(job("holds", 2, lambda: begun.set() or (go.wait(20) and [Event("done", "0")])), done)
        await asyncio.to_thread(begun.wait, 20)
        for i in (1, 2, 3):
            pool.submit(job("short", 10 + i, lambda i=i: [Event("done", str(i))]), done)
        go.set()
        while len("".join(calls)) < 5:
            came.clear()
            await came.wait()
        assert calls[0] == "s" and "".join(calls) == "s0123" and len(calls) < 5

    pooled(work)
