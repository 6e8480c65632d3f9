"""The rules of the plane at work: what has come and is not judged yet is judged, each minute once.

A minute is judged when every device that a rule reads has delivered more than it, and after `wait` without those that have not. So
what comes later than that changes history and no alarm. Where an alarm stands is kept in one transaction with its events, and moved
only from where it stood before: neither a kill nor a second plane judges a minute twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, delete, select, update

from edge import SECOND, Event

from . import tables
from .cells import Home, Minutes, counted, homes, lead, taken
from .database import insert_new
from .judge import Rule, Standing, judge, key_of
from .live import Hub
from .own import PLANE, tell
from .progress import Progress
from .repeat import repeat
from .rollup import MINUTE
from .rule_options import ValueOptions
from .store import Store

EVERY = 5.0  # seconds between looks
SETTLED = (
    10 * SECOND
)  # after its end before a minute is judged: events that go before their block may be under way beside it
AT_ONCE, MOST_MINUTES = 50, 24 * 60  # alarms a transaction, minutes of each

Place = tuple[str, str]  # rule, device
Move = tuple[Place, Standing, Standing, list[Event]]


class Rules:
    """Judges for as long as `run()` runs. `now` everywhere is ns UTC."""

    def __init__(self, store: Store, hub: Hub, rules: Mapping[str, Rule], started: int) -> None:
        self._store, self._hub, self._rules, self._started = store, hub, rules, started
        self._standing: dict[Place, Standing] = {}
        self._progress, self._minutes = Progress(), Minutes()
        self._devices: list[str] | None = None
        self._homes: dict[tuple[str, str], tuple[int, list[Home]]] = {}

    async def run(self) -> None:
        """Until cancelled."""

        async def work() -> None:
            while await self.look(time.time_ns()):
                pass

        await repeat(work, EVERY, "rules wait")

    async def look(self, now: int) -> bool:
        """Judge what can be judged; whether there is more at once."""
        places = await self._places(now)
        more = False
        for k in range(0, len(places), AT_ONCE):
            some = places[k : k + AT_ONCE]
            moves = await self._store.read(lambda c, s=some: self._judged(c, s, now))  # type: ignore[misc]
            if not moves:
                continue
            lost = await self._store.write(lambda c, m=moves: settle(c, m))  # type: ignore[misc]
            self._standing |= {place: after for place, _, after, _ in moves if place not in lost}
            if lost:
                self._standing |= await self._store.read(standing)
            if any(events for *_, events in moves):
                self._hub.tell({"kind": "events", "device": PLANE})
            more |= any(after.until - before.until == MOST_MINUTES for _, before, after, _ in moves)
        return more

    async def _places(self, now: int) -> list[Place]:
        """Every alarm there is. A new one begins with this minute; one whose rule or device is no more ends."""
        devices = await self._store.read(self._progress.devices)
        if devices != self._devices:
            wanted = {
                (rule.name, d): rule.said for rule in self._rules.values() for d in rule.options.concerns(devices)
            }
            begun = {place: Standing(now // MINUTE, said=said) for place, said in wanted.items()}
            self._standing = await self._store.write(lambda c: begin(c, begun, now))
            self._devices = devices
        return list(self._standing)

    def _judged(self, connection: Connection, places: Iterable[Place], now: int) -> list[Move]:
        read = {value.whose(device) for name, device in places for value in self._rules[name].options.values.values()}
        self._progress.refresh(connection, read, now)
        moves: list[Move] = []
        for place in places:
            rule, device, before = self._rules[place[0]], place[1], self._standing[place]
            come = {name: self._come(connection, v, v.whose(device)) for name, v in rule.options.values.items()}
            end = self._end(rule, before.until, min(come.values()), now)
            if end <= before.until:
                continue
            columns = {
                name: self._column(connection, value, value.whose(device), come[name], before.until, end)
                for name, value in rule.options.values.items()
            }
            after, changes = judge(rule, device, before, columns)
            moves.append((place, before, after, [event for _, event in changes]))
        return moves

    def _end(self, rule: Rule, until: int, come: int, now: int) -> int:
        """Up to which minute it is to be judged."""
        wait = round(rule.options.wait * SECOND)
        waited = (now - wait) // MINUTE if now - self._started >= wait else 0
        return min(max(come, waited), (now - SETTLED) // MINUTE, until + MOST_MINUTES)

    def _come(self, connection: Connection, value: ValueOptions, device: str) -> int:
        if value.kind:
            return self._progress.of_events(device)
        return self._progress.of_tag(device, self._places_of(connection, device, value.tag))

    def _places_of(self, connection: Connection, device: str, tag: str) -> list[Home]:
        told = self._progress.tags.get(device, 0)
        stamp, found = self._homes.get((device, tag), (-1, []))
        if stamp != told:
            found = homes(connection, device, tag)
            self._homes[device, tag] = told, found
        return found

    def _column(
        self, connection: Connection, value: ValueOptions, device: str, come: int, first: int, end: int
    ) -> np.ndarray:
        if value.kind:
            column = counted(connection, device, value, first, end)
            column[max(0, come - first) :] = np.nan  # who has not delivered is not known to have none
            return column
        places = self._places_of(connection, device, value.tag)
        cells = self._minutes.of(connection, device, places, first - lead(value), end)
        return taken(cells, value, first, end)


def standing(connection: Connection) -> dict[Place, Standing]:
    """Where every alarm of the plane stands."""
    rows = connection.execute(select(tables.judged)).mappings()
    return {(row["rule"], row["device"]): Standing(**{n: row[n] for n in _FIELDS}) for row in rows}


def told(connection: Connection) -> list[dict[str, Any]]:
    """The same for people."""
    return [
        {"rule": rule, "device": device, "until": one.until * MINUTE, "active": one.active, "blind": one.blind}
        for (rule, device), one in sorted(standing(connection).items())
    ]


_FIELDS = ("until", "active", "held", "blind", "said")


def begin(connection: Connection, wanted: Mapping[Place, Standing], now: int) -> dict[Place, Standing]:
    """Where the `wanted` alarms stand, new ones among them; others end, and those of them that were raised are cleared."""
    t = tables.judged
    rows = [{"rule": rule, "device": device, **asdict(stands)} for (rule, device), stands in wanted.items()]
    insert_new(connection, t, rows)
    found, gone = standing(connection), []
    for (rule, device), stands in found.items():
        if (rule, device) in wanted:
            continue
        ended = connection.execute(delete(t).where(t.c.rule == rule, t.c.device == device, t.c.until == stands.until))
        if stands.active and ended.rowcount:
            text = "no longer among the rules of the plane"
            gone.append(
                Event("alarm", key_of(rule, device), "cleared", now, text=text, data={"rule": rule, "device": device})
            )
    tell(connection, gone)
    return {place: stands for place, stands in found.items() if place in wanted}


_T = tables.judged
MOVE = (
    update(_T)
    .where(_T.c.rule == bindparam("of_rule"), _T.c.device == bindparam("of_device"), _T.c.until == bindparam("stood"))
    .values({name: bindparam(name) for name in _FIELDS})
)


def settle(connection: Connection, moves: Sequence[Move]) -> set[Place]:
    """Keep where alarms stand now, with their events, unless another plane has moved them meanwhile; returns those."""
    lost, told = set[Place](), list[Event]()
    for place, before, after, events in moves:
        own = {"of_rule": place[0], "of_device": place[1], "stood": before.until}
        if connection.execute(MOVE, own | asdict(after)).rowcount:
            told += events
        else:
            lost.add(place)
    tell(connection, sorted(told, key=lambda event: event.ts))
    return lost
