"""The ledger of audited parts: what the station said, what a person found, and what that proves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from edge import Event

from .bounds import below, needed
from .charts import pareto


@dataclass(frozen=True)
class Part:
    """One inspection: the verdict of a stage, and the truth where a person looked (`truth` "" until then)."""

    id: str
    stage: str
    number: int | None
    ts: int
    verdict: str
    label: str = ""
    truth: str = ""
    found: str = ""
    by: str = ""


def parts_of(events: Iterable[Event]) -> list[Part]:
    """Inspections in the journal's order, each with the newest review that names it. Reviews of what is not kept
    any more do not count."""
    parts: dict[str, Part] = {}
    for event in events:
        data = event.data
        if event.kind == "inspection":
            number = data.get("part")
            label = str(data.get("label", ""))
            parts[event.id] = Part(event.id, event.key, number, event.ts, event.state, label)
        elif event.kind == "review" and (part := parts.get(str(data.get("of")))) is not None:
            found, by = str(data.get("label", "")), str(data.get("by", ""))
            parts[part.id] = replace(part, truth=event.state, found=found, by=by)
    return list(parts.values())


@dataclass(frozen=True)
class Proof:
    """`found` of `of` audited parts, the rate that they show to be `below` at the asked confidence, and how many `more` without
    another find would show the wanted rate (0: shown)."""

    found: int
    of: int
    below: float
    more: int

    @classmethod
    def make(cls, found: int, of: int, rate: float, confidence: float) -> Proof:
        bound = below(found, of, confidence)
        return cls(found, of, bound, 0 if bound <= rate else needed(rate, found, confidence) - of)


def account(parts: Iterable[Part], rate: float, confidence: float = 0.95) -> dict[str, Any]:
    """Counts by verdict, escapes among the audited parts that were called OK, false calls among the audited ones that were called
    NG, and the Pareto of what was found: by the person where one looked, else by the station."""
    parts = list(parts)
    judged = {state: sum(p.verdict == state for p in parts) for state in ("ok", "ng", "recheck")}
    ok = [p for p in parts if p.verdict == "ok" and p.truth]
    ng = [p for p in parts if p.verdict == "ng" and p.truth]
    bad = [p for p in parts if (p.truth or p.verdict) == "ng"]
    return {
        "parts": len(parts),
        "judged": judged,
        "escapes": Proof.make(sum(p.truth == "ng" for p in ok), len(ok), rate, confidence),
        "false_calls": Proof.make(sum(p.truth == "ok" for p in ng), len(ng), rate, confidence),
        "pareto": pareto([p.found or p.label or "?" for p in bad]),
    }
