"""How long the journal lasts without a link: what it takes, and how fast it grows."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import apsw

from .clock import SECOND
from .records import marks, sample_streams
from .retention import used_bytes
from .room import DAY, Budget

HOUR = 3600 * SECOND
SINCE = 1_577_836_800 * SECOND  # 2020: a clock that says less was not set
YOUNG = HOUR  # of records, before which no day is foretold from them


@dataclass(frozen=True, slots=True)
class Outlook:
    """`used` of `at_most` bytes; `grows` bytes a day, so that `holds` hours fit that nobody fetches, of which `left` are free
    now. None where that is not known yet."""

    used: int
    at_most: int
    grows: int | None = None
    holds: float | None = None
    left: float | None = None

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Outlook:
        """From a status."""
        return cls(*(plain[f.name] for f in fields(cls)))

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def size(self) -> str:
        return f"{self.used / 1e6:,.1f} of {self.at_most / 1e6:,.0f} MB"

    def words(self) -> str:
        if self.holds is None or self.grows is None:
            return "an hour of records will say how long it lasts without a link"
        holds, left = _span(self.holds), _span(self.left or 0.0)
        return f"grows by {self.grows / 1e6:,.1f} MB a day; holds {holds} without a link, {left} of them free"


def foretell(db: apsw.Connection, budget: Budget, readers: Collection[str], utc: int, folder: Path) -> Outlook:
    """How long it lasts, from what the records that are here take and the time they span. Looks at no record."""
    used, page = used_bytes(db), next(db.execute("PRAGMA page_size"))[0]
    (first,) = next(db.execute("SELECT min(written) FROM block WHERE written > ?", (SINCE,)))
    (last,) = next(db.execute("SELECT max(written) FROM block WHERE written <= ?", (utc + HOUR,)))
    if first is None or last is None or last - first < YOUNG:
        return Outlook(used, budget.at_most)
    grows = used * DAY / (last - first)
    file = next(db.execute("PRAGMA page_count"))[0] * page
    room = min(budget.pages, file + max(0, shutil.disk_usage(folder).free - budget.reserve))
    holds = room / grows * 24
    waits = max(0, utc - min(_oldest_unsent(db, readers), utc))
    return Outlook(used, budget.at_most, round(grows), holds, max(0.0, holds - waits / HOUR))


def _oldest_unsent(db: apsw.Connection, readers: Collection[str]) -> int:
    """When the oldest block that some reader has not delivered was written; far in the future where there is none."""
    oldest = 2**63
    streams = sample_streams(db)
    for reader in readers:
        got = marks(db, reader)
        for stream in streams:
            find = "SELECT written FROM block WHERE stream = ? AND seq > ? ORDER BY seq LIMIT 1"
            for (written,) in db.execute(find, (stream, got.get(stream, 0))):
                oldest = min(oldest, written)
    return oldest


def _span(hours: float) -> str:
    return f"{hours / 24:,.0f} days" if hours >= 72 else f"{hours:.0f} h"
