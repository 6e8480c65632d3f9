"""Coming and going: the link of the first day, accounts, who I am."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from . import people
from .access import Me
from .openid import FLOW_SECONDS, Flow, OpenId, OpenIdFault, come
from .permissions import ROLES
from .signin import FIRST, LINK_SECONDS, People
from .store import Store

AWAY, BACK = "/login/openid", "/login/openid/back"


class Entry(BaseModel):
    """Somebody who has an account."""

    name: str = Field(max_length=64)
    password: str = Field(max_length=1024)


class Words(BaseModel):
    """A password until now, and from now on."""

    old: str = Field(max_length=1024)
    new: str = Field(max_length=1024)


def login(store: Store, knows: People, page: str) -> APIRouter:
    """The link and accounts. `page` is where people find the plane; where that is https, their browser is to show a
    session to nothing else."""
    router, secure = APIRouter(), page.startswith("https:")

    @router.get("/login", include_in_schema=False)
    async def by_link(request: Request, key: str) -> Response:
        request.state.about = "the link"
        if not await knows.by_link():
            raise HTTPException(403, "people have accounts here, so the link lets nobody in; sign in by name")
        if (session := knows.login(key)) is None:
            raise HTTPException(403, "this link is of an earlier start; the plane printed a new one")
        request.state.asker = FIRST
        return _keeps(RedirectResponse("/", 303), session, LINK_SECONDS, secure)

    @router.get("/api/login")
    async def ways() -> dict[str, Any]:
        """How somebody comes in: {"link": whether the link printed at start does, "openid": what its button says, if there is a
        provider}."""
        return {"link": await knows.by_link(), "openid": knows.openid.options.title if knows.openid else ""}

    @router.post("/api/login", status_code=204)
    async def by_name(request: Request, who: Entry) -> Response:
        """Sign in; the session is a cookie. 401: name and password do not belong together; 429: too many tries."""
        request.state.about = who.name
        session = await knows.enter(who.name, who.password, request.state.origin)
        request.state.asker = await store.glance(lambda c: people.of_session(c, session))
        return _keeps(Response(status_code=204), session, people.SESSION_SECONDS, secure)

    @router.post("/api/password", status_code=204)
    async def another_password(request: Request, who: Me, words: Words) -> None:
        """Another password for who asks; they are signed out everywhere. 403: the old one is another; 429: too many tries."""
        if await knows.proves(who.name, words.old, request.state.origin) is None:
            raise HTTPException(403, "that is not your password until now")
        kept = await asyncio.to_thread(people.password, words.new)
        await store.write(lambda c: people.another_password(c, who.name, kept))

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
        root, "places": {permission: the nodes where}}."""
        may = {
            permission: {at for role, at in who.roles if permission in ROLES[role]} for permission in sorted(_all(who))
        }
        whole = [permission for permission, places in may.items() if "" in places]
        places = {permission: sorted(those) for permission, those in may.items()}
        said = {"name": who.name, "account": who.account, "roles": who.roles}
        return said | {"may": list(may), "whole": whole, "places": places}

    return router


def by_provider(store: Store, knows: People, page: str) -> APIRouter:
    """The way out to an OpenID provider, and back. `page` as in `login`."""
    router, secure = APIRouter(), page.startswith("https:")

    def provider() -> OpenId:
        if knows.openid is None:
            raise HTTPException(404, "this plane knows of no OpenID provider")
        return knows.openid

    @router.get(AWAY, include_in_schema=False)
    async def to_provider(request: Request) -> Response:
        flow = Flow.begin()
        answer = RedirectResponse(await provider().away(flow, back_to(request)), 303)
        how: dict[str, Any] = {"httponly": True, "samesite": "lax", "path": AWAY, "secure": secure}
        answer.set_cookie("openid", knows.signed(flow.words), max_age=round(FLOW_SECONDS), **how)
        return answer

    @router.get(BACK, include_in_schema=False)
    async def from_provider(request: Request, state: str = "", code: str = "", error: str = "") -> Response:
        request.state.about = "openid"
        there = provider()
        flow = Flow.read(knows.ours(request.cookies.get("openid")))
        if error or not code:
            raise OpenIdFault(f"the provider let nobody in: {error[:100] or 'it sent no code'}")
        claims = await there.claims(flow, back_to(request), state, code)
        request.state.about = f"openid {claims['sub']}"
        come_in = await store.write(lambda c: come(c, there.options, claims))
        if come_in is None:
            raise OpenIdFault(
                "none of your groups has a role at this plane", hint="its file says which have: `openid:`"
            )
        name, session = come_in
        request.state.asker = await store.glance(lambda c: people.of_session(c, session))
        request.state.about = f"openid {name}"
        answer = _keeps(RedirectResponse("/", 303), session, people.SESSION_SECONDS, secure)
        answer.delete_cookie("openid", path=AWAY)
        return answer

    def back_to(request: Request) -> str:
        return f"{page or str(request.base_url).rstrip('/')}{BACK}"

    return router


def _keeps(answer: Response, session: str, seconds: float, secure: bool) -> Response:
    how: dict[str, Any] = {"httponly": True, "samesite": "strict", "path": "/", "secure": secure}
    answer.set_cookie("session", session, max_age=round(seconds), **how)
    return answer


def _all(who: Me) -> set[str]:
    return set().union(*(ROLES[role] for role, _ in who.roles))
