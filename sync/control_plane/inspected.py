"""Parts that were judged, with what people say of them; what a person says goes to the device, whose own event tells it here."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, and_, desc, or_, select

from . import tables
from .access import Asks
from .briefs import Brief, Briefs, Place, as_json, with_more
from .ingest import Ingest
from .own import PLANE
from .store import Store

MOST_SAID = 5000  # reviews, and orders for them
AROUND = 90 * 86_400 * 10**9  # ns that a device's clock may have been set back between a part and its review
GIVEN_UP = "orders"  # what a device calls all orders up to a number that it does not carry out after damage
NS = 2**62


class Review(BaseModel):
    """A person's own verdict on one inspection."""

    epoch: str = Field(max_length=16)
    seq: int = Field(ge=1, le=NS, description="which inspection: its number in that journal")
    state: Literal["ok", "ng"] = Field(description="what the part is")
    by: str = Field(max_length=80, pattern=r"\S", description="who looked")
    label: str = Field("", max_length=80, description="which defect it has")
    text: str = Field("", max_length=1000, description="a note")
    corrects: str = Field("", max_length=64, description="hash of the review that was seen and that this one corrects")


@dataclass
class Said:
    """Of one inspection: its `reviews` in their order, the newest order for one that was not answered yet (`asked`), or why the
    device did not take it (`refusal`)."""

    reviews: list[dict[str, Any]] = field(default_factory=list)
    asked: dict[str, Any] | None = None
    refusal: str = ""

    @property
    def newest(self) -> str:
        """What a correction has to name."""
        return str(self.reviews[-1]["hash"]) if self.reviews else ""


def inspected(store: Store, ingest: Ingest) -> APIRouter:
    """Lists of parts to look at, and the way back."""
    router, briefs = APIRouter(), Briefs()

    @router.get("/api/inspections")
    async def inspections(
        asks: Asks,
        state: Annotated[str, Query(max_length=40, description="verdicts of the station, with commas between")] = "",
        label: Annotated[str, Query(max_length=200)] = "",
        recipe: Annotated[str, Query(max_length=200)] = "",
        device: Annotated[str, Query(max_length=64)] = "",
        called: Annotated[str, Query(max_length=200, description="part number, or a piece of the part's code")] = "",
        reviewed: Literal["open", "done", "all"] = "all",
        order: Annotated[
            Literal["newest", "hardest", "chance"], Query(description="chance: as for an audit; no verdict decides")
        ] = "newest",
        limit: Annotated[int, Query(ge=1, le=200)] = 60,
    ) -> Response:
        """{"parts": [...], "labels", "recipes", "devices": what there is to choose from, "open": how many were not reviewed}, of
        the newest 1,000 parts with these verdicts. Each part is its event with `reviews`, `asked` and `refusal`; of its data those
        that a list shows, and all of them under its own address."""
        e = tables.event
        those: list[ColumnElement[bool]] = asks.narrow(e.c.device)
        those += [e.c.state.in_(state.split(","))] if state else []
        those += [e.c.device == device] if device else []

        def build(connection: Connection) -> bytes:
            """On a reader's thread: the loop has devices to answer."""
            parts = briefs.newest(connection, *those)
            said = _said_of(connection, parts)
            chosen = [part for part in parts if label in ("", part.label) and recipe in ("", part.recipe)]
            chosen = [part for part in chosen if part.is_called(called)]
            still = [part for part in chosen if _is_open(said[part.place])]
            done = [part for part in chosen if not _is_open(said[part.place])]
            shown = ORDERS[order]({"open": still, "done": done, "all": chosen}[reviewed])[:limit]
            listed = ", ".join(with_more(part.json, vars(said[part.place])) for part in shown)
            beside = {"open": len(still), "of": len(chosen), **_choices(parts, said)}
            return with_more(f'{{"parts": [{listed}]}}', beside).encode(errors="replace")

        return Response(await store.read(build), media_type="application/json")

    @router.get("/api/devices/{device}/inspections/{epoch}/{seq}")
    async def inspection(device: str, epoch: str, seq: Annotated[int, Path(ge=1, le=NS)]) -> Response:
        """One part with what people say of it."""
        whole, _, said = await _one(store, device, epoch, seq)
        return Response(with_more(whole, vars(said)).encode(errors="replace"), media_type="application/json")

    @router.post("/api/devices/{device}/reviews", status_code=202)
    async def review(asks: Asks, device: str, wanted: Review) -> dict[str, str]:
        """Say what a part is. The order goes to the device, whose own event tells of the review here; a second review of a
        part is a correction, and names the one that was seen. Who has an account is named by that."""
        asks.changes(f"{device} inspection {wanted.seq}", wanted.corrects)
        _, told, known = await _one(store, device, wanted.epoch, wanted.seq)
        if known.asked:
            raise HTTPException(
                409, f"{known.asked['by']} has just reviewed this part; the device has not answered yet"
            )
        if known.newest != wanted.corrects:
            raise HTTPException(409, "this part was reviewed meanwhile; look at that review, then correct it")
        await ingest.command(
            device, "review", {**wanted.model_dump(), **told, **({"by": asks.who} if asks.account else {})}
        )
        return {"queued": "review"}

    return router


