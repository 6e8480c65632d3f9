"""Rollouts at work: one duty of the plane's worker looks every two seconds what devices have told, and does what is next.

Everything of one look goes in one transaction: where each device stands, what is wanted of it now, and the events that say so. So a
kill between two looks loses nothing and asks for nothing twice. A look goes by what is in the database and never by what it
remembers, so it does not matter which process does it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, delete, select, update

from edge import SECOND

from . import config, tables
from .alert_state import within
from .live import Hub
from .own import PLANE
from .repeat import repeat
from .rollout_health import heard_again, ill
from .rollout_joining import begin, enter, join, newcomers, row_of
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
    Some,
    breach,
    in_words,
    lacks,
    picked,
    stand,
)
from .rollout_wants import AT_ONCE, OTHERWISE, at_its_site, change, go_back, release, withdraw
from .rollouts import (
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
    rollouts,
    step,
    turn,
)
from .store import Store

EVERY, SELDOM = 2.0, 30.0  # seconds between looks, and between those at what is hardly at work any more
SHARE = 0.1  # of the time is spent looking where that takes long
LONGEST_REST = 10.0  # seconds without a look
GAP = 60.0
AFRESH = 300.0  # seconds that devices have after that to be heard, before time alone decides anything
D, R, T, W = tables.rollout_device, tables.rollout, tables.told_twin, tables.want


@dataclass
class Done:
    """What one look at one rollout did: `asked` are devices that may be told to ask, `more` that there is more at once."""

    asked: list[str] = field(default_factory=list)
    told: bool = False
    more: bool = False


class Rollouts:
    """`nudge` tells devices that something is wanted of them. After `gap` seconds without a look the plane was away itself: stopped
    or asleep it has heard nobody, which says nothing of the devices."""

    def __init__(self, store: Store, hub: Hub, nudge: Callable[[Iterable[str]], None], gap: float = GAP) -> None:
        self._store, self._hub, self._nudge, self._gap = store, hub, nudge, gap
        self._seldom = self._rest = self._looked = self._since = 0.0

    async def run(self) -> None:
        """Until cancelled."""

        async def work() -> None:
            if time.monotonic() < self._rest:
                return
            more = True
            while more:
                began = time.monotonic()
                more = await self.look(time.time())
            took = time.monotonic() - began
            self._rest = time.monotonic() + rest(took)

        await repeat(work, EVERY, "rollouts wait")

    async def look(self, now: float) -> bool:
        """Do what is to be done at `now` (s UTC) for each rollout; whether there is more at once."""
        more = False
        if not 0 <= now - self._looked <= self._gap:
            self._since = now
        self._looked, since = now, self._since
        if seldom := now - self._seldom >= SELDOM or now < self._seldom:
            self._seldom = now
            if await self._store.read(newcomers):
                await self._store.write(join)
        for rollout in await self._store.read(lambda c: at_work(c, seldom)):
            if rollout.state == PLANNING:
                await self._plan(rollout)
                more = True
                continue
            done = await self._store.write(lambda c, r=rollout: look(c, r.number, now, seldom, since))  # type: ignore[misc]
            self._nudge(done.asked)
            if done.told:
                self._hub.tell({"kind": "events", "device": PLANE})
            more |= done.more
        return more

    async def _plan(self, rollout: Rollout) -> None:
        """Spread the devices over the waves. One that was killed in the middle of it begins anew."""
        t = tables.device
        fit = select(t.c.id, t.c["class"], t.c.site)
        rows = await self._store.read(lambda c: c.execute(fit.where(fits(rollout.plan.devices, c))).all())
        versions, left = await self._versions(rollout, rows)
        sites = [(row.id, row.site) for row in rows if row.id in versions]
        chosen = await asyncio.to_thread(picked, sites, rollout.number, rollout.plan.waves)
        await self._store.write(lambda c: c.execute(delete(D).where(D.c.rollout == rollout.number)))
        chosen.sort()  # rows that come in the order of their keys take half of the time
        for k in range(0, len(chosen), AT_ONCE):
            some = [row_of(rollout, *one, version=versions[one[0]]) for one in chosen[k : k + AT_ONCE]]
            self._nudge(await self._store.write(lambda c, s=some: enter(c, rollout, s)))  # type: ignore[misc]
        await self._store.write(lambda c: begin(c, rollout.number, len(chosen), left))
        self._hub.tell({"kind": "events", "device": PLANE})

    async def _versions(self, rollout: Rollout, devices: Sequence[Any]) -> tuple[dict[str, str], dict[str, str]]:
        """({device: version}, {device: why it gets none}). A configuration is that which the layers of each device make now."""
        if rollout.version:
            return dict.fromkeys((device.id for device in devices), rollout.version), {}
        found, left = dict[str, str](), dict[str, str]()
        for stack, names in (await self._store.read(lambda c: config.stacks(c, devices))).items():
            made = await config.beside(config.rendered, stack)
            if made.problems:
                left |= dict.fromkeys(names, made.problems[0])
                continue
            await self._store.write(lambda c, m=made: config.keep(c, [m]))  # type: ignore[misc]
            found |= dict.fromkeys(names, made.version)
        return found, left


def rest(took: float) -> float:
    """Seconds without a look after one that took so long: never so many that a halt comes late."""
    return min(LONGEST_REST, took * (1 / SHARE - 1))


def at_work(connection: Connection, seldom: bool = True) -> list[Rollout]:
    """The rollouts of which something may have to be done; `seldom`: also those that are done but for some devices."""
    ended = (DONE, ENDED) if seldom else ()
    moves = (D.c.rollout == R.c.number, D.c.state.in_((ASKED, TRYING, WATCHED, BACK)))
    waits = (D.c.rollout == R.c.number, D.c.state == WAITS)
    busy = R.c.state.in_((PAUSED, HALTED, *ended)) & select(D.c.device).where(*moves).exists()
    late = R.c.state.in_(ended) & (R.c.state == DONE) & select(D.c.device).where(*waits).exists()
    return rollouts(connection, R.c.state.in_((PLANNING, RUNNING, GOING_BACK)) | busy | late)


# One look at one rollout


def look(connection: Connection, number: int, now: float, seldom: bool = True, since: float = 0.0) -> Done:
    """Do for one rollout what is to be done at `now` (s UTC); `seldom`: also what takes long to see; `since` when the plane has
    listened. Within the writer."""
    rollout, done = locked(connection, number), Done()
    if rollout is None or rollout.state == PLANNING:
        return done
    done.more = follow(connection, rollout, now)
    if seldom:
        overtaken(connection, rollout)
        revoked(connection, rollout)
    for one in ill(connection, rollout, now, seldom, since):
        change(connection, [(number, one.device)], hit=one.hit, why=one.why)
    heard_again(connection, rollout, now)
    settle(connection, rollout, now, since)
    counts = counted(connection, rollout)
    if rollout.state in (RUNNING, PAUSED, DONE) and (found := breach(counts, rollout.plan.gates)):
        rollout = stop(connection, rollout, found)
        done.told = True
    if rollout.state in (RUNNING, DONE):
        go_on(connection, rollout, counts, now, done)
    elif rollout.state == HALTED:
        done.asked += withdraw(connection, rollout)
    elif rollout.state == GOING_BACK:
        asked = go_back(connection, rollout, now)
        done.asked += asked
        done.more |= bool(asked)
        done.told |= not asked and is_back(connection, rollout)
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
        change(connection, [(rollout.number, row.device)], told=row.told, **after)
    return len(rows) == AT_ONCE


def _after(connection: Connection, rollout: Rollout, row: Any, now: float) -> dict[str, Any]:
    """What that means for where a device stands."""
    why = row.reason[:500]
    if row.state == BACK:
        if row.told == "waiting":
            return {"why": f"it cannot go back yet: {why}"}
        said = {} if row.hit else {"why": why}  # what was found of it is the better reason
        ended = row.told in ("rolled_back", "refused")
        if row.told in ("running", "shadow") or (ended and row.running == row.before):
            return said | {"state": RETURNED, "ended": now}
        return {"state": STUCK, "ended": now, "why": why} if ended else said
    if row.state == WAITS and row.told in ("trying", "running", "shadow"):
        return {}  # it had begun when it was asked no more, and goes back for that
    if row.told == "waiting":
        return {"why": why} | ({"state": ASKED} if row.state == TRYING else {})
    began: dict[str, Any] = {}
    if not row.began:
        began = {"began": now, "began_ts": row.ts if row.told == "trying" else _first(connection, rollout, row)}
    if row.told == "trying":
        return began | ({"state": TRYING, "why": why} if row.state == ASKED else {})
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
    """Somebody else wants something else of a device by now, or it is at something newer already."""
    same = (W.c.device == D.c.device, W.c.kind == rollout.kind, W.c.name == rollout.name)
    newer = select(W.c.device).where(*same, W.c.generation > D.c.generation, W.c.rollout != rollout.number).exists()
    told = (T.c.device == D.c.device, T.c.kind == rollout.kind, T.c.name == rollout.name)
    passed = select(T.c.device).where(*told, T.c.generation > D.c.generation).exists()
    of = D.c.rollout == rollout.number
    those = (of, ((D.c.state == ASKED) & newer) | (D.c.state.in_((ASKED, TRYING)) & passed))
    connection.execute(update(D).where(*those).values(state=OVER, why=OTHERWISE))


def revoked(connection: Connection, rollout: Rollout) -> None:
    """Who is let in no more has no part in it; nor has who stands elsewhere by now, and is another tenant's maybe."""
    t = tables.device
    gone = D.c.device.in_(select(t.c.id).where(t.c.revoked > 0))
    those = (D.c.rollout == rollout.number, D.c.state.in_((WAITS, ASKED, BACK)), gone)
    connection.execute(update(D).where(*those).values(state=GONE, why="it was revoked"))
    for there in at_its_site(rollout):
        moved = (D.c.rollout == rollout.number, D.c.state == WAITS, ~there)
        connection.execute(update(D).where(*moved).values(state=GONE, why="it stands elsewhere now"))


