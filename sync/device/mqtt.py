"""The plane behind a broker, for sites where devices reach nothing else: MQTT 5 with TLS."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from functools import partial
from pathlib import Path

from edge import DeviceLost

from .. import wire
from ..broker import BrokerConfig
from ..mqtt_line import HEAD, Line, Message, trusting
from ..tls import safe
from . import transport
from .certificate import Certificate
from .identity import Identity, no_clock
from .transport import MOST_ANSWER, Https, TooLarge, understood


class Mqtt:
    """Each exchange is one message up and its answer down, bound by a number and proven with the device's secret, all on one
    connection. That the broker took a message means nothing here; an answer that stays away ends the connection, and the
    next exchange makes a new one."""

    def __init__(self, access: BrokerConfig, me: Identity, folder: Path) -> None:
        self._access, self._me, self._key = access, me, wire.key_of(me.secret)
        self._certificate = Certificate(folder, me)
        self._plane = Https(me, self._certificate)  # where it was when we enrolled
        self._wanted = access.url.startswith("mqtts:") and not access.certificate
        self._renewal: asyncio.Task[bool] | None = None
        self._at = f"{access.url} ({wire.up(me.device)})"
        self._line: Line | None = None
        self._opening = asyncio.Lock()
        self._waiting: dict[bytes, asyncio.Future[tuple[int, bytes]]] = {}

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        within, line = timeout + transport.GRACE, None
        try:
            async with asyncio.timeout(within):
                line = await self._ready()
                status, said = await self._ask(line, f"{method} {path}", body, round(within))
        except TimeoutError:
            if line is not None:
                line.close()
            raise DeviceLost(f"no answer of the plane through {self._at} within {within:g} s") from None
        understood(status, said, path, self._at)
        if self._wanted and self._certificate.wanted():
            self._renewal = asyncio.create_task(self._certificate.renew(self.exchange))
        return said

    async def _ready(self) -> Line:
        """The connection, made anew where the last one ended."""
        async with self._opening:
            if self._line is None or self._line.lost or not self._line.alive:
                self._hang_up()
                a = self._access
                context = await self._trust()
                name = f"lineside-sync-{self._me.device}"  # a new connection ends an old one that hangs half open
                line = Line(a.url, name, a.user, a.password, context, takes=MOST_ANSWER + HEAD)
                try:
                    await line.open()
                    await line.listen(wire.down(self._me.device), self._heard)
                except BaseException:
                    line.close()
                    raise
                self._line = line
            return self._line

    async def _trust(self) -> ssl.SSLContext:
        """How TLS is spoken. Our own certificate comes over HTTPS where there is none yet, and in time through the broker."""
        a = self._access
        context = safe(trusting(a.ca, a.certificate, a.key, self._me.ca))
        if not a.ca:
            no_clock(context, self._me.ca)
        if self._wanted:
            self._certificate.able()
        if self._wanted and self._certificate.wanted(1.0):
            await self._certificate.renew(partial(self._plane.exchange, timeout=5.0))
        if not a.ca:
            self._certificate.refuse(context)
        if self._wanted:
            self._certificate.show(context)
        return context

    async def _ask(self, line: Line, asked: str, body: bytes, expires: int) -> tuple[int, bytes]:
        if line.most and len(body) + HEAD > line.most:
            raise TooLarge(f"a message of {len(body):,} bytes, and the broker takes {line.most:,}")
        number = secrets.token_bytes(12)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        said = {"ask": asked, "proof": wire.proof(self._key, "ask", number, asked, body)}
        try:
            topic = wire.up(self._me.device)
            if not await line.publish(topic, body, number=number, said=said, expires=expires):
                line.close()  # what else waits for an answer waits in vain
                raise DeviceLost(f"no plane listens at {self._at}", hint="start `lineside plane` with --broker")
            await asyncio.wait([answer, line.broken], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                line.broken.result()
            return answer.result()
        finally:
            del self._waiting[number]

    def _heard(self, message: Message) -> None:
        answer, status = self._waiting.get(message.number), message.said.get("status", "")
        if answer is None or answer.done():
            return
        if status == "401":  # to a stranger the plane can prove nothing
            answer.set_result((401, message.body))
        elif wire.proven(self._key, "answer", message.number, status, message.body, message.said.get("proof", "")):
            answer.set_result((int(status), message.body))
        else:
            why = f"an answer on {message.topic} that is not the plane's is not believed"
            answer.set_exception(DeviceLost(why, hint="who else may publish there? check the broker's access rules"))

    def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        self._plane.close()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
