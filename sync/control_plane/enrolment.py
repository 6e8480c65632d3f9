"""How a box becomes a device of this plane: by an invitation, or in another one's place; and how it stays one."""

from __future__ import annotations

import json
import secrets

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from edge import LinesideError, log

from .. import replacement, wire
from ..checkpoint import NotSigned
from .body import body_of
from .ca import Asked, Authority
from .callers import Callers
from .invite import SPENT, stands, trade
from .keys import Known
from .live import Hub
from .own import PLANE
from .peers import NEWS
from .presence import Presence
from .replace import GONE, replaced
from .standing import StoreFault
from .store import Store

hashed = wire.key_of  # secrets are 256 random bits, so a plain SHA-256 keeps them


class Enrolment:
    def __init__(self, store: Store, hub: Hub, authority: Authority, callers: Callers, presence: Presence) -> None:
        self._store, self._hub, self._authority = store, hub, authority
        self._callers, self._presence = callers, presence
        self.routes = [
            Route("/d/v1/ca", self.ca),
            Route("/d/v1/enroll", self.enroll, methods=["POST"]),
            Route("/d/v1/replace", self.replace, methods=["POST"]),
            Route("/d/v1/certificate", self.certificate, methods=["POST"]),
        ]

    async def ca(self, request: Request) -> Response:
        return PlainTextResponse(self._authority.pem)

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
        if not await self._store.glance(lambda c: stands(c, invitation)):
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
        self._callers.keys.put(asked.device, known)
        if self._hub.peers:
            self._hub.peers.tell(NEWS, "enrolled", asked.device)
        await self._presence.enrolled(asked.device)
        try:
            signed = await self._callers.signing.sign(asked)
        except LinesideError as error:  # it is enrolled, and asks again for that alone
            log.warning("plane: no certificate for %s: %s", asked.device, error)
            signed = b""
        return {"secret": secret, "certificate": signed.decode()}

    async def certificate(self, request: Request) -> Response:
        """A new certificate for an enrolled key. What it signed is proof enough, at any time: a certificate that ran out, or a
        clock that stands still, keeps nobody away."""
        asked = Asked.read(await body_of(request, 4096))
        if not await self._callers.enrolled(asked.device, asked.key):
            return self._callers.stranger(request, asks=True)
        try:
            signed = await self._callers.signing.sign(asked)
        except StoreFault:
            raise
        except LinesideError as error:
            log.warning("plane: no certificate for %s: %s", asked.device, error)
            return JSONResponse({"detail": "who signs certificates for the plane does not answer"}, 503)
        return Response(signed, media_type="application/x-pem-file")
