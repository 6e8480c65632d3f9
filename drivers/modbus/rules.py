"""What may be asked of a unit in one request."""

from __future__ import annotations

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
    before which a request must end. Tags in holes are asked for apart from those outside: all of such a request is refused.

    What `gap` puts together stays together; where `bridge` is larger, such whole requests are joined over so many unused
    registers."""

    registers: int = MOST_REGISTERS
    bits: int = MOST_BITS
    gap: int = GAP
    bridge: int = 0
    holes: Collection[Span] = ()
    cuts: Collection[tuple[str, int]] = ()


def breaks(blocks: Sequence[Range], table: str, rules: Rules, gap: int) -> set[int]:
    """Indices of the blocks (ascending, none inside another) at which a request has to begin."""
    gap = gap * 16 if table in BITS else gap
    holes = joined((hole.first, hole.end) for hole in rules.holes if hole.table == table)
    cuts = {number for name, number in rules.cuts if name == table}
    within = [touches(holes, *block) for block in blocks]
    out = set()
    for k, ((_, end), (start, _)) in enumerate(pairwise(blocks), 1):
        apart = start - end > gap or start in cuts or within[k - 1] != within[k]
        if apart or (not within[k] and touches(holes, end, start)):
            out.add(k)
    return out
