"""Shadow tools: another tool beside one that judges, tried on the parts of the line without a say in any verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge import Answer, Event, Job

from .part import Part
from .rules import Rule, Seen, decide
from .tools.contract import Finding
from .view import Viewer


@dataclass(frozen=True)
class Shadowed:
    """What the shadow tools of one view found; nothing where the pool had no place for them."""

    view: str
    findings: Mapping[str, Finding]
    took_ms: float = 0.0


@dataclass
class Waiting:
    """A part that has its verdict, and the views that shadow tools have still to see."""

    record: Event
    rules: list[Rule]
    left: list[tuple[Viewer, Mapping[str, Finding], np.ndarray]]
    said: dict[str, list[Any]] = field(default_factory=dict)
    took_ms: float = 0.0
    out: bool = False  # a job is under way


class Shadows:
    """One part at a time, one view at a time: what comes meanwhile is passed over and counted, so that a shadow tool takes no more
    than the time that is left."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._now: Waiting | None = None
        self._passed_over = 0

    def offer(self, record: Event, part: Part) -> None:
        """A part that has its verdict; `record` is its inspection event as it was linked."""
        left = [
            (view, shot.seen.findings, shot.image)
            for view in part.views()
            if (shot := part.judged.get(view.name)) is not None and shot.image is not None
        ]
        if left and self._now is not None:
            self._passed_over += 1
        elif left:
            self._now = Waiting(record, part.recipe.rules, left)

    def job(self) -> Job | None:
        """The next view, for the pool when it has nothing else to do; None while one is out, or none waits."""
        now = self._now
        if now is None or now.out:
            return None
        now.out = True
        viewer, _, image = now.left[0]
        return Job(
            lambda: [Answer(look(viewer, image))],
            lambda: [Answer(Shadowed(viewer.name, {}))],
            name=f"{self._stage} {viewer.name} shadow",
        )

    def answered(self, found: Shadowed) -> Event | None:
        """The event of a part, when all its views are seen."""
        now = self._now
        if now is None:
            return None
        viewer, said, _ = now.left.pop(0)
        now.out = False
        now.took_ms += found.took_ms
        for name, finding in found.findings.items():
            states = [_state(viewer, name, one, now.rules) for one in (said.get(name), finding)]
            now.said[f"{viewer.name}.{name}"] = [*states, round(float(finding.score), 4)]
        if now.left:
            return None
        self._now = None
        return self._event(now) if now.said else None

    def _event(self, now: Waiting) -> Event:
        differ = [f"{name}: {then}, the shadow {now}" for name, (then, now, _) in now.said.items() if then != now]
        data = {name: now.record.data.get(name) for name in ("part", "inspection", "recipe", "digest")}
        data |= {"record": now.record.data.get("hash"), "findings": now.said, "passed_over": self._passed_over}
        self._passed_over = 0
        data["took_ms"] = round(now.took_ms, 3)
        state = "differs" if differ else "agrees"
        return Event("shadow", self._stage, state, now.record.ts, "info", "; ".join(differ), data, now.record.refs)


def look(viewer: Viewer, image: np.ndarray) -> Shadowed:
    """On a pool thread."""
    began = time.perf_counter()
    return Shadowed(viewer.name, viewer.watch(image), (time.perf_counter() - began) * 1e3)


def _state(viewer: Viewer, name: str, finding: Finding | None, rules: list[Rule]) -> str:
    """By the recipe's rules, as if this tool were alone."""
    return "none" if finding is None else decide([Seen(viewer.name, {name: finding}, viewer.mm)], rules).state
