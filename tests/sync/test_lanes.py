"""On a slow line what is urgent overtakes what is much. On virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="needs the plane extra")

from sqlalchemy import func, select

from edge import SECOND, Batch, Event, Picture
from edge.live import Live
from edge.tags import Tag, TagTable
from sync import wire
from sync.control_plane import tables
from sync.device.pace import LEAST, MOST, Pace
from sync.device.transport import TooLarge
from tests.sync.test_away import Device, Far, keys, rig

SPEED = 256_000 / 8  # bytes per second
FAR_AWAY = 0.2  # seconds there and back


class Slow(Far):
    """A line that carries SPEED, and takes `most` bytes at once; a picture takes a minute beside it."""

    pictures, most, whole = 0, 10**9, b""

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        if len(body) > self.most:
            raise TooLarge("a proxy says no")
        if path.startswith("/d/v1/picture"):
            await asyncio.sleep(60)
            self.pictures += 1
            return b""
        await self.carried(len(body))
        if path.startswith("/d/v1/piece"):
            self.whole = (self.whole if int(path.partition("&at=")[2]) else b"") + body
            return str(len(self.whole)).encode()
        path, _, digest = path.partition("?whole=")
        return await super().exchange(method, path, self.whole if digest else body, timeout)

    async def carried(self, size: int) -> None:
        await asyncio.sleep(FAR_AWAY + size / SPEED)


class Shared(Slow):
    """What goes in behind something comes out behind it."""

    free = 0.0

    async def carried(self, size: int) -> None:
        now = asyncio.get_running_loop().time()
        self.free = max(now, self.free) + size / SPEED
        await asyncio.sleep(FAR_AWAY + self.free - now)


def count(far: Far) -> int:
    """Samples at the plane."""
    with far.store.engine.connect() as connection:
        return int(connection.execute(select(func.sum(tables.block.c.n))).scalar() or 0)


async def arrives(device: Device, far: Far, key: str) -> float:
    """Seconds until the plane has an event that happens now."""
    began = device.clock.mono()
    device.journal.append(events=[Event("alarm", key, "raised", ts=device.clock.utc())])
    await device.journal.commit()
    while key not in keys(far, "alarm"):
        await asyncio.sleep(0.05)
    return (device.clock.mono() - began) / SECOND


def test_an_alarm_overtakes_the_backlog_on_a_slow_line(tmp_path: Path) -> None:
    async def work(device: Device, far: Far) -> None:
        far.away = True
        noise = np.random.default_rng(1).random
        for k in range(150):  # about 3 MB that do not get smaller
            at = device.clock.utc() + np.arange(2500) * 1_000_000
            device.journal.append([Batch.of("plc", [1] * 2500, noise(2500) + k, at)])
            await device.journal.commit(seal=True)
            await asyncio.sleep(3)
        far.away = False
        while count(far) < 50_000:
            await asyncio.sleep(0.5)
        waits = [await arrives(device, far, f"a{k}") for k in range(5)]
        assert max(waits) < 2 and count(far) < 300_000, "much of the backlog is still to come"
        while count(far) < 375_000:
            await asyncio.sleep(5)
        assert count(far) == 375_000

    rig(tmp_path, work, Slow)


async def large(device: Device) -> None:
    """One block of 400 kB: twelve seconds on this line."""
    at = device.clock.utc() + np.arange(50_000) * 1_000
    device.journal.append([Batch.of("plc", [1] * 50_000, np.random.default_rng(1).random(50_000), at)])
    await device.journal.commit(seal=True)


def test_an_alarm_overtakes_a_block_that_is_larger_than_what_the_line_carries(tmp_path: Path) -> None:
    async def work(device: Device, far: Far) -> None:
        await device.work(10)
        await large(device)
        await asyncio.sleep(3)
        waits = [await arrives(device, far, f"a{k}") for k in range(3)]
        assert max(waits) < 2 and count(far) < 50_000, "it is still under way"
        while count(far) < 50_000:
            await asyncio.sleep(1)

    rig(tmp_path, work, Slow)


@pytest.mark.parametrize("most", [LEAST, 10_000, 100_000])
def test_a_block_that_is_larger_than_what_something_takes_holds_up_nothing(tmp_path: Path, most: int) -> None:
    async def work(device: Device, far: Far) -> None:
        assert isinstance(far, Slow)
        far.most = most
        device.journal.append(events=[Event("k", str(n), ts=device.clock.utc(), text="x" * n) for n in range(300)])
        await large(device)
        await large(device)
        while count(far) < 100_000:
            await asyncio.sleep(1)
        assert len(keys(far, "k")) == 300 and not keys(far, "gap")

    rig(tmp_path, work, Slow)


def test_many_sources_fill_a_message_together(tmp_path: Path) -> None:
    async def work(device: Device, far: Far) -> None:
        far.away = True
        at = device.clock.utc() + np.arange(600) * 1_000
        for k in range(60):
            device.journal.append([Batch.of(f"s{k}", [1] * 600, np.random.default_rng(k).random(600), at)])
        await device.journal.commit(seal=True)
        far.away = False
        while count(far) < 36_000:
            await asyncio.sleep(1)
        assert far.largest > 100_000

    rig(tmp_path, work)


def test_newest_values_of_many_tags_hold_up_no_alarm(tmp_path: Path) -> None:
    """10,000 tags that change each second: 6.5 s of this line."""

    async def work(device: Device, far: Far) -> None:
        device.table = TagTable.numbered(
            [Tag(f"plc.t{k}", source="plc") for k in range(10_000)], device.journal.tag_ids
        )
        device.live = Live(device.table)
        ids = np.array([tag.id for tag in device.table], np.int32)

        async def change() -> None:
            while True:
                device.live(Batch.of("plc", ids, np.zeros(len(ids)), device.clock.utc()))
                await asyncio.sleep(1)

        changing = asyncio.ensure_future(change())
        while len(keys(far, "alarm")) < 1:
            await arrives(device, far, "first")
        while sum(far.shown) < 10_000:
            await asyncio.sleep(1)
        waits = [await arrives(device, far, f"a{k}") for k in range(5)]
        assert max(waits) < 2 and max(far.shown) < 2000
        changing.cancel()

    rig(tmp_path, work, Shared)


def test_a_picture_holds_up_nothing(tmp_path: Path) -> None:
    async def work(device: Device, far: Far) -> None:
        assert isinstance(far, Slow)
        await device.work(100)
        body = bytes(1000)
        device.journal.append(pictures=[Picture(wire.digest(body), "image/png", body)])
        await device.journal.commit()
        await asyncio.sleep(10)
        waits = [await arrives(device, far, f"a{k}") for k in range(5)]
        assert max(waits) < 2 and far.pictures == 0, "it is still under way"
        while not far.pictures:
            await asyncio.sleep(1)

    rig(tmp_path, work, Slow)


@pytest.mark.parametrize(
    ("speed", "low", "high"), [(2_000, LEAST, LEAST), (100_000, 45_000, 55_000), (10**8, MOST, MOST)]
)
def test_what_goes_in_a_message_follows_the_line(speed: float, low: int, high: int) -> None:
    pace = Pace()
    pace.took(0, FAR_AWAY)
    for _ in range(20):
        pace.took(pace.room, FAR_AWAY + pace.room / speed)
    pace.took(100, FAR_AWAY)  # little was there to send
    assert low <= pace.room <= high
