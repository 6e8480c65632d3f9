"""What is forgotten of a rollout of long ago: what each of its devices did. How many did what, wave by wave, stays with it."""

from __future__ import annotations

import json

from sqlalchemy import Connection, delete, select, update

from edge import SECOND

from . import tables
from .database import NO_CLOCK, of_some
from .rollout_joining import giving
from .rollout_plan import BACK, TRYING, WATCHED
from .rollouts import DONE, ENDED, HALTED, PAUSED, R, calm, counted, locked
from .store import Store

D = tables.rollout_device


async def forget(store: Store, before: float) -> int:
    """Of rollouts with which nothing was done since `before` (s UTC): how many rows. A transaction for each count, and for each
    piece of the rows."""
    for number in await store.read(lambda c: past(c, before)):
        await store.write(lambda c, n=number: close(c, n, before))  # type: ignore[misc]
    total = last = await store.write(rows)
    while last:
        total += (last := await store.write(rows))
    return total


def past(connection: Connection, before: float) -> list[int]:
    """Rollouts that are over, or wait for somebody, since before then; none that still gives to who is enrolled later, or where a
    device is at it."""
    at_it = select(D.c.device).where(D.c.rollout == R.c.number, D.c.state.in_((TRYING, WATCHED)))
    back = select(D.c.device).where(D.c.rollout == R.c.number, D.c.state == BACK, ~D.c.late)
    those = (
        R.c.state.in_((DONE, ENDED, HALTED, PAUSED)),
        R.c.since >= NO_CLOCK / SECOND,
        R.c.since < before,
        R.c.kept == "",
    )
    numbers = connection.scalars(select(R.c.number).where(*those, ~at_it.exists(), ~back.exists())).all()
    gives = {rollout.number for rollout, _ in giving(connection) if rollout.state == DONE} if numbers else set()
    return [number for number in numbers if number not in gives]


def close(connection: Connection, number: int, before: float) -> None:
    """From now on it has its counts, and nothing can be done with it. Within the writer."""
    rollout = locked(connection, number)
    if rollout is None or number not in past(connection, before):
        return
    kept = json.dumps([[*some, n] for some, n in counted(connection, rollout).items()])
    connection.execute(update(R).where(R.c.number == number).values(kept=kept))
    calm(connection, rollout, "it is of long ago, and nothing more is done with it")


def rows(connection: Connection) -> int:
    """Forget some of what devices did in those; how many rows."""
    over = D.c.rollout.in_(select(R.c.number).where(R.c.kept != ""))
    return connection.execute(delete(D).where(of_some(D, over))).rowcount
