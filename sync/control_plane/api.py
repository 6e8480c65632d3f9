"""What people and their programs talk to: the console's files and the API under /api (its OpenAPI is at /openapi.json)."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathOf
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import Connection, desc, select

from edge import TRUSTED, LinesideError, Quality

from .. import wire
from . import tables
from .access import Asks, declared, guard
from .aside import aside
from .asset_api import asset_routers
from .audit_api import audit_routes
from .briefs import as_json
from .case_api import case_routers
from .complete import MINUTE, NoSuchTag, complete
from .config_api import configs, layers
from .devices import devices
from .dossier_api import dossiers
from .entrance import Entrance
from .forward_state import again, names
from .forward_state import told as forwarded
from .history import newest_strings, series, strings
from .ingest import Ingest, fault
from .inspected import inspected
from .live import Hub
from .login import by_provider, login
from .model_api import model_routes
from .orders import orders
from .people_api import key_routes, people_routes, role_routes
from .picture_rights import by_case, by_event
from .pictures import Pictures
from .proof import proof
from .questions import questions
from .rollout_api import rollout_routes
from .rules import told
from .signin import People
from .store import Store

WEB = Path(__file__).parent / "web"
LOOK_SECONDS = 5.0  # between two looks at who follows the live lane
ALIVE_SECONDS = 5.0  # the page takes a stream that is silent for twice that for dead
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
NS = 2**62  # no time in ns UTC is beyond it


class Again(BaseModel):
    """What one system refused."""

    target: str = Field(max_length=80)


def build(store: Store, hub: Hub, ingest: Ingest, people: People, hosts: set[str], at: str = "") -> Entrance:
    """The application. `hosts` are the names it may be asked under (a page elsewhere cannot rebind its name to us).
    `at` is where people find it, if not at this very process."""
    off: dict[str, Any] = {"openapi_url": None, "docs_url": None, "redoc_url": None}
    app = FastAPI(title="Lineside plane", dependencies=[Depends(guard(store, people))], **off)

    app.add_exception_handler(RequestValidationError, unfit)
    app.add_exception_handler(LinesideError, fault)  # StoreFault, and what no database holds
    app.add_exception_handler(OverflowError, fault)  # a number that no database holds

    @app.middleware("http")
    async def here(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.hostname not in hosts:
            return Response("not served under this name; start the plane with --name", 421)
        if request.method not in ("GET", "HEAD") and not _from_here(request):
            return Response("orders are taken from the plane's own page only", 403)
        answer = await go_on(request)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    @app.get("/openapi.json", include_in_schema=False)
    def openapi() -> dict[str, Any]:
        return app.openapi()

    asked = (devices(store, hub), _tags(store, hub), _history(store, hub), _alarms(store), orders(store, hub, ingest))
    happened = (
        _happened(store, ingest.pictures),
        inspected(store, ingest),
        proof(store),
        aside(store, hub),
        dossiers(store),
    )
    rolled = rollout_routes(store, hub, ingest.updates)
    staged = model_routes(store, hub, partial(ingest.updates.names, "model"))
    changed = (rolled, staged, configs(store, ingest), layers(store, ingest), questions(store, ingest))
    entered = (login(store, people, at), by_provider(store, people, at))
    allowed = (people_routes(store), role_routes(store), key_routes(store))
    known = (*asset_routers(store), *case_routers(store, ingest))
    routers = (*entered, *allowed, audit_routes(store), *asked, *happened, *known, *changed, _live(store, hub, people))
    for router in routers:
        declared(router.routes)
        app.include_router(router)

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> Response:
        if path.startswith("api/") or "\0" in path:
            raise HTTPException(404, "there is no such page")
        if not (WEB / "index.html").is_file():
            return Response("The console is not built: run `make console`.", media_type="text/plain")
        try:
            wanted = (WEB / path).resolve()
            inside = wanted.is_relative_to(WEB.resolve()) and wanted.is_file()
        except (OSError, ValueError):  # no path of any file
            inside = False
        return FileResponse(wanted if inside else WEB / "index.html")

    declared(route for route in app.routes if getattr(route, "path", ""))
    return Entrance(app, store)


def _tags(store: Store, hub: Hub) -> APIRouter:
    """The tags of a device, as they are now."""
    router = APIRouter()

    @router.get("/api/devices/{device}/tags")
    async def tags(device: str) -> list[dict[str, Any]]:
        """The device's tags with their newest values. The value of a text is a number, whose string is among its labels (the
        newest ones of them)."""
        t = tables.tag
        newest = hub.devices.get(device)

        def ask(c: Connection) -> tuple[Any, dict[tuple[str, int], dict[float, str]]]:
            rows = c.execute(select(t).where(t.c.device == device).order_by(t.c.name, t.c.id)).mappings().all()
            texts = [row for row in rows if row["type"] == "text" and current(row)]
            return rows, {(row["epoch"], row["id"]): words(c, row) for row in texts}

        def current(row: Any) -> bool:
            return not (newest and newest.epoch) or row["epoch"] == newest.epoch

        def words(c: Connection, row: Any) -> dict[float, str]:
            known = newest_strings(c, device, row["epoch"], row["id"])
            shown = newest.values.get(row["id"], (None,))[0] if newest else None
            return known if shown in known else known | strings(c, device, row["epoch"], [shown])

        rows, texts = await store.read(ask)
        out: dict[str, dict[str, Any]] = {}
        for row in rows:
            if not current(row):
                continue
            labels = {f"{number:.0f}": text for number, text in texts.get((row["epoch"], row["id"]), {}).items()}
            value, quality, ts = (newest.values if newest else {}).get(row["id"], (None, "STALE", 0))
            shown = {k: row[k] for k in ("id", "name", "type", "unit", "source")}
            out[row["name"]] = {
                **shown,
                "labels": labels or json.loads(row["labels"]),
                "value": value,
                "quality": quality,
                "ts": ts,
            }
        return list(out.values())

    return router


def _history(store: Store, hub: Hub) -> APIRouter:
    """What a tag was."""
    router = APIRouter()

    @router.get("/api/devices/{device}/series")
    async def history(
        device: str,
        tag: str,
        start: Annotated[int, Query(alias="from", ge=-NS, le=NS, description="ns UTC; negative: back from `to`")] = 0,
        end: Annotated[int | None, Query(alias="to", ge=0, le=NS, description="ns UTC")] = None,
        points: Annotated[int, Query(ge=2, le=20_000)] = 1200,
    ) -> dict[str, Any]:
        """History of one tag as columns, null where it is not to be trusted, and the time `to` which it reaches; what is not
        sealed yet comes from the live lane. Over long times: the lowest and highest of each minute. A tag that has not changed
        since `from` has its value at `from`. Of a text: the changes, as strings."""
        until = time.time_ns() if end is None else end
        start = until + start if start < 0 else start
        newest = hub.devices.get(device)
        epoch = newest.epoch if newest else ""
        ts, value, row = await store.read(lambda c: series(c, device, tag, start, until, points, epoch))
        times = (ts // 1_000_000).tolist()
        values: list[Any] = [None if v != v else v for v in value.tolist()]
        if row and newest and row["epoch"] == epoch:
            last = int(ts[-1]) if len(ts) else start
            fresh: list[tuple[int, Any]] = [(s, v) for s, v in newest.recent.of(row["id"]) if last < s <= until]
            shown, quality, stamp = newest.values.get(row["id"], (None, "BAD", until))
            if not times and not fresh and stamp < start and not newest.silent() and Quality[quality] <= TRUSTED:
                fresh = [(start, shown)]
            if row["type"] == "text":
                words = await store.read(lambda c: strings(c, device, epoch, (v for _, v in fresh)))
                # a string that is still on its way has no text here yet; the live lane tells its number again
                said = [(s, None if v is None else words[v]) for s, v in fresh if v is None or v in words]
                before = itertools.chain(values[-1:] or [object()], (v for _, v in said))
                fresh = [one for one, old in zip(said, before, strict=False) if one[1] != old]
            times += [s // 1_000_000 for s, _ in fresh]
            values += [v for _, v in fresh]
        return {"tag": tag, "unit": row.get("unit", ""), "t": times, "v": values, "to": until // 1_000_000}

    @router.get("/api/devices/{device}/complete")
    async def completeness(
        device: str,
        tag: str,
        start: Annotated[int, Query(alias="from", ge=-NS, le=NS, description="ns UTC; negative: back from `to`")],
        end: Annotated[int | None, Query(alias="to", ge=0, le=NS, description="ns UTC; default: this minute")] = None,
    ) -> dict[str, Any]:
        """Whether every minute of a tag is here: {"whole", "minutes", "complete", "from", "to", "gaps": [{"from", "to", "minutes",
        "cause"}]}, times in ms UTC. See docs/completeness.md for what each cause means."""
        until = time.time_ns() // MINUTE * MINUTE if end is None else end
        try:
            found = await store.read(lambda c: complete(c, device, tag, until + start if start < 0 else start, until))
        except NoSuchTag as error:
            raise HTTPException(404, str(error)) from None
        return {"tag": tag, **found.facts()}

    return router


def _alarms(store: Store) -> APIRouter:
    """What stands."""
    router = APIRouter()

    @router.get("/api/alarms")
    async def alarms(asks: Asks, everything: bool = False) -> list[dict[str, Any]]:
        """Alarms that stand (raised, or not acknowledged, or shelved)."""
        t = tables.alarm
        wanted = select(t).where(*asks.narrow_said(t.c.device, t.c.key)).order_by(desc(t.c.active), desc(t.c.since))
        if not everything:
            wanted = wanted.where(t.c.active | ~t.c.acked | (t.c.shelved_until > time.time_ns()))
        rows = await store.read(lambda c: c.execute(wanted.limit(1000)).mappings().all())
        return [{**row, "shelved": row["shelved_until"] > time.time_ns()} for row in rows]

    @router.get("/api/rules")
    async def rules(asks: Asks) -> list[dict[str, Any]]:
        """Every alarm of the plane's own rules: of which device, until when it is judged (ns UTC), whether it is raised, and for
        how many minutes it has had no value."""
        mine, rows = await store.read(lambda c: (asks.devices(c), told(c)))
        return [row for row in rows if mine is None or row["device"] in mine]

    @router.get("/api/forwarding")
    async def forwarding() -> list[dict[str, Any]]:
        """Every system that events or files go to: how many it has taken, how many wait, how many it refused (`aside`), and why
        they wait (`trouble`, `since` when)."""
        return await store.read(forwarded)

    @router.post("/api/forwarding/again", status_code=202)
    async def once_more(asks: Asks, wanted: Again) -> dict[str, int]:
        """Send what a system refused once more, under the same keys: {"events": how many}."""
        asks.changes(wanted.target)
        if wanted.target not in await store.read(names):
            raise HTTPException(404, "the plane's file names no such target")
        return {"events": await store.write(lambda c: again(c, wanted.target))}

    return router


def _happened(store: Store, pictures: Pictures) -> APIRouter:
    """Events and the pictures they name."""
    router = APIRouter()

    @router.get("/api/events")
    async def events(
        asks: Asks,
        kind: str | None = None,
        routine: Annotated[bool, Query(description="also what happens with every part")] = True,
        device: str | None = None,
        before: Annotated[int | None, Query(ge=0, le=NS, description="ns UTC")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """Newest events first; `before` (ns) goes on from the last one seen. Inspections are kind=inspection."""
        t = tables.event
        those = asks.narrow_said(t.c.device, t.c.key, t.c.kind == "alarm")
        wanted = select(t).where(*those).order_by(desc(t.c.ts), desc(t.c.seq)).limit(limit)
        for column, value in ((t.c.kind, kind), (t.c.device, device)):
            wanted = wanted.where(column == value) if value else wanted
        if not routine:  # a trigger's writes name their cause
            triggered = (t.c.kind == "write") & (t.c.state == "done") & t.c.data.contains('"trigger"')
            wanted = wanted.where(t.c.kind != "inspection", ~triggered)
        wanted = wanted.where(t.c.ts < before) if before else wanted

        def build(c: Connection) -> bytes:
            return f"[{', '.join(map(as_json, c.execute(wanted).mappings()))}]".encode(errors="replace")

        return Response(await store.read(build), media_type="application/json")

    @router.get("/api/pictures/{digest}")
    async def picture(
        asks: Asks,
        digest: Annotated[str, PathOf(max_length=64)],
        device: Annotated[str, Query(max_length=64)] = "",
        epoch: Annotated[str, Query(max_length=16)] = "",
        seq: Annotated[int, Query(ge=0, le=NS)] = 0,
        case: Annotated[int, Query(ge=0, le=2**53)] = 0,
    ) -> Response:
        """A picture by its SHA-256; it never changes under that name. `device`, `epoch` and `seq` say which event shows it, or
        `case` which fault case: who does not see the whole plane gets it for an event of a device of theirs, or a case of
        theirs, alone."""

        def theirs(c: Connection) -> bool:
            return by_event(c, asks, digest, (device, epoch, seq)) or by_case(c, asks, digest, case)

        if not asks.whole and not await store.read(theirs):
            raise HTTPException(404, "none of your devices has told of it in this event, and no case of yours shows it")
        if (found := await pictures.whole(digest)) is None:
            raise HTTPException(404, "not here yet; it follows after its event")
        media, body = found
        kept = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(body, media_type=media, headers=kept)

    return router


def _live(store: Store, hub: Hub, people: People) -> APIRouter:
    """The live lane."""
    router = APIRouter()

    @router.get("/api/live")
    async def live(request: Request, asks: Asks) -> StreamingResponse:
        """Server-sent events: {"kind": "open" | "alive" | "values" | "events" | "picture", "device": ..., ...}. `open` comes
        first: what is asked for after it misses nothing. `alive` comes when there was nothing to say for 5 s."""

        async def messages() -> AsyncIterator[str]:
            page, scope, mine, looked = hub.listen(), asks, await store.read(asks.devices), time.monotonic()
            try:
                message: dict[str, Any] | None = {"kind": "open"}
                while message is not None:
                    if time.monotonic() > looked + LOOK_SECONDS:  # whether they are still let in, and to what
                        if (asker := await people.asker(request)) is None:
                            return
                        scope, looked = asker.scope("watch"), time.monotonic()
                        mine = await store.read(scope.devices)
                    shown = {**message}
                    places = shown.pop("places", ())  # at which it is: some may not be theirs
                    mine_too = mine is None or message.get("device", "") in mine or message["kind"] in ("open", "alive")
                    if mine_too or any(map(scope.holds, places)):
                        yield f"data: {json.dumps(shown, ensure_ascii=False)}\n\n"
                    try:
                        async with asyncio.timeout(ALIVE_SECONDS):
                            message = await page.get()
                    except TimeoutError:
                        message = {"kind": "alive"}
            finally:
                hub.leave(page)

        return StreamingResponse(messages(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return router


async def unfit(request: Request, error: Exception) -> Response:
    """What is wrong with a request, without what it said: that may be NaN, which no JSON has."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    return JSONResponse({"detail": [{"loc": one["loc"], "msg": one["msg"]} for one in found]}, wire.REJECTED)


def _from_here(request: Request) -> bool:
    """Whether a browser says that one of our own pages asks; a program says nothing. SameSite alone lets other ports in."""
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host", "")
