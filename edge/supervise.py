"""Keeps one part alive."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from .errors import LinesideError, reason_of
from .health import Health
from .log import log

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    health: Health,
    *,
    on_lost: Callable[[str], None] = lambda reason: None,
    randomness: random.Random | None = None,
    longest_wait: float = LONGEST_WAIT,
    steady_after: float = 10.0,
) -> None:
    """Run `run` for ever: when it raises, say so once, wait with jitter, start again.

    The wait doubles up to `longest_wait` seconds and starts anew after `steady_after` seconds of running. `on_lost(reason)` is
    called at each fall. An error that repeats with the same words is logged once. Ends only by cancellation, or by an
    error that cannot heal in a part that never ran (a `LinesideError` with `heals = False`): then it is shown as stopped.
    """
    rng = randomness or random.Random()
    wait, said = FIRST_WAIT, ""
    loop = asyncio.get_running_loop()
    while True:
        started = loop.time()
        health.state(name, "starting", said)
        try:
            await run()
            reason = "ended by itself"
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                health.state(name, "stopped")
                raise
            reason = f"cancelled from inside: {error}".rstrip(": ")  # a library gave up a task of its own
            if reason != said:
                log.warning("%s: %s", name, reason)
        except LinesideError as error:
            reason = str(error)
            if reason != said:
                log.warning("%s: %s", name, reason)
            if not error.heals and loop.time() - started < steady_after:
                health.state(name, "stopped", reason)
                on_lost(reason)
                return
        except OSError as error:
            reason = reason_of(error)
            if reason != said:
                log.warning("%s: %s", name, reason)
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            if reason != said:
                log.exception("%s: unexpected error, restarting", name)
        said = reason
        if loop.time() - started >= steady_after:
            wait = FIRST_WAIT
        health.part(name).restarts += 1
        health.state(name, "waiting", reason)
        on_lost(reason)
        await asyncio.sleep(wait * rng.uniform(0.5, 1.0))
        wait = min(longest_wait, wait * 2)
