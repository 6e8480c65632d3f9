"""What one device really measured: the list that the plane is compared with at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge import Batch, Event

WIDTH = 6  # tags of a source; a scan reads them all
SOURCES = ("press", "oven")
KIND = "torture"  # of the events that are counted


@dataclass(slots=True)
class Fact:
    """One scan or one event: when it was stamped, how good it is, in which journal it was put."""

    ts: int
    quality: int
    epoch: str


def column(n: int) -> np.ndarray:
    """The values of scan `n`: its number, and a part behind the point that no compressor guesses."""
    mixed = (n * 2_654_435_761 + np.arange(WIDTH, dtype=np.int64) * 40_503_001 + 12_345) % 2**20
    return n + mixed / 2**20


@dataclass
class Ledger:
    """Facts by stream and number: `made`, of them `said` to be durable, `unsure` those in the air when a machine ended (they
    may be there or not), `gone` those that went away with a whole disk."""

    made: dict[str, dict[int, Fact]] = field(default_factory=dict)
    said: dict[str, set[int]] = field(default_factory=dict)
    unsure: dict[str, set[int]] = field(default_factory=dict)
    gone: dict[str, set[int]] = field(default_factory=dict)
    air: dict[str, set[int]] = field(default_factory=dict)
    sealed: dict[tuple[str, str, int], set[int]] = field(default_factory=dict)  # by epoch, stream, seq: what is inside
    gaps: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)  # by epoch and seq: what the journal told
    commands: list[int] = field(default_factory=list)

    def next(self, stream: str) -> int:
        return len(self.made.setdefault(stream, {})) + 1

    def add(self, stream: str, n: int, fact: Fact) -> None:
        self.made[stream][n] = fact
        self.air.setdefault(stream, set()).add(n)

    def durable(self, batches: Iterable[Batch], events: Iterable[Event]) -> None:
        """The journal says that these are safe now."""
        for batch in batches:
            self._said(f"samples:{batch.source}", set(map(int, np.floor(batch.value[::WIDTH]))))
        self._said("event", {int(event.data["n"]) for event in events if event.kind == KIND})

    def _said(self, stream: str, numbers: set[int]) -> None:
        self.said.setdefault(stream, set()).update(numbers)
        self.air.get(stream, set()).difference_update(numbers)

    def machine_ended(self) -> None:
        for stream, numbers in self.air.items():
            self.unsure.setdefault(stream, set()).update(numbers)
            numbers.clear()

    def disk_ended(self, epoch: str) -> None:
        """Also what was delivered: a plane put back to a backup may lack it for ever."""
        for stream, facts in self.made.items():
            self.gone.setdefault(stream, set()).update(n for n, fact in facts.items() if fact.epoch == epoch)

    def copied(self) -> dict[str, set[int]]:
        """What a copy of its disk holds at this moment."""
        return {stream: set(numbers) for stream, numbers in self.said.items()}

    def put_back(self, copy: dict[str, set[int]], epoch: str) -> None:
        """What came after the copy is in the plane already, or nowhere."""
        for stream, facts in self.made.items():
            since = {n for n, fact in facts.items() if fact.epoch == epoch} - copy.get(stream, set())
            self.gone.setdefault(stream, set()).update(since)

    def left_behind(self, arrived: dict[str, set[int]]) -> None:
        """What the plane did not have stays on a box that is the device no more."""
        for stream, facts in self.made.items():
            self.gone.setdefault(stream, set()).update(facts.keys() - arrived.get(stream, set()))

    def expected(self, stream: str) -> set[int]:
        """What has to be in the plane, or told."""
        unsure = self.unsure.get(stream, set()) - self.said.get(stream, set())
        return set(self.made.get(stream, {})) - unsure - self.gone.get(stream, set())

    def committed(self, stream: str) -> int:
        """How many were said to be durable, without those that went away with a disk."""
        return len(self.said.get(stream, set()) - self.gone.get(stream, set()))
