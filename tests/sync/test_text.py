"""Text tags all the way: the string is at the plane before, or with, the first block that uses its number."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import msgpack
import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from edge import Batch, CodecFault, Cursor, ManualClock, Tag, decode, decode_text, encode_text
from edge.journal import Journal
from sync import wire
from sync.control_plane import tables
from sync.control_plane.messages import apply_frames
from sync.control_plane.store import Store
from sync.device.forward import columns, tag_names
from sync.device.uplink import SyncConfig, Uplink
from tests.sync import test_spine
from tests.sync.test_restored import Restorable, restorable

WITH_TEXT = test_spine.SITE.replace(
    "      stop:", '      recipe: {{address: "holding:10", type: text, length: 8, encoding: utf-8}}\n      stop:'
)


@pytest.fixture(autouse=True)
def with_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_spine, "SITE", WITH_TEXT)


async def held(it: Restorable) -> list[str]:
    """The strings at the plane, in the order of their numbers, but for the empty one of a scan before the first move."""
    t = tables.text
    wanted = select(t.c.text).where(t.c.text != "").order_by(t.c.epoch, t.c.id)
    return list(await it.plane.store.read(lambda c: c.execute(wanted).scalars()))


async def ask(it: Restorable, path: str) -> Any:
    session = it.plane.people.login(it.plane.people.key)

    def get() -> Any:
        with urllib3.PoolManager(retries=False, timeout=60) as page:
            url = it.plane.link.split("/login")[0] + path
            return page.request("GET", url, headers={"Cookie": f"session={session}"}).json()

    return await asyncio.to_thread(get)


async def recipe(it: Restorable) -> Any:
    """The tag as the page gets it; None while the plane does not know it."""
    return next((row for row in await ask(it, "/api/devices/dev-1/tags") if row["name"] == "plc.recipe"), None)


async def says(it: Restorable, text: str) -> None:
    """Move the recipe and wait until the page's API shows it."""
    it.sim.set("recipe", text)

    async def shown() -> bool:
        row = await recipe(it)
        return row and row["value"] is not None and row["labels"].get(f"{row['value']:.0f}") == text

    await it.until(shown)


async def series(it: Restorable) -> list[Any]:
    """History, likewise."""
    found = (await ask(it, "/api/devices/dev-1/series?tag=plc.recipe&from=-600000000000"))["v"]
    return found[1:] if found[:1] == [""] else found


def test_a_string_goes_all_the_way(tmp_path: Path) -> None:
    async def work(it: Restorable) -> None:
        for text in ("A7", "配方 2", "A7"):
            await says(it, text)
        assert (await recipe(it))["type"] == "text"
        await it.all_arrived()
        assert await held(it) == ["A7", "配方 2"]
        it.plane.hub.devices.clear()
        assert await series(it) == ["A7", "配方 2", "A7"], "changes, from sealed blocks alone"

    restorable(tmp_path, work)


def test_what_the_page_sees_before_a_block_is_sealed_are_strings_too(tmp_path: Path) -> None:
    async def work(it: Restorable) -> None:
        await says(it, "A7")
        await says(it, "B2")

        async def both() -> bool:
            found = await series(it)
            return "A7" in found and found[-1] == "B2"

        await it.until(both)
        assert set(await series(it)) <= {"A7", "B2"}

    restorable(tmp_path, work)


def test_a_plane_put_back_to_a_backup_gets_its_strings_again(tmp_path: Path) -> None:
    async def work(it: Restorable) -> None:
        await says(it, "A7")
        await it.all_arrived()
        await it.daemon.stop()
        await it.device_starts()
        await it.backup()
        await says(it, "B2")
        await it.further()
        assert await held(it) == ["A7", "B2"]
        await it.plane.stop()
        await it.restore()
        await it.told("reader", "sync", "behind")

        async def whole() -> bool:
            return await held(it) == ["A7", "B2"]

        await it.until(whole)
        await it.further()
        assert (await it.events("gap")) == []

    restorable(tmp_path, work)


def test_numbers_of_another_journal_are_other_strings(tmp_path: Path) -> None:
    async def work(it: Restorable) -> None:
        await says(it, "A7")
        await it.all_arrived()
        await it.daemon.stop()
        for file in (it.folder / "dev").glob("journal.db*"):
            file.unlink()
        it.sim.set("recipe", "B2")
        await it.device_starts()
        await says(it, "B2")
        await it.further()
        assert (await recipe(it))["labels"] == {"1": "B2"}
        assert await series(it) == ["A7", "B2"]

    restorable(tmp_path, work)


