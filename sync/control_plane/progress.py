"""How far each device has come: up to which minute everything of it is here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, select

from . import tables
from .cells import Home
from .database import among
from .rollup import HOUR, MINUTE

AT_ONCE = 500
BACK, AHEAD = 48 * HOUR, 24 * HOUR  # ns before and after now: where the last record of a stream is looked for


def _last(t: Table, time: Any, *own: str) -> Select[Any]:
    """Made once: to make it costs more than to ask it."""
    same = [t.c[name] == bindparam(name) for name in ("device", "epoch", *own)]
    near = (t.c.seq <= bindparam("stands"), time >= bindparam("low"), time <= bindparam("high"))
    return select(time).where(*same, *near).order_by(t.c.seq.desc()).limit(1)


LAST_EVENT = _last(tables.event, tables.event.c.ts)
LAST_BLOCK = _last(tables.block, tables.block.c.t1, "stream")


class Progress:
    """Kept in memory and read anew for the devices that have said something since."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._stood: dict[tuple[str, str, str], int] = {}
        self._minutes: dict[str, dict[tuple[str, str], int]] = {}
        self.tags: dict[str, int] = {}  # grows with each tag that a device tells

    def devices(self, connection: Connection) -> list[str]:
        return list(connection.scalars(select(tables.device.c.id).order_by(tables.device.c.id)))

    def refresh(self, connection: Connection, devices: Iterable[str], now: int) -> None:
        """Look where the streams of these stand, without holes, and of what time their last record there is."""
        t, listed = tables.device, sorted(devices)
        for k in range(0, len(listed), AT_ONCE):
            some = listed[k : k + AT_ONCE]
            rows = connection.execute(select(t.c.id, t.c.seen).where(among(connection, t.c.id, some)))
            moved = {device: seen for device, seen in rows if self._seen.get(device) != seen}
            self._look(connection, moved, now)
            self._seen |= moved

    def _look(self, connection: Connection, devices: Iterable[str], now: int) -> None:
        a = tables.applied
        wanted = select(a.c.device, a.c.epoch, a.c.stream, a.c.watermark)
        for device, epoch, stream, stands in list(
            connection.execute(wanted.where(among(connection, a.c.device, devices)))
        ):
            if self._stood.get((device, epoch, stream)) == stands:
                continue
            if stream == "tag":
                self.tags[device] = self.tags.get(device, 0) + 1
            elif (ts := self._time(connection, device, epoch, stream, stands, now)) is not None:
                self._minutes.setdefault(device, {})[epoch, stream] = ts // MINUTE
            self._stood[device, epoch, stream] = stands

    def _time(self, connection: Connection, device: str, epoch: str, stream: str, stands: int, now: int) -> int | None:
        """The time of the last record, unless that is far from now."""
        own = {"device": device, "epoch": epoch, "stands": stands, "low": now - BACK, "high": now + AHEAD}
        if stream == "event":
            found: int | None = connection.scalar(LAST_EVENT, own)
        else:
            found = connection.scalar(LAST_BLOCK, {**own, "stream": stream})
        return found

    def of_tag(self, device: str, places: Sequence[Home]) -> int:
        """All samples of a tag before this minute have come."""
        minutes = self._minutes.get(device, {})
        return max((minutes.get((home.epoch, home.stream), 0) for home in places), default=0)

    def of_events(self, device: str) -> int:
        """All events before this minute have come: they go before what is later."""
        return max(self._minutes.get(device, {}).values(), default=0)
