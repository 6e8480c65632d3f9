"""A box takes the place of another one: the device has a new key from then on, and who has the old one is let in no more."""

from __future__ import annotations

import base64
import time
from typing import Any

from sqlalchemy import Connection, desc, func, select, update

from edge import CodecFault, Event, decode_event

from .. import checkpoint
from ..checkpoint import Checkpoint, NotSigned
from ..replacement import Replacement
from ..wire import pack_ack
from . import tables
from .database import insert_new
from .evidence_tables import checkpoint as checkpoints
from .evidence_tables import keyed, original
from .own import tell
from .standing import stands

GONE = "this box was replaced already, was revoked, or is not the one that is enrolled"


def replaced(connection: Connection, wanted: Replacement, secret: str) -> dict[str, Any] | None:
    """Let the new key be the device; what the new box goes on from, or None where the old one is not it. A second time for the same
    two keys is as the first: the answer may have been lost. In the writer's transaction."""
    t = tables.device
    mine = update(t).where(t.c.id == wanted.device, t.c.key.in_((wanted.old, wanted.new)), t.c.revoked == 0)
    was = connection.scalar(select(t.c.key).where(t.c.id == wanted.device))
    if not connection.execute(mine.values(key=wanted.new, secret=secret)).rowcount:
        return None
    insert_new(connection, keyed, [{"device": wanted.device, "key": wanted.new, "since": time.time()}])
    if was != wanted.new:
        text = f"another box is {wanted.device} from now on; the old one is let in no more"
        tell(connection, [Event("device", wanted.device, "replaced", time.time_ns(), "medium", text)])
    orders = connection.scalar(
        select(func.max(tables.command.c.number)).where(tables.command.c.device == wanted.device)
    )
    found = stands(connection, wanted.device, wanted.epoch)
    return {
        "stands": base64.b64encode(pack_ack(found)).decode(),
        "orders": orders or 0,
        "checkpoint": _last_signed(connection, wanted.device, wanted.epoch),
    }


def _last_signed(connection: Connection, device: str, epoch: str) -> list[Any] | None:
    """[number, hash, last number of each stream] of the newest checkpoint."""
    t, o = checkpoints, original
    newest = select(t.c.seq, t.c.statement).where(t.c.device == device, t.c.epoch == epoch).order_by(desc(t.c.seq))
    row = connection.execute(newest.limit(1)).first()
    if row is None:
        return None
    place = (o.c.device == device, o.c.epoch == epoch, o.c.stream == "event", o.c.seq == row.seq)
    body = connection.scalar(select(o.c.body).where(*place))
    try:
        upto = decode_event(bytes(body)).data.get("upto", {}) if body else {}
        return [Checkpoint.read(row.statement).number, checkpoint.head(row.statement), dict(upto)]
    except (CodecFault, NotSigned, TypeError, ValueError):
        return None
