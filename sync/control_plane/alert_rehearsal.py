"""Tests of routes: alarms on a time of their own go the way they go at a plane, in a database that nobody keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from sqlalchemy import Connection, create_engine, func, select

from edge import SECOND, Duration, Event, Identifier, encode_event

from ..wire import Frame
from . import forward_state, forward_tables, tables
from .alert_file import Alerts
from .alert_options import Moment, Node, known_zone
from .alert_state import NEVER
from .alerting import Alerting, begin
from .database import upsert
from .forward_state import OWN
from .messages import apply_frames
from .own import EPOCH, PLANE

MOST_STEPS = 100  # an alarm and a message of a test
LONGEST = 7 * 86400.0  # seconds that a test may take
MINUTE = 60 * SECOND

What = Literal["raised", "over", "cleared", "unacked", "happened"]


class AlertHappening(BaseModel):
    """What a device says, or somebody does about an alarm."""

    model_config = {"extra": "forbid", "frozen": True}
    at: Duration = Field(le=LONGEST, description="how long after the beginning")
    device: str = Field("device-1", max_length=64, description="name of a device")
    site: Node = Field("", description="where it stands in the tree of tenants")
    key: str = Field(max_length=200, description="name of the alarm")
    state: str = Field("raised", max_length=40, description="raised, cleared, acked, shelved or unshelved")
    severity: Literal["info", "low", "medium", "high", "critical"] = Field("medium", description="how much it matters")
    kind: str = Field("alarm", max_length=40, description="kind of event")
    shelve: Duration = Field(3600.0, description="for how long, where it is shelved")


class AlertExpectation(BaseModel):
    """A message that a test expects, in order."""

    model_config = {"extra": "forbid", "frozen": True}
    at: Duration = Field(description="when, to the second")
    to: Identifier = Field(description="name of a channel")
    says: Annotated[list[What], BeforeValidator(lambda says: [says] if isinstance(says, str) else says)] = Field(
        min_length=1,
        description="what it says of its alarm, or a list for several: raised, over, cleared, unacked (nobody did), happened",
        json_schema_extra={"type": ["string", "array"]},
    )


class AlertTest(BaseModel):
    """A test of the routes, run by `lineside plane test FILE`."""

    model_config = {"extra": "forbid", "frozen": True}
    name: str = Field(description="what it shows, in a few words")
    begins: Moment = Field("2026-01-07 12:00", description="when it begins, by the clock of `zone`")
    zone: Annotated[str, AfterValidator(known_zone)] = Field("UTC", description="time zone, such as Asia/Shanghai")
    happens: list[AlertHappening] = Field(min_length=1, max_length=MOST_STEPS, description="what happens, in order")
    until: Duration = Field(0.0, le=LONGEST, description="goes on so long at least (default: a minute after the last)")
    expect: list[AlertExpectation] = Field(max_length=MOST_STEPS, description="what is sent, in order, exactly")

    @property
    def first(self) -> int:
        """ns UTC."""
        return round(datetime.fromisoformat(self.begins).replace(tzinfo=ZoneInfo(self.zone)).timestamp()) * SECOND

    @property
    def last(self) -> int:
        named = [*(one.at for one in self.happens), *(one.at for one in self.expect)]
        return self.first + round(max(self.until, 60 + max(named)) * SECOND)


def rehearse(alerts: Alerts, test: AlertTest) -> list[str]:
    """What is not as expected, one line each."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            tables.metadata.create_all(connection)
            found = [_line(*said) for said in _sent(connection, alerts, test)]
    finally:
        engine.dispose()
    wanted = [_line(round(one.at), one.to, tuple(sorted(one.says))) for one in test.expect]
    out = []
    for k in range(max(len(found), len(wanted))):
        got, due = (lines[k] if k < len(lines) else "nothing" for lines in (found, wanted))
        if got != due:
            out.append(f"message {k + 1}: {got}, expected {due}")
    return out


def _sent(connection: Connection, alerts: Alerts, test: AlertTest) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(seconds since the beginning, channel, what it says of each alarm) of each message."""
    alerting, seen = Alerting(alerts, ""), 0
    begin(connection, alerts)
    left = list(enumerate(sorted(test.happens, key=lambda one: one.at), start=1))
    now = test.first
    while now <= test.last:
        while left and test.first + round(left[0][1].at * SECOND) <= now:
            _happens(connection, test, *left.pop(0))
        while alerting.step(connection, now)[1]:
            pass
        for seq, channel, notes in _taken(connection, seen):
            seen = seq
            yield (now - test.first) // SECOND, channel, tuple(sorted(note["what"] for note in notes))
        now = _next(connection, test, now, left[0][1].at if left else None)


def _happens(connection: Connection, test: AlertTest, seq: int, one: AlertHappening) -> None:
    ts = test.first + round(one.at * SECOND)
    data = {"until": ts + round(one.shelve * SECOND)} if one.state == "shelved" else {}
    upsert(connection, tables.device, {"id": one.device, "site": one.site, "secret": "", "enrolled": 0.0, "seen": 0.0})
    happened = encode_event(Event(one.kind, one.key, one.state, ts, one.severity, "", data))
    last = _watermark(connection, one.device)
    apply_frames(connection, one.device, [Frame(EPOCH, "event", last + 1, ts, ts, 1, happened)])


def _watermark(connection: Connection, device: str) -> int:
    a = tables.applied
    place = (a.c.device == device, a.c.epoch == EPOCH, a.c.stream == "event")
    return connection.scalar(select(a.c.watermark).where(*place)) or 0


def _taken(connection: Connection, after: int) -> list[tuple[int, str, list[dict[str, Any]]]]:
    """New messages; their channels have taken them by now."""
    e = tables.event
    own = (e.c.device == PLANE, e.c.epoch == EPOCH, e.c.kind == "alert", e.c.seq > after)
    rows = connection.execute(select(e.c.seq, e.c.key, e.c.data).where(*own).order_by(e.c.seq)).all()
    for seq, channel, _ in rows:
        forward_state.pass_by(connection, f"{OWN}{channel}", {(PLANE, EPOCH): seq})
    return [(seq, channel, json.loads(data)["alarms"]) for seq, channel, data in rows]


def _next(connection: Connection, test: AlertTest, now: int, happens: float | None) -> int:
    """When there may be something to do: each minute begins or ends a time in which nothing is sent."""
    a, n = forward_tables.alert, forward_tables.alert_note
    due = [connection.scalar(select(func.min(t.c.due)).where(t.c.due > now)) or NEVER for t in (a, n)]
    due += [test.first + round(happens * SECOND)] if happens is not None else []
    return min(*due, now // MINUTE * MINUTE + MINUTE)


def _line(at: int, channel: str, says: tuple[str, ...]) -> str:
    """As it is written in a test."""
    return f"{{at: {at}s, to: {channel}, says: {says[0] if len(says) == 1 else '[' + ', '.join(says) + ']'}}}"
