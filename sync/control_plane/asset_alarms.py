"""Which alarms are about an asset: those whose condition or reasons name a tag of it; of an asset without a beginning of names all
of its device."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, select

from edge import ExpressionFault, compile_expression

from . import tables
from .assets import reads

MOST = 200  # alarms of a device that are looked at


def alarms_of(
    connection: Connection, row: RowMapping, narrow: Callable[[Any], list[ColumnElement[bool]]]
) -> list[dict[str, Any]]:
    """Those that stand (raised, not acknowledged, or shelved), as /api/alarms has them."""
    t, now = tables.alarm, time.time_ns()
    if not reads(connection, row):
        return []
    stands = t.c.active | ~t.c.acked | (t.c.shelved_until > now)
    own = select(t).where(t.c.device == row["device"], stands, *narrow(t.c.device))
    found = connection.execute(own.order_by(t.c.active.desc(), t.c.since.desc()).limit(MOST)).mappings()
    return [
        {**alarm, "shelved": alarm["shelved_until"] > now}
        for alarm in found.all()
        if of_asset(connection, row, alarm["key"])
    ]


def of_asset(connection: Connection, row: RowMapping, key: str) -> bool:
    """Whether an alarm of the asset's device is about it."""
    return not row["tags"] or any(begins(tag, row["tags"]) for tag in named(connection, row["device"], key))


def begins(tag: str, start: str) -> bool:
    return tag == start or tag.startswith(f"{start.rstrip('.')}.")


def named(connection: Connection, device: str, key: str) -> set[str]:
    """The tags that an alarm named when it was raised last."""
    e = tables.event
    raised = (e.c.device == device, e.c.kind == "alarm", e.c.state == "raised", e.c.key == key)
    own = select(e.c.data).where(*raised).order_by(e.c.ts.desc(), e.c.seq.desc()).limit(1)
    data = json.loads(connection.scalar(own) or "{}")  # what a device says
    if not isinstance(data, dict):
        return set()
    reasons = data.get("reasons")
    tags = {str(one.get("tag")) for one in reasons if isinstance(one, dict)} if isinstance(reasons, list) else set()
    with contextlib.suppress(ExpressionFault):
        tags |= set(compile_expression(str(data.get("when", ""))[:2000]).names)
    return tags
