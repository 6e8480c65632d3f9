"""Rollouts as people have them: begin one, look at it, pause, resume, halt it, take it back. rollout_work.py carries them out.

Whatever is done here is in the database when it returns, whichever process is at work; each step is an event of the plane's own
(kind `rollout`), and a halt that nobody asked for an alarm.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, update

from edge import Event, LinesideError

from . import hold, tables
from .database import among
from .model_stages import is_retired, raise_if_not_due
from .numbers import next_of
from .own import PLANE, tell
from .rollout_clock import set_right
from .rollout_options import FilterOptions, RolloutOptions
from .rollout_plan import (
    ASKED,
    BACK,
    FAILED,
    GOOD,
    HITS,
    TRYING,
    WATCHED,
    Some,
    lacks,
    nearest,
    shown,
    sizes,
    stand,
    states,
)
from .tree import is_below

PLANNING, RUNNING, PAUSED, HALTED, DONE, GOING_BACK, ENDED = (
    "planning",
    "running",
    "paused",
    "halted",
    "done",
    "back",
    "returned",
)
FROM = {  # which states each order is for
    "pause": (PLANNING, RUNNING),
    "resume": (PAUSED, HALTED),
    "halt": (PLANNING, RUNNING, PAUSED, DONE),
    "back": (PAUSED, HALTED, DONE, RUNNING),
}
TO = {"pause": PAUSED, "resume": RUNNING, "halt": HALTED, "back": GOING_BACK}
MOST_SHOWN = 1000  # devices in one answer
R, D, T = tables.rollout, tables.rollout_device, tables.told_twin


class Rollout(NamedTuple):
    """`wave` is the one that is open; `sizes` how many devices each was meant to have; times in s UTC. `kept`: the counts of its
    devices, as JSON, where these are forgotten."""

    number: int
    kind: str
    name: str
    version: str
    plan: RolloutOptions
    state: str
    since: float
    reason: str
    by: str
    created: float
    wave: int
    sizes: tuple[int, ...]
    forgiven: float
    kept: str = ""

    @property
    def key(self) -> str:
        """What its events are about."""
        return f"{self.number} {self.plan.what}"

    @property
    def alarm(self) -> str:
        return f"rollout {self.number}"


def rollouts(connection: Connection, *where: ColumnElement[bool], newest: int = 0) -> list[Rollout]:
    """Those, the oldest first; or so many of the newest, these first."""
    wanted = select(R).where(*where).order_by(R.c.number)
    wanted = select(R).where(*where).order_by(R.c.number.desc()).limit(newest) if newest else wanted
    rows = connection.execute(wanted).mappings()
    return [
        Rollout(
            **{**row, "plan": RolloutOptions.model_validate_json(row["plan"]), "sizes": tuple(json.loads(row["sizes"]))}
        )
        for row in rows
    ]


def locked(connection: Connection, number: int) -> Rollout | None:
    """That rollout, which nobody else changes before the end of this transaction."""
    connection.execute(update(R).where(R.c.number == number).values(number=R.c.number))
    found = rollouts(connection, R.c.number == number)
    return found[0] if found else None


def fits(chosen: FilterOptions, connection: Connection) -> ColumnElement[bool]:
    """Of the table of devices."""
    t = tables.device
    where: list[ColumnElement[bool]] = [t.c.revoked == 0]
    where += [t.c["class"] == chosen.class_] if chosen.class_ else []
    where += [is_below(t.c.site, (chosen.site,))] if chosen.site else []
    where += [among(connection, t.c.id, chosen.ids)] if chosen.ids else []
    return and_(*where)


def step(connection: Connection, rollout: Rollout, state: str, text: str, severity: str = "info", **data: Any) -> None:
    """Tell of a step, in an event of the plane's own."""
    said = {"rollout": rollout.number, "what": rollout.plan.what, **data}
    events = [Event("rollout", rollout.key, state, time.time_ns(), severity, text, said)]
    if state == "halted" and severity == "high":
        events.append(
            Event("alarm", rollout.alarm, "raised", time.time_ns(), "high", f"{rollout.plan.what}: {text}", said)
        )
    tell(connection, events)


def calm(connection: Connection, rollout: Rollout, text: str) -> None:
    """Its alarm ends, if it stands."""
    t = tables.alarm
    mine = (t.c.device == PLANE, t.c.key == rollout.alarm, t.c.active)
    if connection.execute(select(t.c.key).where(*mine)).first():
        said = f"{rollout.plan.what}: {text}"
        tell(connection, [Event("alarm", rollout.alarm, "cleared", time.time_ns(), "high", said)])


