"""Alarms and twins as devices told them, folded by (epoch, seq) and never by the clock."""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy import Connection, select, update

from edge import Event

from . import tables
from .database import insert_new, upsert, word

_CHANGES: dict[str, dict[str, Any]] = {
    "raised": {"active": True, "acked": False},
    "cleared": {"active": False},
    "acked": {"acked": True},
    "shelved": {},
    "unshelved": {"shelved_until": 0},
}


def alarm(connection: Connection, device: str, epoch: str, seq: int, happened: Event) -> None:
    """Take one alarm event into the state of its alarm. An older event of the same epoch changes nothing."""
    change = _CHANGES.get(happened.state)
    if change is None:
        return
    t = tables.alarm
    row = connection.execute(select(t).where(t.c.device == device, t.c.key == happened.key)).mappings().first()
    if row and row["epoch"] == epoch and row["seq"] >= seq:
        return
    state: dict[str, Any] = {
        "device": device,
        "key": happened.key,
        "active": False,
        "acked": True,
        "shelved_until": 0,
        "since": int(happened.ts),
        "by": "",
        **(dict(row) if row else {}),
        "epoch": epoch,
        "seq": seq,
        "severity": happened.severity,
        **change,
    }
    state["text"] = happened.text or (row["text"] if row else "")
    if happened.state in ("raised", "cleared"):
        state["since"] = int(happened.ts)
    if happened.state == "shelved":
        state["shelved_until"] = int(happened.data.get("until", 0))
    if happened.state in ("acked", "shelved", "unshelved"):
        state["by"] = word(happened.data.get("by", ""), 80)
    upsert(connection, t, state)


def twin(connection: Connection, device: str, epoch: str, seq: int, happened: Event) -> None:
    """Take what a device says of one thing that is wanted of it (key KIND/NAME). What is older changes
    nothing."""
    kind, _, name = happened.key.partition("/")
    place = {"device": device, "kind": word(kind, 16), "name": word(name, 64)}
    t = tables.told_twin
    own = [t.c[column] == value for column, value in place.items()]
    row = connection.execute(select(t.c.epoch, t.c.seq, t.c.generation).where(*own)).first()
    said = happened.data
    generation = int(said.get("generation", 0))
    if row and (row.generation > generation or (row.epoch == epoch and row.seq >= seq)):
        return
    told = {column: word(said.get(column, ""), 64) for column in ("running", "tried")}
    told |= {"state": happened.state, "reason": happened.text, "epoch": epoch}
    numbers = {"generation": generation, "seq": seq, "ts": int(happened.ts)}
    upsert(connection, t, {**place, **told, **numbers})


def shadow(connection: Connection, device: str, epoch: str, seq: int, happened: Event) -> None:
    """Take what a stage (the key) counts of a model in shadow there. What is older changes nothing."""
    said = happened.data
    place = {"device": device, "stage": word(happened.key, 64)}
    place |= {column: word(said.get(column, ""), 64) for column in ("model", "version")}
    t = tables.shadowed
    own = [t.c[column] == value for column, value in place.items()]
    row = connection.execute(select(t.c.epoch, t.c.seq).where(*own)).first()
    if row and row.epoch == epoch and row.seq >= seq:
        return
    numbers = {column: _count(said.get(column)) for column in ("parts", "agreed", "faults")}
    p95 = said.get("p95_ms")
    took = float(p95) if isinstance(p95, int | float) and 0 <= p95 < 1e12 else 0.0
    upsert(connection, t, {**place, **numbers, "p95_ms": took, "epoch": epoch, "seq": seq})


def _count(said: Any) -> int:
    return said if isinstance(said, int) and 0 <= said < 2**53 else 0


def journal(connection: Connection, device: str, epoch: str) -> None:
    """The first record of a stream. If it begins a new journal of a device that had another one, an event of the plane's own
    (number 0, which no device gives) says so, and the alarms of the old one, of which nothing more will come, end."""
    applied, t = tables.applied, tables.alarm
    epochs = set(connection.scalars(select(applied.c.epoch).where(applied.c.device == device).distinct()))
    if not epochs or epoch in epochs:
        return
    old = (t.c.device == device, t.c.epoch != epoch)
    stood = list(connection.scalars(select(t.c.key).where(*old, t.c.active | ~t.c.acked)))
    connection.execute(update(t).where(*old).values(active=False, acked=True, shelved_until=0, epoch=epoch, seq=0))
    text = "a new journal begins: what the one before had not delivered is lost"
    text += f"; these alarms of it stood: {', '.join(sorted(stood))}" if stood else ""
    row = {"device": device, "epoch": epoch, "seq": 0, "ts": time.time_ns(), "kind": "gap", "key": "journal"}
    row |= {"state": "new_journal", "severity": "medium", "text": text[:2000], "refs": "[]"}
    insert_new(connection, tables.event, [{**row, "data": json.dumps({"before": sorted(epochs)})}])
