"""The plane as a client of a broker: what devices ask there is answered by the same handlers as over HTTPS."""

from __future__ import annotations

import asyncio
import random
import secrets
import tempfile
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp
from starlette.types import Message as Part

from edge import DeviceLost, LinesideError, log

from .. import wire
from ..broker import BrokerConfig
from ..mqtt_line import HEAD, Line, Message, Refused, trusting
from ..tls import safe
from .ca import Authority
from .callers import BY, PROVEN
from .ingest import Ingest

LONGEST_WAIT, LOOK = 5.0, 5.0  # seconds: between two attempts; between two looks at a connection
MOST_WAITING = 256 * 2**20  # bytes of messages that are not answered yet; beyond them a device is told to come again
NAME = "lineside:plane"  # to the broker, by certificate; no device can be called so


class AtBroker:
    """`run()` serves until cancelled. The answer to a message is published after COMMIT, never because the broker took it; what
    the broker loses, holds back or hands out twice is the device's to send again and the store's to recognise."""

    def __init__(self, access: BrokerConfig, ingest: Ingest, authority: Authority, shared: bool = False) -> None:
        """`shared`: other processes of this plane may be at the broker too, which then hands each message to one of them. Raises
        ConfigFault where certificates cannot be read."""
        self._shared = shared
        self._access, self._ingest, self._authority = access, ingest, authority
        trusting(access.ca, access.certificate, access.key)  # what is wrong with them is said at once
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0

    async def run(self) -> None:
        wait, said = 0.5, ""
        while True:
            try:
                line = await asyncio.to_thread(self._dial)  # a command may sign
                try:
                    await line.open()
                    await self._listen(line)
                    log.info("plane: devices through the broker %s", self._access.url)
                    wait, said = 0.5, ""
                    while not line.broken.done() and line.alive:
                        await asyncio.wait([line.broken], timeout=LOOK)
                    raise line.lost or DeviceLost(f"the connection to {self._access.url} ended")
                finally:
                    if self._tasks and not line.lost:  # we end: polls are let go, see Ingest.close
                        await asyncio.wait(self._tasks, timeout=1)
                    line.close()
                    for task in self._tasks:
                        task.cancel()
            except (LinesideError, OSError) as error:
                if str(error) != said:
                    log.warning("plane: %s; no device is reached there, tried again", error)
                said = str(error)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(LONGEST_WAIT, wait * 2)

    async def _listen(self, line: Line) -> None:
        heard = partial(self._heard, line)
        if self._shared:
            try:
                await line.listen(wire.SHARED, heard)
                return
            except Refused as fault:
                log.warning("plane: no shared subscription (%s): each process here takes in everything", fault)
        await line.listen(wire.EVERY_DEVICE, heard)

    def _dial(self) -> Line:
        a, name = self._access, f"lineside-plane-{secrets.token_hex(4)}"
        with tempfile.TemporaryDirectory(prefix="tls-") as private:
            own = self._authority.own(NAME, Path(private))
            certificate, key = (a.certificate, a.key) if a.certificate else map(str, own)
            context = safe(trusting(a.ca, certificate, key, self._authority.pem))
        return Line(a.url, name, a.user, a.password, context, takes=wire.MOST_PICTURE + HEAD)

    def _heard(self, line: Line, message: Message) -> None:
        self._waiting += len(message.body)
        task = asyncio.create_task(self._answer(line, message))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._waiting -= len(message.body)
            self._tasks.discard(task)
            _ = task.cancelled() or task.exception()  # nobody to tell: the device asks again

        task.add_done_callback(ended)

    async def _answer(self, line: Line, message: Message) -> None:
        device, asked = wire.device_of(message.topic), message.said.get("ask", "")
        if (key := await self._proven(device, asked, message)) is None:
            why = wire.REVOKED.encode() if device in self._ingest.callers.keys.revoked else b""
            await line.publish(wire.down(device), why, 0, message.number, {"status": "401"})
            return
        status, body = 503, b""
        if self._waiting <= MOST_WAITING:
            status, body = await ask(self._ingest.app, device, asked, message.body, key)
        words = {"status": str(status), "proof": wire.proof(key, "answer", message.number, str(status), body)}
        await line.publish(wire.down(device), body, 0, message.number, words)

    async def _proven(self, device: str, asked: str, message: Message) -> str | None:
        """The key of the device whose proof that message carries."""
        said = message.said.get("proof", "")
        for anew in (False, True):
            known = await self._ingest.callers.keys.of(device, anew)
            if known is not None and wire.proven(known.secret, "ask", message.number, asked, message.body, said):
                return known.secret
        return None


async def ask(app: ASGIApp, device: str, line: str, body: bytes, by: str) -> tuple[int, bytes]:
    """Status and body of what `app` answers to a request (its line: "GET /d/v1/dn?after=7") of a device that is proven `by` its
    secret."""
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    said: list[Part] = []

    async def receive() -> Part:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(part: Part) -> None:
        said.append(part)

    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": []}
    try:
        await app({**scope, PROVEN: device, BY: by}, receive, send)
    except Exception:
        log.exception("plane: a message of %s through the broker failed", device)
        return 500, b""
    return int(said[0]["status"]), b"".join(part.get("body", b"") for part in said[1:])
