"""Events of the plane at a customer's broker (a real mosquitto): all of them, in order, whatever becomes of it in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from edge import Event, encode_event
from sync import wire
from sync.control_plane import forward_state, forward_tables, forward_target, forwarding
from sync.control_plane.duties import Duties
from sync.control_plane.forward_options import BrokerTargetOptions
from sync.control_plane.forward_target import Happened
from sync.control_plane.leader import lead
from sync.control_plane.live import Hub
from sync.control_plane.messages import Message
from sync.control_plane.plane_file import PlaneFile, load
from sync.control_plane.publish import Broker as Target
from sync.control_plane.store import Store
from tests.broker import Broker
from tests.sync.stored import with_store
from tests.sync.test_forward import Listener
from tests.waiting import run, until

pytestmark = pytest.mark.system
EPOCH = "0" * 16


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", "max_packet_size 20000") as broker:
        yield broker


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "EVERY", 0.02)
    monkeypatch.setattr(forwarding, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(forwarding, "LONGEST_WAIT", 0.1)


def alarm(seq: int, text: str = "") -> wire.Frame:
    return wire.Frame(EPOCH, "event", seq, 1, 1, 1, encode_event(Event("alarm", "hot", "raised", seq, "high", text)))


async def forwarded(store: Store) -> dict[str, Any]:
    (row,) = await store.read(forward_state.told)
    return row


def test_everything_arrives_in_order_though_the_broker_goes_and_forgets(database: str, broker: Broker) -> None:
    async def work(store: Store) -> None:
        listener = Listener(broker.port)
        options = BrokerTargetOptions(url=f"mqtt://127.0.0.1:{broker.port}", kinds=[])
        duties = Duties(store, Hub(), PlaneFile(brokers={"mes": options}))
        works = asyncio.ensure_future(lead(store.engine, duties.works))
        try:
            async with asyncio.timeout(120):
                await until(lambda: listener.ready)
                while not await store.read(forward_state.told):
                    await asyncio.sleep(0.01)
                await store.write(Message("press-4", [alarm(seq) for seq in range(1, 31)]))
                await until(lambda: len(listener.came) >= 10)
                broker.kill()  # it saves nothing
                await store.write(Message("press-4", [alarm(seq) for seq in range(31, 41)]))
                while "127.0.0.1" not in (await forwarded(store))["trouble"]:
                    await asyncio.sleep(0.01)
                broker.start()
                await until(lambda: len(listener.ready) > 1)  # until then the broker has nobody to give them to
                await store.write(Message("press-4", [alarm(41, "x" * 1900), alarm(42)]))
                while (await forwarded(store))["waits"]:
                    await asyncio.sleep(0.01)
                await until(lambda: any(m["seq"] == 42 for m in listener.messages()))
        finally:
            works.cancel()
            await asyncio.wait([works])
            listener.close()
        assert {topic for topic, _ in listener.came} == {"lineside/press-4/alarm/hot"}
        numbers = [m["seq"] for m in listener.messages()]
        assert list(dict.fromkeys(numbers)) == sorted(set(numbers)), "in order, but for what comes twice"
        row = await forwarded(store)
        assert (row["delivered"], row["aside"], row["trouble"]) == (42, 0, "")
        assert json.loads(listener.came[0][1])["id"] == f"press-4/{EPOCH}/1"

    with_store(database, work)


def test_nothing_is_taken_before_the_broker_says_so(broker: Broker) -> None:
    async def work() -> None:
        target = Target(BrokerTargetOptions(url=f"mqtt://127.0.0.1:{broker.port}"))
        said = {"kind": "alarm", "key": "hot", "state": "raised"}
        await target.deliver(Happened("a", EPOCH, 1, said))
        broker.freeze()
        under_way = asyncio.create_task(target.deliver(Happened("a", EPOCH, 2, said)))
        await asyncio.sleep(0)
        broker.kill()
        with pytest.raises(forward_target.Later, match="broker at"):
            await under_way
        target.close()

    run(work)


def test_no_character_of_an_event_makes_the_broker_hang_up(broker: Broker) -> None:
    async def work() -> None:
        target = Target(BrokerTargetOptions(url=f"mqtt://127.0.0.1:{broker.port}"))
        async with asyncio.timeout(120):
            for seq, key in enumerate(("a\nb", "\x7f", "\x9f", "\ufdd0", "\uffff", "\U0010fffe", "\ud800", "", "热")):
                await target.deliver(Happened("a", EPOCH, seq, {"kind": "alarm", "key": key, "state": key}))
        target.close()

    run(work)


def test_what_is_too_large_for_the_broker_is_set_aside(database: str, broker: Broker) -> None:
    async def work(store: Store) -> None:
        options = BrokerTargetOptions(url=f"mqtt://127.0.0.1:{broker.port}", kinds=[])
        duties = Duties(store, Hub(), PlaneFile(brokers={"mes": options}))
        works = asyncio.ensure_future(lead(store.engine, duties.works))
        try:
            async with asyncio.timeout(120):
                while not await store.read(forward_state.told):
                    await asyncio.sleep(0.01)
                large = encode_event(Event("alarm", "hot", "raised", 2, data={"words": "x" * 30_000}))
                await store.write(Message("a", [alarm(1), wire.Frame(EPOCH, "event", 2, 1, 1, 1, large), alarm(3)]))
                while (await forwarded(store))["delivered"] < 2:
                    await asyncio.sleep(0.01)
        finally:
            works.cancel()
            await asyncio.wait([works])
        (row,) = await store.read(lambda c: c.execute(select(forward_tables.undelivered)).mappings().all())
        assert row["seq"] == 2 and "the broker takes 20,000" in row["why"]

    with_store(database, work)


def test_a_topic_is_what_the_file_says_and_no_word_of_an_event_changes_its_levels(tmp_path: Path) -> None:
    said = {"kind": "alarm", "key": "a/b#+", "state": "raised"}
    target = Target(BrokerTargetOptions(url="mqtt://127.0.0.1", topic="plant/{device}/{key}/{state}"))
    assert target.topic(Happened("@plane", EPOCH, 1, said)) == "plant/@plane/a_b__/raised"
    for topic, key in (("{key}", "$SYS"), ("{key}/{key}", "x" * 40_000)):
        with pytest.raises(forward_target.Refused, match="nobody can publish"):
            Target(BrokerTargetOptions(url="mqtt://127.0.0.1", topic=topic)).topic(
                Happened("a", EPOCH, 1, {**said, "key": key})
            )
    path = tmp_path / "plane.yaml"
    for text, words in (
        ("{url: 'mqtt://h', topic: 'a/#'}", "a topic has no + and no #"),
        ('{url: "mqtt://h", topic: "a\\x1f"}', "a topic has no + and no #"),
        ("{url: 'mqtt://h', topic: 'a/{part}'}", "in braces only {device}, {kind}, {key} and {state}"),
        ("{url: 'http://h'}", "is no broker"),
        ("{url: 'mqtt://h', user: u, password: plain}", "password: a secret does not belong into this file"),
    ):
        path.write_text(f"brokers:\n  mes: {text}\n", "utf-8")
        faults = "\n".join(load(path).faults)
        assert words in faults and f"{path}:2:" in faults, faults
