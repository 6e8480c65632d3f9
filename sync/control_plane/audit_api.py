"""Who did what, for people: see audit.py."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from . import audit, tables
from .access import Asks
from .audit import AuditFault
from .store import Store
from .tree import is_below


def audit_routes(store: Store) -> APIRouter:
    router, looking = APIRouter(), asyncio.Lock()

    @router.get("/api/audit")
    async def did(
        asks: Asks,
        before: Annotated[int, Query(ge=0, le=2**62, description="go on from the last number seen")] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        find: Annotated[str, Query(max_length=100, description="in who, what, about what, or from where")] = "",
        refused: Annotated[bool, Query(description="only what was not done")] = False,
    ) -> list[dict[str, Any]]:
        """Who did what, the newest first: what stands at or below a node of yours. See docs/people.md."""
        mine = [] if asks.whole else [is_below(tables.audit.c.place, asks.places)]
        mine += [audit.says(find)] if find else []
        mine += [~audit.DONE] if refused else []
        return await store.read(lambda c: audit.newest(c, limit, before, *mine))

    @router.get("/api/audit/chain")
    async def chain() -> dict[str, Any]:
        """Whether every row follows from those before it: {"rows", "hash" (of the last), "broken": where not}."""
        async with looking:  # it reads all of it
            try:
                rows, head = await store.read(lambda c: audit.checked(audit.rows(c)))
            except AuditFault as fault:
                return {"rows": 0, "hash": "", "broken": str(fault)}
        return {"rows": rows, "hash": head, "broken": ""}

    return router
