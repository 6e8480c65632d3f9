"""OPC UA against a server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
from typing import Any

import numpy as np
import pytest
from asyncua import Client, ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary

from drivers.opcua.driver import OpcUa
from drivers.opcua.options import OpcUaConfig
from drivers.opcua.session import telling
from drivers.opcua.sim import OpcUaSim
from drivers.opcua.values import moment_of, nanoseconds, native, node_of, number_of, overflowed, quality_of, text_of
from edge import SECOND, DeviceLost, DeviceRefused, ManualClock, Quality, SystemClock, Write, WriteRefused
from edge.bench.process import free_port
from edge.config.load import load_text
from edge.testing import FakeSource

TAGS: dict[str, Any] = {
    "temp": {"node": "ns=2;s=Oven.Temp"},
    "set": {"node": "ns=2;i=7", "writable": {"range": [0, 300]}},
}


def config(port: int, tags: dict[str, Any] = TAGS, **more: Any) -> OpcUaConfig:
    options = {"every": "100ms", "keep_alive": "200ms", "timeout": "3s", **more}
    return OpcUaConfig(driver="opcua", url=f"opc.tcp://127.0.0.1:{port}", tags=tags, **options)


async def served(port: int) -> OpcUaSim:
    sim = OpcUaSim("oven", config(port))
    await sim.start()
    return sim


def run(work: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(120):
            await work(free_port())

    asyncio.run(main())


def test_changes_writes_an_unknown_node_and_what_stays_the_same() -> None:
    async def work(port: int) -> None:
        sim = await served(port)
        tags = {**TAGS, "ghost": {"node": "ns=2;s=Nothing"}}
        source = FakeSource("oven", list(tags), SystemClock())
        driver = OpcUa(config(port, tags), source)
        orders: list[asyncio.Task[None]] = []

        def until() -> bool:
            if 0.0 in source.values("temp") and not orders:
                sim.set("temp", 181.5)
                orders.append(asyncio.ensure_future(driver.write(Write(source.tags["set"].id, 200))))
            again = sum(v == 181.5 for v in source.values("temp")) >= 3
            return again and 200 in source.values("set")

        await source.collect(driver, until=until)
        await asyncio.gather(*orders)
        assert await sim.get("set") == 200
        assert source.qualities("ghost")[0] == Quality.EXCEPTION and np.isnan(source.values("ghost")).all()
        assert set(source.qualities("temp")) == {Quality.GOOD}
        assert all(np.diff([b.ts.max() for b in source.batches if source.tags["temp"].id in b.tag]) >= 0)
        await sim.stop()

    run(work)


def test_text_comes_as_strings_and_what_is_none_is_bad() -> None:
    async def work(port: int) -> None:
        tags = {"recipe": {"node": "ns=2;s=Recipe", "type": "text"}, "temp": {"node": "ns=2;s=Oven.Temp"}}
        sim = OpcUaSim("oven", config(port, tags))
        await sim.start()
        source = FakeSource("oven", list(tags), SystemClock())
        driver = OpcUa(config(port, tags), source)
        said = ["", "A7", "配方 2", "x" * 300]

        def until() -> bool:
            seen = source.strings("recipe")
            if seen and seen[-1] == said[0] and len(said) > 1:
                said.pop(0)
                sim.set("recipe", said[0])
            return bool(seen) and source.qualities("recipe")[-1] == Quality.RANGE

        await source.collect(driver, until=until)
        seen = [text for text, _ in itertools.groupby(source.strings("recipe"))]
        assert seen == ["", "A7", "配方 2", None], "what is too long has no value"
        assert set(source.qualities("temp")) == {Quality.GOOD}
        await sim.stop()

    run(work)


def test_a_text_is_written_and_read_back_and_a_method_takes_one() -> None:
    async def work(port: int) -> None:
        text: Any = {"type": "text", "writable": {"longest": 20}}
        tags = {
            "recipe": {"node": "ns=2;s=Recipe", **text},
            "load": {"method": "ns=2;s=Load", "object": "ns=2;s=Machine", **text},
            "temp": {"node": "ns=2;s=Temp", **text},
        }
        numbers: Any = {"temp": {"node": "ns=2;s=Temp", "writable": {"range": [0, 1]}}}
        sim = OpcUaSim("oven", config(port, {**tags, **numbers}))
        await sim.start()
        source = FakeSource("oven", list(tags), SystemClock())
        driver = OpcUa(config(port, tags), source)
        running = asyncio.ensure_future(driver.run())
        while not source.batches:
            await asyncio.sleep(0.01)
        recipe, load, temp = (source.tags[tag].id for tag in tags)
        assert await driver.write(Write(recipe, "配方 7")) == "配方 7" == await sim.get("recipe")
        assert await driver.read(recipe) == "配方 7"
        assert await driver.write(Write(load, "A7")) is None
        assert await sim.get("load") == "A7" and source.strings("load")[-1] == "A7"
        with pytest.raises(WriteRefused, match="the node is a Double, not a text"):
            await driver.write(Write(temp, "A7"))
        with pytest.raises(DeviceRefused, match="it shows a float, not a text"):
            await driver.read(temp)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sim.stop()

    run(work)


@pytest.mark.parametrize("answer", [b"\t", b"\xc3\0\0\0\x9e\0\x8a", b""])
def test_an_answer_without_sense_ends_the_session_in_words(answer: bytes) -> None:
    with pytest.raises(DeviceLost, match="the session broke: "), telling("the session broke"):
        struct_from_binary(ua.ReadResponse, Buffer(answer))
    with pytest.raises(KeyError), telling("the session broke"):
        raise KeyError("a mistake of our own stays one")


def test_an_order_between_two_sessions_goes_nowhere() -> None:
    """After a restart the namespaces may stand elsewhere: until they are looked up, an order would reach another node."""

    async def work(port: int) -> None:
        tags = {"set": {"node": "nsu=urn:b;s=Set", "writable": {"range": [0, 9]}}}
        sim = OpcUaSim("oven", config(port, {"set": tags["set"]}))
        await sim.start()
        driver = OpcUa(config(port, tags), source := FakeSource("oven", list(tags), SystemClock()))
        driver._namespaces = ["", "", "", "urn:b"]  # where the last session had them
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def slow(client: Client) -> list[str]:
            asked.set()
            await go_on.wait()
            return await plain(client)

        plain = Client.get_namespace_array
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Client, "get_namespace_array", slow)
            running = asyncio.ensure_future(driver.run())
            await asked.wait()
            with pytest.raises(DeviceLost, match="no session"):
                await driver.write(Write(source.tags["set"].id, 5))
            go_on.set()
            while not source.batches:
                await asyncio.sleep(0.01)
            assert await driver.write(Write(source.tags["set"].id, 5)) == 5 == await sim.get("set")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sim.stop()

    run(work)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("A7", "A7"),
        (ua.LocalizedText("Start", "en"), "Start"),
        (ua.LocalizedText(), ""),
        (ua.QualifiedName("Motor", 2), "Motor"),
        (None, None),
        (5, None),
        (True, None),
        (b"A7", None),
        (["A7"], None),
    ],
)
def test_what_is_a_text(value: Any, text: str | None) -> None:
    assert text_of(value) == text
    assert text_of(None, ua.Variant(None, ua.VariantType.String)) == "", "a null string is an empty one"
    assert text_of(None, ua.Variant(None, ua.VariantType.Null)) is None


def test_what_stays_the_same_carries_the_clock_of_the_server() -> None:
    """A server whose clock is behind ours: its next change must not be older than what was said again."""

    async def work(port: int) -> None:
        sim = await served(port)
        source = FakeSource("oven", list(TAGS), ManualClock(utc=4_000_000_000 * SECOND))
        driver = OpcUa(config(port, TAGS), source)
        await source.collect(driver, until=lambda: len(source.values("temp")) >= 3)
        assert max(int(b.ts.max()) for b in source.batches) < 4_000_000_000 * SECOND
        await sim.stop()

    run(work)


def test_a_subscription_that_the_server_forgot_repeats_nothing_and_is_lost() -> None:
    """The session lives on and the server answers reads: without a sign of the subscription nothing is said again."""

    async def work(port: int) -> None:
        sim = await served(port)
        source = FakeSource("oven", list(TAGS), clock := ManualClock())
        driver = asyncio.ensure_future(OpcUa(config(port), source).run())
        while len(source.values("temp")) < 3:
            await asyncio.sleep(0.01)
        service = sim._server.iserver.subscription_service  # type: ignore[union-attr]
        await service.delete_subscriptions(list(service.subscriptions))
        while not driver.done():
            clock.advance(60)
            before = len(source.batches)
            await asyncio.sleep(0.2)
        with pytest.raises(DeviceLost, match="nothing comes from the subscription"):
            await driver
        assert len(source.batches) == before
        await sim.stop()

    run(work)


def test_a_server_that_goes_is_lost_and_one_that_is_absent_is_named() -> None:
    async def work(port: int) -> None:
        source = FakeSource("oven", list(TAGS), SystemClock())
        with pytest.raises(DeviceLost, match=r"no session with .*: Connection refused"):
            await OpcUa(config(port), source).run()
        sim = await served(port)
        driver = asyncio.ensure_future(OpcUa(config(port), source).run())
        while not source.batches:
            await asyncio.sleep(0.01)
        await sim.stop()
        with pytest.raises(DeviceLost):
            await driver

    run(work)


@pytest.mark.parametrize("where", ["an answer", "the end of a session"])
def test_a_stop_that_comes_with_an_answer_is_heeded(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    async def work(port: int) -> None:
        sim = await served(port)
        reached = asyncio.Event()

        async def swallows(*_: Any) -> None:
            reached.set()
            with contextlib.suppress(
                asyncio.CancelledError
            ):  # as asyncio.wait_for does when its answer is there already
                await asyncio.Event().wait()

        async def breaks(*_: Any) -> None:
            raise DeviceLost("gone")

        monkeypatch.setattr(OpcUa, "_subscribe", swallows if where == "an answer" else breaks)
        if where != "an answer":
            monkeypatch.setattr(Client, "disconnect", swallows)
        running = asyncio.ensure_future(OpcUa(config(port), FakeSource("oven", list(TAGS), SystemClock())).run())
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await sim.stop()

    run(work)


def test_a_read_only_node_refuses_and_probe_shows_all() -> None:
    async def work(port: int) -> None:
        sim = await served(port)
        tags = {"temp": {**TAGS["temp"], "writable": {"range": [0, 1]}}}
        source = FakeSource("oven", list(tags), SystemClock())
        driver = OpcUa(config(port, tags), source)
        assert await driver.probe() == ["temp = 0.0 (GOOD)"] and source.qualities("temp") == [Quality.GOOD]
        source.batches.clear()
        running = asyncio.ensure_future(driver.run())
        while not source.batches:
            await asyncio.sleep(0.01)
        with pytest.raises(DeviceRefused, match="refuses the write"):
            await driver.write(Write(source.tags["temp"].id, 1))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sim.stop()

    run(work)


@pytest.mark.parametrize(
    ("code", "quality"),
    [
        ("Good", Quality.GOOD),
        ("BadNodeIdUnknown", Quality.EXCEPTION),
        ("BadTimeout", Quality.TIMEOUT),
        ("BadNoCommunication", Quality.TIMEOUT),
        ("UncertainEngineeringUnitsExceeded", Quality.RANGE),
        ("UncertainSubstituteValue", Quality.SUBSTITUTED),
        ("GoodLocalOverride", Quality.SUBSTITUTED),
        ("GoodClamped", Quality.GOOD),
        ("BadSensorFailure", Quality.BAD),
    ],
)
def test_status_codes_become_causes(code: str, quality: Quality) -> None:
    assert quality_of(ua.StatusCode(getattr(ua.StatusCodes, code))) == quality


@pytest.mark.parametrize("code", [0x0480, 0x80310480])  # Good and BadNoCommunication, after the server dropped some
def test_an_overflow_says_nothing_about_the_value(code: int) -> None:
    status = ua.StatusCode(code)
    assert overflowed(status) and not overflowed(ua.StatusCode(code & 0xFFFF0000))
    assert quality_of(status) == (Quality.TIMEOUT if code > 2**31 else Quality.GOOD)


def test_what_the_servers_queue_dropped_is_counted() -> None:
    async def work(port: int) -> None:
        sim = await served(port)
        source = FakeSource("oven", list(TAGS), SystemClock())
        driver = OpcUa(config(port), source)

        def until() -> bool:
            if source.values("temp") and not source.counts:
                found = ua.DataValue(ua.Variant(5.0), ua.StatusCode(0x0480))
                driver._took([ua.MonitoredItemNotification(ClientHandle=0, Value=found)])
            return 5.0 in source.values("temp")

        await source.collect(driver, until=lambda: until() and bool(source.events))
        assert source.counts == {"server_queue_overflow": 1} and set(source.qualities("temp")) == {Quality.GOOD}
        assert (source.events[0].state, source.events[0].data) == ("gap", {"times": 1, "tags": ["temp"]})
        await sim.stop()

    run(work)


def test_node_ids_by_namespace_uri() -> None:
    have = ["http://opcfoundation.org/UA/", "urn:server", "urn:a", "urn:b"]
    found = node_of("nsu=urn:b;s=x;y=z", have)
    assert found is not None and found.to_string() == "ns=3;s=x;y=z"
    assert node_of("nsu=urn:c;s=x", have) is None
    for text in (
        "temp",
        "nsu=;s=x",
        "nsu=urn:a",
        "nsu=urn:a;nsu=urn:b;s=x",
        "ns=x;s=y",
        "ns=99999;s=y",
        "ns=2;i=5000000000",
        "i=-1",
    ):
        with pytest.raises(ValueError, match="is no node id"):
            node_of(text, have)


def test_the_simulator_serves_namespaces_by_uri() -> None:
    async def work(port: int) -> None:
        tags = {"temp": {"node": "nsu=urn:oven;s=Temp"}, "set": {"node": "ns=2;s=Set"}}
        sim = OpcUaSim("oven", config(port, tags))
        await sim.start()
        source = FakeSource("oven", list(tags), SystemClock())
        assert await OpcUa(config(port, tags), source).probe() == ["temp = 0.0 (GOOD)", "set = 0.0 (GOOD)"]
        await sim.stop()

    run(work)


def test_values_and_times() -> None:
    assert number_of(True) == (1.0, None) and number_of(7) == (7.0, None)
    assert number_of(2**53 + 2)[1] == Quality.RANGE and number_of("text")[1] == Quality.BAD
    assert number_of(float("nan"))[1] == number_of(float("inf"))[1] == Quality.RANGE
    with pytest.raises(WriteRefused, match="does not fit"):
        native(ua.VariantType.Float, 1e39)
    assert nanoseconds(datetime.datetime(2024, 1, 1, 0, 0, 0, 250)) == 1_704_067_200_000_250_000
    assert nanoseconds(None) == nanoseconds(datetime.datetime(1601, 1, 1)) == 0
    assert nanoseconds(datetime.datetime(9999, 12, 31, 23, 59, 59)) == 0


def test_a_value_carries_the_time_that_the_site_wants_or_the_other_one() -> None:
    first, second = (datetime.datetime(2024, 1, day) for day in (1, 2))
    value = ua.DataValue(SourceTimestamp=first, ServerTimestamp=second)
    assert moment_of(value, True) == nanoseconds(first) and moment_of(value, False) == nanoseconds(second)
    assert moment_of(ua.DataValue(SourceTimestamp=first), False) == nanoseconds(first)
    assert moment_of(ua.DataValue(ServerTimestamp=second), True) == nanoseconds(second)


def test_the_simulator_gives_two_tags_one_node() -> None:
    async def work(port: int) -> None:
        sim = OpcUaSim("oven", config(port, {"a": {"node": "ns=2;s=A"}, "b": {"node": "ns=2;s=A"}}))
        await sim.start()
        sim.set("a", 7)
        while await sim.get("b") != 7:
            await asyncio.sleep(0)
        await sim.stop()

    run(work)


def test_faults_of_a_site() -> None:
    site = "device: {{id: a}}\ndrivers:\n  o: {{driver: opcua, url: '{}', tags: {{t: {{node: '{}'}}}}}}\n"
    assert "is no address of a server" in str(load_text(site.format("http://x", "ns=2;s=a")).problems[0])
    for port in ("x", "0", "70000"):
        assert "is no address of a server" in str(load_text(site.format(f"opc.tcp://a:{port}", "ns=2;s=a")).problems[0])
    assert "is no node id" in str(load_text(site.format("opc.tcp://x:4840", "temp")).problems[0])
