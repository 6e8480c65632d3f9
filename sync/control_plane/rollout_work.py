"""Rollouts at work: one duty of the plane's worker looks every two seconds what devices have told, and does what is next.

Everything of one look goes in one transaction: where each device stands, what is wanted of it now, and the events that say so. So a
kill between two looks loses nothing and asks for nothing twice. A look goes by what is in the database and never by what it
remembers, so it does not matter which process does it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, func, select, update

from edge import SECOND

from . import tables, twin
from .alert_state import within
from .database import among, insert_new
from .live import Hub
from .own import PLANE
from .repeat import repeat
from .rollout_health import heard_again, ill
from .rollout_plan import (
    ASKED,
    BACK,
    FAILED,
    GONE,
    GOOD,
    OVER,
    RETURNED,
    STUCK,
    TRYING,
    WAITS,
    WATCHED,
    Breach,
    breach,
    lacks,
    picked,
    place,
    stand,
)
from .rollouts import (
    AT_WORK,
    DONE,
    ENDED,
    GOING_BACK,
    HALTED,
    PAUSED,
    PLANNING,
    RUNNING,
    Rollout,
    calm,
    counted,
    fits,
    locked,
    planned,
    rollouts,
    step,
    turn,
)
from .store import Store
from .twin import Want

EVERY, SELDOM = 2.0, 30.0  # seconds between looks, and between those at what is hardly at work any more
SHARE = 0.1  # of the time at most is spent looking
AT_ONCE = 2000  # devices in one transaction
D, R, T, W = tables.rollout_device, tables.rollout, tables.told_twin, tables.want


@dataclass
class Done:
    """What one look at one rollout did: `asked` are devices that may be told to ask, `more` that there is more at once."""

    asked: list[str] = field(default_factory=list)
    told: bool = False
    more: bool = False


class Rollouts:
    """`nudge` tells devices that something is wanted of them."""

    def __init__(self, store: Store, hub: Hub, nudge: Callable[[Iterable[str]], None]) -> None:
        self._store, self._hub, self._nudge = store, hub, nudge
        self._seldom = self._rest = 0.0

    async def run(self) -> None:
        """Until cancelled."""

        async def work() -> None:
            if time.monotonic() < self._rest:
                return
            began = time.monotonic()
            while await self.look(time.time()):
                await asyncio.sleep(0)
            self._rest = time.monotonic() + (time.monotonic() - began) * (1 / SHARE - 1)

        await repeat(work, EVERY, "rollouts wait")

    async def look(self, now: float) -> bool:
        """Do what is to be done at `now` (s UTC) for each rollout; whether there is more at once."""
        states: tuple[str, ...] = AT_WORK
        more = False
        if seldom := now - self._seldom >= SELDOM or now < self._seldom:
            self._seldom, states = now, (*AT_WORK, DONE, ENDED)
            await self._store.write(lambda c: join(c))
        for rollout in await self._store.read(lambda c: rollouts(c, R.c.state.in_(states))):
            if rollout.state == PLANNING:
                await self._plan(rollout)
                more = True
                continue
            done = await self._store.write(lambda c, r=rollout: look(c, r.number, now, seldom))  # type: ignore[misc]
            self._nudge(done.asked)
            if done.told:
                self._hub.tell({"kind": "events", "device": PLANE})
            more |= done.more
        return more

    async def _plan(self, rollout: Rollout) -> None:
        """Spread the devices over the waves. One that was killed in the middle of it begins anew."""
        t = tables.device
        fit = select(t.c.id, t.c.site)
        rows = await self._store.read(lambda c: c.execute(fit.where(fits(rollout.plan.devices, c))).all())
        chosen = await asyncio.to_thread(
            picked, [(row.id, row.site) for row in rows], rollout.number, rollout.plan.waves
        )
        await self._store.write(lambda c: c.execute(delete(D).where(D.c.rollout == rollout.number)))
        for k in range(0, len(chosen), AT_ONCE):
            some = chosen[k : k + AT_ONCE]
            self._nudge(await self._store.write(lambda c, s=some: enter(c, rollout, s)))  # type: ignore[misc]
        await self._store.write(lambda c: begin(c, rollout.number, len(chosen)))
        self._hub.tell({"kind": "events", "device": PLANE})


# Planning


def enter(connection: Connection, rollout: Rollout, chosen: Sequence[tuple[str, str, int, int]]) -> list[str]:
    """Devices become part of a rollout, and what an older one has not begun with them is over; returns of which that changes what
    is wanted."""
    insert_new(connection, D, [_row(rollout, *one) for one in chosen])
    own = (R.c.number == D.c.rollout, R.c.kind == rollout.kind, R.c.name == rollout.name, D.c.rollout < rollout.number)
    older = select(D.c.rollout, D.c.device, D.c.before, D.c.state).join(R, and_(*own))
    older = older.where(among(connection, D.c.device, (one[0] for one in chosen)), D.c.state.in_((WAITS, ASKED)))
    rows = connection.execute(older).all()
    asked = [row for row in rows if row.state == ASKED]
    want(connection, rollout, [(row.device, row.before) for row in asked], "run")
    why = f"rollout {rollout.number} took its place"
    _change(connection, ((row.rollout, row.device) for row in rows), state=OVER, why=why)
    return [row.device for row in asked]


def _row(rollout: Rollout, device: str, site: str, at: int, wave: int) -> dict[str, Any]:
    row: dict[str, Any] = {"rollout": rollout.number, "device": device, "place": at, "wave": wave, "site": site}
    row |= {"state": WAITS, "late": False, "hit": "", "version": rollout.version, "before": "", "told": "", "why": ""}
    return row | {"asked": 0.0, "began": 0.0, "ended": 0.0, "began_ts": 0, "generation": 0}


def begin(connection: Connection, number: int, total: int) -> None:
    """Everything is planned."""
    rollout = locked(connection, number)
    if rollout is None or rollout.state != PLANNING:
        return
    waves = planned(rollout, total)
    after = turn(connection, rollout, RUNNING, "", sizes=json.dumps(waves))
    step(
        connection,
        after,
        "planned",
        f"{total} devices in waves of {', '.join(map(str, waves))}",
        devices=total,
        waves=waves,
    )


def join(connection: Connection) -> None:
    """Devices that were enrolled after a rollout was planned, and fit, become part of its last wave: of the newest rollout of a
    thing that they fit, if that gives to late ones."""
    t = tables.device
    newer: dict[tuple[str, str], list[ColumnElement[bool]]] = {}
    for rollout in reversed(rollouts(connection, R.c.state != ENDED)):
        fit = fits(rollout.plan.devices, connection)
        others = newer.setdefault((rollout.kind, rollout.name), [])
        if rollout.plan.late and rollout.sizes and rollout.state in (RUNNING, PAUSED, DONE):
            known = select(D.c.device).where(D.c.rollout == rollout.number, D.c.device == t.c.id).exists()
            late = select(t.c.id, t.c.site).where(
                t.c.enrolled > rollout.created, fit, ~known, *(~one for one in others)
            )
            last = len(rollout.sizes) - 1
            rows = [
                _row(rollout, row.id, row.site, place(rollout.number, row.id), last) | {"late": True}
                for row in connection.execute(late.limit(AT_ONCE))
            ]
            insert_new(connection, D, rows)
            if rows:
                named = ", ".join(row["device"] for row in rows[:5])
                step(connection, rollout, "joined", f"{len(rows)} enrolled since then: {named}", devices=len(rows))
        others.append(fit)


# One look at one rollout


def look(connection: Connection, number: int, now: float, seldom: bool = True) -> Done:
    """Do for one rollout what is to be done at `now` (s UTC). In the writer's transaction."""
    rollout, done = locked(connection, number), Done()
    if rollout is None or rollout.state == PLANNING:
        return done
    done.more = follow(connection, rollout, now)
    overtaken(connection, rollout)
    for one in ill(connection, rollout, now, seldom):
        _change(connection, [(number, one.device)], hit=one.hit, why=one.why)
    heard_again(connection, rollout, now)
    settle(connection, rollout, now)
    if rollout.state in (RUNNING, PAUSED, DONE) and (found := breach(counted(connection, rollout), rollout.plan.gates)):
        rollout = stop(connection, rollout, found)
        done.told = True
    if rollout.state in (RUNNING, DONE):
        go_on(connection, rollout, now, done)
    elif rollout.state == HALTED:
        done.asked += withdraw(connection, rollout)
    elif rollout.state == GOING_BACK:
        go_back(connection, rollout, now, done)
    done.more |= len(done.asked) >= AT_ONCE
    return done


