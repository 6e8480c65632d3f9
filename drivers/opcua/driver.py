"""The OPC UA driver: one session; every change as it comes, or all nodes on a grid."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

from asyncua import Client, ua

from edge import SECOND, DeviceLost, DeviceRefused, Event, Grid, Quality, Source, Write, log

from .browse import walk
from .newest import Arrived, Newest
from .options import OpcUaConfig
from .orders import call, set_value, shown_by
from .reading import Reading
from .session import connect, disconnect, telling
from .subscription import Item, Subscription, Values
from .values import deadband_of, kind_of, moment_of, nanoseconds, node_of, number_of, overflowed, quality_of, text_of

CLOCK = ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServerStatus_CurrentTime))
CLOCK_HANDLE = 2**31
BROWSE_WITHIN = 60.0  # seconds
CIRCLE = 60.0  # seconds in which every subscribed node is looked at once, and every refused one is asked for again


class OpcUa:
    """Batches of what changed; what did not change is said again at each keep-alive, so that rules do not call it stale."""

    Config = OpcUaConfig

    def __init__(self, config: OpcUaConfig, source: Source) -> None:
        self.config, self.source = config, source
        self._names, self._points = list(config.tags), list(config.tags.values())
        self._ids = [source.tags[name].id for name in self._names]
        self._newest = Newest(source, self._ids)
        self._by_source = config.time == "source"
        self._by_name = any("nsu=" in f"{p.node} {p.method} {p.object}" for p in self._points)
        self._namespaces: Sequence[str] = ()
        self._text = [point.type == "text" for point in self._points]
        self._said_odd: set[int] = set()
        self._said_slow = False
        self._client: Client | None = None
        self._found()

    def _found(self, nodes: Sequence[ua.NodeId] = (), tags: Sequence[list[int]] = ()) -> None:
        """A new session: the handle of a node is its place in `nodes`, `tags` are those (by place in the site) that show it."""
        self._nodes, self._tags = list(nodes), list(tags)
        self._refused: set[int] = set()  # handles
        self._overflowed: dict[int, int] = {}  # handle: values that its queue at the server dropped
        self._wake, self._ended, self._unsure = asyncio.Event(), "", False
        self._ticks = 0  # changes of the server's clock that came by the subscription

    async def run(self) -> None:
        client = await connect(self.config, self.source.name, self.source.folder)
        try:
            with telling("the session broke"):
                reading = await self._begin(client)
                self._client = client  # not before: an order would go where the last session had its namespaces
                await (self._poll(reading) if self.config.mode == "poll" else self._subscribe(client, reading))
        finally:
            self._client = None
            await disconnect(client)
            _heed_cancellation()

    async def _begin(self, client: Client) -> Reading:
        reading = await Reading.of(client)
        await self._look_at_clock(reading)
        await self._find(client)
        return reading

    async def _find(self, client: Client) -> None:
        """Where the nodes are in this session: a namespace may have moved since the last."""
        handles: dict[ua.NodeId, int] = {}
        tags: list[list[int]] = []
        lost: list[int] = []
        self._namespaces = await client.get_namespace_array() if self._by_name else []
        self._newest.forget()
        now = self._newest.clock()
        for i, point in enumerate(self._points):
            if point.method:
                self._newest.take([(i, now, 0.0, Quality.SUBSTITUTED)])  # not called yet
            elif (node := node_of(point.node, self._namespaces)) is None:
                lost.append(i)
            else:
                handle = handles.setdefault(node, len(tags))
                tags += [[]] if handle == len(tags) else []
                tags[handle].append(i)
        self._found(list(handles), tags)
        self._refuse(lost, "it has no such namespace")

    # By subscription

    async def _subscribe(self, client: Client, reading: Reading) -> None:
        subscription = Subscription(client, self._took, self._lost, self._end)
        await subscription.create(self.config.every, self.config.keep_alive)
        await self._add(subscription, range(len(self._nodes)), reading.most)
        self._tell_slow(subscription)
        no_clock = await subscription.add([(CLOCK_HANDLE, CLOCK, None)], self.config.keep_alive, 1)
        sign = subscription.keep_alive if no_clock else subscription.every  # seconds between two signs of life
        quiet = (max(5.0, 3 * max(self.config.period(), sign)) + self.config.timeout) * SECOND
        heard, since, place = 0, self.source.clock.mono(), 0
        while True:
            _heed_cancellation()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.keep_alive):
                    await self._wake.wait()
            if self._ended:
                raise DeviceLost(self._ended)
            self._wake.clear()
            await self._look_at_clock(reading)
            if self._unsure:
                self._unsure = False
                await self._look(subscription, reading, range(len(self._nodes)), take=True)
            place = await self._look_around(subscription, reading, place)
            self._tell_overflows()
            beats = subscription.beats if no_clock else self._ticks
            if heard != beats:
                heard, since = beats, self.source.clock.mono()
                self._newest.again(round(min(subscription.every, self.config.period()) * SECOND))
                self.source.running()
            elif self.source.clock.mono() - since > quiet:
                raise DeviceLost("the server answers, but nothing comes from the subscription any more")

    def _tell_slow(self, subscription: Subscription) -> None:
        """A server may grant other times than were asked for (part 4, 5.12.1 and 5.13.2). Said once."""
        for does, got in (("sends", subscription.every), ("looks at some nodes only", subscription.sampling)):
            if got > 1.5 * self.config.every and not self._said_slow:
                self._said_slow = True
                wanted = self.config.every
                log.warning(
                    "%s: the server %s every %g s, not every %g s as asked", self.source.name, does, got, wanted
                )

    async def _add(self, subscription: Subscription, handles: Iterable[int], most: int) -> None:
        """Ask for these nodes. Tags of one that the server refuses say so, the others run on."""
        items: list[Item] = []
        for handle in handles:
            deadbands = {self._points[i].server_deadband for i in self._tags[handle]}
            items.append((handle, self._nodes[handle], deadband_of(deadbands.pop()) if len(deadbands) == 1 else None))
        refused = await subscription.add(items, self.config.every, most)
        for handle, why in refused.items():
            if handle not in self._refused:
                self._refuse(self._tags[handle], why.name)
        self._refused = (self._refused - {item[0] for item in items}) | set(refused)

    async def _look_around(self, subscription: Subscription, reading: Reading, place: int) -> int:
        """The next few nodes: a server may delete one and say nothing. Once around, those that were refused are asked for again."""
        n = len(self._nodes)
        if place >= n:
            await subscription.remove(sorted(self._refused))
            await self._add(subscription, sorted(self._refused), reading.most)
            return 0
        few = max(1, math.ceil(n * self.config.keep_alive / CIRCLE))
        await self._look(subscription, reading, range(place, min(n, place + few)))
        return place + few

    async def _look(
        self, subscription: Subscription, reading: Reading, handles: Sequence[int], take: bool = False
    ) -> None:
        """Read these nodes: one that is not there any more is refused from now on. `take`: what they show is data, too."""
        handles = [handle for handle in handles if handle not in self._refused]
        found = await reading.values([self._nodes[handle] for handle in handles])
        gone = {h: v.StatusCode for h, v in zip(handles, found, strict=True) if v.StatusCode is not None and _absent(v)}
        await subscription.remove(list(gone))
        for handle, status in gone.items():
            self._refuse(self._tags[handle], status.name)
        self._refused |= set(gone)
        if take:
            shown = [(h, v) for h, v in zip(handles, found, strict=True) if h not in gone]
            samples = [sample for handle, value in shown for sample in self._samples(handle, value)]
            self._newest.take([sample for sample in samples if sample[1] >= self._newest.seen[sample[0]]])

    def _took(self, values: Values) -> None:
        arrived: list[Arrived] = []
        for item in values:
            if item.ClientHandle == CLOCK_HANDLE:
                self._ticks += 1
            elif item.ClientHandle < len(self._nodes):
                (self._refused.add if _absent(item.Value) else self._refused.discard)(item.ClientHandle)
                if overflowed(item.Value.StatusCode):
                    self.source.count("server_queue_overflow")
                    self._overflowed[item.ClientHandle] = self._overflowed.get(item.ClientHandle, 0) + 1
                arrived += self._samples(item.ClientHandle, item.Value)
        self._newest.take(arrived)
        self.source.running()

    def _lost(self, n: int) -> None:
        """Notifications are gone for good: say so, and read everything, so that at least the newest values are right."""
        self.source.count("lost_notifications", n)
        self._gap(f"{n} notifications of the server were lost; all nodes are read anew", {"notifications": n})
        self._unsure = True
        self._wake.set()

    def _tell_overflows(self) -> None:
        if self._overflowed:
            tags = [self._names[i] for handle in self._overflowed for i in self._tags[handle]]
            n, self._overflowed = sum(self._overflowed.values()), {}
            more = f" and {len(tags) - 5} more" if len(tags) > 5 else ""
            text = f"the server dropped values before it could send them: {', '.join(tags[:5])}{more}"
            self._gap(text, {"times": n, "tags": tags[:100]})

    def _gap(self, text: str, data: dict[str, Any]) -> None:
        self.source.event(Event("source", self.source.name, "gap", severity="medium", text=text, data=data))

    def _end(self, why: str) -> None:
        self._ended = self._ended or why
        self._wake.set()

    # By polling

    async def _poll(self, reading: Reading) -> None:
        grid = Grid(self.config.every, self.source)
        while True:
            _heed_cancellation()
            self.source.count("overruns", await grid.next())
            if not self.source.ready():
                self.source.count("skipped_journal_full")
                continue
            *values, clock = await reading.values([*self._nodes, CLOCK])
            self._newest.see_clock(nanoseconds(clock.Value.Value if clock.Value is not None else None))
            arrived = [sample for handle, found in enumerate(values) for sample in self._samples(handle, found)]
            self._newest.take(arrived, polled=True)
            self._newest.again()  # tags whose namespace is missing
            self.source.running()

    # What both take

    async def _look_at_clock(self, reading: Reading) -> None:
        async with asyncio.timeout(self.config.timeout):
            (found,) = await reading.values([CLOCK])
        self._newest.see_clock(nanoseconds(found.Value.Value if found.Value is not None else None))

    def _samples(self, handle: int, found: ua.DataValue) -> list[Arrived]:
        """The samples of every tag that shows this node."""
        status, value = found.StatusCode, found.Value.Value if found.Value is not None else None
        said = quality_of(status) if status is not None else Quality.GOOD
        ts = moment_of(found, self._by_source) or self._newest.clock()
        out: list[Arrived] = []
        for i in self._tags[handle]:
            number, cause = self._number(i, value, found.Value)
            quality = cause if said == Quality.GOOD and cause is not None else said
            if said == Quality.GOOD and cause == Quality.BAD:
                self._odd(i, value)
            out.append((i, ts, number if quality <= Quality.RANGE else math.nan, quality))
        return out

    def _number(self, i: int, value: Any, variant: ua.Variant | None) -> tuple[float, Quality | None]:
        """The number of a tag's value, and the cause where there is none."""
        if not self._text[i]:
            return number_of(value)
        if (text := text_of(value, variant)) is None:
            return math.nan, Quality.BAD
        number = self.source.text(self._ids[i], text)
        return number, Quality.RANGE if math.isnan(number) else None

    def _refuse(self, tags: Sequence[int], why: str) -> None:
        self._newest.take([(i, self._newest.clock(), math.nan, Quality.EXCEPTION) for i in tags])
        for i in tags:
            name, node = self._names[i], self._points[i].node
            log.warning("%s: the server refuses %s, node %s: %s", self.source.name, name, node, why)

    def _odd(self, i: int, value: Any) -> None:
        """Counted each time, said once."""
        self.source.count("no_number")
        if i not in self._said_odd:
            self._said_odd.add(i)
            kind = kind_of(value, self._text[i])
            log.warning("%s: %s is %s: its samples are BAD", self.source.name, self._names[i], kind)

    # Writing and probing

    async def write(self, write: Write) -> float | str | None:
        """Returns the value as the node holds it; None of a method, which holds none."""
        if self._client is None:
            raise DeviceLost("no session")
        i, value = self._ids.index(write.tag), write.value
        point = self._points[i]
        if not point.method:
            return await set_value(self._client, self._node(point.node), value, self.config.timeout)
        await call(self._client, self._node(point.object), self._node(point.method), value, self.config.timeout)
        shown = self.source.text(write.tag, value) if isinstance(value, str) else value
        self._newest.take([(i, self._newest.clock(), shown, Quality.RANGE if math.isnan(shown) else Quality.GOOD)])
        return None

    async def read(self, tag: int) -> float | str:
        """The value that the server has now. Raises DeviceLost, DeviceRefused."""
        i = self._ids.index(tag)
        if self._client is None:
            raise DeviceLost("no session")
        return await shown_by(self._client, self._node(self._points[i].node), self._text[i], self.config.timeout)

    def _node(self, text: str) -> ua.NodeId:
        """Where a node of the site is in this session."""
        if (node := node_of(text or "i=0", self._namespaces)) is None:
            raise DeviceRefused(f"the server has no namespace of {text}")
        return node

    async def probe(self) -> Sequence[str]:
        client = await connect(self.config, self.source.name, self.source.folder)
        try:
            with telling("the session broke"):
                found = await (await self._begin(client)).values(self._nodes)
            self._newest.take([sample for handle, value in enumerate(found) for sample in self._samples(handle, value)])
        finally:
            await disconnect(client)
        shown = {i: _shown(found[handle], self._text[i]) for handle, tags in enumerate(self._tags) for i in tags}
        return [f"{name} {shown.get(i) or self._unread(i)}" for i, name in enumerate(self._names)]

    def _unread(self, i: int) -> str:
        point = self._points[i]
        called = f"calls {point.method} when it is written"
        return called if point.method else f"has no good value: the server has no namespace of {point.node}"

    async def browse(self, start: str, most: int) -> list[dict[str, Any]]:
        """By the session that is open, else by one of its own. Raises LinesideError."""
        client = self._client or await connect(self.config, self.source.name, self.source.folder)
        try:
            with telling("the walk ended"):
                async with asyncio.timeout(BROWSE_WITHIN):
                    return await walk(client, start, most)
        finally:
            if client is not self._client:
                await disconnect(client)


def _absent(found: ua.DataValue) -> bool:
    return found.StatusCode is not None and found.StatusCode.name in ("BadNodeIdUnknown", "BadNodeIdInvalid")


def _heed_cancellation() -> None:
    """asyncua waits by `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes with the answer."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _shown(found: ua.DataValue, text: bool) -> str:
    status = found.StatusCode
    said = Quality.GOOD if status is None else quality_of(status)
    if status is not None and not status.is_good():
        return f"has no good value: {status.name} ({said.name})"
    value = found.Value.Value if found.Value is not None else None
    if text and (string := text_of(value, found.Value)) is not None:
        return f"= {string!r} ({said.name})"
    cause = Quality.BAD if text else number_of(value)[1]
    if cause == Quality.BAD:
        told = "" if isinstance(value, list) else f"= {value!r:.60}: "  # a text may hold what moves a terminal's cursor
        return f"{told}{kind_of(value, text)} (BAD)"
    return f"= {value} ({said.name if said != Quality.GOOD or cause is None else cause.name})"
