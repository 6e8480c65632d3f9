"""Many devices that lose one plane at the same moment: it is met by a few of them at a time. On virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edge import DeviceLost
from edge.health import Health
from edge.testing import VirtualClock, virtual_run
from sync.device.uplink import SyncConfig, Uplink

DEVICES = 500
AWAY = 600.0  # seconds


class Plane:
    """Away until AWAY seconds are over; notes when it was asked."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.met: Counter[int] = Counter()

    async def lane(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self.began < AWAY:
            self.asked[int(now - self.began)] += 1
            raise DeviceLost("nobody there")
        self.met[int(now - self.began - AWAY)] += 1
        await asyncio.get_running_loop().create_future()

    async def run(self, devices: int, randomness: Callable[[int], random.Random]) -> None:
        self.began = asyncio.get_running_loop().time()
        clock = VirtualClock()
        host: Any = SimpleNamespace(health=Health(clock), clock=clock, folder=Path("none"))
        lanes = []
        for k in range(devices):
            uplink = Uplink(SyncConfig(url="https://x"), host, None, randomness(k))
            lanes.append(asyncio.ensure_future(uplink._again(self.lane, leads=True)))
        await asyncio.sleep(AWAY + 300)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)


def test_devices_that_lost_the_plane_together_do_not_come_back_together() -> None:
    plane = Plane()
    virtual_run(plane.run(DEVICES, random.Random))
    late = [n for second, n in plane.asked.items() if second > 200]
    assert max(late) < DEVICES / 10, "no second of the last minutes sees more than a tenth of them"
    assert max(plane.met.values()) < DEVICES / 10 and sum(plane.met.values()) == DEVICES
    assert max(plane.met) <= 60, "all are back within a minute"


def test_each_device_waits_anywhere_between_nothing_and_its_bound() -> None:
    """Full jitter: the first try after a break is spread over all of its time, too."""
    plane = Plane()
    virtual_run(plane.run(DEVICES, random.Random))
    first, second = plane.asked[1], plane.asked[0] - DEVICES
    assert abs(first - second) < DEVICES / 2 and min(first, second) > DEVICES / 10
