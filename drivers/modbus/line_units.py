"""What is known of each unit on a bus: how fast it answers, what went wrong, and how patiently a silent one is asked.

A unit that missed two requests in a row is left out of the scans and tried alone: after one period, two, four, up to a minute, for
less than a fifth of the period at a time (or twice its slowest answer), so that the others keep theirs within 1.2. Of a unit that
never answered every eighth try waits the full time-out, for it may be slower than that. Numbers only; nothing here waits.
"""

from __future__ import annotations

import math
from typing import Any

BUCKETS = 16  # of the latency: below 1, 2, 4 ... 16,384 ms, and the rest
SHARE = 0.18  # of the period, for one try of a silent unit and the rest after it
OUT_AFTER = 2  # misses in a row
STRANGERS = 2  # units that did not answer in one scan, after which none is asked for the first time
DEAD, DEAD_AT_LEISURE = 2, 4  # likewise, after which the bus is taken for dead where nobody else answered
SHORTEST = 0.02  # seconds that any unit has
LONGEST = 60.0  # seconds between two tries
PATIENT = 8  # every so many tries a unit that never answered gets the full time-out
NOBODY_THERE = (10, 11)  # exceptions of gateways: no path, no answer of the target
FADES = 0.99  # of the slowest answer, with each answer


class Unit:
    """One unit. `latency[k]` answers came within 2**k ms, the last holds all slower ones."""

    __slots__ = (
        "answers",
        "broken",
        "contradicted",
        "due",
        "late",
        "latency",
        "misses",
        "refused",
        "slowest",
        "timeouts",
    )
    SHOWN = ("answers", "refused", "timeouts", "late", "broken", "contradicted", "latency", "misses")

    def __init__(self) -> None:
        self.latency = [0] * BUCKETS
        self.slowest = 0.0  # seconds, fading
        self.answers = self.refused = 0  # right ones, exceptions among them
        self.timeouts = self.late = 0
        self.broken = 0  # no frame, or a wrong checksum
        self.contradicted = 0  # a frame that does not fit its request
        self.misses = 0  # in a row
        self.due = 0.0  # of the loop's time: not tried before

    @property
    def stranger(self) -> bool:
        """Whether it was neither heard nor missed yet."""
        return not (self.slowest or self.misses)

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.SHOWN}


class Units(dict[int, Unit]):
    """By unit number, made at first use. `period`: the shortest (inf: nobody waits, each has its full time-out); `hold`: how long
    the bus rests after a try. Seconds; times are the loop's."""

    def __init__(self, timeout: float, period: float, hold: float = 0.0) -> None:
        super().__init__()
        self.timeout, self.period, self.hold = timeout, period, hold
        self.heard_at = -math.inf  # anybody
        self.echoes = False  # the line's adapter sends back what it is sent, and nobody strips it

    def __missing__(self, number: int) -> Unit:
        made = self[number] = Unit()
        return made

    def limit(self, number: int, hurried: bool = False) -> float:
        """Seconds that an answer may take; `hurried`: another unit kept the others waiting already. One that was never asked may be
        slow: its first request always has the full time."""
        unit = self[number]
        if unit.misses % PATIENT == 0 if not unit.slowest else not (unit.misses or hurried):
            return self.timeout
        return min(self.timeout, max(SHORTEST, SHARE * self.period - self.hold, 2 * unit.slowest))

    def answered(self, number: int, now: float, seconds: float, code: int) -> None:
        """A right answer; `code`: 0 or the exception. A gateway's exception that nobody answers behind it is a miss."""
        self.heard_at = now
        if code in NOBODY_THERE:
            self.missed(number, now)
            return
        unit = self[number]
        unit.answers += 1
        unit.refused += code > 0
        unit.latency[min(int(seconds * 1000).bit_length(), BUCKETS - 1)] += 1
        unit.slowest = max(seconds, FADES * unit.slowest)
        unit.misses = 0

    def missed(self, number: int, now: float, silent: bool = True) -> None:
        """It kept the bus waiting for as long as it may, for nothing; not `silent`: something came that was no answer."""
        unit = self[number]
        unit.due = now + min(LONGEST, self.period * 2.0 ** min(unit.misses, 10))
        unit.timeouts += silent
        unit.misses += 1

    def dead(self, misses: int, since: float) -> bool:
        """Whether the bus is taken for dead after so many units of a scan that began at `since`."""
        enough = DEAD if self.period < math.inf else DEAD_AT_LEISURE
        return misses >= enough and self.heard_at < since

    def hurry(self, misses: int) -> bool:
        """Whether so many silent units in a scan are enough, so that none is asked for the first time in it."""
        return misses >= STRANGERS and self.period < math.inf

    def out(self, number: int) -> bool:
        """Whether it is left out of the scans."""
        return self[number].misses >= OUT_AFTER
