"""What people can do about records that the plane could not read: look, take a copy, and discard with a reason."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, and_, delete, func, select

from edge import Event

from . import tables
from .access import Asks, Scope, place_of
from .live import Hub
from .own import PLANE, tell
from .refused import TOLD, listed
from .store import Store

t = tables.refused


class Place(BaseModel):
    """Which record."""

    model_config = {"extra": "forbid"}
    device: str = Field(max_length=64)
    epoch: str = Field(max_length=16)
    stream: str = Field(max_length=220)
    seq: int = Field(ge=0, lt=2**63)

    def row(self) -> ColumnElement[bool]:
        here = (t.c.device, self.device), (t.c.epoch, self.epoch), (t.c.stream, self.stream), (t.c.seq, self.seq)
        return and_(*(column == value for column, value in here))


class Discard(Place):
    """Which record, and why nobody will need it."""

    reason: str = Field(min_length=1, max_length=200, pattern=r"\S")


def aside(store: Store, hub: Hub) -> APIRouter:
    """Under /api/refused."""
    router = APIRouter()

    @router.get("/api/refused")
    async def refused(asks: Asks) -> list[dict[str, Any]]:
        """Records that this plane could not read, newest first, at most 1,000: whose, which, how large, and why. They are kept, and
        their devices told a gap in their place."""
        return await store.read(lambda c: listed(c, *asks.narrow(t.c.device)))

    @router.get("/api/refused/count")
    async def count(asks: Asks) -> dict[str, int]:
        """How many there are of all devices that are yours: {"records": n}."""
        all_of_them = select(func.count()).select_from(t).where(*asks.narrow(t.c.device))
        return {"records": await store.read(lambda c: c.execute(all_of_them).scalar_one())}

    @router.get("/api/refused/body")
    async def body(asks: Asks, place: Annotated[Place, Query()]) -> Response:
        """One of them, byte for byte as its device sent it."""
        found = await store.read(lambda c: c.scalar(select(t.c.body).where(place.row(), *asks.narrow(t.c.device))))
        if found is None:
            raise HTTPException(404, "no such record is set aside; it may have been discarded")
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{place.device}-{place.epoch}-{place.stream}-{place.seq}.bin")
        kept = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return Response(found, media_type="application/octet-stream", headers=kept)

    @router.post("/api/refused/discard")
    async def discard(asks: Asks, wanted: Discard) -> dict[str, str]:
        """Throw one of them away. An event of the plane keeps which one it was, why it was refused and why it went."""
        if not await store.write(lambda c: gone(c, wanted, asks)):
            raise HTTPException(404, "no such record is set aside; it may have been discarded")
        hub.tell({"kind": "events", "device": PLANE})
        return {"done": "discard"}

    return router


def gone(connection: Connection, wanted: Discard, asks: Scope) -> bool:
    """False where it is not there."""
    row = connection.execute(TOLD.where(wanted.row(), *asks.narrow(t.c.device)).with_for_update()).mappings().first()
    name = f"{wanted.device} record {wanted.seq} of {wanted.stream}"
    asks.changes(name, dict(row) if row else None, place=place_of(connection, wanted.device) or "")
    if row is None:
        return False
    connection.execute(delete(t).where(wanted.row()))
    told = {**row, "by": asks.who, "reason": wanted.reason.strip()}
    text = f"record {wanted.seq} of {wanted.stream}: {wanted.reason.strip()}"
    tell(connection, [Event("refused", wanted.device, "discarded", time.time_ns(), "info", text, told)])
    return True
