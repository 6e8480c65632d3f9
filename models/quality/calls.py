"""What another recipe makes of parts that were judged: calls gained and lost, and what the reviews say of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from .ledger import Part, account


@dataclass(frozen=True)
class Call:
    """`now` is what the other recipe says of the stored pictures; `again` what the recipe that judged then says of them, None
    where it is not here."""

    part: Part
    now: str
    again: str | None = None

    @property
    def alike(self) -> bool:
        """Whether the stored pictures stand for those that were judged, as far as anybody can tell."""
        return self.again in (None, self.part.verdict)

    @property
    def changed(self) -> bool:
        return self.alike and self.now != self.part.verdict


def compare(calls: Iterable[Call], rate: float, confidence: float = 0.95) -> dict[str, Any]:
    """`changes` counts (said, now); `before` and `after` are accounts of the same parts. `unlike` parts, on whose stored pictures
    already the recipe of then says something else, count in none of them; `untried` ones, of which nobody can tell, do."""
    calls = list(calls)
    alike = [call for call in calls if call.alike]
    changes = Counter((call.part.verdict, call.now) for call in alike if call.changed)
    return {
        "compared": len(alike),
        "unlike": len(calls) - len(alike),
        "untried": sum(call.again is None for call in calls),
        "changes": {f"{said}->{now}": count for (said, now), count in sorted(changes.items())},
        "before": account([call.part for call in alike], rate, confidence),
        "after": account([replace(call.part, verdict=call.now) for call in alike], rate, confidence),
    }
