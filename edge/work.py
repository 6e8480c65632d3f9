"""One bounded pool in earliest-deadline order for inference and other slow jobs."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import threading
from collections.abc import Callable, Iterable
from typing import Any

from .clock import Clock
from .event import Job
from .health import Health
from .log import log

NO_DEADLINE = 2**63 - 1


class Pool:
    """`threads` threads that always take the job whose deadline is nearest. At most `most` jobs wait; the one with the farthest
    deadline gives way. A job whose deadline has passed is not run: its `expired()` answers for it, and it is counted."""

    def __init__(self, clock: Clock, health: Health, threads: int = 1, most: int = 64) -> None:
        self._clock, self._health, self._most = clock, health, most
        self._heap: list[tuple[int, int, Job, Callable[[Iterable[Any]], None]]] = []
        self._turn = itertools.count()
        self._condition = threading.Condition()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.busy = 0
        self._threads = [threading.Thread(target=self._work, name=f"pool-{i}", daemon=True) for i in range(threads)]

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job, done: Callable[[Iterable[Any]], None]) -> None:
        """Queue a job; `done(results)` is called on the event loop. Does not block."""
        pushed_out = None
        with self._condition:
            heapq.heappush(self._heap, (job.deadline or NO_DEADLINE, next(self._turn), job, done))
            if len(self._heap) > self._most:
                pushed_out = max(self._heap)
                self._heap.remove(pushed_out)
                heapq.heapify(self._heap)
            self._condition.notify()
        if pushed_out is not None:
            self._give_up(pushed_out[2], pushed_out[3], "overload")

    def _give_up(self, job: Job, done: Callable[[Iterable[Any]], None], cause: str) -> None:
        self._health.count("work", cause)
        try:
            results = list(job.expired())
        except Exception:
            log.exception("%s: what it says when it is given up failed", job.name or "pool")
            results = []
        self._deliver(done, results)

    def _deliver(self, done: Callable[[Iterable[Any]], None], results: list[Any]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile: nobody waits any more
                self._loop.call_soon_threadsafe(done, results)

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._heap and not self._closed:
                    self._condition.wait()
                if self._closed:
                    return
                deadline, _, job, done = heapq.heappop(self._heap)
                self.busy += 1
            try:
                if self._clock.mono() > deadline:
                    self._give_up(job, done, "expired")
                else:
                    self._deliver(done, list(job.run()))
            except Exception:
                log.exception("%s: job failed", job.name or "pool")
                self._give_up(job, done, "failed")
            finally:
                with self._condition:
                    self.busy -= 1

    @property
    def waiting(self) -> int:
        return len(self._heap) + self.busy

    def close(self) -> None:
        """Stop the threads; jobs still waiting are not run."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=2)