def settle(connection: Connection, rollout: Rollout, now: float, since: float = 0.0) -> None:
    """What time alone decides, where the plane has listened for long enough to know."""
    plan, mine = rollout.plan, D.c.rollout == rollout.number

    def over(span: float) -> float:
        """What began before that has taken so long."""
        return now - span if now - since >= min(span, AFRESH) else 0.0

    soaked = (mine, D.c.state == WATCHED, D.c.ended <= over(plan.soak))
    connection.execute(update(D).where(*soaked, D.c.hit == "").values(state=GOOD))
    connection.execute(update(D).where(*soaked, D.c.hit != "").values(state=FAILED))
    long = (mine, D.c.state == TRYING, D.c.began <= over(plan.attempt))
    why = f"it began, and had not ended after {plan.attempt / 60:.0f} minutes"
    connection.execute(update(D).where(*long).values(state=FAILED, hit="failed", ended=now, why=why))
    away = (mine, D.c.state.in_((ASKED, BACK)), ~D.c.late, D.c.asked <= over(plan.patience))
    connection.execute(update(D).where(*away).values(late=True))


def go_on(connection: Connection, rollout: Rollout, counts: Mapping[Some, int], now: float, done: Done) -> None:
    """Ask the next devices, and open the next wave where this one was over before."""
    if rollout.plan.hours and not within(rollout.plan.hours, round(now * SECOND)):
        done.asked += withdraw(connection, rollout)
    elif any(some.state == WAITS and some.wave <= rollout.wave for some in counts):
        done.asked += release(connection, rollout, now)
    if rollout.state == DONE or not rollout.sizes:
        return
    last = rollout.wave >= len(rollout.sizes) - 1
    lacking = lacks(stand(counts, rollout.wave), rollout.sizes[rollout.wave])
    if lacking is None:
        return
    if lacking and not last and (moved := _move(connection, rollout, lacking)):
        text = f"{moved} devices of later waves take the places of those in wave {rollout.wave + 1} that are not heard"
        step(connection, rollout, "filled", text, wave=rollout.wave, devices=moved)
    elif last:
        after = turn(connection, rollout, DONE, "")
        step(connection, after, "done", in_words(counted(connection, after)))
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


def is_back(connection: Connection, rollout: Rollout) -> bool:
    """Whether nobody is waited for any more; then it has ended."""
    waited = (D.c.rollout == rollout.number, D.c.state == BACK, ~D.c.late)
    if connection.execute(select(D.c.device).where(*waited).limit(1)).first():
        return False
    after = turn(connection, rollout, ENDED, rollout.reason)
    step(connection, after, "returned", in_words(counted(connection, after)))
    calm(connection, after, "taken back")
    return True


def _move(connection: Connection, rollout: Rollout, many: int) -> int:
    """Devices of later waves into the open one."""
    later = (D.c.rollout == rollout.number, D.c.state == WAITS, D.c.wave > rollout.wave)
    chosen = connection.scalars(select(D.c.device).where(*later).order_by(D.c.wave, D.c.place).limit(many)).all()
    change(connection, ((rollout.number, device) for device in chosen), wave=rollout.wave)
    return len(chosen)