def test_every_string_comes_before_or_with_the_first_block_that_uses_it(tmp_path: Path) -> None:
    """More strings than one message takes, and blocks that are sealed while the message is put together."""

    async def main() -> None:
        journal = Journal(tmp_path / "journal.db", ManualClock())
        (tag,) = journal.tag_ids([Tag("plc.recipe", type="text", source="plc")])
        up = Uplink(
            SyncConfig(url="https://plane:8443"),
            SimpleNamespace(journal=journal, clock=journal.clock, folder=tmp_path),
            transport=SimpleNamespace(),
        )
        count = 0

        async def seal(n: int) -> None:
            nonlocal count
            numbers = [journal.texts.value(tag, f"recipe {count + i}") for i in range(n)]
            count += n
            journal.append([Batch.of("plc", [tag] * n, numbers, list(range(n)))])
            assert await journal.commit(seal=True)

        read = journal.read

        async def meanwhile(stream: str, *rest: Any) -> Any:
            found = await read(stream, *rest)
            if stream == "event":
                await seal(3)
            return found

        journal.read = meanwhile  # type: ignore[method-assign]
        await seal(1300)
        known: set[float] = set()
        blocks = 0
        while blocks < 3:
            records = await up._next_records()
            known |= {float(r.seq) for r in records if r.stream == "text"}
            for record in records:
                if record.stream == "samples:plc":
                    blocks += 1
                    used = set(decode("plc", record.body).value.tolist())
                    assert used <= known, sorted(used - known)[:3]
                up.cursors[record.stream] = Cursor(record.seq)
        journal.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", msgpack.packb([1, "x" * 300]), msgpack.packb(["1", "A7"]), b"\x92\x01\xa1\xff"]
)
def test_a_string_that_is_none_is_refused_and_spoils_nothing(database: str, body: bytes) -> None:
    store = Store(database)

    async def main() -> None:
        with pytest.raises(CodecFault):
            await store.write(lambda c: apply_frames(c, "d", [wire.Frame("0" * 16, "text", 1, 0, 0, 1, body)]))
        good = wire.Frame("0" * 16, "text", 1, 0, 0, 1, encode_text(1, "A7"))
        for _ in range(2):  # a repeat changes nothing
            ack = await store.write(lambda c: apply_frames(c, "d", [good]))
        assert ack["text"].watermark == 1
        rows = await store.read(lambda c: c.execute(select(tables.text)).mappings().all())
        assert [(r["id"], r["tag"], r["text"]) for r in rows] == [(1, 1, "A7")]

    asyncio.run(main())
    store.close()


def test_a_hostile_string_is_made_harmless_at_the_plane() -> None:
    assert decode_text(msgpack.packb([1, "A\x00\u202e7"])) == (1, "A\ufffd\ufffd7")


def test_a_damaged_string_leaves_a_gap_and_the_rest_arrives(tmp_path: Path) -> None:
    async def work(it: Restorable) -> None:
        await says(it, "A7")
        await it.all_arrived()
        await it.daemon.stop()
        epoch = it.daemon.journal.epoch
        db = apsw.Connection(str(it.folder / "dev" / "journal.db"))
        db.execute("DELETE FROM cursor WHERE stream = 'text'")
        db.execute("UPDATE text SET body = x'00' WHERE seq = 1")
        db.close()
        await it.plane.store.write(
            lambda c: c.execute(tables.applied.delete().where(tables.applied.c.stream == "text"))
        )
        await it.device_starts()
        await it.until(lambda: it.told("gap", "text", "damaged"))
        await says(it, "B2")
        assert it.daemon.journal.epoch == epoch

        async def whole() -> bool:
            return await it.stands("text") == it.daemon.journal.texts.durable

        await it.until(whole)

    restorable(tmp_path, work)


def test_a_broker_gets_strings(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal(tmp_path / "journal.db", ManualClock())
        tag, speed = journal.tag_ids([Tag("plc.recipe", type="text", source="plc"), Tag("plc.speed", source="plc")])
        numbers = [journal.texts.value(tag, "A7"), 5.0, float("nan")]
        journal.append([Batch.of("plc", [tag, speed, tag], numbers, [1, 1, 2])])
        assert await journal.commit(seal=True)
        (record,) = await journal.read("samples:plc")
        (tags,) = columns(record, await journal.ask(tag_names), journal.texts.show)
        assert {t["tag"]: t["v"] for t in tags} == {"plc.recipe": ["A7", None], "plc.speed": [5.0]}
        journal.close()

    asyncio.run(main())
