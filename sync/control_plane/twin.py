"""What runs where by the plane's will, and what each device says came of it. The plane alone writes the one, the device alone the
other, and the two are compared, never merged."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from . import hold, tables
from .database import among, upsert

FEW = 500  # devices asked for by name; of more all are read


class Want(NamedTuple):
    """That a device runs a version of something: `kind` is config, model, runtime or firmware, `stage` is `run` or `shadow`.
    Version "" wants nothing of it any more: the device goes back to its own."""

    device: str
    kind: str
    name: str
    version: str
    stage: str = "run"
    by: str = ""
    rollout: int = 0


class Wanted(NamedTuple):
    """What is wanted of one device, since when (s UTC)."""

    kind: str
    name: str
    version: str
    stage: str
    generation: int
    since: float
    by: str
    rollout: int


class Told(NamedTuple):
    """What a device last said of one thing: which version it tried, which one runs, and why; `generation` is that of the want it
    speaks of, `ts` its own time (ns UTC)."""

    device: str
    kind: str
    name: str
    state: str
    running: str
    tried: str
    reason: str
    generation: int
    ts: int


def want(connection: Connection, wants: Sequence[Want], again: bool = False) -> int:
    """Want all this from now on; the generation of what that changes. What is wanted already stays as it is, unless it is wanted
    `again`. Generations follow the clock (ms), so that a plane restored from a backup gives none a second time. Within the
    writer; `Ingest.want` also hints the devices."""
    hold.orders(connection)
    last: int = connection.execute(select(func.max(tables.want.c.generation))).scalar() or 0
    more = {"generation": max(last + 1, time.time_ns() // 1_000_000), "since": time.time()}
    rows = [{**w._asdict(), **more} for w in {w[:3]: w for w in wants}.values()]
    upsert(connection, tables.want, *rows, differs=() if again else ("version", "stage"))
    return int(more["generation"])


def wanted(connection: Connection, device: str) -> list[Wanted]:
    t = tables.want
    asked = select(*(t.c[field] for field in Wanted._fields)).where(t.c.device == device)
    return [Wanted._make(row) for row in connection.execute(asked.order_by(t.c.kind, t.c.name))]


def newest(connection: Connection, device: str) -> int:
    """The highest generation of what is wanted of a device; 0 where nothing ever was."""
    t = tables.want.c
    return connection.execute(select(func.max(t.generation)).where(t.device == device)).scalar() or 0


def told(connection: Connection, kind: str, name: str, devices: Collection[str] | None = None) -> list[Told]:
    """What devices say of one thing; of these, or of all that ever spoke of it."""
    t = tables.told_twin
    asked = select(*(t.c[field] for field in Told._fields)).where(t.c.kind == kind, t.c.name == name)
    if devices is not None and len(devices) <= FEW:
        asked = asked.where(among(connection, t.c.device, devices))
    found = map(Told._make, connection.execute(asked.order_by(t.c.device)))
    some = None if devices is None else frozenset(devices)
    return [one for one in found if some is None or one.device in some]


def told_by(connection: Connection, device: str) -> list[Told]:
    """All that one device says."""
    t = tables.told_twin
    asked = select(*(t.c[field] for field in Told._fields)).where(t.c.device == device)
    return [Told._make(row) for row in connection.execute(asked.order_by(t.c.kind, t.c.name))]
