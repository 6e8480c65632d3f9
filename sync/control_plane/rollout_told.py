"""What a look at a rollout sees: what devices have told since the last one, what others want of them by now, and what time alone
decides. Within the writer."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, and_, select, update

from . import tables
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
)
from .rollout_wants import AT_ONCE, OTHERWISE, at_its_site, change
from .rollouts import DONE, ENDED, Rollout

AFRESH = 300.0  # seconds that devices have after the plane was away to be heard, before time alone decides anything
D, T, W = tables.rollout_device, tables.told_twin, tables.want


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
    return began | {"state": FAILED, "hit": _worse(rollout, row.hit), "ended": now, "why": why}


def _worse(rollout: Rollout, hit: str) -> str:
    """Of what a gate found already and that it failed, what fewer may have."""
    gates = rollout.plan.gates
    known = getattr(gates, hit) if hit else None
    return hit if known is not None and known.most < gates.failed.most else "failed"


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
        return now - span if now - since >= min(span, AFRESH) else -1.0

    soaked = (mine, D.c.state == WATCHED, D.c.ended <= over(plan.soak))
    connection.execute(update(D).where(*soaked, D.c.hit == "").values(state=GOOD))
    connection.execute(update(D).where(*soaked, D.c.hit != "").values(state=FAILED))
    long = (mine, D.c.state == TRYING, D.c.began <= over(plan.attempt))
    why = f"it began, and had not ended after {plan.attempt / 60:.0f} minutes"
    connection.execute(update(D).where(*long).values(state=FAILED, hit="failed", ended=now, why=why))
    away = (mine, D.c.state.in_((ASKED, BACK)), ~D.c.late, D.c.asked <= over(plan.patience))
    connection.execute(update(D).where(*away).values(late=True))
