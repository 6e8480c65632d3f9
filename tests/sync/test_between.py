"""A plane, a device and things in between that misbehave: nothing jams, nothing is given up that could still arrive."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import msgpack
import pytest

pytest.importorskip("sqlalchemy", reason="needs the plane extra")

import zstandard
from sqlalchemy import select

from edge import SECOND, AnswerContradicts, CodecFault, Cursor, Event, Picture, Writable, Write
from edge.codec import encode_event
from edge.health import Health
from edge.journal import Journal, JournalConfig
from edge.live import Live
from edge.retention import gap
from edge.tags import Tag, TagTable
from edge.testing import VirtualClock, virtual_run
from edge.writes import Writes
from sync import wire
from sync.control_plane import tables
from sync.control_plane.messages import apply_frames
from sync.control_plane.store import Store, StoreFault
from sync.device import compare
from sync.device.transport import Refused, Rejected, TooLarge
from sync.device.uplink import SyncConfig, Uplink
from tests.edge.test_journal import with_journal

EPOCH = "0" * 16


def raw(*fields: Any) -> bytes:
    """An event as no device of ours would write it."""
    return bytes([1]) + zstandard.ZstdCompressor().compress(msgpack.packb(fields))


HOSTILE = {
    "a gap without numbers": encode_event(Event("gap", "k", data={"stream": "samples:a", "first": "x", "last": "y"})),
    "a gap past 64 bits": encode_event(Event("gap", "k", data={"stream": "samples:a", "first": 1, "last": 2**64 - 1})),
    "a time past 64 bits": raw("i", 2**64 - 1, "alarm", "k", "raised", "high", "", {}, []),
    "a key that is no text": raw("i", 1, "x", "k", "", "high", "", {b"a": 1}, []),
    "data that are a list": raw("i", 1, "alarm", "k", "shelved", "high", "", [1], []),
    "shelved until tomorrow": raw("i", 1, "alarm", "k", "shelved", "high", "", {"until": "tomorrow"}, []),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_event_that_makes_no_sense_is_refused_and_the_next_device_is_served(database: str, what: str) -> None:
    async def main() -> None:
        store = Store(database)
        frames = {
            "bad": wire.Frame(EPOCH, "event", 1, 1, 1, 1, HOSTILE[what]),
            "good": wire.Frame(EPOCH, "event", 1, 1, 1, 1, encode_event(Event("x", "y"))),
        }
        answers = await asyncio.gather(
            *(store.write(lambda c, d=d, f=f: apply_frames(c, d, [f])) for d, f in frames.items()),
            return_exceptions=True,
        )
        assert isinstance(answers[0], CodecFault) and answers[1]["event"].watermark == 1
        assert await store.read(lambda c: c.execute(select(tables.event.c.device)).scalars().all()) == ["good"]
        store.close()

    asyncio.run(main())


def test_a_fault_of_ours_fails_one_request_and_not_those_beside_it(database: str) -> None:
    async def main() -> None:
        store = Store(database)

        def breaks(_: Any) -> None:
            raise ZeroDivisionError

        answers = await asyncio.gather(store.write(breaks), store.write(lambda c: 7), return_exceptions=True)
        assert isinstance(answers[0], StoreFault) and answers[1] == 7
        store.close()

    asyncio.run(main())


# The device against a plane that answers strangely


class Far:
    """`answers(path, body)` gives the answer to all but the polls, or raises."""

    def __init__(self, answers: Callable[[str, bytes], bytes]) -> None:
        self.answers, self.commands = answers, [msgpack.packb([])]

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        if path.startswith("/d/v1/dn"):
            if "&wait=0&" in path:  # what lies there from before: nothing
                return msgpack.packb([])
            await asyncio.sleep(20)
            return self.commands.pop(0) if len(self.commands) > 1 else self.commands[0]
        return b"" if path == "/d/v1/live" else self.answers(path, body)

    def close(self) -> None: ...


class Device:
    """A journal with an uplink; keeps what the uplink says."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, VirtualClock()
        self.health = Health(self.clock)
        self.journal = Journal(folder / "journal.db", self.clock, JournalConfig())
        self.journal.readers = {"sync"}
        self.live = Live(TagTable([]))
        self.said: list[Any] = []

    def accept(self, item: Any) -> None:
        self.said.append(item)


