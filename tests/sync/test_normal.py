"""A person at the plane says what is normal for a detector of a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

import msgpack
from sqlalchemy import select

from edge import Event
from edge.app import Daemon
from edge.codec import decode_event
from sync import wire
from sync.control_plane import tables
from sync.control_plane.messages import apply_frames
from sync.control_plane.plane import Plane
from sync.device.orders import Orders
from tests.edge.test_daemon import run, site, steady
from tests.sync.test_page import Ask, page

__all__ = ["steady"]  # a fixture


def test_the_order_is_queued_for_a_detector_that_the_plane_knows(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        body = msgpack.packb(["health.alarm", "uint8", "", {}, "health"])
        frame = wire.Frame("0" * 16, "tag", 1, 0, 0, 1, body)
        await plane.store.write(lambda c: apply_frames(c, "d", [frame]))
        cookie = f"session={plane.people.login(plane.people.key)}"
        said: dict[str, Any] = {"Cookie": cookie, "Content_Type": "application/json"}
        for path, status in (("d/normal/health", 202), ("d/normal/other", 404), ("e/normal/health", 404)):
            assert (await ask("POST", f"/api/devices/{path}", b'{"back": true}', **said))[0] == status
        t = tables.command
        rows = await plane.store.read(lambda c: c.execute(select(t.c.device, t.c.verb, t.c.data)).all())
        ((device, verb, data),) = rows
        assert (device, verb) == ("d", "normal") and json.loads(data)["stage"] == "health" and json.loads(data)["back"]

    page(tmp_path, work)


def test_the_device_hands_it_to_that_stage_and_refuses_one_that_it_has_not(tmp_path: Path) -> None:
    stages = "stages: {h: {stage: anomaly, tags: [a.t]}}"

    async def work(daemon: Daemon) -> list[Event]:
        orders = Orders(daemon, writes=False)
        for number, stage in enumerate(("h", "x"), 1):
            await orders(number, "normal", {"stage": stage, "by": "anna", "epoch": daemon.journal.epoch})
        await daemon.journal.commit()
        return [decode_event(r.body) for r in await daemon.journal.read("event", 0, 100)]

    events = run(tmp_path, site("a:, tags: {t: {}}", rules=stages), work)
    told = [(e.kind, e.key, e.state) for e in events if e.kind in ("command", "model")]
    assert told == [("command", "normal", ""), ("model", "h", "refused"), ("command", "normal", "refused")]
    assert "no such detector" in events[-1].text
