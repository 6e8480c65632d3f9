"""What the devices behind a connection taught, over the life of the driver and over restarts.

Only what the site reads is ever asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from edge import SECOND

from .address import Span, parse_span
from .cover import Range, outermost, touches
from .lessons import MOST_HOLES, REFUSED, Answer, Limit, Unit, conclude, healed, raised
from .plan import Plan, Request
from .rules import MOST_BITS, MOST_REGISTERS, Rules
from .scans import WAITED
from .window import MOST

VERSION = 1
TOO_OLD = 7 * 86400 * SECOND  # after which a device is asked anew for what it refused
MOST_REMEMBERED = 1000  # holes of all units of a connection
DOUBT_TAG, DOUBT_REST = (
    60 * SECOND,
    3600 * SECOND,
)  # between two doubts of a unit: that a tag is lacking, or anything else
WIDEST = 32  # registers that are read along for their time's sake at most
LEAST = 4  # registers that every device is taken to give, as `max_registers` says


class After(Enum):
    """What a scan asks for."""

    NOTHING = 0
    REPLAN = 1  # for the next scan
    REPEAT = 2  # plan anew and ask again at once: what the device has costs no sample


class Learned:
    """Of all units behind one connection."""

    def __init__(self, url: str, memory: Mapping[str, Any], now: int) -> None:
        """`memory`: what `facts()` said in an earlier run; of another device, too old or not understood, it is not used."""
        self._url, self._now = url, now
        self.units: dict[int, Unit] = {}
        self.in_flight, self._in_flight_since = 0, 0  # requests that were found to be taken at once; 0: not known
        self._short: dict[
            int, tuple[bytes, int]
        ] = {}  # of each unit the last answer that was too short: to what, how long
        self._said: Mapping[str, Any] = memory
        try:
            if memory.get("version") == VERSION and memory.get("url") == url:
                self.units = dict(_recalled(memory, now))
                many, since = map(int, memory["in_flight"])
                if 0 <= now - since < TOO_OLD and 1 <= many <= MOST:
                    self.in_flight, self._in_flight_since = many, since
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            self.units = {}

    def facts(self) -> dict[str, Any]:
        known = {number: unit for number, unit in sorted(self.units.items()) if unit.known}
        most = MOST_REMEMBERED // max(1, len(known))
        units = {str(number): unit.facts(most) for number, unit in known.items()}
        in_flight = [self.in_flight, self._in_flight_since]
        return {"version": VERSION, "url": self._url, "in_flight": in_flight, "units": units}

    def news(self) -> dict[str, Any] | None:
        """The facts for `source.remember`, where they are others than when it was asked last."""
        facts = self.facts()
        if facts == self._said or not (facts["units"] or self.in_flight or self._said):
            return None
        self._said = facts
        return facts

    def lines(self) -> list[str]:
        """What is known, for people."""
        out = [f"takes {self.in_flight} requests at once"] if self.in_flight else []
        for number, unit in sorted(self.units.items()):
            out += [f"unit {number} lacks {hole}" for hole in unit.spans()]
            out += [f"unit {number} gives at most {limit.asked} {name} at once" for name, limit in unit.limits()]
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
                    apart=frozenset(unit.apart),
                )
        return out

    # From answers

    def attends(self, plan: Plan) -> bool:
        """Whether scans of this plan teach something even without a refusal."""
        units = {request.unit for request in plan.requests}
        return any(unit.doubtful for number, unit in self.units.items() if number in units)

    def heard(self, plan: Plan, codes: Sequence[int], now: int) -> After:
        """Learn from the codes (0, the exception, or WAITED of what was not asked) that the requests of a scan ended with; `now`
        in ns UTC."""
        self._now = now
        repeat = False
        answers: dict[tuple[int, float], list[Answer]] = {}
        for index, (request, code) in enumerate(zip(plan.requests, codes, strict=True)):
            answers.setdefault((request.unit, request.every), []).append((request, code))
            if code in REFUSED:
                repeat |= self._cut(plan, index, request, code)
            elif not code and self._short:
                self._short.pop(request.unit, None)
        if repeat:
            return After.REPEAT
        changed = False
        for (number, every), heard in answers.items():
            unit = self.units.get(number)
            asked = any(code != WAITED for _, code in heard)
            if unit is not None and asked and (unit.doubtful or any(code for _, code in heard)):
                changed |= conclude(unit, unit.trial(every), heard) | healed(unit, heard) | raised(unit, heard)
        changed = changed or self._doubts(plan, codes)
        return After.REPLAN if changed else After.NOTHING

    def _doubts(self, plan: Plan, codes: Sequence[int]) -> bool:
        """Give up one thing that is taken to be so, for it to be learned anew. Of each unit: every minute that one of the tags is
        lacking that are refused together; every hour a hole between tags, or a limit."""
        for number, unit in self.units.items():
            if not 0 <= self._now - unit.doubted_tag < DOUBT_TAG:
                unit.doubted_tag = self._now
                mine = [k for k, r in enumerate(plan.requests) if r.unit == number and codes[k] in REFUSED]
                together = [(plan.requests[k].table, self._spans(plan, k)) for k in mine]
                found = [(table, span) for table, spans in together if len(spans) > 1 for span in spans]
                if found:
                    unit.turn += 1
                    unit.drop_hole(*found[unit.turn % len(found)])
                    return True
            if not 0 <= self._now - unit.doubted_rest < DOUBT_REST:
                unit.doubted_rest = self._now
                asked = [request for request in plan.requests if request.unit == number]
                things: list[Span | Limit] = [s for s in unit.spans() if not any(_overlap(s, r) for r in asked)]
                things += [limit for _, limit in unit.limits() if not limit.firm]
                if things:
                    unit.turn += 1
                    thing = things[unit.turn % len(things)]
                    if isinstance(thing, Limit):
                        thing.doubt(MOST_BITS if thing is unit.bits else MOST_REGISTERS)
                    else:
                        unit.drop_hole(thing.table, (thing.first, thing.end))
                    return True
        return False

    @staticmethod
    def _spans(plan: Plan, index: int) -> list[Range]:
        return sorted({plan.items[i].span for i in plan.members(index)})

    def short(self, request: Request, given: int) -> bool:
        """An answer held fewer registers than were asked for, which is no data and ends the connection. Where that repeats at once,
        the device is taken to give no more; true when plans change by it."""
        again = self._short.get(request.unit) == (request.pdu, given)
        self._short[request.unit] = request.pdu, given
        if not again or not LEAST <= given < request.count:
            return False
        limit = self._unit(request.unit).limit(request.table)
        limit.asked, limit.given, limit.refused, limit.firm = given, given, given + 1, True
        return True

    def measured(self, overheads: Mapping[int, float]) -> bool:
        """How many registers each unit could give in the time of one more request. True when plans may change by it: what is near
        to what was known changes nothing."""
        changed = False
        for number, registers in overheads.items():
            unit, bridge = self._unit(number), int(min(registers, WIDEST))
            if not 0.8 * unit.bridge <= bridge <= 1.25 * unit.bridge:
                unit.bridge, changed = bridge, True
        return changed

    def takes(self, many: int, now: int) -> bool:
        """So many requests at once were found to be best. True when that is news."""
        if many == self.in_flight:
            return False
        self.in_flight, self._in_flight_since = many, now
        return True

    def _unit(self, number: int) -> Unit:
        unit = self.units.setdefault(number, Unit(self._now, self._now, self._now))
        if not unit.known and not unit.on_trial:
            unit.since = self._now
        return unit

    def _cut(self, plan: Plan, index: int, request: Request, code: int) -> bool:
        """Cut a refused request in two, where it has parts; of tags that are known to be lacking it is left whole."""
        unit, table = self._unit(request.unit), request.table
        spans = self._spans(plan, index)
        if len(spans) < 2 or all(touches(unit.holes.get(table, []), *span) for span in spans):
            return False
        unit.trial(request.every).tried.append((table, request.span, code))
        blocks = outermost(spans)
        if len(blocks) > 1:
            unit.cuts.add((table, blocks[len(blocks) // 2][0]))
        else:
            unit.apart.add((table, blocks[0]))
        return True


def _overlap(hole: Span, request: Request) -> bool:
    return hole.table == request.table and hole.first < request.span[1] and request.start < hole.end


def _recalled(memory: Mapping[str, Any], now: int) -> Iterator[tuple[int, Unit]]:
    for number, facts in list(memory["units"].items())[:256]:
        since, registers, bits = int(facts["since"]), int(facts["registers"]), int(facts["bits"])
        if not 0 <= now - since < TOO_OLD:
            continue
        unit, firm = Unit(since, now, now), bool(facts["firm"])
        for text in facts["holes"][:MOST_HOLES]:
            hole = parse_span(text)
            unit.add_hole(hole.table, (hole.first, hole.end))
        if 1 <= registers < MOST_REGISTERS:
            unit.registers = Limit(registers, registers, registers + 1, firm)
        unit.bridge = min(max(int(facts["bridge"]), 0), WIDEST)
        if 1 <= bits < MOST_BITS:
            unit.bits = Limit(bits, bits, bits + 1, firm)
        yield int(number), unit
