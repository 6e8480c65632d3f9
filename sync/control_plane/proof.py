"""What people's reviews prove of the stations, and what the hours look like: the small ledger beside the console's review page."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import ColumnElement, Connection, case, desc, func, select

from edge import most_by_chance, parts_needed, rate_below

from . import tables
from .access import Asks
from .store import Store

RATE, CONFIDENCE = 0.004, 0.95
DAYS, MOST = 90, 20_000  # reviews that are looked at: of so many days, and the newest ones
HOUR = 3600 * 10**9  # ns
HOURS = 24
LABELS = 64  # classes of defects that are told


def proof(store: Store) -> APIRouter:
    """Counts with their bounds."""
    router = APIRouter()

    @router.get("/api/proof")
    async def proven(asks: Asks, device: Annotated[str, Query(max_length=64)] = "") -> dict[str, Any]:
        """{"escapes", "false_calls": {"found", "of", "below" (at 95 %), "more" (parts without another one that would show 0.4 %)},
        "pareto": [[label, count]] of parts that people found NG, "hours": [[ms UTC, NG, parts, NG that may be chance]] of the
        last 24}. Of each part the newest review of the last 90 days counts."""
        now, own = time.time_ns(), tables.event.c.device
        those = [*asks.narrow(own), *([own == device] if device else [])]
        newest = await store.read(lambda c: _newest(c, those, now - DAYS * 24 * HOUR))
        hours = await store.read(lambda c: _hours(c, those, (now // HOUR - HOURS + 1) * HOUR))
        bad = Counter(label or "?" for _, state, label in newest if state == "ng")
        return {
            "escapes": _bound([state == "ng" for said, state, _ in newest if said == "ok"]),
            "false_calls": _bound([state == "ok" for said, state, _ in newest if said == "ng"]),
            "pareto": bad.most_common(LABELS),
            "hours": hours,
        }

    return router


def _bound(found: list[bool]) -> dict[str, Any]:
    bound = rate_below(sum(found), len(found), CONFIDENCE)
    more = 0 if bound <= RATE else parts_needed(RATE, sum(found), CONFIDENCE) - len(found)
    return {"found": sum(found), "of": len(found), "below": bound, "more": more}


def _newest(connection: Connection, those: list[ColumnElement[bool]], since: int) -> list[tuple[str, str, str]]:
    """(what the station said, what a person says, which defect) of each part that was reviewed."""
    e = tables.event
    wanted = select(e.c.device, e.c.epoch, e.c.seq, e.c.state, e.c.data).where(e.c.kind == "review", e.c.ts >= since)
    wanted = wanted.where(*those)
    rows = connection.execute(wanted.order_by(desc(e.c.ts), desc(e.c.seq)).limit(MOST)).all()
    out: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    for row in sorted(rows, key=lambda row: (row.epoch, row.seq)):
        data = json.loads(row.data)
        part = (row.device, row.epoch, str(data.get("seq") or data.get("record") or data.get("of")))
        out[part] = (str(data.get("said", "")), row.state, str(data.get("label", "")))
    return list(out.values())


def _hours(connection: Connection, those: list[ColumnElement[bool]], since: int) -> list[list[int]]:
    e = tables.event
    hour = (e.c.ts // HOUR).label("hour")
    ng = func.sum(case((e.c.state == "ng", 1), else_=0))
    wanted = (
        select(hour, ng, func.count()).where(e.c.kind == "inspection", e.c.ts >= since).group_by(hour).order_by(hour)
    )
    wanted = wanted.where(*those)
    rows = [(int(at), int(bad), int(of)) for at, bad, of in connection.execute(wanted.limit(HOURS + 1))]
    rate = sum(bad for _, bad, _ in rows) / max(1, sum(of for _, _, of in rows))
    return [[at * HOUR // 10**6, bad, of, most_by_chance(rate, of)] for at, bad, of in rows]
