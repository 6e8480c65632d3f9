"""A dossier for the console, which prints it."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from .access import Asks
from .audit import digest
from .dossier import HOUR, MOST_DAYS, day, facts, of_node
from .store import Store
from .tree import node


def dossiers(store: Store) -> APIRouter:
    router, looking = APIRouter(), asyncio.Lock()

    @router.get("/api/dossier")
    async def dossier(
        asks: Asks,
        at: Annotated[str, Query(max_length=400, description='a node of the tree, "" is the whole plane')] = "",
        days: Annotated[int, Query(ge=1, le=MOST_DAYS, description="until this hour")] = 90,
    ) -> dict[str, Any]:
        """What a part of the tree has and how it runs: {"at", "since", "until", "version" (SHA-256 of all of it), "tables":
        [{"name", "heads", "rows"}]}. The same facts make the same version, as `lineside plane dossier` does."""
        place = node(at)
        if not asks.holds(place):
            raise HTTPException(404, "there is no such place here")
        until = time.time_ns() // HOUR * HOUR
        since = until - days * 24 * HOUR
        async with looking:  # it counts years of events
            told = of_node(await store.read(lambda c: facts(c, place, since, until)))
        tables = [{"name": name, "heads": heads, "rows": rows} for name, heads, rows in told]
        said = {"at": place, "since": day(since / 10**9), "until": day(until / 10**9)}
        return said | {"version": digest([place, since, until, told]), "tables": tables}

    return router
