"""How devices are after they tried: what the gates of a rollout look at, from what the plane knows anyway."""

from __future__ import annotations

import time
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, update

from edge import SECOND

from . import tables
from .rollout_options import AlarmsGate, NgGate, SilentGate
from .rollout_plan import TRYING, WATCHED, wilson
from .rollouts import Rollout

D, E = tables.rollout_device, tables.event
MOST = 2000  # devices in one look


class Ill(NamedTuple):
    """That a gate found something of a device."""

    device: str
    hit: str
    why: str


def ill(connection: Connection, rollout: Rollout, now: float, ng: bool, since: float = 0.0) -> list[Ill]:
    """Of the devices that tried and are watched, those that are ill; `ng`: also by their parts, which takes longer to see. None is
    silent while the plane has not listened `since` then for as long as that takes."""
    gates = rollout.plan.gates
    found = _silent(connection, rollout, gates.silent, now) if now - since > gates.silent.after else []
    found += _alarms(connection, rollout, gates.alarms)
    if ng and gates.ng:
        found += _ng(connection, rollout, gates.ng)
    return list({one.device: one for one in reversed(found)}.values())


def heard_again(connection: Connection, rollout: Rollout, now: float) -> None:
    """Those that were silent, and no longer are, are not ill by that."""
    t = tables.device
    after = rollout.plan.gates.silent.after
    heard = select(t.c.id).where(t.c.id == D.c.device, t.c.seen.between(now - after, now + after))
    those = (*_watched(rollout), D.c.hit == "silent", heard.exists())
    connection.execute(update(D).where(*those).values(hit="", why=""))


def _watched(rollout: Rollout) -> tuple[ColumnElement[bool], ...]:
    return D.c.rollout == rollout.number, D.c.state.in_((TRYING, WATCHED))


def _silent(connection: Connection, rollout: Rollout, gate: SilentGate, now: float) -> list[Ill]:
    """Also one that was last heard before the clock was set back: who has spoken since has a time of now."""
    t, until = tables.device, now - gate.after
    last = case((D.c.ended > 0, D.c.ended), else_=D.c.began)
    wanted = select(D.c.device, t.c.seen).join(t, t.c.id == D.c.device)
    unheard = ~t.c.seen.between(until, now + gate.after)
    wanted = wanted.where(*_watched(rollout), D.c.hit == "", unheard, t.c.enrolled < until, last < until).limit(MOST)
    return [Ill(device, "silent", f"last heard {_utc(seen)}") for device, seen in connection.execute(wanted)]


def _alarms(connection: Connection, rollout: Rollout, gate: AlarmsGate) -> list[Ill]:
    """By the device's own clock: raised since it began, and not in the time before."""
    old = E.alias("old")
    raised = (E.c.device == D.c.device, E.c.kind == "alarm", E.c.ts >= D.c.began_ts, E.c.state == "raised")
    span = round(gate.before * SECOND)
    known = [old.c.device == E.c.device, old.c.kind == "alarm", old.c.state == "raised", old.c.key == E.c.key]
    known += [old.c.ts < D.c.began_ts, old.c.ts >= D.c.began_ts - span]
    wanted = select(D.c.device, E.c.key).where(*_watched(rollout), D.c.hit == "", D.c.began_ts > 0, *raised)
    wanted = wanted.where(E.c.severity.in_(gate.severity), ~select(old.c.seq).where(*known).exists())
    return [
        Ill(device, "alarms", f"raised {key}, which it had not before")
        for device, key in connection.execute(wanted.limit(MOST))
    ]


def _ng(connection: Connection, rollout: Rollout, gate: NgGate) -> list[Ill]:
    """More parts NG than before, beyond what chance explains of both."""
    after, bad = E.c.ts >= D.c.began_ts, E.c.state == "ng"

    def many(*those: ColumnElement[bool]) -> ColumnElement[int]:
        return func.sum(case((and_(*those), 1), else_=0))

    columns = (many(after, bad), many(after), many(~after, bad), many(~after))
    wanted = select(D.c.device, *columns).where(*_watched(rollout), D.c.hit == "", D.c.began_ts > 0)
    span = round(gate.before * SECOND)
    wanted = wanted.where(E.c.device == D.c.device, E.c.kind == "inspection", E.c.ts >= D.c.began_ts - span)
    out = []
    for device, ng, of, ng_before, of_before in connection.execute(wanted.group_by(D.c.device)):
        if min(of, of_before) >= gate.parts and wilson(ng, of)[0] > wilson(ng_before, of_before)[1]:
            out.append(Ill(device, "ng", f"{ng} of {of} parts NG; before {ng_before} of {of_before}"))
    return out


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds else "never"
