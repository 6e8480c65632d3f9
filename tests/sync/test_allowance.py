"""What may go today and when: bytes of a day, times of the day. Alarms and events always go. On virtual time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="needs the plane extra")

from edge import SECOND, Batch, Event, ManualClock, Picture
from edge.config.load import load_text
from sync import wire
from sync.control_plane.live import Newest
from sync.device.allowance import BESIDE, FILE, Allowance, Counted
from sync.device.uplink import SyncConfig
from tests.sync import test_away
from tests.sync.test_away import Device, Far, keys
from tests.sync.test_lanes import count

MB = 10**6
HOUR = 3600 * SECOND
MIDNIGHT = 1_700_006_400 * SECOND  # UTC, 2023-11-15


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(hour: float) -> ManualClock:
    return ManualClock(round(MIDNIGHT + hour * HOUR))


@pytest.mark.parametrize(
    ("windows", "hour", "words"),
    [
        ([], 12, ""),
        (["22:00-06:00"], 12, "wait until 22:00"),
        (["22:00-06:00"], 21.99, "wait until 22:00"),
        (["22:00-06:00"], 22, ""),
        (["22:00-06:00"], 5.99, ""),
        (["22:00-06:00"], 6, "wait until 22:00"),
        (["1:30-2:00", "12:00-13:00"], 2, "wait until 12:00"),
        (["1:30-2:00", "12:00-13:00"], 13, "wait until 01:30"),
    ],
)
def test_times_of_the_day(tmp_path: Path, windows: list[str], hour: float, words: str) -> None:
    allowance = Allowance(0, windows, at(hour), tmp_path)
    assert allowance.holds() == allowance.holds(pictures=True) == words
    assert allowance.words() == (f"samples and pictures {words}" if words else "")


def test_bytes_of_a_day(tmp_path: Path) -> None:
    clock = at(12)
    allowance = Allowance(10 * MB, [], clock, tmp_path)
    allowance.spent(5 * MB - 1)
    assert not allowance.holds() and not allowance.holds(pictures=True) and allowance.words() == "49 % of 10 MB today"
    allowance.spent(1)
    assert (
        not allowance.holds()
        and allowance.holds(pictures=True) == "wait until midnight: half of today's 10 MB are spent"
    )
    allowance.spent(5 * MB)
    assert allowance.over and allowance.holds() == "wait until midnight: today's 10 MB are spent"
    assert allowance.words() == f"samples and pictures {allowance.holds()}; 100 % of 10 MB today"
    clock.advance(12 * 3600)
    assert not allowance.over and allowance.used == 0 and not allowance.holds()


def test_a_restart_gives_no_new_bytes_and_no_clock_does_that_goes_back(tmp_path: Path) -> None:
    Allowance(10 * MB, [], at(12), tmp_path).spent(10 * MB)
    for clock in (at(13), at(-30), ManualClock(0)):
        assert Allowance(10 * MB, [], clock, tmp_path).over
    assert not Allowance(10 * MB, [], at(24), tmp_path).over
    for junk in ("", "{", "[]", '{"day": "x", "bytes": null}'):
        (tmp_path / FILE).write_text(junk)
        assert not Allowance(10 * MB, [], at(12), tmp_path).over


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_was_wrong_once_holds_nothing_back_for_years(tmp_path: Path, restart: bool) -> None:
    wrong, clock = at(12 + 20 * 365 * 24), at(12)
    allowance = Allowance(10 * MB, [], wrong, tmp_path)
    if restart:
        allowance = Allowance(10 * MB, [], clock, tmp_path)
    else:
        wrong.advance(-20 * 365 * 24 * 3600)
        clock = wrong
    allowance.spent(10 * MB)
    assert allowance.over
    clock.sure = False
    clock.advance(-3 * 24 * 3600)
    assert allowance.over
    clock.advance((3 * 24 + 11.9) * 3600)
    assert allowance.over, "one that is not set begins no day"
    clock.advance(0.1 * 3600)
    assert not allowance.over and not Allowance(10 * MB, [], clock, tmp_path).over


def test_it_is_written_a_hundred_times_a_day_at_most(tmp_path: Path) -> None:
    allowance, seen = Allowance(10 * MB, [], at(12), tmp_path), set()
    for _ in range(5000):
        allowance.spent(2000)
        seen.add((tmp_path / FILE).read_bytes())
    assert len(seen) <= 102 and json.loads((tmp_path / FILE).read_text())["bytes"] >= 9.9 * MB


def test_every_exchange_counts_also_one_that_fails(tmp_path: Path) -> None:
    class Line:
        async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
            if not body:
                raise OSError
            return b"123"

        def close(self) -> None: ...

    async def main() -> None:
        allowance = Allowance(0, [], at(12), tmp_path)
        line = Counted(Line(), allowance)
        assert await line.exchange("PUT", "/x", b"12345", timeout=3.0) == b"123" and allowance.used == BESIDE + 8
        with pytest.raises(OSError, match=r"^$"):
            await line.exchange("GET", "/x")
        assert allowance.used == 2 * BESIDE + 8 and not (tmp_path / FILE).exists(), "nothing is kept without a limit"

    asyncio.run(main())


class Looked(Far):
    """Knows when pictures came."""

    pictures = 0

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        self.pictures += path.startswith("/d/v1/picture")
        return await super().exchange(method, path, body, timeout)


def lived(folder: Path, options: dict[str, Any], work: Callable[[Device, Looked], Any]) -> None:
    async def body(device: Device, far: Far) -> None:
        assert isinstance(far, Looked)
        await work(device, far)

    test_away.rig(folder, body, Looked, SyncConfig(url="https://x", **options))


async def until(true: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.1)


async def happens(device: Device, far: Far, key: str) -> None:
    """An alarm, and that it goes at once."""
    device.journal.append(events=[Event("alarm", key, "raised", ts=device.clock.utc())])
    await device.journal.commit()
    await until(lambda: key in keys(far, "alarm"), 2)


def picture(device: Device) -> None:
    device.journal.append(pictures=[Picture(wire.digest(b"x"), "image/png", b"x")])


def test_outside_its_window_only_what_is_urgent_goes(tmp_path: Path) -> None:
    async def work(device: Device, far: Looked) -> None:
        device.clock.offset += 600 * SECOND  # 22:23
        picture(device)
        await device.work(200)
        await happens(device, far, "a")
        assert count_of(far) == 0 and far.pictures == 0 and len(far.shown) > 100, "newest values go"
        assert device.health.part("sync").reason == "samples and pictures wait until 22:30"
        await device.work(400)
        await happens(device, far, "b")
        await until(lambda: count_of(far) > 500 and far.pictures == 1)
        assert device.health.part("sync").reason == ""

    lived(tmp_path, {"windows": ["22:30-23:00"]}, work)


def test_a_day_that_is_spent_holds_back_what_is_much_and_nothing_that_is_urgent(tmp_path: Path) -> None:
    async def work(device: Device, far: Looked) -> None:
        device.clock.offset += 5600 * SECOND  # 23:46
        await device.work(70)
        await until(lambda: count_of(far) > 0)
        device.uplink._allowance.spent(MB)
        picture(device)
        before, shown = count_of(far), len(far.shown)
        await device.work(350)
        await happens(device, far, "a")
        assert count_of(far) == before and far.pictures == 0
        assert 1 <= len(far.shown) - shown < 5, "newest values go seldom"
        assert device.health.part("sync").reason.startswith(
            "samples and pictures wait until midnight: today's 1 MB are spent"
        )
        await device.work(500)
        await until(lambda: count_of(far) > 800 and far.pictures == 1)

    lived(tmp_path, {"a_day": MB}, work)


class Timed(Looked):
    """Keeps when how much of samples and pictures came."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.came: list[tuple[float, str, int]] = []

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        what = "picture" if path.startswith(("/d/v1/picture", "/d/v1/piece")) else ""
        if path.startswith("/d/v1/up") and any(f.stream.startswith("samples:") for f in wire.unpack(body)):
            what = "samples"
        if what:
            self.came.append((asyncio.get_running_loop().time(), what, len(body) + BESIDE))
        if path.startswith("/d/v1/piece"):
            return str(int(path.partition("&at=")[2]) + len(body)).encode()
        return await super().exchange(method, path, body, timeout)

    def fastest(self, what: str) -> float:
        """Bytes a second, in any five."""
        came = [(t, n) for t, w, n in self.came if w == what]
        return max(sum(n for t, n in came if since <= t < since + 5) / 5 for since, _ in came)


