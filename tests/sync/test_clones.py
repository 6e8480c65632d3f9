"""Two devices that are one are noticed; restarts, and messages that come late, are no clones."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sync.control_plane.clones import OVER, WITHIN, Clones
from sync.control_plane.invite import Wish, invited
from sync.device import enrolment, identity
from sync.device.certificate import Certificate
from sync.device.orders import asks
from sync.device.transport import Https
from sync.invitation import token
from tests.sync.test_spine import Rig, rig


class Seen:
    """What turns out of a row of runs, each so many seconds after the last."""

    def __init__(self) -> None:
        self.time = 0.0
        self.clones = Clones(lambda: self.time)

    def __call__(self, runs: str, every: float = 20.0) -> list[bool]:
        out = []
        for run in runs:
            self.time += every
            out.append(self.clones.saw("d", run))
        return out


def test_restarts_and_late_messages_are_no_clones() -> None:
    seen = Seen()
    assert not any(seen("aaaabbbbccccddddeeee")) and not any(seen("abcdefghijk" * 3))
    assert not any(Seen()("aabab")), "two that come late"
    assert not any(Seen()("ab" * 10, every=WITHIN / 2 + 1)), "seldom"
    assert not any(seen.clones.saw("d", "") for _ in range(9)), "an older device says nothing"


def test_two_that_take_turns_are_told_once_until_there_is_one_again() -> None:
    seen = Seen()
    assert seen("ababab").count(True) == 1 and seen.clones.standing == {"d"}
    assert not any(seen("abab")) and not list(seen.clones.over())
    seen.time += OVER + 1
    assert list(seen.clones.over()) == ["d"] and not list(seen.clones.over())
    assert any(seen("ababab")), "and again"
    assert seen.clones.forget("d") and not seen.clones.forget("d")


def test_a_copied_state_folder_is_an_alarm_of_the_plane(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        shutil.copytree(it.folder / "dev", it.folder / "copy", ignore=shutil.ignore_patterns("*.sock"))
        me = identity.load(it.folder / "copy", "dev-1")
        other = Https(me, Certificate(it.folder / "copy", me))

        async def raised() -> bool:
            await other.exchange("GET", asks(0, 0, "the copy"))
            await it.plane.ingest.command(
                "dev-1", "ack", {"key": "hot", "by": "test"}
            )  # the right one's poll ends, and it asks again
            return await it.events("alarm") == [("clone dev-1", "raised")]

        await it.until(raised)
        other.close()
        words = token(it.plane.url, it.plane.authority.fingerprint, await invited(it.plane.store, Wish()))
        await asyncio.to_thread(enrolment.enroll, words, "dev-1", it.folder / "dev")

        async def cleared() -> bool:
            return await it.events("alarm") == [("clone dev-1", "raised"), ("clone dev-1", "cleared")]

        await it.until(cleared)

    rig(tmp_path, work)
