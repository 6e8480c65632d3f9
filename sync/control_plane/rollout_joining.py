"""Devices become part of a rollout: at its beginning, and those that are enrolled later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update

from . import tables
from .database import among, insert_new
from .model_stages import is_retired
from .rollout_options import FilterOptions
from .rollout_plan import ASKED, GONE, OVER, WAITS, place
from .rollout_wants import AT_ONCE, want
from .rollouts import DONE, ENDED, PAUSED, PLANNING, RUNNING, Rollout, fits, locked, planned, rollouts, step, turn

D, R, W = tables.rollout_device, tables.rollout, tables.want


def enter(connection: Connection, rollout: Rollout, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Devices become part of a rollout, and what an older one has not begun with them is over; returns of which that changes what
    is wanted."""
    insert_new(connection, D, list(rows))
    devices, asked = [row["device"] for row in rows], list[tuple[str, str]]()
    for number in _older(connection, rollout):
        # a device at a time by its key: with the state as a column SQLite would look through all that wait
        those = [D.c.rollout == number, among(connection, D.c.device, devices), (D.c.state + "").in_((WAITS, ASKED))]
        mine = (W.c.device == D.c.device, W.c.kind == rollout.kind, W.c.name == rollout.name, W.c.rollout == number)
        theirs = select(D.c.device, D.c.before).where(
            *those, D.c.state == ASKED, select(W.c.device).where(*mine).exists()
        )
        asked += [row._tuple() for row in connection.execute(theirs)]
        over = {"state": OVER, "why": f"rollout {rollout.number} took its place"}
        connection.execute(update(D).where(*those).values(over))
    want(connection, rollout, asked, "run")
    return [device for device, _ in asked]


def _older(connection: Connection, rollout: Rollout) -> list[int]:
    """Rollouts of the same thing that have devices which have not begun."""
    left = select(D.c.device).where(D.c.rollout == R.c.number, D.c.state.in_((WAITS, ASKED))).exists()
    same = (R.c.kind == rollout.kind, R.c.name == rollout.name, R.c.number < rollout.number)
    return list(connection.scalars(select(R.c.number).where(*same, left)))


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


def giving(connection: Connection) -> list[tuple[Rollout, list[FilterOptions]]]:
    """Rollouts that give to who is enrolled later, where nobody has retired their version since; each with the devices of those of
    the same thing that are newer, and come first."""
    newer: dict[tuple[str, str], list[FilterOptions]] = {}
    out = []
    for rollout in reversed(rollouts(connection, R.c.state != ENDED)):
        others = newer.setdefault((rollout.kind, rollout.name), [])
        gives = rollout.plan.late and rollout.version and rollout.sizes and rollout.state in (RUNNING, PAUSED, DONE)
        if gives and not rollout.kept and rollout.plan.devices not in others:
            out += [] if is_retired(connection, *rollout.plan.parted) else [(rollout, [*others])]
        others.append(rollout.plan.devices)
    return out


def newcomers(connection: Connection) -> list[tuple[Rollout, list[tuple[str, str]]]]:
    """(device, site) of those that were enrolled after a rollout was planned, and fit, also anew after they were revoked: with the
    newest rollout of a thing that they fit."""
    t, out = tables.device, []
    for rollout, others in giving(connection):
        part = (D.c.rollout == rollout.number, D.c.device == t.c.id, D.c.state != GONE)
        known = select(D.c.device).where(*part).exists()
        mine = (t.c.enrolled > rollout.created, fits(rollout.plan.devices, connection), ~known)
        late = select(t.c.id, t.c.site).where(*mine, *(~fits(other, connection) for other in others))
        if rows := [row._tuple() for row in connection.execute(late.limit(AT_ONCE))]:
            out.append((rollout, rows))
    return out


def join(connection: Connection) -> None:
    """They become part of its last wave."""
    for rollout, devices in newcomers(connection):
        last = len(rollout.sizes) - 1
        rows = [row_of(rollout, d, site, place(rollout.number, d), last, rollout.version) for d, site in devices]
        anew = (D.c.rollout == rollout.number, among(connection, D.c.device, [device for device, _ in devices]))
        connection.execute(delete(D).where(*anew))
        insert_new(connection, D, [row | {"late": True} for row in rows])
        named = ", ".join(device for device, _ in devices[:5])
        step(connection, rollout, "joined", f"{len(rows)} enrolled since then: {named}", devices=len(rows))