def test_bytes_of_a_second_hold_back_samples_and_pictures_and_nothing_that_is_urgent(tmp_path: Path) -> None:
    async def work(device: Device, far: Far) -> None:
        assert isinstance(far, Timed)
        far.away = True

        async def block(k: int) -> None:
            """About 4 kB that do not get smaller."""
            when = device.clock.utc() + np.arange(500) * 1_000_000
            device.journal.append([Batch.of("plc", [1] * 500, np.random.default_rng(k).random(500), when)])
            await device.journal.commit(seal=True)

        for k in range(60):
            await block(k)
        shot = np.random.default_rng(1).bytes(100_000)
        device.journal.append(pictures=[Picture(wire.digest(shot), "image/png", shot)])
        await device.journal.commit()
        far.away = False
        await until(lambda: count_of(far) > 3_000, 200)
        for k in range(3):
            await happens(device, far, f"a{k}")
        assert count_of(far) < 15_000 and device.health.part("sync").reason == "10 kB a second"
        await until(lambda: count_of(far) == 30_000 and len(far.came) > 65, 200)
        for k in range(5):
            await block(k)
        await until(lambda: far.pictures == 1, 200)
        went = [what for _, what, _ in far.came]
        assert count_of(far) == 32_500 and went[:60] == ["samples"] * 60, "samples go before pictures"
        assert went[65:75].count("samples") == 5, "also those that come meanwhile"
        assert 7_000 < far.fastest("samples") <= 11_200 and 7_000 < far.fastest("picture") <= 11_200

    test_away.rig(tmp_path, work, Timed, SyncConfig(url="https://x", a_second=10_000))


