"""Devices that do what a test says of a rollout, on a time that the test gives."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select, update

from edge import SECOND, Event, encode_event
from sync import wire
from sync.control_plane import tables
from sync.control_plane.database import insert_new
from sync.control_plane.live import Hub
from sync.control_plane.messages import Message, apply_messages
from sync.control_plane.own import PLANE
from sync.control_plane.rollout_options import from_words
from sync.control_plane.rollout_work import Rollouts
from sync.control_plane.rollouts import R, Rollout, act, rollouts, start
from sync.control_plane.store import Store
from sync.control_plane.twin import wanted

EPOCH = "0123456789abcdef"
CALM = {"silent": {"after": "30d"}}


class Fleet:
    """`now` is in s UTC; `nudged` are the devices that were told to ask, in their order."""

    def __init__(self, store: Store) -> None:
        self.store, self.now, self.nudged = store, time.time(), list[str]()
        self.work = self._plane(gap=math.inf)  # a test may let hours pass between two looks
        self._seq = Counter[str]()

    def _plane(self, **more: float) -> Rollouts:
        return Rollouts(self.store, Hub(), self.nudged.extend, **more)

    async def restart(self, later: float) -> None:
        """The plane was away for so many seconds, and looks again."""
        self.work = self._plane()
        await self.look(later)

    async def enrol(self, *devices: str, site: str = "", **more: Any) -> None:
        row = {"secret": "", "enrolled": self.now, "seen": self.now, "class": "press", "site": site} | more
        await self.store.write(lambda c: insert_new(c, tables.device, [{"id": d, **row} for d in devices]))

    async def begin(self, what: str = "model/washer-3", **plan: Any) -> int:
        given = {"what": what, "devices": {"class": "press"}, "gates": CALM, **plan}
        number, _ = await self.store.write(lambda c: start(c, from_words(given), "li"))
        await self.look()
        return number

    async def look(self, later: float = 0.0) -> None:
        """What is to be done so many seconds later."""
        self.now += later
        while await self.work.look(self.now):
            pass

    async def order(self, number: int, verb: str) -> None:
        await self.store.write(lambda c: act(c, number, verb, "li"))
        await self.look()

    async def wants(self, device: str, name: str = "washer") -> tuple[str, str, int]:
        """(version, stage, generation) of what is wanted of a device."""
        rows = await self.store.read(lambda c: wanted(c, device))
        return next(((w.version, w.stage, w.generation) for w in rows if w.name == name), ("", "", 0))

    async def asked(self, version: str = "3") -> list[str]:
        """Of which devices that version is wanted."""
        t = tables.want
        those = select(t.c.device).where(t.c.version == version).order_by(t.c.device)
        return list(await self.store.read(lambda c: c.scalars(those).all()))

    async def tells(
        self, devices: str | Iterable[str], state: str, running: str = "", reason: str = "", name: str = "washer"
    ) -> None:
        """These devices say that of what is wanted of them now."""
        all_say = []
        for device in [devices] if isinstance(devices, str) else devices:
            version, stage, generation = await self.wants(device, name)
            said = {"version": version, "stage": stage, "generation": generation, "tried": version}
            said |= {"running": running or (version if state == "running" else "")}
            all_say.append((device, Event("twin", f"model/{name}", state, 0, "info", reason, said)))
        await self._arrive(all_say, self.now)

    async def happens(self, device: str, event: Event, at: float | None = None) -> None:
        """An event of a device, at a time of its own (default: now)."""
        await self._arrive([(device, event)], self.now if at is None else at)

    async def _arrive(self, events: list[tuple[str, Event]], at: float) -> None:
        """In one transaction: a plane that looks by itself sees all or none."""
        messages = []
        for device, event in events:
            self._seq[device] += 1
            ts = round(at * SECOND)
            whole = Event(event.kind, event.key, event.state, ts, event.severity, event.text, event.data)
            messages.append(
                Message(device, [wire.Frame(EPOCH, "event", self._seq[device], ts, ts, 1, encode_event(whole))])
            )
        t, heard = tables.device, [device for device, _ in events]

        def arrive(c: Connection) -> None:
            apply_messages(c, messages)
            c.execute(update(t).where(t.c.id.in_(heard)).values(seen=self.now))

        await self.store.write(arrive)

    async def takes(self, devices: Iterable[str], state: str = "running", running: str = "") -> None:
        """These devices begin at once, and end so."""
        some = list(devices)
        await self.tells(some, "trying")
        await self.tells(some, state, running)
        await self.look()

    async def rollout(self, number: int) -> Rollout:
        (found,) = await self.store.read(lambda c: rollouts(c, R.c.number == number))
        return found

    async def column(self, number: int, name: str) -> dict[str, Any]:
        """{device: what that column says}, in the order of the rollout."""
        d = tables.rollout_device
        those = select(d.c.device, d.c[name]).where(d.c.rollout == number).order_by(d.c.place)
        return {row[0]: row[1] for row in await self.store.read(lambda c: c.execute(those).all())}

    async def counts(self, number: int) -> dict[str, int]:
        """How many devices are in which state."""
        return dict(Counter((await self.column(number, "state")).values()))

    async def steps(self, kind: str = "rollout") -> list[str]:
        """What the plane has told, the oldest first."""
        e = tables.event
        those = select(e.c.state).where(e.c.device == PLANE, e.c.kind == kind).order_by(e.c.seq)
        return list(await self.store.read(lambda c: c.scalars(those).all()))
