"""The daemon as a whole: parts that fail beside parts that work, exchange of the site, the local socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import Batch, Cursor, Event, Quality, plugins
from edge.app import Daemon
from edge.apply import apply_site
from edge.codec import decode_event
from edge.config.load import load_text
from edge.control import MOST_LINE, NAME, Control, NoDaemon, ask, short_path
from edge.driver import DriverConfig, Point
from edge.errors import ConfigFault, DeviceLost
from edge.poller import Poller
from edge.testing import VirtualClock, virtual_run


class Steady(Poller):
    """Reads `value` for every tag; `fails` says how it is broken."""

    class Config(Poller.Config):
        value: float = 1.0
        fails: str = ""

    made: int = 0

    def __init__(self, config: Any, source: Any) -> None:
        if config.fails == "built":
            raise ValueError("planted")
        super().__init__(config, source)
        self.values = dict.fromkeys(source.tags, config.value)
        Steady.made += 1

    async def connect(self) -> None:
        if self.config.fails == "connect":
            raise DeviceLost("nobody there")

    async def poll(self) -> dict[str, float]:
        return self.values

    async def run(self) -> None:
        try:
            await super().run()
        except asyncio.CancelledError:
            if self.config.fails != "ends":
                raise
            await asyncio.sleep(0.5)  # swallowed once
            await asyncio.Event().wait()

    async def write(self, order: Any) -> None:
        self.values = dict.fromkeys(self.values, order.value)


class Eye:
    """A source that promises no samples, as a camera."""

    class Config(DriverConfig):
        sees: bool = True

        def points(self) -> dict[str, Point]:
            return {"trigger": Point()}

        def only_written(self) -> list[str]:
            return ["trigger"]

    def __init__(self, config: Any, source: Any) -> None:
        self.config, self.source = config, source

    async def run(self) -> None:
        if not self.config.sees:
            raise DeviceLost("dark")
        ids = [tag.id for tag in self.source.tags.values()]
        self.source.emit(Batch.of(self.source.name, ids, [math.nan], self.source.clock.utc(), Quality.STALE))
        self.source.running()
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(plugins._extra, ("drivers", "steady"), Steady)
    monkeypatch.setitem(plugins._extra, ("drivers", "eye"), Eye)
    Steady.made = 0
    yield


def site(*drivers: str, rules: str = "", device: str = "d") -> str:
    body = "\n".join(f"  {d.split(':')[0]}: {{driver: steady, every: 1s{d.partition(':')[2]}}}" for d in drivers)
    return f"device: {{id: {device}}}\ndrivers:\n{body}\n{rules}\n"


A = "a:, tags: {t: {writable: {range: [0, 100]}}}"
B = "b:, tags: {t: {}}"
HOT = 'alarms: {hot: {when: "a.t > 50"}}'


def run(folder: Path, text: str, work: Callable[[Daemon], Awaitable[Any]]) -> Any:
    """A daemon on virtual time."""

    async def main() -> Any:
        config = load_text(text)
        assert not config.problems, config.problems
        daemon = Daemon(config, folder, VirtualClock())
        await daemon.start()
        try:
            return await work(daemon)
        finally:
            await daemon.stop()

    return virtual_run(main())


async def events(daemon: Daemon, kind: str) -> list[tuple[str, str]]:
    await daemon.journal.commit()
    found = [decode_event(r.body) for r in await daemon.journal.read("event", 0, 1000)]
    return [(e.key, e.state) for e in found if e.kind == kind]


def written(folder: Path, *arguments: str, **more: str) -> Path:
    path = folder / "new.yaml"
    path.write_text(site(*arguments, **more))
    return path


@pytest.mark.parametrize("how", ["connect", "built"])
def test_an_absent_device_disturbs_nobody_and_says_so(tmp_path: Path, how: str) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(20.5)
        assert daemon.live.show("a.t")["quality"] == "GOOD" and daemon.live.good["a"] >= 20
        assert daemon.live.show("b.t")["quality"] == Quality.BAD.name
        assert await events(daemon, "source") == [("b", "lost")]

    run(tmp_path, site(A, f"b:, fails: {how}, tags: {{t: {{}}}}"), work)


def test_what_did_not_change_runs_on_untouched(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(2)
        tasks = {name: part.tasks for name, part in daemon.drivers.items()}
        said = await apply_site(daemon, written(tmp_path, A, "b:, value: 7, tags: {t: {}}"), trial=5)
        assert said == ["b: changed"]
        assert daemon.drivers["a"].tasks is tasks["a"] and not any(task.done() for task in tasks["a"])
        assert daemon.drivers["b"].tasks is not tasks["b"] and all(task.done() for task in tasks["b"])
        assert daemon.live.show("b.t")["value"] == 7 and Steady.made == 3
        assert await events(daemon, "config") == [("new.yaml", "applied")]
        told = [decode_event(r.body) for r in await daemon.journal.read("event", 0, 1000)]
        assert [e.data for e in told if e.kind == "config"] == [{"by": "local"}]
        assert await events(daemon, "source") == []

    run(tmp_path, site(A, B), work)


@pytest.mark.parametrize("how", ["connect", "built"])
def test_a_worse_site_is_rolled_back_and_says_so(tmp_path: Path, how: str) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(5)
        before = daemon.config
        with pytest.raises(ConfigFault, match="rolled back: b gave no good sample"):
            await apply_site(daemon, written(tmp_path, A, f"b:, fails: {how}, tags: {{t: {{}}}}"), trial=5)
        assert daemon.config is before
        await asyncio.sleep(3)
        assert daemon.live.show("b.t")["quality"] == "GOOD"
        assert await events(daemon, "config") == [("new.yaml", "rolled_back")]

    run(tmp_path, site(A, B), work)


def test_a_slow_source_and_one_without_samples_get_a_fair_trial(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(2)
        slow = written(tmp_path, A)
        slow.write_text(slow.read_text() + "  s: {driver: steady, every: 60s, tags: {t: {}}}\n")
        assert await apply_site(daemon, slow, trial=1) == ["s: started"]
        slow.write_text(slow.read_text() + "  eye: {driver: eye}\n")
        assert await apply_site(daemon, slow, trial=1) == ["eye: started"]
        slow.write_text(slow.read_text() + "  blind: {driver: eye, sees: false}\n")
        with pytest.raises(ConfigFault, match="rolled back: blind"):
            await apply_site(daemon, slow, trial=1)
        slow.write_text(
            slow.read_text()
            .replace("  blind: {driver: eye, sees: false}\n", "")
            .replace("r: eye}", "r: eye, sees: false}")
        )
        with pytest.raises(ConfigFault, match="rolled back: eye"):
            await apply_site(daemon, slow, trial=1)

    run(tmp_path, site(A), work)


def test_a_device_that_was_lost_is_back_after_a_change_that_mends_it(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(2)
        await apply_site(daemon, written(tmp_path, A, B), trial=5)
        assert await events(daemon, "source") == [("b", "lost"), ("b", "back")]

    run(tmp_path, site(A, "b:, fails: connect, tags: {t: {}}"), work)


def test_the_socket_of_a_deep_folder_is_reached(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["folder" * 5] * 5)
    assert talk(deep, site(A), b'{"do": "read", "tags": ["a.t"]}')[0]["ok"]


def test_a_part_that_left_the_site_leaves_the_report_of_health(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(2)
        assert await apply_site(daemon, written(tmp_path, A), trial=5) == ["b: stopped"]
        assert {"a", "journal"} >= set(daemon.health.report()) >= {"a"}

    run(tmp_path, site(A, B), work)


def test_what_cannot_be_is_refused_with_the_old_site_whole(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        before, tasks = daemon.config, daemon.drivers["a"].tasks
        for text, words in (
            (site("a:, timout: 1s"), "did you mean 'timeout'"),
            (site(A, device="other"), "the site is for other"),
        ):
            path = tmp_path / "new.yaml"
            path.write_text(text)
            with pytest.raises(ConfigFault, match=words):
                await apply_site(daemon, path, trial=1)
        for trial in (float("nan"), float("inf"), -1.0):
            with pytest.raises(ConfigFault, match="a trial lasts"):
                await apply_site(daemon, written(tmp_path, A), trial)
        assert daemon.config is before and daemon.drivers["a"].tasks is tasks

    run(tmp_path, site(A), work)


def test_one_change_at_a_time(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        path = written(tmp_path, A, B)
        first = asyncio.ensure_future(apply_site(daemon, path, trial=5))
        await asyncio.sleep(2)
        with pytest.raises(ConfigFault, match="under way"):
            await apply_site(daemon, path, trial=5)
        assert await first == ["b: started"]

    run(tmp_path, site(A), work)


def test_alarms_stand_through_a_change_and_a_restart(tmp_path: Path) -> None:
    hot = site(A.replace("tags", "value: 80, tags"), rules=HOT)

    async def raised(daemon: Daemon) -> None:
        await asyncio.sleep(2)
        daemon.accept(Event("command", "ack", data={"alarm": "hot", "by": "me"}))
        path = tmp_path / "new.yaml"
        path.write_text(
            hot.replace("drivers:", "drivers:\n  " + B.replace("b:,", "b: {driver: steady, every: 1s,") + "}")
        )
        assert await apply_site(daemon, path, trial=3) == ["b: started"]
        assert await events(daemon, "alarm") == [("hot", "raised"), ("hot", "acked")]

    async def still(daemon: Daemon) -> None:
        await asyncio.sleep(3)
        assert await events(daemon, "alarm") == [("hot", "raised"), ("hot", "acked")]

    run(tmp_path, hot, raised)
    run(tmp_path, hot, still)


def test_shelving_ends_by_the_clock(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(2)
        daemon.accept(Event("command", "shelve", data={"alarm": "hot", "by": "me", "seconds": 90}))
        await asyncio.sleep(80)
        assert (await events(daemon, "alarm"))[-1] == ("hot", "shelved")
        await asyncio.sleep(12)
        assert (await events(daemon, "alarm"))[-1] == ("hot", "unshelved")

    run(tmp_path, site(A, rules=HOT), work)


def test_garbage_from_far_away_does_not_stop_the_alarms(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        await asyncio.sleep(0.5)  # between two polls: nothing else feeds the rule
        for data in ({"alarm": "hot", "seconds": "soon"}, {"alarm": ["hot"]}, {}, {"alarm": None}):
            daemon.accept(Event("command", "shelve", data=data))
        daemon.accept(Batch.of("a", [daemon.table["a.t"].id], [99.0], daemon.clock.utc()))
        assert await events(daemon, "alarm") == [("hot", "raised")]

    run(tmp_path, site(A, rules=HOT), work)


def test_a_driver_that_swallows_its_cancellation_is_asked_again(tmp_path: Path) -> None:
    async def main() -> float:
        daemon = Daemon(load_text(site("a:, fails: ends, tags: {t: {}}")), tmp_path, VirtualClock())
        await daemon.start()
        await asyncio.sleep(2)
        (task,) = (task for task in daemon.drivers["a"].tasks if task.get_name() == "a")
        loop = asyncio.get_running_loop()
        before = loop.time()
        await daemon.stop()
        assert task.done()
        return loop.time() - before

    assert virtual_run(main()) < 5


# The local socket


def talk(folder: Path, text: str, *lines: bytes) -> list[Any]:
    """Send lines, each on its own connection; what came back, parsed (None: the line was closed)."""

    def ask(line: bytes) -> Any:
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(60)
            end.connect(short_path(folder / NAME))
            try:
                end.sendall(line + b"\n")
                with end.makefile("rb") as answers:
                    answer = answers.readline()
            except ConnectionError:
                return None
        return json.loads(answer) if answer else None

    async def main() -> list[Any]:
        daemon = Daemon(load_text(text), folder)
        control = Control(daemon)
        seen = asyncio.Event()
        daemon.listeners.add(lambda item: seen.set())
        await daemon.start()
        await control.start()
        try:
            assert (folder / NAME).stat().st_mode & 0o077 == 0
            async with asyncio.timeout(120):
                await seen.wait()
                return [await asyncio.to_thread(ask, line) for line in lines]
        finally:
            await control.stop()
            await daemon.stop()

    return asyncio.run(main())


def test_the_socket_answers_garbage_and_goes_on(tmp_path: Path) -> None:
    hostile = [
        b"\xff\xfe",
        b"[]",
        b"7",
        b"{}",
        b'{"do": "format"}',
        b'{"do": ["status"]}',
        b"[" * 60_000,
        b'{"do": "read", "tags": ["nope"]}',
        b'{"do": "read", "tags": 7}',
        b'{"do": "write", "tag": "a.t", "value": "high"}',
        b'{"do": "write", "tag": "a.t", "value": NaN}',
        b'{"do": "write", "tag": "a.t", "value": 101}',
        b'{"do": "write", "tag": "nope", "value": 1}',
        b'{"do": "write", "values": 7}',
        b'{"do": "write", "values": {"a.t": 5, "nope": 1}}',
        b'{"do": "ack", "alarm": "nope"}',
        b'{"do": "apply", "site": "/nowhere/at/all.yaml"}',
        b'{"do": "apply", "site": 7}',
        b'{"do": "apply", "site": "x\\u0000y"}',
    ]
    answers = talk(tmp_path, site(A), *hostile, b"x" * (2 * MOST_LINE), b'{"do": "status"}')
    for line, answer in zip(hostile, answers, strict=False):
        assert answer is not None and answer["ok"] is False and answer["error"], line[:60]
    assert answers[-2] is None, "a line without an end is cut off"
    assert answers[-1]["ok"] and answers[-1]["parts"]["a"]["state"] == "running"


def test_the_socket_writes_and_each_caller_hears_of_its_own(tmp_path: Path) -> None:
    good, bad = (b'{"do": "write", "tag": "a.t", "value": %d, "by": "me"}' % v for v in (5, 500))
    answers = talk(tmp_path, site(A), good, bad, good)
    assert [a["ok"] for a in answers] == [True, False, True] and "outside" in answers[1]["error"]


def test_of_several_orders_none_is_carried_out_where_one_is_not_allowed(tmp_path: Path) -> None:
    bad, good = (b'{"do": "write", "values": {"a.t": %d, "a.u": 2}}' % v for v in (500, 5))
    answers = talk(tmp_path, site(A.replace("tags: {", "tags: {u: {writable: {range: [0, 100]}}, ")), bad, good)
    assert not answers[0]["ok"] and "outside" in answers[0]["error"] and "written before" not in answers[0]["error"]
    assert answers[1]["ok"] and answers[1]["written"] == ["a.t", "a.u"]


def test_a_stop_in_the_middle_of_a_trial_ends_it_without_a_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Python 3.11 prints every caller of a Unix socket that is cancelled from outside."""
    path = written(tmp_path, A, B)

    async def main() -> None:
        daemon = Daemon(load_text(site(A)), tmp_path)
        control = Control(daemon)
        await daemon.start()
        await control.start()
        reader, writer = await asyncio.open_unix_connection(short_path(tmp_path / NAME))
        writer.write(json.dumps({"do": "apply", "site": str(path), "trial": 600}).encode() + b"\n")
        async with asyncio.timeout(120):
            while "b" not in daemon.drivers:
                await asyncio.sleep(0)
            await control.stop()
            assert await reader.readline() == b""
            assert not daemon.changing.locked(), "the trial is over before the daemon stops"
            await daemon.stop()
        writer.close()

    asyncio.run(main())
    assert "Exception in callback" not in caplog.text


