"""Messages of many devices in one COMMIT: each counts as if it had come alone."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import func, select
from sqlalchemy.event import listen
from starlette.requests import Request

from edge import Batch, CodecFault, Cursor, Event, Record, encode, encode_event
from sync import wire
from sync.control_plane import standing, tables
from sync.control_plane import store as store_module
from sync.control_plane.ca import Authority
from sync.control_plane.callers import PROVEN
from sync.control_plane.database import insert_new
from sync.control_plane.ingest import Ingest
from sync.control_plane.live import Hub
from sync.control_plane.messages import Message
from sync.control_plane.replace import replaced
from sync.control_plane.standing import stands
from sync.control_plane.store import READERS, Store, StoreFault
from sync.replacement import Replacement
from tests.sync.enrolled import Shown, shown
from tests.sync.stored import with_store

BODY = encode(Batch.of("plc", [1], [1.0], 1))
OLD, NEW = "0" * 16, "1" * 16


def block(seq: int, epoch: str = OLD, stream: str = "samples:plc", n: int = 1) -> wire.Frame:
    return wire.Frame(epoch, stream, seq, 1, 2, n, BODY)


def event(seq: int, epoch: str = OLD, **data: Any) -> wire.Frame:
    return wire.Frame(epoch, "event", seq, 1, 1, 1, encode_event(Event("gap", "plc", "lost", 1, data=data)))


async def at_once(store: Store, messages: Iterable[Message]) -> list[Any]:
    """The answers to messages that are committed together."""
    busy, gate, commits = threading.Event(), threading.Event(), store.commits

    def hold(_: Any) -> None:
        busy.set()
        gate.wait(20)

    before = asyncio.ensure_future(store.write(hold))
    await asyncio.to_thread(busy.wait, 20)
    answers = [asyncio.ensure_future(store.write(message)) for message in messages]
    await asyncio.sleep(0)  # they are all in the queue
    gate.set()
    await before
    found = await asyncio.gather(*answers, return_exceptions=True)
    assert store.commits == commits + 2
    return found


async def held(store: Store) -> list[tuple[str, int]]:
    t = tables.block
    wanted = select(t.c.device, t.c.seq).order_by(t.c.device, t.c.epoch, t.c.seq)
    return [tuple(row) for row in await store.read(lambda c: c.execute(wanted).all())]


def test_each_is_taken_once(database: str) -> None:
    async def work() -> None:
        store = Store(database)
        sent = [
            Message("a", [block(1), block(2), block(2)]),
            Message("b", [block(1), block(4)]),
            Message("a", [block(2), block(3)]),
            Message("c", []),
        ]
        for _ in range(2):  # a repeat changes nothing
            answers = await at_once(store, sent)
            a, b, again, c = ({s: (cursor.watermark, cursor.ranges) for s, cursor in one.items()} for one in answers)
            assert a == again == {"samples:plc": (3, [])} and b == {"samples:plc": (1, [(4, 4)])} and c == {}
            assert await held(store) == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 4)]
        store.close()

    asyncio.run(work())


def test_an_answer_comes_after_the_commit(database: str) -> None:
    async def work() -> None:
        store, reached, go = Store(database), threading.Event(), threading.Event()

        def hold(_: Any) -> None:
            reached.set()
            assert go.wait(20)

        listen(store.writing, "commit", hold)
        answer = asyncio.ensure_future(store.write(Message("a", [block(1)])))
        try:
            await asyncio.to_thread(reached.wait, 20)
            for _ in range(10):
                await asyncio.sleep(0)
            assert not answer.done()
        finally:
            go.set()
        assert (await answer)["samples:plc"].watermark == 1
        store.close()

    asyncio.run(work())


def test_one_that_cannot_be_taken_spoils_none_beside_it(database: str) -> None:
    async def work() -> None:
        store = Store(database)
        junk = wire.Frame(OLD, "event", 1, 1, 1, 1, b"junk")
        answers = await at_once(
            store, [Message("a", [block(1)]), Message("bad", [block(1), junk]), Message("b", [block(1), event(1)])]
        )
        assert isinstance(answers[1], CodecFault)
        assert [answers[k]["samples:plc"].watermark for k in (0, 2)] == [1, 1] and answers[2]["event"].watermark == 1
        assert await held(store) == [("a", 1), ("b", 1)], "nothing of the bad one, its good block neither"
        store.close()

    asyncio.run(work())


def test_a_gap_told_in_the_same_message_moves_the_cursor_of_its_blocks(database: str) -> None:
    async def work() -> None:
        store = Store(database)
        told = event(1, stream="samples:plc", first=1, last=4)
        (answer,) = await at_once(store, [Message("a", [block(5), told])])
        assert answer["samples:plc"].watermark == 5 and answer["event"].watermark == 1
        store.close()

    asyncio.run(work())


def test_a_new_journal_is_told_once(database: str) -> None:
    async def work() -> None:
        store = Store(database)
        await at_once(store, [Message("a", [block(1)])])
        both = [block(1, NEW), block(1, NEW, "samples:other")]
        await at_once(store, [Message("a", both), Message("a", both), Message("b", [block(1)])])
        t = tables.event
        told = select(t.c.device, func.count()).group_by(t.c.device)
        assert await store.read(lambda c: [tuple(row) for row in c.execute(told)]) == [("a", 1)]
        store.close()

    asyncio.run(work())


def test_a_number_beyond_its_column_is_its_senders_fault(database: str) -> None:
    async def work() -> None:
        store = Store(database)
        answers = await at_once(store, [Message("bad", [block(1, n=2**40)]), Message("a", [block(1)])])
        assert answers[1]["samples:plc"].watermark == 1
        if store.engine.dialect.name == "postgresql":
            assert isinstance(answers[0], CodecFault) and await held(store) == [("a", 1)]
        store.close()

    asyncio.run(work())


def test_numbers_with_many_holes_are_refused_until_those_are_filled(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of each hole is read and written with each message of that stream."""
    monkeypatch.setattr(standing, "MOST_RANGES", 10)

    async def work() -> None:
        store = Store(database)
        odd = [block(seq) for seq in range(2, 24, 2)]
        answers = await at_once(store, [Message("bad", odd), Message("good", [block(1)])])
        taken = Cursor(0, [(n, n) for n in range(2, 21, 2)])
        assert answers[0]["samples:plc"] == taken and answers[1]["samples:plc"].watermark == 1
        assert (await store.write(Message("bad", odd[:10])))["samples:plc"] == taken
        with pytest.raises(StoreFault, match="in more than 10 places"):
            await store.write(Message("bad", [block(30)]))
        told = Message("bad", [block(30), event(1, stream="samples:other", first=1, last=1)])
        answer = await store.write(told)
        assert answer["event"].watermark == 1 and 30 not in answer["samples:plc"], "what came with it is taken"
        filled = [block(seq) for seq in (5, 7, 9, 30, 31)]
        await store.write(Message("bad", filled))
        assert (await store.write(Message("bad", [block(1)])))["samples:plc"] == Cursor(2, STOOD)
        await store.write(Message("bad", [block(3), *odd]))
        assert (await store.write(Message("bad", [block(2)])))["samples:plc"].watermark == 10
        store.close()

    STOOD = [(4, 10), *((n, n) for n in range(12, 21, 2)), (30, 31)]
    asyncio.run(work())