def turn(connection: Connection, rollout: Rollout, state: str, reason: str, **more: Any) -> Rollout:
    """Put it into another state; nothing is told of that here."""
    change = {"state": state, "reason": reason, "since": time.time(), **more}
    connection.execute(update(R).where(R.c.number == rollout.number).values(change))
    return rollout._replace(**change)


# What people do


def start(
    connection: Connection, plan: RolloutOptions, by: str, published: Callable[[str], bool] | None = None
) -> tuple[int, int]:
    """(number, how many devices fit) of a new rollout, which the worker of the plane plans and carries out. `published` says
    whether devices can get something here. Raises LinesideError where it cannot be."""
    kind, name, version = plan.parted
    if version and published and not published(plan.what):
        hint = "copy the repository with it into `updates` of the plane's folder, see docs/updates.md"
        raise LinesideError(f"{plan.what} is not among the updates of this plane", hint=hint)
    raise_if_not_due(connection, kind, name, version, plan.stage)
    t = tables.device
    if missing := sorted(
        set(plan.devices.ids) - set(connection.scalars(select(t.c.id).where(_named(connection, plan))))
    ):
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        at = f" at {plan.devices.site}" if plan.devices.site else ""
        raise LinesideError(f"not enrolled here{at}, or revoked: {shown}", hint="`lineside plane devices` lists them")
    many: int = connection.execute(
        select(func.count()).select_from(t).where(fits(plan.devices, connection))
    ).scalar_one()
    if not many:
        raise LinesideError(f"no device fits ({plan.devices.words()})", hint="`lineside plane devices` lists them")
    hold.orders(connection)
    number = next_of(connection, R)
    row = {
        "number": number,
        "kind": kind,
        "name": name,
        "version": version,
        "plan": plan.model_dump_json(by_alias=True),
    }
    row |= {"state": PLANNING, "since": time.time(), "reason": "", "by": by[:80], "created": time.time()}
    connection.execute(R.insert().values(**row, wave=0, sizes="[]", forgiven=0.0))
    (rollout,) = rollouts(connection, R.c.number == number)
    step(connection, rollout, "started", f"for {many} devices ({plan.devices.words()})", devices=many, by=by)
    return number, many


def _named(connection: Connection, plan: RolloutOptions) -> ColumnElement[bool]:
    """Where it names a site, too: who may do this there learns of no device elsewhere."""
    t = tables.device
    there = [is_below(t.c.site, (plan.devices.site,))] if plan.devices.site else []
    return and_(t.c.revoked == 0, among(connection, t.c.id, plan.devices.ids), *there)


def act(connection: Connection, number: int, verb: str, by: str) -> Rollout:
    """Pause, resume, halt, or take back. What nobody has begun yet is asked for no more once the worker has seen a halt, at the
    next look. Raises LinesideError where that cannot be."""
    rollout = locked(connection, number)
    if rollout is None:
        raise LinesideError(f"there is no rollout {number}", hint="`lineside plane rollout list` shows them")
    if rollout.kept:
        said = f"rollout {number} is {WORDS[rollout.state]}, and of so long ago that its devices are forgotten"
        raise LinesideError(said, hint="begin a new one; `--keep rollouts=` of the plane says how long they are kept")
    if rollout.state not in FROM[verb] or (verb == "back" and rollout.state == PLANNING):
        able = [name for name, states in FROM.items() if rollout.state in states]
        said = f"rollout {number} is {WORDS[rollout.state]}"
        raise LinesideError(f"{said}: it cannot {SAYS[verb]}", hint=f"it can: {', '.join(able) or 'nothing'}")
    state, more = TO[verb], {}
    if verb == "resume":
        if is_retired(connection, *rollout.plan.parted):
            raise LinesideError(f"{rollout.plan.what} is retired", hint="begin a rollout of another version")
        rollout = set_right(connection, rollout, time.time())
        more = {"forgiven": time.time()}
        state = RUNNING if rollout.sizes else PLANNING
    after = turn(connection, rollout, state, f"by {by}" if by else "", **more)
    step(
        connection,
        after,
        {"pause": "paused", "resume": "resumed", "halt": "halted", "back": "going_back"}[verb],
        f"by {by}",
        by=by,
    )
    if verb == "resume":
        calm(connection, after, f"resumed by {by}")
    return after


