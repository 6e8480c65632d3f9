"""Whether a tag is complete from A to B; if not, which minutes are missing, and why.

At each moment the newest sample counts, whichever block brought it and however late: it stands for one and a half of its tag's
periods, plus what the tag's deadband may keep silent; of a tag without a period, until the next one. A minute is complete when
usable samples stand for every moment of it. What a sample stands for beyond one and a half periods is believed only while nothing
speaks against it: the device stopped, blocks are missing, a gap was told, nothing newer has come (`_cuts`).

Periods come from the `device` events, times of samples from the ledger.
"""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from edge import SECOND, Cursor, LinesideError, Quality

from . import tables
from .ledger import END, KIND
from .marks import claims, marks_of
from .noted import Block, Stream, above, below, blocks_of, ended, last_seen, newest
from .promises import Promises, promises_of
from .standing import stands

MINUTE = 60 * SECOND
MOST_MINUTES = 31 * 1440
_KINDS = ["complete", *(quality.name.lower() for quality in sorted(Quality) if quality)]


class NoSuchTag(LinesideError):
    """No journal of this device ever had a tag of this name."""


class Cut(NamedTuple):
    """Why nothing may be there from `start` to before `end` (ns). A strong one ends what samples stand for beyond their period."""

    start: int
    end: int
    cause: str
    strong: bool = True


class Answer(NamedTuple):
    """Whole minutes from `start` (ns): for each the index of its cause in `causes`, 0 where it is complete."""

    start: int
    minutes: np.ndarray
    causes: list[str]

    def facts(self) -> dict[str, Any]:
        """As plain JSON, times in ms UTC. `whole`: every minute is complete; `gaps`: minutes in a row with one cause."""
        edges = np.flatnonzero(np.diff(self.minutes, prepend=-1, append=-1)).tolist()
        gaps = [
            {"from": self._ms(a), "to": self._ms(b), "minutes": b - a, "cause": self.causes[self.minutes[a]]}
            for a, b in itertools.pairwise(edges)
            if self.minutes[a]
        ]
        n = len(self.minutes)
        span = {"from": self._ms(0), "to": self._ms(n), "minutes": n}
        return {**span, "complete": int((self.minutes == 0).sum()), "whole": not gaps, "gaps": gaps}

    def _ms(self, minute: int) -> int:
        return (self.start + minute * MINUTE) // 1_000_000


def complete(connection: Connection, device: str, tag: str, start: int, end: int) -> Answer:
    """From the minute of `start` to the one that ends at `end` or holds it (ns UTC). Raises NoSuchTag, and LinesideError
    where the time is longer than MOST_MINUTES."""
    start, end = start // MINUTE * MINUTE, -(-end // MINUTE) * MINUTE
    if not 0 <= start < end <= END or (end - start) // MINUTE > MOST_MINUTES:
        hint = f"at most {MOST_MINUTES // 1440} days in one question"
        raise LinesideError("that is no time from A to a later B", hint=hint)
    t = tables.tag
    where = (t.c.device == device, t.c.name == tag)
    found = connection.execute(select(t.c.epoch, t.c.id, t.c.source).where(*where)).all()
    if not found:
        raise _unknown(connection, device, tag)
    places = [(epoch, number) for epoch, number, _ in found]
    promises = promises_of(connection, device, places)
    streams = sorted({Stream(device, epoch, f"samples:{source}") for epoch, _, source in found})
    blocks: list[Block] = []
    for at in streams:
        ids = [number for epoch, number, source in found if (epoch, f"samples:{source}") == (at.epoch, at.name)]
        stands = promises.longest((at.epoch, number) for number in ids)
        blocks += blocks_of(connection, at, (start, end), ids, stands)
    cuts = [cut for at in streams for cut in _unheard(connection, at, promises)]
    since = min([start, *(block.t0 for block in blocks)])
    cuts += _from_promises(connection, device, promises, (since, end))
    cuts += [Cut(b.t0, b.t1 + 1, "unreadable") for b in blocks if not b.runs]
    cuts += [cut for at in streams for cut in _missing(connection, at)]
    cuts = [cut._replace(start=max(cut.start, 0), end=min(cut.end, END)) for cut in cuts]
    broken = _union(cut for cut in cuts if cut.strong)
    marks = marks_of(connection, device, blocks, places, promises, broken)
    return _painted((start, end), marks, cuts, broken)


