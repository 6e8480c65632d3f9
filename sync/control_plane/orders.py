"""Orders of people to devices: they are queued here and carried out there."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import select

from . import tables
from .access import Asks, place_of_own
from .ingest import Ingest
from .live import Hub
from .own import PLANE, order
from .store import Store


class Command(BaseModel):
    """An order about one alarm."""

    verb: Literal["ack", "shelve", "unshelve"]
    seconds: float = Field(3600, gt=0, le=7 * 86400, description="how long to shelve")


class Order(BaseModel):
    """An order to set one tag: a number in its unit (0 or 1 for a bit), or its text."""

    value: Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(max_length=256)]


class Normal(BaseModel):
    """What a machine does now is normal for a detector, or (`back`) it is not after all."""

    back: bool = False
    learn: int = Field(0, ge=0, le=100_000, description="and learn anew from the next so many rows without an alarm")


def orders(store: Store, hub: Hub, ingest: Ingest) -> APIRouter:
    """About alarms, about tags, and about what is normal."""
    router = APIRouter()

    @router.post("/api/devices/{device}/alarms/{key}", status_code=202)
    async def about_alarm(asks: Asks, device: str, key: str, command: Command) -> dict[str, str]:
        """Acknowledge, shelve or unshelve: the order goes to the device, whose own event changes the state here. An alarm
        of the plane itself (device @plane) changes at once."""
        t = tables.alarm
        known = select(t).where(t.c.device == device, t.c.key == key)
        stands = await store.read(lambda c: c.execute(known).mappings().first())
        asks.changes(f"{device} alarm {key}", dict(stands) if stands else None)
        if device == PLANE:
            if not await store.write(lambda c: order(c, command.verb, key, command.seconds, asks.who)):
                raise HTTPException(404, "no rule of the plane has raised such an alarm")
            place = await store.read(lambda c: place_of_own(c, key))
            hub.tell({"kind": "events", "device": PLANE, "places": [] if place is None else [place]})
            return {"done": command.verb}
        if stands is None:
            raise HTTPException(404, "this device has told of no such alarm")
        data = {"alarm": key, "by": asks.who, "seconds": command.seconds, "epoch": stands["epoch"]}
        await ingest.command(device, command.verb, data)
        return {"queued": command.verb}

    @router.post("/api/devices/{device}/tags/{tag}", status_code=202)
    async def about_tag(asks: Asks, device: str, tag: str, wanted: Order) -> dict[str, str]:
        """Set a tag of a device that is online. It carries the order out only where its own site allows that
        (`sync: {writes: true}`, and the tag is `writable`); how it ended is an event of kind `write`."""
        asks.changes(f"{device} tag {tag}")
        newest = hub.devices.get(device)
        if newest is None or newest.silent():
            raise HTTPException(409, "this device is not heard; an order would be too old when it is")
        t = tables.tag
        named = select(t.c.id).where(t.c.device == device, t.c.epoch == newest.epoch, t.c.name == tag)
        if (number := await store.read(lambda c: c.scalar(named))) is None:
            raise HTTPException(404, "this device has told of no such tag")
        asks.changes(f"{device} tag {tag}", newest.values.get(number))
        await ingest.command(
            device, "write", {"tag": tag, "value": wanted.value, "by": asks.who, "epoch": newest.epoch}
        )
        return {"queued": "write"}

    @router.post("/api/devices/{device}/normal/{stage}", status_code=202)
    async def about_normal(asks: Asks, device: str, stage: str, wanted: Normal) -> dict[str, str]:
        """Tell a detector (a stage `anomaly`) of a device that what its machine does now is normal, or take that back. What became
        of it is an event of kind `model`: `renewed`, `undone` or `refused`."""
        asks.changes(f"{device} normal {stage}")
        t = tables.tag
        known = select(t.c.epoch).where(t.c.device == device, t.c.name == f"{stage}.alarm")
        if await store.read(lambda c: c.scalar(known)) is None:
            raise HTTPException(404, "this device has told of no such detector")
        await ingest.command(
            device, "normal", {"stage": stage, "back": wanted.back, "learn": wanted.learn, "by": asks.who}
        )
        return {"queued": "normal"}

    return router
