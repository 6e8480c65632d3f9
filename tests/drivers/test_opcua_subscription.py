"""What the driver makes of sequence numbers, lost notifications, deleted nodes and polling. Against an asyncua server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asyncua import ua

from drivers.opcua.driver import OpcUa
from drivers.opcua.options import OpcUaConfig
from drivers.opcua.reading import Reading
from drivers.opcua.sim import OpcUaSim
from drivers.opcua.subscription import RING, missing
from drivers.opcua.values import deadband_of
from edge import DeviceLost, Quality, SystemClock
from edge.bench.process import free_port
from edge.config.load import load_text
from edge.testing import FakeSource


def config(port: int, **more: Any) -> OpcUaConfig:
    tags: Any = {"temp": {"node": "ns=2;s=Temp"}, "other": {"node": "ns=2;s=Other"}}
    options = {"every": "50ms", "timeout": "3s", "tags": tags, **more}
    options.setdefault("keep_alive", "100ms") if options.get("mode") != "poll" else None
    return OpcUaConfig(driver="opcua", url=f"opc.tcp://127.0.0.1:{port}", **options)


def run(work: Callable[[OpcUaSim, Callable[..., tuple[OpcUa, FakeSource]]], Awaitable[None]]) -> None:
    async def whole() -> None:
        port = free_port()
        sim = OpcUaSim("oven", config(port))
        await sim.start()

        def made(**more: Any) -> tuple[OpcUa, FakeSource]:
            source = FakeSource("oven", ["temp", "other"], SystemClock())
            return OpcUa(config(port, **more), source), source

        try:
            async with asyncio.timeout(120):
                await work(sim, made)
        finally:
            await sim.stop()

    asyncio.run(whole())


def subscription_at(sim: OpcUaSim) -> Any:
    """The only one at the server."""
    assert sim._server is not None
    (found,) = sim._server.iserver.subscription_service.subscriptions.values()
    return found


@pytest.mark.parametrize(
    ("expected", "got", "lost"),
    [(1, 1, 0), (1, 2, 1), (5, 9, 4), (RING, 1, 1), (RING - 1, 2, 3), (1, RING, 0), (7, 6, 0), (7, 0, 0)],
)
def test_sequence_numbers_wrap_and_leave_out_nought(expected: int, got: int, lost: int) -> None:
    assert missing(expected, got) == lost


def test_notifications_that_are_lost_are_counted_and_said_and_all_nodes_read_anew() -> None:
    async def work(sim: OpcUaSim, made: Callable[..., tuple[OpcUa, FakeSource]]) -> None:
        driver, source = made(keep_alive="10s")  # so that nothing is said again meanwhile
        before: list[int] = []

        def until() -> bool:
            if source.values("temp") and source.values("other") and not before:
                before.append(len(source.values("other")))
                subscription_at(sim)._notification_seq += 3
                sim.set("temp", 30)
            return bool(source.counts) and len(source.values("other")) > before[0]

        await source.collect(driver, until=until)
        assert source.counts == {"lost_notifications": 3}
        assert [(event.state, event.data["notifications"]) for event in source.events] == [("gap", 3)]
        assert source.values("temp")[-1] == 30

    run(work)


def test_a_notification_that_the_server_still_has_is_fetched_in_its_place() -> None:
    async def work(sim: OpcUaSim, made: Callable[..., tuple[OpcUa, FakeSource]]) -> None:
        driver, source = made()

        def hide() -> None:
            it = subscription_at(sim)
            number, it._notification_seq = it._notification_seq, it._notification_seq + 1
            item = ua.MonitoredItemNotification(ClientHandle=0, Value=ua.DataValue(ua.Variant(77.0)))
            message = ua.NotificationMessage(
                SequenceNumber=number, NotificationData=[ua.DataChangeNotification(MonitoredItems=[item])]
            )
            it._not_acknowledged_results[number] = ua.PublishResult(it.data.SubscriptionId, NotificationMessage=message)
            sim.set("temp", 78)

        done: list[bool] = []

        def until() -> bool:
            if source.values("temp") and not done:
                done.append(True)
                hide()
            return 78 in source.values("temp")

        await source.collect(driver, until=until)
        values = source.values("temp")
        assert values.index(77) < values.index(78) and not source.counts and not source.events

    run(work)


def test_polling_says_when_the_server_goes() -> None:
    async def work(sim: OpcUaSim, made: Callable[..., tuple[OpcUa, FakeSource]]) -> None:
        driver, source = made(mode="poll")
        running = asyncio.ensure_future(driver.run())
        while source.values("temp").count(0.0) < 3:
            await asyncio.sleep(0.01)
        sim.set("temp", 12.5)
        while 12.5 not in source.values("temp"):
            await asyncio.sleep(0.01)
        assert set(source.qualities("temp")) == {Quality.GOOD}
        await sim.stop()
        with pytest.raises(DeviceLost):
            await running

    run(work)


def test_a_full_journal_skips_slots_of_the_grid() -> None:
    async def work(sim: OpcUaSim, made: Callable[..., tuple[OpcUa, FakeSource]]) -> None:
        driver, source = made(mode="poll")
        source.full = True
        running = asyncio.ensure_future(driver.run())
        while source.counts["skipped_journal_full"] < 2:
            await asyncio.sleep(0.01)
        assert not source.batches
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(work)


def test_a_request_that_is_too_long_is_halved() -> None:
    class Server:
        asked: list[int] = []

        async def read(self, params: ua.ReadParameters) -> list[ua.DataValue]:
            self.asked.append(len(params.NodesToRead))
            if len(params.NodesToRead) > 3:
                raise ua.uaerrors.BadTooManyOperations
            return [ua.DataValue(ua.Variant(node.NodeId.Identifier)) for node in params.NodesToRead]

    class Client:
        uaclient = Server()

    async def main() -> None:
        reading = Reading(Client(), 16)  # type: ignore[arg-type]
        nodes = [ua.NodeId(ua.Int32(k), ua.Int16(2)) for k in range(10)]
        assert [v.Value.Value for v in await reading.values(nodes)] == list(range(10))  # type: ignore[union-attr]
        assert Server.asked == [10, 5, 2, 2, 2, 2, 2]

    asyncio.run(main())


def test_options_of_reading() -> None:
    site = "device: {{id: a}}\ndrivers:\n  o: {{driver: opcua, url: 'opc.tcp://x:1'{}, tags: {{t: {{node: 'ns=2;s=a'{}}}}}}}\n"
    for options, tag, said in (
        ("", ", server_deadband: 0", "is no deadband"),
        ("", ", server_deadband: 120%", "is no deadband"),
        ("", ", server_deadband: much", "much"),
        (", mode: poll", ", server_deadband: 1", "needs a subscription"),
        (", mode: poll, keep_alive: 3s", "", "does nothing with `mode: poll`"),
    ):
        assert said in str(load_text(site.format(options, tag)).problems[0])
    percent, units = deadband_of("2.5%"), deadband_of(0.5)
    assert percent is not None and (percent.DeadbandType, percent.DeadbandValue) == (2, 2.5)
    assert units is not None and (units.DeadbandType, units.DeadbandValue) == (1, 0.5)
