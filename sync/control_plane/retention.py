"""What the plane forgets with age, each class after its own time; of what was measured nothing unless it is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from sqlalchemy import ColumnElement, Connection, Table, delete, exists

from edge import SECOND, log

from . import days, forward_tables, rollout_past, tables, unfiled
from .database import NO_CLOCK, of_some, on_postgresql
from .evidence_tables import checkpoint, original
from .forward_state import wanted
from .pictures import Pictures
from .repeat import repeat
from .rollup import HOUR
from .store import Store

EVERY = 3600.0  # seconds


async def forget(store: Store, keep: Mapping[str, float], pictures: Pictures) -> None:
    """Look every hour for what is older than `keep` says: seconds by class of `KEPT`, beside `DEFAULT`. Runs until cancelled."""

    async def work() -> None:
        for name, seconds in {**DEFAULT, **keep}.items():
            before = time.time_ns() - int(seconds * SECOND)
            aged = pictures.forget(before / SECOND) if name == "pictures" else forget_once(store, name, before)
            if gone := await aged:
                log.info("plane: %s: %d rows or days older than %g days are forgotten", name, gone, seconds / 86400)

    await repeat(work, EVERY, "nothing is forgotten for now")


async def forget_once(store: Store, name: str, before: int) -> int:
    """Delete what of a class is older than `before` (ns UTC); how many rows (or whole days of blocks)."""
    before = max(before, 0)  # of who keeps something for a thousand years
    if name == "rollouts":
        return await rollout_past.forget(store, before / SECOND)
    total = await _all(store, CLASSES[name], before)
    if name == "events":
        await _all(store, _originals, before)
    return total


async def _all(store: Store, some: Callable[[Connection, int], int], before: int) -> int:
    """A transaction each for so many that nobody waits long."""
    total = last = await store.write(lambda c: some(c, before))
    while last:
        total += (last := await store.write(lambda c: some(c, before)))
    return total


def _samples(connection: Connection, before: int) -> int:
    """None of an hour that waits for its roll-up and the notes of its blocks, or to be written as a file."""
    b, s, gone = tables.block, tables.stale, 0
    if on_postgresql(connection):
        before -= before % days.DAY
        dropped = days.drop(connection, before)
        if dropped is None:  # put off: row by row it would take long
            return 0
        gone = dropped
    place = (s.c[name] == b.c[name] for name in ("device", "epoch", "stream"))
    waits = exists().where(*place, s.c.hour == b.c.t1 // HOUR)
    return gone + _some(connection, b, (b.c.t1 >= NO_CLOCK) & (b.c.t1 < before) & ~waits & ~unfiled.wanted())


def _events(connection: Connection, before: int) -> int:
    t = tables.event
    told = t.c.kind != "device"  # how often each tag was to come: the ledger stands on it
    return _some(connection, t, (t.c.ts >= NO_CLOCK) & (t.c.ts < before) & told & ~wanted())


def _originals(connection: Connection, before: int) -> int:
    """The bytes of events that are here no more, and of checkpoints, which are kept apart."""
    o, e = original, tables.event
    there = exists().where(*(e.c[name] == o.c[name] for name in ("device", "epoch", "seq")))
    return _some(connection, o, (o.c.stream == "event") & (o.c.t1 >= NO_CLOCK) & (o.c.t1 < before) & ~there)


def _rollups(connection: Connection, before: int) -> int:
    t = tables.rollup
    return _some(connection, t, (t.c.hour >= NO_CLOCK // HOUR) & (t.c.hour < before // HOUR))


def _ledger(connection: Connection, before: int) -> int:
    t = tables.ledger
    return _some(connection, t, (t.c.t1 >= NO_CLOCK) & (t.c.t1 < before))


def _evidence(connection: Connection, before: int) -> int:
    t = checkpoint
    return _some(connection, t, (t.c.arrived >= NO_CLOCK) & (t.c.arrived < before))


def _aside(connection: Connection, before: int) -> int:
    """Where something is still to be sent once more it stays."""
    t = forward_tables.undelivered
    old = (t.c.at >= NO_CLOCK / SECOND) & (t.c.at < before / SECOND)
    return _some(connection, t, old & (t.c.tries > 0))


def _some(connection: Connection, table: Table, old: ColumnElement[bool]) -> int:
    return connection.execute(delete(table).where(of_some(table, old))).rowcount


CLASSES: dict[str, Callable[[Connection, int], int]] = {
    "samples": _samples,
    "rollups": _rollups,
    "events": _events,
    "ledger": _ledger,
    "evidence": _evidence,
    "aside": _aside,
}
KEPT = ("samples", "rollups", "events", "pictures", "ledger", "evidence", "rollouts", "aside")
DEFAULT = {"rollouts": 365 * 86400.0, "aside": 365 * 86400.0}  # seconds, of what nobody has said
