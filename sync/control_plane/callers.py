"""Which device a request of the wire proves to come from."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .. import wire
from .ca import Authority
from .keys import Keys
from .shown import who
from .signing import Signing
from .store import Store

PROVEN = "lineside.device"  # in the scope of a request whose device is proven already
BY = "lineside.by"  # and of one whose device was proven: the hash of the key or secret that did


class Callers:
    def __init__(self, store: Store, authority: Authority) -> None:
        self._authority = authority
        self.keys = Keys(store)
        self.signing = Signing(store, authority)

    async def device(self, request: Request) -> str | None:
        """The device that this request proves to come from."""
        if PROVEN in request.scope:
            return str(request.scope[PROVEN])
        found = await self.signing.who(request)
        if found is None or not found.good or not await self.enrolled(found.name, found.key):
            return None
        request.scope[BY] = found.key
        return found.name

    def by(self, request: Request) -> str:
        """The hash of the key or secret that proved a request; "" where nothing had to."""
        return str(request.scope.get(BY, ""))

    async def enrolled(self, device: str, key: str) -> bool:
        """Whether that is the key of the device."""
        for afresh in (False, True):
            known = await self.keys.of(device, afresh)
            if known is not None and known.key == key:
                return True
        return False

    def stranger(self, request: Request, asks: bool = False) -> Response:
        """The answer to who is no device of ours. `asks`: for a new certificate, so that a bad one is no reason."""
        found = None if PROVEN in request.scope else who(request, self._authority)
        detail = "this device is not known here"
        if found and found.signed and found.name in self.keys.revoked:
            detail = wire.REVOKED
        elif found and not found.good and not asks:
            detail = wire.EXPIRED
        return JSONResponse({"detail": detail}, 401)

    def displaced(self, request: Request, device: str) -> Response:
        """What another process has changed, this one did not hear of."""
        self.keys.forget(device)
        return self.stranger(request)
