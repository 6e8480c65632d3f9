"""From findings to a verdict: OK, NG or RECHECK by class, size and place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field, PositiveInt, model_validator

from .tools.contract import Finding, State
from .verdict import Box

Place = tuple[int, int, int, int]  # x, y, width, height

WORSE: tuple[State, ...] = ("ok", "recheck", "ng")
RANGES = (("longer_px", "shorter_px"), ("longer_mm", "shorter_mm"), ("score_above", "score_below"))


class Rule(BaseModel):
    """What a found defect means. All that is said has to hold; the first rule that holds decides."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    label: list[str] = Field(default_factory=list, description="classes it is about; empty: every one")
    view: str = Field("", description="only in this view")
    inside: tuple[int, int, PositiveInt, PositiveInt] | None = Field(
        None, description="x, y, width, height in pixels of the view: the middle of the defect lies in it"
    )
    longer_px: float | None = Field(None, ge=0, description="the longer side of its box has at least this many pixels")
    shorter_px: float | None = Field(None, gt=0, description="the longer side has fewer pixels than this")
    longer_mm: float | None = Field(None, ge=0, description="likewise in millimetres; the view has to say `mm`")
    shorter_mm: float | None = Field(None, gt=0, description="likewise in millimetres; the view has to say `mm`")
    score_above: float | None = Field(None, description="its score is at least this")
    score_below: float | None = Field(None, description="its score is below this")
    then: Literal["ok", "ng", "recheck"] = Field(description="what such a defect makes the part")

    @model_validator(mode="after")
    def _says_something(self) -> Rule:
        if self.model_fields_set <= {"then"}:
            raise ValueError("it holds for every defect: say which (label, view, inside, longer_px ...)")
        for low, high in RANGES:
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least >= most:
                raise ValueError(f"it holds for nothing: no defect has {low} {least:g} and {high} {most:g}")
        return self

    @property
    def of_place(self) -> bool:
        """Whether it asks where a defect is, or how large."""
        sizes = (self.longer_px, self.shorter_px, self.longer_mm, self.shorter_mm)
        return self.inside is not None or any(size is not None for size in sizes)

    def covers(self, other: Rule) -> bool:
        """Whether it holds for all that `other` holds for."""
        mine, theirs = self.inside, other.inside
        return all(
            [
                not self.label or (bool(other.label) and set(other.label) <= set(self.label)),
                self.view in ("", other.view),
                mine is None or (theirs is not None and _holds(mine, theirs)),
                *(_covers(self, other, low, high) for low, high in RANGES),
            ]
        )

    @property
    def in_mm(self) -> bool:
        return self.longer_mm is not None or self.shorter_mm is not None

    def holds(self, view: str, box: Box, mm: float | None) -> bool:
        x0, y0, x1, y1, label, score = box
        side = max(x1 - x0, y1 - y0)
        checks = [
            not self.label or label in self.label,
            not self.view or view == self.view,
            self.inside is None or _within((x0 + x1) / 2, (y0 + y1) / 2, self.inside),
            _between(side, self.longer_px, self.shorter_px),
            _between(score, self.score_above, self.score_below),
            not self.in_mm or (mm is not None and _between(side * mm, self.longer_mm, self.shorter_mm)),
        ]
        return all(checks)


def _covers(one: Rule, other: Rule, low: str, high: str) -> bool:
    (a, b), (c, d) = ((getattr(rule, low), getattr(rule, high)) for rule in (one, other))
    return (a is None or (c is not None and c >= a)) and (b is None or (d is not None and d <= b))


def _holds(outer: Place, inner: Place) -> bool:
    (x, y, w, h), (a, b, c, d) = outer, inner
    return x <= a and y <= b and a + c <= x + w and b + d <= y + h


def _within(x: float, y: float, place: Place) -> bool:
    return place[0] <= x < place[0] + place[2] and place[1] <= y < place[1] + place[3]


def _between(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value < high)


