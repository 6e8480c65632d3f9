"""What the plane orders, carried out here or refused in words."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Collection
from typing import Any

from edge import SECOND, Event, Host, LinesideError, Write, log, sound_events

from .. import wire
from .asked import VERBS, Asked
from .lease import Lease
from .transport import Transport

LONGEST_VERB = 40
LONGEST_KEY = 200  # characters of what an order says that is not carried out
OWN = ("ack", "shelve", "unshelve", "write", "review", "normal")
NORMAL = "event:command normal"  # read by stages that a person may tell what is normal


def asks(after: int, wait: int, run: str = "", twin: int | None = None) -> str:
    """For orders above a number, for so many seconds; we answer also those of a kind that we do not know. `run` is who asks of all
    runs of this device, so that the plane notices two of it; `twin` the generation of what it wants of us, as far as we know."""
    more = (f"&run={run}" if run else "") + (f"&twin={twin}" if twin is not None else "")
    return f"/d/v1/dn?after={after}&wait={wait}&answers=1{more}"


class Orders:
    """`writes`: whether the site takes values, too; `answers`: which questions it answers."""

    def __init__(self, host: Host, writes: bool, answers: Collection[str] = (), lease: Lease | None = None) -> None:
        self._host, self._writes = host, writes
        self._asked, self._begun = Asked(host, answers, lease or Lease(host.clock)), False

    async def begin(self) -> None:
        """Before the first order is asked for."""
        if not self._begun:
            await self._asked.resume()
            self._begun = True

    def stop(self) -> None:
        self._asked.stop()

    async def carried_out(self, transport: Transport) -> int:
        """The number of the last order that was, where no cursor says it: the highest that an event in the journal has. Where there
        is none, no order is carried out or answered again that was given to an earlier journal, or before this one was damaged:
        those are asked for and told of in one event first. Raises what `exchange` does."""
        last, damaged = await self._host.journal.ask(known)
        if last:
            return last
        left = 0
        while True:
            answer = await transport.exchange("GET", asks(last, 0))
            orders = [(number, data) for number, _, data in wire.unpack_commands(answer) if number > last]
            old = list(itertools.takewhile(lambda order: self._is_old(order[1], damaged), orders))
            if not old:
                break
            last, left = old[-1][0], left + len(old)
        if left:
            since = "this journal was damaged" if damaged else "this device began a new journal"
            text = (
                f"{left} orders of the plane are not carried out: they were given before {since}, and whether they were"
            )
            text += " carried out is no longer known; give those again that are still wanted"
            told = {"number": last}
            self._host.accept(Event("command", "orders", "refused", severity="medium", text=text, data=told))
        return last

    def _is_old(self, data: dict[str, Any], damaged: int) -> bool:
        """Given to another journal, or before something of this one was found damaged (ns)."""
        if data.get("epoch", self._host.journal.epoch) != self._host.journal.epoch:
            return True
        return bool(damaged) and not younger(data.get("age"), (self._host.clock.utc() - damaged) / SECOND)

    @contextlib.asynccontextmanager
    async def turn(self, verb: str, data: dict[str, Any]) -> AsyncIterator[Event | None]:
        """What the journal knows of what an order is about: to be had before the order counts as taken, so that what it leads to is
        journaled with it."""
        if verb != "review":
            yield None
            return
        async with self._host.reviews.turn(data.get("seq")) as inspection:
            yield inspection

    async def __call__(self, number: int, verb: str, data: dict[str, Any], about: Event | None = None) -> None:
        if verb in VERBS:
            self._asked.take(number, verb, data)
            return
        if verb not in OWN:
            log.warning("sync: the plane asks for %r, which is not known here", verb[:40])
            self._refused(verb[:LONGEST_VERB], number, data, "this release does not know such an order; update it")
            return
        if (epoch := data.get("epoch", self._host.journal.epoch)) != self._host.journal.epoch:
            log.info("sync: an order (%s) of the time of another journal, %s, is not carried out again", verb, epoch)
            if verb == "review":
                self._refused("review", number, data, "this part was judged before a new journal began here")
            return
        if verb == "review":
            await self._review(number, data, about)
            return
        if verb == "normal" and data.get("stage") not in self._host.flow.taking(NORMAL):
            self._refused(verb, number, data, "this site has no such detector")
            return
        self._host.accept(Event("command", verb, data={**data, "number": number}))
        if verb == "write":
            await self._write(data)

    async def _review(self, number: int, data: dict[str, Any], about: Event | None) -> None:
        """In one commit with the order. Of an inspection that the journal keeps no more, as the plane remembers it."""
        if about is None:
            told = {"part": data.get("part"), "hash": data.get("record")}
            about = Event(
                "inspection", str(data.get("stage"))[:LONGEST_KEY], str(data.get("said"))[:LONGEST_KEY], data=told
            )
        said = {**data, "number": number}
        try:
            await self._host.reviews.taken(about, said, order=Event("command", "review", data=said))
        except LinesideError as error:
            self._refused("review", number, data, str(error))

    def _refused(self, verb: str, number: int, data: dict[str, Any], why: str) -> None:
        told = {k: data.get(k) for k in ("epoch", "seq", "part", "state", "by")} | {"number": number}
        self._host.accept(Event("command", verb, "refused", severity="low", text=why, data=told))

    async def _write(self, data: dict[str, Any]) -> None:
        """Carry an order out once it is durable; whatever becomes of it is told by an event."""
        name, value, age = str(data.get("tag")), data.get("value"), data.get("age", 0.0)
        cause = f"plane {str(data.get('by', ''))[:80]}".rstrip()
        why = "" if await self._host.journal.commit() else f"the journal cannot keep it: {self._host.journal.trouble}"
        if not self._writes:
            why = "this site takes no orders of the plane; `sync: {writes: true}` allows them"
        if name not in self._host.live.table:
            why = "this site has no such tag"
        if not (isinstance(value, (int, float, str)) and isinstance(age, (int, float))):
            why, value = "that is no value", None
        if value is None or why:
            self._host.accept(refused(name, value, cause, why))
            return
        tag, now = self._host.live.table[name], self._host.clock.mono()
        lives = tag.writable.expires - min(max(0.0, age), 1e9) if tag.writable else 0.0
        value = value if isinstance(value, str) else float(value)
        self._host.accept(Write(tag.id, value, expires=now + round(lives * SECOND), cause=cause))


def refused(name: str, value: Any, cause: str, why: str) -> Event:
    """What is told of an order to write that is not carried out; whatever it says is cut to a length."""
    told = {"value": value[:LONGEST_KEY] if isinstance(value, str) else value, "cause": cause}
    text = f"by {cause}: {why}"
    return Event("write", name[:LONGEST_KEY], "refused", severity="medium", text=text, data=told)


def younger(age: Any, than: float) -> bool:
    """Whether the plane says so (seconds); of an odd age nobody knows."""
    return isinstance(age, (int, float)) and age < than


def known(db: Any) -> tuple[int, int]:
    """The highest number of an order of which an event tells, and when something of the journal was last found damaged that may
    have been a cursor (ns); 0 where there is none."""
    numbers = (event.data.get("number") for event in sound_events(db, "WHERE kind = 'command'"))
    last = max((n for n in numbers if isinstance(n, int)), default=0)
    told = sound_events(db, "WHERE kind = 'journal' AND key IN ('journal', 'cursor')")
    return last, max((event.ts for event in told if event.state in ("damaged", "salvaged")), default=0)
