"""What a rollout wants of its devices: asked, asked no more, asked to go back. Each of these in a look's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, select, update

from . import tables, twin
from .database import among
from .rollout_plan import ASKED, BACK, FAILED, GOOD, OVER, TRYING, WAITS, WATCHED
from .rollouts import Rollout
from .tree import is_below
from .twin import Want

AT_ONCE, MANY = 2000, 10_000  # devices in one transaction; where it is urgent
OTHERWISE = "something else is wanted of it by now"
D, R, T, W = tables.rollout_device, tables.rollout, tables.told_twin, tables.want


def release(connection: Connection, rollout: Rollout, now: float) -> list[str]:
    """Ask as many devices of the open waves as may begin now; returns them."""
    mine = D.c.rollout == rollout.number
    recent = select(func.count()).select_from(D).where(mine, D.c.asked > now - 60, D.c.state != WAITS)
    room = min(AT_ONCE, rollout.plan.per_minute - connection.execute(recent).scalar_one())
    if room <= 0:
        return []
    chosen = _next(connection, rollout, room)
    wanted, told = (_of(connection, table, rollout, [device for device, _ in chosen]) for table in (W, T))
    stage, ask, there = rollout.plan.stage, list[tuple[str, str]](), list[str]()
    before: dict[str, str] = {}
    for device, version in chosen:
        w, t = wanted.get(device), told.get(device)
        before[device] = t.running if t and t.running else w.version if w else ""
        same = w is not None and (w.version, w.stage) == (version, stage)
        if w and same and t and t.generation >= w.generation and t.state == ("running" if stage == "run" else stage):
            there.append(device)
        else:
            ask.append((device, version))
    generation = want(connection, rollout, ask, stage)
    values = {"asked": now, "generation": generation, "told": "", "why": "", "state": ASKED, "late": False}
    values |= {"began": 0.0, "ended": 0.0, "began_ts": 0}
    if rows := [{"of": rollout.number, "who": device, "had": before[device]} for device, _ in ask]:
        of = (D.c.rollout == bindparam("of"), D.c.device == bindparam("who"))
        connection.execute(update(D).where(*of).values(before=bindparam("had"), **values), rows)
    change(connection, ((rollout.number, device) for device in there), state=GOOD, why="it ran already")
    return [device for device, _ in ask]


def _next(connection: Connection, rollout: Rollout, room: int) -> list[tuple[str, str]]:
    """Who is next, and gets which version: by wave and place, no more than `per_site` at a site, nobody who is at something of
    this kind."""
    mine = D.c.rollout == rollout.number
    other, its = D.alias("other"), R.alias("its")
    busy = select(other.c.device).join(its, its.c.number == other.c.rollout)
    busy = busy.where(other.c.device == D.c.device, other.c.state == TRYING, its.c.kind == rollout.kind)
    those = (mine, D.c.state == WAITS, D.c.wave <= rollout.wave, ~busy.exists(), *at_its_site(rollout))
    columns = (D.c.device, D.c.version)
    if not rollout.plan.per_site:
        chosen = select(*columns).where(*those).order_by(D.c.wave, D.c.place)
        return [row._tuple() for row in connection.execute(chosen.limit(room))]
    under = (mine, D.c.state.in_((ASKED, TRYING)), ~D.c.late)
    now = select(D.c.site, func.count().label("n")).where(*under).group_by(D.c.site).subquery()
    nth = func.row_number().over(partition_by=D.c.site, order_by=(D.c.wave, D.c.place))
    lined = select(*columns, D.c.site, D.c.wave, D.c.place, nth.label("nth")).where(*those).subquery()
    free = rollout.plan.per_site - func.coalesce(now.c.n, 0)
    chosen = select(lined.c.device, lined.c.version).join(now, now.c.site == lined.c.site, isouter=True)
    chosen = chosen.where(lined.c.nth <= free).order_by(lined.c.wave, lined.c.place)
    return [row._tuple() for row in connection.execute(chosen.limit(room))]


def at_its_site(rollout: Rollout) -> list[ColumnElement[bool]]:
    """Of its devices those that stand where it says: one that was moved is not asked for anything more by it, for it may be another
    tenant's."""
    t, site = tables.device, rollout.plan.devices.site
    return [select(t.c.id).where(t.c.id == D.c.device, is_below(t.c.site, (site,))).exists()] if site else []


def _of(connection: Connection, table: Any, rollout: Rollout, devices: Sequence[str]) -> dict[str, Row[Any]]:
    """Rows of a table of the twin about what this rollout is of, by device."""
    mine = (table.c.kind == rollout.kind, table.c.name == rollout.name, among(connection, table.c.device, devices))
    return {row.device: row for row in connection.execute(select(table).where(*mine))}


def want(connection: Connection, rollout: Rollout, wants: Sequence[tuple[str, str]], stage: str) -> int:
    """Want a version of each of these (device, version), and a new try of it; the generation of that."""
    by, of = f"rollout {rollout.number}", (rollout.kind, rollout.name)
    made = [Want(device, *of, version, stage, by, rollout.number) for device, version in wants]
    return twin.want(connection, made, again=True)


def withdraw(connection: Connection, rollout: Rollout) -> list[str]:
    """Who has not begun is asked no more; returns of which that changes what is wanted."""
    rows = _ours(connection, rollout, D.c.state == ASKED, most=MANY)
    want(connection, rollout, rows, "run")
    change(connection, ((rollout.number, device) for device, _ in rows), state=WAITS, late=False)
    return [device for device, _ in rows]


def go_back(connection: Connection, rollout: Rollout, now: float) -> list[str]:
    """Who has begun is asked to go back to what it had, as many as go into one transaction; returns them."""
    asked = withdraw(connection, rollout)
    begun = (D.c.state.in_((TRYING, WATCHED, GOOD, FAILED)), D.c.generation > 0, *at_its_site(rollout))
    if rows := _ours(connection, rollout, *begun):
        generation = want(connection, rollout, rows, "run")
        values = {"state": BACK, "asked": now, "late": False, "told": "", "generation": generation}
        change(connection, ((rollout.number, device) for device, _ in rows), **values)
    return asked + [device for device, _ in rows]


def _ours(
    connection: Connection, rollout: Rollout, *where: ColumnElement[bool], most: int = AT_ONCE
) -> list[tuple[str, str]]:
    """(device, what it had before) of those of whom still nobody else wants anything; with the others it is over."""
    wanted = select(D.c.device, D.c.before).where(D.c.rollout == rollout.number, *where).limit(most)
    rows = [row._tuple() for row in connection.execute(wanted)]
    wants = _of(connection, W, rollout, [device for device, _ in rows])
    gone = {device for device, w in wants.items() if w.rollout != rollout.number}
    change(connection, ((rollout.number, device) for device in gone), state=OVER, why=OTHERWISE)
    return [row for row in rows if row[0] not in gone]


def change(connection: Connection, devices: Iterable[tuple[int, str]], **values: Any) -> None:
    """Where these (rollout, device) stand."""
    rows = [{"of": number, "who": device} for number, device in devices]
    if rows:
        of = (D.c.rollout == bindparam("of"), D.c.device == bindparam("who"))
        connection.execute(update(D).where(*of).values(values), rows)
