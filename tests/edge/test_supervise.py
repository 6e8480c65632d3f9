"""Keeping a part alive, on virtual time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from edge.errors import ConfigFault, DeviceLost
from edge.health import Health
from edge.supervise import supervise
from edge.testing import VirtualClock, virtual_run


class Widest(random.Random):
    """No jitter: always the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return b


def falls(
    error: BaseException, seconds: float, each: float = 0.0, **options: Any
) -> tuple[list[float], Health, list[str]]:
    """Start times (from the first) of a part that raises `error` after `each` seconds, watched for `seconds`."""

    async def main() -> tuple[list[float], Health, list[str]]:
        loop, began, reasons = asyncio.get_running_loop(), [], []
        health = Health(VirtualClock())

        async def run() -> None:
            began.append(loop.time())
            await asyncio.sleep(each)
            raise error

        task = asyncio.ensure_future(
            supervise("x", run, health, on_lost=reasons.append, randomness=Widest(), **options)
        )
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return [round(t - began[0], 6) for t in began], health, reasons

    return virtual_run(main())


def test_the_wait_doubles_up_to_its_longest() -> None:
    began, health, reasons = falls(DeviceLost("gone"), 30, longest_wait=4.0)
    assert began[:7] == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5]
    assert reasons == ["gone"] * len(reasons) and health.part("x").restarts == len(reasons)


def test_a_steady_run_starts_the_wait_anew() -> None:
    began, _, _ = falls(DeviceLost("gone"), 100, each=20.0)
    assert began == [0, 20.5, 41, 61.5, 82]


def test_an_error_that_cannot_heal_stops_a_part_that_never_ran() -> None:
    began, health, reasons = falls(ConfigFault("no such register"), 60)
    assert began == [0] and health.part("x").state == "stopped" and reasons == ["no such register"]


def test_a_part_that_ran_is_tried_again_whatever_it_says() -> None:
    began, _, _ = falls(ConfigFault("no such register"), 60, each=15.0)
    assert began == [0, 15.5, 31, 46.5]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(1), ExceptionGroup("two", [OSError()])])
def test_what_a_library_raises_from_inside_does_not_end_the_part(error: BaseException) -> None:
    began, _, reasons = falls(error, 2)
    assert began == [0, 0.5, 1.5] and len(reasons) == 3


def test_cancelling_ends_it_at_once_and_says_nothing_is_lost() -> None:
    async def main() -> None:
        health, reasons = Health(VirtualClock()), []

        async def run() -> None:
            await asyncio.Event().wait()

        task = asyncio.ensure_future(supervise("x", run, health, on_lost=reasons.append))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert health.part("x").state == "stopped" and not reasons

    virtual_run(main())
