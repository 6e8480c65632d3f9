"""Configurations and what is wanted of devices, for people and their programs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from . import config, config_send
from .access import Asks, Scope, place_of
from .config_send import Change
from .ingest import Ingest
from .mistake import mistakes
from .store import Store
from .twin import told_by, wanted

MOST_LINES = 1000  # of what changes, for one group of devices
ELSEWHERE = "your roles do not reach every device of this layer"


class Said(BaseModel):
    """A layer as a YAML document."""

    body: str = Field(max_length=1_000_000)


class Wish(BaseModel):
    """What is to become of a device's configuration."""

    do: Literal["send", "adopt", "revert", "leave"] = Field(
        description="send what its layers make, make a layer of what was written at the device, put ours in its place once more, "
        "or leave the device to its own file"
    )


def configs(store: Store, ingest: Ingest) -> APIRouter:
    """Of devices: what is wanted, what it says, and what its layers make."""
    router = APIRouter()

    @router.get("/api/devices/{device}/twin")
    async def twin(device: str) -> dict[str, Any]:
        """Everything that is wanted of a device, and what it says of each thing."""

        def ask(c: Any) -> dict[str, Any]:
            return {
                "wanted": [one._asdict() for one in wanted(c, device)],
                "told": [one._asdict() for one in told_by(c, device)],
            }

        return await store.read(ask)

    @router.get("/api/devices/{device}/config")
    async def of_device(device: str) -> dict[str, Any]:
        """What its layers make, with where each value comes from; what is wanted, tried, runs and why; how its draft differs."""
        with mistakes():
            return await config_send.stands(store, device)

    @router.post("/api/devices/{device}/config", status_code=202)
    async def about_device(device: str, wish: Wish, asks: Asks) -> dict[str, Any]:
        """Send, adopt, revert or leave. What is sent is refused with every fault and the place in its layer."""
        with mistakes():
            if wish.do == "adopt":
                return {"layer": (await config_send.adopt(store, device, asks.who, ingest.want)).place}
            if wish.do == "revert":
                return {"version": await config_send.revert(store, device, asks.who, ingest.want)}
            if wish.do == "leave":
                await config_send.leave(store, device, asks.who, ingest.want)
                return {"version": ""}
            made = await config_send.send(store, f"device/{device}", asks.who, ingest.want)
        return {"sent": _sent(made)}

    return router


def layers(store: Store, ingest: Ingest) -> APIRouter:
    """Layers, what would come of them, and sending it."""
    router = APIRouter()

    @router.get("/api/config")
    async def every(asks: Asks) -> list[dict[str, Any]]:
        """The newest version of every layer that one may see."""
        found = await store.read(lambda c: [one for one in config.newest(c).values() if _holds(c, asks, one.name)])
        return [one._asdict() for one in found]

    @router.get("/api/config/{layer:path}")
    async def versions(layer: str, asks: Asks) -> list[dict[str, Any]]:
        """All versions of one layer, the newest first."""
        name = await _allowed(asks, layer)
        return [one._asdict() for one in await store.read(lambda c: config.versions(c, name))]

    @router.put("/api/config/{layer:path}")
    async def put(layer: str, said: Said, asks: Asks) -> dict[str, Any]:
        """Keep a new version of a layer, and tell what it would change for whom. Nothing is sent."""
        name = await _allowed(asks, layer)
        with mistakes():
            changes = await config_send.check(store, name, said.body)
            kept = await store.write(lambda c: config.put(c, name, said.body, asks.who))
        return {"layer": kept.place, "changes": _changes(changes)}

    @router.post("/api/config/check/{layer:path}")
    async def check(layer: str, said: Said, asks: Asks) -> list[dict[str, Any]]:
        """What a new version of a layer would change, for which devices, and what would be wrong with it. Nothing is kept."""
        name = await _allowed(asks, layer)
        with mistakes():
            return _changes(await config_send.check(store, name, said.body))

    @router.post("/api/config/send/{layer:path}", status_code=202)
    async def send(
        layer: str,
        asks: Asks,
        signed: Annotated[
            str, Query(max_length=100, description="NAME-VERSION of a signed one, in place of the layers")
        ] = "",
    ) -> dict[str, Any]:
        """Send what comes of the newest layers to every device of one of them, where it is sound."""
        name = await _allowed(asks, layer)
        with mistakes():
            if signed:
                devices = await config_send.want_signed(store, name, signed, asks.who, ingest.want, ingest.updates.has)
                return {"sent": [{"version": signed, "devices": devices}], "faults": []}
            made = await config_send.send(store, name, asks.who, ingest.want)
        return {"sent": _sent(made), "faults": [problem for one in made for problem in one.after.problems]}

    async def _allowed(asks: Scope, layer: str) -> str:
        """Who changes a layer holds every device that it reaches."""
        with mistakes():
            name = config.layer_named(layer)
        kind, _, rest = name.partition("/")
        at = await store.read(lambda c: place_of(c, rest)) if kind == "device" else rest if kind == "site" else ""
        asks.changes(f"layer {name}", place=at or "")
        if not await store.read(lambda c: _holds(c, asks, name)):
            raise HTTPException(403, ELSEWHERE)
        return name

    return router


def _holds(c: Any, asks: Scope, name: str) -> bool:
    kind, _, rest = name.partition("/")
    if kind == "site":
        return asks.holds(rest)
    return asks.whole if kind == "class" else asks.holds_device(c, rest)


def _sent(made: list[Change]) -> list[dict[str, Any]]:
    return [{"version": one.after.version, "devices": one.devices} for one in made if not one.after.problems]


def _changes(changes: list[Change]) -> list[dict[str, Any]]:
    return [
        {
            "devices": one.devices,
            "version": one.after.version,
            "changes": list(one.lines[:MOST_LINES]),
            "faults": list(one.after.problems),
        }
        for one in changes
    ]
