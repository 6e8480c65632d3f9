"""What a station tells people about its handshake, its load and its restarts, in words."""

from __future__ import annotations

from collections.abc import Sequence

from edge import Event

from .handshake import Result, Told

UNSEEN = "it rose while `ready` was low, or unseen"
WORDS = {
    "lost": "the PLC does not answer; verdicts wait",
    "unacked": "a verdict stands without its acknowledgement",
    "ack_stuck": "the acknowledgement does not fall; the next verdict waits",
    "full": "eight parts are under way or wait for their acknowledgement; no trigger is taken",
}


def event_of(stage: str, told: Told, why: str) -> Event | None:
    """The event of what the handshake told; None for what is no matter for people. `why` a trigger was refused."""
    if told.what == "refused":
        return Event("handshake", f"{stage}.refused", "refused", 0, "medium", f"a trigger was refused: {why}")
    if told.what not in ("raised", "cleared"):
        return None
    raised = told.what == "raised"
    text = WORDS[told.state] if raised else f"over: {WORDS[told.state]}"
    severity = "high" if raised else "info"
    return Event("handshake", f"{stage}.{told.state}", told.what, 0, severity, text, {"result_id": told.id})


def load_event(stage: str, step: int, given_up: Sequence[str]) -> Event:
    """`step` as `Load.saw` said it: more is given up now, or less."""
    text = f"verdicts come {'late' if step > 0 else 'in time again'}; given up: {', '.join(given_up) or 'nothing'}"
    return Event("station", stage, "degraded" if step > 0 else "restored", 0, "medium", text)


def overtaken(stage: str, owed: Result, utc: int) -> Event:
    """The record, not yet linked, of a part that was under way when the station ended."""
    data = {"part": owed.part, "inspection": owed.id, "label": "", "score": 0.0, "boxes": []}
    return Event("inspection", stage, "recheck", utc, "low", "the station ended before it was judged", data)
