"""hawkBit's DDI v1 on the listener for devices, `/{tenant}/controller/v1/{device}`: for RAUC's and SWUpdate's clients as they are.
Who asks is proven by the device's certificate, as everywhere there; the tenant in the path says nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from . import ddi_state
from .body import body_of
from .ddi_state import MOST_ATTRIBUTES, Action
from .live import Hub
from .own import PLANE
from .store import Store
from .updates import Updates

BASE = "/{tenant}/controller/v1/{device}"
HAL = "application/hal+json;charset=UTF-8"
SLEEP, AWAKE = "00:05:00", "00:01:00"  # how long a client waits until it asks again; while there is an action
MOST = 2**16  # bytes of what a client says
MOST_KEY, MOST_VALUE = 128, 512
MODES = ("merge", "replace", "remove")
CHUNK = 2**20
ENDINGS = {b"hsqs": ".raucb", b"070701": ".swu", b"070702": ".swu"}  # by how a bundle begins: squashfs, cpio
Work = Callable[[Request, str], Awaitable[Response]]


class Sums(NamedTuple):
    """Of one file, in hex."""

    sha1: str
    md5: str
    sha256: str
    size: int
    ending: str


class Ddi:
    """`device` proves who asks, `stranger` is what others get, `asks` is told of each device that does."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        updates: Updates,
        device: Callable[[Request], Awaitable[str | None]],
        stranger: Callable[[Request], Response],
        asks: Callable[[str], None],
    ) -> None:
        self._store, self._hub, self._updates = store, hub, updates
        self._device, self._stranger, self._asks = device, stranger, asks
        self._sums: dict[tuple[Path, int, int], Sums] = {}
        self._summing = asyncio.Lock()
        self.routes = [
            Route(BASE, self._for(self.poll)),
            Route(f"{BASE}/configData", self._for(self.describe), methods=["PUT"]),
            Route(f"{BASE}/deploymentBase/{{action}}", self._for(self.deployment)),
            Route(f"{BASE}/deploymentBase/{{action}}/feedback", self._for(self.feedback), methods=["POST"]),
            Route(f"{BASE}/cancelAction/{{action}}", self._for(self.cancellation)),
            Route(f"{BASE}/cancelAction/{{action}}/feedback", self._for(self.cancelled), methods=["POST"]),
            Route(f"{BASE}/softwaremodules/{{action}}/artifacts", self._for(self.artifacts)),
            Route(f"{BASE}/softwaremodules/{{action}}/artifacts/{{file}}", self._for(self.artifact)),
        ]

    def _for(self, work: Work) -> Callable[[Request], Awaitable[Response]]:
        """For the device in the path alone."""

        async def allowed(request: Request) -> Response:
            device = await self._device(request)
            if device is None:
                return self._stranger(request)
            if device != request.path_params["device"]:
                return _no(403, f"this connection is of {device}, and asks as another device")
            self._asks(device)
            return await work(request, device)

        return allowed

    async def poll(self, request: Request, device: str) -> Response:
        """What there is to do. It is asked again and again, so it only writes where something is new."""
        said = await self._store.glance(lambda c: ddi_state.attributes(c, device))
        if said is None:
            await self._store.write(lambda c: ddi_state.begins(c, device), device)
        opened, dropped = await self._store.glance(lambda c: ddi_state.actions(c, device))
        base, links = _base(request), dict[str, Any]()
        if dropped and await self._gives_up(device, dropped):
            opened, dropped = await self._store.glance(lambda c: ddi_state.actions(c, device))
        if dropped:
            links["cancelAction"] = {"href": f"{base}/cancelAction/{dropped.number}"}
        elif opened and self._updates.file(opened.path):
            links["deploymentBase"] = {"href": f"{base}/deploymentBase/{opened.number}"}
        elif opened and opened.state != "waiting":
            why = f"{opened.path} is not among the updates of this plane"
            await self._tell(device, opened, "waiting", why)
        if not said:
            links["configData"] = {"href": f"{base}/configData"}
        sleep = AWAKE if links.keys() - {"configData"} else SLEEP
        return _hal({"config": {"polling": {"sleep": sleep}}, "_links": links})

    async def _gives_up(self, device: str, dropped: Action) -> bool:
        """Whether a client that is asked to stop has let its time pass; that is said then, and it gets what is next."""
        generation, over = await self._store.glance(lambda c: ddi_state.given_up(c, device, time.time()))
        if generation != dropped.generation:
            await self._store.write(lambda c: ddi_state.stops(c, device, dropped.generation), device)
        elif over:
            minutes = ddi_state.PATIENCE / 60
            why = f"it was asked to stop, and has said nothing for {minutes:.0f} minutes; it may still be at it"
            await self._tell(device, dropped, "refused", why)
        return over and generation == dropped.generation

    async def describe(self, request: Request, device: str) -> Response:
        """What the client says of its device."""
        said = await _json(request)
        data, mode = said.get("data"), str(said.get("mode", "merge")).lower()
        if not isinstance(data, dict) or mode not in MODES:
            return _no(400, f"data is an object of texts, mode one of {', '.join(MODES)}")
        texts = {str(k): str(v) for k, v in data.items()}
        if len(texts) > MOST_ATTRIBUTES or any(len(k) > MOST_KEY or len(v) > MOST_VALUE for k, v in texts.items()):
            return _no(
                400, f"{MOST_ATTRIBUTES} attributes at most, names of {MOST_KEY}, values of {MOST_VALUE} characters"
            )
        await self._store.write(lambda c: ddi_state.described(c, device, mode, texts), device)
        return Response(status_code=200)

    async def deployment(self, request: Request, device: str) -> Response:
        found = await self._bundle(request, device)
        if isinstance(found, Response):
            return found
        action, _, sums = found
        module = {
            "part": "os",
            "version": action.version,
            "name": action.name,
            "artifacts": [_artifact(request, action, sums)],
        }
        deployment = {"download": "forced", "update": "forced", "chunks": [module]}
        return _hal({"id": str(action.number), "deployment": deployment})

    async def artifacts(self, request: Request, device: str) -> Response:
        found = await self._bundle(request, device)
        if isinstance(found, Response):
            return found
        action, _, sums = found
        return JSONResponse([_artifact(request, action, sums)], media_type=HAL)

    async def artifact(self, request: Request, device: str) -> Response:
        """Its bytes, or of `FILE.MD5SUM` its sum; a part of them where the request says Range."""
        found = await self._bundle(request, device)
        if isinstance(found, Response):
            return found
        action, path, sums = found
        file, name = _file(action, sums), request.path_params["file"]
        if name == f"{file}.MD5SUM":
            return PlainTextResponse(f"{sums.md5}  {file}\n")
        if name != file:
            return _no(404, f"there is {file} alone")
        return FileResponse(path, media_type="application/octet-stream", filename=file)

    async def feedback(self, request: Request, device: str) -> Response:
        return await self._said(request, device, cancel=False)

    async def cancellation(self, request: Request, device: str) -> Response:
        _, dropped = await self._store.glance(lambda c: ddi_state.actions(c, device))
        if dropped is None or str(dropped.number) != request.path_params["action"]:
            return _no(404, "nothing is to be cancelled")
        number = str(dropped.number)
        return _hal({"id": number, "cancelAction": {"stopId": number}})

    async def cancelled(self, request: Request, device: str) -> Response:
        return await self._said(request, device, cancel=True)

    async def _said(self, request: Request, device: str, cancel: bool) -> Response:
        said = await _json(request)
        found = await self._at(request, device)
        if not isinstance(found, Action):
            return found
        if found.state in ddi_state.ENDED:
            return _no(410, "this action has ended")
        try:
            state, text = ddi_state.said(said.get("status"), cancel)
        except ValueError as fault:
            return _no(400, str(fault))
        if state:
            await self._tell(device, found, state, text)
        else:
            await self._store.write(lambda c: ddi_state.heard(c, device, found), device)
        return Response(status_code=200)

    async def _tell(self, device: str, found: Action, state: str, text: str) -> None:
        await self._store.write(lambda c: ddi_state.report(c, device, found, state, text), device)
        self._hub.tell({"kind": "events", "device": PLANE})

    async def _at(self, request: Request, device: str) -> Action | Response:
        """The action in the path, or what to answer where there is none."""
        number = request.path_params["action"]
        wanted = int(number) if number.isdecimal() and len(number) < 19 else -1
        found = await self._store.glance(lambda c: ddi_state.action(c, device, wanted))
        return found or _no(404, "there is no such action of this device")

    async def _bundle(self, request: Request, device: str) -> tuple[Action, Path, Sums] | Response:
        """The action in the path with its file, or what to answer where one of them is not there."""
        found = await self._at(request, device)
        if isinstance(found, Response):
            return found
        path = self._updates.file(found.path)
        if path is None or (sums := await self.sums(path)) is None:
            return _no(404, f"{found.path} is not here, or is not what it was")
        return found, path, sums

    async def sums(self, path: Path) -> Sums | None:
        """Of a file, once; None where it does not have the digest it is named by. Old clients know no SHA-256."""
        at = await asyncio.to_thread(path.stat)
        key = (path, at.st_size, at.st_mtime_ns)
        async with self._summing:
            if key not in self._sums:
                self._sums[key] = await asyncio.to_thread(_sums, path)
        found = self._sums[key]
        return found if path.name.startswith(found.sha256) else None


