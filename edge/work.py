"""One bounded pool in earliest-deadline order for inference and other slow jobs."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from .clock import Clock
from .event import Job
from .health import Health
from .log import log

NO_DEADLINE = 2**63 - 1
HAND_OVER_WITHIN = 2_000_000  # ns a result may wait for the next one, so that short jobs do not wake the loop each

Done = Callable[[Iterable[Any]], None]


class Pool:
    """`threads` threads that always take the job whose deadline is nearest. At most `most` jobs wait; the one with the farthest
    deadline gives way. A job whose deadline has passed is not run: its `expired()` answers for it, and it is counted.

    Waking the event loop costs about as much as a small network. So while more jobs wait, and the next one is known to be
    short, results are handed over together.
    """

    def __init__(self, clock: Clock, health: Health, threads: int = 1, most: int = 64) -> None:
        self._clock, self._health, self._most = clock, health, most
        self._heap: list[tuple[int, int, Job, Done]] = []
        self._turn = itertools.count()
        self._condition = threading.Condition()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._finished: deque[tuple[Done, list[Any]]] = deque()
        self._oldest = 0  # monotonic ns at which the first of them was finished
        self._woken = False  # a hand-over is on its way to the loop
        self._took: dict[str, int] = {}  # ns that the last job of each name took
        self.busy = 0
        self._threads = [threading.Thread(target=self._work, name=f"pool-{i}", daemon=True) for i in range(threads)]

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        for thread in self._threads:
            thread.start()
        if self._finished:
            self._wake()

    def submit(self, job: Job, done: Done) -> None:
        """Queue a job; `done(results)` is called on the event loop, once for all that are handed over together. Does not block."""
        pushed_out = None
        with self._condition:
            heapq.heappush(self._heap, (job.deadline or NO_DEADLINE, next(self._turn), job, done))
            if len(self._heap) > self._most:
                pushed_out = max(self._heap)
                self._heap.remove(pushed_out)
                heapq.heapify(self._heap)
            self._condition.notify()
        if pushed_out is not None:
            self._finished.append((pushed_out[3], self._given_up(pushed_out[2], "overload")))
            self._wake()

    def _given_up(self, job: Job, cause: str) -> list[Any]:
        self._health.count("work", cause)
        try:
            return list(job.expired())
        except Exception:
            log.exception("%s: what it says when it is given up failed", job.name or "pool")
            return []

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            deadline, job, done = taken
            began = self._clock.mono()
            try:
                results = list(job.run()) if began <= deadline else self._given_up(job, "expired")
            except Exception:
                log.exception("%s: job failed", job.name or "pool")
                results = self._given_up(job, "failed")
            with self._condition:
                self.busy -= 1
                now = self._clock.mono()
                self._took[job.name] = now - began
                self._oldest = self._oldest if self._finished else now
                self._finished.append((done, results))
                alone = not self._heap
            if alone:
                self._wake()

    def _next(self) -> tuple[int, Job, Done] | None:
        """Wait for a job and take it; None when the pool closes. The last one waiting wakes the loop, which may have more."""
        with self._condition:
            while not self._heap and not self._closed:
                self._condition.wait()
            if self._closed:
                return None
            deadline, _, job, done = heapq.heappop(self._heap)
            self.busy += 1
            back = self._clock.mono() + self._took.get(job.name, HAND_OVER_WITHIN)
            wanted = self._finished and (not self._heap or back - self._oldest >= HAND_OVER_WITHIN)
        if wanted:
            self._wake()
        return deadline, job, done

    def _wake(self) -> None:
        if self._loop is not None and not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile: nobody waits any more
                self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        """On the event loop: everything that is finished by now, in order."""
        self._woken = False
        while self._finished:
            done, results = self._finished.popleft()
            while self._finished and self._finished[0][0] is done:
                results += self._finished.popleft()[1]
            try:
                done(results)
            except Exception:
                log.exception("what follows from a job failed")

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
