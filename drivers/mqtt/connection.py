"""One connection to a broker, read by the event loop itself: what is not read yet waits at the broker, not in our memory."""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge import ConfigFault, DeviceLost, DeviceRefused, reason_of

from .options import MqttConfig
from .values import MOST_BYTES

HOUSEKEEPING = 1.0  # seconds between two looks at the connection's age
Took = Callable[[paho.MQTTMessage], None]


class Connection:
    """`open()`, then `took(message)` is called for each that comes under `filters`, until `stay()` raises."""

    def __init__(self, config: MqttConfig, filters: Sequence[str], took: Took) -> None:
        self._config, self._filters, self._took = config, filters, took
        loop = asyncio.get_running_loop()
        self._end: asyncio.Future[str] = loop.create_future()  # why it ended
        self._ready: asyncio.Future[None] = loop.create_future()  # the broker knows what we want
        self._out: dict[
            int, asyncio.Future[str]
        ] = {}  # orders under way: why the broker refuses one, empty where it took it
        self._client = self._made()

    @property
    def ended(self) -> bool:
        return self._end.done()

    async def open(self) -> None:
        """Raises DeviceLost, or ConfigFault where the certificates of the site cannot be read."""
        parts, client = urlsplit(self._config.url), self._client
        port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        clean: dict[str, Any] = {"clean_start": True, "properties": _limits()} if self._config.version == 5 else {}
        try:
            async with asyncio.timeout(self._config.timeout):
                await asyncio.to_thread(client.connect, parts.hostname or "", port, 30, **clean)
                self._watch(client)
                waiting: list[asyncio.Future[Any]] = [self._ready, self._end]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._end.done():
                raise DeviceLost(self._end.result())
        except (OSError, UnicodeError, ValueError) as error:
            self.close()
            reason = reason_of(error) if isinstance(error, OSError) and not isinstance(error, TimeoutError) else ""
            if isinstance(error, ssl.SSLCertVerificationError):
                reason = f"its certificate is not trusted: {error.verify_message}"
            told = f"no connection to {self._config.url}: {reason or 'no answer'}"
            raise DeviceLost(told, hint="check address, port and `ca`") from None
        except BaseException:
            self.close()
            raise

    async def stay(self, tick: Callable[[], None]) -> None:
        """Until the connection ends, which raises DeviceLost; `tick()` is called every HOUSEKEEPING seconds."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HOUSEKEEPING):
                    raise DeviceLost(await asyncio.shield(self._end))
            self._client.loop_misc()
            tick()

    def say(self, topic: str, body: bytes) -> None:
        """Publish at quality of service 0: nobody answers."""
        self._client.publish(topic, body, 0)

    async def publish(self, topic: str, body: bytes, lives: float) -> None:
        """Returns when the broker has taken it. `lives`: seconds after which it passes it on to nobody who comes late (version 5).
        Raises DeviceLost, DeviceRefused."""
        ends = None
        if self._config.version == 5:
            ends = Properties(PacketTypes.PUBLISH)
            ends.MessageExpiryInterval = max(1, math.ceil(lives))
        number = self._client.publish(topic, body, 1, properties=ends).mid
        taken = self._out[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._config.timeout):
                waiting: list[asyncio.Future[Any]] = [taken, self._end]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise DeviceLost("the broker does not answer to the order, which it may have passed on") from None
        finally:
            self._out = {number: other for number, other in self._out.items() if other is not taken}
        if not taken.done():
            raise DeviceLost(f"{self._end.result()}; it may have passed the order on")
        if why := taken.result():
            raise DeviceRefused(f"the broker refuses the order: {why}")

    def close(self) -> None:
        client = self._client
        with contextlib.suppress(OSError, ValueError):
            client.disconnect()
            client.loop_write()
        wire = client.socket()
        if wire is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(wire)
            loop.remove_writer(wire)
            wire.close()

    def _made(self) -> paho.Client:
        config = self._config
        protocol = paho.MQTTv5 if config.version == 5 else paho.MQTTv311
        client = paho.Client(CallbackAPIVersion.VERSION2, config.client, protocol=protocol, reconnect_on_failure=False)
        client.connect_timeout = config.timeout
        if config.user:
            client.username_pw_set(config.user, config.password or None)
        if urlsplit(config.url).scheme == "mqtts":
            try:
                client.tls_set(config.ca or None, config.certificate or None, config.key or None)
            except (OSError, ssl.SSLError) as error:
                hint = "check `ca`, `certificate`, `key`"
                raise ConfigFault(f"the certificates cannot be read: {error}", hint=hint) from None
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_subscribe, client.on_publish = self._on_subscribe, self._on_publish
        client.on_message = lambda _, __, message: self._took(message)
        return client

    def _watch(self, client: paho.Client) -> None:
        loop, wire = asyncio.get_running_loop(), client.socket()
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

    # What the client calls, on the event loop

    def _on_connect(self, client: paho.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._over(f"the broker does not let us in: {reason}")
        else:
            client.subscribe([(topic, int(self._config.qos)) for topic in self._filters])

    def _on_subscribe(self, client: paho.Client, _: Any, mid: int, reasons: Sequence[Any], properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._over(f"the broker refuses a topic: {refused[0]}")
        elif not self._ready.done():
            self._ready.set_result(None)

    def _on_publish(self, client: paho.Client, _: Any, mid: int, reason: Any, properties: Any) -> None:
        if (taken := self._out.get(mid)) is not None and not taken.done():
            taken.set_result(str(reason) if reason is not None and reason.is_failure else "")

    def _on_disconnect(self, client: paho.Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._over(f"the broker hung up: {reason}")

    def _over(self, reason: str) -> None:
        if not self._end.done():
            self._end.set_result(reason)


def _limits() -> Properties:
    """The broker keeps larger messages from us."""
    found = Properties(PacketTypes.CONNECT)
    found.MaximumPacketSize = MOST_BYTES + 4096
    return found
