"""What the journal holds of one source between two times: for those who look back, not for readers with a cursor."""

from __future__ import annotations

from typing import NamedTuple

import apsw

from .records import checked

MOST_BYTES, MOST_SAMPLES = 1_000_000, 1_000_000  # of blocks in one answer, about
BEYOND = 16  # times so much, where all of it touches one moment
Body = tuple[int, bytes | None]  # time at which a block begins (ns), and its bytes; None: it is damaged


class Held(NamedTuple):
    """Blocks that touch a span, sealed or open, in the order of the journal. What lies before `until` (backward: behind it) is all
    here; None: everything is."""

    bodies: list[Body]
    until: int | None


def held(db: apsw.Connection, stream: str, t0: int, t1: int, backward: bool) -> Held:
    """Along time, or backward; as much as fits, and more where one moment has more. Read-only, on the journal's reading thread."""
    near, order = ("t1", "t1 DESC, seq DESC") if backward else ("t0", "t0, seq")
    touching = (
        f"SELECT {near}, seq, length(body), n FROM block WHERE stream = ? AND t1 >= ? AND t0 <= ? ORDER BY {order}"
    )
    found: list[tuple[int, Body]] = []
    until, share = None, 0.0
    with db:  # a block that is sealed meanwhile must not be in both places, nor in neither
        for edge, seq, size, n in list(db.execute(touching, (stream, t0, t1))):
            share += max(size / MOST_BYTES, n / MOST_SAMPLES)
            if (share > 1 and found and (edge < t1 if backward else edge > t0)) or share > BEYOND:
                until = edge
                break
            block = checked(db, "block", "WHERE stream = ? AND seq = ?", (stream, seq))
            found += [(seq, (head[2], body)) for head, body in block]
        bodies = [body for _, body in sorted(found, key=lambda one: one[0])]
        tail = checked(db, "tail", "WHERE stream = ? ORDER BY id", (stream,))
        bodies += [(t0, body) for _, body in tail if body is not None]
    return Held(bodies, until)
