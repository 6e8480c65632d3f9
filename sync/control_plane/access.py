"""Who asks, where in the tree they hold what a route needs, and so what of the plane they get. Default is deny: what permissions.py
does not name is not served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, HTTPException, Request
from fastapi.routing import APIRoute
from sqlalchemy import ColumnElement, Connection, and_, or_, select
from starlette.routing import BaseRoute

from edge import LinesideError

from . import tables
from .asset_tables import asset, asset_due
from .audit import digest
from .own import PLANE
from .permissions import CHANGES, ROLES, TABLE, Of
from .store import Store
from .tree import below, is_below

PROGRAM = "key:"  # how the name of one begins that comes with a key
OWN_ALARM = "POST /api/devices/{device}/alarms/{key}"
ELSEWHERE = "there is no such device here"  # also of one that is not theirs: nobody learns which there are


@dataclass(frozen=True)
class Scope:
    """Who asks (`who` is what the audit and orders say), and the nodes of the tree where they hold what the route needs."""

    who: str
    places: tuple[str, ...]
    account: bool = False  # whether `who` is one person, and no link that anybody may have opened
    told: dict[str, str] = field(default_factory=dict, compare=False)  # for the audit, see `changes`

    def changes(self, about: str, before: Any = None, after: Any = None, place: str = "") -> None:
        """What the audit says of this request: what it is about (its device and more), where that stands, what was and what is
        wanted (kept as hashes; without `after`: the body)."""
        self.told.update(about=about, **({"place": place} if place else {}))
        self.told.update({name: digest(it) for name, it in (("before", before), ("after", after)) if it is not None})

    @property
    def whole(self) -> bool:
        return "" in self.places

    def holds(self, place: str | None) -> bool:
        """Whether what stands there is theirs; None: what belongs to the plane itself, or to nobody."""
        return self.whole or (place is not None and any(below(place, top) for top in self.places))

    def narrow(self, device: Any) -> list[ColumnElement[bool]]:
        """What a query needs beside its own conditions, where `device` is its column of devices. Nothing for who sees all."""
        if self.whole:
            return []
        t = tables.device
        return [device.in_(select(t.c.id).where(is_below(t.c.site, self.places)))]

    def narrow_said(self, device: Any, key: Any, *more: ColumnElement[bool]) -> list[ColumnElement[bool]]:
        """The same of alarms and their events, with what the plane itself says of an asset that stands at a place of theirs; `more`
        is what else holds of that."""
        if self.whole:
            return []
        keys = select(asset_due.c.key).join(asset, asset.c.number == asset_due.c.asset)
        ours = and_(device == PLANE, key.in_(keys.where(is_below(asset.c.place, self.places))), *more)
        return [or_(*self.narrow(device), ours)]

    def holds_device(self, connection: Connection, device: str) -> bool:
        return self.whole or self.holds(place_of(connection, device))

    def devices(self, connection: Connection) -> set[str] | None:
        """All that are theirs; None: every one."""
        if self.whole:
            return None
        t = tables.device
        return set(connection.scalars(select(t.c.id).where(*self.narrow(t.c.id))))


@dataclass(frozen=True)
class Asker:
    """Somebody who is known here: a name, and (role, node) for each role they have."""

    name: str
    roles: tuple[tuple[str, str], ...]
    account: bool = False

    @property
    def program(self) -> bool:
        """Whether it is a program with its key; no person can be called so."""
        return self.name.startswith(PROGRAM)

    def scope(self, permission: str) -> Scope:
        """Where they hold it."""
        places = {place for role, place in self.roles if not permission or permission in ROLES[role]}
        return Scope(self.name, tuple(sorted(places)), self.account)


class Knows(Protocol):
    """Knows people by what their requests bring."""

    async def asker(self, request: Request) -> Asker | None: ...


def place_of(connection: Connection, device: str) -> str | None:
    """Where a device stands; None where there is none of that name."""
    t = tables.device
    return connection.scalar(select(t.c.site).where(t.c.id == device))


def place_of_own(connection: Connection, key: str) -> str | None:
    """Where the asset stands of which an alarm of the plane itself says that something is due; None: it is of no place."""
    its = select(asset.c.place).join(asset_due, asset_due.c.asset == asset.c.number).where(asset_due.c.key == key)
    return connection.scalar(its)


def guard(store: Store, knows: Knows) -> Callable[[Request], Awaitable[None]]:
    """What runs before every route."""

    async def allowed(request: Request) -> None:
        what = f"{request.method} {getattr(request.scope.get('route'), 'path', '')}"
        need = TABLE.get(what)
        if need is None:
            raise HTTPException(403, "nobody has said who may ask for this")
        request.state.what = what  # entrance.py records it, with what else is set here
        request.state.about = " ".join(map(str, request.path_params.values()))
        if need.of is Of.ANYONE:
            return
        asker = await knows.asker(request)
        if asker is None:
            raise HTTPException(401, "sign in first; on the first day: open the link that the plane printed at start")
        request.state.asker = asker
        scope = request.state.scope = asker.scope(need.permission)
        request.state.told = scope.told
        if need.of is Of.SELF:
            return
        if need.of is Of.DEVICE:
            device = request.path_params["device"]
            if scope.whole and request.method not in CHANGES:
                return
            ours = device == PLANE and what == OWN_ALARM
            key = request.path_params["key"] if ours else ""
            place = await store.read(lambda c: place_of_own(c, key) if ours else place_of(c, device))
            request.state.place = place or ""
            if not asker.scope("watch").holds(place):
                raise HTTPException(404, ELSEWHERE)
            if not scope.holds(place):
                raise HTTPException(403, f"your roles at {place} do not include {need.permission!r}")
        elif not scope.places or (need.of is Of.PLANE and not scope.whole):
            where = " for the whole plane" if need.of is Of.PLANE else ""
            raise HTTPException(403, f"your roles do not include {need.permission!r}{where}")

    return allowed


def _scope(request: Request) -> Scope:
    found: Scope = request.state.scope
    return found


def _asker(request: Request) -> Asker:
    found: Asker = request.state.asker
    return found


Asks = Annotated[Scope, Depends(_scope)]
Me = Annotated[Asker, Depends(_asker)]


def declared(routes: Iterable[BaseRoute]) -> None:
    """Raises LinesideError for a route of which nobody has said who may ask, or which does not look at who asks where it has to."""
    for route in routes:
        if not isinstance(route, APIRoute):
            raise LinesideError(f"{route} is no route of the API, so nothing guards it")
        for method in sorted(route.methods or ()):
            need = TABLE.get(f"{method} {route.path}")
            if need is None:
                hint = "say in sync/control_plane/permissions.py which permission it needs, and whose it is about"
                raise LinesideError(f"{method} {route.path} declares no permission", hint=hint)
            if need.of is Of.DEVICE and "{device}" not in route.path:
                raise LinesideError(f"{method} {route.path} has no {{device}} in its path", hint="Of.EACH")
            if need.of is Of.EACH and not _looks(route):
                hint = "take `asks: Asks` and narrow what it reads and writes"
                raise LinesideError(f"{method} {route.path} is about each device, and does not ask whose", hint=hint)


def _looks(route: APIRoute) -> bool:
    return any(one.call is _scope for one in route.dependant.dependencies)
