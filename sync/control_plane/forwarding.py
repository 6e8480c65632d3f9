"""Forwarding of events to other systems: one cursor for each target and journal, moved when the target has taken the event.

Events of one device go one after the other in the order of their journal; what is behind a hole waits for it. A kill between
delivery and commit sends an event once more, under the same key. What a target refuses is set aside after some tries, in the
transaction that moves the cursor; what it cannot take now is tried until it can, and holds up no other device.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, func, or_, select, update

from edge import LinesideError, log

from . import forward_tables, tables, unfiled
from .database import insert_new, upsert, word
from .forward_options import ForwardOptions
from .own import PLANE
from .repeat import repeat
from .store import Store

EVERY = 2.0  # seconds between looks
AT_ONCE = 100  # events read at a time
MOST_STREAMS = 1000  # journals under way at a time
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0  # seconds between tries
OWN = "alert "  # how the names of targets begin that take events of the plane's own alone

Journal = tuple[str, str]  # device, epoch
ASIDE: Journal = ("", "")  # what was set aside, on its way once more


class Later(LinesideError):
    """It could not be taken now; `wish`: seconds that the target wants to be left alone."""

    heals = True

    def __init__(self, message: str, wish: float = 0.0) -> None:
        super().__init__(message)
        self.wish = wish


class Refused(LinesideError):
    """This event is not wanted, and will not be."""


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of a device, or of the plane itself."""

    device: str
    epoch: str
    seq: int
    content: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The same whenever it is sent."""
        return f"{self.device}/{self.epoch}/{self.seq}"

    @property
    def body(self) -> bytes:
        head = {"id": self.key, "device": self.device, "epoch": self.epoch, "seq": self.seq}
        return json.dumps(head | dict(self.content), ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


class Target(Protocol):
    """Where they go. `tries` of one that it refuses, `at_once` of all; of a `key` only events about that."""

    tries: int
    at_once: int
    key: str

    @property
    def options(self) -> ForwardOptions: ...

    async def deliver(self, happened: Happened) -> None: ...

    def close(self) -> None: ...


Aside = Callable[[Connection, Happened], None]  # what else follows, in the same transaction, where one is set aside


class Forwarding:
    """Forwards to one target for as long as `run()` runs."""

    def __init__(self, store: Store, name: str, target: Target, aside: Aside | None = None) -> None:
        self._store, self._name, self._target, self._aside = store, name, target, aside
        self._under_way: dict[Journal, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(target.at_once)
        self._troubles: dict[str, str] = {}  # by device
        self._said = ""
        self._begun = False

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await repeat(self._look, EVERY, f"events for {self._name} wait")
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)
            self._target.close()

    async def _look(self) -> None:
        if not self._begun:
            await self._store.write(lambda c: begin(c, self._name))
            self._begun = True
        busy = set(self._under_way)  # whose cursors move while we ask
        waiting = await self._store.read(lambda c: pending(c, self._name))
        unwanted = {journal: to for journal, (_, to) in waiting.items() if not self._target.options.wants(journal[0])}
        if unwanted:
            await self._store.write(lambda c: pass_by(c, self._name, unwanted))
        for journal, (after, to) in waiting.items():
            if journal in unwanted or journal in busy or len(self._under_way) >= MOST_STREAMS:
                continue
            self._start(journal, self._drain(journal, after, to))
        if ASIDE not in busy and (anew := await self._store.read(lambda c: marked(c, self._name))):
            self._start(ASIDE, self._once_more(anew))

    def _start(self, journal: Journal, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._under_way[journal] = task
        task.add_done_callback(lambda _: self._under_way.pop(journal, None))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except LinesideError as fault:  # the database is away, or another plane is quicker
            log.warning("plane: forwarding to %s begins anew: %s", self._name, fault)
        except Exception:
            log.exception("plane: forwarding to %s failed", self._name)

    async def _drain(self, journal: Journal, after: int, to: int) -> None:
        """Everything of a journal from `after` up to `to`."""
        kinds, key = self._target.options.kinds, self._target.key
        while after < to:
            events = await self._store.read(lambda c, a=after: read(c, journal, a, to, kinds, key))  # type: ignore[misc]
            for happened in events:
                why, tries = await self._send(happened)
                await self._store.write(
                    lambda c, h=happened, a=after, w=why, n=tries: self._move(c, h, a, w, n)  # type: ignore[misc]
                )
                after = happened.seq
            if len(events) < AT_ONCE:
                await self._store.write(lambda c: pass_by(c, self._name, {journal: to}))
                return

    def _move(self, connection: Connection, happened: Happened, after: int, why: str, tries: int) -> None:
        move(connection, self._name, happened, after, why, tries)
        if why and self._aside:
            self._aside(connection, happened)

    async def _once_more(self, events: list[Happened]) -> None:
        """What was set aside, as somebody asked; what is refused again is aside again."""
        for happened in events:
            why, tries = await self._send(happened)
            await self._store.write(
                lambda c, h=happened, w=why, n=tries: sent_again(c, self._name, h, w, n)  # type: ignore[misc]
            )

    async def _send(self, happened: Happened) -> tuple[str, int]:
        """Returns when it was taken ("", tries), or is to be set aside (why, tries)."""
        tries = refused = 0
        while True:
            try:
                async with self._turn:
                    await self._target.deliver(happened)
                await self._say(happened.device, "")
                return "", tries + 1
            except Refused as fault:
                refused += 1
                why, wish = str(fault), 0.0
                if refused >= self._target.tries:
                    log.warning("plane: %s is set aside, %s does not take it: %s", happened.key, self._name, why)
                    await self._say(happened.device, "")
                    return why, tries + 1
            except Later as fault:
                why, wish = str(fault), fault.wish
            await self._say(happened.device, why)
            await asyncio.sleep(delay(tries, wish))
            tries += 1

    async def _say(self, device: str, trouble: str) -> None:
        """Keep why events of a device wait, for people."""
        self._troubles.pop(device, None)
        if trouble:
            self._troubles[device] = trouble
        shown = next(iter(self._troubles.values()), "")
        if shown == self._said:
            return
        if shown:
            log.warning("plane: %s does not take events: %s", self._name, shown)
        self._said, trouble = shown, shown
        t, since = forward_tables.target, time.time() if trouble else 0.0
        values = {"trouble": word(trouble, 500), "since": since}
        await self._store.write(lambda c: c.execute(update(t).where(t.c.name == self._name).values(**values)) and None)


def delay(tries: int, wish: float = 0.0) -> float:
    """Seconds before the next try: longer each time, never the same for many planes at once, never less than was wished."""
    return max(wish, min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries, 20)) * random.uniform(0.5, 1.0))


# In the database


def begin(connection: Connection, name: str) -> None:
    """Note a target. A new one gets what comes from now on."""
    t, f, a = forward_tables.target, forward_tables.forwarded, tables.applied
    if connection.execute(update(t).where(t.c.name == name).values(trouble="", since=0.0)).rowcount:
        return  # there already; what its trouble was at an earlier start shows again
    insert_new(connection, t, [{"name": name, "delivered": 0, "trouble": "", "since": 0.0}])
    rows = connection.execute(select(a.c.device, a.c.epoch, a.c.watermark).where(a.c.stream == "event")).all()
    insert_new(connection, f, [{"target": name, "device": d, "epoch": e, "watermark": w} for d, e, w in rows])


def names(connection: Connection) -> list[str]:
    """Of all targets."""
    return list(connection.scalars(select(forward_tables.target.c.name)))


def end(connection: Connection, wanted: set[str]) -> list[str]:
    """Forget the cursors of targets that are no more, and what they refused; returns their names."""
    t, f, u = forward_tables.target, forward_tables.forwarded, forward_tables.undelivered
    gone = [name for name in names(connection) if name not in wanted]
    for name in gone:
        unfiled.end(connection, name)
        connection.execute(delete(f).where(f.c.target == name))
        connection.execute(delete(u).where(u.c.target == name))
        connection.execute(delete(t).where(t.c.name == name))
    return gone


def pending(connection: Connection, name: str) -> dict[Journal, tuple[int, int]]:
    """Of each journal that has news for a target: after which number they begin, and up to which they are here without holes."""
    a, f = tables.applied, forward_tables.forwarded
    own = and_(f.c.target == name, f.c.device == a.c.device, f.c.epoch == a.c.epoch)
    after = func.coalesce(f.c.watermark, -1)
    joined = select(a.c.device, a.c.epoch, after, a.c.watermark).select_from(a.outerjoin(f, own))
    wanted = joined.where(a.c.stream == "event", a.c.watermark > after, *_journals(name))
    rows = connection.execute(wanted.order_by(a.c.device, a.c.epoch))
    return {(device, epoch): (first, last) for device, epoch, first, last in rows}


def _journals(name: str) -> list[ColumnElement[bool]]:
    """Those that a target reads."""
    return [tables.applied.c.device == PLANE] if name.startswith(OWN) else []


def read(
    connection: Connection, journal: Journal, after: int, to: int, kinds: list[str], key: str = ""
) -> list[Happened]:
    """The next events of a journal, in its order."""
    e = tables.event
    own = [e.c.device == journal[0], e.c.epoch == journal[1], e.c.seq > after, e.c.seq <= to]
    own += [e.c.kind.in_(kinds)] if kinds else []
    own += [e.c.key == key] if key else []
    rows = connection.execute(select(e).where(*own).order_by(e.c.seq).limit(AT_ONCE)).mappings()
    return [_happened(row) for row in rows]


def _happened(row: Any) -> Happened:
    said = {name: row[name] for name in ("ts", "kind", "key", "state", "severity", "text")}
    data, refs = json.loads(row["data"]), json.loads(row["refs"])
    return Happened(row["device"], row["epoch"], row["seq"], said | {"data": data, "refs": refs})


def move(connection: Connection, name: str, happened: Happened, after: int, why: str, tries: int) -> None:
    """The cursor stands at this event; where it was not taken, it is set aside. Raises Later where another plane moved it."""
    f = forward_tables.forwarded
    place = {"target": name, "device": happened.device, "epoch": happened.epoch}
    insert_new(connection, f, [{**place, "watermark": -1}])
    own = [f.c[column] == value for column, value in place.items()]
    moved = connection.execute(
        update(f).where(*own, f.c.watermark >= after, f.c.watermark < happened.seq).values(watermark=happened.seq)
    )
    if not moved.rowcount:
        raise Later("its cursor was moved elsewhere")
    if why:
        aside = {**place, "seq": happened.seq, "why": word(why, 500), "tries": tries}
        upsert(connection, forward_tables.undelivered, {**aside, "at": time.time()})
    else:
        count(connection, name, 1)


def count(connection: Connection, name: str, more: int) -> None:
    """A target has taken them."""
    t = forward_tables.target
    connection.execute(update(t).where(t.c.name == name).values(delivered=t.c.delivered + more))


def again(connection: Connection, name: str) -> int:
    """Mark what a target refused to be sent once more: its `tries` are 0 until then. How many; what is forgotten by now is not."""
    u, e = forward_tables.undelivered, tables.event
    place = (e.c.device == u.c.device, e.c.epoch == u.c.epoch, e.c.seq == u.c.seq)
    there = exists(select(e.c.seq).where(*place).correlate(u))
    connection.execute(delete(u).where(u.c.target == name, ~there))
    return connection.execute(update(u).where(u.c.target == name, u.c.tries > 0).values(tries=0)).rowcount


def marked(connection: Connection, name: str) -> list[Happened]:
    """Some of those, the oldest first."""
    u, e = forward_tables.undelivered, tables.event
    mine = (u.c.target == name, u.c.tries == 0)
    place = and_(e.c.device == u.c.device, e.c.epoch == u.c.epoch, e.c.seq == u.c.seq)
    found = select(e).select_from(e.join(u, place)).where(*mine).order_by(e.c.ts, e.c.seq).limit(AT_ONCE)
    return [_happened(row) for row in connection.execute(found).mappings()]


def sent_again(connection: Connection, name: str, happened: Happened, why: str, tries: int) -> None:
    """It was taken, or is aside again."""
    t, u = forward_tables.target, forward_tables.undelivered
    place = {"target": name, "device": happened.device, "epoch": happened.epoch, "seq": happened.seq}
    own = [u.c[column] == value for column, value in place.items()]
    if why:
        aside = {"why": word(why, 500), "tries": tries, "at": time.time()}
        connection.execute(update(u).where(*own).values(**aside))
    elif connection.execute(delete(u).where(*own)).rowcount:
        connection.execute(update(t).where(t.c.name == name).values(delivered=t.c.delivered + 1))


def pass_by(connection: Connection, name: str, journals: Mapping[Journal, int]) -> None:
    """Move cursors over what the target does not want; never back."""
    if not journals:
        return
    f = forward_tables.forwarded
    insert_new(connection, f, [{"target": name, "device": d, "epoch": e, "watermark": -1} for d, e in journals])
    own = (f.c.target == name, f.c.device == bindparam("whose"), f.c.epoch == bindparam("which"))
    moved = update(f).where(*own, f.c.watermark < bindparam("up_to")).values(watermark=bindparam("up_to"))
    connection.execute(moved, [{"whose": d, "which": e, "up_to": to} for (d, e), to in journals.items()])


def holding(connection: Connection, name: str, kinds: list[str]) -> set[Journal]:
    """Which journals that have news for a target have some of these kinds."""
    a, f, e = tables.applied, forward_tables.forwarded, tables.event
    own = and_(f.c.target == name, f.c.device == a.c.device, f.c.epoch == a.c.epoch)
    after = func.coalesce(f.c.watermark, -1)
    news = (e.c.device == a.c.device, e.c.epoch == a.c.epoch, e.c.seq > after, e.c.seq <= a.c.watermark)
    some = exists(select(e.c.seq).where(*news, e.c.kind.in_(kinds)).correlate(a, f))
    joined = select(a.c.device, a.c.epoch).select_from(a.outerjoin(f, own))
    rows = connection.execute(joined.where(a.c.stream == "event", a.c.watermark > after, *_journals(name), some))
    return {(device, epoch) for device, epoch in rows}


def wanted() -> ColumnElement[bool]:
    """That an event still waits for one of the targets, or is to be sent once more: it is not forgotten, however old."""
    t, f, e = forward_tables.target, forward_tables.forwarded, tables.event
    own = and_(f.c.target == t.c.name, f.c.device == e.c.device, f.c.epoch == e.c.epoch)
    takes = ~t.c.name.startswith(unfiled.PREFIX) & (~t.c.name.startswith(OWN) | (e.c.device == PLANE))
    waits = select(t.c.name).select_from(t.outerjoin(f, own)).where(takes, e.c.seq > func.coalesce(f.c.watermark, -1))
    u = forward_tables.undelivered
    place = and_(u.c.device == e.c.device, u.c.epoch == e.c.epoch, u.c.seq == e.c.seq)
    return or_(exists(waits.correlate(e)), exists(select(u.c.target).where(place, u.c.tries == 0).correlate(e)))


def told(connection: Connection) -> list[dict[str, Any]]:
    """Every target for people: what it has got, what waits, what it refused, and why nothing goes there."""
    t, u = forward_tables.target, forward_tables.undelivered
    counted = connection.execute(select(u.c.target, func.count()).group_by(u.c.target))
    aside = {row[0]: row[1] for row in counted}
    rows = connection.execute(select(t).order_by(t.c.name)).mappings().all()
    return [{**row, "waits": _waits(connection, row["name"]), "aside": aside.get(row["name"], 0)} for row in rows]


def _waits(connection: Connection, name: str) -> int:
    """How many events have not been looked at for a target yet, or how many files are not stored there."""
    if name.startswith(unfiled.PREFIX):
        return unfiled.waits(connection, name)
    a, f, e = tables.applied, forward_tables.forwarded, tables.event
    own = and_(f.c.target == name, f.c.device == a.c.device, f.c.epoch == a.c.epoch)
    news = and_(e.c.device == a.c.device, e.c.epoch == a.c.epoch, e.c.seq <= a.c.watermark)
    after = func.coalesce(f.c.watermark, -1)
    joined = a.outerjoin(f, own).join(e, and_(news, e.c.seq > after))
    where = (a.c.stream == "event", a.c.watermark > after, *_journals(name))
    return connection.execute(select(func.count()).select_from(joined).where(*where)).scalar_one()
