"""The live lane at the plane: newest values per device in memory, and the pages that watch them."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from edge import TRUSTED, Quality, log

from ..wire import VERSION, WireFault, shallow
from .peers import LIVE, Peers
from .recent import EACH, POINT, Recent, share

MOST_ROWS = 50_000  # newest values in one message
MOST_TAGS = 20_000  # of one device that are shown live
MOST_WAITING = 100  # messages a slow page may be behind before it is cut off
LONGEST_EVERY = 3600.0  # seconds between two messages, as far as a device is believed
SILENT = 10.0  # seconds without a live message after which a device is not heard


@dataclass
class Newest:
    """One device: {tag id: (value or None, quality name, ts)}, its own status, and when it was heard (monotonic)."""

    epoch: str = ""
    values: dict[int, tuple[float | None, str, int]] = field(default_factory=dict)
    recent: Recent = field(default_factory=Recent)
    status: dict[str, Any] = field(default_factory=dict)
    heard: float = 0.0
    full: bool = False

    def age(self) -> float:
        """Seconds since it was heard."""
        return time.monotonic() - self.heard

    def silent(self) -> bool:
        """Whether it has missed its time; a device on a dear line says itself how often it tells."""
        every = self.status.get("every")
        usual = min(every, LONGEST_EVERY) if isinstance(every, (int, float)) else 0.0
        return self.age() >= max(SILENT, 2.5 * usual)


class Hub:
    """Takes live messages in and hands them on to every page that listens, here and at the plane's other processes (`peers`)."""

    def __init__(self) -> None:
        self.devices: dict[str, Newest] = {}
        self.peers: Peers | None = None
        self._partly: set[str] = set()  # devices of which values may have been missed
        self._pages: set[asyncio.Queue[dict[str, Any] | None]] = set()
        self._closed = False

    def take(self, device: str, message: bytes) -> bool:
        """One live message of a device; true when its other values are not known here. Raises WireFault."""
        fresh = self.show(device, message) or device in self._partly
        self._partly.discard(device)
        if self.peers:
            self.peers.tell(LIVE, "live", device, message)
        return fresh

    def doubt(self) -> None:
        """Values may have been missed, here or at a process that has just begun: each device tells all of them again."""
        self._partly |= self.devices.keys()

    def cut(self) -> None:
        """Hints may have been missed: the pages come anew."""
        for page in list(self._pages):
            page.put_nowait(None)
        self._pages.clear()

    def show(self, device: str, message: bytes) -> bool:
        """A live message that a device sent to whichever process; true where it is of a journal that is not known here."""
        try:
            version, epoch, *columns, status = msgpack.unpackb(message)
            if not shallow(status):
                raise ValueError("a status that is nested too deep")
            json.dumps(status, allow_nan=False)  # the pages get it so
            kinds = (np.int32, np.int64, np.float64, np.uint8)
            tag, ts, value, quality = (np.frombuffer(c, k) for c, k in zip(columns, kinds, strict=True))
            if len(tag) > MOST_ROWS:
                raise ValueError(f"{len(tag):,} values, and {MOST_ROWS:,} go at once")
            if version != VERSION or not len(tag) == len(ts) == len(value) == len(quality):
                raise ValueError("columns differ in length")
            rows = {
                int(t): (float(v) if np.isfinite(v) else None, Quality(int(q)).name, int(s))
                for t, v, q, s in zip(tag, value, quality, ts, strict=True)
            }
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise WireFault(f"damaged live message: {error}") from None
        if (newest := self.devices.get(device)) is None:
            newest = self.devices[device] = Newest()
            self._share()
        if fresh := newest.epoch != epoch:
            newest.epoch, newest.values, newest.recent, newest.full = str(epoch)[:16], {}, Recent(), False
        if len(newest.values) + len(rows) > MOST_TAGS:
            self._fit(device, newest, rows)
        self._remember(newest, rows)
        newest.status, newest.heard = status if isinstance(status, dict) else {}, time.monotonic()
        self._show({"kind": "values", "device": device, "epoch": newest.epoch, "values": rows, "status": newest.status})
        return fresh

    def _remember(self, newest: Newest, rows: dict[int, tuple[float | None, str, int]]) -> None:
        """Take these values as the newest; one that is newer than what was known of its tag is a point, or a gap where it is not
        trusted."""
        old = newest.values
        points = [
            (tag, stamp, value if value is not None and Quality[name] <= TRUSTED else math.nan)
            for tag, (value, name, stamp) in rows.items()
            if tag not in old or old[tag][2] < stamp
        ]
        old.update(rows)
        newest.recent.add(np.array(points, POINT), min(EACH * len(old), share(len(self.devices))))

    def _share(self) -> None:
        """There is one device more, and maybe less room for each."""
        if (each := share(len(self.devices))) < share(len(self.devices) - 1):
            for one in self.devices.values():
                one.recent.fit(each)

    def _fit(self, device: str, newest: Newest, rows: dict[int, Any]) -> None:
        """Take out of `rows` the tags for which there is no room."""
        new = [number for number in rows if number not in newest.values]
        beyond = new[max(0, MOST_TAGS - len(newest.values)) :]
        for number in beyond:
            del rows[number]
        if beyond and not newest.full:
            newest.full = True
            log.warning("plane: %s has more than %d tags; the others are not shown live", device, MOST_TAGS)

    def tell(self, message: dict[str, Any], shared: bool = True) -> None:
        """A hint for every page, also those of the other processes unless it is not `shared`."""
        self._show(message)
        if shared and self.peers:
            self.peers.tell(LIVE, "page", "", json.dumps(message).encode())

    def _show(self, message: dict[str, Any]) -> None:
        for page in list(self._pages):
            if page.qsize() >= MOST_WAITING:
                self._pages.discard(page)
                page.put_nowait(None)
            else:
                page.put_nowait(message)

    def listen(self) -> asyncio.Queue[dict[str, Any] | None]:
        page: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._pages.add(page)
        if self._closed:
            page.put_nowait(None)
        return page

    def leave(self, page: asyncio.Queue[dict[str, Any] | None]) -> None:
        self._pages.discard(page)

    def close(self) -> None:
        """Let the pages go, also those that still come."""
        self._closed = True
        self.cut()
