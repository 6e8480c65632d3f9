"""The contract of a reader: everything that leaves the device is one, with its own cursor on the journal."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from . import plugins
from .clock import Clock
from .health import Health


@dataclass(frozen=True, slots=True)
class Record:
    """One sealed thing in the journal: a block of samples, an event, a tag definition, a text, a picture.

    (`stream`, `seq`) is its place; `body` its bytes as encoded once by `edge.codec`; `n` the samples in it.
    """

    stream: str
    seq: int
    body: bytes
    n: int = 1
    t0: int = 0
    t1: int = 0


@dataclass(slots=True)
class Cursor:
    """What a reader has delivered of one stream: everything up to `watermark`, and `ranges` (first, last) above it."""

    watermark: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def __contains__(self, seq: int) -> bool:
        return seq <= self.watermark or any(a <= seq <= b for a, b in self.ranges)

    def last(self) -> int:
        """The highest number it covers."""
        return self.ranges[-1][1] if self.ranges else self.watermark

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """Those of these numbers that it does not cover, each once, in their order."""
        ranges = sorted(self.ranges)
        firsts = [first for first, _ in ranges]
        above = sorted({n for n in numbers if n > self.watermark})
        at = [bisect_right(firsts, n) - 1 for n in above]
        return [n for n, k in zip(above, at, strict=True) if k < 0 or n > ranges[k][1]]

    def add(self, first: int, last: int) -> None:
        """Mark first..last as delivered and fold what now touches."""
        self.cover([(first, last)])

    def cover(self, spans: Iterable[tuple[int, int]]) -> None:
        """Mark many first..last as delivered, in the time of one."""
        folded: list[tuple[int, int]] = []
        for a, b in sorted([*self.ranges, *spans]):
            if a <= self.watermark + 1:
                self.watermark = max(self.watermark, b)
            elif folded and a <= folded[-1][1] + 1:
                folded[-1] = (folded[-1][0], max(folded[-1][1], b))
            else:
                folded.append((a, b))
        self.ranges = folded


class Host(Protocol):
    """What a reader is given by the daemon: the journal to read, the newest values, the alarms that stand, the site that was
    sent here, the stages (whose models may be exchanged), and the way in for commands."""

    config: Any
    folder: Path
    clock: Clock
    health: Health
    journal: Any
    live: Any
    reviews: Any
    sent: Any
    flow: Any
    diagnosis: Any
    restart: Any

    def accept(self, item: Any) -> None: ...

    def alarms(self) -> list[dict[str, Any]]: ...


class Reader(Protocol):
    """Delivers records somewhere else. Built as `Reader(options of its section, host)`. `run()` loops until cancelled, reads
    with its own cursor and moves it only when the far side has said that it keeps the records. One that only shows what is
    newest says `delivers = False`: the journal keeps nothing for it."""

    async def run(self) -> None: ...


def readers_of(sections: Iterable[str]) -> list[str]:
    """Those sections of a site that are readers."""
    return [name for name in sections if name in plugins.names("readers")]


def delivering(sections: Iterable[str]) -> set[str]:
    """Those of them with a cursor: what they did not deliver yet is kept for them."""
    return {name for name in readers_of(sections) if getattr(plugins.find("readers", name), "delivers", True)}
