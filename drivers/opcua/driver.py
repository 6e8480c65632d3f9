"""The OPC UA driver: one session, one subscription, every change as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from asyncua import Client, ua
from asyncua.ua.uaerrors import UaError
from pydantic import Field, field_validator

from edge import (
    SECOND,
    Batch,
    DeviceLost,
    DeviceRefused,
    DriverConfig,
    Identifier,
    Period,
    Point,
    Quality,
    Source,
    Write,
    log,
    reason_of,
)

from .values import nanoseconds, native, node_of, number_of, overflowed, quality_of, text_of

logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # what matters is raised, and said once by the supervisor
CLOCK = ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServerStatus_CurrentTime))
AT_ONCE = 1000  # items in one request, where the server does not say
LOST = (UaError, OSError, asyncio.TimeoutError, ConnectionError)


class OpcUaPoint(Point):
    """One variable."""

    node: str = Field(
        description="its node id, as in ns=2;s=Oven.Temperature or nsu=urn:maker:plant;s=Oven.Temperature"
    )

    type: Literal["float64", "text"] = Field("float64", description="`text` where the variable is a String")

    @field_validator("node")
    @classmethod
    def _readable(cls, text: str) -> str:
        node_of(text)
        return text


class OpcUaConfig(DriverConfig):
    """One server."""

    url: str = Field(description="opc.tcp://host:4840/path")
    every: Period = Field(1.0, description="how often the server looks for changes and sends them")
    keep_alive: Period = Field(5.0, description="an unchanged value is said again this often while the server answers")
    timeout: Period = Field(4.0, description="how long to wait for an answer")
    user: str = Field("", description="user name, if the server wants one")
    password: str = Field("", description="its password; use !secret", repr=False)
    tags: dict[Identifier, OpcUaPoint] = Field(min_length=1, description="variables to subscribe to, by name")

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        try:
            parts = urlsplit(text)
            found = parts.scheme == "opc.tcp" and parts.hostname and parts.port != 0
        except ValueError:  # no host, or a port past 65535
            found = False
        if not found:
            raise ValueError(
                f"{text!r} is no address of a server; write opc.tcp://192.168.1.30:4840 (a port is at most 65535)"
            )
        return text

    def period(self) -> float:
        return max(self.every, self.keep_alive)

    def port(self) -> str:
        return self.url.rstrip("/")

    def faults(self) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
        if self.password and not self.user:
            yield ("password",), "a password without a user", "add `user:`"


class OpcUa:
    """Batches of what changed; what did not change is said again at each keep-alive, so that rules do not call it stale."""

    Config = OpcUaConfig

    def __init__(self, config: OpcUaConfig, source: Source) -> None:
        self.config, self.source = config, source
        self._names = list(config.tags)
        self._ids = np.array([source.tags[name].id for name in self._names], np.int32)
        self._by_node: dict[ua.NodeId, list[int]] = {}  # found anew at each connection: a namespace may move
        n = len(self._names)
        self._value, self._quality = np.full(n, np.nan), np.full(n, Quality.BAD, np.uint8)
        self._ts = np.zeros(n, np.int64)
        self._known, self._fresh = np.zeros(n, bool), np.zeros(n, bool)
        self._arrived: list[tuple[int, int, float, int]] = []
        self._said_odd: set[int] = set()
        self._text = [point.type == "text" for point in config.tags.values()]
        self._beats = 0  # times that the subscription brought the server's clock, which always moves
        self._quiet = round((max(5.0, 3 * config.period()) + config.timeout) * SECOND)
        self._client: Client | None = None
        self._lost: asyncio.Future[str] | None = None

    async def _connect(self) -> Client:
        client = Client(self.config.url, timeout=self.config.timeout)
        if self.config.user:
            client.set_user(self.config.user)
            client.set_password(self.config.password)
        try:
            async with asyncio.timeout(self.config.timeout + 1):
                await client.connect()
        except LOST as error:
            raise DeviceLost(
                f"no session with {self.config.url}: {_said(error)}", hint="check address and user"
            ) from None
        return client

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        client = self._client = await self._connect()
        self._lost = loop.create_future()
        try:
            await self._subscribe(client)
            heard, since = 0, self.source.clock.mono()
            while True:
                _heed_cancellation()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.config.keep_alive):
                        raise DeviceLost(await asyncio.shield(self._lost))
                async with asyncio.timeout(self.config.timeout):
                    now = await client.get_node(CLOCK).read_value()
                if heard != self._beats:
                    heard, since = self._beats, self.source.clock.mono()
                    self._again(nanoseconds(now) or self.source.clock.utc())
                elif self.source.clock.mono() - since > self._quiet:
                    raise DeviceLost("the server answers, but nothing comes from the subscription any more")
        except LOST as error:
            raise DeviceLost(f"the session broke: {_said(error)}") from None
        finally:
            self._client = None
            with contextlib.suppress(*LOST, Exception):
                async with asyncio.timeout(1):
                    await client.disconnect()
            _heed_cancellation()

    async def _subscribe(self, client: Client) -> None:
        """Ask for every node, in as many requests as the server wants. One that it refuses: its tags say so, the others run on."""
        self._by_node.clear()
        for i, node in enumerate(await self._nodes(client)):
            if node is None:
                self._refused([i], "it has no such namespace")
            else:
                self._by_node.setdefault(node, []).append(i)
        subscription = await client.create_subscription(self.config.every * 1000, self)
        nodes, most = list(self._by_node), await self._at_once(client)
        for k in range(0, len(nodes), most):
            asked = nodes[k : k + most]
            answers = await subscription.subscribe_data_change([client.get_node(n) for n in asked], queuesize=100)
            for node, answer in zip(asked, answers if isinstance(answers, list) else [answers], strict=True):
                if isinstance(answer, ua.StatusCode):
                    self._refused(self._by_node[node], answer.name)
        await subscription.subscribe_data_change(
            client.get_node(CLOCK), queuesize=1, sampling_interval=ua.Double(self.config.keep_alive * 1000)
        )

    async def _nodes(self, client: Client) -> list[ua.NodeId | None]:
        texts = [point.node for point in self.config.tags.values()]
        named = any(text.startswith("nsu=") for text in texts)
        namespaces = await client.get_namespace_array() if named else []
        return [node_of(text, namespaces) for text in texts]

    async def _at_once(self, client: Client) -> int:
        limit = ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall
        found = await client.get_node(limit).read_data_value(raise_on_bad_status=False)
        value = found.Value.Value if found.Value is not None else None
        return min(value, AT_ONCE) if isinstance(value, int) and value > 0 else AT_ONCE

    def _refused(self, tags: Sequence[int], why: str) -> None:
        for i in tags:
            self._arrive(i, self.source.clock.utc(), np.nan, Quality.EXCEPTION)
            point = self.config.tags[self._names[i]]
            log.warning("%s: the server refuses %s, node %s: %s", self.source.name, self._names[i], point.node, why)

    # What the subscription calls

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        if node.nodeid == CLOCK:
            self._beats += 1
        if (tags := self._by_node.get(node.nodeid)) is None:
            return
        found = data.monitored_item.Value
        said = quality_of(found.StatusCode) if found.StatusCode is not None else Quality.GOOD
        if found.StatusCode is not None and overflowed(found.StatusCode):
            self.source.count("server_queue_overflow")
        ts = nanoseconds(found.SourceTimestamp) or nanoseconds(found.ServerTimestamp) or self.source.clock.utc()
        for i in tags:
            number, cause = self._read(i, value, found.Value)
            quality = cause if said == Quality.GOOD and cause is not None else said
            if said == Quality.GOOD and cause == Quality.BAD:
                self._odd([i], value)
            self._arrive(i, ts, number if quality <= Quality.RANGE else np.nan, quality)

    def _read(self, i: int, value: Any, variant: ua.Variant | None) -> tuple[float, Quality | None]:
        """The number of a tag's value, and the cause where there is none."""
        if not self._text[i]:
            return number_of(value)
        if (text := text_of(value, variant)) is None:
            return np.nan, Quality.BAD
        number = self.source.text(int(self._ids[i]), text)
        return number, Quality.RANGE if np.isnan(number) else None

    def _arrive(self, i: int, ts: int, number: float, quality: int) -> None:
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._flush)
        self._arrived.append((i, ts, number, quality))

    def _odd(self, tags: Sequence[int], value: Any) -> None:
        """Counted each time, said once."""
        for i in tags:
            self.source.count("no_number")
            if i not in self._said_odd:
                self._said_odd.add(i)
                kind = _kind(value, self._text[i])
                log.warning("%s: %s is %s: its samples are BAD", self.source.name, self._names[i], kind)

    def status_change_notification(self, status: Any) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(f"the subscription ended: {status.Status.name}")

    def event_notification(self, event: Any) -> None:
        """Events are not asked for."""

    def _flush(self) -> None:
        """All changes of one notification as one batch."""
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        index, ts, value, quality = (np.array(c) for c in zip(*arrived, strict=True))
        self._value[index], self._quality[index], self._ts[index] = value, quality, ts
        self._known[index] = self._fresh[index] = True
        self.source.emit(Batch.of(self.source.name, self._ids[index], value, ts, quality.astype(np.uint8)))
        self.source.running()

    def _again(self, now: int) -> None:
        """The server answers: what it did not change still holds, by its own clock, as its changes are stamped."""
        still = np.flatnonzero(self._known & ~self._fresh)
        self._fresh[:] = False
        if len(still):
            ts = np.maximum(now, self._ts[still])
            self.source.emit(Batch.of(self.source.name, self._ids[still], self._value[still], ts, self._quality[still]))
        self.source.running()

    # Writing and probing

    async def write(self, write: Write) -> None:
        if self._client is None:
            raise DeviceLost("no session")
        tag = int(np.flatnonzero(self._ids == write.tag)[0])
        found = next((node for node, tags in self._by_node.items() if tag in tags), None)
        if found is None:
            raise DeviceRefused(f"the server has no node {self.config.tags[self._names[tag]].node}")
        node = self._client.get_node(found)
        try:
            async with asyncio.timeout(self.config.timeout):
                kind = await node.read_data_type_as_variant_type()
                await node.write_value(ua.DataValue(ua.Variant(native(kind, write.value), kind)))
        except TimeoutError:
            raise DeviceLost("no answer to the write") from None
        except UaError as error:
            raise DeviceRefused(f"the server refuses the write: {_said(error)}") from None

    async def probe(self) -> Sequence[str]:
        client = await self._connect()
        lines = []
        try:
            for name, node in zip(self._names, await self._nodes(client), strict=True):
                if node is None:
                    lines.append(f"{name}: the server has no namespace of {self.config.tags[name].node}")
                    continue
                found = await client.get_node(node).read_data_value(raise_on_bad_status=False)
                lines.append(f"{name} {_shown(found, self.config.tags[name].type == 'text')}")
        finally:
            with contextlib.suppress(*LOST):
                await client.disconnect()
        return lines


