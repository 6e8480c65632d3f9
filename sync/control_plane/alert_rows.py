"""Where each alarm stands on each route, and what is to be said of it, in the database: within the transaction of a look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, select, update

from . import forward_tables, tables
from .alert_state import Course, Standing
from .alert_text import MOST, ORDER
from .database import upsert
from .forward_state import OWN
from .own import EPOCH, PLANE

MOST_VALUES = 20  # that an alarm of a rule shows


@dataclass(frozen=True, slots=True)
class Place:
    """An alarm on a route."""

    route: str
    device: str
    kind: str
    key: str

    def those(self, table: Any) -> list[ColumnElement[bool]]:
        return [table.c[name] == value for name, value in asdict(self).items()]


def course(connection: Connection, place: Place) -> Course:
    a = forward_tables.alert
    row = connection.execute(select(a).where(*place.those(a))).mappings().first()
    return course_of(row) if row else Course()


def course_of(row: Mapping[Any, Any]) -> Course:
    return Course(**{name: row[name] for name in Course.__slots__})


def keep(connection: Connection, place: Place, course: Course, note: str | None = None) -> None:
    """`note`: what messages say of it, where that is new."""
    a = forward_tables.alert
    if note is not None:
        upsert(connection, a, {**asdict(place), **asdict(course), "note": note})
    else:
        connection.execute(update(a).where(*place.those(a)).values(**asdict(course)))


def stands(connection: Connection, device: str, data: Mapping[str, Any]) -> dict[str, str]:
    """Where a device stands, and of which class it is; of what the plane itself says (`data`), the asset that it is about."""
    if device == PLANE:
        return {"site": str(data.get("place", "")), "class": str(data.get("class", ""))}
    d = tables.device
    row = connection.execute(select(d.c.site, d.c["class"]).where(d.c.id == device)).mappings().first()
    return dict(row) if row else {"site": "", "class": ""}


def seen(device: str, stands: Mapping[str, str], said: Mapping[str, Any]) -> str:
    """What messages need of an event, and no more than that: many of them may go as one."""
    severity, data = said["severity"] if said["severity"] in ORDER else "info", said["data"]
    shown: dict[str, Any] = {"value": _number(data.get("value")), "when": str(data.get("when") or "")[:MOST]}
    if isinstance(values := data.get("values"), dict):
        shown["values"] = {str(name)[:MOST]: _number(values[name]) for name in list(values)[:MOST_VALUES]}
    note = {
        "device": device,
        **stands,
        "severity": severity,
        "state": said["state"],
        "text": said["text"][:MOST],
        "data": shown,
    }
    return json.dumps(note, ensure_ascii=False)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def leave(connection: Connection, place: Place, channel: str, due: int, note: Mapping[str, Any]) -> None:
    n = forward_tables.alert_note
    number = connection.scalar(select(func.coalesce(func.max(n.c.number), 0) + 1))  # nobody else is at it, see `step`
    body = json.dumps(note, ensure_ascii=False)
    connection.execute(n.insert().values(**asdict(place), number=number, channel=channel, due=due, body=body))


def amended(connection: Connection, place: Place, ts: int) -> set[str]:
    """Channels that were not sent yet that it was raised: the same message says now that it has cleared."""
    n = forward_tables.alert_note
    channels = set()
    for row in connection.execute(select(n).where(*place.those(n))).mappings().all():
        note = json.loads(row["body"])
        if note["what"] in ("raised", "unacked"):
            body = json.dumps(note | {"cleared": ts, "what": "over"}, ensure_ascii=False)
            connection.execute(update(n).where(n.c.number == row["number"]).values(body=body))
            channels.add(row["channel"])
    return channels


def standing(connection: Connection, place: Place) -> Standing | None:
    t = tables.alarm
    row = connection.execute(select(t).where(t.c.device == place.device, t.c.key == place.key)).mappings().first()
    return Standing(row["active"], row["acked"], row["shelved_until"]) if row and place.kind == "alarm" else None


def under_way(connection: Connection, channel: str) -> bool:
    """Whether a message waits to be taken."""
    e, f = tables.event, forward_tables.forwarded
    own = (f.c.target == f"{OWN}{channel}", f.c.device == PLANE, f.c.epoch == EPOCH)
    last = connection.scalar(select(f.c.watermark).where(*own))
    waits = (e.c.device == PLANE, e.c.epoch == EPOCH, e.c.kind == "alert", e.c.key == channel)
    after = last if last is not None else -1
    return bool(connection.scalar(select(exists().where(*waits, e.c.seq > after))))
