"""Fault cases for people and their programs: looked for, written, brought in and taken out, and what hangs together in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection

from edge import MOST_CASE_BYTES, Case, KnownCases, SeenAlarm, parse_cases, shares_said, text_of_cases

from . import cases
from .access import ELSEWHERE, Asker, Asks, Me, Scope, place_of
from .case_draft import classes, draft
from .case_search import MOST_FOUND, found, graph
from .cases import Kept, T
from .config import beside
from .devices import TOTAL
from .ingest import Ingest
from .mistake import mistakes
from .picture_rights import not_theirs
from .store import Store
from .tree import is_below, node

Place = Annotated[str, Field(max_length=400, description='a node of the tree, "" is the root')]
At = Annotated[str, Query(max_length=400, description="there or below it")]
Number = Annotated[int, Field(ge=1, le=2**53)]
Version = Annotated[str, Query(max_length=64, description="as it was read")]
Kind = Literal["csv", "json", "yaml"]
MEDIA = {"csv": "text/csv; charset=utf-8", "json": "application/json", "yaml": "application/yaml"}
MOST_LOOKED_AT = 10_000  # cases, for a signature
PLAIN = r"^[^\x00-\x1f\x7f-\x9f]*$"
NO_SUCH = "there is no such case here"  # also of one that is not theirs


class Alarm(BaseModel):
    """An alarm or anomaly as /api/events names it."""

    device: str = Field(max_length=64)
    epoch: str = Field(max_length=16)
    seq: int = Field(ge=0, le=2**62)


class Written(BaseModel):
    """A new case, and where it is to serve."""

    place: Place
    case: Case
    alarm: Alarm | None = Field(None, description="of which it was made, and so which pictures it may show")


class File(BaseModel):
    """A file of cases."""

    place: Place
    kind: Kind
    body: str = Field(max_length=MOST_CASE_BYTES)
    name: str = Field("", max_length=100, pattern=PLAIN, description="what it is called, for what is wrong with it")


def case_routers(store: Store, ingest: Ingest) -> tuple[APIRouter, ...]:
    """All of them. Those of files come before those with a number in their path."""
    return _files(store, ingest), _looked_for(store), _written(store, ingest)


def _looked_for(store: Store) -> APIRouter:
    """What there is."""
    router = APIRouter()

    @router.get("/api/cases")
    async def every(
        asks: Asks,
        answer: Response,
        find: Annotated[str, Query(max_length=500, description="words; Chinese needs no blanks")] = "",
        alarm: Annotated[
            str, Query(max_length=200, description="near to this key of an alarm, or name of a stage")
        ] = "",
        shares: Annotated[str, Query(max_length=4000, description="near to these: `flow=-0.7; current=0.2`")] = "",
        asset: Annotated[str, Query(max_length=200, description="of which asset or class those tags are")] = "",
        at: At = "",
        device: Annotated[str, Query(max_length=64, description="only those that serve this device")] = "",
        skip: Annotated[int, Query(ge=0, le=10**6)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> list[dict[str, Any]]:
        """Cases by their ids: {"number", "place", "at" (s UTC), "by", "version", "case"}, how many there are in all in the header
        X-Total-Count. By words, or near to a signature, the best first, each with "near" (0 to 1) and "why"."""
        seen = SeenAlarm(
            alarm, shares={f"{asset}.{tag}".lstrip("."): share for tag, share in shares_said(shares).items()}
        )

        def ask(c: Connection) -> tuple[list[dict[str, Any]], int]:
            here, known = _here(c, asks, at, device)
            if find:
                rows = [{**row.as_json(), "near": round(near, 2), "why": []} for row, near in found(c, find, *here)]
            elif alarm or shares:
                rows = _near(cases.listed(c, *here, most=MOST_LOOKED_AT), seen, known)
            else:
                listed = cases.listed(c, *here, skip=skip, most=limit)
                return [row.as_json() for row in listed], cases.counted(c, *here)
            return rows[skip : skip + limit], len(rows)

        rows, total = await store.read(ask)
        answer.headers[TOTAL] = str(total)
        return rows

    @router.get("/api/cases/{number}")
    async def one(asks: Asks, number: Number) -> dict[str, Any]:
        """One case, with who wrote it last and when."""
        return (await store.read(lambda c: _theirs(c, asks, number))).as_json()

    return router


def _written(store: Store, ingest: Ingest) -> APIRouter:
    """One by one, also of an alarm."""
    router = APIRouter()

    @router.post("/api/cases", status_code=201)
    async def new(asks: Asks, me: Me, wanted: Written) -> dict[str, Any]:
        """Write one. 409 where its id is at that place already."""
        place = node(wanted.place)
        asks.changes(f"case {wanted.case.id}", place=place)
        _may(asks, place)
        await store.read(lambda c: _may_show(c, me, [wanted.case], wanted.alarm))
        with mistakes():
            row, devices = await store.write(lambda c: cases.add(c, place, wanted.case, asks.who))
        ingest.nudge(devices)
        return row.as_json()

    @router.put("/api/cases/{number}")
    async def change(asks: Asks, me: Me, number: Number, case: Case, version: Version) -> dict[str, Any]:
        """Say something else in one; it stays where it is. 409 where somebody has written it anew since that version."""
        before = await store.read(lambda c: _theirs(c, asks, number))
        asks.changes(f"case {before.case.id}", before.case.model_dump(), case.model_dump(), before.place)
        _may(asks, before.place)
        await store.read(lambda c: _may_show(c, me, [case]))
        with mistakes():
            row, devices = await store.write(lambda c: cases.change(c, number, case, asks.who, version))
        ingest.nudge(devices)
        return row.as_json()

    @router.delete("/api/cases/{number}", status_code=204)
    async def remove(asks: Asks, number: Number, version: Version) -> None:
        """Remove one. 409 where somebody has written it anew since that version."""
        before = await store.read(lambda c: _theirs(c, asks, number))
        asks.changes(f"case {before.case.id}", before.case.model_dump(), place=before.place)
        _may(asks, before.place)
        with mistakes():
            devices = await store.write(lambda c: cases.remove(c, number, version))
        ingest.nudge(devices)

    @router.get("/api/devices/{device}/case")
    async def of_alarm(
        device: str,
        epoch: Annotated[str, Query(max_length=16)],
        seq: Annotated[int, Query(ge=0, le=2**62)],
    ) -> dict[str, Any]:
        """A draft of a case, made of an alarm or anomaly as /api/events names it: {"place", "case", "near", "alarm"}, where `near`
        are the cases that it looks like. Nothing is kept: POST /api/cases does that."""
        if (made := await store.read(lambda c: draft(c, device, epoch, seq))) is None:
            raise HTTPException(404, "this device has told of no such alarm or anomaly")
        return made | {"alarm": {"device": device, "epoch": epoch, "seq": seq}}

    return router


def _files(store: Store, ingest: Ingest) -> APIRouter:
    """Many at once, and what hangs together."""
    router = APIRouter()

    @router.get("/api/cases/graph")
    async def nodes(
        asks: Asks,
        kind: Annotated[Literal["", "asset", "component", "symptom", "cause", "remedy"], Query()] = "",
        text: Annotated[str, Query(max_length=2000, description="of that node")] = "",
        at: At = "",
    ) -> dict[str, Any]:
        """What stands together with a node: {"kind", "text", "cases": how many, "neighbours": {KIND: [{"text", "cases"}]},
        "behind": [{"number", "id", "place", "symptom"}]}, the most frequent first, at most 100 of each. Without `kind`: the most
        frequent nodes of every kind."""
        return await store.read(lambda c: graph(c, kind, text, *cases.seen_by(asks), *_at(at)))

    @router.get("/api/cases/file")
    async def export(
        asks: Asks,
        kind: Annotated[Kind, Query()] = "csv",
        at: Annotated[str, Query(max_length=400, description="this node, and not below it")] = "",
    ) -> Response:
        """The cases of one node as a file, which `POST` takes in again at any node."""
        place = node(at)
        rows = await store.read(lambda c: cases.listed(c, *cases.seen_by(asks), T.c.place == place))
        with mistakes():
            text = await beside(text_of_cases, [row.case for row in rows], f".{kind}")
        headers = {"Content-Disposition": f'attachment; filename="cases.{kind}"'}
        return Response(text.encode(), media_type=MEDIA[kind], headers=headers)

    @router.post("/api/cases/file")
    async def take_in(asks: Asks, me: Me, file: File) -> dict[str, int]:
        """Take in a file, whole or not at all; a case with an id that is at that place takes its place. {"new", "anew"}. 422 with a
        line for each fault: file, row and column, what, and what to do."""
        place = node(file.place)
        asks.changes(f"cases of {file.name or file.kind}", place=place)
        _may(asks, place)
        given, rows = await beside(_rows, file)
        await store.read(lambda c: _may_show(c, me, given))
        with mistakes():
            new, anew, devices = await store.write(lambda c: cases.take_in(c, place, rows, asks.who))
        ingest.nudge(devices)
        return {"new": new, "anew": anew}

    return router


def _rows(file: File) -> tuple[list[Case], list[dict[str, Any]]]:
    name = f"{file.name.rpartition('.')[0] or 'cases'}.{file.kind}"
    given = parse_cases(file.body.encode(errors="replace"), name)
    return given, cases.ready(given)


def _at(at: str) -> list[ColumnElement[bool]]:
    place = node(at)
    return [is_below(T.c.place, (place,))] if place else []


def _here(
    connection: Connection, asks: Scope, at: str, device: str
) -> tuple[list[ColumnElement[bool]], dict[str, str]]:
    """What a query of cases needs: those of theirs, at a node or below it, that serve a device; and what the assets of that are."""
    here = [*cases.seen_by(asks), *_at(at)]
    if not device:
        return here, {}
    place = _its_place(connection, asks, device)
    return [*here, cases.serves(place)], classes(connection, device, place)


def _may(asks: Scope, place: str) -> None:
    if not asks.holds(place):
        raise HTTPException(403, f"your roles do not include 'case' at {place or 'the root'}")


def _may_show(connection: Connection, me: Asker, given: Sequence[Case], alarm: Alarm | None = None) -> None:
    """Whether all that a case would show to who sees the case is theirs to see. Raises HTTPException."""
    at = (alarm.device, alarm.epoch, alarm.seq) if alarm else ("", "", 0)
    if strange := not_theirs(connection, me.scope("watch"), given, at):
        (where, *_) = [case.id for case in given if strange[0] in case.pictures]
        todo = "leave it out, or make the case of the alarm that shows it"
        raise HTTPException(
            403, f"case {where}: the picture {strange[0][:10]} is of no alarm or case of yours ({todo})"
        )


def _theirs(connection: Connection, asks: Scope, number: int) -> Kept:
    if (row := cases.of(connection, number, *cases.seen_by(asks))) is None:
        raise HTTPException(404, NO_SUCH)
    return row


def _its_place(connection: Connection, asks: Scope, device: str) -> str:
    place = place_of(connection, device)
    if place is None or not asks.holds(place):
        raise HTTPException(404, ELSEWHERE)
    return place


def _near(rows: list[Kept], seen: SeenAlarm, known: dict[str, str]) -> list[dict[str, Any]]:
    of = {id(row.case): row for row in rows}
    near = KnownCases([row.case for row in rows], known).nearest(seen, most=MOST_FOUND)
    return [{**of[id(one.case)].as_json(), "near": round(one.near, 2), "why": list(one.why)} for one in near]
