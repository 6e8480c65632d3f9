"""What people ask of devices, and what became of it: orders that look and never change, each with an answer.

An order is `queued` here, `accepted` there, and ends as `done`, `failed`, `refused` or `expired`, by the device's own events. Where
no word of it came before its time was over it counts as `expired`, until the device says otherwise: it may have taken it, and be
offline.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi import Path as PathOf
from pydantic import BaseModel, Field, model_validator
from sqlalchemy import Connection, desc, select

from . import tables
from .access import ELSEWHERE, Asks, place_of
from .ingest import Ingest
from .own import PLANE
from .store import Store

VERBS = ("read", "capture", "tail", "selftest", "support", "live")
MOST, LOOKED = 200, 4000  # orders of a list; events that are looked through for their answers
ENDS = ("done", "failed", "refused", "expired")
ABOUT = ("tags", "camera", "n", "within", "every", "seconds")  # what an order may say beside its verb


class Question(BaseModel):
    """A question to one device. `read` and `live` need `tags`, `capture` a `camera`."""

    model_config = {"extra": "forbid"}
    verb: Literal["read", "capture", "tail", "selftest", "support", "live"]
    id: str = Field(
        "", pattern=r"^[A-Za-z0-9_.-]{0,64}$", description="a second one with the same id is the same order"
    )
    expires: float = Field(300.0, ge=1, le=86_400, description="seconds for which the device may still begin")
    tags: list[Annotated[str, Field(max_length=200)]] | None = Field(None, min_length=1, max_length=64)
    camera: str | None = Field(None, max_length=200, description="name of its driver; it is not triggered")
    n: int | None = Field(None, ge=1, le=200, description="events and lines of `tail`")
    within: float | None = Field(None, gt=0, le=30, description="seconds that `capture` waits for the next picture")
    every: float | None = Field(None, ge=0.1, le=60, description="seconds between two messages of `live`")
    seconds: float | None = Field(None, ge=0, le=900, description="how long `live` lasts (300); 0 ends it")

    @model_validator(mode="after")
    def _whole(self) -> Question:
        needs = {"read": "tags", "live": "tags", "capture": "camera"}.get(self.verb)
        if needs and getattr(self, needs) is None:
            raise ValueError(f"{self.verb} needs `{needs}`")
        takes = {
            "read": ("tags",),
            "live": ("tags", "every", "seconds"),
            "capture": ("camera", "within"),
            "tail": ("n",),
        }
        for name in ABOUT:
            if getattr(self, name) is not None and name not in takes.get(self.verb, ()):
                raise ValueError(f"{self.verb} takes no `{name}`")
        return self

    def data(self, by: str) -> dict[str, Any]:
        """As the device gets it."""
        about = {name: getattr(self, name) for name in ABOUT if getattr(self, name) is not None}
        return {"id": self.id or uuid.uuid4().hex, "by": by, "expires": self.expires, **about}


def questions(store: Store, ingest: Ingest) -> APIRouter:
    """Ask, and see what was asked."""
    router = APIRouter()

    @router.post("/api/devices/{device}/commands", status_code=202)
    async def ask(asks: Asks, device: str, wanted: Question) -> dict[str, Any]:
        """Ask a device something; it need not be online. One with an `id` that was used already is that order. What the device
        answers is told by GET; its site says what it answers at all (`sync: {commands: [...]}`)."""
        data = wanted.data(asks.who)
        if await store.read(lambda c: place_of(c, device)) is None:  # who has it later would be asked
            raise HTTPException(404, ELSEWHERE)
        number = await ingest.command(device, wanted.verb, data)
        return {"number": number, "id": data["id"], "state": "queued"}

    @router.get("/api/devices/{device}/commands")
    async def listed(device: str, limit: Annotated[int, Query(ge=1, le=MOST)] = 50) -> list[dict[str, Any]]:
        """What was asked of it, the newest first: {"number", "id", "verb", "by", "created" (s UTC), "age" (s), "expires" (s),
        "asked", "state" (queued, accepted, done, failed, refused, expired), "text", "answer", "pictures": [digest],
        "event": [epoch, number]}."""
        return await store.read(lambda c: told(c, device, limit))

    @router.get("/api/devices/{device}/commands/{number}")
    async def one(device: str, number: Annotated[int, PathOf(ge=0, le=2**62)]) -> dict[str, Any]:
        """One of them."""
        found = await store.read(lambda c: told(c, device, 1, number))
        if not found:
            raise HTTPException(404, "this device was never asked that")
        return found[0]

    return router


def told(connection: Connection, device: str, limit: int = MOST, number: int | None = None) -> list[dict[str, Any]]:
    """The newest orders of these verbs to a device, and what became of each."""
    t = tables.command
    wanted = select(t).where(t.c.device == device, t.c.verb.in_(VERBS))
    wanted = wanted if number is None else wanted.where(t.c.number == number)
    rows = connection.execute(wanted.order_by(desc(t.c.number)).limit(limit)).mappings().all()
    said = _said(connection, device) if rows else {}
    return [_one(row, said.get(row["number"])) for row in rows]


def _said(connection: Connection, device: str) -> dict[int, Mapping[str, Any]]:
    """The last word of each order's events: its own, or the plane's for a release that knows no such order."""
    e, out = tables.event, dict[int, Mapping[str, Any]]()
    for who in (PLANE, device):
        mine = (
            select(e)
            .where(e.c.device == who, e.c.kind == "command")
            .order_by(desc(e.c.ts), desc(e.c.seq))
            .limit(LOOKED)
        )
        for row in reversed(connection.execute(mine).mappings().all()):
            data = json.loads(row["data"], parse_constant=lambda _: None)
            number = data.get("number")
            ended = number in out and out[number]["state"] in ENDS
            if isinstance(number, int) and not (ended and row["state"] not in ENDS):
                out[number] = {**row, "data": data}
    return out


def _one(row: Mapping[Any, Any], said: Mapping[str, Any] | None) -> dict[str, Any]:
    data = json.loads(row["data"])
    expires = data.get("expires", 0.0)
    out = {
        "number": row["number"],
        "id": data.get("id", ""),
        "verb": row["verb"],
        "by": data.get("by", ""),
        "created": row["created"],
        "age": max(0.0, time.time() - row["created"]),
        "expires": expires,
        "asked": {name: data[name] for name in ABOUT if name in data},
        "state": "queued",
        "text": "",
        "answer": None,
        "pictures": [],
        "event": None,
    }
    if said is None:
        if time.time() > row["created"] + expires:
            out |= {"state": "expired", "text": "the device has not said a word of it in time"}
        return out
    out |= {"state": said["state"], "text": said["text"], "answer": said["data"].get("answer")}
    return out | {"pictures": json.loads(said["refs"]), "event": [said["epoch"], said["seq"]]}