def rig(folder: Path, far: Far, work: Callable[[Device, Uplink], Any], writes: bool = True) -> None:
    async def main() -> None:
        device = Device(folder)
        uplink = Uplink(SyncConfig(url="https://x", writes=writes), device, far, random.Random(1))  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(device.journal.run()), asyncio.ensure_future(uplink.run())]
        try:
            await work(device, uplink)
            assert not tasks[1].done(), "the uplink goes on"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            device.journal.close()

    virtual_run(main())


def acked(body: bytes) -> bytes:
    cursors: dict[str, Any] = {}
    for frame in wire.unpack(body):
        cursors.setdefault(frame.stream, wire.Cursor()).add(frame.seq, frame.seq)
    return wire.pack_ack(cursors)


@pytest.mark.parametrize("odd", [Refused("400 Bad Request"), TooLarge("413"), b"<html>hello</html>", b"\xc1", b""])
def test_what_stands_between_may_say_what_it_likes_and_everything_arrives_later(tmp_path: Path, odd: Any) -> None:
    odd_answers = [odd] * 4
    got: list[str] = []

    def answers(path: str, body: bytes) -> bytes:
        if odd_answers:
            answer = odd_answers.pop()
            if isinstance(answer, Exception):
                raise answer
            return bytes(answer)
        got.extend(frame.stream for frame in wire.unpack(body))
        return acked(body)

    async def work(device: Device, uplink: Uplink) -> None:
        device.journal.append(events=[Event("x", "y"), Event("x", "z")])
        await asyncio.sleep(300)
        assert got == ["event", "event"] and not device.said

    rig(tmp_path, Far(answers), work)


def test_a_picture_that_the_plane_will_not_have_holds_up_no_other(tmp_path: Path) -> None:
    got = []

    def answers(path: str, body: bytes) -> bytes:
        if path.startswith("/d/v1/picture"):
            if body == b"huge":
                raise Rejected("more than 33554432 bytes")
            got.append(body)
            return b""
        return acked(body)

    async def work(device: Device, uplink: Uplink) -> None:
        bodies = (b"one", b"huge", b"two")
        device.journal.append(pictures=[Picture(wire.digest(b), "image/jpeg", b) for b in bodies])
        await asyncio.sleep(60)
        assert got == [b"one", b"two"]
        assert [(e.kind, e.data["stream"], e.data["first"]) for e in device.said] == [("gap", "picture", 2)]

    rig(tmp_path, Far(answers), work)


def test_answers_that_make_no_sense_are_passed_over_and_orders_that_make_none_refused(tmp_path: Path) -> None:
    async def work(device: Device, uplink: Uplink) -> None:
        await asyncio.sleep(300)
        said = [(e.kind, e.key, e.state) for e in device.said]
        assert said[:2] == [("command", "rm", "refused"), ("command", "write", "")]
        assert said[2:] == [("write", "5", "refused"), ("command", "ack", "")]
        assert device.said[2].text == "by plane: this site has no such tag"

    far = Far(lambda path, body: acked(body))
    orders = [[1, "rm", {}], [2, "write", {"tag": 5, "value": "much"}], [3, "ack", {"alarm": "hot"}]]
    far.commands = [b"<html>", b"\xc1", msgpack.packb(7), msgpack.packb(orders), msgpack.packb([])]
    rig(tmp_path, far, work)


@pytest.mark.parametrize(
    "body", [bytes(20), encode_event(gap(1, "plc", 0, 1, 3, "evicted", 1, 9))], ids=["no event", "another one"]
)
def test_a_damaged_gap_event_tells_of_nothing_and_stops_no_comparison(tmp_path: Path, body: bytes) -> None:
    async def work(journal: Journal) -> None:
        journal.readers = {"sync"}
        journal.append(events=[gap(1, "plc", 0, 1, 3, "evicted", 1, 2), Event("x", "y")])
        await journal.commit()
        await journal.on_writer(lambda db: db.execute("UPDATE event SET body = ? WHERE seq = 1", (body,)))
        given, stands = {"event": Cursor(2), "samples:plc": Cursor(2)}, {"event": Cursor(1)}
        back, told = await journal.revise("sync", compare.behind, given, stands)
        assert back == {"event": Cursor(1)}
        assert [(e.data["first"], e.data["last"]) for e in told if e.kind == "gap"] == [(1, 2)]

    with_journal(tmp_path, work)


