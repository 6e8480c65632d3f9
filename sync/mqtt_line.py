"""One connection to a broker: MQTT 5, quality of service 1 unless asked otherwise, every publish answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge import ConfigFault, DeviceLost, LinesideError, reason_of

from .apart import apart
from .half_open import watch
from .tls import doubt

CONNECT_WITHIN, ANSWER_WITHIN = 10.0, 60.0  # seconds; the second since the last answer, whichever it was to
KEEPALIVE = 20  # seconds without a word after which one asks the broker for one
NOBODY = 0x10  # the broker took it, and nobody had asked for it
HEAD = 1024  # bytes of a message beside its body, at most
UNANSWERED = 256 * 1024  # bytes under way: what a slow line carries before the broker is taken for silent


@dataclass(frozen=True, slots=True)
class Message:
    """What came. `number` binds an answer to its question, `said` are the words beside the body."""

    topic: str
    body: bytes
    number: bytes
    said: dict[str, str]


class Refused(LinesideError):
    """The broker said no: to this user, or to this topic. Heals when somebody changes the broker's rules."""

    heals = True


def trusting(ca: str = "", certificate: str = "", key: str = "", known: str = "") -> ssl.SSLContext:
    """How TLS is spoken: with this authority, else the `known` one (PEM), else the system's, and a certificate of our own.
    Raises ConfigFault."""
    try:
        context = ssl.create_default_context(cafile=ca or None, cadata=None if ca else known or None)
        if certificate:
            context.load_cert_chain(certificate, key)
        return context
    except (OSError, ValueError) as error:
        hint = "check `ca`, `certificate` and `key`"
        raise ConfigFault(f"the certificates cannot be read: {error}", hint=hint) from None


