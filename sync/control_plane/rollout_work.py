"""Rollouts at work: one duty of the plane's worker looks every two seconds what devices have told, and does what is next.

Everything of one look goes in one transaction: where each device stands, what is wanted of it now, and the events that say so. So a
kill between two looks loses nothing and asks for nothing twice. A look goes by what is in the database and never by what it
remembers, so it does not matter which process does it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, select

from edge import SECOND

from . import config, tables
from .alert_state import within
from .live import Hub
from .own import PLANE
from .repeat import repeat
from .rollout_clock import set_right
from .rollout_health import heard_again, ill
from .rollout_joining import begin, enter, join, newcomers, row_of
from .rollout_plan import (
    ASKED,
    BACK,
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
from .rollout_told import follow, overtaken, revoked, settle
from .rollout_wants import AT_ONCE, change, go_back, release, withdraw
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
        since = self._since
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
        self._looked = now  # a look that a fault ends is made once more as the first
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
    listened: since now where it has just begun to, or its clock was set. Within the writer."""
    rollout, done = locked(connection, number), Done()
    if rollout is None or rollout.kept or rollout.state == PLANNING:
        return done
    if since == now:
        rollout = set_right(connection, rollout, now)
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
