"""A device's life drawn by chance, what of it reached the plane, and a slow answer to what is complete: moment by moment, from the
samples themselves, by the words of `sync/control_plane/complete.py` and none of its code."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack
import numpy as np

from edge import Batch, Event, Quality, encode, encode_event
from sync import wire

SECOND, MINUTE, HOUR = 10**9, 60 * 10**9, 3600 * 10**9
FIRST = 28_000_000 * MINUTE
TAG, OTHER = 1, 2  # the tag that is asked for, and one beside it; in some journals they change places
USABLE = (Quality.GOOD, Quality.LATE)
SOME = (*[Quality.GOOD] * 8, Quality.LATE, Quality.CLOCK_UNSURE, Quality.TIMEOUT, Quality.BAD)


class Sample(NamedTuple):
    ts: int
    tag: int
    quality: int
    epoch: str


class Promise(NamedTuple):
    ts: int
    epoch: str
    state: str
    stands: int  # ns; 0: not in the site
    firm: int


class Sealed(NamedTuple):
    epoch: str
    stream: str
    seq: int
    samples: list[Sample]
    t0: int
    t1: int


class Cut(NamedTuple):
    start: int
    end: int
    cause: str
    strong: bool = True


@dataclass
class Life:
    """`frames` in the order in which they reach the plane; the rest is what the slow answer goes by."""

    rng: random.Random
    now: int = FIRST
    epoch: str = ""
    tag: int = TAG
    events: int = 0
    seqs: Counter[tuple[str, str]] = field(default_factory=Counter)
    open: dict[str, list[Sample]] = field(default_factory=dict)
    told: list[wire.Frame] = field(default_factory=list)
    sent: list[wire.Frame] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    blocks: list[Sealed] = field(default_factory=list)  # that reached the plane
    spoiled: list[Sealed] = field(default_factory=list)  # of them, those that cannot be read
    gaps: list[tuple[str, str, int, int, int, int, str]] = field(default_factory=list)
    sources: list[tuple[str, int, str]] = field(default_factory=list)
    journals: list[str] = field(default_factory=list)

    def event(self, kind: str, key: str, state: str, data: dict[str, Any] | None = None) -> None:
        self.events += 1
        body = encode_event(Event(kind, key, state, self.now, data=data or {}))
        self.told.append(wire.Frame(self.epoch, "event", self.events, self.now, self.now, 1, body))

    def begin_journal(self) -> None:
        self.epoch, self.events, self.tag = f"{len(self.journals):016x}", 0, self.rng.choice((TAG, OTHER))
        self.journals.append(self.epoch)
        for number in (TAG, OTHER):
            name = "plc.a" if number == self.tag else "plc.b"
            body = msgpack.packb([name, "float64", "", {}, "plc"])
            self.told.append(wire.Frame(self.epoch, "tag", number, 0, 0, 1, body))

    def promise(self, state: str) -> tuple[int, bool]:
        """Seconds between samples (0: pushed), and whether the tag has a deadband."""
        every, quiet = self.rng.choice((2, 4, 10, 30, 0)), self.rng.choice((0, 0, 40))
        there = self.rng.random() < 0.85
        other = 3 - self.tag
        data = {"every": [[5, 0, str(other)], *([[every, quiet, f"{self.tag}-{self.tag}"]] if there else [])]}
        self.event("device", "d", state, data)
        firm = every * 3 * SECOND // 2
        stands = (firm + quiet * SECOND if every else 2**61) if there else 0
        self.promises.append(Promise(self.now, self.epoch, state, stands, firm if there else 0))
        return every if there else -1, bool(quiet)

    def run(self) -> None:
        """One session: from a start until the device stops or is killed."""
        rng = self.rng
        if not self.epoch or rng.random() < 0.2:
            self.begin_journal()
        every, quiet = self.promise("started")
        for _ in range(rng.randrange(5, 80)):
            self.now += (every if every > 0 else rng.randrange(1, 20)) * SECOND + rng.choice(
                (0, 0, 0, 1, -1)
            ) * SECOND // 4
            if every >= 0 and rng.random() < (0.3 if quiet else 0.93):
                late = rng.randrange(1, 30) * SECOND if rng.random() < 0.04 else 0
                quality = int(rng.choice(SOME)) if rng.random() < 0.3 else 0
                self.open.setdefault("samples:plc", []).append(Sample(self.now - late, self.tag, quality, self.epoch))
            if rng.random() < 0.3:
                stream, number = rng.choice((("samples:plc", 3 - self.tag), ("samples:x", 9)))
                self.open.setdefault(stream, []).append(Sample(self.now, number, 0, self.epoch))
            if rng.random() < 0.1:
                self.seal(rng.choice(("samples:plc", "samples:plc", "samples:x")))
            if rng.random() < 0.02:
                every, quiet = self.promise("changed")
            if rng.random() < 0.03:
                state = rng.choice(("lost", "back"))
                self.event("source", "plc", state)
                self.sources.append((self.epoch, self.now, state))
            if rng.random() < 0.02:
                self.now -= rng.randrange(1, 60) * SECOND
        if rng.random() < 0.3:  # the tail is damaged
            self.open.pop("samples:plc", None)
            self.now += SECOND
            self.gap("samples:plc", 0, self.now, 0, 0, "damaged")
        if rng.random() < 0.7:
            for stream in list(self.open):
                self.seal(stream)
        if rng.random() < 0.2:  # else what is open is sealed in the next session
            self.open.clear()

    def gap(self, stream: str, start: int, end: int, first: int, last: int, cause: str) -> None:
        data = {"stream": stream, "from": start, "to": end, "first": first, "last": last, "samples": 1, "cause": cause}
        self.event("gap", stream.removeprefix("samples:"), cause, data)
        self.gaps.append((self.epoch, stream, start, end, first, last, cause))

    def seal(self, stream: str) -> None:
        """A block, and what becomes of it."""
        samples = [sample for sample in self.open.pop(stream, []) if sample.epoch == self.epoch]
        if not samples:
            return
        self.seqs[self.epoch, stream] += 1
        seq = self.seqs[self.epoch, stream]
        t0, t1 = min(s.ts for s in samples), max(s.ts for s in samples)
        sealed = Sealed(self.epoch, stream, seq, samples, t0, t1)
        tag, ts, quality = (np.array(c) for c in zip(*((s.tag, s.ts, s.quality) for s in samples), strict=True))
        body = encode(Batch.of(stream.removeprefix("samples:"), tag, np.ones(len(tag)), ts, quality))
        fate = self.rng.choices(("here", "late", "evicted", "forgotten", "nowhere", "spoiled"), (70, 10, 6, 4, 7, 3))[0]
        if fate in ("evicted", "forgotten"):
            self.gap(stream, t0 if fate == "evicted" else 0, t1, seq, seq, fate)
        if fate == "spoiled":
            body, _ = b"\1nothing", self.spoiled.append(sealed)
        if fate in ("here", "late", "spoiled"):
            self.blocks.append(sealed)
            frame = wire.Frame(self.epoch, stream, seq, t0, t1, len(samples), body)
            self.sent.insert(self.rng.randrange(len(self.sent) + 1) if fate == "late" else len(self.sent), frame)

    def frames(self) -> list[wire.Frame]:
        """As the plane gets them: some twice."""
        again = [frame for frame in self.sent if self.rng.random() < 0.1]
        return [*self.told, *self.sent, *again]


def lived(rng: random.Random) -> Life:
    life = Life(rng)
    for _ in range(rng.randrange(1, 6)):
        life.run()
        life.now += rng.choice((2, 20, 200, 400, -50)) * SECOND
    return life


class Slow:
    """The reference."""

    def __init__(self, life: Life) -> None:
        self.life = life
        spoiled = {(b.epoch, b.stream, b.seq) for b in life.spoiled}
        read = [b for b in life.blocks if (b.epoch, b.stream, b.seq) not in spoiled and b.stream == "samples:plc"]
        first = {epoch: next(p.ts for p in life.promises if p.epoch == epoch) for epoch in life.journals}
        self.promises = sorted(life.promises, key=lambda p: (first[p.epoch], p.epoch))
        self.streams = [(epoch, "samples:plc") for epoch in life.journals]
        mine = self.tags()
        samples = [(s, self.promised(s)) for b in read for s in b.samples if mine[b.epoch] == s.tag]
        self.samples = sorted(samples, key=self.rank)

    def tags(self) -> dict[str, int]:
        """What the tag's id was in each journal."""
        return {f.epoch: f.seq for f in self.life.told if f.stream == "tag" and msgpack.unpackb(f.body)[0] == "plc.a"}

    def answer(self, start: int, end: int) -> list[str]:
        cuts = [cut for cut in self.cuts(start, end) if cut.start < cut.end]
        strong = [cut for cut in cuts if cut.strong]
        times = {start, end, *range(start, end, MINUTE)}
        for cut in cuts:
            times |= {cut.start, cut.end}
        for s, p in self.samples:
            times |= {s.ts, s.ts + p.stands, s.ts + p.firm}
        moments = sorted(t for t in times if start <= t <= end)
        spent = [Counter[str]() for _ in range((end - start) // MINUTE)]
        for a, b in itertools.pairwise(moments):
            spent[(a - start) // MINUTE][self.at(a, cuts, strong)] += b - a
        return ["complete" if c["complete"] == MINUTE else self.worst(c) for c in spent]

    @staticmethod
    def worst(spent: Counter[str]) -> str:
        """All that took the longest, since which of them is named is nobody's business."""
        del spent["complete"]
        most = max(spent.values())
        return "|".join(sorted(cause for cause, n in spent.items() if n == most))

    def at(self, moment: int, cuts: list[Cut], strong: list[Cut]) -> str:
        s, p = next(((s, p) for s, p in reversed(self.samples) if s.ts <= moment), (None, None))
        if s and p and moment < s.ts + p.stands:
            broken = any(cut.end > s.ts and cut.start <= moment for cut in strong)
            if moment < s.ts + p.firm or not broken:
                return "complete" if s.quality in USABLE else Quality(s.quality).name.lower()
        found = [cut for cut in [*(c for c in cuts if not c.strong), *strong] if cut.start <= moment < cut.end]
        return found[-1].cause if found else "unread"

    @staticmethod
    def rank(one: tuple[Sample, Promise]) -> tuple[int, int, int]:
        s, p = one
        return s.ts, 255 if s.quality in USABLE else s.quality, p.stands

    def promised(self, s: Sample) -> Promise:
        told = [p for p in self.promises if p.epoch == s.epoch and p.ts <= s.ts]
        return told[-1] if told else Promise(0, "", "", 0, 0)

    def told_at(self, moment: int) -> Promise | None:
        return next((p for p in reversed(self.promises) if p.ts <= moment), None)

    def cuts(self, start: int, end: int) -> list[Cut]:
        """In the order in which they are named: the last one first."""
        cuts = [cut for place in self.streams for cut in self.unheard(*place)]
        cuts.append(Cut(0, min(p.ts for p in self.promises), "no_promise", False))
        turns = sorted({p.ts for p in self.promises})
        for a, b in zip(turns, [*turns[1:], 2**62], strict=True):
            if (told := self.told_at(a)) and not told.stands:
                cuts.append(Cut(a, b, "absent"))
        before = [None, *self.promises[:-1]]
        starts = [
            (p.ts, bool(old and old.epoch != p.epoch))
            for old, p in zip(before, self.promises, strict=True)
            if p.state == "started"
        ]
        for ts, anew in sorted(starts)[: sum(ts < end for ts, _ in starts) + 1]:
            if (seen := self.last_seen(ts)) is not None:
                firm = told.firm if (told := self.told_at(seen)) else 0
                cuts.append(Cut(seen + firm + 1, ts, "new_journal" if anew else "stopped"))
        cuts += [Cut(b.t0, b.t1 + 1, "unreadable") for b in self.life.spoiled if b.stream == "samples:plc"]
        return [*cuts, *(cut for place in self.streams for cut in self.missing(*place))]

    def unheard(self, epoch: str, stream: str) -> list[Cut]:
        cuts, changes = [], [(ts, state) for e, ts, state in self.life.sources if e == epoch]
        for i, (ts, state) in enumerate(changes):
            if state == "lost":
                starts = [p.ts for p in self.promises if p.state == "started" and p.ts > ts]
                ends = [at for at, _ in changes[i + 1 : i + 2]]
                cuts.append(Cut(ts, min([*ends, *starts], default=2**62), "source_lost", False))
        if epoch == self.promises[-1].epoch:
            newest = max(self.rows(epoch, stream), key=lambda b: b.seq, default=None)
            cuts.append(Cut(newest.t1 + 1 if newest else self.promises[-1].ts, 2**62, "not_yet"))
        return cuts

    def missing(self, epoch: str, stream: str) -> list[Cut]:
        gaps = [gap[2:] for gap in self.life.gaps if gap[:2] == (epoch, stream)]
        here = {b.seq for b in self.rows(epoch, stream)}
        here |= {seq for _, _, first, last, _ in gaps if first for seq in range(first, last + 1)}
        cuts, seq = [], 1
        while here and seq <= max(here):
            first = seq
            while seq not in here:
                seq += 1
            if seq > first:
                cuts.append(Cut(*self.between(epoch, stream, first, seq - 1), "not_arrived"))
            seq += 1
        for begin, to, first, last, cause in gaps:
            a, b = begin, to + 1
            if not begin and first:
                a, b = self.between(epoch, stream, first, last)
            elif not begin:
                a = max((row.t1 for row in self.rows(epoch, stream) if row.t1 < b), default=0)
            cuts.append(Cut(a, b, cause))
        return cuts

    def rows(self, epoch: str, stream: str) -> list[Sealed]:
        return [b for b in self.life.blocks if (b.epoch, b.stream) == (epoch, stream)]

    def between(self, epoch: str, stream: str, first: int, last: int) -> tuple[int, int]:
        before = [b for b in self.rows(epoch, stream) if b.seq < first]
        after = [b for b in self.rows(epoch, stream) if b.seq > last]
        a = max(before, key=lambda b: b.seq).t1 + 1 if before else 0
        return a, min(after, key=lambda b: b.seq).t0 if after else 2**62

    def last_seen(self, moment: int) -> int | None:
        seen = [b.t1 for b in self.life.blocks if b.t1 < moment]
        seen += [b.t0 for b in self.life.blocks if b.t0 < moment <= b.t1 <= moment + HOUR]
        seen += [f.t0 for f in self.life.told if f.stream == "event" and f.t0 < moment]
        return max(seen, default=None)
