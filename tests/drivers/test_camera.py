"""Cameras of every kind."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="needs the vision extra")

from drivers.camera import stream, v4l2
from drivers.camera.address import shown, where
from drivers.camera.driver import Camera, CameraConfig
from drivers.camera.sim import CameraSim
from drivers.camera.sources import truth
from drivers.camera.stream import Stream
from edge import DeviceLost, Quality, SystemClock, Write, WriteRefused
from edge.config.load import load_text
from edge.testing import FakeSource
from tests.waiting import run, until


def camera(**options: Any) -> tuple[Camera, FakeSource]:
    source = FakeSource("top", ["trigger"], SystemClock())
    return Camera(CameraConfig(driver="camera", **{"every": "10ms", **options}), source), source


def pictures(n: int, **options: Any) -> list[np.ndarray]:
    """The first `n` pictures of a camera on a grid, each given back at once."""
    seen: list[np.ndarray] = []

    async def main() -> None:
        driver, source = camera(**options)

        def until() -> bool:
            while source.frames:
                frame = source.frames.pop(0)
                seen.append(frame.image.copy())
                frame.release()
            return len(seen) >= n

        async with asyncio.timeout(120):
            await source.collect(driver, until=until)

    asyncio.run(main())
    return seen[:n]


def test_pattern_shows_parts() -> None:
    seen = pictures(3, url="pattern:parts?ng=0")
    assert seen[0].shape == (240, 320, 3) and not np.array_equal(seen[0], seen[1])


def test_a_folder_in_the_order_of_names(tmp_path: Path) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30, 3), 50 * i, np.uint8))
    assert [int(p[0, 0, 0]) for p in pictures(4, url=f"folder:{tmp_path}")] == [0, 50, 100, 0]


def test_what_is_no_picture_or_of_another_size_is_left_out_of_a_folder(tmp_path: Path, caplog: Any) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 30, 3), 50 * i, np.uint8))
    (tmp_path / "00.png").write_bytes(b"")
    (tmp_path / "1a.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    cv2.imwrite(str(tmp_path / "1b.png"), np.zeros((5, 5, 3), np.uint8))
    assert [int(p[0, 0, 0]) for p in pictures(4, url=f"folder:{tmp_path}")] == [0, 50, 100, 0]
    assert [what in caplog.text for what in ("1a.png is no picture", "1b.png is of another size")] == [True, True]


def clip(path: Path, n: int = 12, step: int = 10) -> Path:
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for i in range(n):
        out.write(np.full((48, 64, 3), step * i, np.uint8))
    out.release()
    return path


def test_a_clip_gives_each_picture_once_then_ends(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi")
    levels = [int(p.mean()) for p in pictures(11, url=f"file:{path}")]
    assert np.abs(np.diff(levels) - 10).max() <= 3
    with pytest.raises(DeviceLost, match="the stream ended"):
        pictures(13, url=f"file:{path}")


def watching(work: Callable[[CameraSim, Camera, FakeSource], Any], **options: Any) -> None:
    async def main() -> None:
        sim = CameraSim("top", CameraConfig(driver="camera", url="http://127.0.0.1:0/top"))
        sim.port = 0
        await sim.start()
        driver, source = camera(url=f"http://127.0.0.1:{sim.port}/top", **options)
        async with asyncio.timeout(120):
            await work(sim, driver, source)
        await sim.stop()

    asyncio.run(main())


async def connected(driver: Camera, source: FakeSource) -> asyncio.Task[None]:
    task = asyncio.ensure_future(driver.run())
    while driver._shots is None and not task.done():
        await asyncio.sleep(0.01)
    return task


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_on_demand_the_picture_is_newer_than_the_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # the office's; a camera is not behind it

    async def work(sim: CameraSim, driver: Camera, source: FakeSource) -> None:
        task = await connected(driver, source)
        trigger = source.tags["trigger"].id
        for part in (5, 6, 7):
            asked = SystemClock().utc()
            await driver.write(Write(trigger, part))
            frame = source.frames.pop()
            assert frame.part == part and frame.ts >= asked
            frame.release()
        assert source.values("trigger")[1:] == [5, 6, 7] and source.qualities("trigger")[0] == Quality.STALE
        await ended(task)

    watching(work, trigger="plc.ready")


def test_without_a_free_buffer_the_trigger_is_refused_and_counted() -> None:
    async def work(sim: CameraSim, driver: Camera, source: FakeSource) -> None:
        task = await connected(driver, source)
        trigger = source.tags["trigger"].id
        for part in (1, 2):
            await driver.write(Write(trigger, part))
        with pytest.raises(WriteRefused, match="overrun"):
            await driver.write(Write(trigger, 3))
        assert source.counts["overrun"] == 1 and source.events[0].kind == "overrun"
        source.frames.pop().release()
        await asyncio.sleep(0)
        await driver.write(Write(trigger, 4))
        await ended(task)

    watching(work, trigger="plc.ready", buffers=2)


def test_a_picture_says_of_its_camera_what_is_no_secret(tmp_path: Path) -> None:
    assert where("rtsp://me:secret@10.0.0.7:554/password=secret?token=secret") == "10.0.0.7:554"
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))

    async def work(sim: CameraSim, driver: Camera, source: FakeSource) -> None:
        task = await connected(driver, source)
        await driver.write(Write(source.tags["trigger"].id, 1))
        assert source.frames.pop().about == {"address": f"127.0.0.1:{sim.port}"}
        await ended(task)

    watching(work, trigger="plc.ready")

    async def of_a_folder() -> None:
        driver, source = camera(url=f"folder:{tmp_path}")
        await source.collect(driver, until=lambda: bool(source.frames))
        assert source.frames[0].about == {"file": "a.png"}

    asyncio.run(of_a_folder())


def test_a_killed_child_is_lost_and_a_new_run_sees_again() -> None:
    async def work(sim: CameraSim, driver: Camera, source: FakeSource) -> None:
        for _ in range(2):
            task = await connected(driver, source)
            await driver.write(Write(source.tags["trigger"].id, 1))
            child = driver._shots._child  # type: ignore[union-attr]
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(DeviceLost):
                await driver.write(Write(source.tags["trigger"].id, 2))
            with pytest.raises(DeviceLost):
                await task

    watching(work, trigger="plc.ready")


def test_a_stream_that_ends_between_two_parts_is_noticed_before_the_next() -> None:
    async def work(sim: CameraSim, driver: Camera, source: FakeSource) -> None:
        task = await connected(driver, source)
        await sim.stop()
        with pytest.raises(DeviceLost, match="the stream ended"):
            await task

    watching(work, trigger="plc.ready")


def test_a_write_given_up_leaves_no_picture_for_the_next_part() -> None:
    async def work(sim: CameraSim, driver: Camera, source: FakeSource) -> None:
        task = await connected(driver, source)
        trigger = source.tags["trigger"].id
        os.kill(driver._shots._child.pid, signal.SIGSTOP)  # type: ignore[union-attr]
        given_up = asyncio.ensure_future(driver.write(Write(trigger, 1)))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        with pytest.raises(DeviceLost):
            await driver.write(Write(trigger, 2))
        with pytest.raises(DeviceLost):
            await task
        assert not source.frames

    watching(work, trigger="plc.ready")


def test_a_password_is_not_among_the_arguments_that_everybody_sees() -> None:
    async def work(sim: CameraSim, driver: Camera, source: FakeSource) -> None:
        task = await connected(driver, source)
        arguments = Path(f"/proc/{driver._shots._child.pid}/cmdline")  # type: ignore[union-attr]
        said = await asyncio.to_thread(arguments.read_bytes)
        assert b"capture.py" in said and b"127.0.0.1" not in said
        await ended(task)

    watching(work, trigger="plc.ready")


async def until_it_ends(driver: Camera, source: FakeSource, each: Callable[[], None] = lambda: None) -> None:
    """Run the driver, giving every frame back and calling `each` in between, until it raises."""
    task = asyncio.ensure_future(driver.run())
    while not task.done():
        each()
        while source.frames:
            source.frames.pop().release()
        await asyncio.sleep(0.01)
    await task


def test_pictures_that_are_played_may_stand_still(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "still.png"), np.full((48, 64, 3), 90, np.uint8))
    clip(tmp_path / "still.avi", step=0)
    for name in ("still.png", "still.avi"):
        assert len(pictures(6, url=f"file:{tmp_path / name}", frozen_after="1ms")) == 6
        site = f"device: {{id: a}}\ndrivers: {{top: {{driver: camera, url: 'file:{tmp_path / name}', frozen_after: 10s}}}}\n"
        (said,) = load_text(site).problems
        assert said.path == ("drivers", "top", "frozen_after") and "plays pictures and cannot hang" in str(said)
    live = "device: {id: a}\ndrivers: {top: {driver: camera, url: 'http://127.0.0.1/x', frozen_after: 10s}}\n"
    assert not load_text(live).problems


def test_a_frozen_camera_is_named() -> None:
    async def work(sim: CameraSim, driver: Camera, source: FakeSource) -> None:
        sim.frozen = True
        with pytest.raises(DeviceLost, match="the same picture for"):
            await until_it_ends(driver, source)

    watching(work, frozen_after="300ms")


def test_a_camera_that_falls_silent_is_named() -> None:
    async def work(sim: CameraSim, driver: Camera, source: FakeSource) -> None:
        def falls_silent() -> None:
            sim.silent = bool(source.counts["frames"])

        with pytest.raises(DeviceLost, match="no picture within"):
            await until_it_ends(driver, source, falls_silent)

    watching(work, timeout="500ms")


def test_nobody_there_is_said_without_the_password() -> None:
    with pytest.raises(DeviceLost, match=r"no picture from http://127\.0\.0\.1:9/x"):
        pictures(1, url="http://me:secret@127.0.0.1:9/x")
    assert shown("rtsp://u:p@h:1/x") == shown("rtsp://:p@h:1/x") == shown("rtsp://u:p@ss@h:1/x") == "rtsp://h:1/x"
    assert shown("rtsp://h/user=admin&password=pw&channel=1?token=x") == (
        "rtsp://h/user=admin&password=(masked)&channel=1?token=(masked)"
    ), "where cheap cameras want it"


def test_truth_is_the_same_for_all_and_faults_are_named() -> None:
    found = [truth(k) for k in range(1000)]
    assert 120 < sum(map(bool, found)) < 280 and found == [truth(k) for k in range(1000)]
    site = "device: {{id: a}}\ndrivers: {{top: {{driver: camera, url: '{}'{}}}}}\n"
    assert "is no camera" in str(load_text(site.format("ftp://x", "")).problems[0])
    assert "there is no" in str(load_text(site.format("file:/none.mp4", "")).problems[0])
    for url, said in (
        ("pattern:parts?ng=some", "cannot be rendered"),
        ("pattern:parts?ng=7", "cannot be rendered"),
        ("pattern:parts?seed=", "cannot be rendered"),
        ("pattern:partz", "no pattern is called 'partz'; write pattern:parts or pattern:car"),
        ("pattern:parts?sed=1", "'sed' is unknown; there are ng, seed"),
        ("pattern:car?ng=0.2", "'ng' is unknown; there are model"),
        ("rtsp:", "names no host"),
        ("http://a:123456/", "a port is a number up to"),
        ("rtsp://[::1/x", "a port is a number up to"),
        ("folder:", "names no folder"),
        ("file:/tmp", "/tmp is a folder, write folder:/tmp"),
    ):
        assert [said in str(p) for p in load_text(site.format(url, "")).problems] == [True], url
    (said,) = load_text(site.format("folder:x", ""), "/some/where/site.yaml").problems
    assert "there is no /some/where/x, a path is taken from the folder of the site" in str(said)
    assert "without a trigger" in "".join(map(str, load_text(site.format("pattern:parts", ", part: a.b")).problems))


def test_a_real_rtsp_server(rtsp: str) -> None:
    seen = pictures(4, url=rtsp, every="60ms")
    assert seen[0].shape == (120, 160, 3)
    assert any(not np.array_equal(seen[0], later) for later in seen[1:])


def test_no_picture_waits_for_what_a_camera_says_of_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, says = tmp_path / "video0", threading.Event()
    device.touch()
    gain, asked = 7, 0

    def ioctl(_: int, request: int, answer: bytearray) -> int:
        nonlocal asked
        number = int.from_bytes(answer[:4], sys.byteorder)
        if request != v4l2.G_CTRL or number != v4l2.CONTROLS["gain"][0]:
            raise OSError(errno.EINVAL, "none such")
        asked += 1
        if asked > 1:
            says.wait(120)
        answer[:] = struct.pack("=Ii", number, gain)
        return 0

    monkeypatch.setattr(v4l2.fcntl, "ioctl", ioctl)
    monkeypatch.setattr(stream, "ASKED_EVERY", 0.01)
    monkeypatch.setattr(stream, "HOLDS", 1e9)

    async def work() -> None:
        nonlocal gain
        sim = CameraSim("top", CameraConfig(driver="camera", url="http://127.0.0.1:0/top"))
        sim.port = 0
        await sim.start()
        shots = Stream(f"http://127.0.0.1:{sim.port}/top", 1, 60.0, is_file=False, device=device)
        try:
            await shots.open()
            assert shots.about["gain"] == 7  # the first picture has it
            await until(lambda: asked == 2)  # and the camera does not answer again
            gain = 9
            await shots.take(0, 1)
            assert shots.about["gain"] == 7
            monkeypatch.setattr(stream, "HOLDS", 0.0)
            assert "gain" not in shots.about  # too long ago: nobody knows any more
            monkeypatch.setattr(stream, "HOLDS", 1e9)
            says.set()
            await until(lambda: shots.about.get("gain") == 9)
        finally:
            says.set()
            await shots.close()
            await sim.stop()

    run(work)
