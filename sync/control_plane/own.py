"""What the plane itself has to say: events beside those of devices, in a journal of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from edge import SECOND, Event, encode_event

from ..wire import Frame
from . import tables
from .database import insert_new
from .messages import apply_frames
from .standing import covers

PLANE = "@plane"  # in place of a device; none can have this name
EPOCH = "0" * 16


def tell(connection: Connection, events: Sequence[Event]) -> None:
    """Take events of the plane in, with whatever else happens in this transaction. Their numbers follow the clock (ms), so that a
    plane restored from a backup gives none a second time."""
    if not events:
        return
    t = tables.applied
    place = {"device": PLANE, "epoch": EPOCH, "stream": "event"}
    insert_new(connection, t, [{**place, "watermark": 0, "ranges": "[]"}])
    own = [t.c[name] == value for name, value in place.items()]
    last: int = connection.execute(select(t.c.watermark).where(*own).with_for_update()).scalar_one()
    first = max(last + 1, time.time_ns() // 1_000_000)
    if first > last + 1:
        covers(connection, PLANE, EPOCH, "event", [(last + 1, first - 1)])
    frames = [Frame(EPOCH, "event", first + k, e.ts, e.ts, 1, encode_event(e)) for k, e in enumerate(events)]
    apply_frames(connection, PLANE, frames)


def raised(connection: Connection, key: str) -> bool:
    """Whether that alarm of the plane stands."""
    t = tables.alarm
    return bool(connection.scalar(select(t.c.active).where(t.c.device == PLANE, t.c.key == key)))


def doubled(connection: Connection) -> list[str]:
    """Devices of which it stands that there are two."""
    t = tables.alarm
    keys = connection.scalars(select(t.c.key).where(t.c.device == PLANE, t.c.active, t.c.key.startswith("clone ")))
    return [key.removeprefix("clone ") for key in keys]


def say(connection: Connection, key: str, raise_it: bool, severity: str, text: str) -> bool:
    """Raise or clear an alarm of the plane, unless it stands so already, whichever process did that. Whether something changed."""
    if raised(connection, key) == raise_it:
        return False
    tell(connection, [Event("alarm", key, "raised" if raise_it else "cleared", time.time_ns(), severity, text)])
    return True


def order(connection: Connection, verb: str, key: str, seconds: float, by: str) -> bool:
    """Acknowledge, shelve or unshelve an alarm of the plane. False where nothing is called so."""
    t = tables.alarm
    stands = connection.execute(select(t).where(t.c.device == PLANE, t.c.key == key)).mappings().first()
    if stands is None:
        return False
    now = time.time_ns()
    data: dict[str, Any] = {"by": by}
    if verb == "shelve":
        data["until"] = now + round(seconds * SECOND)
    done = {"ack": stands["acked"], "unshelve": not stands["shelved_until"]}.get(verb, False)
    if not done:
        state = {"ack": "acked", "shelve": "shelved", "unshelve": "unshelved"}[verb]
        tell(connection, [Event("alarm", key, state, now, stands["severity"], stands["text"], data)])
    return True