def count_of(far: Far) -> int:
    try:
        return count(far)
    except TypeError:
        return 0


def test_what_a_kind_of_line_gives() -> None:
    given = {
        link: SyncConfig(url="https://x", link=link).gives for link in ("ethernet", "wifi", "cellular", "satellite")
    }
    assert [(a.a_day, a.live) for a in given.values()] == [(0, 1), (0, 1), (300 * MB, 5), (20 * MB, 300)]
    own = SyncConfig(url="https://x", link="satellite", a_day=5 * MB, live=60.0).gives
    assert (own.a_day, own.live) == (5 * MB, 60)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("link: dialup", "link"),
        ('windows: ["22-6"]', "is no time of the day; write from-to, as in 22:00-06:00"),
        ('windows: ["24:00-06:00"]', "is no time of the day"),
        ('windows: ["06:00-06:00"]', "is no time of the day"),
        ("a_day: 5kB", "greater than or equal to 1000000"),
        ("a_day: lots", "is no size; write a number and a unit"),
        ("a_second: 10B", "greater than or equal to 1000"),
    ],
)
def test_options_that_cannot_be(options: str, words: str) -> None:
    (problem,) = load_text(f'device: {{id: a}}\nsync: {{url: "https://x", {options}}}\n').problems
    assert words in str(problem)


@pytest.mark.parametrize(
    ("every", "age", "silent"),
    [(None, 9, False), (None, 10, True), (300, 700, False), (300, 751, True), ("x", 11, True)],
)
def test_a_device_that_tells_seldom_is_not_taken_for_silent(every: Any, age: float, silent: bool) -> None:
    newest = Newest(status={} if every is None else {"every": every}, heard=time.monotonic() - age)
    assert newest.silent() is silent
