"""The p chart of an inspection while it runs: its lots as they end, and whether the newest one is out of the ordinary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edge import Event

from .charts import of_rates
from .process import FEWEST

LEAST, MOST = 8, 50  # lots that say what is usual, and that are remembered


class Lots:
    """Of one station, in lots of `every` ns. An event tells when a lot breaks a run rule, and when a later one breaks none. What
    is usual is the NG share of the lots that broke none, so that a bad hour does not make the good ones after it odd."""

    def __init__(self, stage: str, every: int, kept: Mapping[str, Any] | None = None) -> None:
        """`kept` as `snapshot()` said it; lots of another length do not count, and what they had raised ends all the same."""
        self._stage, self._every = stage, every
        kept = kept or {}
        self._odd = bool(kept.get("odd", False))
        same = kept.get("every") == every
        self._ended = [(int(ng), int(of), int(odd)) for ng, of, odd in kept["ended"]][-MOST:] if same else []
        self._lot, self._ng, self._of = map(int, kept["now"]) if same else (0, 0, 0)

    def part(self, state: str) -> None:
        """One more part has its verdict."""
        self._of += 1
        self._ng += state == "ng"

    def look(self, utc: int) -> Iterator[Event]:
        """At `utc` (ns; 0 where nobody knows yet) a lot may have ended. Fewer than FEWEST parts are no lot."""
        if not utc or utc // self._every == self._lot:
            return
        began, ng, of = self._lot * self._every, self._ng, self._of
        self._lot, self._ng, self._of = utc // self._every, 0, 0
        if of < FEWEST:
            return
        usual, rules = self._judged(ng, of)
        self._ended = [*self._ended, (ng, of, int(bool(rules)))][-MOST:]
        if bool(rules) == self._odd:
            return
        self._odd = bool(rules)
        share = f"{ng:,} of {of:,} parts NG, {ng / of:.1%}, where {usual:.1%} are usual"
        data = {"since": began, "ng": ng, "of": of, "usual": round(usual, 6), "rules": rules}
        if rules:
            yield Event("station", self._stage, "unusual", 0, "medium", f"{share}: rule {'; '.join(rules)}", data)
        else:
            yield Event("station", self._stage, "usual", 0, "info", share, data)

    def _judged(self, ng: int, of: int) -> tuple[float, list[str]]:
        """What is usual, and the rules that this lot breaks after those before it."""
        lots = np.array([*self._ended, (ng, of, 0)], np.int64)
        good = lots[lots[:, 2] == 0]
        usual = float(good[:, 0].sum() / good[:, 1].sum())
        if len(lots) < LEAST:
            return usual, []
        chart = of_rates(lots[:, 0], lots[:, 1], usual)
        return usual, [rule for rule, broken in chart.broken.items() if broken[-1]]

    def snapshot(self) -> dict[str, Any]:
        """JSON can hold it."""
        now = [self._lot, self._ng, self._of]
        return {"every": self._every, "ended": self._ended, "now": now, "odd": self._odd}