def _sums(path: Path) -> Sums:
    """Blocks."""
    sums = [hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False), hashlib.sha256()]
    size, ending = 0, ""
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            ending = ending if size else next((e for magic, e in ENDINGS.items() if piece.startswith(magic)), "")
            size += len(piece)
            for one in sums:
                one.update(piece)
    sha1, md5, sha256 = (one.hexdigest() for one in sums)
    return Sums(sha1, md5, sha256, size, ending)


def _base(request: Request) -> str:
    """Where the client finds us: as it has found us."""
    tenant, device = request.path_params["tenant"], request.path_params["device"]
    return f"https://{request.headers.get('host', '')}/{tenant}/controller/v1/{device}"


def _file(action: Action, sums: Sums) -> str:
    return f"{action.name}-{action.version}{sums.ending}"


def _artifact(request: Request, action: Action, sums: Sums) -> dict[str, Any]:
    file = _file(action, sums)
    href = f"{_base(request)}/softwaremodules/{action.number}/artifacts/{file}"
    links = {"download": {"href": href}, "md5sum": {"href": f"{href}.MD5SUM"}}
    hashes = {"sha1": sums.sha1, "md5": sums.md5, "sha256": sums.sha256}
    return {"filename": file, "hashes": hashes, "size": sums.size, "_links": links}


async def _json(request: Request) -> dict[str, Any]:
    """The object in a body. Raises WireFault."""
    try:
        said = json.loads(await body_of(request, MOST))
    except (ValueError, RecursionError):
        said = None
    return said if isinstance(said, dict) else {}


def _hal(said: dict[str, Any]) -> Response:
    return JSONResponse(said, media_type=HAL)


def _no(status: int, why: str) -> Response:
    return JSONResponse({"errorCode": "hawkbit.server.error", "message": why}, status)
