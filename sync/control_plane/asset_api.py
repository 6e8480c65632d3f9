"""Assets and work orders for the console and for programs. An asset is of the place at which it stands."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Response
from fastapi import Path as PathOf
from pydantic import BaseModel, Field
from sqlalchemy import Connection, RowMapping, func, or_

from . import assets, work_orders
from .access import ELSEWHERE, Asks, Scope
from .asset import Asset, Deed, Part, When
from .asset_alarms import alarms_of
from .asset_files import MOST_BYTES, assets_as, orders_as, read
from .asset_import import take
from .asset_tables import asset as A
from .assets import NotHere, found
from .config import beside
from .mistake import mistakes
from .store import Store
from .tree import is_below, node
from .work_orders import Ending, Opening

Number = Annotated[int, PathOf(ge=1, le=2**53)]
Place = Annotated[str, Query(max_length=400, description="at this node of the tree or below it")]
MOST, MOST_EXPORTED = 1000, 50_000
PLAIN = r"^[^\x00-\x1f\x7f-\x9f]*$"


class AssetFile(BaseModel):
    """A file of assets."""

    place: str = Field("", max_length=400, description="where those stand that say no place")
    kind: Literal["csv", "json"]
    body: str = Field(max_length=MOST_BYTES)
    name: str = Field("", max_length=100, pattern=PLAIN, description="what it is called, for what is wrong with it")


def _theirs(connection: Connection, asks: Scope, number: int) -> RowMapping:
    """Raises HTTPException."""
    try:
        row = found(connection, number)
    except NotHere as error:
        raise HTTPException(404, str(error)) from None
    if not asks.holds(row["place"]):
        raise HTTPException(404, assets.NOT_HERE)
    return row


def _narrowed(asks: Scope, at: str) -> list[Any]:
    """What a query of assets needs: those of theirs at a node or below it."""
    mine = [] if asks.whole else [is_below(A.c.place, asks.places)]
    return [*mine, *([is_below(A.c.place, (node(at),))] if at else [])]


def _may(asks: Scope, given: Asset, connection: Connection, known: bool = False) -> None:
    """Whether an asset may be so: at a place of theirs, on a device of theirs. Raises HTTPException."""
    if not asks.holds(node(given.place)):
        raise HTTPException(403, f"your roles do not reach {given.place or 'the root'}: name a place below your own")
    if given.device and not known and not asks.holds_device(connection, given.device):
        raise HTTPException(404, ELSEWHERE)


def asset_routers(store: Store) -> tuple[APIRouter, ...]:
    """All of them. Those of files come before those with a number in their path."""
    return _files(store), _looked_at(store), _named(store), _looked_after(store), _orders(store)


def _looked_at(store: Store) -> APIRouter:
    """What there is."""
    router = APIRouter()

    @router.get("/api/assets")
    async def every(
        asks: Asks,
        at: Place = "",
        find: Annotated[str, Query(max_length=200, description="in its id, name, class or device")] = "",
        device: Annotated[str, Query(max_length=64)] = "",
        due: Annotated[bool, Query(description="only those of which something is due")] = False,
        retired: Annotated[bool, Query(description="also those out of service")] = False,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 200,
    ) -> list[dict[str, Any]]:
        """Assets in the order of their places: what each is, its running `hours` (as counted `until`, s UTC; `waits` hours of
        history are not counted yet), `due` (each rule, when it is or was due) and how many work orders are `open`."""
        those = _narrowed(asks, at) + ([A.c.device == device] if device else [])
        those += [] if retired else [A.c.retired == 0]
        if find:
            columns = (A.c.id, A.c.name, A.c["class"], A.c.device)
            those.append(or_(*(func.lower(one).contains(find.lower(), autoescape=True) for one in columns)))
        return await store.read(lambda c: assets.listed(c, those, limit, time.time(), due))

    @router.get("/api/assets/{number}")
    async def one(asks: Asks, number: Number) -> dict[str, Any]:
        """One with its rules, parts (what is built in first), what was done, work orders, and the alarms of its tags that stand."""

        def ask(c: Connection) -> dict[str, Any]:
            row = _theirs(c, asks, number)
            told = assets.summary(c, row, time.time()) | {"rules": [r.model_dump() for r in assets.rules_of(row)]}
            told |= {"parts": assets.parts_of(c, row), "maintenance": assets.maintained(c, row)}
            told["work_orders"] = work_orders.orders(c, [A.c.number == number], 200)
            return told | {"alarms": alarms_of(c, row, asks.narrow)}

        return await store.read(ask)

    return router


def _named(store: Store) -> APIRouter:
    """What an asset is."""
    router = APIRouter()

    @router.post("/api/assets", status_code=201)
    async def new(asks: Asks, given: Asset) -> dict[str, int]:
        """A new one: {"number"}, by which it is asked for."""
        asks.changes(f"asset {given.id}", after=given.model_dump(by_alias=True), place=node(given.place))
        await store.read(lambda c: _may(asks, given, c))
        with mistakes():
            return {"number": await store.write(lambda c: assets.add(c, given))}

    @router.put("/api/assets/{number}", status_code=204)
    async def change(
        asks: Asks,
        number: Number,
        given: Asset,
        recount: Annotated[
            bool, Query(description="count its history once more, as far as there are roll-ups")
        ] = False,
    ) -> None:
        """What it is from now on; its history and the hours that were counted stay."""
        was = await store.read(lambda c: _theirs(c, asks, number))
        about = f"asset {was['id']}"
        asks.changes(about, dict(was), given.model_dump(by_alias=True), place=was["place"])
        await store.read(lambda c: _may(asks, given, c, assets.reads_as_before(was, given)))
        with mistakes():
            await store.write(lambda c: assets.change(c, number, given, recount))

    @router.delete("/api/assets/{number}", status_code=204)
    async def remove(asks: Asks, number: Number) -> None:
        """One that was a mistake. What has a history is retired instead."""
        was = await store.read(lambda c: _theirs(c, asks, number))
        asks.changes(f"asset {was['id']}", dict(was), place=was["place"])
        with mistakes():
            await store.write(lambda c: assets.remove(c, number))

    return router


def _looked_after(store: Store) -> APIRouter:
    """What is done to one."""
    router = APIRouter()

    @router.post("/api/assets/{number}/maintenance", status_code=201)
    async def done(asks: Asks, number: Number, deed: Deed) -> dict[str, int]:
        """What was done, with the parts that came and went: {"number"}."""
        was = await store.read(lambda c: _theirs(c, asks, number))
        asks.changes(f"asset {was['id']}: {deed.did}", after=deed.model_dump(), place=was["place"])
        with mistakes():
            return {"number": await store.write(lambda c: assets.do(c, number, deed, asks.who))}

    @router.post("/api/assets/{number}/parts", status_code=204)
    async def exchange(asks: Asks, number: Number, part: Part, at: When | None = None) -> None:
        """Remove what is at a position, and build in what is given."""
        was = await store.read(lambda c: _theirs(c, asks, number))
        asks.changes(f"asset {was['id']}: {part.position}", after=part.model_dump(), place=was["place"])
        with mistakes():
            moment = assets.when(at)
            await store.write(lambda c: assets.exchange(c, number, part, asks.who, moment))

    @router.post("/api/assets/{number}/work-orders", status_code=201)
    async def open_one(asks: Asks, number: Number, given: Opening) -> dict[str, int]:
        """A work order for it: {"number"}."""
        was = await store.read(lambda c: _theirs(c, asks, number))
        asks.changes(f"asset {was['id']}: {given.title}", after=given.model_dump(), place=was["place"])
        with mistakes():
            return {"number": await store.write(lambda c: work_orders.open_one(c, number, given, asks.who))}

    return router


def _files(store: Store) -> APIRouter:
    """Many at once."""
    router = APIRouter()

    @router.get("/api/assets/export")
    async def export(asks: Asks, at: Place = "", format: Literal["csv", "json"] = "csv") -> Response:
        """Assets as a file, which `POST /api/assets/import` takes in again."""
        those = _narrowed(asks, at)
        rows = await store.read(lambda c: assets.rows(c, those))
        return _file(assets_as(format, rows), "assets", format)

    @router.post("/api/assets/import")
    async def take_in(asks: Asks, file: AssetFile) -> dict[str, int]:
        """Take in a file, whole or not at all: an asset whose id is there in its enterprise is changed in what the file says.
        {"new", "changed"}. 422 with a line for each fault: file, row, what, and what to do."""
        place = node(file.place)
        asks.changes(f"assets of {file.name or file.kind}", place=place)
        if place and not asks.holds(place):
            raise HTTPException(403, f"your roles do not reach {place}: name a place below your own")
        name = f"{file.name.rpartition('.')[0] or 'assets'}.{file.kind}"
        lines = await beside(read, name, file.body.encode(errors="replace"))
        new, changed = await take(store, lines, place, None if asks.whole else asks)
        return {"new": new, "changed": changed}

    return router


def _orders(store: Store) -> APIRouter:
    """Work orders of all of them."""
    router = APIRouter()

    @router.get("/api/work-orders")
    async def every(
        asks: Asks,
        state: Literal["", *work_orders.STATES] = "",  # type: ignore[valid-type]
        at: Place = "",
        before: Annotated[int, Query(ge=0, le=2**53, description="only those with a lower number")] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 200,
    ) -> list[dict[str, Any]]:
        """Work orders, the newest first, with what came and went by each."""
        those = _narrowed(asks, at)
        return await store.read(lambda c: work_orders.orders(c, those, limit, state, before))

    @router.get("/api/work-orders/export")
    async def export(
        asks: Asks,
        at: Place = "",
        format: Literal["csv", "json"] = "csv",
        state: Literal["", *work_orders.STATES] = "",  # type: ignore[valid-type]
        since: Annotated[float, Query(ge=0, le=4e9, description="opened or ended from then on, s UTC")] = 0.0,
    ) -> Response:
        """The same as a file for another system; its columns stay, new ones come last."""
        those = [*_narrowed(asks, at), *([work_orders.since(since)] if since else [])]
        rows = await store.read(lambda c: work_orders.orders(c, those, MOST_EXPORTED + 1, state))
        if len(rows) > MOST_EXPORTED:
            raise HTTPException(413, f"more than {MOST_EXPORTED:,} work orders; say since when, or at which place")
        return _file(orders_as(format, rows), "work-orders", format)

    @router.post("/api/work-orders/{number}", status_code=204)
    async def end(asks: Asks, number: Number, given: Ending) -> None:
        """It is done, with what was done and which parts; or is not to be done, and why."""

        def theirs(c: Connection) -> RowMapping:
            try:
                row = work_orders.one(c, number)
            except NotHere as error:
                raise HTTPException(404, str(error)) from None
            if not asks.holds(row["place"]):
                raise HTTPException(404, "there is no such work order here")
            return row

        row = await store.read(theirs)
        about = f"work order {number} of {row['asset']}: {given.state}"
        asks.changes(about, after=given.model_dump(), place=row["place"])
        with mistakes():
            await store.write(lambda c: work_orders.end(c, number, given, asks.who))

    return router


def _file(text: str, name: str, kind: str) -> Response:
    media = {"csv": "text/csv; charset=utf-8", "json": "application/json"}[kind]
    body = text.encode("utf-8-sig" if kind == "csv" else "utf-8", errors="replace")  # by which a spreadsheet knows it
    return Response(body, media_type=media, headers={"Content-Disposition": f'attachment; filename="{name}.{kind}"'})