def stop(connection: Connection, rollout: Rollout, found: Breach) -> Rollout:
    """Halt before anything else; then go back, where that is the plan."""
    text = found.words()
    rollout = turn(connection, rollout, HALTED, text)
    step(connection, rollout, "halted", text, "high", gate=found.gate, found=found.found, of=found.of, wave=found.wave)
    if rollout.plan.at_breach == "back":
        rollout = turn(connection, rollout, GOING_BACK, text)
        step(connection, rollout, "going_back", f"each device goes back to what it had: {text}")
    return rollout


def follow(connection: Connection, rollout: Rollout, now: float) -> bool:
    """Take what devices have told since the last look; whether there is more."""
    ended = rollout.state in (DONE, ENDED)
    followed = (ASKED, TRYING, WATCHED, BACK) if ended else (WAITS, ASKED, TRYING, WATCHED, GOOD, FAILED, BACK)
    same = [T.c.device == D.c.device, T.c.kind == rollout.kind, T.c.name == rollout.name]
    same += [T.c.generation == D.c.generation]
    columns = (D.c.device, D.c.state, D.c.began, D.c.before, D.c.hit, D.c.generation)
    told = (T.c.state.label("told"), T.c.running, T.c.reason, T.c.ts)
    wanted = select(*columns, *told).join(T, and_(*same))
    wanted = wanted.where(
        D.c.rollout == rollout.number, D.c.state.in_(followed), D.c.generation > 0, T.c.state != D.c.told
    )
    rows = connection.execute(wanted.limit(AT_ONCE)).all()
    for row in rows:
        after = _after(connection, rollout, row, now)
        _change(connection, [(rollout.number, row.device)], told=row.told, **after)
    return len(rows) == AT_ONCE


