"""Which devices there are and how they are now, a page at a time: a fleet may have a hundred thousand."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from sqlalchemy import ColumnElement, Connection, func, select

from . import tables
from .access import Asks
from .database import among
from .live import Hub, Newest
from .store import Store
from .tree import is_below

PAGE = 1000  # devices in one answer
TOTAL = "X-Total-Count"  # the header that says how many there are in all


def devices(store: Store, hub: Hub) -> APIRouter:
    router = APIRouter()

    @router.get("/api/devices")
    async def devices(
        asks: Asks,
        answer: Response,
        name: Annotated[str, Query(alias="id", max_length=64, description="this one")] = "",
        kind: Annotated[str, Query(alias="class", max_length=64)] = "",
        site: Annotated[str, Query(max_length=200, description="there or below it")] = "",
        find: Annotated[str, Query(max_length=64, description="a part of the name")] = "",
        after: Annotated[str, Query(max_length=64, description="go on after this device")] = "",
        limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    ) -> list[dict[str, Any]]:
        """Your devices by name, at most `limit`, and how many fit in all (header X-Total-Count). Of each: how many seconds ago it
        was heard (null: never), its alarms that stand, its own status."""
        d = tables.device
        fits = asks.narrow(d.c.id)
        fits += [d.c.id == name] if name else []
        fits += [d.c["class"] == kind] if kind else []
        fits += [is_below(d.c.site, (site.rstrip("/"),))] if site.rstrip("/") else []
        fits += [d.c.id.contains(find, autoescape=True)] if find else []
        rows, total, standing = await store.read(lambda c: _page(c, fits, after, limit))
        answer.headers[TOTAL] = str(total)
        return [_shown(row, hub.devices.get(row["id"]), standing.get(row["id"], 0)) for row in rows]

    @router.get("/api/devices/{device}/ddi")
    async def of_client(device: str) -> dict[str, Any]:
        """Of a device that gets its firmware by DDI: since when (s UTC), and what its client says that it is."""
        t = tables.ddi
        row = await store.read(lambda c: c.execute(select(t).where(t.c.device == device)).mappings().first())
        if row is None:
            raise HTTPException(404, "this device has never asked by DDI")
        return {"since": row["since"], "attributes": json.loads(row["attributes"] or "{}")}

    return router


def _page(
    connection: Connection, fits: list[ColumnElement[bool]], after: str, limit: int
) -> tuple[list[dict[str, Any]], int, dict[str, int]]:
    """(devices, how many there are in all, {device: alarms that stand})."""
    d, t = tables.device, tables.alarm
    columns = (d.c.id, d.c["class"], d.c.site, d.c.enrolled, d.c.seen, d.c.revoked)
    wanted = select(*columns).where(*fits, d.c.id > after).order_by(d.c.id).limit(limit)
    rows = [dict(row) for row in connection.execute(wanted).mappings()]
    total: int = connection.execute(select(func.count()).select_from(d).where(*fits)).scalar_one()
    stands = (t.c.active | ~t.c.acked) & (t.c.shelved_until <= time.time_ns())
    mine = among(connection, t.c.device, (row["id"] for row in rows))
    counted = connection.execute(select(t.c.device, func.count()).where(mine, stands).group_by(t.c.device))
    return rows, total, {row[0]: row[1] for row in counted}


def _shown(row: dict[str, Any], newest: Newest | None, alarms: int) -> dict[str, Any]:
    ages = [newest.age()] if newest else []
    ages += [max(0.0, time.time() - row["seen"])] if row["seen"] else []
    said = {name: row[name] for name in ("id", "class", "site", "enrolled", "revoked")}
    said |= {"age": min(ages, default=None), "online": bool(newest and not newest.silent()), "alarms": alarms}
    return said | {"status": newest.status if newest else {}}
