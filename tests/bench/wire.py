"""How long an alarm waits on a line of 256 kbit/s on which a backlog, one long block or a picture is under way: a real plane, a
real broker where one goes by it, TLS, and a throttle between. `python -m tests.bench.wire [--json]`; a minute and a half."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from sqlalchemy import func, select

from edge import Batch, Event, Picture, SystemClock
from edge.health import Health
from edge.journal import Journal, JournalConfig
from edge.live import Live
from edge.tags import Tag, TagTable
from sync import wire
from sync.broker import BrokerConfig
from sync.control_plane import mosquitto, tables
from sync.control_plane.ca import Authority
from sync.control_plane.invite import Wish, invited
from sync.control_plane.plane import Plane
from sync.control_plane.where import Where
from sync.device import enrolment
from sync.device.uplink import SyncConfig, Uplink
from sync.invitation import token
from tests.broker import MOSQUITTO, Broker
from tests.throttle import Throttle

BITS, DELAY = 256_000, 0.05  # a second; seconds each way
ALARMS = 6
NOISE = np.random.default_rng(1)
UNDER_WAY = ("a backlog", "a long block", "a picture")


class Device:
    """A journal with an uplink and no source; what goes up is put in by hand."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.clock = folder, SystemClock()
        self.config: Any = SimpleNamespace(device=SimpleNamespace(id="d"))
        self.health = Health(self.clock)
        self.journal = Journal(folder / "journal.db", self.clock, JournalConfig())
        self.journal.readers = {"sync"}
        self.live = Live(TagTable.numbered([Tag("plc.n", source="plc")], self.journal.tag_ids))
        self.uplink = Uplink(SyncConfig(url=url), self)

    def accept(self, item: Any) -> None:
        if isinstance(item, Event):
            self.journal.append(events=[item])

    async def block(self, samples: int) -> None:
        at = self.clock.utc() - np.arange(samples)[::-1] * 1_000
        self.journal.append([Batch.of("plc", [1] * samples, NOISE.random(samples), at)])
        await self.journal.commit(seal=True)

    async def fill(self, what: str) -> None:
        if what == "a backlog":
            for _ in range(100):
                await self.block(2500)  # 20 kB that get no smaller
        elif what == "a long block":
            await self.block(120_000)
        else:
            body = NOISE.bytes(1_000_000)
            self.journal.append(pictures=[Picture(wire.digest(body), "image/jpeg", body)])
            await self.journal.commit()


async def measured(way: str, what: str, folder: Path) -> dict[str, Any]:
    broker = Broker(folder / "broker") if way == "mqtts" else None
    if broker:
        files = folder / "plane" / "broker"
        broker.config = mosquitto.write(files, Authority(folder / "plane"), ["127.0.0.1"], "127.0.0.1", broker.port)
        broker.start()
    access = BrokerConfig(url=f"mqtts://127.0.0.1:{broker.port}") if broker else None
    plane = Plane(Where(folder / "plane", device_port=0, page_port=0, broker=access))
    await plane.start()
    words = token(plane.url, plane.authority.fingerprint, await invited(plane.store, Wish()))
    await asyncio.to_thread(enrolment.enroll, words, "d", folder / "d")
    target = broker.port if broker else int(plane.url.rpartition(":")[2])
    async with Throttle(target, BITS, DELAY) as line:
        device = Device(folder / "d", f"{way}://127.0.0.1:{line.port}")
        await device.fill(what)
        tasks = [asyncio.ensure_future(device.journal.run()), asyncio.ensure_future(device.uplink.run())]
        try:
            return await watched(device, plane, line)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            device.journal.close()
            await plane.stop()
            if broker:
                broker.stop()


async def watched(device: Device, plane: Plane, line: Throttle) -> dict[str, Any]:
    loop, t = asyncio.get_running_loop(), tables.event

    async def there(key: str) -> bool:
        wanted = select(t.c.seq).where(t.c.device == "d", t.c.key == key)
        return await plane.store.read(lambda c: c.execute(wanted).first()) is not None

    async def arrives(key: str) -> float:
        began = loop.time()
        device.journal.append(events=[Event("alarm", key, "raised", ts=device.clock.utc(), severity="high")])
        await device.journal.commit()
        while not await there(key):
            await asyncio.sleep(0.005)
        return loop.time() - began

    await arrives("first")  # the line stands
    await asyncio.sleep(4)
    began, carried, waits = loop.time(), line.up.carried, []
    for k in range(ALARMS):
        waits.append(await arrives(f"a{k}"))
        await asyncio.sleep(0.7 + 0.13 * k)
    used = (line.up.carried - carried) / line.up.rate / (loop.time() - began)
    sums = [select(func.sum(tables.block.c.n)), select(func.count()).select_from(tables.picture)]
    samples, pictures = await plane.store.read(lambda c: [c.execute(one).scalar() or 0 for one in sums])
    return {
        "alarm_s": round(statistics.median(waits), 2),
        "worst_s": round(max(waits), 2),
        "at_once_s": round(device.uplink._pace.room / line.up.rate, 2),
        "line_used": round(used, 2),
        "still_under_way": samples < 120_000 and not pictures,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.wire", description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for way in ("https", "mqtts"):
        if way == "mqtts" and MOSQUITTO is None:
            print("mqtts: no mosquitto here; `make system-packages` installs it")
            continue
        for what in UNDER_WAY:
            folder = Path(tempfile.mkdtemp(prefix="wire-"))
            try:
                found = {"way": way, "under_way": what, **asyncio.run(measured(way, what, folder))}
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            print(json.dumps(found) if options.json else "  ".join(f"{k}={v}" for k, v in found.items()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
