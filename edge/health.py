"""What each part is doing, and every drop counted by cause."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .clock import Clock


@dataclass(slots=True)
class Part:
    """One supervised part: `state` is starting, running, waiting (to try again) or stopped; `reason` says why."""

    name: str
    state: str = "starting"
    reason: str = ""
    since: int = 0
    restarts: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class Health:
    """States and counters of all parts; plain numbers, read by the status line, the console and the watchdog."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.parts: dict[str, Part] = {}

    def part(self, name: str) -> Part:
        part = self.parts.get(name)
        if part is None:
            part = self.parts[name] = Part(name, since=self._clock.utc())
        return part

    def state(self, name: str, state: str, reason: str = "") -> bool:
        """Note a state; true if it changed."""
        part = self.part(name)
        if (part.state, part.reason) == (state, reason):
            return False
        changed = part.state != state
        part.state, part.reason, part.since = state, reason, self._clock.utc()
        return changed

    def count(self, name: str, cause: str, n: int = 1) -> None:
        if n:
            self.part(name).counts[cause] += n

    def forget(self, name: str) -> None:
        self.parts.pop(name, None)

    def report(self) -> dict[str, Any]:
        """As JSON: name -> state, reason, since, restarts, counts."""
        return {
            p.name: {
                "state": p.state,
                "reason": p.reason,
                "since": p.since,
                "restarts": p.restarts,
                "counts": dict(p.counts),
            }
            for p in self.parts.values()
        }
