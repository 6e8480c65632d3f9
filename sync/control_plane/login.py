"""Coming and going: the link of the first day, accounts, who I am; and who did what."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from . import audit, people, tables
from .access import Asks, Me
from .permissions import ROLES
from .signin import LINK_SECONDS, People
from .store import Store
from .tree import is_below


class Entry(BaseModel):
    """Somebody who has an account."""

    name: str = Field(max_length=64)
    password: str = Field(max_length=1024)


def login(store: Store, knows: People, secure: bool) -> APIRouter:
    """`secure`: people find the plane by https, so their browser is to show a session to nothing else."""
    router = APIRouter()

    def keeps(answer: Response, session: str, seconds: float) -> Response:
        how: dict[str, Any] = {"httponly": True, "samesite": "strict", "path": "/", "secure": secure}
        answer.set_cookie("session", session, max_age=round(seconds), **how)
        return answer

    @router.get("/login", include_in_schema=False)
    async def by_link(request: Request, key: str) -> Response:
        request.state.about = "the link"
        if not await knows.by_link():
            raise HTTPException(403, "people have accounts here, so the link lets nobody in; sign in by name")
        if (session := knows.login(key)) is None:
            raise HTTPException(403, "this link is of an earlier start; the plane printed a new one")
        return keeps(RedirectResponse("/", 303), session, LINK_SECONDS)

    @router.get("/api/login")
    async def ways() -> dict[str, Any]:
        """How somebody comes in: {"link": whether the link printed at start does}."""
        return {"link": await knows.by_link()}

    @router.post("/api/login", status_code=204)
    async def by_name(request: Request, who: Entry) -> Response:
        """Sign in; the session is a cookie. 401: name and password do not belong together; 429: too many tries."""
        request.state.told = {"about": who.name, "after": ""}  # no hash of what a password is part of
        session = await knows.enter(who.name, who.password, request.state.origin)
        request.state.asker = await store.glance(lambda c: people.of_session(c, session))
        return keeps(Response(status_code=204), session, people.SESSION_SECONDS)

    @router.post("/api/logout", status_code=204)
    async def out(request: Request) -> Response:
        """End this session."""
        session = request.cookies.get("session", "")
        if session and not knows.known(session):
            await store.write(lambda c: people.leave(c, session))
        answer = Response(status_code=204)
        answer.delete_cookie("session", path="/")
        return answer

    @router.get("/api/me")
    async def me(who: Me) -> dict[str, Any]:
        """Who asks: {"name", "account", "roles": [[role, node]], "may": every permission held anywhere, "whole": those held at the
        root}."""
        may = {
            permission: {at for role, at in who.roles if permission in ROLES[role]} for permission in sorted(_all(who))
        }
        whole = [permission for permission, places in may.items() if "" in places]
        return {"name": who.name, "account": who.account, "roles": who.roles, "may": list(may), "whole": whole}

    @router.get("/api/audit")
    async def did(
        asks: Asks,
        before: Annotated[int, Query(ge=0, le=2**62, description="go on from the last number seen")] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> list[dict[str, Any]]:
        """Who did what, the newest first: what stands at or below a node of yours. See docs/people.md."""
        mine = [] if asks.whole else [is_below(tables.audit.c.place, asks.places)]
        return await store.read(lambda c: audit.newest(c, limit, before, *mine))

    return router


def _all(who: Me) -> set[str]:
    return set().union(*(ROLES[role] for role, _ in who.roles))
