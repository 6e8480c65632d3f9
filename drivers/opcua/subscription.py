"""One subscription on the wire (part 4, 5.12 and 5.13): its items, its notifications in order, and what was lost on the way.

asyncua's own `Subscription` starts a task for each value and heals in place; here a notification is taken at once and whole, its
sequence number is looked at, and nothing heals but by a new client.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from asyncua import Client, ua

QUEUE = 100  # values that the server keeps of a node between two sends
MOST_AGAIN = 64  # lost notifications that are asked for again
LIFETIME = 60.0  # seconds without a sign of us after which the server may forget the subscription
RING = 2**32 - 1  # sequence numbers run from 1 to this and begin anew (part 4, 7.9)
NO_FILTER = ("Filter", "Deadband")  # in the names of the status codes of a server that has no such deadband

Item = tuple[int, ua.NodeId, "ua.DataChangeFilter | None"]  # handle, node, deadband
Values = Sequence[ua.MonitoredItemNotification]


def missing(expected: int, got: int) -> int:
    """How many notifications lie between the expected number and this one; 0 too where the number says nothing."""
    ahead = (got - expected) % RING
    return ahead if got and ahead < RING // 2 else 0


class Subscription:
    """`took(values)` is called with what a notification carries, in order; `lost(n)` when n notifications are gone for good;
    `ended(why)` when nothing comes any more. `beats` counts what the server sent, empty keep-alives too, the last at `heard`."""

    def __init__(
        self, client: Client, took: Callable[[Values], None], lost: Callable[[int], None], ended: Callable[[str], None]
    ) -> None:
        self._session = client.uaclient.session
        self._took, self._lost, self._ended = took, lost, ended
        self._expected = 1
        self._server_ids: dict[int, int] = {}
        self.id = 0
        self.beats = 0
        self.heard: Any = None  # PublishTime
        self.every = 0.0  # seconds between two sends, as the server revised it
        self.keep_alive = 0.0  # seconds between two signs of life, as the server revised it
        self.sampling = (
            0.0  # seconds between two looks at the node that the server looks at least often, as it revised it
        )

    async def create(self, every: float, keep_alive: float) -> None:
        count = max(1, round(keep_alive / every))
        params = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=ua.Double(every * 1000),
            RequestedLifetimeCount=ua.UInt32(max(3 * count, math.ceil(LIFETIME / every))),
            RequestedMaxKeepAliveCount=ua.UInt32(count),
            MaxNotificationsPerPublish=ua.UInt32(10_000),
            PublishingEnabled=True,
        )
        made = await self._session.create_subscription(params, self._publish)
        self.id = made.SubscriptionId
        self.every = made.RevisedPublishingInterval / 1000
        self.keep_alive = made.RevisedPublishingInterval / 1000 * max(1, made.RevisedMaxKeepAliveCount)

    async def add(self, items: Sequence[Item], sampling: float, most: int) -> dict[int, ua.StatusCode]:
        """Ask for these nodes, at most `most` in a request; (handle, why) of those that the server refuses. A deadband that it does
        not have is left away."""
        refused: dict[int, ua.StatusCode] = {}
        again: list[Item] = []
        for k in range(0, len(items), most):
            asked = items[k : k + most]
            wanted = [_request(item, sampling) for item in asked]
            params = ua.CreateMonitoredItemsParameters(
                SubscriptionId=self.id, TimestampsToReturn=ua.TimestampsToReturn.Both, ItemsToCreate=wanted
            )
            for item, answer in zip(asked, await self._session.create_monitored_items(params), strict=True):
                if answer.StatusCode.is_good():
                    self._server_ids[item[0]] = answer.MonitoredItemId
                    self.sampling = max(self.sampling, answer.RevisedSamplingInterval / 1000)
                elif item[2] is not None and any(word in answer.StatusCode.name for word in NO_FILTER):
                    again.append((item[0], item[1], None))
                else:
                    refused[item[0]] = answer.StatusCode
        return {**refused, **(await self.add(again, sampling, most) if again else {})}

    async def remove(self, handles: Sequence[int]) -> None:
        ids = [found for handle in handles if (found := self._server_ids.pop(handle, None)) is not None]
        if ids:
            params = ua.DeleteMonitoredItemsParameters(SubscriptionId=self.id, MonitoredItemIds=ids)
            await self._session.delete_monitored_items(params)

    async def _publish(self, result: ua.PublishResult) -> None:
        """What asyncua's publish loop calls, one after another; it swallows what is raised here."""
        try:
            message = result.NotificationMessage
            carried = message.NotificationData or []
            if any(isinstance(data, ua.StatusChangeNotification) for data in carried):
                self._take(carried)  # also asyncua's own word that the connection is gone, which has no number
                return
            self.beats += 1
            self.heard = message.PublishTime
            number = int(message.SequenceNumber or 0)
            gone, first = missing(self._expected, number), self._expected
            self._expected = number if gone else self._expected
            if gone:
                await self._again(first, gone)
            if carried:
                self._expected = number % RING + 1
                self._take(carried)
        except Exception as error:
            self._ended(f"a notification could not be taken: {type(error).__name__}: {error}")

    async def _again(self, first: int, count: int) -> None:
        """Republish (part 4, 5.13.6), in order; what the server has no more is lost."""
        lost = count
        for k in range(min(count, MOST_AGAIN)):
            try:
                message = await self._session.republish(self.id, (first + k - 1) % RING + 1)
            except Exception:  # gone, or not to be read
                continue
            if message.NotificationData:
                lost -= 1
                self._take(message.NotificationData)
        if lost:
            self._lost(lost)

    def _take(self, carried: Sequence[Any]) -> None:
        for data in carried:
            if isinstance(data, ua.DataChangeNotification):
                self._took(data.MonitoredItems)
            elif isinstance(data, ua.StatusChangeNotification):
                self._ended(f"the subscription ended: {data.Status.name}")


def _request(item: Item, sampling: float) -> ua.MonitoredItemCreateRequest:
    handle, node, deadband = item
    wanted = ua.MonitoringParameters(
        ClientHandle=ua.UInt32(handle),
        SamplingInterval=ua.Double(sampling * 1000),
        QueueSize=ua.UInt32(QUEUE),
        DiscardOldest=True,
    )
    if deadband is not None:
        wanted.Filter = deadband
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=wanted,
    )
