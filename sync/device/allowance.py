"""What may go over the line today, and when: bytes a day by what the line is, and times of the day. Alarms, events and the newest
values always go; samples and pictures wait."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge import SECOND, Clock, is_sure

from .transport import Transport

FILE = "sync.day"
BESIDE = 500  # bytes of a message and its answer beside their bodies
SPARING = 300.0  # seconds between two messages of newest values on a day that is spent
PICTURES = 0.5  # of a day's bytes, after which pictures wait, so that something is left for samples
MINUTES = 24 * 60
MB = 10**6


@dataclass(frozen=True, slots=True)
class Link:
    """What a kind of line gives unless the site says otherwise: bytes a day (0: any), seconds between newest values."""

    a_day: int
    live: float


LINKS = {
    "ethernet": Link(0, 1.0),
    "wifi": Link(0, 1.0),
    "cellular": Link(300 * MB, 5.0),
    "satellite": Link(20 * MB, SPARING),
}


def window(text: str) -> tuple[int, int]:
    """'22:00-06:00' -> minutes of the day. Raises ValueError."""
    found = re.fullmatch(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)\s*", text)
    first, last = (int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])) if found else (0, 0)
    if first == last:
        raise ValueError(f"{text!r} is no time of the day; write from-to, as in 22:00-06:00")
    return first, last


class Allowance:
    """Told of each exchange. What was used today outlives a restart but for a hundredth of the day's bytes. The day and its times
    are the machine's local ones; a clock that goes back, or is not set, begins no new day; after a clock that was wrong
    the next day is one."""

    def __init__(self, a_day: int, windows: list[str], clock: Clock, folder: Path, a_second: int = 0) -> None:
        self.a_day, self._windows = a_day, [window(text) for text in windows]
        self._a_second, self._free = a_second, 0  # when samples and pictures may go again (monotonic ns)
        self._clock, self._file = clock, folder / FILE
        self._day, self.used, self._kept = 0, 0, 0
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            said = json.loads(self._file.read_text())
            self._day, self.used = int(said["day"]), max(0, int(said["bytes"]))
        self._kept = self.used
        self._today()

    def spent(self, size: int, much: bool = False) -> None:
        """`much`: for samples or pictures, which wait then, so that they take no more of a second than they may."""
        self._today()
        self.used += size
        if much and self._a_second:
            self._free = max(self._free, self._clock.mono()) + size * SECOND // self._a_second
        if self.a_day and self.used - self._kept >= self.a_day // 100:
            self._keep()

    def rest(self) -> float:
        """Seconds until samples and pictures may go on."""
        return max(0, self._free - self._clock.mono()) / SECOND

    @property
    def over(self) -> bool:
        """Whether the day's bytes are spent."""
        self._today()
        return bool(self.a_day) and self.used >= self.a_day

    def holds(self, pictures: bool = False) -> str:
        """Why samples (or pictures) wait, in words; "" where they may go."""
        self._today()
        now = self._local()
        minute = now.hour * 60 + now.minute
        if self._windows and not any((minute - a) % MINUTES < (b - a) % MINUTES for a, b in self._windows):
            start = min((a for a, _ in self._windows), key=lambda a: (a - minute) % MINUTES)
            return f"wait until {start // 60:02}:{start % 60:02}"
        if self.a_day and self.used >= self.a_day * (PICTURES if pictures else 1.0):
            share = "half of today's" if pictures and not self.over else "today's"
            return f"wait until midnight: {share} {self.a_day / MB:,.0f} MB are spent"
        return ""

    def words(self) -> str:
        """For the status: what waits, and what was used where there is a limit."""
        samples, pictures = self.holds(), self.holds(pictures=True)
        said = [f"samples and pictures {samples}"] if samples else [f"pictures {pictures}"] if pictures else []
        if self._a_second:
            said.append(f"{self._a_second / 1000:g} kB a second")
        if self.a_day:
            said.append(f"{100 * self.used // self.a_day} % of {self.a_day / MB:,.0f} MB today")
        return "; ".join(said)

    def _local(self) -> datetime:
        return datetime.fromtimestamp(self._clock.utc() // SECOND)

    def _today(self) -> None:
        today = self._local().toordinal()
        if today > self._day:
            self._day, self.used = today, 0
        elif today < self._day - 1 and is_sure(self._clock):
            self._day = today  # the clock was wrong when that day began: nothing waits for its date
        else:
            return
        if self.a_day:
            self._keep()

    def _keep(self) -> None:
        fresh = self._file.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk: it is counted on here
            fresh.write_text(json.dumps({"day": self._day, "bytes": self.used}))
            fresh.replace(self._file)
        self._kept = self.used


class Counted:
    """A transport whose every exchange counts, also one that fails. `much`: of samples or pictures."""

    def __init__(self, transport: Transport, allowance: Allowance, much: bool = False) -> None:
        self._transport, self._allowance, self._much = transport, allowance, much

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        self._allowance.spent(BESIDE + len(body), self._much)
        answer = await self._transport.exchange(method, path, body, timeout)
        self._allowance.spent(len(answer), self._much)
        return answer

    def close(self) -> None:
        self._transport.close()