async def _one(store: Store, device: str, epoch: str, seq: int) -> tuple[str, dict[str, Any], Said]:
    """A part as JSON, what an order says of it, and what people say. Raises HTTPException."""
    e = tables.event
    wanted = select(e).where(e.c.device == device, e.c.epoch == epoch, e.c.seq == seq, e.c.kind == "inspection")

    def look(connection: Connection) -> tuple[str, dict[str, Any], Said] | None:
        row = connection.execute(wanted).mappings().first()
        if row is None:
            return None
        part, data = Brief.of(row), json.loads(row["data"])
        told = {"part": data.get("part"), "record": data.get("hash"), "said": row["state"], "stage": row["key"]}
        return as_json(row), told, _said_of(connection, [part])[part.place]

    found = await store.read(look)
    if found is None:
        raise HTTPException(404, "this device has told of no such inspection")
    return found


def _said_of(connection: Connection, parts: list[Brief]) -> dict[Place, Said]:
    said = {part.place: Said() for part in parts}
    if not parts:
        return said
    by_hash = {(part.place[0], part.record): part.place for part in parts}
    devices, since = {part.place[0] for part in parts}, min(time.time_ns(), *(part.ts for part in parts)) - AROUND
    answered: dict[tuple[str, str], str] = {}  # order -> why it was refused
    given_up: dict[
        str, tuple[int, str]
    ] = {}  # device -> up to which order it carried out none but those it tells of, and why
    only = [_names(parts[0])] if len(parts) == 1 else []  # the database looks for one part faster than we do
    for row in _told(connection, devices, since, only):
        data = json.loads(row.data)
        number = (str(data.get("device")) if row.device == PLANE else row.device, str(data.get("number")))
        if (row.kind, row.key) == ("command", GIVEN_UP):
            last = data["number"] if isinstance(data.get("number"), int) else 0
            given_up[row.device] = max(given_up.get(row.device, (0, "")), (last, row.text))
            continue
        if row.kind == "command":
            answered[number] = row.text
            continue
        answered[number] = ""
        its = (row.device, row.epoch, data["seq"] if isinstance(data.get("seq"), int) else 0)
        its = its if its in said else by_hash.get((row.device, str(data.get("record") or "?")), its)
        if its in said:
            words = {k: str(data.get(k, "")) for k in ("by", "label", "hash", "corrects")}
            said[its].reviews.append({"ts": row.ts, "state": row.state, "text": row.text, **words})
    newest: set[Place] = set()
    for row in _ordered(connection, devices, since, parts[0].place[2] if len(parts) == 1 else None):
        data = json.loads(row.data)
        its = (row.device, data["epoch"], data["seq"])
        if its not in said or its in newest:
            continue
        newest.add(its)
        last, lost = given_up.get(row.device, (0, ""))
        why = answered.get((row.device, str(row.number)), lost if row.number <= last else None)
        if why is None:
            said[its].asked = {k: data[k] for k in ("state", "label", "by", "text")}
        else:
            said[its].refusal = why
    return said