def _after(connection: Connection, rollout: Rollout, row: Any, now: float) -> dict[str, Any]:
    """What that means for where a device stands."""
    why = row.reason[:500]
    if row.state == BACK:
        said = {} if row.hit else {"why": why}  # what was found of it is the better reason
        ended = row.told in ("rolled_back", "refused")
        if row.told in ("running", "shadow") or (ended and row.running == row.before):
            return said | {"state": RETURNED, "ended": now}
        return {"state": STUCK, "ended": now, "why": why} if ended else said
    if row.told == "waiting":
        return {"why": why} | ({"state": ASKED} if row.state == TRYING else {})
    began: dict[str, Any] = {}
    if not row.began:
        began = {"began": now, "began_ts": row.ts if row.told == "trying" else _first(connection, rollout, row)}
    if row.told == "trying":
        return began | ({"state": TRYING, "why": why} if row.state in (WAITS, ASKED) else {})
    if row.told in ("running", "shadow"):
        kept = {"hit": ""} if row.hit == "failed" else {}
        return began | kept | {"state": WATCHED, "ended": now, "why": why}
    return began | {"state": FAILED, "hit": row.hit or "failed", "ended": now, "why": why}


def _first(connection: Connection, rollout: Rollout, row: Any) -> int:
    """When a device began, by its own clock, where the first that was seen of it was the end."""
    e = tables.event
    mine = (e.c.device == row.device, e.c.kind == "twin", e.c.key == f"{rollout.kind}/{rollout.name}", e.c.ts <= row.ts)
    told = connection.execute(select(e.c.ts, e.c.data).where(*mine).order_by(e.c.ts.desc(), e.c.seq.desc()).limit(20))
    times = [ts for ts, data in told if json.loads(data).get("generation") == row.generation]
    return min(times, default=row.ts)


def overtaken(connection: Connection, rollout: Rollout) -> None:
    """Somebody else wants something else of a device by now."""
    same = (W.c.device == D.c.device, W.c.kind == rollout.kind, W.c.name == rollout.name)
    newer = select(W.c.device).where(*same, W.c.generation > D.c.generation, W.c.rollout != rollout.number).exists()
    those = (D.c.rollout == rollout.number, D.c.state == ASKED, newer)
    connection.execute(update(D).where(*those).values(state=OVER, why="something else is wanted of it by now"))
    t = tables.device
    revoked = select(t.c.id).where(t.c.id == D.c.device, t.c.revoked > 0).exists()
    those = (D.c.rollout == rollout.number, D.c.state.in_((WAITS, ASKED, BACK)), revoked)
    connection.execute(update(D).where(*those).values(state=GONE, why="it was revoked"))


