"""Alarms against what was really wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge import SECOND, Stood


@dataclass(frozen=True)
class Score:
    """Of one alarm: how many of the known faults it began in (one that stood before says nothing of a fault), `delay_s` (median,
    from a fault's begin to the alarm, of those that it found), how many began in none, and how many that is a day (None: less
    than a day was looked at)."""

    found: int
    missed: int
    delay_s: float | None
    false: int
    false_a_day: float | None

    @classmethod
    def of(cls, alarms: Sequence[Stood], known: Sequence[Stood], days: float) -> Score:
        met = [[one.t0 for one in alarms if fault.t0 <= one.t0 <= fault.t1] for fault in known]
        late = [(min(begun) - fault.t0) / SECOND for begun, fault in zip(met, known, strict=True) if begun]
        false = len(alarms) - len({at for begun in met for at in begun})
        delay = round(float(np.median(late)), 1) if late else None
        return cls(len(late), len(known) - len(late), delay, false, round(false / days, 2) if days >= 1 else None)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def words(known: dict[str, Any]) -> Iterator[str]:
    """A table of what `rules` puts under `known`: {"by", "faults", "alarms": {key: {"before", "now"}}}."""
    yield f"of {known['faults']:,} known faults ({known['by']}):"
    yield f"{'alarm':<30} {'found':>12} {'missed':>12} {'delay s':>14} {'false':>12} {'false a day':>16}"
    for key, both in known["alarms"].items():
        wide = {"found": 12, "missed": 12, "delay_s": 14, "false": 12, "false_a_day": 16}
        cells = (f"{_shown(both['before'][n])} -> {_shown(both['now'][n])}".rjust(w) for n, w in wide.items())
        yield f"{key:<30} {' '.join(cells)}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,g}"
