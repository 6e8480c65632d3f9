"""Who is told of which alarm: what happened is followed route by route, and messages become events of the plane's own.

Each is an event of kind `alert` whose key is the channel: forwarding brings it there, tries it again, sets it aside. Everything
here goes in one transaction: how far journals are read, how far alarms have come, and what is to be sent. So a kill between two of
them loses nothing and says nothing twice. What comes while a channel is away, or many at one time, gathers in one message.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, select, update

from edge import SECOND, Event

from . import alert_rows, alert_state, forward_state, forward_tables
from .alert_file import Alerts
from .alert_rows import Place
from .alert_state import Say
from .alert_text import ORDER, text_of, worst
from .forward_state import AT_ONCE, OWN
from .forward_target import Happened
from .live import Hub
from .own import PLANE, tell
from .repeat import repeat
from .store import Store

NAME = "alerts"  # of the cursors
EVERY = 1.0  # seconds between looks
MOST_JOURNALS, MOST_IDLE, MOST_DUE = 200, 2000, 500  # a transaction; idle ones have nothing for us
MOST_NOTES, MOST_READ = 200, 20_000  # alarms that a message holds, and that one for people may be of


class Alerting:
    """Follows alarms for as long as `run()` runs. `page` is where people find the plane; `now` is ns UTC."""

    def __init__(self, alerts: Alerts, page: str) -> None:
        self._alerts, self._page = alerts, page
        self._kinds = sorted({kind for route in alerts.routes.values() for kind in route.kinds})

    async def run(self, store: Store, hub: Hub) -> None:
        """Until cancelled. Raises StoreFault where it cannot begin."""
        await store.write(lambda c: begin(c, self._alerts))

        async def work() -> None:
            while await self.look(store, hub, time.time_ns()):
                pass

        await repeat(work, EVERY, "alerts wait")

    async def look(self, store: Store, hub: Hub, now: int) -> bool:
        """Do what is to be done; whether there may be more at once."""
        if not await store.read(lambda c: self._anything(c, now)):
            return False
        sent, more = await store.write(lambda c: self.step(c, now))
        if sent:
            hub.tell({"kind": "events", "device": PLANE})
        return more

    def _loud(self, now: int) -> list[str]:
        """Routes that are not muted."""
        return [name for name, route in self._alerts.routes.items() if not alert_state.muted(route.mute, now)]

    def _anything(self, connection: Connection, now: int) -> bool:
        a, n, loud = forward_tables.alert, forward_tables.alert_note, self._loud(now)
        ask = [select(a.c.route).where(a.c.due <= now, a.c.route.in_(loud)).limit(1)]
        ask += [select(n.c.number).where(n.c.due <= now, n.c.route.in_(loud)).limit(1)]
        return bool(forward_state.pending(connection, NAME)) or any(connection.execute(one).first() for one in ask)

    def step(self, connection: Connection, now: int) -> tuple[int, bool]:
        """How many messages there are, and whether there is more to do."""
        t, loud = forward_tables.target, self._loud(now)
        own = update(t).where(t.c.name == NAME).values(since=t.c.since)
        connection.execute(own)  # another plane may be at work: it waits, and sees what we did
        journals = forward_state.pending(connection, NAME)
        busy = forward_state.holding(connection, NAME, self._kinds) & journals.keys() if journals else set()
        idle = [(journal, to) for journal, (_, to) in journals.items() if journal not in busy]
        forward_state.pass_by(connection, NAME, dict(idle[:MOST_IDLE]))
        more = len(idle) > MOST_IDLE or len(busy) > MOST_JOURNALS
        for journal in sorted(busy)[:MOST_JOURNALS]:
            after, to = journals[journal]
            events = forward_state.read(connection, journal, after, to, self._kinds)
            for happened in events:
                self._follow(connection, happened, now, loud)
            full = len(events) == AT_ONCE
            forward_state.pass_by(connection, NAME, {journal: events[-1].seq if full else to})
            if events:
                forward_state.count(connection, NAME, len(events))
            more |= full
        more |= self._due(connection, now, loud)
        return self._send(connection, now, loud), more

    def _follow(self, connection: Connection, happened: Happened, now: int, loud: Sequence[str]) -> None:
        """Take one event into the course of its alarm on each route that wants it."""
        said = happened.content
        device = str(said["data"].get("device") or PLANE) if happened.device == PLANE else happened.device
        stands = alert_rows.stands(connection, device, said["data"])
        kind, key, state, ts = said["kind"], said["key"], said["state"], said["ts"]
        for name, route in self._alerts.routes.items():
            place = Place(name, happened.device, kind, key)
            if kind == "alarm" and state not in ("raised", "cleared"):
                continue
            before = alert_rows.course(connection, place)
            if state != "cleared" or kind != "alarm":
                if not route.wants(device, stands["site"], kind, key, said["severity"]):
                    continue
                took = alert_state.raised if kind == "alarm" else alert_state.happened
                after = took(before, route, happened.epoch, ts, now)
                if after != before:
                    alert_rows.keep(connection, place, after, alert_rows.seen(device, stands, said))
                continue
            after, says = alert_state.cleared(before, route, ts, now, name not in loud)
            if after == before:
                continue
            alert_rows.keep(connection, place, after)
            told = alert_rows.amended(connection, place, ts)
            left = [replace(say, to=tuple(name for name in say.to if name not in told)) for say in says]
            self._note(connection, place, left, now, {"cleared": ts})

    def _due(self, connection: Connection, now: int, loud: Sequence[str]) -> bool:
        """Say what it is time for."""
        a = forward_tables.alert
        those = (
            select(a).where(a.c.due <= now, a.c.route.in_(loud)).order_by(a.c.due, a.c.since, a.c.key).limit(MOST_DUE)
        )
        rows = connection.execute(those).mappings().all()
        for row in rows:
            place = Place(*(row[name] for name in ("route", "device", "kind", "key")))
            route, before = self._alerts.routes[place.route], alert_rows.course_of(row)
            after, says = alert_state.due(before, route, alert_rows.standing(connection, place), now)
            alert_rows.keep(connection, place, after)
            self._note(connection, place, says, now, {})
        return len(rows) == MOST_DUE

    def _note(
        self, connection: Connection, place: Place, says: Sequence[Say], now: int, more: Mapping[str, Any]
    ) -> None:
        """Leave what is to be said for each channel. What a route gathers is sent when the first of it is due."""
        a, n, route = forward_tables.alert, forward_tables.alert_note, self._alerts.routes[place.route]
        for say in says:
            row = connection.execute(select(a).where(*place.those(a))).mappings().one()
            note = json.loads(row["note"]) | {"what": say.what, "times": say.times, "since": row["since"], **more}
            for channel in say.to:
                first = None
                if route.digest:
                    mine = (n.c.channel == channel, n.c.route == place.route)
                    first = connection.scalar(select(n.c.due).where(*mine).limit(1)) or now + round(
                        route.digest * SECOND
                    )
                whole = {"route": place.route, "key": place.key, "kind": place.kind, **note}
                alert_rows.leave(connection, place, channel, first or now, whole)

    def _send(self, connection: Connection, now: int, loud: Sequence[str]) -> int:
        """Make messages of what is due; of a channel that has not taken its last ones yet, when it has."""
        n, sent = forward_tables.alert_note, 0
        for channel in self._alerts.channels:
            mine = (n.c.channel == channel, n.c.due <= now, n.c.route.in_(loud))
            most = MOST_NOTES if self._alerts.channels[channel].type == "webhook" else MOST_READ  # a program wants each
            rows = connection.execute(select(n).where(*mine).order_by(n.c.number).limit(most)).mappings().all()
            if not rows or alert_rows.under_way(connection, channel):
                continue
            messages = self._messages(channel, [(row["route"], json.loads(row["body"])) for row in rows])
            tell(connection, [self._event(channel, notes, now) for notes in messages])
            connection.execute(delete(n).where(*mine, n.c.number <= rows[-1]["number"]))
            sent += len(messages)
        return sent

    def _messages(self, channel: str, notes: Sequence[tuple[str, dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        routes, gathered, single = self._alerts.routes, dict[str, list[dict[str, Any]]](), list[list[dict[str, Any]]]()
        for route, note in notes:
            if routes[route].digest:
                gathered.setdefault(route, []).append(note)
            else:
                single.append([note])
        if len(single) > self._alerts.channels[channel].together:
            single = [[note for (note,) in single]]
        return [*single, *gathered.values()]

    def _event(self, channel: str, notes: Sequence[dict[str, Any]], now: int) -> Event:
        options = self._alerts.channels[channel]
        text = text_of(notes, options.language, options.zone, self._page)
        held = (
            sorted(notes, key=lambda note: ORDER.index(note["severity"]))[:MOST_NOTES]
            if len(notes) > MOST_NOTES
            else notes
        )
        return Event("alert", channel, "queued", now, worst(notes), text, {"alarms": list(held)})


# In the database


def begin(connection: Connection, alerts: Alerts) -> None:
    """A new section hears of what comes from now on; what left the file is forgotten."""
    a, n = forward_tables.alert, forward_tables.alert_note
    forward_state.begin(connection, NAME)
    for channel in alerts.channels:
        forward_state.begin(connection, f"{OWN}{channel}")  # before the first message there
    for table in (a, n):
        connection.execute(delete(table).where(table.c.route.not_in(list(alerts.routes))))
    connection.execute(delete(n).where(n.c.channel.not_in(list(alerts.channels))))


def end(connection: Connection) -> None:
    """Nobody is told of anything any more."""
    for table in (forward_tables.alert, forward_tables.alert_note):
        connection.execute(delete(table))


def set_aside(connection: Connection, message: Happened) -> None:
    """A channel does not take a message: who is told next of the alarms in it, where nobody acknowledges them, is told at once."""
    a = forward_tables.alert
    for note in message.content["data"].get("alarms", ()):
        mine = (a.c.route == note["route"], a.c.kind == note["kind"], a.c.key == note["key"])
        whose = a.c.device.in_((note["device"], PLANE))  # an alarm of a rule is about a device, and the plane's
        waits = (a.c.active, a.c.step > 0, a.c.due < alert_state.NEVER)
        connection.execute(update(a).where(*mine, whose, *waits).values(due=0))
