"""What is too large for one message comes in pieces. They are kept in the database, so that whichever process of the plane is asked
next goes on where the last one stood, until the whole is asked for by its SHA-256."""

from __future__ import annotations

import time

from sqlalchemy import Connection, delete, func, select, update

from .. import wire
from . import tables

LEAST_PIECE = 1000  # bytes of each but the last: no whole is a row a byte
MOST_WHOLES = 4  # of one device at a time; an older one begins anew
KEPT = 7 * 24 * 3600.0  # seconds after which nobody goes on with it


def take(connection: Connection, device: str, digest: str, at: int, size: int, body: bytes, lacks: bool) -> int:
    """Keep the piece of an object of `size` bytes that begins `at`, if it goes on where we stand; how many bytes are here now: all
    where the object is here, unless the plane `lacks` it. An empty one only asks. In the writer's transaction. Raises
    WireFault."""
    if not wire.DIGEST.fullmatch(digest) or not 0 <= at <= size <= wire.MOST_PICTURE or at + len(body) > size:
        raise wire.WireFault(f"no piece of {len(body)} bytes at {at} of {size}")
    if body and len(body) < LEAST_PIECE and at + len(body) < size:
        raise wire.WireFault(f"a piece of {len(body)} bytes; all but the last have at least {LEAST_PIECE}")
    if not lacks and seen(connection, digest):
        return size
    t = tables.piece
    here = _held(connection, device, digest)
    if not body or at != here:
        return min(here, size)
    if not here:
        _make_room(connection, device)
    row = {"device": device, "digest": digest, "at": at, "arrived": time.time(), "body": body}
    connection.execute(t.insert().values(**row))
    return here + len(body)


def seen(connection: Connection, digest: str) -> bool:
    """Whether that picture is here; it is as old as when it came last."""
    t = tables.picture
    return connection.execute(update(t).where(t.c.digest == digest).values(stored=time.time())).rowcount > 0


def whole(connection: Connection, device: str, digest: str) -> bytes | None:
    """What the pieces of a device make; None where they are not what the digest says."""
    t = tables.piece
    mine = select(t.c.body).where(t.c.device == device, t.c.digest == digest).order_by(t.c.at)
    body = b"".join(connection.execute(mine).scalars())
    return body if wire.digest(body) == digest else None


def drop(connection: Connection, device: str, digest: str) -> None:
    t = tables.piece
    connection.execute(delete(t).where(t.c.device == device, t.c.digest == digest))


def _held(connection: Connection, device: str, digest: str) -> int:
    t = tables.piece
    mine = select(t.c.at + func.length(t.c.body)).where(t.c.device == device, t.c.digest == digest)
    return int(connection.execute(mine.order_by(t.c.at.desc()).limit(1)).scalar() or 0)


def _make_room(connection: Connection, device: str) -> None:
    t = tables.piece
    connection.execute(delete(t).where(t.c.arrived < time.time() - KEPT))
    newest = select(t.c.digest).where(t.c.device == device).group_by(t.c.digest).order_by(func.max(t.c.arrived).desc())
    for digest in connection.execute(newest).scalars().all()[MOST_WHOLES - 1 :]:
        drop(connection, device, digest)


def read(connection: Connection, digest: str, at: int, most: int) -> tuple[int, bytes] | None:
    """(size of an object, what of it begins `at`, at most so many bytes); None where there is no such object."""
    t = tables.picture
    wanted = select(func.length(t.c.body), func.substr(t.c.body, at + 1, most)).where(t.c.digest == digest)
    row = connection.execute(wanted).first()
    return None if row is None else (int(row[0]), bytes(row[1]))
