"""Rare facts with identity, and the orders that go back to devices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("info", "low", "medium", "high", "critical")


@dataclass(frozen=True, slots=True)
class Event:
    """A rare fact: alarm, inspection, detection, gap, source lost or back, write done, config applied.

    `key` names what it is about (the alarm, the inspection, the source); `state` how it stands now. Alarm life follows
    ISA-18.2: raised, cleared, acked, shelved, unshelved. `refs` are digests of evidence. Order is the journal's
    (epoch, stream, seq), never `ts` (nanoseconds UTC). `id` is given by the flow where it is empty.
    """

    kind: str
    key: str
    state: str = ""
    ts: int = 0
    severity: str = "info"
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    refs: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """Set one tag; a text tag to a string. `expires` is monotonic nanoseconds (0: when the tag's `writable` says); a write found
    expired is refused, not sent late. `cause` says who wants it: `alarm oil_hot`, `user anna`, `plane console`. Of a `quiet` one
    an event tells only when it is refused or fails: a bit that a machine moves each second."""

    tag: int
    value: float | str
    id: str = ""
    expires: int = 0
    cause: str = ""
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """The clock passing a time a stage asked for: `mono` and `utc`, both nanoseconds."""

    mono: int
    utc: int


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture kept by its SHA-256 `digest`; journaled in one transaction with the event that refers to it."""

    digest: str
    media: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Job:
    """Slow work a stage hands to the pool: `run()` on a pool thread, its result back as an item for the flow.

    `deadline` is monotonic nanoseconds (0: none). A job not started by then is not run: `expired()` gives the items that
    say so. Both return an iterable of Event, Batch, Write, Picture or Answer.
    """

    run: Any
    expired: Any = tuple
    deadline: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a job tells the stage that gave it, and nobody else: an item for that stage, never journaled. `mono` is the monotonic
    nanoseconds at which it came back, set by the flow."""

    value: Any
    mono: int = 0


def plain_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` as any JSON reader takes it: null for NaN, and its words for what JSON cannot say."""
    found: dict[str, Any] = json.loads(json.dumps(dict(data), default=str), parse_constant=lambda _: None)
    return found