def test_what_the_plane_was_told_of_its_wants_and_nobody_has_any_more_is_told_again(tmp_path: Path) -> None:
    """It was put back to a backup, and here the event is over its time."""
    stands: dict[str, Cursor] = {}
    said = {"version": "1", "running": "1", "tried": "1", "stage": "run", "generation": 7}
    kept = {"model/m": {**said, "state": "running", "reason": "it proved itself"}}

    def answers(path: str, body: bytes) -> bytes:
        for frame in wire.unpack(body) if body else ():
            stands.setdefault(frame.stream, Cursor()).add(frame.seq, frame.seq)
        return wire.pack_ack(stands)

    async def work(device: Device, uplink: Uplink) -> None:
        async def compared() -> None:
            uplink._broken.set()
            await asyncio.sleep(5)

        happened = Event("twin", "model/m", "running", data=said)
        device.journal.append(events=[happened], snapshots={"sync:twin": json.dumps(kept).encode()})
        await asyncio.sleep(5)
        stands.clear()
        await compared()
        assert stands["event"].watermark == 2 and not device.said, "it came again"
        await device.journal.on_writer(lambda db: db.execute("DELETE FROM event"))
        stands.clear()
        await compared()
        await compared()
        assert device.said == [replace(happened, text="it proved itself")]

    rig(tmp_path, Far(answers), work)


def test_an_order_that_comes_during_a_commit_is_not_marked_by_it(tmp_path: Path) -> None:
    """Its event is in the next one only: between both a power cut would lose it."""
    given: list[tuple[Cursor, int]] = []

    async def work(device: Device, uplink: Uplink) -> None:
        moved = device.journal.moved

        def seen(reader: str, stream: str, cursor: Cursor) -> None:
            if stream == "commands":
                given.append((cursor, cursor.watermark))
            moved(reader, stream, cursor)

        device.journal.moved = seen  # type: ignore[method-assign]
        await asyncio.sleep(300)
        assert [number for _, number in given] == [1, 2, 5]
        assert [cursor.watermark for cursor, _ in given] == [1, 2, 5]
        assert (await device.journal.cursors("sync"))["commands"] == Cursor(5)

    far = Far(lambda path, body: acked(body))
    far.commands = [msgpack.packb([[n, "ack", {"alarm": "hot"}] for n in some]) for some in ((1,), (2, 5), (5, 2), ())]
    rig(tmp_path, far, work)


class Queue(Far):
    """Forgets no order; two in one answer."""

    def __init__(self, *orders: list[Any]) -> None:
        super().__init__(lambda path, body: acked(body))
        self.orders = list(orders)

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        if not path.startswith("/d/v1/dn"):
            return await super().exchange(method, path, body, timeout)
        await asyncio.sleep(1)
        after = int(path.partition("after=")[2].partition("&")[0])
        return msgpack.packb([order for order in self.orders if order[0] > after][:2])


def ordered(folder: Path, far: Queue, journaled: bool = True) -> list[tuple[str, int]]:
    """Key and number of what the uplink says of orders in some minutes."""
    said: list[tuple[str, int]] = []

    async def work(device: Device, uplink: Uplink) -> None:
        def accept(event: Event) -> None:
            said.append((event.key, event.data["number"]))
            if journaled:
                device.journal.append(events=[replace(event, ts=device.clock.utc(), id="u")])

        device.accept = accept  # type: ignore[method-assign]
        await asyncio.sleep(300)

    rig(folder, far, work)
    return said


def changed(folder: Path, sql: str) -> None:
    db = apsw.Connection(str(folder / "journal.db"))
    db.execute(f"{sql} WHERE stream = 'commands'")
    assert db.changes() == 1
    db.close()


@pytest.mark.parametrize("lost", ["DELETE FROM cursor", "UPDATE cursor SET watermark = watermark + 4321"])
def test_a_lost_cursor_carries_no_order_out_again(tmp_path: Path, lost: str) -> None:
    """The plane never forgets one; the events of those that were carried out have their numbers."""
    far = Queue(*([n, "ack", {"alarm": "hot", "age": 10**6}] for n in (7, 8, 9)))
    assert ordered(tmp_path, far) == [("ack", 7), ("ack", 8), ("ack", 9)]
    changed(tmp_path, lost)
    far.orders.append([10, "ack", {"alarm": "hot", "age": 10**6}])
    assert ordered(tmp_path, far) == [("ack", 10)]
    assert ordered(tmp_path, far) == []


def test_where_nothing_tells_of_an_order_none_from_before_the_damage_is_carried_out(tmp_path: Path) -> None:
    old = [
        [n, "shelve", {"alarm": "hot", "age": age}] for n, age in enumerate((10**6, 5000, float("nan"), "x", 900), 7)
    ]
    far = Queue(*old)
    assert len(ordered(tmp_path, far, journaled=False)) == 5
    changed(tmp_path, "UPDATE cursor SET watermark = watermark + 4321")
    far.orders += [[n, "ack", {"alarm": "hot", "age": 0.0}] for n in (20, 21)]
    assert ordered(tmp_path, far, journaled=False) == [("orders", 11), ("ack", 20), ("ack", 21)]
    assert ordered(tmp_path, far) == []


