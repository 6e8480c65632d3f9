"""How often a tag is sampled, as its device told at each start and each change of its site (events of kind `device`)."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from edge import SECOND

from . import tables

FOREVER = 2**61  # ns
LONGEST = 10**8  # seconds that a period may say
Place = tuple[str, int]  # epoch, id of a tag


class Told(NamedTuple):
    """One such event. `firm` is what a sample of the tag stands for by its period alone (ns); None where it is not in the site."""

    ts: int
    epoch: str
    firm: int | None


class Start(NamedTuple):
    """A start of the device, and whether a new journal begins with it."""

    ts: int
    anew: bool


class Promises:
    """What was told of one tag, under all ids and in all journals it had."""

    def __init__(self, events: Iterable[tuple[str, int, str, dict[str, Any]]], places: Sequence[Place]) -> None:
        """`events` (epoch, ts, state, data) in the order in which they happened. Where the clock was set back, what was told last
        holds from its time on."""
        self.told: list[Told] = []
        self.starts: list[Start] = []
        self.turns: list[int] = []  # when any promise began
        self._steps: dict[Place, list[tuple[int, int, int]]] = {place: [] for place in places}  # ts, stands, firm
        epoch_before = None
        for epoch, ts, state, data in events:
            known = {number: _of(data, number) for e, number in places if e == epoch}
            for number, seconds in known.items():
                _put(self._steps[epoch, number], (ts, *_stands(seconds)))
            firm = [_stands(seconds)[1] for seconds in known.values() if seconds is not None]
            _put(self.told, Told(ts, epoch, max(firm) if firm else None))
            self.turns.append(ts)
            if state == "started":
                self.starts.append(Start(ts, epoch_before not in (None, epoch)))
            epoch_before = epoch
        self.turns.sort()

    def stands(self, place: Place, ts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(ns in all, ns by the period alone) that a sample at each of these times stands for; 0 where nothing was promised."""
        steps = np.array([(-(2**63), 0, 0), *self._steps[place]], np.int64)
        at = np.searchsorted(steps[:, 0], ts, side="right") - 1
        return steps[at, 1], steps[at, 2]

    def longest(self, places: Iterable[Place]) -> int:
        return max((stands for place in places for _, stands, _ in self._steps[place]), default=0)

    def firm(self, ts: int) -> int:
        """What was told last before this time."""
        at = bisect.bisect_right(self.told, ts, key=lambda told: told.ts) - 1
        return (self.told[at].firm or 0) if at >= 0 else 0


def promises_of(connection: Connection, device: str, places: Sequence[Place]) -> Promises:
    """A journal's events in their order; journals by when they began."""
    e = tables.event
    told = (e.c.device == device, e.c.kind == "device", e.c.state.in_(("started", "changed")))
    wanted = select(e.c.epoch, e.c.ts, e.c.state, e.c.data).where(*told)
    journals: dict[str, list[tuple[str, int, str, dict[str, Any]]]] = {}
    for epoch, ts, state, data in connection.execute(wanted.order_by(e.c.seq)):
        journals.setdefault(epoch, []).append((epoch, ts, state, json.loads(data)))
    in_order = sorted(journals.values(), key=lambda rows: (rows[0][1], rows[0][0]))
    return Promises([row for rows in in_order for row in rows], places)


def _put(steps: list[Any], step: Any) -> None:
    while steps and steps[-1][0] >= step[0]:
        steps.pop()
    steps.append(step)


def _stands(seconds: tuple[float, float] | None) -> tuple[int, int]:
    """(in all, by the period alone), ns."""
    if seconds is None:
        return 0, 0
    every, quiet = seconds
    firm = round(1.5 * every * SECOND)
    return (firm + round(quiet * SECOND) if every else FOREVER), firm


def _of(data: dict[str, Any], number: int) -> tuple[float, float] | None:
    """(period, what a deadband may keep silent), both in seconds, of a tag; None where it is not in it, or that makes no sense."""
    try:
        for every, quiet, ids in data["every"]:
            spans = (span.partition("-") for span in ids.split(","))
            if any(int(a) <= number <= int(b or a) for a, _, b in spans):
                sound = 0 <= every <= LONGEST and 0 <= quiet <= LONGEST
                return (float(every), float(quiet)) if sound else None
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    return None