class Line:
    """`open()`, then `publish()` from the event loop; paho's own thread does the input and output. Nothing is kept here, nor
    of us at the broker: what it did not answer is the caller's to send again. `takes`: bytes of a message that we take, 0: any."""

    def __init__(
        self,
        url: str,
        name: str,
        user: str = "",
        password: str = "",
        context: ssl.SSLContext | None = None,
        takes: int = 0,
    ) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "mqtts"
        self._host, self._port = parts.hostname or "", parts.port or (8883 if self._secure else 1883)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5, reconnect_on_failure=False)
        self._client.connect_timeout = CONNECT_WITHIN
        if user:
            self._client.username_pw_set(user, password or None)
        if self._secure:
            self._client.tls_set_context(context or trusting())
        self._hello = Properties(PacketTypes.CONNECT)
        if takes:
            self._hello.MaximumPacketSize = takes
        self._opened: asyncio.Future[None]
        self.broken: asyncio.Future[None]  # fails when the connection is lost
        self._out: dict[int, asyncio.Future[Any]] = {}
        self._heard = 0.0  # when the last answer came, by the loop's time
        self.lost: Exception | None = None
        self._closed = False
        self.most = 0  # bytes of a message that the broker takes, as it said when it let us in; 0: any

    async def open(self) -> None:
        """Raises DeviceLost, or Refused where the broker does not want this user."""
        self._loop = asyncio.get_running_loop()
        self._opened, self.broken = self._loop.create_future(), self._loop.create_future()
        self._client.on_connect = lambda c, u, flags, code, p: self._later(self._answered, code, p)
        self._client.on_disconnect = lambda c, u, flags, code, p: self._later(
            self._fail, f"the connection ended ({code})"
        )
        self._client.on_publish = lambda c, u, mid, code, p: self._later(self._taken, mid, code)
        self._client.on_subscribe = lambda c, u, mid, codes, p: self._later(self._taken, mid, codes[0])
        try:
            async with asyncio.timeout(2 * CONNECT_WITHIN):
                await apart("mqtt connect", self._connect)
                self._client.loop_start()
                await self._opened
        except TimeoutError:
            raise DeviceLost(f"the broker at {self._at} does not answer") from None
        except ssl.SSLCertVerificationError as error:
            why = f"the certificate of the broker at {self._at} is not trusted: {error.verify_message}"
            raise DeviceLost(why, hint="check `ca`, and that `url` names the broker as its certificate does") from None
        except ssl.SSLError as error:
            found = doubt(f"the broker at {self._at}", "a broker", error)
            what, hint = found or (f"the connection to the broker at {self._at} ended: {error.reason}", "")
            raise DeviceLost(what, hint=hint) from None
        except (OSError, ValueError) as error:
            why = reason_of(error) if isinstance(error, OSError) else str(error)
            raise DeviceLost(f"cannot reach the broker at {self._at}: {why}") from None

    def _connect(self) -> None:
        self._client.connect(self._host, self._port, keepalive=KEEPALIVE, properties=self._hello)
        if isinstance(line := self._client.socket(), socket.socket):
            watch(line)

    async def publish(
        self,
        topic: str,
        body: bytes,
        qos: int = 1,
        number: bytes = b"",
        said: dict[str, str] | None = None,
        expires: int = 0,
    ) -> bool:
        """Returns when the broker has taken it (`qos` 0: when it is on its way); false where it knows nobody who listens. After
        `expires` seconds it hands it to nobody. Raises DeviceLost or Refused."""
        if self.lost:
            raise self.lost
        beside = Properties(PacketTypes.PUBLISH)
        if number:
            beside.CorrelationData = number
        if said:
            beside.UserProperty = list(said.items())
        if expires:
            beside.MessageExpiryInterval = expires
        return await self._answer_to(self._client.publish(topic, body, qos=qos, properties=beside).mid)

    async def listen(self, topic: str, heard: Callable[[Message], None]) -> None:
        """`heard` gets each message, on the loop. One topic a line. Raises DeviceLost or Refused."""
        self._client.on_message = lambda c, u, message: self._later(self._message, heard, message)
        await self._subscribe(topic, SubscribeOptions(qos=1))

    async def _subscribe(self, topic: str, how: SubscribeOptions) -> None:
        if self.lost:
            raise self.lost
        _, number = self._client.subscribe(topic, options=how)
        if number is None:
            raise self.lost or DeviceLost(f"the broker at {self._at} is gone")
        await self._answer_to(number)

    async def _answer_to(self, number: int) -> bool:
        done: asyncio.Future[bool] = self._loop.create_future()
        self._out[number] = done  # its answer comes through the loop, so never before this
        since = self._loop.time()
        try:
            while not done.done():
                ends = max(since, self._heard) + ANSWER_WITHIN
                if self._loop.time() >= ends:
                    raise DeviceLost(f"the broker at {self._at} is silent")
                await asyncio.wait([done], timeout=ends - self._loop.time())
            return done.result()
        finally:
            self._out.pop(number, None)

    @property
    def alive(self) -> bool:
        """Whether paho's thread still works: it ends by faults of its own without a word."""
        thread = getattr(self._client, "_thread", None)
        return thread is not None and bool(thread.is_alive())

    def close(self) -> None:
        """Hang up without waiting for the broker."""
        if self._closed:
            return
        self._closed = True
        self._fail("closed")
        self._client.disconnect()
        threading.Thread(target=self._end, name="mqtt end", daemon=True).start()

    def _end(self) -> None:
        with contextlib.suppress(AttributeError):  # paho's thread may end by itself at this very moment
            self._client.loop_stop()

    @property
    def _at(self) -> str:
        return f"{self._host}:{self._port}"

    # On the loop, from paho's thread

    def _later(self, work: Any, *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(work, *arguments)

    def _answered(self, code: Any, properties: Any) -> None:
        if self._opened.done():
            return
        self.most = int(getattr(properties, "MaximumPacketSize", 0))
        if code.is_failure:
            self._opened.set_exception(
                Refused(f"the broker at {self._at} refuses: {code}", hint="check user and password")
            )
        else:
            self._opened.set_result(None)

    def _taken(self, number: int, code: Any) -> None:
        self._heard = self._loop.time()
        done = self._out.get(number)
        if done is None or done.done():
            return
        if code.is_failure:
            done.set_exception(
                Refused(f"the broker at {self._at} does not take it: {code}", hint="check its access rules")
            )
        else:
            done.set_result(code.value != NOBODY)

    def _message(self, heard: Callable[[Message], None], message: Any) -> None:
        beside = message.properties
        said = dict(getattr(beside, "UserProperty", ()))
        heard(Message(message.topic, message.payload, getattr(beside, "CorrelationData", b""), said))

    def _fail(self, why: str) -> None:
        self.lost = self.lost or DeviceLost(f"the broker at {self._at}: {why}")
        for waiting in (self._opened, self.broken, *self._out.values()):
            if not waiting.done():
                waiting.set_exception(self.lost)
                waiting.exception()  # it may be that nobody waits any more