def test_a_new_journal_leaves_all_orders_of_the_last_one_however_many_questions_that_takes(tmp_path: Path) -> None:
    old = [
        [n, verb, {"epoch": "f" * 16, "age": 0.0}]
        for n, verb in enumerate(("ack", "review", "write", "dance", "ack"), 7)
    ]
    far = Queue(*old, [20, "ack", {"alarm": "hot", "age": 10**6}])
    assert ordered(tmp_path, far) == [("orders", 11), ("ack", 20)]
    assert ordered(tmp_path, far) == []


def test_an_order_that_lay_at_the_plane_for_too_long_is_not_carried_out(tmp_path: Path) -> None:
    """Its age is the plane's to tell; what the device still gives it is counted on the device's own clock."""

    async def work(device: Device, uplink: Uplink) -> None:
        device.live = Live(TagTable([Tag("plc.a", 1, source="plc", writable=Writable(range=(0, 9), expires=10.0))]))
        writes = Writes(device.live.table, device.clock)
        await asyncio.sleep(300)
        orders = [item for item in device.said if isinstance(item, Write)]
        said = [writes(order) for order in orders]
        assert [order.cause for order in orders] == ["plane anna"] * 5 + ["plane"]
        assert all(order.expires for order in orders) and "too late" in said[0][0].text, "by now each is too old"
        given = [e for e in device.said if isinstance(e, Event) and e.kind == "command"]
        assert len(given) == 7, "and each was journaled before it ran; of an odd age nothing is written"

        def left(order: Write) -> float:
            return (order.expires - orders[1].expires) / SECOND

        assert [round(left(o)) for o in orders[1:]] == [0, 8, 10, 10, 0] and left(orders[0]) < -1e8

    def order(number: int, **more: Any) -> list[Any]:
        return [number, "write", {"tag": "plc.a", "value": 1, "by": "anna"} | more]

    far = Far(lambda path, body: acked(body))
    ages = [3600 * 10**9, 10, 2.0, -5, float("nan")]
    orders = [order(n + 1, age=age) for n, age in enumerate(ages)]
    orders += [[6, "write", {"tag": "plc.a", "value": 1, "age": 10}], order(7, age="old")]
    far.commands = [msgpack.packb(orders), msgpack.packb([])]
    rig(tmp_path, far, work)


def test_orders_of_the_plane_are_off_until_the_site_says_otherwise(tmp_path: Path) -> None:
    async def work(device: Device, uplink: Uplink) -> None:
        device.live = Live(TagTable([Tag("plc.a", 1, source="plc", writable=Writable(range=(0, 9)))]))
        await asyncio.sleep(300)
        assert [(e.kind, e.key, e.state) for e in device.said] == [
            ("command", "write", ""),
            ("write", "plc.a", "refused"),
        ]
        assert (
            device.said[1].text
            == "by plane eva: this site takes no orders of the plane; `sync: {writes: true}` allows them"
        )

    far = Far(lambda path, body: acked(body))
    order = [1, "write", {"tag": "plc.a", "value": 1, "by": "eva"}]
    far.commands = [msgpack.packb([order]), msgpack.packb([])]
    rig(tmp_path, far, work, writes=False)


def test_answers_are_read_or_refused() -> None:
    acks: list[Any] = [{"event": 5}, {"event": ["a", []]}, [1], {"event": [float("inf"), []]}, {"event": [-1, []]}]
    acks += [{"event": [2**64 - 1, []]}, {"event": [1, [[float("nan"), 3]]]}, {"event": [True, []]}]
    for body in (b"", b"\xc1", *map(msgpack.packb, acks)):
        with pytest.raises(AnswerContradicts):
            wire.unpack_ack(body)
    deep: Any = 1
    for _ in range(100):
        deep = {"x": deep}
    orders: list[Any] = [[[1, "ack"]], [["x", "ack", {}]], 3, [[float("inf"), "ack", {}]], [[2**63, "ack", {}]]]
    orders += [[[-1, "ack", {}]], [[1, "ack", {"x": deep}]]]
    for body in (b"", b"\xc1", *map(msgpack.packb, orders)):
        with pytest.raises(AnswerContradicts):
            wire.unpack_commands(body)
