"""The MQTT driver: what others publish becomes batches."""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge import SECOND, AnswerContradicts, Batch, ConfigFault, DeviceLost, Quality, Source, log, reason_of

from .options import MqttConfig
from .payload import decode_payload
from .sparkplug import NAMESPACE, Nodes, rebirth
from .values import MOST_BYTES, MOST_READINGS, MOST_SAMPLES, Sample, number_of, parse, parse_path, picked, time_of

REBIRTH_EVERY = 10 * SECOND  # between two orders to the same node
MOST_TOPICS = 4096  # whose tags are remembered
HOUSEKEEPING = 1.0  # seconds between two looks at the connection's age


class Mqtt:
    """One connection, read by the event loop itself: what is not read yet waits at the broker, not in our memory."""

    Config = MqttConfig

    def __init__(self, config: MqttConfig, source: Source) -> None:
        self.config, self.source = config, source
        self._names = list(config.tags)
        self._ids = np.array([source.tags[name].id for name in self._names], np.int32)
        self._points = list(config.tags.values())
        self._paths = [parse_path(point.path) for point in self._points]
        self._times = [parse_path(config.time if p.time is None else p.time) for p in self._points]
        self._filters = config.topics()
        self._nodes = Nodes(config.metrics())
        self._by_topic: dict[str, list[int]] = {}
        self._arrived: list[Sample] = []
        self._asked: dict[str, int] = {}
        self._said: set[str] = set()
        self._heard: set[int] = set()
        self._client: paho.Client | None = None
        self._end: asyncio.Future[str] | None = None
        self._ready: asyncio.Future[None] | None = None

    # The connection

    async def run(self) -> None:
        client = await self._connect()
        try:
            self.source.running()
            await self._stay(client)
        finally:
            await self._close(client)

    async def _stay(self, client: paho.Client) -> None:
        """Until the connection ends."""
        assert self._end is not None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HOUSEKEEPING):
                    raise DeviceLost(await asyncio.shield(self._end))
            client.loop_misc()
            self._ask_for_births(client)

    async def _connect(self) -> paho.Client:
        """Raises DeviceLost, or ConfigFault where the broker does not let us in."""
        loop = asyncio.get_running_loop()
        self._end, self._ready = loop.create_future(), loop.create_future()
        self._nodes.forget()
        client = self._client = self._made(loop)
        parts = urlsplit(self.config.url)
        port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        clean: dict[str, Any] = {"clean_start": True, "properties": _limits()} if self.config.version == 5 else {}
        try:
            async with asyncio.timeout(self.config.timeout):
                await asyncio.to_thread(client.connect, parts.hostname or "", port, 30, **clean)
                self._watch(loop, client)
                waiting: list[asyncio.Future[Any]] = [self._ready, self._end]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._end.done():
                raise DeviceLost(self._end.result())
            self._ready.result()
        except (OSError, UnicodeError, ValueError) as error:
            await self._close(client)
            reason = reason_of(error) if isinstance(error, OSError) and not isinstance(error, TimeoutError) else ""
            if isinstance(error, ssl.SSLCertVerificationError):
                reason = f"its certificate is not trusted: {error.verify_message}"
            raise DeviceLost(
                f"no connection to {self.config.url}: {reason or 'no answer'}", hint="check address, port and `ca`"
            ) from None
        except BaseException:
            await self._close(client)
            raise
        return client

    def _made(self, loop: asyncio.AbstractEventLoop) -> paho.Client:
        config = self.config
        protocol = paho.MQTTv5 if config.version == 5 else paho.MQTTv311
        client = paho.Client(CallbackAPIVersion.VERSION2, config.client, protocol=protocol, reconnect_on_failure=False)
        client.connect_timeout = config.timeout
        if config.user:
            client.username_pw_set(config.user, config.password or None)
        if urlsplit(config.url).scheme == "mqtts":
            try:
                client.tls_set(config.ca or None, config.certificate or None, config.key or None)
            except (OSError, ssl.SSLError) as error:
                raise ConfigFault(
                    f"the certificates cannot be read: {error}", hint="check `ca`, `certificate`, `key`"
                ) from None
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_subscribe, client.on_message = self._on_subscribe, self._on_message
        return client

    def _watch(self, loop: asyncio.AbstractEventLoop, client: paho.Client) -> None:
        wire = client.socket()
        if wire is None:
            raise DeviceLost("the broker hung up")

        def read() -> None:
            client.loop_read()
            if isinstance(wire, ssl.SSLSocket) and wire.fileno() >= 0 and wire.pending():
                loop.call_soon(read)

        def writable(*_: Any) -> None:
            loop.add_writer(wire, client.loop_write)

        def written(*_: Any) -> None:
            loop.remove_writer(wire)

        def closed(*_: Any) -> None:
            loop.remove_reader(wire)
            loop.remove_writer(wire)

        client.on_socket_register_write, client.on_socket_unregister_write = writable, written
        client.on_socket_close = closed
        loop.add_reader(wire, read)
        if client.want_write():
            writable()

    async def _close(self, client: paho.Client) -> None:
        self._client = None
        with contextlib.suppress(OSError, ValueError):
            client.disconnect()
            client.loop_write()
        wire = client.socket()
        if wire is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(wire)
            loop.remove_writer(wire)
            wire.close()

    # What the client calls, on the event loop

    def _on_connect(self, client: paho.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._over(f"the broker does not let us in: {reason}")
            return
        filters = [*self._filters, *self._nodes.filters()] if self._nodes.nodes else list(self._filters)
        client.subscribe([(topic, int(self.config.qos)) for topic in filters])

    def _on_subscribe(self, client: paho.Client, _: Any, mid: int, reasons: Sequence[Any], properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._over(f"the broker refuses a topic: {refused[0]}")
        elif self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
            self._ask_for_births(client)

    def _on_disconnect(self, client: paho.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._over(f"the broker hung up: {reason}")

    def _over(self, reason: str) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(reason)

    def _on_message(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        if not self.source.ready():
            self.source.count("dropped_journal_full")
            return
        try:
            topic = message.topic
            if topic.startswith(f"{NAMESPACE}/") and self._nodes.nodes:
                self._sparkplug(client, topic, bytes(message.payload), message.retain)
            else:
                self._json(topic, bytes(message.payload), message.retain)
        except (AnswerContradicts, UnicodeDecodeError) as error:
            self.source.count("unreadable")
            self._say("unreadable", f"a message is left out: {error}")

    # Plain JSON

    def _json(self, topic: str, payload: bytes, retained: bool) -> None:
        tags = self._by_topic.get(topic)
        if tags is None:
            tags = [i for f, found in self._filters.items() if paho.topic_matches_sub(f, topic) for i in found]
            if len(self._by_topic) < MOST_TOPICS:
                self._by_topic[topic] = tags
        if not tags:
            return
        data, now = parse(payload), self.source.clock.utc()
        readings = data if isinstance(data, list) and all(isinstance(entry, dict) for entry in data) else [data]
        if len(readings) > MOST_READINGS or len(readings) * len(tags) > MOST_SAMPLES:
            raise AnswerContradicts(f"{len(readings):,} readings for {len(tags):,} tags are too many in one message")
        for reading in readings:
            for i in tags:
                self._one(i, reading, now, retained)

    def _one(self, i: int, data: Any, now: int, retained: bool) -> None:
        """A path that leads nowhere gives no sample: another message brings that tag."""
        path = self._paths[i]
        try:
            found = picked(data, path)
        except LookupError:
            self.source.count("no_such_path")
            return
        if not path and isinstance(found, dict):
            if "value" not in found:
                self.source.count("no_such_path")
                return
            found = found["value"]
        value: float | str = math.nan
        if isinstance(found, str) and self._points[i].type == "text":
            value, quality = found, Quality.GOOD
        else:
            value, quality = number_of(found)
            if quality == Quality.BAD:
                self._odd(i, found)
        ts = None
        if self._times[i]:
            with contextlib.suppress(LookupError):
                ts = time_of(picked(data, self._times[i]))
            self.source.count("no_time", ts is None)
        unsure = ts is None and (retained or bool(self._times[i]))  # kept by the broker: nobody knows how old it is
        self._arrive(i, ts or now, value, Quality.CLOCK_UNSURE if unsure and quality == Quality.GOOD else quality)

    # Sparkplug

    def _sparkplug(self, client: paho.Client, topic: str, payload: bytes, retained: bool) -> None:
        if retained:  # no node may ask for that (3.0, 6.4): a birth of nobody knows when gives its aliases to others
            self.source.count("retained")
            self._say("retained", f"{topic} is kept by the broker, which no message of a node may be; it is left out")
            return
        if len(payload) > MOST_BYTES:
            raise AnswerContradicts(f"a message of {len(payload):,} bytes, more than {MOST_BYTES:,}")
        for sample in self._nodes.heard(topic, decode_payload(payload), self.source.clock.utc()):
            self._arrive(*sample)
        for cause, n in self._nodes.counts.items():
            self.source.count(cause, n)
        if (self._nodes.counts["after_gap"] or self._nodes.counts["unknown_alias"]) and not self.config.rebirth:
            self._say(
                "after_gap",
                "values by alias are no data until the next birth of their node; `rebirth: true` asks for it",
            )
        self._nodes.counts.clear()
        self._ask_for_births(client)

    def _ask_for_births(self, client: paho.Client) -> None:
        if not self.config.rebirth or self._ready is None or not self._ready.done():
            return
        now = self.source.clock.mono()
        for node in self._nodes.wanted:
            if now - self._asked.get(node, -REBIRTH_EVERY) >= REBIRTH_EVERY:
                self._asked[node] = now
                self.source.count("rebirths_asked")
                group, name = node.split("/")
                client.publish(f"{NAMESPACE}/{group}/NCMD/{name}", rebirth(self.source.clock.utc()), 0)

    # Both

    def _arrive(self, i: int, ts: int, value: float | str, quality: int) -> None:
        """A string belongs to a tag of type text, and nothing else does: what does not fit is BAD."""
        if isinstance(value, str) != (self._points[i].type == "text") and quality <= Quality.LATE:
            self._odd(i, value)
            value, quality = math.nan, Quality.BAD
        elif isinstance(value, str):
            value = self.source.text(int(self._ids[i]), value)
            quality = Quality.RANGE if math.isnan(value) else quality
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._flush)
        self._arrived.append((i, ts, value, quality))

    def _flush(self) -> None:
        """What came in one turn of the loop, as one batch."""
        arrived, self._arrived = self._arrived, []
        index, ts, value, quality = (np.array(column) for column in zip(*arrived, strict=True))
        self._heard.update(index.tolist())
        self.source.emit(Batch.of(self.source.name, self._ids[index], value, ts, quality.astype(np.uint8)))
        self.source.running()

    def _odd(self, i: int, found: Any) -> None:
        """Counted each time, said once."""
        wanted = self._points[i].type == "text"
        self.source.count("no_text" if wanted else "no_number")
        told = "no text; take `type: text` away" if wanted else "no number; for a string say `type: text`"
        shown = repr(str(found)[:60]) if isinstance(found, str | int | float) else type(found).__name__
        self._say(f"odd {i}", f"{self._names[i]} is {shown}, {told}: its samples are BAD")

    def _say(self, cause: str, text: str) -> None:
        """Once per cause; the counters tell the rest."""
        if cause not in self._said:
            self._said.add(cause)
            log.warning("%s: %s", self.source.name, text)

    async def probe(self) -> Sequence[str]:
        """Listen for as long as `timeout`, or until each tag came once."""
        client = await self._connect()
        self._heard.clear()
        assert self._end is not None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.timeout):
                    while len(self._heard) < len(self._names) and not self._end.done():
                        await asyncio.sleep(0.02)
        finally:
            await self._close(client)
        silent = [name for i, name in enumerate(self._names) if i not in self._heard]
        lines = [f"{len(self._heard)} of {len(self._names)} tags were published within {self.config.timeout:g} s"]
        return lines + [f"{name}: nothing came" for name in silent]


def _limits() -> Properties:
    """The broker keeps larger messages from us."""
    found = Properties(PacketTypes.CONNECT)
    found.MaximumPacketSize = MOST_BYTES + 4096
    return found
