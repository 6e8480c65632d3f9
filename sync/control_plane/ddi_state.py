"""Firmware for clients that speak hawkBit's DDI instead of our twin (RAUC, SWUpdate): what is wanted of a device is an action
there, and what the client says of that is what the device tells."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select, update

from edge import Event, LinesideError

from . import tables
from .database import insert_new, upsert, word
from .own import tell

FIRMWARE, EPOCH = "firmware", "ddi"
ENDED = ("running", "shadow", "rolled_back", "refused")
STATES = {  # of `execution` to those of the twin; `closed` is in `said`
    **dict.fromkeys(("proceeding", "resumed", "download", "downloaded", "scheduled"), "trying"),
    **dict.fromkeys(("canceled", "rejected"), "refused"),
}
MOST_ATTRIBUTES = 100  # of one device
PATIENCE = 3600.0  # seconds that a client which is asked to stop says nothing, before it gets the next one all the same
MOST_WORDS = 2000  # characters of what a client says
T, W, D = tables.told_twin, tables.want, tables.ddi


class Action(NamedTuple):
    """What is wanted, what the device told of it last (""), and which version runs."""

    generation: int
    name: str
    version: str
    state: str
    running: str

    @property
    def number(self) -> int:
        """Which action it is to the client: SWUpdate keeps 31 bits. Two of a device that are 2^31 ms apart to the millisecond would
        have the same."""
        return self.generation & 0x7FFFFFFF

    @property
    def path(self) -> str:
        return f"{FIRMWARE}/{self.name}-{self.version}"


def attributes(connection: Connection, device: str) -> str | None:
    """What a device said that it is, as JSON; "" where it has not yet. None: it never asked by DDI."""
    said: str | None = connection.scalar(select(D.c.attributes).where(D.c.device == device))
    return said


def begins(connection: Connection, device: str) -> None:
    """A device asks by DDI: its twin says nothing of firmware from now on."""
    insert_new(connection, D, [{"device": device, "since": time.time(), "attributes": ""}])


def described(connection: Connection, device: str, mode: str, new: Mapping[str, str]) -> None:
    """What a device says that it is: instead of, beside, or less what it said before."""
    begins(connection, device)
    old = json.loads(attributes(connection, device) or "{}")
    kept = {} if mode == "replace" else old
    after = {k: v for k, v in kept.items() if k not in new} if mode == "remove" else kept | dict(new)
    if len(after) > MOST_ATTRIBUTES:
        raise LinesideError(f"a device says at most {MOST_ATTRIBUTES} things of what it is")
    connection.execute(update(D).where(D.c.device == device).values(attributes=json.dumps(after, ensure_ascii=False)))


def actions(connection: Connection, device: str) -> tuple[Action | None, Action | None]:
    """(the action that is open, one that has begun and is wanted no more). A device has one at a time."""
    told, wants = _rows(connection, device)
    for w in wants:
        t = told.get(w.name)
        if t is not None and t.state == "trying" and t.generation != w.generation:
            return None, _told(t)
    for w in wants:
        if w.version and (found := _wanted(w, told.get(w.name))).state not in ENDED:
            return found, None
    return None, None


def action(connection: Connection, device: str, number: int) -> Action | None:
    """The action of that number, also one that has ended."""
    told, wants = _rows(connection, device)
    found = [_told(t) for t in told.values()] + [_wanted(w, told.get(w.name)) for w in wants if w.version]
    return next((one for one in found if one.number == number), None)


def given_up(connection: Connection, device: str, now: float) -> tuple[int, bool]:
    """(the generation that a device is asked to stop, whether it has said nothing of it for too long). A clock that was set back
    since gives it its time anew."""
    row = connection.execute(select(D.c.stops, D.c.stops_since).where(D.c.device == device)).one()
    return (row.stops, now - row.stops_since >= PATIENCE) if row.stops_since <= now else (0, False)


def stops(connection: Connection, device: str, generation: int) -> None:
    """It is asked to stop that from now on."""
    own = update(D).where(D.c.device == device)
    connection.execute(own.values(stops=generation, stops_since=time.time()))


def heard(connection: Connection, device: str, done: Action) -> None:
    """It has said something of what it is asked to stop: it has its time anew."""
    own = update(D).where(D.c.device == device, D.c.stops == done.generation)
    connection.execute(own.values(stops_since=time.time()))


def _rows(connection: Connection, device: str) -> tuple[dict[str, Row[Any]], list[Row[Any]]]:
    """What the device told of firmware, by its name, and what is wanted of it, the oldest first."""
    told = connection.execute(select(T).where(T.c.device == device, T.c.kind == FIRMWARE))
    wants = connection.execute(select(W).where(W.c.device == device, W.c.kind == FIRMWARE).order_by(W.c.generation))
    return {row.name: row for row in told}, list(wants)


def _told(row: Row[Any]) -> Action:
    return Action(row.generation, row.name, row.tried, row.state, row.running)


def _wanted(want: Row[Any], told: Row[Any] | None) -> Action:
    state = told.state if told and told.generation == want.generation else ""
    return Action(want.generation, want.name, want.version, state, told.running if told else "")


def said(status: Any, cancel: bool = False) -> tuple[str, str]:
    """(state of the twin, words) of a feedback; state "": it changes nothing. Raises ValueError for what is none."""
    if not isinstance(status, dict) or not isinstance(execution := status.get("execution"), str):
        raise ValueError("status.execution is missing")
    result = status.get("result")
    finished = result.get("finished") if isinstance(result, dict) else None
    details = status.get("details")
    words = [str(line) for line in details] if isinstance(details, list) else []
    progress = result.get("progress") if isinstance(result, dict) else None
    if isinstance(progress, dict):
        words.append(f"{progress.get('cnt')} of {progress.get('of')}")
    text = word("; ".join(words), MOST_WORDS)
    if execution == "closed":
        if finished not in ("success", "failure", "none"):
            raise ValueError("status.result.finished is success, failure or none")
        if cancel:
            return "refused", text or "it was asked no more"
        return ("refused" if finished == "failure" else "running"), text
    if execution not in STATES:
        known = ", ".join(["closed", *STATES])
        raise ValueError(f"status.execution {execution[:40]!r} is none of {known}")
    if cancel:  # that of the cancellation: canceled, or rejected and the action goes on
        return ("refused" if execution == "canceled" else ""), text or "it was asked no more"
    return STATES[execution], text


def report(connection: Connection, device: str, done: Action, state: str, text: str) -> None:
    """What a device tells of an action, as if it had told its twin, and an event of the plane that says so."""
    now = time.time_ns()
    place = {"device": device, "kind": FIRMWARE, "name": done.name}
    running = done.version if state == "running" else done.running
    row = {"state": state, "running": running, "tried": done.version, "reason": text, "generation": done.generation}
    if done.state == state and state in ENDED:
        return
    heard(connection, device, done)
    upsert(connection, T, {**place, **row, "epoch": EPOCH, "seq": now // 1_000_000, "ts": now})
    data = {"device": device, "version": done.version, "running": running, "generation": done.generation}
    severity = "medium" if state == "refused" else "info"
    tell(connection, [Event("ddi", f"{device} {FIRMWARE}/{done.name}", state, now, severity, text, data)])
