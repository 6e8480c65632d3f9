"""Which parts are worth a person's look and the line's bytes: the ones that a model would learn most from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge import Event

DAY = 86_400_000_000_000  # ns
NEAR = 0.1  # of the OK parts those with the highest scores, and of the NG parts those with the lowest


@dataclass(frozen=True)
class Chosen:
    """`why`: a shadow model says otherwise, its own verdict was a doubt, two tools of one view differ, or its score is one of
    those nearest to the other side."""

    id: str
    day: int
    why: str
    size: int


def choose(
    events: Iterable[Event],
    size_of: Callable[[Event], int | None],
    budget: int,
    *,
    shadowed: Collection[str] = (),
    known: Collection[str] = (),
) -> list[Chosen]:
    """Of the inspections of each day (UTC) as many as `budget` bytes take, one reason after the other, so that none crowds the
    others out; the same for the same events. `size_of` None: its pictures are not kept. `shadowed` are ids of inspections of
    which a shadow model says otherwise; `known` ones, that a person looked at already, are not chosen. A part that does not fit
    ends its day; one that would fit on no day is passed over."""
    events = [event for event in events if event.id not in known]
    far = _distances(events)
    days: dict[int, list[Event]] = {}
    for event in events:
        days.setdefault(event.ts // DAY, []).append(event)
    out: list[Chosen] = []
    for day in sorted(days):
        left = budget
        for event, why in _in_turn(days[day], far, shadowed):
            size = size_of(event)
            if size is None or size > budget:
                continue
            if size > left:
                break
            left -= size
            out.append(Chosen(event.id, day, why, size))
    return out


def _in_turn(events: list[Event], far: Mapping[str, float], shadowed: Collection[str]) -> Iterable[tuple[Event, str]]:
    """Each part under its first reason, the reasons by turns, the nearest of each first."""
    by_reason: dict[str, list[Event]] = {"shadow": [], "doubt": [], "tools": [], "near": []}
    for event in sorted(events, key=lambda e: (far.get(e.id, 1.0), e.ts, e.id)):
        if event.id in shadowed:
            by_reason["shadow"].append(event)
        elif event.state == "recheck":
            by_reason["doubt"].append(event)
        elif _tools_differ(event):
            by_reason["tools"].append(event)
        elif far.get(event.id, 1.0) <= NEAR:
            by_reason["near"].append(event)
    for turn in range(max(map(len, by_reason.values()))):
        yield from ((found[turn], why) for why, found in by_reason.items() if turn < len(found))


def _findings(event: Event) -> dict[str, tuple[str, float]]:
    """State and score by `view.tool`, of a record that says them."""
    said = event.data.get("findings")
    whole = said.items() if isinstance(said, dict) else ()
    return {str(name): (str(f[0]), float(f[1])) for name, f in whole if len(f) == 2 and isinstance(f[1], int | float)}


def _tools_differ(event: Event) -> bool:
    states: dict[str, set[str]] = {}
    for name, (state, _) in _findings(event).items():
        states.setdefault(name.partition(".")[0], set()).add(state)
    return any(len(said) > 1 for said in states.values())


def _distances(events: Iterable[Event]) -> dict[str, float]:
    """Of each part its least share, over its tools, of the parts of the same recipe and state that lie nearer to the other side:
    0 is the OK part with the highest score, or the NG part with the lowest. Ranks, since each tool has a scale of its own.
    Tools whose scores are all the same tell nothing."""
    groups: dict[tuple[Any, str, str], list[tuple[str, float]]] = {}
    for event in events:
        for name, (state, score) in _findings(event).items():
            if state in ("ok", "ng") and np.isfinite(score):
                groups.setdefault((event.data.get("digest"), name, state), []).append((event.id, score))
    least: dict[str, float] = {}
    for (_, _, state), found in groups.items():
        scores = np.array([score for _, score in found]) * (-1 if state == "ok" else 1)
        if np.ptp(scores) == 0:
            continue
        nearer = np.searchsorted(np.sort(scores), scores) / len(scores)
        for (which, _), share in zip(found, nearer.tolist(), strict=True):
            least[which] = min(share, least.get(which, 1.0))
    return least