def settle(connection: Connection, rollout: Rollout, now: float) -> None:
    """What time alone decides."""
    plan, mine = rollout.plan, D.c.rollout == rollout.number
    soaked = (mine, D.c.state == WATCHED, D.c.ended <= now - plan.soak)
    connection.execute(update(D).where(*soaked, D.c.hit == "").values(state=GOOD))
    connection.execute(update(D).where(*soaked, D.c.hit != "").values(state=FAILED))
    long = (mine, D.c.state == TRYING, D.c.began <= now - plan.attempt)
    why = f"it began, and had not ended after {plan.attempt / 60:.0f} minutes"
    connection.execute(update(D).where(*long).values(state=FAILED, hit="failed", ended=now, why=why))
    away = (mine, D.c.state.in_((ASKED, BACK)), ~D.c.late, D.c.asked <= now - plan.patience)
    connection.execute(update(D).where(*away).values(late=True))


def go_on(connection: Connection, rollout: Rollout, now: float, done: Done) -> None:
    """Ask the next devices, and open the next wave when this one is over."""
    if rollout.plan.hours and not within(rollout.plan.hours, round(now * SECOND)):
        done.asked += withdraw(connection, rollout)
    else:
        done.asked += release(connection, rollout, now)
    if rollout.state == DONE or not rollout.sizes:
        return
    last = rollout.wave >= len(rollout.sizes) - 1
    lacking = lacks(stand(counted(connection, rollout), rollout.wave), rollout.sizes[rollout.wave])
    if lacking is None:
        return
    if lacking and not last and (moved := _move(connection, rollout, lacking)):
        text = f"{moved} devices of later waves take the places of those in wave {rollout.wave + 1} that are not heard"
        step(connection, rollout, "filled", text, wave=rollout.wave, devices=moved)
    elif last:
        after = turn(connection, rollout, DONE, "")
        step(connection, after, "done", _sum(connection, after))
        calm(connection, after, "done")
    else:
        text = f"wave {rollout.wave + 2} of {len(rollout.sizes)} is open"
        step(
            connection,
            turn(connection, rollout, RUNNING, "", wave=rollout.wave + 1),
            "wave",
            text,
            wave=rollout.wave + 1,
        )
    done.told = done.more = True


def _sum(connection: Connection, rollout: Rollout) -> str:
    states: dict[str, int] = {}
    for some, n in counted(connection, rollout).items():
        states[some.state] = states.get(some.state, 0) + n
    return ", ".join(f"{n} {state}" for state, n in sorted(states.items()))


def _move(connection: Connection, rollout: Rollout, many: int) -> int:
    """Devices of later waves into the open one."""
    later = (D.c.rollout == rollout.number, D.c.state == WAITS, D.c.wave > rollout.wave)
    chosen = connection.scalars(select(D.c.device).where(*later).order_by(D.c.wave, D.c.place).limit(many)).all()
    _change(connection, ((rollout.number, device) for device in chosen), wave=rollout.wave)
    return len(chosen)


def release(connection: Connection, rollout: Rollout, now: float) -> list[str]:
    """Ask as many devices of the open waves as may begin now; returns them."""
    mine = D.c.rollout == rollout.number
    recent = select(func.count()).select_from(D).where(mine, D.c.asked > now - 60, D.c.state != WAITS)
    room = min(AT_ONCE, rollout.plan.per_minute - connection.execute(recent).scalar_one())
    if room <= 0:
        return []
    chosen = _next(connection, rollout, room)
    wanted, told = (_of(connection, table, rollout, chosen) for table in (W, T))
    ask, again, there = list[tuple[str, str]](), list[str](), list[str]()
    before: dict[str, str] = {}
    stage = rollout.plan.stage
    for device in chosen:
        w, t = wanted.get(device), told.get(device)
        before[device] = t.running if t and t.running else w.version if w else ""
        if w and (w.version, w.stage) == (rollout.version, stage):
            ran = t is not None and t.generation >= w.generation and t.state == ("running" if stage == "run" else stage)
            (there if ran else again).append(device)
        if device not in there:
            ask.append((device, rollout.version))
    want(connection, rollout, [(device, "") for device in again], stage)  # it has another generation then
    generation = want(connection, rollout, ask, stage)
    change = {"asked": now, "generation": generation, "told": "", "why": "", "state": ASKED, "late": False}
    rows = [{"of": rollout.number, "who": device, "had": before[device]} for device, _ in ask]
    if rows:
        of = (D.c.rollout == bindparam("of"), D.c.device == bindparam("who"))
        connection.execute(update(D).where(*of).values(before=bindparam("had"), **change), rows)
    _change(connection, ((rollout.number, device) for device in there), state=GOOD, why="it ran already")
    return [device for device, _ in ask]