def test_a_log_that_nobody_reads_holds_up_neither_the_daemon_nor_its_end(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        'device: {id: d}\ndrivers: {a: {driver: modbus, url: "tcp://127.0.0.1:1", tags: {t: {address: "coil:0"}}}}\n'
    )
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writes, b"x")
    os.set_blocking(writes, True)
    command = [sys.executable, "-m", "edge.cli", "run", str(path), "--state", str(tmp_path)]
    with subprocess.Popen(command, stdout=writes, stderr=writes) as daemon:
        try:
            until, answer = time.monotonic() + 60, {}
            while not answer and time.monotonic() < until:
                with contextlib.suppress(NoDaemon):
                    answer = ask(tmp_path, {"do": "status"})
            assert answer.get("device") == "d"
            daemon.terminate()
            assert daemon.wait(60) == 0
        finally:
            daemon.kill()
    os.close(reads)
    os.close(writes)


def test_a_cursor_that_waited_does_not_come_again_after_its_reader_left(tmp_path: Path) -> None:
    async def work(daemon: Daemon) -> None:
        daemon.journal.moved("gone", "event", Cursor(3))
        await apply_site(daemon, written(tmp_path, A), trial=1)
        assert await events(daemon, "reader") == [("gone", "ended")]
        assert not await daemon.journal.cursors("gone")

    run(tmp_path, site(A), work)
