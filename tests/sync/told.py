"""Alarms of devices, and a plane that tells people of them, on a time that the test gives."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from edge import SECOND, Event, encode_event
from sync import wire
from sync.control_plane import tables
from sync.control_plane.alert_file import Alerts
from sync.control_plane.alert_options import TYPES, RouteOptions
from sync.control_plane.alerting import Alerting, begin
from sync.control_plane.live import Hub
from sync.control_plane.messages import Message
from sync.control_plane.store import Store

EPOCH, T0 = "0123456789abcdef", 1_795_000_000 * SECOND
MINUTE = 60 * SECOND
SECRET = "sixteen letters!"


def alerts(channels: dict[str, dict[str, Any]], routes: dict[str, dict[str, Any]]) -> Alerts:
    return Alerts(
        {name: TYPES[given["type"]].model_validate(given) for name, given in channels.items()},
        {name: RouteOptions.model_validate(given) for name, given in routes.items()},
    )


def hook(url: str = "http://127.0.0.1:1/", **more: Any) -> dict[str, Any]:
    return {"type": "webhook", "url": url, "secret": SECRET, "private": True, **more}


def frame(
    seq: int, key: str, state: str, ts: int, severity: str = "high", kind: str = "alarm", **data: Any
) -> wire.Frame:
    happened = Event(kind, key, state, ts, severity, "the oil is hot", data)
    return wire.Frame(EPOCH, "event", seq, ts, ts, 1, encode_event(happened))


async def comes(store: Store, device: str, *frames: wire.Frame) -> None:
    await store.write(Message(device, list(frames)))


class Told:
    """A plane at work on given times; `texts()` is every message that was made, the oldest first."""

    def __init__(self, store: Store, given: Alerts, page: str = "") -> None:
        self.store, self.given = store, given
        self.alerting = Alerting(given, page)

    async def begin(self) -> Told:
        await self.store.write(lambda c: begin(c, self.given))
        return self

    async def look(self, now: int) -> None:
        while await self.alerting.look(self.store, Hub(), now):
            pass

    async def messages(self) -> list[tuple[str, dict[str, Any]]]:
        """(channel, event) of each."""
        e = tables.event
        those = select(e).where(e.c.kind == "alert").order_by(e.c.seq)
        rows = await self.store.read(lambda c: c.execute(those).mappings().all())
        return [(row["key"], {**row, "data": json.loads(row["data"])}) for row in rows]

    async def heads(self) -> list[str]:
        """`CHANNEL: first line` of each."""
        return [f"{channel}: {event['text'].splitlines()[0]}" for channel, event in await self.messages()]
