"""What a device teaches by its answers: addresses it lacks, and how much it gives at once.

Only what the site reads is ever asked. A refused request (exception 2 or 3) is cut in two and asked again, until what is refused
cannot be cut; then it is concluded why:
- tags that are refused by themselves lie in a hole;
- a request without unused registers that is refused while its pieces are answered was too long;
- unused registers between pieces that are answered are a hole.
The cuts are then given up for a plan that knows better. A hole that answers is none any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from edge import SECOND

from .address import BITS, Span, parse_span
from .cover import Range, joined, outermost, touches
from .plan import Plan, Request
from .rules import MOST_BITS, MOST_REGISTERS, Rules

VERSION = 1
TOO_OLD = 7 * 86400 * SECOND  # after which a device is asked anew for what it refused
MOST_HOLES = 64  # of a unit
MOST_REMEMBERED = 1000  # of all units of a connection
REFUSED = ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3  # Modbus Application Protocol 1.1b3, section 7
WIDEST = 32  # registers that are read along for their time's sake at most
LEAST = 4  # registers that every device is taken to give, as `max_registers` says


Answer = tuple[Request, int]  # and its code


class After(Enum):
    """What a scan asks for."""

    NOTHING = 0
    REPLAN = 1  # for the next scan
    REPEAT = 2  # plan anew and ask again at once: what the device has costs no sample


@dataclass(slots=True)
class Limit:
    """How much a unit gives at once: `given` was, `refused` was not, `asked` is what plans go by."""

    asked: int
    given: int
    refused: int

    def heard(self, refused: int, given: int) -> bool:
        """A request of this length was too long; one of `given` was answered. True when less is to be asked."""
        before = self.asked
        self.refused = min(self.refused, refused)
        self.given = min(max(self.given, given), self.refused - 1)
        self.asked = max(1, (self.given + self.refused) // 2)
        return self.asked < before

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
class Unit:
    """What is known of one unit. `cuts`: (table, address) before which a request ends; `tried`: what was refused and cut since
    the last conclusion."""

    since: int = 0
    holes: dict[str, list[Range]] = field(default_factory=dict)
    registers: Limit = field(default_factory=lambda: Limit(MOST_REGISTERS, 0, MOST_REGISTERS + 1))
    bits: Limit = field(default_factory=lambda: Limit(MOST_BITS, 0, MOST_BITS + 1))
    cuts: set[tuple[str, int]] = field(default_factory=set)
    tried: list[tuple[str, Range, int]] = field(default_factory=list)
    bridge: int = 0  # unused registers that take no longer than a request; 0: not known

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
            "bridge": self.bridge,
        }

    @property
    def known(self) -> bool:
        return (
            bool(self.spans() or self.bridge)
            or self.registers.refused <= MOST_REGISTERS
            or self.bits.refused <= MOST_BITS
        )


class Learned:
    """Of all units behind one connection. `news` tells whether there is something to remember."""

    def __init__(self, url: str, memory: Mapping[str, Any], now: int) -> None:
        """`memory`: what `facts()` said in an earlier run; of another device, too old or not understood, it is not used."""
        self._url, self._now = url, now
        self.units: dict[int, Unit] = {}
        self.news = False
        self._short: tuple[Request, int] | None = None
        try:
            if memory.get("version") == VERSION and memory.get("url") == url:
                self.units = dict(_recalled(memory, now))
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            self.units = {}

    def facts(self) -> dict[str, Any]:
        """For `source.remember`."""
        self.news = False
        known = {number: unit for number, unit in sorted(self.units.items()) if unit.known}
        most = MOST_REMEMBERED // max(1, len(known))
        return {"version": VERSION, "url": self._url, "units": {str(n): unit.facts(most) for n, unit in known.items()}}

    def lines(self) -> list[str]:
        """What is known, for people."""
        out = []
        for number, unit in sorted(self.units.items()):
            out += [f"unit {number} lacks {hole}" for hole in unit.spans()]
            for name, limit, most in (("registers", unit.registers, MOST_REGISTERS), ("bits", unit.bits, MOST_BITS)):
                if limit.refused <= most:
                    out.append(f"unit {number} gives at most {limit.asked} {name} at once")
            if unit.bridge:
                many = f"{unit.bridge} registers" + (" or more" if unit.bridge == WIDEST else "")
                out.append(f"unit {number} takes as long for a request as for {many}")
        return out

    def applied(self, rules: Mapping[int, Rules]) -> dict[int, Rules]:
        """The site's rules, tightened by what is known."""
        out = dict(rules)
        for number, unit in self.units.items():
            if number in out:
                site = out[number]
                out[number] = replace(
                    site,
                    registers=min(site.registers, unit.registers.asked),
                    bits=min(site.bits, unit.bits.asked),
                    bridge=unit.bridge if site.bridge else 0,
                    holes=[*site.holes, *unit.spans()],
                    cuts=frozenset(unit.cuts),
                )
        return out

    # From answers

    def attends(self, plan: Plan) -> bool:
        """Whether scans of this plan teach something even without a refusal: a hole may answer, a limit may be raised."""
        known = {number: unit for number, unit in self.units.items() if unit.known or unit.tried}
        return any(
            unit.tried or unit.limit(request.table).raised or touches(unit.holes.get(request.table, []), *request.span)
            for request in plan.requests
            if (unit := known.get(request.unit))
        )

    def heard(self, plan: Plan, codes: Sequence[int], now: int) -> After:
        """Learn from the codes (0, or the exception) that the requests of a scan ended with; `now` in ns UTC."""
        self._now, self._short = now, None
        repeat = False
        answers: dict[int, list[Answer]] = {}
        for index, (request, code) in enumerate(zip(plan.requests, codes, strict=True)):
            answers.setdefault(request.unit, []).append((request, code))
            if code in REFUSED:
                repeat |= self._cut(plan, index, request, code)
        if repeat:
            return After.REPEAT
        changed = False
        for number, unit in self.units.items():
            heard = answers.get(number, ())
            changed |= _conclude(unit, heard) | _healed(unit, heard) | _raised(unit, heard)
        self.news |= changed
        return After.REPLAN if changed else After.NOTHING

    def short(self, request: Request, given: int) -> bool:
        """An answer held fewer registers than were asked for, which is no data and ends the connection. Where that repeats at once,
        the device is taken to give no more; true when plans change by it."""
        again, self._short = self._short == (request, given), (request, given)
        if not again or not LEAST <= given < request.count:
            return False
        limit = self._unit(request.unit).limit(request.table)
        limit.asked, limit.given, limit.refused = given, given, given + 1
        self.news = True
        return True

    def measured(self, overheads: Mapping[int, float]) -> bool:
        """How many registers each unit could give in the time of one more request. True when plans may change by it: what is near
        to what was known changes nothing."""
        changed = False
        for number, registers in overheads.items():
            unit, bridge = self._unit(number), int(min(registers, WIDEST))
            if not 0.8 * unit.bridge <= bridge <= 1.25 * unit.bridge:
                unit.bridge, changed = bridge, True
        self.news |= changed
        return changed

    def _unit(self, number: int) -> Unit:
        unit = self.units.setdefault(number, Unit(self._now))
        if not unit.known and not unit.tried:
            unit.since = self._now
        return unit

    def _cut(self, plan: Plan, index: int, request: Request, code: int) -> bool:
        """Cut a refused request in two, where it has parts; of tags that are known to be lacking it is left whole."""
        unit, table = self._unit(request.unit), request.table
        blocks = outermost([plan.items[i].span for i in plan.members(index)])
        if len(blocks) < 2 or all(touches(unit.holes.get(table, []), *block) for block in blocks):
            return False
        unit.tried.append((table, request.span, code))
        unit.cuts.add((table, blocks[len(blocks) // 2][0]))
        return True


def _conclude(unit: Unit, answers: Collection[Answer]) -> bool:
    """Say why requests were refused, from the pieces they were cut into. Where that brings nothing new the cuts stay."""
    refused = [request for request, code in answers if code in REFUSED]
    if not (unit.tried or refused) or any(code and code not in REFUSED for _, code in answers):
        return False
    tried, unit.tried = unit.tried, []
    answered = [request for request, code in answers if not code]
    news = False
    for request in refused:
        news |= unit.add_hole(request.table, request.span)
    tried = [(table, span, code) for table, span, code in tried if not touches(unit.holes.get(table, []), *span)]
    tried.sort(key=lambda t: t[1][1] - t[1][0])
    unused = [_between([r.span for r in answered if r.table == table], span) for table, span, _ in tried]
    for (table, (first, end), code), gaps in zip(tried, unused, strict=True):
        given = [r.count for r in answered if unit.limit(r.table) is unit.limit(table)]
        if (not gaps or code == ILLEGAL_VALUE) and max(given, default=end) < end - first:
            news |= unit.limit(table).heard(end - first, max(given))
    for (table, (first, end), _), gaps in zip(tried, unused, strict=True):
        if end - first < unit.limit(table).refused and not touches(unit.holes.get(table, []), first, end):
            for gap in gaps:
                news |= unit.add_hole(table, gap)
    if news:
        unit.cuts.clear()
    return news


def _healed(unit: Unit, answers: Collection[Answer]) -> bool:
    """Give up holes that answered."""
    there = [r for r, code in answers if not code and touches(unit.holes.get(r.table, []), *r.span)]
    for request in there:
        unit.drop_hole(request.table, request.span)
    return bool(there)


def _raised(unit: Unit, answers: Collection[Answer]) -> bool:
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


def _recalled(memory: Mapping[str, Any], now: int) -> Iterator[tuple[int, Unit]]:
    for number, facts in list(memory["units"].items())[:256]:
        since, registers, bits = int(facts["since"]), int(facts["registers"]), int(facts["bits"])
        if not 0 <= now - since < TOO_OLD:
            continue
        unit = Unit(since)
        for text in facts["holes"][:MOST_HOLES]:
            hole = parse_span(text)
            unit.add_hole(hole.table, (hole.first, hole.end))
        if 1 <= registers < MOST_REGISTERS:
            unit.registers = Limit(registers, registers, registers + 1)
        unit.bridge = min(max(int(facts["bridge"]), 0), WIDEST)
        if 1 <= bits < MOST_BITS:
            unit.bits = Limit(bits, bits, bits + 1)
        yield int(number), unit
