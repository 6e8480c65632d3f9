"""The live lane at the plane: newest values per device in memory, and the pages that watch them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from edge import Quality

from ..wire import VERSION, WireFault

KEPT = 600  # newest points a tag, to bridge what is not sealed yet
MOST_WAITING = 100  # messages a slow page may be behind before it is cut off


@dataclass
class Newest:
    """One device: {tag id: (value or None, quality name, ts)} and its own status."""

    epoch: str = ""
    values: dict[int, tuple[float | None, str, int]] = field(default_factory=dict)
    recent: dict[int, deque[tuple[int, float]]] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    heard: float = 0.0


class Hub:
    """Takes live messages in and hands them on to every page that listens."""

    def __init__(self) -> None:
        self.devices: dict[str, Newest] = {}
        self._pages: set[asyncio.Queue[dict[str, Any] | None]] = set()

    def take(self, device: str, message: bytes) -> None:
        """One live message. Raises WireFault."""
        try:
            version, epoch, *columns, status = msgpack.unpackb(message)
            kinds = (np.int32, np.int64, np.float64, np.uint8)
            tag, ts, value, quality = (np.frombuffer(c, k) for c, k in zip(columns, kinds, strict=True))
            if version != VERSION or not len(tag) == len(ts) == len(value) == len(quality):
                raise ValueError("columns differ in length")
            rows = {
                int(t): (float(v) if np.isfinite(v) else None, Quality(int(q)).name, int(s))
                for t, v, q, s in zip(tag, value, quality, ts, strict=True)
            }
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise WireFault(f"damaged live message: {error}") from None
        newest = self.devices.setdefault(device, Newest())
        if newest.epoch != epoch:
            newest.epoch, newest.values, newest.recent = str(epoch)[:16], {}, {}
        newest.values.update(rows)
        for number, (shown, _, stamp) in rows.items():
            if shown is not None:
                newest.recent.setdefault(number, deque(maxlen=KEPT)).append((stamp, shown))
        newest.status, newest.heard = status if isinstance(status, dict) else {}, time.time()
        self.tell({"kind": "values", "device": device, "epoch": newest.epoch, "values": rows, "status": newest.status})

    def tell(self, message: dict[str, Any]) -> None:
        for page in list(self._pages):
            if page.qsize() >= MOST_WAITING:
                self._pages.discard(page)
                page.put_nowait(None)
            else:
                page.put_nowait(message)

    def listen(self) -> asyncio.Queue[dict[str, Any] | None]:
        page: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._pages.add(page)
        return page

    def leave(self, page: asyncio.Queue[dict[str, Any] | None]) -> None:
        self._pages.discard(page)

    def close(self) -> None:
        for page in list(self._pages):
            page.put_nowait(None)
        self._pages.clear()
