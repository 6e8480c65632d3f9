"""What may be asked of a unit in one request."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .address import BITS, Span
from .cover import Range, joined, touches

MOST_REGISTERS, MOST_BITS = 125, 2000  # of one answer, Modbus Application Protocol 1.1b3, 6.1 to 6.4
GAP = 8  # registers


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be asked of a unit at once: at most so many `registers` or `bits`, with at most `gap` unused registers between
    two tags read along (16 times as many bits), never any of the `holes`, and never across one of the `cuts`: (table, address)
    before which a request must end. Tags in holes are asked for apart from those outside, also from those within their own
    registers: all of such a request is refused. Tags whose registers are one of `apart` share a request with no others.

    What `gap` puts together stays together; where `bridge` is larger, such whole requests are joined over so many unused
    registers."""

    registers: int = MOST_REGISTERS
    bits: int = MOST_BITS
    gap: int = GAP
    bridge: int = 0
    holes: Collection[Span] = ()
    cuts: Collection[tuple[str, int]] = ()
    apart: Collection[tuple[str, Range]] = ()

    def holes_of(self, table: str) -> list[Range]:
        return joined((hole.first, hole.end) for hole in self.holes if hole.table == table)


def sorts(spans: Sequence[Range], table: str, rules: Rules) -> list[list[int]]:
    """The indices of these spans, in lists of which no two may share a request."""
    holes = rules.holes_of(table)
    out: dict[tuple[bool, Range | None], list[int]] = {}
    for k, span in enumerate(spans):
        alone = span if (table, span) in rules.apart else None
        out.setdefault((touches(holes, *span), alone), []).append(k)
    return list(out.values())


def breaks(blocks: Sequence[Range], table: str, rules: Rules, gap: int, others: Sequence[int]) -> set[int]:
    """Indices of the blocks (ascending, none inside another, of one sort) at which a request has to begin. `others`: where
    blocks of another sort begin, ascending."""
    gap = gap * 16 if table in BITS else gap
    holes = rules.holes_of(table)
    lacks = touches(holes, *blocks[0])
    cuts = {number for name, number in rules.cuts if name == table}
    out = set()
    for k, ((first, end), (start, _)) in enumerate(pairwise(blocks), 1):
        between = bisect_left(others, first) != bisect_left(others, start)
        if between or start - end > gap or start in cuts or (not lacks and touches(holes, end, start)):
            out.add(k)
    return out
