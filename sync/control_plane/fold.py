"""Alarm states as the device told them, folded by (epoch, seq) and never by the clock."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from edge import Event

from . import tables

_CHANGES: dict[str, dict[str, Any]] = {
    "raised": {"active": True, "acked": False},
    "cleared": {"active": False},
    "acked": {"acked": True},
    "shelved": {},
    "unshelved": {"shelved_until": 0},
}


def alarm(connection: Connection, device: str, epoch: str, seq: int, happened: Event) -> None:
    """Take one alarm event into the state of its alarm. An older event of the same epoch changes nothing."""
    from .store import upsert

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
        state["by"] = str(happened.data.get("by", ""))[:80]
    upsert(connection, t, state)
