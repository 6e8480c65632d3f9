"""What waits for the next commit: bounded, the oldest gives way and a gap event says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import retention
from .batch import Batch
from .event import Event, Picture
from .reader import Cursor
from .records import Place
from .texts import Row as Text
from .timekeeping import moved

MOST_BYTES = 48_000_000  # of samples, and of pictures
MOST_EVENTS, MOST_EVENT_BYTES = 50_000, 48_000_000


@dataclass(slots=True)
class Pending:
    """Filled by `add`, taken by one commit; `follow` puts back what the disk refused, the newer behind it."""

    batches: list[Batch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    came: list[int] = field(default_factory=list)  # when, of each picture (ns UTC)
    snapshots: dict[str, bytes] = field(default_factory=dict)
    cursors: dict[tuple[str, str], Cursor] = field(default_factory=dict)
    texts: list[Text] = field(default_factory=list)  # bounded by their table
    damaged: set[Place] = field(default_factory=set)  # sealed records, or ("tail", row), that no longer are data
    steps: list[tuple[int, int, int]] = field(default_factory=list)  # of the clock, for what is in the tail
    urgent: bool = False  # nothing but what has to be durable at once, where there is hardly any room
    nbytes: int = 0  # of samples
    picture_bytes: int = 0
    event_bytes: int = 0  # about

    def add(
        self,
        batches: Sequence[Batch],
        events: Sequence[Event],
        pictures: Sequence[Picture],
        snapshots: Mapping[str, bytes],
        came: Sequence[int],
    ) -> None:
        self.batches.extend(batches)
        self.events.extend(events)
        self.pictures.extend(pictures)
        self.came.extend(came)
        self.snapshots.update(snapshots)
        self.nbytes += sum(batch.nbytes for batch in batches)
        self.picture_bytes += sum(len(picture.body) for picture in pictures)
        self.event_bytes += sum(map(_size, events))

    def follow(self, newer: Pending) -> None:
        """Take in what came after this."""
        for step in newer.steps:
            self.rebase(*step)
        self.add(newer.batches, newer.events, newer.pictures, newer.snapshots, newer.came)
        self.cursors.update(newer.cursors)
        self.texts += newer.texts
        self.damaged |= newer.damaged

    def withdraw(self, events: Sequence[Event]) -> bool:
        """Whether they were here; known by their data, which whoever names an event leaves as they are."""
        mine = {id(event.data) for event in events}
        gone = [event for event in self.events if id(event.data) in mine]
        self.events = [event for event in self.events if id(event.data) not in mine]
        self.event_bytes -= sum(map(_size, gone))
        return bool(gone)

    def rebase(self, first: int, last: int, step: int) -> None:
        """Move what is stamped between two times by `step` (ns), here and in the tail."""
        self.batches = [moved(batch, first, last, step) for batch in self.batches]
        self.steps.append((first, last, step))

    def split(self) -> Pending:
        """Take out what has to be durable at once, so that only batches, pictures and texts are left."""
        urgent = Pending(urgent=True, events=self.events, snapshots=self.snapshots, cursors=self.cursors)
        urgent.damaged, urgent.event_bytes = self.damaged, self.event_bytes
        self.events, self.event_bytes, self.snapshots, self.cursors, self.damaged = [], 0, {}, {}, set()
        return urgent

    def weight(self) -> int:
        """About the bytes of the file that it needs."""
        states = sum(map(len, self.snapshots.values()))
        return 65_536 + self.nbytes // 4 + self.picture_bytes + 1024 * len(self.events) + states

    def half_full(self) -> bool:
        return self.nbytes > MOST_BYTES // 2

    def give_way(self, utc: int) -> int:
        """Where there is too much: give up the oldest that never became durable, down to half, with a gap event for each
        source, for the pictures and for the events. Returns how many samples."""
        told: list[Event] = []
        dropped = 0
        if self.nbytes > MOST_BYTES:
            sources: dict[str, tuple[int, int, int]] = {}
            gone = _oldest([batch.nbytes for batch in self.batches], self.nbytes, MOST_BYTES)
            for batch in self.batches[:gone]:
                first, last = int(batch.ts.min()), int(batch.ts.max())
                t0, t1, n = sources.get(batch.source, (first, last, 0))
                sources[batch.source] = (min(t0, first), max(t1, last), n + len(batch))
                self.nbytes -= batch.nbytes
            del self.batches[:gone]
            dropped = sum(n for _, _, n in sources.values())
            told += [retention.gap(utc, s, t0, t1, n, "journal_full") for s, (t0, t1, n) in sources.items()]
        if self.picture_bytes > MOST_BYTES:
            gone = _oldest([len(picture.body) for picture in self.pictures], self.picture_bytes, MOST_BYTES)
            self.picture_bytes -= sum(len(picture.body) for picture in self.pictures[:gone])
            told.append(retention.unkept(utc, "picture", min(self.came[:gone]), gone))
            del self.pictures[:gone], self.came[:gone]
        if len(self.events) > MOST_EVENTS or self.event_bytes > MOST_EVENT_BYTES:
            gone = _oldest([_size(event) for event in self.events], self.event_bytes, MOST_EVENT_BYTES)
            gone = max(gone, len(self.events) - MOST_EVENTS // 2 if len(self.events) > MOST_EVENTS else 0)
            old, self.events = self.events[:gone], self.events[gone:]
            gaps = [event for event in old if event.kind == "gap"]
            times = [event.ts or utc for event in old if event.kind != "gap"]
            lost = [retention.unkept(utc, "event", min(times), len(times))] if times else []
            told = _folded([*gaps, *told, *lost], utc)
            self.event_bytes = sum(map(_size, self.events))
        self.events.extend(told)
        self.event_bytes += sum(map(_size, told))
        return dropped

    def __bool__(self) -> bool:
        kept = (
            self.batches,
            self.events,
            self.pictures,
            self.snapshots,
            self.cursors,
            self.texts,
            self.damaged,
            self.steps,
        )
        return any(kept)


def _size(event: Event) -> int:
    """About the bytes that it takes in memory."""
    return 500 + len(str(event.text)) + (len(repr(event.data)) if event.data else 0)


def _folded(gaps: Sequence[Event], utc: int) -> list[Event]:
    """One event for all that gave way of a stream: what was lost stays told, and bounded, however long the disk is full."""
    out: list[Event] = []
    sums: dict[tuple[str, str], tuple[int, int, int]] = {}
    for event in gaps:
        stream, data = str(event.data.get("stream")), event.data
        if event.state != "journal_full" or not {"from", "to", "samples"} <= data.keys():
            out.append(event)
            continue
        t0, t1, n = sums.get((stream, event.key), (data["from"], data["to"], 0))
        sums[stream, event.key] = min(t0, data["from"]), max(t1, data["to"]), n + data["samples"]
    for (stream, key), (t0, t1, n) in sums.items():
        samples = stream.startswith("samples:")
        one = retention.gap(utc, key, t0, t1, n, "journal_full") if samples else retention.unkept(utc, stream, t0, n)
        out.append(one)
    return out


def _oldest(sizes: Sequence[int], total: int, most: int) -> int:
    """How many from the front have to go, so that at most half of `most` is left."""
    gone = 0
    while total > most // 2 and gone < len(sizes):
        total -= sizes[gone]
        gone += 1
    return gone
