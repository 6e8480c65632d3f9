"""What one unit teaches by its answers: addresses that it lacks, and how much it gives at once.

A refused request (exception 2 or 3) is cut in two and asked again, and at last a tag apart from those within its registers, until
what is refused cannot be cut; then it is concluded why:
- tags that are refused by themselves lie in a hole, but for what others within their registers gave;
- a request without unused registers that is refused while its pieces are answered was too long;
- unused registers between pieces that are answered are a hole.
The last two only when it is seen twice in a row: a device may also refuse now and then without a reason. A hole that answers is
none any more; and what was concluded is doubted in turn, so that nothing wrong stays for good.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from .address import BITS, Span
from .cover import Range, joined, touches
from .plan import Request
from .rules import MOST_BITS, MOST_REGISTERS

REFUSED = ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3  # Modbus Application Protocol 1.1b3, section 7
MOST_HOLES = 64  # of a unit
Answer = tuple[Request, int]  # and its code
Tried = tuple[str, Range, int]  # table, addresses, code


@dataclass(slots=True)
class Limit:
    """How much a unit gives at once: `given` was, `refused` was not, `asked` is what plans go by; `firm`: it was learned from
    answers that were too short, each of which ends the connection, so it is not doubted."""

    asked: int
    given: int
    refused: int
    firm: bool = False

    def heard(self, refused: int, given: int) -> bool:
        """A request of this length was too long; one of `given` was answered. True when less is to be asked."""
        before = self.asked
        self.refused = min(self.refused, refused)
        self.given = min(max(self.given, given), self.refused - 1)
        self.asked = max(1, (self.given + self.refused) // 2)
        return self.asked < before

    def doubt(self, most: int) -> None:
        """Take it that more may be given, up to `most`."""
        self.refused = most + 1
        self.asked = (self.given + self.refused) // 2

    @property
    def raised(self) -> bool:
        """Whether it is still looked for, between what was given and what was refused."""
        return bool(self.given) and self.refused - self.given > 1

    def answered(self, longest: int) -> bool:
        """True when so long an answer makes it worth trying more."""
        if longest <= self.given:
            return False
        self.given = longest
        self.refused = max(self.refused, longest + 1)
        more = (self.given + self.refused) // 2
        changed, self.asked = more > self.asked, max(more, self.asked)
        return changed


@dataclass(slots=True)
class Trial:
    """Of the requests of one period, which come in scans of their own. `tried`: what was refused and cut since the last
    conclusion; `suspected`: what was so in that conclusion."""

    tried: list[Tried] = field(default_factory=list)
    suspected: set[tuple[str, Range]] = field(default_factory=set)


@dataclass(slots=True)
class Unit:
    """What is known of one unit. `cuts`: (table, address) before which a request ends; `apart`: (table, addresses) of tags
    that are asked without those that lie within them; `trials`: by period. Times in ns UTC."""

    since: int = 0
    doubted_tag: int = 0
    doubted_rest: int = 0
    turn: int = 0  # of the doubts
    holes: dict[str, list[Range]] = field(default_factory=dict)
    registers: Limit = field(default_factory=lambda: Limit(MOST_REGISTERS, 0, MOST_REGISTERS + 1))
    bits: Limit = field(default_factory=lambda: Limit(MOST_BITS, 0, MOST_BITS + 1))
    cuts: set[tuple[str, int]] = field(default_factory=set)
    apart: set[tuple[str, Range]] = field(default_factory=set)
    trials: dict[float, Trial] = field(default_factory=dict)
    bridge: int = 0  # unused registers that take no longer than a request; 0: not known

    def trial(self, every: float) -> Trial:
        return self.trials.setdefault(every, Trial())

    @property
    def on_trial(self) -> bool:
        return any(trial.tried for trial in self.trials.values())

    def limit(self, table: str) -> Limit:
        return self.bits if table in BITS else self.registers

    def add_hole(self, table: str, hole: Range) -> bool:
        """True when that is news."""
        known = self.holes.get(table, [])
        found = joined([*known, hole])
        if found == known or sum(map(len, self.holes.values())) >= MOST_HOLES:
            return False
        self.holes[table] = found
        return True

    def drop_hole(self, table: str, there: Range) -> None:
        left = [(a, min(b, there[0])) for a, b in self.holes[table]] + [
            (max(a, there[1]), b) for a, b in self.holes[table]
        ]
        self.holes[table] = joined({(a, b) for a, b in left if a < b})

    def spans(self) -> list[Span]:
        return [Span(table, *hole) for table, holes in sorted(self.holes.items()) for hole in holes]

    def facts(self, most_holes: int) -> dict[str, Any]:
        return {
            "since": self.since,
            "holes": [str(hole) for hole in self.spans()[:most_holes]],
            "registers": self.registers.given if self.registers.refused <= MOST_REGISTERS else MOST_REGISTERS,
            "bits": self.bits.given if self.bits.refused <= MOST_BITS else MOST_BITS,
            "firm": self.registers.firm or self.bits.firm,
            "bridge": self.bridge,
        }

    @property
    def doubtful(self) -> bool:
        """Whether there is something that may turn out to be otherwise."""
        return bool(self.on_trial or self.spans() or self.limits())

    def limits(self) -> list[tuple[str, Limit]]:
        """Those that were learned, with what they count."""
        both = (("registers", self.registers, MOST_REGISTERS), ("bits", self.bits, MOST_BITS))
        return [(name, limit) for name, limit, most in both if limit.refused <= most]

    @property
    def known(self) -> bool:
        return bool(self.spans() or self.bridge or self.limits())


def conclude(unit: Unit, trial: Trial, answers: Collection[Answer]) -> bool:
    """Say why requests of one period were refused, from the pieces they were cut into; true when plans change by it. Where
    nothing explains it the cuts stay."""
    refused = [request for request, code in answers if code in REFUSED]
    if any(code and code not in REFUSED for _, code in answers):
        return False  # not all that was cut has its answer yet
    before, trial.suspected = trial.suspected, set()
    if not (trial.tried or refused):
        return False
    answered = [request for request, code in answers if not code]
    news = False
    for request in refused:
        for part in _between([r.span for r in answered if r.table == request.table], request.span):
            news |= unit.add_hole(request.table, part)
    tried = [(table, span, code) for table, span, code in trial.tried if not touches(unit.holes.get(table, []), *span)]
    tried.sort(key=lambda t: t[1][1] - t[1][0])
    trial.tried, trial.suspected = [], {(table, span) for table, span, _ in tried} - before
    known = [(table, span, code) for table, span, code in tried if (table, span) in before]
    news |= bool(trial.suspected) | _too_long(unit, known, answered) | _gaps(unit, known, answered)
    if news:
        unit.cuts.clear()
        unit.apart.clear()
    return news


def _too_long(unit: Unit, tried: Sequence[Tried], answered: Sequence[Request]) -> bool:
    """Learn a limit from what was refused while no answer was as long, but its pieces were answered."""
    news = False
    for table, (first, end), code in tried:
        given = [r.count for r in answered if unit.limit(r.table) is unit.limit(table)]
        whole = not _between([r.span for r in answered if r.table == table], (first, end))
        if (whole or code == ILLEGAL_VALUE) and max(given, default=end) < end - first:
            news |= unit.limit(table).heard(end - first, max(given))
    return news


def _gaps(unit: Unit, tried: Sequence[Tried], answered: Sequence[Request]) -> bool:
    """Learn holes from the unused registers between answered pieces of what was refused and is not too long."""
    news = False
    for table, (first, end), _ in tried:
        if end - first < unit.limit(table).refused and not touches(unit.holes.get(table, []), first, end):
            for gap in _between([r.span for r in answered if r.table == table], (first, end)):
                news |= unit.add_hole(table, gap)
    return news


def healed(unit: Unit, answers: Collection[Answer]) -> bool:
    """Give up holes that answered."""
    there = [r for r, code in answers if not code and touches(unit.holes.get(r.table, []), *r.span)]
    for request in there:
        unit.drop_hole(request.table, request.span)
    return bool(there)


def raised(unit: Unit, answers: Collection[Answer]) -> bool:
    """Try more at once, where a limit was found by halving and what was asked by it is answered."""
    found = False
    for limit in (unit.registers, unit.bits):
        counts = [r.count for r, code in answers if not code and unit.limit(r.table) is limit]
        found |= limit.raised and limit.answered(max(counts, default=0))
    return found


def _between(pieces: Sequence[Range], whole: Range) -> list[Range]:
    """What of `whole` lies in none of the pieces."""
    out, at = [], whole[0]
    for first, end in joined(pieces):
        if first > at and at < whole[1]:
            out.append((at, min(first, whole[1])))
        at = max(at, end)
    return out if at >= whole[1] else [*out, (at, whole[1])]