def _heed_cancellation() -> None:
    """asyncua waits by `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes with the answer."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _shown(found: ua.DataValue, text: bool) -> str:
    status = found.StatusCode
    if status is not None and not status.is_good():
        return f"has no good value: {status.name} ({quality_of(status).name})"
    value = found.Value.Value if found.Value is not None else None
    if text and (string := text_of(value, found.Value)) is not None:
        return f"= {string!r} ({Quality.GOOD.name})"
    cause = Quality.BAD if text else number_of(value)[1]
    if cause == Quality.BAD:
        return f"= {value}: {_kind(value, text)} (BAD)"
    return f"= {value} ({Quality.GOOD.name if cause is None else cause.name})"


def _kind(value: Any, text: bool) -> str:
    """What a value is that is not what its tag wants, a number or a text."""
    if text:
        return f"a {type(value).__name__}, not a text; take `type: text` away"
    if text_of(value) is not None:
        return f"a {type(value).__name__}, not a number; say `type: text`"
    if isinstance(value, list):
        return f"an array of {len(value)}, not one number; ask the server for a node of each element"
    return "empty" if value is None else f"a {type(value).__name__}, not a number"


def _said(error: BaseException) -> str:
    if isinstance(error, UaError):
        return str(error).split("(")[-1].rstrip(")") or type(error).__name__
    return reason_of(error) if isinstance(error, OSError) and error.args else str(error) or "no answer"