WORDS = {
    PLANNING: "being planned",
    RUNNING: "running",
    PAUSED: "paused",
    HALTED: "halted",
    DONE: "done",
    GOING_BACK: "going back",
    ENDED: "taken back",
}
SAYS = {"pause": "be paused", "resume": "go on", "halt": "be halted", "back": "go back"}


# What people see


def counted(connection: Connection, rollout: Rollout) -> dict[Some, int]:
    """How many of its devices have each of these in common."""
    if rollout.kept:
        return {Some(*some): n for *some, n in json.loads(rollout.kept)}
    due = case((D.c.late, False), (D.c.state.in_((ASKED, TRYING, WATCHED, BACK)), True), else_=False)
    counts = (D.c.began > rollout.forgiven) & D.c.state.in_((TRYING, WATCHED, GOOD, FAILED))
    keys = (D.c.wave, D.c.state, D.c.hit, due.label("due"), counts.label("counts"))
    wanted = select(*keys, func.count()).where(D.c.rollout == rollout.number).group_by(*keys)
    return {
        Some(wave, state, hit, bool(due), bool(counts)): n
        for wave, state, hit, due, counts, n in connection.execute(wanted)
    }


def summary(connection: Connection, rollout: Rollout, whole: bool = False) -> dict[str, Any]:
    """For programs; `whole` also its plan, and its waves with how many devices are in which state."""
    counts = counted(connection, rollout)
    said = {name: getattr(rollout, name) for name in ("number", "state", "since", "reason", "by", "created", "wave")}
    said |= {
        "what": rollout.plan.what,
        "stage": rollout.plan.stage,
        "waves": len(rollout.sizes),
        "devices": states(counts),
    }
    said |= {"hits": {hit: sum(n for some, n in counts.items() if some.hit == hit) for hit in HITS}}
    if whole:
        said |= {
            "plan": rollout.plan.model_dump(by_alias=True),
            "sizes": list(rollout.sizes),
            "in_waves": shown(counts),
        }
        said |= {"waits_for": waits_for(rollout, counts), "gates": nearest(counts, rollout.plan.gates)}
        said |= {"can": [verb for verb, states in FROM.items() if rollout.state in states and not rollout.kept]}
    return said


def waits_for(rollout: Rollout, counts: dict[Some, int]) -> str:
    """What it waits for at this moment, in words."""
    if rollout.kept:
        return "nothing more is done with it: what each of its devices did is forgotten"
    if rollout.state != RUNNING or not rollout.sizes:
        return ""
    now = stand(counts, rollout.wave)
    if now.left:
        return f"{now.left} devices of wave {rollout.wave + 1} wait for their turn"
    if now.due:
        return f"{now.due} devices of wave {rollout.wave + 1} are at it, or watched"
    lacking = lacks(now, rollout.sizes[rollout.wave])
    return "others take the places of those that are away" if lacking else ""


def listed(
    connection: Connection,
    number: int,
    state: str = "",
    hit: bool = False,
    after: str = "",
    limit: int = 100,
    theirs: Sequence[ColumnElement[bool]] = (),
) -> list[dict[str, Any]]:
    """Devices of a rollout by name, of `theirs`: those in one state, or those that a gate found something of; and what each says of
    it by now (`tried`, `running`, `reason`; null where it has said nothing)."""
    names = (
        "device",
        "wave",
        "site",
        "state",
        "late",
        "hit",
        "version",
        "before",
        "asked",
        "began",
        "ended",
        "told",
        "why",
    )
    same = (T.c.device == D.c.device, T.c.kind == R.c.kind, T.c.name == R.c.name)
    told = (T.c.tried, T.c.running, T.c.reason)
    wanted = select(*(D.c[name] for name in names), *told).where(D.c.rollout == number, D.c.device > after, *theirs)
    wanted = wanted.join(R, R.c.number == D.c.rollout).outerjoin(T, and_(*same))
    wanted = wanted.where(D.c.state == state) if state else wanted
    wanted = wanted.where(D.c.hit != "") if hit else wanted
    return [dict(row) for row in connection.execute(wanted.order_by(D.c.device).limit(limit)).mappings()]


def planned(rollout: Rollout, total: int) -> list[int]:
    """The sizes of its waves."""
    return sizes(rollout.plan.waves, total)
