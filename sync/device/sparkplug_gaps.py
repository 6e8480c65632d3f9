"""What the journal gave up before a Sparkplug node could say it: taken from its gap records, told device by device."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edge import CodecFault, Record, decode_event

MOST_WAITING = 1000
PLANES_OWN = ("forgotten", "rejected")  # gaps that only the plane has


class Gaps:
    """`take` records of events in order; `of` gives what is to be told of a device, and `done` says how far that is so."""

    def __init__(self, after: int) -> None:
        self.seen = after
        self._waiting: dict[
            str, list[tuple[int, int]]
        ] = {}  # by source: number of the event, ns at which the gap begins

    def take(self, records: Iterable[Record], after: Callable[[str], int]) -> None:
        """`after`: how far a stream was told; what was lost behind that was told before."""
        for record in records:
            self.seen = record.seq
            try:
                event = decode_event(record.body)
            except CodecFault:
                continue
            stream, last = str(event.data.get("stream", "")), event.data.get("last", 0)
            known = not isinstance(last, int) or 0 < last <= after(stream)
            if event.kind != "gap" or event.state in PLANES_OWN or not stream.startswith("samples:") or known:
                continue
            begins = event.data.get("from") or event.data.get("to")
            if isinstance(begins, int):
                self._waiting.setdefault(stream.removeprefix("samples:"), []).append((record.seq, begins))

    def of(self, source: str) -> list[int]:
        """Where the gaps of a device begin, in ns."""
        return [begins for _, begins in self._waiting.get(source, ())]

    def told(self, source: str) -> None:
        """All of them, or none that anybody would know: the source left the site."""
        self._waiting.pop(source, None)

    @property
    def full(self) -> bool:
        """Whether so many wait, for devices that are away, that no more are taken for now."""
        return sum(map(len, self._waiting.values())) >= MOST_WAITING

    @property
    def sources(self) -> set[str]:
        return set(self._waiting)

    def done(self) -> int:
        """The number of the last event before which nothing waits."""
        return min((found[0][0] - 1 for found in self._waiting.values()), default=self.seen)
