"""People, their roles, keys of programs and the tree they stand in, for the console. Nobody gives or takes what they do not hold
there themselves, and whoever has a role outside of somebody's part of the tree is not theirs to sign out or to remove."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection, func, select

from . import people, tables
from .access import Asker, Asks, Me, Scope
from .mistake import mistakes
from .people_commands import LONGEST_KEY
from .permissions import ROLES
from .store import Store

Place = Annotated[str, Field(max_length=400, description='a node of the tree, "" is the root')]
MOST_PLACES = 5000
DAY = 86_400.0


class Role(BaseModel):
    """What somebody is at a node."""

    role: str = Field(max_length=40)
    at: Place = ""


class Password(BaseModel):
    password: str = Field(max_length=1024)


class Person(Role, Password):
    """Somebody new, with a first role."""

    name: str = Field(max_length=64)


class Key(Role):
    """A key of a program."""

    name: str = Field(max_length=64)
    days: float = Field(1.0, gt=0, le=LONGEST_KEY / DAY, description="how long it is good")


def people_routes(store: Store) -> APIRouter:
    router = APIRouter()

    async def managed(me: Me, asks: Scope, name: str) -> None:
        """Raises HTTPException where somebody is not theirs."""
        roles = await store.read(lambda c: known(c, asks, name))
        asks.changes(name, after={"name": name}, place=roles[0][1] if roles else "")
        is_person(me)
        if name == me.name:
            raise HTTPException(409, "that is you: somebody else has to do it")
        if not manages(me, asks, roles):
            raise HTTPException(403, f"{name} has a role beyond yours, so who looks after the whole plane does it")

    @router.get("/api/people")
    async def everybody(me: Me, asks: Asks) -> list[dict[str, Any]]:
        """Who has an account and a role at a node of yours: {"name", "by" (password, openid), "roles": [[role, node]] of these,
        "until" (signed in, s UTC), "yours": whether all of their roles are, so that you may sign them out and remove them}."""
        found = await store.read(people.listed)
        shown = []
        for one in found:
            mine = [(role, at) for role, at in one["roles"] if asks.holds(at)]
            if mine or asks.whole:
                yours = one["name"] != me.name and manages(me, asks, one["roles"])
                shown.append({**one, "roles": mine, "yours": yours})
        return shown

    @router.post("/api/people", status_code=201)
    async def new(me: Me, asks: Asks, person: Person) -> dict[str, str]:
        """An account with a role at a node."""
        role, at = given(me, person)
        asks.changes(person.name, after={"name": person.name, "role": role, "at": at}, place=at)
        people.named(person.name)
        kept = await asyncio.to_thread(people.password, person.password)

        def add(c: Connection) -> None:
            people.add(c, person.name, kept)
            people.bind(c, person.name, role, at)

        with mistakes():
            await store.write(add)
        return {"name": person.name}

    @router.post("/api/people/{name}/password", status_code=204)
    async def another_password(me: Me, asks: Asks, name: str, wanted: Password) -> None:
        """Give somebody another password; they are signed out."""
        await managed(me, asks, name)
        kept = await asyncio.to_thread(people.password, wanted.password)
        await store.write(lambda c: people.another_password(c, name, kept))

    @router.post("/api/people/{name}/signout", status_code=204)
    async def sign_out(me: Me, asks: Asks, name: str) -> None:
        """End every session of somebody."""
        await managed(me, asks, name)
        await store.write(lambda c: people.end(c, name) and None)

    @router.delete("/api/people/{name}", status_code=204)
    async def remove(me: Me, asks: Asks, name: str) -> None:
        """Remove somebody, with all roles."""
        await managed(me, asks, name)
        await store.write(lambda c: people.remove(c, name))

    return router


def role_routes(store: Store) -> APIRouter:
    router = APIRouter()

    @router.post("/api/people/{name}/roles", status_code=204)
    async def bind(me: Me, asks: Asks, name: str, wanted: Role) -> None:
        """Give somebody one more role."""
        role, at = given(me, wanted)
        asks.changes(f"{name} {role}", place=at)
        await store.read(lambda c: known(c, asks, name))
        await store.write(lambda c: people.bind(c, name, role, at))

    @router.delete("/api/people/{name}/roles", status_code=204)
    async def unbind(
        me: Me,
        asks: Asks,
        name: str,
        role: Annotated[str, Query(max_length=40)],
        at: Annotated[str, Query(max_length=400)] = "",
    ) -> None:
        """Take a role from somebody."""
        role, at = given(me, Role(role=role, at=at))
        asks.changes(f"{name} {role}", place=at)
        await store.read(lambda c: known(c, asks, name))
        if name == me.name:
            raise HTTPException(409, "that is you: somebody else has to do it")
        with mistakes():
            await store.write(lambda c: people.unbind(c, name, role, at))

    return router


def key_routes(store: Store) -> APIRouter:
    router = APIRouter()

    @router.get("/api/keys")
    async def keys(asks: Asks) -> list[dict[str, Any]]:
        """Keys of programs at your nodes: {"name", "role", "place", "created", "expires" (s UTC)}; what a key is nobody can say."""
        return [key for key in await store.read(people.keys) if asks.holds(key["place"])]

    @router.post("/api/keys", status_code=201)
    async def add(me: Me, asks: Asks, key: Key, answer: Response) -> dict[str, str]:
        """A new one: {"key"} is said this once."""
        role, at = given(me, key)
        asks.changes(f"{key.name} {role}", place=at)
        with mistakes():
            said = await store.write(lambda c: people.add_key(c, key.name, role, at, key.days * DAY))
        answer.headers["Cache-Control"] = "no-store"
        return {"key": said}

    @router.delete("/api/keys/{name}", status_code=204)
    async def remove(me: Me, asks: Asks, name: str) -> None:
        """It opens nothing any more."""
        found = [key for key in await store.read(people.keys) if key["name"] == name and asks.holds(key["place"])]
        if not found:
            raise HTTPException(404, "there is no such key here")
        given(me, Role(role=found[0]["role"], at=found[0]["place"]))
        asks.changes(name, place=found[0]["place"])
        with mistakes():
            await store.write(lambda c: people.remove_key(c, name))

    @router.get("/api/tree")
    async def tree(asks: Asks) -> list[dict[str, Any]]:
        """Where devices of yours stand: {"place", "devices"}, in the order of their letters."""
        d = tables.device
        wanted = select(d.c.site, func.count()).where(d.c.revoked == 0, *asks.narrow(d.c.id)).group_by(d.c.site)
        rows = await store.read(lambda c: c.execute(wanted.order_by(d.c.site).limit(MOST_PLACES)).all())
        return [{"place": site, "devices": many} for site, many in rows]

    return router


def given(me: Asker, wanted: Role) -> tuple[str, str]:
    """A role and a node as they are kept, which `me` may give and take. Raises HTTPException, LinesideError."""
    is_person(me)
    role, at = people.bound(wanted.role, wanted.at)
    if not holds(me, role, at):
        raise HTTPException(403, f"nobody gives or takes what they do not have: {role} at {at or 'the root'}")
    return role, at


def is_person(me: Asker) -> None:
    """A key would give another one before its end comes. Raises HTTPException."""
    if me.program:
        raise HTTPException(403, "a program's key looks after no people and no keys; sign in for that")


def holds(me: Asker, role: str, at: str) -> bool:
    """Whether somebody looks after people there and may all that the role may."""
    return all(me.scope(permission).holds(at) for permission in {"people", *ROLES[role]})


def manages(me: Asker, asks: Scope, roles: tuple[tuple[str, str], ...]) -> bool:
    """Whether everything that somebody is somewhere is `me`'s to give; who is nothing anywhere belongs to the whole plane."""
    return all(holds(me, role, at) for role, at in roles) and (bool(roles) or asks.whole)


def known(connection: Connection, asks: Scope, name: str) -> tuple[tuple[str, str], ...]:
    """The roles of somebody who has one at a node of theirs. Raises HTTPException."""
    roles = people.roles(connection, name)
    if not people.known(connection, name) or not (asks.whole or any(asks.holds(at) for _, at in roles)):
        raise HTTPException(404, "nobody here has such a name")
    return roles
