"""What people and their programs talk to: the console's files and the API under /api (its OpenAPI is at /api/openapi.json)."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import desc, func, select

from . import tables
from .history import series
from .ingest import Ingest
from .live import Hub
from .store import Store

WEB = Path(__file__).parent / "web"
SESSION_SECONDS = 7 * 24 * 3600
POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"


class Command(BaseModel):
    """An order about one alarm."""

    verb: str = Field(pattern="ack|shelve|unshelve")
    seconds: float = Field(3600, gt=0, le=7 * 86400, description="how long to shelve")


class People:
    """Sessions of people who came by the link printed at start. Kept in memory: a restart prints a new link."""

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(24)
        self._sessions: dict[str, float] = {}

    def login(self, key: str) -> str | None:
        if not hmac.compare_digest(key, self.key):
            return None
        session = secrets.token_urlsafe(32)
        self._sessions[session] = time.time() + SESSION_SECONDS
        return session

    def known(self, session: str | None) -> bool:
        return session is not None and self._sessions.get(session, 0) > time.time()


def build(store: Store, hub: Hub, ingest: Ingest, people: People, hosts: set[str]) -> FastAPI:
    """The application. `hosts` are the names it may be asked under (a page elsewhere cannot rebind its name to us)."""
    app = FastAPI(title="Lineside plane", openapi_url="/api/openapi.json", docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.hostname not in hosts:
            return Response("not served under this name; start the plane with --name", 421)
        answer = await go_on(request)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    def person(request: Request) -> None:
        if not people.known(request.cookies.get("session")):
            raise HTTPException(401, "open the link that the plane printed at start")

    signed_in = [Depends(person)]

    @app.get("/login", include_in_schema=False)
    def login(key: str) -> Response:
        if (session := people.login(key)) is None:
            raise HTTPException(403, "this link is of an earlier start; the plane printed a new one")
        answer = RedirectResponse("/", 303)
        answer.set_cookie("session", session, max_age=SESSION_SECONDS, httponly=True, samesite="strict", path="/")
        return answer

    @app.get("/api/devices", dependencies=signed_in)
    async def devices() -> list[dict[str, Any]]:
        """Every enrolled device: when it was heard last, its tags' count, its own status."""
        rows = await store.read(
            lambda c: c.execute(select(tables.device).order_by(tables.device.c.id)).mappings().all()
        )
        t = tables.alarm
        active: dict[str, int] = await store.read(
            lambda c: dict(
                c.execute(select(t.c.device, func.count()).where(t.c.active | ~t.c.acked).group_by(t.c.device)).all()
            )
        )
        out = []
        for row in rows:
            newest = hub.devices.get(row["id"])
            out.append(
                {
                    "id": row["id"],
                    "enrolled": row["enrolled"],
                    "heard": max(row["seen"], newest.heard if newest else 0.0),
                    "online": bool(newest and time.time() - newest.heard < 10),
                    "alarms": active.get(row["id"], 0),
                    "status": newest.status if newest else {},
                }
            )
        return out

    @app.get("/api/devices/{device}/tags", dependencies=signed_in)
    async def tags(device: str) -> list[dict[str, Any]]:
        """The device's tags with their newest values."""
        t = tables.tag
        rows = await store.read(
            lambda c: c.execute(select(t).where(t.c.device == device).order_by(t.c.name, t.c.id)).mappings().all()
        )
        newest = hub.devices.get(device)
        out: dict[str, dict[str, Any]] = {}
        for row in rows:
            if newest and newest.epoch and row["epoch"] != newest.epoch:
                continue
            value, quality, ts = (newest.values if newest else {}).get(row["id"], (None, "STALE", 0))
            shown = {k: row[k] for k in ("id", "name", "type", "unit", "source")}
            out[row["name"]] = {
                **shown,
                "labels": json.loads(row["labels"]),
                "value": value,
                "quality": quality,
                "ts": ts,
            }
        return list(out.values())

    @app.get("/api/devices/{device}/series", dependencies=signed_in)
    async def history(
        device: str,
        tag: str,
        start: Annotated[int, Query(alias="from", description="ns UTC")] = 0,
        end: Annotated[int | None, Query(alias="to", description="ns UTC")] = None,
        points: Annotated[int, Query(ge=2, le=20_000)] = 1200,
    ) -> dict[str, Any]:
        """History of one tag as columns; what is not sealed yet comes from the live lane."""
        until = time.time_ns() if end is None else end
        ts, value, row = await store.read(lambda c: series(c, device, tag, start, until, points))
        times = (ts // 1_000_000).tolist()
        values: list[float | None] = [None if v != v else v for v in value.tolist()]
        newest = hub.devices.get(device)
        if row and newest:
            last = int(ts[-1]) if len(ts) else start
            fresh = [(s, v) for s, v in newest.recent.get(row["id"], ()) if last < s <= until]
            times += [s // 1_000_000 for s, _ in fresh]
            values += [v for _, v in fresh]
        return {"tag": tag, "unit": row.get("unit", ""), "t": times, "v": values}

    @app.get("/api/alarms", dependencies=signed_in)
    async def alarms(everything: bool = False) -> list[dict[str, Any]]:
        """Alarms that stand (raised, or not acknowledged, or shelved)."""
        t = tables.alarm
        wanted = select(t).order_by(desc(t.c.active), desc(t.c.since))
        if not everything:
            wanted = wanted.where(t.c.active | ~t.c.acked | (t.c.shelved_until > time.time_ns()))
        return [dict(row) for row in await store.read(lambda c: c.execute(wanted.limit(1000)).mappings().all())]

    @app.post("/api/devices/{device}/alarms/{key}", dependencies=signed_in, status_code=202)
    async def order(device: str, key: str, command: Command) -> dict[str, str]:
        """Acknowledge or shelve: the order goes to the device, whose own event changes the state here."""
        data = {"alarm": key, "by": "console", "seconds": command.seconds}
        await ingest.command(device, command.verb, data)
        return {"queued": command.verb}

    @app.get("/api/events", dependencies=signed_in)
    async def events(
        kind: str | None = None,
        device: str | None = None,
        before: int | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> list[dict[str, Any]]:
        """Newest events first; `before` (ns) goes on from the last one seen. Inspections are kind=inspection."""
        t = tables.event
        wanted = select(t).order_by(desc(t.c.ts), desc(t.c.seq)).limit(limit)
        for column, value in ((t.c.kind, kind), (t.c.device, device)):
            wanted = wanted.where(column == value) if value else wanted
        wanted = wanted.where(t.c.ts < before) if before else wanted
        rows = await store.read(lambda c: c.execute(wanted).mappings().all())
        return [{**row, "data": json.loads(row["data"]), "refs": json.loads(row["refs"])} for row in rows]

    @app.get("/api/pictures/{digest}", dependencies=signed_in)
    async def picture(digest: str) -> Response:
        """A picture by its SHA-256; it never changes under that name."""
        t = tables.picture
        row = await store.read(lambda c: c.execute(select(t).where(t.c.digest == digest)).mappings().first())
        if row is None:
            raise HTTPException(404, "not here yet; it follows after its event")
        kept = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(row["body"], media_type=row["media"], headers=kept)

    @app.get("/api/live", dependencies=signed_in)
    async def live() -> StreamingResponse:
        """Server-sent events: {"kind": "values" | "events" | "picture", "device": ..., ...}."""

        async def messages() -> AsyncIterator[str]:
            page = hub.listen()
            try:
                yield "retry: 1000\n\n"
                while True:
                    try:
                        async with asyncio.timeout(15):
                            message = await page.get()
                    except TimeoutError:
                        yield ": still here\n\n"
                        continue
                    if message is None:
                        return
                    yield f"data: {json.dumps(message, ensure_ascii=False)}\n\n"
            finally:
                hub.leave(page)

        return StreamingResponse(messages(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> Response:
        if not (WEB / "index.html").is_file():
            return Response("The console is not built: run `make console`.", media_type="text/plain")
        wanted = (WEB / path).resolve()
        inside = wanted.is_relative_to(WEB.resolve()) and wanted.is_file()
        return FileResponse(wanted if inside else WEB / "index.html")

    return app
