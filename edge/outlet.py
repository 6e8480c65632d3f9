"""What a driver is given by the daemon: the way into the flow, and what is said when its device comes and goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .batch import Batch, Quality
from .clock import SECOND, is_sure
from .event import Event
from .frame import Frame
from .log import log
from .memory import PREFIX, packed, unpacked
from .tags import Tag
from .texts import LONGEST, clean
from .timekeeping import unsure

if TYPE_CHECKING:
    from .app import Daemon

GOLDEN = 0.6180339887  # of a circle: any number of points that lie this far apart, one after the other, are spread evenly over it


class Outlet:
    """A `Source` whose flow may be exchanged under it while the driver runs on."""

    def __init__(self, name: str, tags: Mapping[str, Tag], daemon: Daemon) -> None:
        self.name, self.tags, self.clock, self.folder = name, tags, daemon.clock, daemon.folder
        self._daemon = daemon
        self._kind = daemon.config.drivers[name].driver
        self.phase = list(daemon.config.drivers).index(name) * GOLDEN % 1
        self.state = "starting"  # starting, running, lost
        self.closed = False
        self.texts = daemon.journal.texts
        self._told: dict[int, int] = {}  # text tags: when an event last said that a string found no room (monotonic ns)

    def ready(self) -> bool:
        return self._daemon.journal.ready()

    def emit(self, batch: Batch) -> None:
        if not self.closed:
            self._daemon.accept(batch if is_sure(self.clock) else unsure(batch, self.clock.utc()))

    def frame(self, frame: Frame) -> None:
        if self.closed:
            frame.release()
        else:
            self._daemon.accept(frame)

    def event(self, event: Event) -> None:
        if not self.closed:
            self._daemon.accept(event)

    def text(self, tag: int, text: str) -> float:
        number = self.texts.value(tag, text)
        if number != number:
            self._left_out(tag, text)
        return number

    def _left_out(self, tag: int, text: str) -> None:
        """A string that finds no room in its table becomes an event; of several within a second one, the others are counted."""
        now, cause = self.clock.mono(), self.texts.why_not(tag, text)
        if now - self._told.get(tag, -SECOND) < SECOND:
            self.count(f"text_{cause}")
            return
        self._told[tag] = now
        name = next((known.name for known in self.tags.values() if known.id == tag), f"tag {tag}")
        self.event(Event("text", name, cause, severity="low", text=clean(text[:LONGEST]), data={"length": len(text)}))

    def count(self, cause: str, n: int = 1) -> None:
        self._daemon.health.count(self.name, cause, n)

    def running(self) -> None:
        if self.state == "running":
            return
        before, self.state = self.state, "running"
        self._daemon.health.state(self.name, "running")
        if before == "lost":
            self.event(Event("source", self.name, "back", text=f"{self.name} answers again"))

    @property
    def memory(self) -> Mapping[str, Any]:
        return unpacked(self._kind, self._daemon.memories.get(self.name))

    def remember(self, facts: Mapping[str, Any]) -> None:
        if self.closed:
            return
        try:
            body = self._daemon.memories[self.name] = packed(self._kind, facts)
        except ValueError as error:
            log.error("%s: %s; the device is asked anew after a restart", self.name, error)
            self.count("not_remembered")
        else:
            self._daemon.journal.append(snapshots={PREFIX + self.name: body})

    def lost(self, reason: str) -> None:
        """Say that nothing comes any more: every tag gets a BAD sample, and the first time an event tells why."""
        ids = [tag.id for tag in self.tags.values()]
        if ids:
            self.emit(Batch.of(self.name, ids, np.full(len(ids), np.nan), self.clock.utc(), Quality.BAD))
        if self.state != "lost":
            self.state = "lost"
            self.event(Event("source", self.name, "lost", severity="medium", text=reason))
