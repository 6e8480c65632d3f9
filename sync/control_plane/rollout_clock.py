"""A plane's clock that was set back. What a rollout remembers lies in the future then: soaks and limits by the minute would be held
until the clock is there again, and what devices try after a resume would not be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, case, func, or_, select, update

from edge import SECOND, log

from . import tables
from .database import NO_CLOCK

if TYPE_CHECKING:
    from .rollouts import Rollout

SLACK = 60.0  # seconds that processes of a plane may be apart, and into which moves what lies ahead
TIMES = ("asked", "began", "ended")
D, R = tables.rollout_device, tables.rollout


def set_right(connection: Connection, rollout: Rollout, now: float) -> Rollout:
    """What lies after `now` (s UTC) comes into the minute before it, in its order, with what lies there; older times stay, so a
    clock that was ahead for a moment ends no soak. Nothing changes while the clock was never set: it is right soon. Holds the
    writer while it changes what lies there."""
    if now < NO_CLOCK / SECOND:
        return rollout
    mine = D.c.rollout == rollout.number
    latest = connection.execute(select(*(func.max(D.c[name]) for name in TIMES)).where(mine)).one()
    back = max(rollout.since, rollout.forgiven, *(time or 0.0 for time in latest)) - now
    if back <= SLACK:
        return rollout
    log.warning("plane: its clock was set back by %.0f s; what rollout %d did since is of now", back, rollout.number)
    floor = now - SLACK

    def moved(time: ColumnElement[float]) -> ColumnElement[float]:
        return case((time > floor, floor + (time - floor) * (SLACK / (back + SLACK))), else_=time)

    ahead = or_(*(D.c[name] > floor for name in TIMES))
    connection.execute(update(D).where(mine, ahead).values({name: moved(D.c[name]) for name in TIMES}))
    own = {"since": moved(R.c.since), "forgiven": moved(R.c.forgiven)}
    own["created"] = case((R.c.created > now, now), else_=R.c.created)  # who is enrolled from now on came after it
    change = update(R).where(R.c.number == rollout.number).values(own).returning(R.c.since, R.c.forgiven, R.c.created)
    since, forgiven, created = connection.execute(change).one()
    return rollout._replace(since=since, forgiven=forgiven, created=created)
