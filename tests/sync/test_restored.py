"""A plane put back to an older backup, a device with another journal: nothing is lost or doubled without a word."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import func, select

from edge import Cursor, Picture, decode_event
from sync.control_plane import backup, database, tables
from sync.control_plane.invite import Wish, invited
from sync.control_plane.where import Where, address_of
from sync.device import enrolment
from sync.device.compare import holes
from sync.invitation import token
from tests.sync.test_spine import Rig, both_ways

pytestmark = pytest.mark.usefixtures("database")
DELIVERED = "SELECT watermark FROM cursor WHERE reader = 'sync' AND stream = 'samples:plc'"


class Restorable(Rig):
    """A rig whose plane can be copied and put back."""

    async def backup(self) -> None:
        await asyncio.to_thread(backup.backup, Where(self.folder / "plane"), self.folder / "backup")

    async def restore(self) -> None:
        """For a plane that is stopped: it is gone, and made anew."""
        where = Where(self.folder / "plane")
        engine = database.opened(address := address_of(where))
        if engine.dialect.name == "postgresql":
            with engine.begin() as connection:
                connection.exec_driver_sql("DROP SCHEMA public CASCADE")
                connection.exec_driver_sql("CREATE SCHEMA public")
            where = replace(where, database=address)
        engine.dispose()
        shutil.rmtree(where.folder)
        await asyncio.to_thread(backup.restore, where, self.folder / "backup")
        await self.plane_starts()

    async def stands(self, stream: str) -> int:
        t = tables.applied
        wanted = select(func.max(t.c.watermark)).where(t.c.stream == stream)
        return int(await self.plane.store.read(lambda c: c.execute(wanted).scalar()) or 0)

    async def further(self, n: int = 4) -> None:
        """Until some more blocks are acknowledged."""
        before = await self.stands("samples:plc")

        async def moved() -> bool:
            return await self.stands("samples:plc") >= before + n

        await self.until(moved)

    async def alarm(self, value: int, state: str) -> None:
        self.sim.set("temp", value)

        async def told() -> bool:
            return ("hot", state) == (await self.events("alarm") or [("", "")])[-1]

        await self.until(told)

    async def order(self, verb: str, state: str) -> None:
        await self.plane.ingest.command("dev-1", verb, {"alarm": "hot", "by": "me"})

        async def told() -> bool:
            return ("hot", state) in await self.events("alarm")

        await self.until(told)

    async def picture(self, body: bytes) -> str:
        digest = hashlib.sha256(body).hexdigest()
        self.daemon.journal.append(pictures=[Picture(digest, "image/png", body)])
        await self.until(lambda: self.has(digest))
        return digest

    async def has(self, digest: str) -> bool:
        t = tables.picture
        return bool(
            await self.plane.store.read(lambda c: c.execute(select(t.c.digest).where(t.c.digest == digest)).all())
        )

    async def told(self, kind: str, key: str, state: str) -> str:
        t = tables.event
        wanted = select(t.c.text).where(t.c.kind == kind, t.c.key == key, t.c.state == state)

        async def found() -> Any:
            return await self.plane.store.read(lambda c: c.execute(wanted).scalars().all())

        texts = await self.until(found)
        assert len(texts) == 1, "it is said once"
        return str(texts[0])


def restorable(folder: Path, work: Callable[[Restorable], Awaitable[None]], way: str = "https") -> None:
    async def main() -> None:
        async with Restorable(folder, way) as it:
            await work(it)  # type: ignore[arg-type]

    asyncio.run(main())


@both_ways
def test_a_plane_put_back_to_a_backup_gets_again_what_it_had_acknowledged(tmp_path: Path, way: str) -> None:
    async def work(it: Restorable) -> None:
        await it.further()
        await it.order("shelve", "shelved")
        await it.backup()
        await it.further()
        await it.alarm(85, "raised")
        await it.order("ack", "acked")
        digest = await it.picture(b"kept since")
        await it.plane.stop()
        await it.restore()
        words = await it.told("reader", "sync", "behind")
        assert "restored from a backup?" in words and ", 0 are no longer here" in words
        await it.order("unshelve", "unshelved")  # a new order is none of those that ran already
        assert await it.all_arrived() == it.daemon.journal.totals.appended
        await it.until(lambda: it.has(digest))
        happened = await it.daemon.journal.ask(lambda db: next(db.execute("SELECT count(*) FROM event"))[0])

        async def whole() -> bool:
            return await it.stands("event") == happened

        await it.until(whole)
        t = tables.alarm
        (row,) = await it.plane.store.read(lambda c: c.execute(select(t)).mappings().all())
        assert (row["active"], row["acked"]) == (True, True)

    restorable(tmp_path, work, way)


@both_ways
def test_what_is_no_longer_here_either_is_told(tmp_path: Path, way: str) -> None:
    async def work(it: Restorable) -> None:
        await it.further()
        await it.backup()
        await it.further(6)
        await it.plane.stop()
        (stood,) = await it.daemon.journal.ask(lambda db: next(db.execute(DELIVERED)))
        gone = "DELETE FROM block WHERE seq <= ? RETURNING seq, n"
        forgotten = dict(await it.daemon.journal.on_writer(lambda db: list(db.execute(gone, (stood - 2,)))))
        await it.restore()
        words = await it.told("gap", "plc", "forgotten")
        first = int(words.split()[1])
        assert words.startswith(f"records {first} to {stood - 2} of plc")
        lost = sum(n for seq, n in forgotten.items() if seq >= first)
        await it.daemon._end(it.daemon.drivers.values())
        await it.daemon.journal.commit(seal=True)
        appended = it.daemon.journal.totals.appended

        async def rest() -> bool:
            return await it.count() == appended - lost and await it.stands("samples:plc") > stood

        await it.until(rest)

    restorable(tmp_path, work, way)


def test_a_hole_that_an_answer_shows_is_filled(tmp_path: Path) -> None:
    """However that came about."""

    async def work(it: Restorable) -> None:
        await it.further()
        a, b = tables.applied, tables.block

        def lose(connection: Any) -> int:
            last = connection.execute(select(a.c.watermark).where(a.c.stream == "samples:plc")).scalar()
            connection.execute(b.delete().where(b.c.seq == last - 1))
            stands = {"watermark": last - 2, "ranges": json.dumps([[last, last]])}
            connection.execute(a.update().where(a.c.stream == "samples:plc").values(**stands))
            return int(last) - 1

        gone = await it.plane.store.write(lose, "dev-1")

        async def back() -> bool:
            found = select(b.c.seq).where(b.c.seq == gone)
            return bool(await it.plane.store.read(lambda c: c.execute(found).all()))

        await it.until(back)
        await it.told("reader", "sync", "behind")
        assert await it.all_arrived() == it.daemon.journal.totals.appended

    restorable(tmp_path, work)


def test_a_new_journal_is_said_and_the_alarms_of_the_old_one_end(tmp_path: Path) -> None:
    async def work(it: Restorable) -> None:
        await it.alarm(85, "raised")
        first = await it.all_arrived()
        await it.daemon.stop()
        for file in (it.folder / "dev").glob("journal.db*"):
            file.unlink()
        it.sim.set("temp", 20)
        await it.device_starts()
        words = await it.told("gap", "journal", "new_journal")
        assert "not delivered is lost" in words and "stood: hot" in words
        t = tables.alarm
        (row,) = await it.plane.store.read(lambda c: c.execute(select(t)).mappings().all())
        assert (row["active"], row["acked"]) == (False, True)
        await it.further()
        await it.daemon._end(it.daemon.drivers.values())
        await it.daemon.journal.commit(seal=True)
        total = first + it.daemon.journal.totals.appended

        async def both() -> bool:
            return await it.count() == total

        await it.until(both)
        assert (await it.events("gap")) == [("journal", "new_journal")]
        await it.alarm(85, "raised")

    restorable(tmp_path, work)


def test_an_order_of_an_old_journals_time_is_not_carried_out_again(tmp_path: Path) -> None:
    """A new journal knows of no order, so the plane sends it all there ever were."""

    async def work(it: Restorable) -> None:
        def shelve() -> int:
            base, session = it.plane.link.partition("/login")[0], it.plane.people.login(it.plane.people.key)
            with urllib3.PoolManager(retries=False, timeout=60) as page:
                where, words = f"{base}/api/devices/dev-1/alarms/hot", {"verb": "shelve"}
                return int(page.request("POST", where, json=words, headers={"Cookie": f"session={session}"}).status)

        async def shelved() -> int:
            events = [decode_event(record.body) for record in await it.daemon.journal.read("event", 0, 1000)]
            return sum(event.state == "shelved" for event in events)

        async def asked() -> bool:
            return "commands" in await it.daemon.journal.cursors("sync")

        await it.alarm(85, "raised")
        assert await asyncio.to_thread(shelve) == 202
        await it.until(shelved)
        await it.all_arrived()
        await it.daemon.stop()
        for file in (it.folder / "dev").glob("journal.db*"):
            file.unlink()
        await it.device_starts()
        await it.told("gap", "journal", "new_journal")
        await it.until(asked)
        assert not await shelved()
        assert await asyncio.to_thread(shelve) == 202
        await it.until(shelved)

    restorable(tmp_path, work)


def test_a_journal_put_back_to_a_copy_is_said_and_never_mixed_with_its_own_past(tmp_path: Path) -> None:
    async def work(it: Restorable) -> None:
        await it.further()
        await it.daemon.stop()
        shutil.copytree(it.folder / "dev", it.folder / "copy")
        await it.device_starts()
        await it.further(8)
        await it.daemon.stop()
        shutil.rmtree(it.folder / "dev")
        shutil.copytree(it.folder / "copy", it.folder / "dev")
        held = await it.count()
        await it.device_starts()

        async def said() -> bool:
            return "copied back from a backup" in it.daemon.health.part("sync").reason

        await it.until(said)
        assert await it.count() == held and it.daemon.health.part("sync").state == "stopped"

    restorable(tmp_path, work)


@both_ways
def test_a_device_that_was_forgotten_goes_on_when_it_is_enrolled_again(tmp_path: Path, way: str) -> None:
    async def work(it: Restorable) -> None:
        await it.further()
        await it.plane.store.write(lambda c: c.execute(tables.device.delete()))
        await it.plane.stop()
        await it.plane_starts()

        async def said() -> bool:
            return "does not know this device" in it.daemon.health.part("sync").reason

        await it.until(said)
        words = token(it.plane.url, it.plane.authority.fingerprint, await invited(it.plane.store, Wish()))
        await asyncio.to_thread(enrolment.enroll, words, "dev-1", it.folder / "dev")
        await it.further()
        assert await it.all_arrived() == it.daemon.journal.totals.appended

    restorable(tmp_path, work, way)


def test_holes_of_a_cursor() -> None:
    assert holes(Cursor(3, [(5, 6), (9, 9)]), 11) == [(4, 4), (7, 8), (10, 11)]
    assert holes(Cursor(3, [(5, 6), (9, 12)]), 8) == [(4, 4), (7, 8)]
    assert holes(Cursor(8), 8) == [] and holes(Cursor(), 2) == [(1, 2)]