def test_gaps_that_find_no_room_are_taken_and_count_when_what_is_below_them_is_here(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events go before samples: to refuse a gap would hold up both for ever, and every alarm."""
    monkeypatch.setattr(standing, "MOST_RANGES", 12)

    async def work() -> None:
        store = Store(database)
        ingest = Ingest(store, Hub(), None)  # type: ignore[arg-type]

        async def stands() -> Cursor:
            scope = {"type": "http", "query_string": f"epoch={OLD}".encode(), "headers": [], PROVEN: "a"}
            answer = await ingest.stands(Request(scope))
            return wire.unpack_ack(bytes(answer.body))["samples:plc"]

        def gone(event_: int, seq: int) -> wire.Frame:
            return event(event_, stream="samples:plc", first=seq, last=seq)

        await store.write(Message("a", [gone(k, 40 + 2 * k) for k in range(1, 11)]))  # 42 ... 60
        await store.write(Message("a", [gone(k, 2 * k - 20) for k in range(11, 31)]))  # 2 ... 40
        alarm = wire.Frame(OLD, "event", 31, 1, 1, 1, encode_event(Event("alarm", "hot", "raised", 1)))
        assert (await store.write(Message("a", [alarm])))["event"] == Cursor(31)
        assert len((await stands()).ranges) == 3
        for first in range(1, 62, 8):
            sent = [block(seq) for seq in range(first, min(first + 8, 62), 2)]
            stood = (await store.write(Message("a", sent)))["samples:plc"]
            if stood.watermark < sent[-1].seq:
                stood = await stands()
            assert stood.watermark >= sent[-1].seq
        assert stood == Cursor(61)
        await store.write(Message("a", [block(64), gone(32, 66)]))
        monkeypatch.setattr(store, "write", None)
        assert await stands() == Cursor(61, [(64, 64), (66, 66)]), (
            "a device that asks and asks does not hold up the writer"
        )
        store.close()

    asyncio.run(work())


@pytest.mark.parametrize("what", ["block", "picture"])
def test_what_is_under_way_when_another_box_takes_over_is_not_taken(tmp_path: Path, database: str, what: str) -> None:
    """Its number is the other box's to give: what that one has under it would count as a repeat. Here another process of the plane
    let the other box in."""
    authority = Authority(tmp_path)
    old, new = (shown(authority, "a") for _ in range(2))
    body = wire.pack(OLD, [Record("samples:plc", 1, BODY)]) if what == "block" else b"a picture"
    path = "/d/v1/up" if what == "block" else f"/d/v1/picture/{wire.digest(body)}"

    async def work(store: Store) -> None:
        await store.write(lambda c: insert_new(c, tables.device, [old.row]))
        ingest, proven, go = Ingest(store, Hub(), authority), asyncio.Event(), asyncio.Event()
        go.set()

        async def asked(box: Shown, method: str, path: str, query: str = "") -> int:
            said: list[Any] = []

            async def receive() -> Any:
                proven.set()
                await go.wait()
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(part: Any) -> None:
                said.append(part)

            scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": []}
            await ingest.app({**scope, **box.scope}, receive, send)
            return int(said[0]["status"])

        async def sent(box: Shown) -> int:
            return await asked(box, "POST" if what == "block" else "PUT", path, f"epoch={OLD}&seq=1")

        go.clear()
        late = asyncio.ensure_future(sent(old))
        await proven.wait()
        wanted = Replacement("a", OLD, old.row["key"], new.row["key"])
        assert (found := await store.write(lambda c: replaced(c, wanted, "secret")))
        assert wire.unpack_ack(base64.b64decode(found["stands"])) == {}
        go.set()
        assert await late == 401 and await store.read(lambda c: stands(c, "a", OLD)) == {}
        assert await asked(old, "GET", "/d/v1/stands", f"epoch={OLD}") == 401, "and is let in no more"
        assert await sent(new) in (200, 204)
        ingest.close()

    with_store(database, work)


def test_a_picture_that_is_forgotten_at_this_moment_is_sent_again(tmp_path: Path, database: str) -> None:
    """It came in pieces, of which none is wanted: it is here. Then it is not."""

    async def work(store: Store) -> None:
        body = b"kept for long"
        row = {"digest": wire.digest(body), "media": "image/png", "body": body, "stored": 1.0}
        await store.write(lambda c: insert_new(c, tables.picture, [row]))
        ingest = Ingest(store, Hub(), None)  # type: ignore[arg-type]
        write = store.write

        async def later(work: Any, device: str = "") -> Any:
            if work.__name__ == "take":  # it was seen to be here just before
                await ingest.pictures.forget(2.0)
            return await write(work, device)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ingest, "_store", SimpleNamespace(write=later, glance=store.glance))
            scope = {"type": "http", "method": "PUT", "path": f"/d/v1/picture/{row['digest']}", "headers": []}
            query = f"epoch={OLD}&seq=1&whole={row['digest']}"
            said: list[Any] = []

            async def send(part: Any) -> None:
                said.append(part)

            await ingest.app({**scope, "query_string": query.encode(), PROVEN: "a"}, None, send)  # type: ignore[arg-type]
        assert said[0]["status"] == 503 and await store.read(lambda c: stands(c, "a", OLD)) == {}
        ingest.close()

    with_store(database, work)


def test_a_journal_has_no_more_streams_than_a_device_has(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "MOST_STREAMS", 3)

    async def work() -> None:
        store = Store(database)
        await store.write(Message("a", [block(1, stream=f"samples:{k}") for k in range(2)]))
        with pytest.raises(CodecFault, match="4 streams in one journal"):
            await store.write(Message("a", [block(1, stream=f"samples:{k}") for k in range(4)]))
        await store.write(Message("a", [event(1)]))
        with pytest.raises(CodecFault, match="4 streams in one journal"):
            await store.write(Message("a", [event(2, stream="samples:9", first=1, last=2)]))
        await store.write(Message("a", [block(2, stream="samples:0"), block(1, NEW, "samples:9")]))
        store.close()

    asyncio.run(work())


def test_a_file_that_is_damaged_is_a_fault_of_the_database_and_told(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        store.engine.dispose()
        with (tmp_path / "plane.db").open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 40_960)
        with pytest.raises(StoreFault, match="the plane cannot read: database disk image is malformed"):
            await held(store)

    with_store(f"sqlite:///{tmp_path / 'plane.db'}", work)


def test_who_asks_for_long_holds_up_neither_the_writer_nor_a_device(database: str) -> None:
    """The pages have threads of their own, and their connections are not the writer's."""

    async def work(store: Store) -> None:
        go, at_it = threading.Event(), threading.Semaphore(0)

        def slow(connection: Any) -> int:
            connection.execute(select(tables.device.c.id)).all()
            at_it.release()
            return int(go.wait(60))

        questions = [asyncio.ensure_future(store.read(slow)) for _ in range(40)]
        try:
            for _ in range(READERS):
                assert await asyncio.to_thread(at_it.acquire, True, 20)
            rest = [store.engine.connect() for _ in range(connections(store) - READERS)]
            async with asyncio.timeout(120):
                answer = await store.write(Message("a", [block(1)]))
                assert answer["samples:plc"].watermark == 1
                rest.pop().close()
                assert await store.glance(lambda c: stands(c, "a", OLD)) == answer
            for one in rest:
                one.close()
        finally:
            go.set()
        assert await asyncio.gather(*questions) == [1] * 40

    def connections(store: Store) -> int:
        pool: Any = store.engine.pool
        return int(pool.size() + pool._max_overflow)

    with_store(database, work)


def test_the_answers_of_a_group_come_in_one_turn_of_the_loop(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []

    def counted(answers: Any) -> None:
        groups.append(len(answers))
        settle_all(answers)

    settle_all = store_module.settle_all
    monkeypatch.setattr(store_module, "settle_all", counted)

    async def work(store: Store) -> None:
        await at_once(store, [Message(name, [block(1)]) for name in "abcdef"])
        assert groups == [1, 6]

    with_store(database, work)


def test_the_first_blocks_of_many_devices_take_as_many_questions_as_of_few(database: str) -> None:
    async def work(store: Store) -> None:
        asked: list[str] = []
        listen(store.writing, "before_cursor_execute", lambda c, k, text, given, x, many: asked.append(text))
        many = []
        for some in (["a", "b"], [f"d{k}" for k in range(60)]):
            asked.clear()
            await at_once(store, [Message(name, [block(1)]) for name in some])
            many.append(len([text for text in asked if "SELECT" in text]))
        assert many[1] <= many[0], "those of the second group know the day's table already"
        await at_once(store, [Message("a", [block(1, NEW)]), Message("b", [block(2)]), Message("e", [block(1, NEW)])])
        t = tables.event
        assert await store.read(lambda c: c.execute(select(t.c.device, t.c.epoch, t.c.seq)).all()) == [("a", NEW, 0)]

    with_store(database, work)
