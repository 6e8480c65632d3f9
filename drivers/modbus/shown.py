"""The plan of a connection as `lineside check --plan` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge import ReadPlan

from .address import BITS
from .plan import Plan


def shown_plan(url: str, plan: Plan, tags: int, learned: Sequence[str] = ()) -> ReadPlan:
    """`tags`: how many of the plan's items are tags; the others are device times. Single bits (coils, discrete inputs) are
    counted like registers."""
    rows = [_row(plan, index, tags) for index in range(len(plan.requests))]
    several = len({row["every"] for row in rows}) > 1
    bridged = sum(row["bridged"] for row in rows)
    head = f"{url}: requests: {len(rows)}; one request per tag would be {tags}; read: {plan.words}, {bridged} of them bridged"
    lines = [head, *(_line(row, several) for row in rows), *(f"  learned: {line}" for line in learned)]
    facts = {
        "url": url,
        "tags": tags,
        "requests": len(rows),
        "registers_per_request": [row["registers"] for row in rows],
        "bridged_registers": bridged,
        "one_request_per_tag": tags,
        "plan": rows,
        "learned": list(learned),
    }
    return ReadPlan(lines, facts)


def _row(plan: Plan, index: int, tags: int) -> dict[str, Any]:
    request, members = plan.requests[index], plan.members(index)
    used = {number for i in members for number in range(*plan.items[i].span)}
    return {
        "unit": request.unit,
        "table": request.table,
        "first": request.start,
        "last": request.start + request.count - 1,
        "registers": request.count,
        "bridged": request.count - len(used),
        "tags": sum(i < tags for i in members),
        "every": request.every,
    }


def _line(row: dict[str, Any], several: bool) -> str:
    """`several`: there are several periods."""
    what = "bits" if row["table"] in BITS else "registers"
    bridged = f", {row['bridged']} bridged" if row["bridged"] else ""
    every = f", every {row['every']:g} s" if several else ""
    place = f"unit {row['unit']} {row['table']}:{row['first']}..{row['last']}"
    return f"  {place:<32} {row['registers']:>4} {what}{bridged}, tags: {row['tags']}{every}"
