"""What devices talk to: plain Starlette handlers, no framework between the socket and the database."""

from __future__ import annotations

import asyncio
import json
import secrets
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

from edge import CodecFault, LinesideError, log

from .. import replacement, wire
from ..checkpoint import NotSigned
from . import pieces, tables
from .body import body_of
from .ca import Asked, Authority
from .clones import Clones
from .database import upsert
from .ddi import Ddi
from .door import Door
from .fetched import Fetched, numbers
from .heard import Heard, note
from .invite import SPENT, Wish, invited, trade
from .invite import stands as stands_open
from .keys import Keys, Known
from .live import Hub
from .messages import Displaced, Message, still
from .objects import ObjectsFault
from .own import PLANE, doubled, raised, say
from .peers import NEWS
from .pictures import Pictures
from .queued import orders, queue, since
from .refused import set_aside
from .replace import GONE, replaced
from .shown import who
from .signing import Signing
from .silent import Silent
from .standing import FURTHEST, StoreFault, anew, covers, stands, untold
from .store import Store
from .twin import Want, want
from .updates import Updates

LONGEST_POLL = 30.0
MOST_LIVE = 2**21  # bytes of newest values and a status
MOST_RUN = 32  # characters of what a run of a device calls itself
HEAR = 1.0  # seconds between two looks at what others have ordered
LOOK = 10.0  # seconds between two looks at who is revoked
PROVEN = "lineside.device"  # in the scope of a request whose device is proven already
BY = "lineside.by"  # and of one whose device was proven: the hash of the key or secret that did
hashed = wire.key_of  # secrets are 256 random bits, so a plain SHA-256 keeps them


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
        self._store, self._hub, self._authority = store, hub, authority
        self.pictures = pictures or Pictures(store)
        self.keys = Keys(store)
        self._news: dict[str, asyncio.Event] = {}
        self._closed = False
        self._silent = Silent(store, hub)
        self._clones = Clones()
        self._heard = Heard()
        self.signing = Signing(store, authority)
        self._due: bool | None = None
        routed = Starlette(
            routes=[
                Route("/d/v1/ca", self.ca),
                Route("/d/v1/enroll", self.enroll, methods=["POST"]),
                Route("/d/v1/replace", self.replace, methods=["POST"]),
                Route("/d/v1/certificate", self.certificate, methods=["POST"]),
                Route("/d/v1/up", self.up, methods=["POST"]),
                Route("/d/v1/stands", self.stands),
                Route("/d/v1/live", self.live, methods=["POST"]),
                Route("/d/v1/dn", self.down),
                Route("/d/v1/picture/{digest}", self.picture, methods=["PUT"]),
                Route("/d/v1/piece/{digest}", self.piece, methods=["PUT"]),
                *Fetched(store, self.pictures, self.updates, self.device, self._stranger).routes,
                *Ddi(store, hub, self.updates, self.device, self._stranger, self._heard.saw).routes,
            ],
            exception_handlers={LinesideError: fault, OverflowError: fault},
        )
        self.app = Door(routed, "/d/v1/up", self.up, fault)

    async def ca(self, request: Request) -> Response:
        return PlainTextResponse(self._authority.pem)

    async def invite(self, wish: Wish | None = None) -> str:
        return await invited(self._store, wish or Wish())

    async def enroll(self, request: Request) -> Response:
        try:
            asked = json.loads(await body_of(request, 4096))
            invitation, request_ = str(asked["invitation"]), str(asked["request"]).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            return JSONResponse({"detail": "invitation and request are needed"}, 400)
        wanted = Asked.read(request_)
        device = wanted.device
        if not wire.DEVICE.fullmatch(device):
            return JSONResponse({"detail": "that is no device id"}, 400)
        if not await self._store.glance(lambda c: stands_open(c, invitation)):
            return JSONResponse({"detail": SPENT}, 403)
        secret = secrets.token_urlsafe(32)
        known = Known(hashed(secret), wanted.key)

        if why := await self._store.write(lambda c: trade(c, invitation, device, known), device):
            return JSONResponse({"detail": why}, 403)
        return JSONResponse(await self._known_now(wanted, known, secret))

    async def replace(self, request: Request) -> Response:
        """A box takes the place of another: proof is the old key's signature over the new one."""
        try:
            wanted, request_ = replacement.read(json.loads(await body_of(request, 8192)))
            asked = Asked.read(request_)
        except (NotSigned, ValueError, RecursionError) as error:
            return JSONResponse({"detail": str(error)}, 400)
        if (asked.device, asked.key) != (wanted.device, wanted.new):
            return JSONResponse({"detail": "the request is of another device or key"}, 400)
        secret, device = secrets.token_urlsafe(32), wanted.device
        found = await self._store.write(lambda c: replaced(c, wanted, hashed(secret)), device)
        if found is None:
            return JSONResponse({"detail": GONE}, 403)
        self._hub.tell({"kind": "events", "device": PLANE})
        return JSONResponse({**found, **await self._known_now(asked, Known(hashed(secret), wanted.new), secret)})

    async def _known_now(self, asked: Asked, known: Known, secret: str) -> dict[str, str]:
        """What a device is told whose key has just been taken; its double, if there was one, is none any more."""
        self.keys.put(asked.device, known)
        self._tell("enrolled", asked.device)
        self._clones.forget(asked.device)
        await self._clone(asked.device, False)
        try:
            signed = await self.signing.sign(asked)
        except LinesideError as error:  # it is enrolled, and asks again for that alone
            log.warning("plane: no certificate for %s: %s", asked.device, error)
            signed = b""
        return {"secret": secret, "certificate": signed.decode()}

    async def device(self, request: Request) -> str | None:
        """The device that this request proves to come from."""
        if PROVEN in request.scope:
            return str(request.scope[PROVEN])
        found = await self.signing.who(request)
        if found is None or not found.good or not await self._enrolled(found.name, found.key):
            return None
        request.scope[BY] = found.key
        return found.name

    async def _enrolled(self, device: str, key: str) -> bool:
        """Whether that is the key of the device."""
        for afresh in (False, True):
            known = await self.keys.of(device, afresh)
            if known is not None and known.key == key:
                return True
        return False

    def _stranger(self, request: Request, asks: bool = False) -> Response:
        """`asks`: for a new certificate, so that a bad one is no reason."""
        found = None if PROVEN in request.scope else who(request, self._authority)
        detail = "this device is not known here"
        if found and found.signed and found.name in self.keys.revoked:
            detail = wire.REVOKED
        elif found and not found.good and not asks:
            detail = wire.EXPIRED
        return JSONResponse({"detail": detail}, 401)

    def _by(self, request: Request) -> str:
        return str(request.scope.get(BY, ""))

    def _displaced(self, request: Request, device: str) -> Response:
        """What another process has changed, this one did not hear of."""
        self.keys.forget(device)
        return self._stranger(request)

    async def watch(self) -> None:
        """See who is revoked, who was heard, and whose double has gone, for as long as the plane runs."""
        remembers = not self._store.shared  # of several processes each would end what another one sees
        while True:
            try:
                for device in await self._store.glance(doubled) if remembers else ():
                    self._clones.stood(device)
                remembers = False
                await self.look()
            except StoreFault as error:
                log.warning("plane: cannot see who is revoked, nor keep who was heard: %s", error)
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        """Once. Raises StoreFault."""
        await self.keys.look()
        await self.signing.learn()
        if heard := self._heard.due():
            await self._store.write(lambda c: note(c, heard, time.time()))
        for device in self._clones.over():
            await self._clone(device, False)
        if self._due != (due := self._authority.due):
            text = "who signs certificates for this plane has a third of its time left: `lineside plane issuer --root-key FILE`"
            await self._alarm("issuer", due, "medium", text)
            self._due = due

    async def _clone(self, device: str, two: bool) -> None:
        text = f"{device} speaks from two places: its state folder was copied; revoke it, and enrol the right one anew"
        await self._alarm(f"clone {device}", two, "high", text)

    async def _alarm(self, key: str, stands: bool, severity: str, text: str) -> None:
        """An alarm of the plane's own."""
        if await self._store.glance(lambda c: raised(c, key)) == stands:
            return
        if await self._store.write(lambda c: say(c, key, stands, severity, text)):
            self._hub.tell({"kind": "events", "device": PLANE})

    async def certificate(self, request: Request) -> Response:
        """A new certificate for an enrolled key. What it signed is proof enough, at any time: a certificate that ran out, or a
        clock that stands still, keeps nobody away."""
        asked = Asked.read(await body_of(request, 4096))
        if not await self._enrolled(asked.device, asked.key):
            return self._stranger(request, asks=True)
        try:
            signed = await self.signing.sign(asked)
        except StoreFault:
            raise
        except LinesideError as error:
            log.warning("plane: no certificate for %s: %s", asked.device, error)
            return JSONResponse({"detail": "who signs certificates for the plane does not answer"}, 503)
        return Response(signed, media_type="application/x-pem-file")

    async def up(self, request: Request) -> Response:
        if (device := await self.device(request)) is None:
            return self._stranger(request)
        body, digest = await self._whole(request, device, wire.MOST_MESSAGE)
        if body is None:
            return _spoiled()
        frames = wire.unpack(body)
        try:
            answer = await self._store.write(Message(device, frames, self._by(request)))  # returns after COMMIT
        except Displaced:
            return self._displaced(request, device)
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
        if (device := await self.device(request)) is None:
            return self._stranger(request)
        epoch, _ = wire.place(request.query_params.get("epoch", ""), "1")
        found = await self._store.glance(lambda c: stands(c, device, epoch))
        if any(cursor.ranges for cursor in found.values()):
            waiting = await self._store.glance(lambda c: untold(c, device, epoch))
            if waiting:
                found = await self._store.write(lambda c: anew(c, device, epoch, waiting), device)
        return Response(wire.pack_ack(found), media_type="application/msgpack")

    async def live(self, request: Request) -> Response:
        if (device := await self.device(request)) is None:
            return self._stranger(request)
        self._heard.saw(device)
        if self._hub.take(device, await body_of(request, MOST_LIVE)):
            return Response(wire.WHOLE)
        return Response(status_code=204)

    async def picture(self, request: Request) -> Response:
        if (device := await self.device(request)) is None:
            return self._stranger(request)
        epoch, seq = wire.place(*(request.query_params.get(name, "") for name in ("epoch", "seq")))
        digest = request.path_params["digest"]
        body, came = await self._whole(request, device, wire.MOST_PICTURE)
        if body is None and await self.pictures.lacks(digest):
            return _spoiled()
        if body is not None and (came or await asyncio.to_thread(wire.digest, body)) != digest:
            return JSONResponse({"detail": "the body does not have this digest"}, wire.REJECTED)

        def take(connection: Connection) -> None:
            still(connection, device, self._by(request))
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
            return self._displaced(request, device)
        self._hub.tell({"kind": "picture", "digest": digest, "device": device})
        return Response(status_code=204)

    async def piece(self, request: Request) -> Response:
        """One piece of what is too large for one message; the answer is how many bytes of it are here now, in decimal."""
        if (device := await self.device(request)) is None:
            return self._stranger(request)
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
        self.news(device)
        self._tell("order", device)
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

    def _tell(self, kind: str, device: str) -> None:
        if self._hub.peers:
            self._hub.peers.tell(NEWS, kind, device)

    async def want(self, wants: Sequence[Want], again: bool = False) -> int:
        """`twin.want`, and a hint to those devices that ask at this moment; the others see it within half a minute."""
        generation = await self._store.write(lambda c: want(c, wants, again))
        self.nudge({w.device for w in wants})
        return generation

    def nudge(self, devices: Iterable[str]) -> None:
        """What is wanted of these devices has changed."""
        for device in devices:
            self.news(device)
            self._tell("order", device)

    def news(self, device: str) -> None:
        """An order for that device is in the database."""
        self._news.setdefault(device, asyncio.Event()).set()

    def forget(self, device: str = "") -> None:
        """The secret of that device, or of any, may be another one by now, and an order may wait."""
        self.keys.forget(device)
        for news in [] if device else self._news.values():
            news.set()

    async def down(self, request: Request) -> Response:
        """Commands above `after`, each with its age in seconds by our clock; waits up to `wait` seconds for one. Asking with
        `after` is the receipt of those below. A device that does not say `answers` passes over what it does not know. One that
        says of which generation its `twin` is gets number 0 where something newer is wanted of it."""
        if (device := await self.device(request)) is None:
            return self._stranger(request)
        try:
            after = int(request.query_params.get("after", "0"))
            wait = min(LONGEST_POLL, max(0.0, float(request.query_params.get("wait", "0"))))
            twin = int(request.query_params.get("twin", FURTHEST))
        except ValueError:
            return JSONResponse({"detail": "after, wait and twin are numbers"}, 400)
        self._heard.saw(device)
        if self._clones.saw(device, request.query_params.get("run", "")[:MOST_RUN]):
            await self._clone(device, True)
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
        self.signing.close()
        for news in self._news.values():
            news.set()


def _spoiled() -> Response:
    """Not a refusal for good: the pieces are gone, and come again."""
    return JSONResponse({"detail": "the pieces did not make what their digest says; send them again"}, 409)


async def fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 503 if isinstance(error, StoreFault | ObjectsFault) else wire.REJECTED)