def _unknown(connection: Connection, device: str, tag: str) -> NoSuchTag:
    t = tables.tag
    names = list(connection.scalars(select(t.c.name).where(t.c.device == device).distinct()))
    near = difflib.get_close_matches(tag, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else "" if names else "has this device delivered anything yet?"
    return NoSuchTag(f"no tag of {device} is called {tag!r}", hint=hint)


# Why samples may not be there


def _from_promises(connection: Connection, device: str, promises: Promises, span: tuple[int, int]) -> Iterator[Cut]:
    """Before anything was promised, while the tag was not in the site, and between the last sign of life and a start."""
    told = promises.told
    yield Cut(0, told[0].ts if told else END, "no_promise", strong=False)
    for one, end in zip(told, [*(after.ts for after in told[1:]), END], strict=False):
        if one.firm is None:
            yield Cut(one.ts, end, "absent")
    later = sorted(start for start in promises.starts if start.ts > span[0])
    for start in later[: sum(start.ts < span[1] for start in later) + 1]:
        seen = last_seen(connection, device, start.ts)
        if seen is not None:
            yield Cut(seen + promises.firm(seen) + 1, start.ts, "new_journal" if start.anew else "stopped")


def _unheard(connection: Connection, at: Stream, promises: Promises) -> Iterator[Cut]:
    """While the source was lost, and after the newest block of its stream."""
    changes = _events(connection, at, "source", tables.event.c.state.in_(("lost", "back")))
    for i, (ts, state, _) in enumerate(changes):
        if state == "lost":
            ends = [start.ts for start in promises.starts if start.ts > ts]
            ends += [back for back, _, _ in changes[i + 1 : i + 2]]
            yield Cut(ts, min(ends, default=END), "source_lost", strong=False)
    if promises.told and promises.told[-1].epoch == at.epoch:
        last = newest(connection, at)
        yield Cut(last.t1 + 1 if last else promises.told[-1].ts, END, "not_yet")


def _missing(connection: Connection, at: Stream) -> Iterator[Cut]:
    """Numbers that did not come though later ones did, and what gap events tell of."""
    for hole in _holes(connection, at):
        yield Cut(*_between(connection, at, *hole), "not_arrived")
    for _, state, data in _events(connection, at, "gap"):
        if (gap := _gap(json.loads(data), at.name)) is None:
            continue
        begin, end, first, last = gap
        if not begin and first:
            begin, end = _between(connection, at, first, last)
        elif not begin:
            begin = ended(connection, at, end) or 0
        yield Cut(begin, end, state)


def _events(connection: Connection, at: Stream, kind: str, *more: Any) -> list[tuple[int, str, str]]:
    """(time, state, data) of a source's events, in their order."""
    e, source = tables.event, at.name.removeprefix("samples:")
    where = (e.c.device == at.device, e.c.epoch == at.epoch, e.c.kind == kind, e.c.key == source, *more)
    found = connection.execute(select(e.c.ts, e.c.state, e.c.data).where(*where).order_by(e.c.seq))
    return [(ts, state, data) for ts, state, data in found]


def _gap(data: dict[str, Any], stream: str) -> tuple[int, int, int, int] | None:
    """(from, after, first, last) of a gap of this stream; None where it is of another one or makes no sense."""
    numbers = [data.get(name) for name in ("from", "to", "first", "last")]
    if data.get("stream") != stream or any(type(number) is not int for number in numbers):
        return None
    begin, end, first, last = (min(max(int(number or 0), 0), END) for number in numbers)
    return begin, end + 1, first, last


def _holes(connection: Connection, at: Stream) -> list[tuple[int, int]]:
    """First and last numbers of what neither came nor was told of, below what did."""
    cursor = stands(connection, at.device, at.epoch, at.name).get(at.name, Cursor())
    ends = [cursor.watermark, *(last for _, last in cursor.ranges)]
    return [(end + 1, first - 1) for end, (first, _) in zip(ends, cursor.ranges, strict=False)]


def _between(connection: Connection, at: Stream, first: int, last: int) -> tuple[int, int]:
    """The time between the blocks around these numbers."""
    before, after = below(connection, at, first), above(connection, at, last)
    return before.t1 + 1 if before else 0, after.t0 if after else END


# All together


def _union(cuts: Iterable[Cut]) -> np.ndarray:
    """int64[b, 2]: the times that any of them covers, disjoint, in order."""
    out: list[list[int]] = []
    for cut in sorted(cuts):
        if out and cut.start <= out[-1][1]:
            out[-1][1] = max(out[-1][1], cut.end)
        elif cut.start < cut.end:
            out.append([cut.start, cut.end])
    return np.array(out, np.int64).reshape(-1, 2)


def _painted(span: tuple[int, int], marks: np.ndarray, cuts: Iterable[Cut], broken: np.ndarray) -> Answer:
    """What holds in each stretch between any two times at which anything changes, summed up by minutes."""
    start, end = span
    cuts = [cut for cut in cuts if cut.start < min(cut.end, end) and cut.end > start]
    cuts.sort(key=lambda cut: cut.strong)  # of several at one time the last one is named
    begin, until = claims(marks, broken)
    minutes = np.arange(start, end, MINUTE, dtype=np.int64)
    ends = np.array([(cut.start, cut.end) for cut in cuts], np.int64).ravel()
    edges = np.unique(np.clip(np.concatenate([minutes, begin, until, ends, [end]]), start, end))
    left, width = edges[:-1], np.diff(edges)
    causes = [*_KINDS, "unread"]
    code = np.full(len(left), len(_KINDS))
    for cut in cuts:
        if cut.cause not in causes:
            causes.append(cut.cause)
        first, after = np.searchsorted(edges, np.clip([cut.start, cut.end], start, end)).tolist()
        code[first:after] = causes.index(cut.cause)
    if len(marks):
        at = np.maximum(np.searchsorted(begin, left, side="right") - 1, 0)
        claimed = (begin[at] <= left) & (left < until[at])
        code[claimed] = marks[at[claimed], KIND]
    cells = (left - start) // MINUTE * len(causes) + code
    spent = np.bincount(cells, weights=width, minlength=len(minutes) * len(causes)).reshape(-1, len(causes))
    worst = spent[:, 1:].argmax(axis=1) + 1
    return Answer(start, np.where(spent[:, 0] == MINUTE, 0, worst), causes)
