"""What keeps the audit whole where the plane ends between a change and its row: whatever a request or a command stores leaves a
note in the very transaction, and its row takes that away. A note that nobody takes away becomes a row that says so."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TypeVar

from sqlalchemy import Connection, case, delete, or_, select

from edge import SECOND, log

from . import audit, tables
from .audit import Deed
from .database import upsert
from .repeat import repeat
from .store import ALONG, Store

T = TypeVar("T")
EVERY = 30.0  # seconds between looks
REQUEST, COMMAND = 60 * SECOND, 3600 * SECOND  # from what one stores to its row: a command may wait for a device
AT_ONCE = 100
N = tables.audit_note


class Under:
    """One request, or one command, on its way: `deed()` is what is known of it so far; None: it has no row."""

    def __init__(self, deed: Callable[[], Deed | None]) -> None:
        self._deed, self._key = deed, secrets.token_hex(16)
        self._noted = self._ended = False

    @contextmanager
    def way(self) -> Iterator[None]:
        """Whatever the store writes in here, and in tasks that begin in here, leaves its note beside it."""
        token = ALONG.set(self.along)
        try:
            yield
        finally:
            ALONG.reset(token)

    def along(self, work: Callable[[Connection], T]) -> Callable[[Connection], T]:
        if self._ended or (deed := self._deed()) is None:
            return work
        self._noted = True

        def both(connection: Connection) -> T:
            answer = work(connection)
            self.note(connection, deed)
            return answer

        return both

    def note(self, connection: Connection, deed: Deed) -> None:
        said = {name: text for name, text in audit.fitting(deed).items() if name != "result"}
        upsert(connection, N, {"key": self._key, "ts": time.time_ns(), **said})
        self._noted = True

    def ends(self, record: Callable[[Connection, Deed], None], deed: Deed) -> Callable[[Connection], None]:
        """The work that adds the row, and takes the note away. What is stored after it belongs to nobody's request."""
        self._ended = True

        def work(connection: Connection) -> None:
            record(connection, deed)
            if self._noted:
                connection.execute(delete(N).where(N.c.key == self._key))

        return work


async def tell_unended(store: Store) -> None:
    """Give what nobody has ended its row. Runs until cancelled."""

    async def work() -> None:
        now = time.time_ns()
        if await store.read(lambda c: old(c, now)) and (many := await store.write(lambda c: close(c, now))):
            log.warning(
                "plane: changes whose end nobody recorded: %d; each has a row in the audit now that says so", many
            )

    await repeat(work, EVERY, "changes without an end have no row for now")


def old(connection: Connection, now: int) -> list[str]:
    """Notes (their keys) that nobody takes away any more at `now` (ns UTC); the clock may have been set back since."""
    longest = case((N.c.origin == audit.LOCAL, COMMAND), else_=REQUEST)
    away = or_(N.c.ts < now - longest, N.c.ts > now + longest)
    return list(connection.scalars(select(N.c.key).where(away).order_by(N.c.ts).limit(AT_ONCE)))


def close(connection: Connection, now: int) -> int:
    """Turn those into rows; how many. Within the writer."""
    keys = old(connection, now)
    gone = connection.execute(delete(N).where(N.c.key.in_(keys)).returning(N)).mappings().all()
    names = asdict(Deed("", "", "")).keys() - {"result"}
    for note in sorted(gone, key=lambda note: int(note["ts"])):
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(note["ts"] / SECOND))
        deed = Deed(**{name: note[name] for name in names}, result=f"begun {when}, its end is not known")
        audit.record(connection, deed)
    return len(gone)