def _next(connection: Connection, rollout: Rollout, room: int) -> list[str]:
    """Who is next: by wave and place, not more than `per_site` at a site, and nobody who is at something of this kind."""
    mine = D.c.rollout == rollout.number
    other, its = D.alias("other"), R.alias("its")
    busy = select(other.c.device).join(its, its.c.number == other.c.rollout)
    busy = busy.where(other.c.device == D.c.device, other.c.state == TRYING, its.c.kind == rollout.kind)
    those = (mine, D.c.state == WAITS, D.c.wave <= rollout.wave, ~busy.exists())
    if not rollout.plan.per_site:
        return list(connection.scalars(select(D.c.device).where(*those).order_by(D.c.wave, D.c.place).limit(room)))
    under = (mine, D.c.state.in_((ASKED, TRYING)), ~D.c.late)
    now = select(D.c.site, func.count().label("n")).where(*under).group_by(D.c.site).subquery()
    nth = func.row_number().over(partition_by=D.c.site, order_by=(D.c.wave, D.c.place))
    lined = select(D.c.device, D.c.site, D.c.wave, D.c.place, nth.label("nth")).where(*those).subquery()
    free = rollout.plan.per_site - func.coalesce(now.c.n, 0)
    chosen = select(lined.c.device).join(now, now.c.site == lined.c.site, isouter=True).where(lined.c.nth <= free)
    return list(connection.scalars(chosen.order_by(lined.c.wave, lined.c.place).limit(room)))


def _of(connection: Connection, table: Any, rollout: Rollout, devices: Sequence[str]) -> dict[str, Row[Any]]:
    """Rows of a table of the twin about what this rollout is of, by device."""
    mine = (table.c.kind == rollout.kind, table.c.name == rollout.name, among(connection, table.c.device, devices))
    return {row.device: row for row in connection.execute(select(table).where(*mine))}


def want(connection: Connection, rollout: Rollout, wants: Sequence[tuple[str, str]], stage: str) -> int:
    """Want a version of each of these (device, version); the generation of that."""
    by = f"rollout {rollout.number}"
    return twin.want(
        connection,
        [Want(device, rollout.kind, rollout.name, version, stage, by, rollout.number) for device, version in wants],
    )


def withdraw(connection: Connection, rollout: Rollout) -> list[str]:
    """Who has not begun is asked no more; returns of which that changes what is wanted."""
    asked = select(D.c.device, D.c.before).where(D.c.rollout == rollout.number, D.c.state == ASKED).limit(AT_ONCE)
    rows = [row._tuple() for row in connection.execute(asked)]
    if rows:
        want(connection, rollout, rows, "run")
        _change(connection, ((rollout.number, device) for device, _ in rows), state=WAITS, late=False)
    return [device for device, _ in rows]


def go_back(connection: Connection, rollout: Rollout, now: float, done: Done) -> None:
    """Who has begun is asked to go back to what it had; the rollout has ended when nobody is waited for any more."""
    done.asked += withdraw(connection, rollout)
    mine = D.c.rollout == rollout.number
    same = (W.c.device == D.c.device, W.c.kind == rollout.kind, W.c.name == rollout.name)
    begun = (mine, D.c.state.in_((TRYING, WATCHED, GOOD, FAILED)), D.c.generation > 0)
    asked = select(D.c.device, D.c.before, W.c.rollout).join(W, and_(*same)).where(*begun)
    rows = connection.execute(asked.limit(AT_ONCE)).all()
    gone = [row.device for row in rows if row.rollout != rollout.number]
    ours = [(row.device, row.before) for row in rows if row.rollout == rollout.number]
    _change(
        connection,
        ((rollout.number, device) for device in gone),
        state=OVER,
        why="something else is wanted of it by now",
    )
    if ours:
        generation = want(connection, rollout, ours, "run")
        change = {"state": BACK, "asked": now, "late": False, "told": "", "generation": generation}
        _change(connection, ((rollout.number, device) for device, _ in ours), **change)
        done.asked += [device for device, _ in ours]
    if rows or done.asked:
        done.more = True
        return
    if not connection.execute(select(D.c.device).where(mine, D.c.state == BACK, ~D.c.late).limit(1)).first():
        after = turn(connection, rollout, ENDED, rollout.reason)
        step(connection, after, "returned", _sum(connection, after))
        calm(connection, after, "taken back")
        done.told = True


def _change(connection: Connection, devices: Iterable[tuple[int, str]], **values: Any) -> None:
    rows = [{"of": number, "who": device} for number, device in devices]
    if rows:
        of = (D.c.rollout == bindparam("of"), D.c.device == bindparam("who"))
        connection.execute(update(D).where(*of).values(values), rows)