@dataclass(frozen=True)
class Seen:
    """What the tools of one view said: findings by tool."""

    view: str
    findings: Mapping[str, Finding]
    mm: float | None = None
    took_ms: float = 0.0
    place: np.ndarray | None = (
        None  # float64[2, 3]: from a place in the view to the one in the camera's picture; None: the same
    )


@dataclass(frozen=True)
class Decision:
    """The verdict on a part. `boxes` in pixels of the camera's picture, as (view, box, state); `measured` as `view.tool.name`."""

    state: State
    score: float = 0.0
    label: str = ""
    text: str = ""
    boxes: list[tuple[str, Box, State]] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)


def decide(seen: Iterable[Seen], rules: Iterable[Rule]) -> Decision:
    """The worst of all findings: NG before RECHECK before OK. A finding with boxes is as bad as the worst of them by the rules;
    one without is what its tool said, and so is a box that no rule is about."""
    rules = list(rules)
    worst: State = "ok"
    why: list[tuple[int, str]] = []
    boxes: list[tuple[str, Box, State]] = []
    measured: dict[str, float] = {}
    score = 0.0
    for view in seen:
        for name, finding in view.findings.items():
            judged = [(box, _ruled(view, box, finding, rules)) for box in finding.boxes]
            if finding.also and all(s == "ok" for _, s in judged):  # nor is the next likeliest class proved to be none
                judged += [(box, _ruled(view, box, finding, rules)) for box in finding.also]
            state = max((s for _, s in judged), key=WORSE.index) if judged else finding.state
            boxes += [(view.view, placed(box, view.place), s) for box, s in judged]
            measured |= {f"{view.view}.{name}.{key}": float(value) for key, value in finding.measured.items()}
            if state != "ok":
                why.append((WORSE.index(state), f"{view.view}: {_why(finding, len(judged), state)}"))
            worst, score = max(worst, state, key=WORSE.index), max(score, float(finding.score))
    bad = [box for _, box, state in boxes if state == worst and worst != "ok"]
    label = max(bad, key=lambda box: box[5])[4] if bad else ""
    text = "; ".join(said for bad_as, said in why if bad_as == WORSE.index(worst))
    return Decision(worst, score, label, text, boxes, measured)


def striking(seen: Seen, rules: Iterable[Rule]) -> bool:
    """Whether a view shows what somebody may want to look at: to a tool, or by a rule."""
    return any(finding.state != "ok" for finding in seen.findings.values()) or decide([seen], rules).state != "ok"


def _why(finding: Finding, judged: int, state: State) -> str:
    """For the operator; `judged` boxes made it `state`."""
    told = finding.text or state
    if judged > len(finding.boxes):
        best = {box[4]: box[5] for box in sorted(finding.also, key=lambda box: box[5])}
        kinds = ", ".join(
            f"{label.replace('_', ' ')} ({best[label]:.0%})" for label in sorted(best, key=lambda n: -best[n])
        )
        told += f", which the rules let pass; it may be {kinds}"
    return told if state == finding.state else f"{told}: {state.upper()} by the rules"


def placed(box: Box, place: np.ndarray | None) -> Box:
    """A box of a view around the same piece of the camera's picture."""
    if place is None:
        return box
    x0, y0, x1, y1 = box[:4]
    corners = np.array([(x0, y0, 1), (x1, y0, 1), (x1, y1, 1), (x0, y1, 1)], float) @ place.T
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    return (int(left), int(top), int(right), int(bottom), box[4], box[5])


def _ruled(view: Seen, box: Box, finding: Finding, rules: list[Rule]) -> State:
    said = finding.of(box)
    ruled: State = next((rule.then for rule in rules if rule.holds(view.view, box, view.mm)), said)
    return max(ruled, said, key=WORSE.index) if finding.firm else ruled


def plain(boxes: list[tuple[str, Box, State]]) -> list[list[Any]]:
    """As JSON: x0, y0, x1, y1, label, score, view, state."""
    return [[*map(int, box[:4]), box[4], round(float(box[5]), 4), view, state] for view, box, state in boxes]
