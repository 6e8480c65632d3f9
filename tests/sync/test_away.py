"""The plane away for an hour, and a journal with damage: nothing is lost without a record, nothing is there twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="needs the plane extra")

import apsw
import msgpack
from sqlalchemy import select

from edge import SECOND, Batch, Cursor, DeviceLost, Event, decode, disk, rows
from edge.health import Health
from edge.journal import Journal, JournalConfig
from edge.live import Live
from edge.retention import gap
from edge.tags import Tag, TagTable
from edge.testing import VirtualClock, virtual_run
from sync import wire
from sync.control_plane import standing, tables
from sync.control_plane.messages import apply_frames
from sync.control_plane.standing import stands
from sync.control_plane.store import Store
from sync.device.compare import BEGAN
from sync.device.uplink import SyncConfig, Uplink


class Far:
    """The plane behind a line that can be away, or lose the answer after the plane's COMMIT."""

    def __init__(self, store: Store) -> None:
        self.store, self.away, self.deaf, self.tries = store, False, 0, 0
        self.largest = 0
        self.anew, self.shown = False, [0]  # the plane was started anew; values in each live message

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        self.tries += 1
        if self.away:
            raise DeviceLost("nobody there")
        if path.startswith("/d/v1/dn"):
            await asyncio.sleep(20)
            return msgpack.packb([])
        if path == "/d/v1/live":
            self.shown.append(len(msgpack.unpackb(body)[2]) // 4)
            answer, self.anew = wire.WHOLE if self.anew else b"", False
            return answer
        if path.startswith("/d/v1/stands"):
            with self.store.engine.connect() as connection:
                return wire.pack_ack(stands(connection, "d", path.partition("epoch=")[2]))
        if path != "/d/v1/up":
            return b""
        self.largest = max(self.largest, len(body))
        with self.store.engine.begin() as connection:
            answer = wire.pack_ack(apply_frames(connection, "d", wire.unpack(body)))
        if self.deaf:
            self.deaf -= 1
            raise DeviceLost("the answer was lost")
        return answer

    def close(self) -> None: ...


class Even(random.Random):
    """No jitter, and no chance that the live lane brings everything unasked."""

    def random(self) -> float:
        return 0.5


class Device:
    """A journal with an uplink, and one source that gives a value every second."""

    uplink: Uplink

    def __init__(self, folder: Path, far: Far) -> None:
        self.folder, self.clock, self.far = folder, VirtualClock(), far
        self.health = Health(self.clock)
        self.journal = Journal(folder / "journal.db", self.clock, JournalConfig())
        self.journal.readers = {"sync"}
        self.table = TagTable.numbered([Tag("plc.n", source="plc")], self.journal.tag_ids)
        self.live, self.n = Live(self.table), 0

    def accept(self, item: Any) -> None: ...

    async def work(self, seconds: int) -> None:
        for _ in range(seconds):
            self.n += 1
            self.journal.append([Batch.of("plc", [1], [float(self.n)], self.clock.utc())])
            if self.n % 600 == 0:
                self.journal.append(events=[Event("k", str(self.n), ts=self.clock.utc())])
            await asyncio.sleep(1)


def rig(
    folder: Path,
    work: Callable[[Device, Far], Awaitable[None]],
    line: type[Far] = Far,
    options: SyncConfig | None = None,
) -> None:
    async def main() -> None:
        store = Store(f"sqlite:///{folder / 'plane.db'}")
        far = line(store)
        device = Device(folder, far)
        device.uplink = Uplink(options or SyncConfig(url="https://x"), device, far, Even())
        tasks = [asyncio.ensure_future(device.journal.run()), asyncio.ensure_future(device.uplink.run())]
        try:
            async with asyncio.timeout(5 * 3600):
                await work(device, far)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            device.journal.close()
            store.close()

    virtual_run(main())


def held(far: Far) -> list[float]:
    with far.store.engine.connect() as connection:
        rows = connection.execute(select(tables.block.c.body).order_by(tables.block.c.seq)).all()
    return [float(v) for (body,) in rows for v in decode("plc", body).value]


def keys(far: Far, kind: str) -> list[str]:
    t = tables.event
    with far.store.engine.connect() as connection:
        return [k for (k,) in connection.execute(select(t.c.key).where(t.c.kind == kind).order_by(t.c.seq)).all()]


def test_an_hour_without_the_plane_arrives_whole_and_once(tmp_path: Path) -> None:
    async def work(device: Device, far: Far) -> None:
        await device.work(300)
        far.away = True
        before = far.tries
        await device.work(3600)
        tries = far.tries - before
        far.away, far.deaf = False, 2
        await device.work(300)
        await device.journal.commit(seal=True)
        await asyncio.sleep(120)
        assert held(far) == [float(i) for i in range(1, 4201)]
        assert keys(far, "k") == [str(i) for i in range(600, 4201, 600)]
        assert device.journal.totals.dropped == 0 and far.largest < wire.MOST_MESSAGE
        assert tries < 3 * 3600 / 10, "each of the three lanes waits longer and longer"

    rig(tmp_path, work)


def test_a_plane_put_back_while_nobody_asked_is_noticed_with_the_next_message(tmp_path: Path) -> None:
    """`make torture FIRST=10 SEEDS=1` found it."""

    async def work(device: Device, far: Far) -> None:
        await device.work(300)
        with far.store.engine.begin() as connection:
            for table in (tables.applied, tables.block, tables.event, tables.tag):
                connection.execute(table.delete())
        assert held(far) == []
        await device.work(300)
        await device.journal.commit(seal=True)
        await asyncio.sleep(60)
        assert held(far) == [float(i) for i in range(1, 601)]

    rig(tmp_path, work)


async def blocks(device: Device, many: int) -> None:
    for _ in range(many):
        await device.work(1)
        await device.journal.commit(seal=True)
    await asyncio.sleep(5)


def test_what_a_restored_plane_holds_above_its_hole_stays_delivered_when_the_hole_is_filled(tmp_path: Path) -> None:
    async def work(device: Device, far: Far) -> None:
        await blocks(device, 6)
        a, b = tables.applied, tables.block
        with far.store.engine.begin() as connection:
            connection.execute(b.delete().where(b.c.seq.in_((2, 3))))
            stood = a.update().where(a.c.stream == "samples:plc", a.c.watermark == 6)
            assert connection.execute(stood.values(watermark=1, ranges="[[4, 6]]")).rowcount
        await device.journal.on_writer(lambda db: db.execute("DELETE FROM block WHERE seq > 3"))
        far.away = True
        await asyncio.sleep(30)
        far.away = False
        await asyncio.sleep(60)
        await blocks(device, 1)
        assert sorted(held(far)) == [1, 2, 3, 4, 5, 6, 7] and keys(far, "gap") == []

    rig(tmp_path, work)


def test_a_journal_that_was_copied_back_is_noticed_also_where_it_outgrew_its_own_past(tmp_path: Path) -> None:
    """What it says under numbers that the plane has already would count as repeats, and be lost without a word."""
    file, copy = tmp_path / "journal.db", tmp_path / "copy.db"

    async def before(device: Device, far: Far) -> None:
        await blocks(device, 2)
        await device.journal.on_writer(lambda db: db.execute("VACUUM INTO ?", (str(copy),)))
        await blocks(device, 4)
        assert held(far) == [1, 2, 3, 4, 5, 6]

    async def away(device: Device, far: Far) -> None:
        far.away = True
        await blocks(device, 3)

    async def back(device: Device, far: Far) -> None:
        await blocks(device, 5)
        await asyncio.sleep(60)
        assert held(far) == [1, 2, 3, 4, 5, 6, 1, 2, 3, 1]

    async def well(device: Device, far: Far) -> None:
        await blocks(device, 1)
        await asyncio.sleep(60)
        assert held(far) == [1, 2, 3, 4, 5, 6, 1, 2, 3, 1]

    rig(tmp_path, before)
    for work in (away, well):
        rig(tmp_path, work)  # it is away at a start, and nothing was copied
    for rest in tmp_path.glob("journal.db*"):
        rest.unlink()
    copy.rename(file)
    for work in (away, back, back):
        rig(tmp_path, work)


def test_what_an_earlier_release_delivered_meanwhile_was_not_copied_back(tmp_path: Path) -> None:
    """It came between two starts of this one, and knows nothing of what is remembered at a start."""

    async def work(device: Device, far: Far) -> None:
        await blocks(device, 3)
        device.journal.append(snapshots={BEGAN: msgpack.packb({"tag": 1, "samples:plc": 1})})

    async def later(device: Device, far: Far) -> None:
        await blocks(device, 1)
        assert held(far) == [1, 2, 3, 1]

    rig(tmp_path, work)
    rig(tmp_path, later)


def test_after_a_break_the_live_lane_brings_every_value(tmp_path: Path) -> None:
    async def work(device: Device, far: Far) -> None:
        async def next_message() -> int:
            before = len(far.shown)
            while len(far.shown) == before:
                await asyncio.sleep(0.5)
            return far.shown[-1]

        device.live(Batch.of("plc", [1], [1.0], device.clock.utc()))
        assert await next_message() == 1
        assert [await next_message() for _ in range(3)] == [0, 0, 0]
        far.away = True
        device.live(Batch.of("plc", [1], [2.0], device.clock.utc()))
        await asyncio.sleep(100)
        far.away = False
        assert await next_message() == 1
        assert await next_message() == 0
        far.anew = True
        assert [await next_message() for _ in range(3)] == [0, 1, 0]

    rig(tmp_path, work)


def test_damage_in_the_journal_reaches_the_plane_as_a_gap_and_holds_nothing_up(tmp_path: Path) -> None:
    async def work(device: Device, far: Far) -> None:
        far.away = True
        await device.work(1300)
        await device.journal.commit(seal=True)
        db = apsw.Connection(str(tmp_path / "journal.db"))
        db.execute("UPDATE block SET crc = crc + 98765 WHERE seq IN (1, 2, 5)")
        db.execute("UPDATE event SET crc = crc + 98765 WHERE seq = 1")
        spoiled = [
            v
            for (body,) in db.execute("SELECT body FROM block WHERE seq IN (1, 2, 5)")
            for v in decode("plc", body).value.tolist()
        ]
        last = dict(db.execute("SELECT name, seq FROM stream"))
        db.close()
        far.away = False
        await asyncio.sleep(180)
        assert held(far) == [float(i) for i in range(1, 1301) if i not in spoiled] and spoiled
        assert keys(far, "gap") == ["event", "plc", "plc", "plc"] and keys(far, "k") == ["1200"]
        t = tables.applied
        with far.store.engine.connect() as connection:
            stands = {s: (w, r) for s, w, r in connection.execute(select(t.c.stream, t.c.watermark, t.c.ranges))}
        assert stands["samples:plc"] == (last["samples:plc"], "[]") and stands["event"] == (last["event"] + 4, "[]")
        assert (await device.journal.cursors("sync"))["samples:plc"] == Cursor(last["samples:plc"])

    rig(tmp_path, work)


class Counts(Far):
    """Asked where it stands, it counts what gap events told."""

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        if path.startswith("/d/v1/stands"):
            with self.store.engine.begin() as connection:
                place = (connection, "d", path.partition("epoch=")[2])
                return wire.pack_ack(standing.anew(*place, standing.untold(*place)))
        return await super().exchange(method, path, body, timeout)


def test_more_holes_than_a_plane_counts_hold_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told of in any order, while samples go with them."""
    monkeypatch.setattr(standing, "MOST_RANGES", 40)
    n = 600

    def fill(db: apsw.Connection) -> None:
        with disk.transaction(db):
            for i in range(n):
                rows.seal(db, "samples:plc", [Batch.of("plc", [1], [float(i)], 10**18 + i)], 10**18)
            db.execute("DELETE FROM block WHERE seq % 2 = 0")

    async def work(device: Device, far: Far) -> None:
        far.away = True
        holes = list(range(2, n, 2))
        random.Random(1).shuffle(holes)
        await device.journal.on_writer(fill)
        device.journal.append(events=[gap(10**18, "plc", 1, 2, 1, "damaged", k, k) for k in holes])
        device.journal.append(events=[Event("alarm", "hot", "raised", ts=1)])
        await device.journal.commit()
        far.away = False
        began = device.clock.mono()
        while "hot" not in keys(far, "alarm"):
            await asyncio.sleep(1)
        assert device.clock.mono() - began < 100 * SECOND
        while len(held(far)) < n // 2:
            await asyncio.sleep(1)
        await asyncio.sleep(60)
        with far.store.engine.connect() as connection:
            assert stands(connection, "d", device.journal.epoch)["samples:plc"] == Cursor(n)

    rig(tmp_path, work, Counts)


def test_a_device_knocks_once_at_a_time_and_less_and_less_often(tmp_path: Path) -> None:
    """Each of its lanes has lost the plane; one looks for it."""

    async def work(device: Device, far: Far) -> None:
        await device.work(5)
        far.away = True
        await device.work(60)
        before = far.tries
        await device.work(1200)
        assert far.tries - before < 1200 / 30 + 5
        far.away = False
        while not held(far):
            await asyncio.sleep(1)

    rig(tmp_path, work)
