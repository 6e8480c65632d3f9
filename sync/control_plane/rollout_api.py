"""Rollouts for the console and for programs. Who has a part of the tree has the rollouts that name a site in it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Response
from fastapi import Path as PathOf
from pydantic import BaseModel
from sqlalchemy import Connection

from .access import Asks, Scope
from .live import Hub
from .mistake import mistakes
from .own import PLANE
from .rollout_options import CONFIG, RolloutOptions, from_words
from .rollouts import MOST_SHOWN, D, R, Rollout, act, listed, rollouts, start, summary
from .store import Store
from .updates import Updates

Number = Annotated[int, PathOf(ge=1, le=2**53)]


class Verb(BaseModel):
    """What becomes of a rollout."""

    verb: Literal["pause", "resume", "halt", "back"]


def rollout_routes(store: Store, hub: Hub, updates: Updates) -> APIRouter:
    router = APIRouter()

    def theirs(asks: Scope, plan: RolloutOptions) -> bool:
        return asks.holds(plan.devices.site or None)

    def one(connection: Connection, asks: Scope, number: int) -> Rollout:
        found = [one for one in rollouts(connection, R.c.number == number) if theirs(asks, one.plan)]
        if not found:
            raise HTTPException(404, "there is no such rollout here")
        return found[0]

    @router.get("/api/rollouts")
    async def every(
        asks: Asks,
        before: Annotated[int, Query(ge=1, le=2**53, description="only those with a lower number")] = 2**53,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> list[dict[str, Any]]:
        """Rollouts, the newest first: where each stands, and how many devices are in which state."""

        def ask(c: Connection) -> list[dict[str, Any]]:
            found = rollouts(c, R.c.number < before, newest=limit if asks.whole else MOST_SHOWN)
            return [summary(c, one) for one in [r for r in found if theirs(asks, r.plan)][:limit]]

        return await store.read(ask)

    @router.get("/api/rollouts/{number}")
    async def whole(asks: Asks, number: Number) -> dict[str, Any]:
        """One with its plan, its waves, and what it waits for."""
        return await store.read(lambda c: summary(c, one(c, asks, number), whole=True))

    @router.get("/api/rollouts/{number}/devices")
    async def devices(
        asks: Asks,
        number: Number,
        state: Annotated[str, Query(max_length=12)] = "",
        hit: Annotated[bool, Query(description="only those of which a gate found something")] = False,
        after: Annotated[str, Query(max_length=64, description="go on after this device")] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = 100,
    ) -> list[dict[str, Any]]:
        """Its devices by name: in which wave each is, where it stands, and why."""

        def ask(c: Connection) -> list[dict[str, Any]]:
            one(c, asks, number)
            theirs = asks.narrow(D.c.device)  # some may stand elsewhere by now
            return listed(c, number, state, hit, after, limit, theirs)

        return await store.read(ask)

    @router.get("/api/updates")
    async def every_update(asks: Asks) -> list[str]:
        """What a rollout can bring: every artefact that lies here, as KIND/NAME-VERSION, and the configurations of the layers."""
        return [CONFIG, *await asyncio.to_thread(updates.every)] if asks.places else []

    @router.post("/api/rollouts", status_code=202)
    async def begin(asks: Asks, wanted: dict[str, Any]) -> dict[str, int]:
        """Begin one; the body is what `lineside plane rollout start` reads from a file. {"number", "devices"}: how many fit."""
        plan = from_words(wanted)
        asks.changes(f"rollout of {plan.what}", place=plan.devices.site)
        if not theirs(asks, plan):
            raise HTTPException(403, "your roles include 'roll' for a part of the tree: name a site in it")
        number, many = await store.write(lambda c: start(c, plan, asks.who, updates.has))
        hub.tell({"kind": "events", "device": PLANE})
        return {"number": number, "devices": many}

    @router.post("/api/rollouts/{number}", status_code=202)
    async def order(asks: Asks, number: Number, wanted: Verb, answer: Response) -> dict[str, str]:
        """Pause, resume, halt it, or take it back."""
        plan = (await store.read(lambda c: one(c, asks, number))).plan
        asks.changes(f"rollout {number} of {plan.what}", place=plan.devices.site)
        with mistakes():
            after = await store.write(lambda c: act(c, number, wanted.verb, asks.who))
        hub.tell({"kind": "events", "device": PLANE})
        return {"state": after.state}

    return router
