"""Devices become part of a rollout: at its beginning, and those that are enrolled later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select

from . import tables
from .database import among, insert_new
from .rollout_plan import ASKED, OVER, WAITS, place
from .rollout_wants import AT_ONCE, change, want
from .rollouts import DONE, ENDED, PAUSED, PLANNING, RUNNING, Rollout, fits, locked, planned, rollouts, step, turn

D, R, W = tables.rollout_device, tables.rollout, tables.want


def enter(connection: Connection, rollout: Rollout, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Devices become part of a rollout, and what an older one has not begun with them is over; returns of which that changes what
    is wanted."""
    insert_new(connection, D, list(rows))
    own = (R.c.number == D.c.rollout, R.c.kind == rollout.kind, R.c.name == rollout.name, D.c.rollout < rollout.number)
    older = select(D.c.rollout, D.c.device, D.c.before).join(R, and_(*own))
    older = older.where(among(connection, D.c.device, (row["device"] for row in rows)), D.c.state.in_((WAITS, ASKED)))
    wants = (W.c.device == D.c.device, W.c.kind == rollout.kind, W.c.name == rollout.name, W.c.rollout == D.c.rollout)
    theirs = and_(D.c.state == ASKED, *wants)
    found = connection.execute(older.add_columns(select(W.c.device).where(theirs).exists().label("asked"))).all()
    asked = [(row.device, row.before) for row in found if row.asked]
    want(connection, rollout, asked, "run")
    why = f"rollout {rollout.number} took its place"
    change(connection, ((row.rollout, row.device) for row in found), state=OVER, why=why)
    return [device for device, _ in asked]


def row_of(rollout: Rollout, device: str, site: str, at: int, wave: int, version: str) -> dict[str, Any]:
    row: dict[str, Any] = {"rollout": rollout.number, "device": device, "place": at, "wave": wave, "site": site}
    row |= {"state": WAITS, "late": False, "hit": "", "version": version, "before": "", "told": "", "why": ""}
    return row | {"asked": 0.0, "began": 0.0, "ended": 0.0, "began_ts": 0, "generation": 0}


def begin(connection: Connection, number: int, total: int, left: Mapping[str, str]) -> None:
    """Everything is planned."""
    rollout = locked(connection, number)
    if rollout is None or rollout.state != PLANNING:
        return
    waves = planned(rollout, total)
    why = f"; {len(left)} left out, as {next(iter(left))}: {next(iter(left.values()))}" if left else ""
    if not total:
        step(
            connection,
            turn(connection, rollout, DONE, f"nobody gets it{why}"),
            "done",
            f"nobody gets it{why}",
            "medium",
        )
        return
    after = turn(connection, rollout, RUNNING, why.removeprefix("; "), sizes=json.dumps(waves))
    text = f"{total} devices in waves of {', '.join(map(str, waves))}{why}"
    step(connection, after, "planned", text, "medium" if left else "info", devices=total, waves=waves)


def join(connection: Connection) -> None:
    """Devices that were enrolled after a rollout was planned, and fit, become part of its last wave: of the newest rollout of a
    thing that they fit, if that gives to late ones."""
    t = tables.device
    newer: dict[tuple[str, str], list[ColumnElement[bool]]] = {}
    for rollout in reversed(rollouts(connection, R.c.state != ENDED)):
        fit = fits(rollout.plan.devices, connection)
        others = newer.setdefault((rollout.kind, rollout.name), [])
        if rollout.plan.late and rollout.version and rollout.sizes and rollout.state in (RUNNING, PAUSED, DONE):
            known = select(D.c.device).where(D.c.rollout == rollout.number, D.c.device == t.c.id).exists()
            late = select(t.c.id, t.c.site).where(
                t.c.enrolled > rollout.created, fit, ~known, *(~one for one in others)
            )
            last = len(rollout.sizes) - 1
            rows = [
                row_of(rollout, row.id, row.site, place(rollout.number, row.id), last, rollout.version) | {"late": True}
                for row in connection.execute(late.limit(AT_ONCE))
            ]
            insert_new(connection, D, rows)
            if rows:
                named = ", ".join(row["device"] for row in rows[:5])
                step(connection, rollout, "joined", f"{len(rows)} enrolled since then: {named}", devices=len(rows))
        others.append(fit)
