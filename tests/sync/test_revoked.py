"""Who is revoked is let in no more, also on connections that stand; it samples on, and comes back when it is enrolled anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import LinesideError
from edge.cli import main
from sync.control_plane import fleet, presence
from sync.control_plane.invite import Wish, invited
from sync.device import enrolment
from sync.invitation import token
from tests.sync.test_spine import Rig, both_ways, rig


@both_ways
def test_a_device_that_is_revoked(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(presence, "LOOK", 0.05)

    async def work(it: Rig) -> None:
        parts = it.daemon.health.parts

        async def some() -> bool:
            return await it.count() > 0

        async def refused() -> bool:
            return "sync" in parts and "it was revoked" in parts["sync"].reason

        await it.until(some)
        asked = ["plane", "revoke", "dev-1", "--folder", str(it.folder / "plane")]
        assert await asyncio.to_thread(main, asked) == 0
        await it.until(refused)
        held, sampled = await it.count(), it.daemon.journal.totals.appended

        async def samples() -> bool:
            return it.daemon.journal.totals.appended > sampled + 20

        await it.until(samples)
        assert await it.count() == held, "nothing of it is taken any more, and it samples on"
        assert await asyncio.to_thread(main, asked) == 2 and "is revoked already" in capsys.readouterr().err
        assert await asyncio.to_thread(main, ["plane", "devices", "--folder", str(it.folder / "plane")]) == 0
        assert "REVOKED 20" in capsys.readouterr().out
        with pytest.raises(LinesideError, match="nobody is not enrolled here"):
            await fleet.revoke(it.plane.store, "nobody")
        words = token(it.plane.url, it.plane.authority.fingerprint, await invited(it.plane.store, Wish()))
        await asyncio.to_thread(enrolment.enroll, words, "dev-1", it.folder / "dev")
        assert await it.all_arrived() == it.daemon.journal.totals.appended

    rig(tmp_path, work, way)
