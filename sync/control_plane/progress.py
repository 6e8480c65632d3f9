"""How far each device has come: up to which minute everything of it is here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select

from . import tables
from .cells import Home
from .database import among
from .noted import Stream, below
from .rollup import MINUTE

AT_ONCE = 500


class Progress:
    """Kept in memory and read anew for the devices that have said something since."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._stood: dict[tuple[str, str, str], int] = {}
        self._minutes: dict[str, dict[tuple[str, str], int]] = {}
        self.tags: dict[str, int] = {}  # grows with each tag that a device tells

    def devices(self, connection: Connection) -> list[str]:
        return list(connection.scalars(select(tables.device.c.id).order_by(tables.device.c.id)))

    def refresh(self, connection: Connection, devices: Iterable[str]) -> None:
        """Look where the streams of these stand, without holes, and of what time their last record there is."""
        t, listed = tables.device, sorted(devices)
        for k in range(0, len(listed), AT_ONCE):
            some = listed[k : k + AT_ONCE]
            rows = connection.execute(select(t.c.id, t.c.seen).where(among(connection, t.c.id, some)))
            moved = {device: seen for device, seen in rows if self._seen.get(device) != seen}
            self._look(connection, moved)
            self._seen |= moved

    def _look(self, connection: Connection, devices: Iterable[str]) -> None:
        a = tables.applied
        wanted = select(a.c.device, a.c.epoch, a.c.stream, a.c.watermark)
        for device, epoch, stream, stands in list(
            connection.execute(wanted.where(among(connection, a.c.device, devices)))
        ):
            if self._stood.get((device, epoch, stream)) == stands:
                continue
            if stream == "tag":
                self.tags[device] = self.tags.get(device, 0) + 1
            elif (ts := self._time(connection, device, epoch, stream, stands)) is not None:
                self._minutes.setdefault(device, {})[epoch, stream] = ts // MINUTE
            self._stood[device, epoch, stream] = stands

    def _time(self, connection: Connection, device: str, epoch: str, stream: str, stands: int) -> int | None:
        if stream != "event":
            last = below(connection, Stream(device, epoch, stream), stands + 1)
            return last and last.t1
        e = tables.event
        own = (e.c.device == device, e.c.epoch == epoch, e.c.seq <= stands)
        found: int | None = connection.scalar(select(e.c.ts).where(*own).order_by(e.c.seq.desc()).limit(1))
        return found

    def of_tag(self, device: str, places: Sequence[Home]) -> int:
        """All samples of a tag before this minute have come."""
        minutes = self._minutes.get(device, {})
        return max((minutes.get((home.epoch, home.stream), 0) for home in places), default=0)

    def of_events(self, device: str) -> int:
        """All events before this minute have come: they go before what is later."""
        return max(self._minutes.get(device, {}).values(), default=0)
