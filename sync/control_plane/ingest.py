"""What devices talk to: plain Starlette handlers, no framework between the socket and the database."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgpack
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from edge import CodecFault, LinesideError

from .. import wire
from . import pieces, tables
from .body import body_of
from .ca import Authority
from .callers import Callers
from .database import upsert
from .ddi import Ddi
from .door import Door
from .enrolment import Enrolment
from .fetched import Fetched, numbers
from .live import Hub
from .messages import Displaced, Message, still
from .objects import ObjectsFault
from .peers import NEWS
from .pictures import Pictures
from .presence import Presence
from .queued import orders, queue, since
from .refused import set_aside
from .silent import Silent
from .standing import FURTHEST, StoreFault, anew, covers, stands, untold
from .store import Store
from .twin import Want, want
from .updates import Updates

LONGEST_POLL = 30.0
MOST_LIVE = 2**21  # bytes of newest values and a status
HEAR = 1.0  # seconds between two looks at what others have ordered


class Ingest:
    """The device side of the plane."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        authority: Authority,
        pictures: Pictures | None = None,
        updates: Updates | None = None,
    ) -> None:
        self.updates = updates or Updates(None)
        self._store, self._hub = store, hub
        self.pictures = pictures or Pictures(store)
        self.callers = Callers(store, authority)
        self.presence = Presence(store, hub, authority, self.callers)
        self._news: dict[str, asyncio.Event] = {}
        self._closed = False
        self._silent = Silent(store, hub)
        routed = Starlette(
            routes=[
                *Enrolment(store, hub, authority, self.callers, self.presence).routes,
                Route("/d/v1/up", self.up, methods=["POST"]),
                Route("/d/v1/stands", self.stands),
                Route("/d/v1/live", self.live, methods=["POST"]),
                Route("/d/v1/dn", self.down),
                Route("/d/v1/picture/{digest}", self.picture, methods=["PUT"]),
                Route("/d/v1/piece/{digest}", self.piece, methods=["PUT"]),
                *Fetched(store, self.pictures, self.updates, self.callers.device, self.callers.stranger).routes,
                *Ddi(store, hub, self.updates, self.callers.device, self.callers.stranger, self.presence.saw).routes,
            ],
            exception_handlers={LinesideError: fault, OverflowError: fault},
        )
        self.app = Door(routed, "/d/v1/up", self.up, fault)

    async def up(self, request: Request) -> Response:
        if (device := await self.callers.device(request)) is None:
            return self.callers.stranger(request)
        body, digest = await self._whole(request, device, wire.MOST_MESSAGE)
        if body is None:
            return _spoiled()
        frames = wire.unpack(body)
        try:
            answer = await self._store.write(Message(device, frames, self.callers.by(request)))  # returns after COMMIT
        except Displaced:
            return self.callers.displaced(request, device)
        except CodecFault as spoiled:
            if len(frames) == 1:  # the device looks for the one that spoils a message, and tells its gap
                why = str(spoiled)

                def keep(connection: Connection) -> None:
                    set_aside(connection, device, frames[0], why)
                    pieces.drop(connection, device, digest)

                await self._store.write(keep, device)
            raise
        if digest:
            await self._store.write(lambda c: pieces.drop(c, device, digest), device)
        if any(frame.stream in ("event", "tag", "text") for frame in frames):
            self._hub.tell({"kind": "events", "device": device})
        return Response(wire.pack_ack(answer), media_type="application/msgpack")

    async def stands(self, request: Request) -> Response:
        """Where the streams of a journal stand here, as in an acknowledgement."""
        if (device := await self.callers.device(request)) is None:
            return self.callers.stranger(request)
        epoch, _ = wire.place(request.query_params.get("epoch", ""), "1")
        found = await self._store.glance(lambda c: stands(c, device, epoch))
        if any(cursor.ranges for cursor in found.values()):
            waiting = await self._store.glance(lambda c: untold(c, device, epoch))
            if waiting:
                found = await self._store.write(lambda c: anew(c, device, epoch, waiting), device)
        return Response(wire.pack_ack(found), media_type="application/msgpack")

    async def live(self, request: Request) -> Response:
        if (device := await self.callers.device(request)) is None:
            return self.callers.stranger(request)
        self.presence.saw(device)
        if self._hub.take(device, await body_of(request, MOST_LIVE)):
            return Response(wire.WHOLE)
        return Response(status_code=204)

    async def picture(self, request: Request) -> Response:
        if (device := await self.callers.device(request)) is None:
            return self.callers.stranger(request)
        epoch, seq = wire.place(*(request.query_params.get(name, "") for name in ("epoch", "seq")))
        digest = request.path_params["digest"]
        body, came = await self._whole(request, device, wire.MOST_PICTURE)
        if body is None and await self.pictures.lacks(digest):
            return _spoiled()
        if body is not None and (came or await asyncio.to_thread(wire.digest, body)) != digest:
            return JSONResponse({"detail": "the body does not have this digest"}, wire.REJECTED)

        def take(connection: Connection) -> None:
            still(connection, device, self.callers.by(request))
            if body is None:
                if not pieces.seen(connection, digest):
                    raise StoreFault("that picture was forgotten just now; send it again")
            else:  # also over one that lies in the store of objects: whether it does is for the worker to see
                row = {"digest": digest, "media": wire.media(body), "body": body, "stored": time.time()}
                upsert(connection, tables.picture, row)
            covers(connection, device, epoch, "picture", [(seq, seq)])
            pieces.drop(connection, device, came)

        try:
            await self._store.write(take, device)
        except Displaced:
            return self.callers.displaced(request, device)
        self._hub.tell({"kind": "picture", "digest": digest, "device": device})
        return Response(status_code=204)

    async def piece(self, request: Request) -> Response:
        """One piece of what is too large for one message; the answer is how many bytes of it are here now, in decimal."""
        if (device := await self.callers.device(request)) is None:
            return self.callers.stranger(request)
        at, size = numbers(request, "at", "size")
        body, digest = await body_of(request, wire.MOST_MESSAGE), request.path_params["digest"]
        lacks = await self.pictures.lacks(digest)
        held = await self._store.write(lambda c: pieces.take(c, device, digest, at, size, body, lacks), device)
        return PlainTextResponse(str(held))

    async def _whole(self, request: Request, device: str, most: int) -> tuple[bytes | None, str]:
        """(the body of a request, "") or, where it came in pieces before, (what they make, their digest). Pieces that do not make
        what their digest says are thrown away, so that they come again."""
        if not request.scope["query_string"] or not (digest := request.query_params.get("whole", "")):
            return await body_of(request, most), ""
        body = await self._store.glance(lambda c: pieces.whole(c, device, digest))
        if body is None:
            await self._store.write(lambda c: pieces.drop(c, device, digest), device)
        elif len(body) > most:
            raise wire.WireFault(f"more than {most} bytes")
        return body, digest

    # Down

    async def command(self, device: str, verb: str, data: dict[str, Any]) -> int:
        """Queue an order for a device, see `queue`; returns its number when it is durable here."""
        number = await self._store.write(lambda c: queue(c, device, verb, data))
        self.nudge([device])
        return number

    async def hear(self) -> None:
        """See orders that were queued beside this process, for as long as it runs."""
        last: int | None = None
        while True:
            try:
                last, devices = await self._store.glance(partial(since, number=last))
            except StoreFault:
                devices = set()
            for device in devices:
                self.news(device)
            await asyncio.sleep(HEAR)

    async def want(self, wants: Sequence[Want], again: bool = False) -> int:
        """`twin.want`, and a hint to those devices that ask at this moment; the others see it within half a minute."""
        generation = await self._store.write(lambda c: want(c, wants, again))
        self.nudge({w.device for w in wants})
        return generation

    def nudge(self, devices: Iterable[str]) -> None:
        """Something new is ordered or wanted of these devices."""
        for device in devices:
            self.news(device)
            if self._hub.peers:
                self._hub.peers.tell(NEWS, "order", device)

    def news(self, device: str) -> None:
        """An order for that device is in the database."""
        self._news.setdefault(device, asyncio.Event()).set()

    def forget(self, device: str = "") -> None:
        """The secret of that device, or of any, may be another one by now, and an order may wait."""
        self.callers.keys.forget(device)
        for news in [] if device else self._news.values():
            news.set()

    async def down(self, request: Request) -> Response:
        """Commands above `after`, each with its age in seconds by our clock; waits up to `wait` seconds for one. Asking with
        `after` is the receipt of those below. A device that does not say `answers` passes over what it does not know. One that
        says of which generation its `twin` is gets number 0 where something newer is wanted of it."""
        if (device := await self.callers.device(request)) is None:
            return self.callers.stranger(request)
        try:
            after = int(request.query_params.get("after", "0"))
            wait = min(LONGEST_POLL, max(0.0, float(request.query_params.get("wait", "0"))))
            twin = int(request.query_params.get("twin", FURTHEST))
        except ValueError:
            return JSONResponse({"detail": "after, wait and twin are numbers"}, 400)
        await self.presence.asked(device, request.query_params.get("run", ""))
        news = self._news.setdefault(device, asyncio.Event())
        news.clear()
        rows = await self._store.glance(lambda c: orders(c, device, after, twin))
        if not rows and wait and not self._closed:
            try:
                async with asyncio.timeout(wait):
                    await news.wait()
            except TimeoutError:
                pass
            rows = await self._store.glance(lambda c: orders(c, device, after, twin))
        if "answers" not in request.query_params:
            await self._silent.look(device, rows)
        now = time.time()
        answer = [[n, verb, {**json.loads(data), "age": max(0.0, now - made)}] for n, verb, data, made in rows]
        return Response(msgpack.packb(answer))

    def close(self) -> None:
        """Let the polls that wait go, also those that still come."""
        self._closed = True
        self.callers.signing.close()
        for news in self._news.values():
            news.set()


def _spoiled() -> Response:
    """Not a refusal for good: the pieces are gone, and come again."""
    return JSONResponse({"detail": "the pieces did not make what their digest says; send them again"}, 409)


async def fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 503 if isinstance(error, StoreFault | ObjectsFault) else wire.REJECTED)
