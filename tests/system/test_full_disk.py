"""A disk that is really full: a small file system with a ballast file. The daemon goes on and says so, and so does the plane."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import Batch, Cursor, Event
from edge.bench.process import free_port, running, wait_for
from edge.bench.stack import lineside, plane
from edge.clock import ManualClock
from edge.codec import decode_event
from edge.commands import doctor
from edge.control import NAME, ask
from edge.errors import LinesideError
from edge.journal import Journal
from tests.system.faults import MORE, SITE, Victims

pytestmark = pytest.mark.system


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 8 MB; gives the path of its ballast."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip(
            "only root may mount a small file system; run `make test` as root, in a container with CAP_SYS_ADMIN"
        )
    try:
        yield folder / "ballast"
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(ballast: Path) -> None:
    """Take every byte that is left."""
    with ballast.open("ab", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(bytes(4096))


class Watched(Victims):
    """The stack with a device whose disk, or a plane whose disk, is small."""

    def status(self) -> dict[str, Any]:
        return ask(self.folder / "device", {"do": "status"})

    def value(self, tag: str) -> float | None:
        return ask(self.folder / "device", {"do": "read", "tags": [tag]})["values"][0]["value"]

    def doctor(self) -> list[str]:
        return [" ".join(finding) for finding in doctor.site(self.site, self.folder / "device")]

    def rules_act(self) -> None:
        """The local output follows its alarm up and down."""
        for wanted in (1, 0, 1):
            wait_for(lambda wanted=wanted: self.value("plc.lamp") == wanted, 120, f"lamp {wanted}")

    def settle(self) -> None:
        """Everything that was said to be durable is in the plane, once."""
        self.kill("device")
        said, last = self.said(), self.sealed()
        self.start("device")
        wait_for(lambda: all(self.stands("device").get(s, 0) >= n for s, n in last.items()), 120, "delivery")
        kept = self.kept()
        assert said and not [fact for fact in said if fact not in kept]
        assert not [fact for fact, n in kept.items() if n > 1]


def test_the_daemon_on_a_full_disk_goes_on_says_so_and_recovers_by_itself(tmp_path: Path) -> None:
    with contextlib.ExitStack() as until_end:
        ballast = until_end.enter_context(small_disk(tmp_path / "device"))
        it = Watched(tmp_path, until_end, "none")
        for round_ in ("first", "again"):
            fill(ballast)
            wait_for(lambda: it.status()["journal"] == "the disk is full", 120, f"a full disk, {round_}")
            before = it.status()
            it.rules_act()
            wait_for(lambda before=before: it.status()["samples"] > before["samples"] + 3000, 120, "acquisition")
            said = it.doctor()
            assert any("the disk is full" in line and "free some space" in line for line in said), said
            ballast.unlink()
            wait_for(lambda: it.status()["journal"] == "fine", 120, "recovery")
        now = it.status()
        assert now["dropped"] == 0 and now["durable"] >= before["samples"], "what waited in memory is durable now"
        it.settle()
        words = (tmp_path / "device.log").read_text()
        assert (
            "Traceback" not in words
            and words.count("the disk is full (free some space)") == 2
            and "writing again" in words
        )


def test_a_first_start_on_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    with small_disk(tmp_path / "full") as ballast:
        fill(ballast)
        site = tmp_path / "site.yaml"
        site.write_text(SITE.format(port=free_port(), url="https://127.0.0.1:1", more=MORE))
        for command in (
            ("run", site, "--state", tmp_path / "full"),
            ("plane", "--folder", tmp_path / "full" / "plane"),
        ):
            with pytest.raises(LinesideError, match=r"disk is full|No space left on device"):
                lineside(*command)
        ballast.unlink()
        with running("run", site, "--state", tmp_path / "full", log=tmp_path / "log"):
            wait_for((tmp_path / "full" / NAME).exists, 120, "a start")
        with plane(tmp_path / "full" / "plane") as link:
            assert link
        assert (tmp_path / "full" / "plane" / "sessions.key").stat().st_size == 32, "no half-written secret is believed"


def test_a_daemon_that_starts_on_a_full_disk(tmp_path: Path) -> None:
    with contextlib.ExitStack() as until_end:
        ballast = until_end.enter_context(small_disk(tmp_path / "device"))
        it = Watched(tmp_path, until_end, "none")
        it.kill("device")
        fill(ballast)
        it.start("device")

        def up() -> bool:
            with contextlib.suppress(LinesideError):
                return it.status()["journal"] == "the disk is full"
            return False

        wait_for(up, 120, "a start on a full disk")
        it.rules_act()
        ballast.unlink()
        wait_for(lambda: it.status()["journal"] == "fine", 120, "recovery")
        it.settle()
        assert "Traceback" not in (tmp_path / "device.log").read_text()


def test_a_plane_on_a_full_disk_acknowledges_nothing_and_recovers_by_itself(tmp_path: Path) -> None:
    with contextlib.ExitStack() as until_end:
        ballast = until_end.enter_context(small_disk(tmp_path / "plane"))
        it = Watched(tmp_path, until_end, "none")
        fill(ballast)
        wait_for(lambda: "disk is full" in it.status()["parts"]["sync"]["reason"], 120, "a refusal with its reason")
        wait_for(lambda: it.status()["backlog"]["sync"]["records"] > 6, 120, "a backlog")
        acknowledged, committed = it.stands("device"), it.stands("plane")
        assert all(seq <= committed.get(stream, 0) for stream, seq in acknowledged.items()), "no acknowledgement first"
        it.rules_act()
        ballast.unlink()
        wait_for(lambda: it.status()["parts"]["sync"]["state"] == "running", 120, "recovery")
        it.settle()
        words = (tmp_path / "plane.log").read_text()
        assert (
            "Traceback" not in words
            and words.count("plane: cannot write: the disk is full") == 1
            and "writing again" in words
        )


def test_a_full_disk_can_always_be_written_to_and_freed(tmp_path: Path) -> None:
    """Fifty times over: every byte is taken, events are durable all the same, samples too as long as some are delivered, and each
    one is here or told of in the end."""
    noise = np.random.default_rng(5)
    cycles, n = 50, 2_000

    async def work(journal: Journal, ballast: Path) -> None:
        clock: Any = journal.clock
        journal.readers = {"sync"}
        first = sent = 0

        async def add(samples: int) -> bool:
            nonlocal first
            for _ in range(samples):
                journal.append(
                    [Batch.of("plc", [1] * n, noise.random(n), range(first, first + n))], [Event("k", str(first))]
                )
                first += n
            clock.advance(11)
            return await journal.commit(seal=True)

        while journal.room.reserve.held() < journal.room.budget.reserve:
            assert await add(1)
        refused = 0
        for cycle in range(cycles):
            fill(ballast)
            for turn in range(8):
                refused += not await add(3)
                if cycle % 2:
                    sent = max([sent, *(r.seq for r in await journal.read("samples:plc", sent, 2, 10**9))])
                    journal.moved("sync", "samples:plc", Cursor(sent))
                happened = await journal.read("event", 0, 100_000, 10**9)
                assert sum(decode_event(r.body).kind == "k" for r in happened) == first // n, (
                    f"{cycle}, {turn}: no event waits"
                )
            ballast.unlink()  # noqa: ASYNC240
            assert await add(1) and not journal.complaint, f"cycle {cycle}: it goes on by itself"
        assert journal.totals.appended == journal.totals.durable and 0 < refused < cycles * 8
        told = [decode_event(r.body).data for r in await journal.read("event", 0, 100_000, 10**9) if b"gap" in r.body]
        (given,) = (await journal.streams()).values()
        held = {r.seq for r in await journal.read("samples:plc", 0, 100_000, 10**9)}
        gone = {k for d in told if d["stream"] == "samples:plc" for k in range(d["first"], d["last"] + 1)}
        assert set(range(sent + 1, given + 1)) <= held | gone and not held & gone

    with small_disk(tmp_path / "device") as ballast:
        journal = Journal(ballast.parent / "journal.db", ManualClock())
        try:
            asyncio.run(work(journal, ballast))
        finally:
            journal.close()
