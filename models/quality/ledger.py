"""The ledger of audited parts: what the station said, what a person found, and what that proves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from edge import Event, parts_needed, rate_below

from .charts import pareto


@dataclass(frozen=True)
class Part:
    """One inspection: the verdict of a stage, and the truth where a person looked ("" until then). `hash` is its record's."""

    id: str
    stage: str
    number: int | None
    ts: int
    verdict: str
    label: str = ""
    truth: str = ""
    found: str = ""
    by: str = ""
    hash: str = ""


def parts_of(events: Iterable[Event]) -> list[Part]:
    """Inspections in the journal's order, each with the newest review that names it. Reviews of what is not kept
    any more do not count."""
    parts: dict[str, Part] = {}
    for event in events:
        data = event.data
        if event.kind == "inspection":
            number = data.get("part")
            label = str(data.get("label", ""))
            record = str(data.get("hash", ""))
            parts[event.id] = Part(event.id, event.key, number, event.ts, event.state, label, hash=record)
        elif event.kind == "review" and (part := parts.get(str(data.get("of")))) is not None:
            found, by = str(data.get("label", "")), str(data.get("by", ""))
            parts[part.id] = replace(part, truth=event.state, found=found, by=by)
    return list(parts.values())


def of_other_records(events: Iterable[Event]) -> list[Event]:
    """Reviews of a record by a hash that it no longer has: it was made anew after a person saw it."""
    events = list(events)
    hashes = {event.id: event.data.get("hash") for event in events if event.kind == "inspection"}
    reviews = (event for event in events if event.kind == "review" and event.data.get("record"))
    return [e for e in reviews if hashes.get(str(e.data.get("of")), e.data["record"]) != e.data["record"]]


def shadowed(events: Iterable[Event], parts: Iterable[Part]) -> dict[str, int]:
    """What shadow tools said of parts: how many were seen, on how many a tool differs from the one that judged, for how many there
    was no time; and of those that differ and were reviewed, on how many the shadow was right, and on how many the station."""
    events = list(events)
    known = {
        str(event.data["hash"]): event.id for event in events if event.kind == "inspection" and "hash" in event.data
    }
    by_id = {part.id: part for part in parts}
    told = dict.fromkeys(("seen", "differs", "passed_over", "reviewed", "shadow_right", "station_right"), 0)
    for event in events:
        if event.kind != "shadow":
            continue
        told["seen"] += 1
        told["passed_over"] += int(event.data.get("passed_over", 0))
        told["differs"] += event.state == "differs"
        part = by_id.get(known.get(str(event.data.get("record")), ""))
        if event.state == "differs" and part is not None and part.truth:
            states = [said[1] for said in event.data.get("findings", {}).values()]
            worst = next((state for state in ("ng", "recheck") if state in states), "ok")
            told["reviewed"] += 1
            told["shadow_right"] += worst == part.truth
            told["station_right"] += part.verdict == part.truth
    return told


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
        bound = rate_below(found, of, confidence)
        return cls(found, of, bound, 0 if bound <= rate else parts_needed(rate, found, confidence) - of)


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
