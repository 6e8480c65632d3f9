"""The newest points of devices: along time, and never more of them than there is room for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

import msgpack

from edge import Quality
from sync import wire
from sync.control_plane import recent
from sync.control_plane.live import Hub
from sync.control_plane.recent import POINT, Recent


def points(*rows: tuple[int, int, float]) -> Any:
    return np.array(list(rows), POINT)


def says(hub: Hub, device: str, ts: int, tags: Any, value: float = 1.0, quality: Quality = Quality.GOOD) -> None:
    n = len(tags)
    columns = np.array(tags, np.int32), np.full(n, ts, np.int64), np.full(n, value), np.full(n, quality, np.uint8)
    hub.take(device, msgpack.packb([wire.VERSION, "0" * 16, *(c.tobytes() for c in columns), {}]))


def test_points_are_kept_in_the_order_of_time_and_repeats_are_none() -> None:
    hub = Hub()
    for ts, value, quality in ((1, 5.0, 0), (3, 7.0, 0), (3, 7.0, 0), (2, 6.0, 0), (3, 7.0, 0), (4, 8.0, Quality.BAD)):
        says(hub, "d", ts, [1, 2], value, Quality(quality))
    newest = hub.devices["d"]
    assert newest.recent.of(1) == newest.recent.of(2) == [(1, 5.0), (3, 7.0), (4, None)]
    assert newest.recent.of(9) == [] and newest.values[1] == (8.0, "BAD", 4)


def test_a_ring_keeps_the_newest_however_they_come() -> None:
    chance, ring, said = np.random.default_rng(1), Recent(), list[tuple[int, int, float]]()
    for k in range(200):
        many = int(chance.integers(0, 12))
        fresh = [(7, 100 * k + j, float(j)) for j in range(many)]
        ring.add(points(*fresh), 30)
        said = (said + fresh)[-30:]
        assert ring.all().tolist() == said and len(ring) == len(said)
    ring.add(points(*[(7, 10**6 + j, 0.0) for j in range(100)]), 30)
    assert [row[1] for row in ring.all().tolist()] == [10**6 + j for j in range(70, 100)]


def test_a_tag_that_is_alone_has_its_ten_minutes() -> None:
    hub = Hub()
    for ts in range(700):
        says(hub, "d", ts, [1])
    assert [ts for ts, _ in hub.devices["d"].recent.of(1)] == list(range(100, 700))


def test_many_tags_take_no_more_memory_than_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 tags of 600 points each were 1.4 GB of one device."""
    monkeypatch.setattr(recent, "MOST", 4000)
    hub = Hub()
    for ts in range(1, 20):
        says(hub, "a", ts, range(1000))
    held = hub.devices["a"].recent
    assert len(held) == 4000 and held.nbytes == 4000 * POINT.itemsize
    assert held.of(5) == [(ts, 1.0) for ts in (16, 17, 18, 19)], "the newest of each"
    for k in range(7):
        says(hub, f"b{k}", 1, range(1000))
        assert sum(one.recent.nbytes for one in hub.devices.values()) <= 4000 * POINT.itemsize
    says(hub, "a", 20, [5])
    assert held.nbytes == 500 * POINT.itemsize, "an eighth, now that there are eight"
    assert held.of(5) == [(20, 1.0)] and held.of(999)[-1] == (19, 1.0)


def test_what_is_kept_in_all_has_a_bound_with_any_number_of_devices() -> None:
    for devices in (1, 2, 3, 100, 10_000, 1_000_000):
        assert 0 < recent.share(devices) <= recent.MOST_SHARE
        assert devices * recent.share(devices) <= recent.MOST
