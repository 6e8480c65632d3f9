"""The newest frames of a connection, kept only while a tool asks for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from edge import SECOND, Clock

MOST_FRAMES = 20_000
IDLE = 30 * SECOND  # without a question: nobody looks any more


class Tape:
    """Bounded; what is pushed out before a tool saw it is counted as missed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._frames: deque[tuple[int, str, bytes]] = deque(maxlen=MOST_FRAMES)
        self._next = 0
        self._asked: int | None = None
        self._line: Any = None

    def follow(self, line: Any) -> None:
        """The connection to look at from now on; it has a `tap`."""
        self._line = line
        line.tap = self.put if self.on else None

    def put(self, way: str, data: bytes) -> None:
        if self.on:
            self._frames.append((self._clock.utc(), way, data))
            self._next += 1
            return
        self._frames.clear()
        if self._line is not None:
            self._line.tap = None

    @property
    def on(self) -> bool:
        return self._asked is not None and self._clock.mono() - self._asked < IDLE

    def after(self, number: int | None, most: int, say: Callable[[str, bytes], str] | None) -> dict[str, Any]:
        """Frames from `number` on (None: what comes from now on), at most `most`; `next` is what to ask for then."""
        if not self.on:
            self._frames.clear()
        self._asked = self._clock.mono()
        if self._line is not None:
            self._line.tap = self.put
        first = self._next - len(self._frames)
        start = self._next if number is None else min(max(number, first), self._next)
        picked = [self._frames[i - first] for i in range(start, min(start + most, self._next))]
        rows = [[ts, way, data.hex(), *([say(way, data)] if say else [])] for ts, way, data in picked]
        missed = 0 if number is None else max(0, start - number)
        return {"frames": rows, "next": start + len(picked), "missed": missed}
