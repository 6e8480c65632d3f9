"""What devices sent and this plane could not read: kept byte for byte beside the streams, so that nothing waits behind it and
nothing is thrown away. The device tells the gap itself and goes on; a later plane may know how to read it."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select

from ..wire import Frame
from . import tables
from .database import insert_new, word

MOST, MOST_BYTES = 1000, 64 * 2**20  # of one device; beyond them the oldest go
_T = tables.refused
TOLD = select(
    *(c for c in _T.c if c is not _T.c.body), func.length(_T.c.body).label("bytes")
)  # all but the record itself


def set_aside(connection: Connection, device: str, frame: Frame, why: str) -> None:
    """Keep a record that comes by itself and is refused; once, however often it comes."""
    t, place = tables.refused, {"device": device, "epoch": frame.epoch, "stream": frame.stream, "seq": frame.seq}
    told = {"t0": frame.t0, "t1": frame.t1, "n": frame.n, "why": word(why, 500), "arrived": time.time()}
    insert_new(connection, t, [{**place, **told, "body": frame.body}])
    sizes = select(t.c.epoch, t.c.stream, t.c.seq, func.length(t.c.body)).where(t.c.device == device)
    number = held = 0
    for epoch, stream, seq, size in connection.execute(sizes.order_by(t.c.arrived.desc())).all():
        number, held = number + 1, held + size
        if number > MOST or held > MOST_BYTES:
            this = and_(t.c.device == device, t.c.epoch == epoch, t.c.stream == stream, t.c.seq == seq)
            connection.execute(delete(t).where(this))


def listed(connection: Connection, *those: ColumnElement[bool]) -> list[dict[str, Any]]:
    """What is set aside, the newest first, without the bodies; at most MOST."""
    rows = connection.execute(TOLD.where(*those).order_by(tables.refused.c.arrived.desc()).limit(MOST))
    return [dict(row) for row in rows.mappings()]