def _names(part: Brief) -> Any:
    """What is said of this part, and maybe more."""
    data = tables.event.c.data
    mine = data.contains(f'"seq": {part.place[2]}')
    return mine | data.contains(f'"{part.record}"', autoescape=True) if part.record else mine


def _told(connection: Connection, devices: Iterable[str], since: int, only: list[Any]) -> list[Any]:
    """Reviews, and orders for some that a device refused, in the order in which it told them; before them those that the plane
    refused in its place."""
    e = tables.event
    found: list[Any] = []
    refused = [e.c.state == "refused", or_(e.c.key == GIVEN_UP, and_(e.c.key == "review", *only))]
    for kind, which in (("review", only), ("command", refused)):
        wanted = select(e.c.device, e.c.epoch, e.c.seq, e.c.ts, e.c.kind, e.c.key, e.c.state, e.c.text, e.c.data)
        wanted = wanted.where(e.c.device.in_([PLANE, *sorted(devices)]), e.c.kind == kind, e.c.ts >= since, *which)
        found += connection.execute(wanted.order_by(desc(e.c.ts), desc(e.c.seq)).limit(MOST_SAID)).all()
    return sorted(found, key=lambda row: (row.device != PLANE, row.epoch, row.seq))


def _ordered(connection: Connection, devices: Iterable[str], since: int, seq: int | None) -> Any:
    """Orders to review a part, the newest first; their numbers follow the plane's clock in ms."""
    t = tables.command
    wanted = select(t.c.device, t.c.number, t.c.data).where(t.c.device.in_(sorted(devices)), t.c.verb == "review")
    wanted = wanted.where(t.c.number >= since // 10**6, *([t.c.data.contains(f'"seq": {seq}')] if seq else []))
    return connection.execute(wanted.order_by(desc(t.c.number)).limit(MOST_SAID)).all()


def _is_open(said: Said) -> bool:
    return not said.reviews and not said.asked


def _choices(parts: list[Brief], said: dict[Place, Said]) -> dict[str, list[str]]:
    """What a page may choose from."""
    labels = (name for part in parts for name in (part.label, *part.found, *_found(said[part.place])))
    devices = sorted({part.place[0] for part in parts})
    return {"labels": _often(labels), "recipes": _often(part.recipe for part in parts), "devices": devices}


def _found(said: Said) -> list[str]:
    return [review["label"] for review in said.reviews]


def _often(names: Iterable[str]) -> list[str]:
    """The most frequent first."""
    return [name for name, _ in Counter(filter(None, names)).most_common(40)]


def _newest(parts: list[Brief]) -> list[Brief]:
    return parts


def _hardest(parts: list[Brief]) -> list[Brief]:
    """Doubts first, then those whose score is nearest to the other side among the parts that one recipe called the same."""
    groups: dict[tuple[str, str, str], list[Brief]] = {}
    for part in parts:
        groups.setdefault((part.recipe, part.state, part.label), []).append(part)
    far: dict[Place, float] = {}
    for (_, state, _), group in groups.items():
        for k, part in enumerate(sorted(group, key=lambda one: one.score, reverse=state == "ok")):
            far[part.place] = -1.0 if state == "recheck" else k / len(group)
    return sorted(parts, key=lambda part: far[part.place])


def _by_chance(parts: list[Brief]) -> list[Brief]:
    """In an order that nothing of the part decides, and always the same one."""
    return sorted(parts, key=lambda part: hashlib.sha256(repr(part.place).encode()).digest())


ORDERS: dict[str, Callable[[list[Brief]], list[Brief]]] = {
    "newest": _newest,
    "hardest": _hardest,
    "chance": _by_chance,
}
