"""What a device fetches: what is wanted of it, and what that needs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import msgpack
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .. import wire
from . import cases, config, ddi_state
from .body import body_of
from .pictures import Pictures
from .store import Store
from .twin import wanted
from .updates import Updates

MOST_PIECE = 2**20  # bytes of an object in one answer


class Fetched:
    """`device` proves who asks, `stranger` is what others get."""

    def __init__(
        self,
        store: Store,
        pictures: Pictures,
        updates: Updates,
        device: Callable[[Request], Awaitable[str | None]],
        stranger: Callable[[Request], Response],
    ) -> None:
        self._store, self._pictures, self._updates = store, pictures, updates
        self._device, self._stranger = device, stranger
        self.routes = [
            Route("/d/v1/twin", self.twin),
            Route("/d/v1/config/{version}", self.configured),
            Route("/d/v1/draft", self.drafted, methods=["PUT"]),
            Route("/d/v1/object/{digest}", self.object),
            Route("/d/v1/cases/{digest}", self.cases),
            Route("/d/v1/updates/{path:path}", self.update),
        ]

    async def twin(self, request: Request) -> Response:
        """All that is wanted of a device, but for firmware where another client on it asks for that, see ddi.py. One that takes
        `cases` says so, and is wanted to have what serves it."""
        if (device := await self._device(request)) is None:
            return self._stranger(request)
        if "cases" in request.query_params and await self._store.glance(lambda c: cases.lacks(c, device)):
            await self._store.write(lambda c: cases.give(c, device), device)
        rows, by_ddi = await self._store.glance(lambda c: (wanted(c, device), ddi_state.attributes(c, device)))
        mine = [row for row in rows if by_ddi is None or row.kind != ddi_state.FIRMWARE]
        wants = [{k: getattr(row, k) for k in wire.WANT} for row in mine]
        said = {"generation": max((row.generation for row in rows), default=0), "wants": wants}
        return Response(msgpack.packb(said), media_type="application/msgpack")

    async def configured(self, request: Request) -> Response:
        """The document that is wanted of this device."""
        if (device := await self._device(request)) is None:
            return self._stranger(request)
        version = request.path_params["version"]
        found = await self._store.glance(lambda c: config.document_for(c, device, version))
        if found is None:
            return JSONResponse({"detail": "no such configuration is wanted of this device"}, 404)
        return Response(found.encode(), media_type="application/yaml")

    async def drafted(self, request: Request) -> Response:
        """What somebody wrote at a device; of nothing: that there is none any more."""
        if (device := await self._device(request)) is None:
            return self._stranger(request)
        body = await body_of(request, config.MOST_DRAFT)
        await self._store.write(lambda c: config.keep_draft(c, device, body.decode(errors="replace")), device)
        return Response(status_code=204)

    async def object(self, request: Request) -> Response:
        """What of an object begins `at`, at most `most` bytes: [size of all of it, bytes]. Who knows its digest may have it."""
        if await self._device(request) is None:
            return self._stranger(request)
        at, most = numbers(request, "at", "most")
        digest = request.path_params["digest"]
        found = await self._pictures.part(digest, at, min(most, MOST_PIECE))
        if found is None:
            return JSONResponse({"detail": "there is no such object"}, 404)
        return Response(msgpack.packb(found), media_type="application/msgpack")

    async def cases(self, request: Request) -> Response:
        """As `object`, of the cases that serve this device now; by another digest there is nothing."""
        if (device := await self._device(request)) is None:
            return self._stranger(request)
        at, most = numbers(request, "at", "most")
        digest = request.path_params["digest"]
        found = await self._store.glance(lambda c: cases.part(c, device, digest, at, min(most, MOST_PIECE)))
        if found is None:
            return JSONResponse({"detail": "the cases of this device are others by now"}, 404)
        return Response(msgpack.packb(found), media_type="application/msgpack")

    async def update(self, request: Request) -> Response:
        """As `object`, of a file in the repository of updates; what is signed there is for the device to judge."""
        if await self._device(request) is None:
            return self._stranger(request)
        at, most = numbers(request, "at", "most")
        found = await asyncio.to_thread(self._updates.part, request.path_params["path"], at, min(most, MOST_PIECE))
        if found is None:
            return JSONResponse({"detail": "there is no such file among the updates"}, 404)
        return Response(msgpack.packb(found), media_type="application/msgpack")


def numbers(request: Request, *names: str) -> list[int]:
    """What the query says under these names. Raises WireFault."""
    said = [request.query_params.get(name, "") for name in names]
    if not all(re.fullmatch(r"[0-9]{1,15}", text) for text in said):
        raise wire.WireFault(f"{' and '.join(names)} are numbers")
    return [int(text) for text in said]
