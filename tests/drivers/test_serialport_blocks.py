"""Fast signals over a serial line: many samples in a frame, on a pseudo terminal."""

from __future__ import annotations

import asyncio
import os
import random
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.serialport.driver import Serial
from drivers.serialport.framing import Framer, crc16
from drivers.serialport.options import SerialConfig
from drivers.serialport.sim import SerialSim
from edge import SECOND, SystemClock
from edge.bench.process import free_port
from edge.config.load import load_text
from edge.testing import FakeSource
from tests.drivers.test_serialport import ended
from tests.hostile.line import crc
from tests.waiting import run, until

RATE, COUNT = 50_000, 500
ACCEL: dict[str, Any] = {"at": 6, "type": "int16", "order": "little", "scale": 0.001}
BLOCK: dict[str, Any] = {"rate": RATE, "count": COUNT, "number": 2}


def config(url: str, tags: dict[str, Any], **more: Any) -> SerialConfig:
    framed = {"frame": {"length": 2 + 4 + 2 * COUNT + 2, "start": "\xaaU"}, "checksum": {"type": "crc16-modbus"}}
    found = SerialConfig(**{"driver": "serialport", "url": url, "tags": tags, **framed, **more})
    assert list(found.faults()) == []
    return found


TAGS = {"accel": {**ACCEL, "block": BLOCK}, "temp": {"at": 4, "type": "int16", "order": "little"}}


def wave(k: int) -> np.ndarray:
    return np.round(0.5 * np.sin(2 * np.pi * 1000 * (np.arange(COUNT) + k * COUNT) / RATE), 3)


def frames(found: SerialConfig, numbers: Iterator[int] | range) -> Iterator[bytes]:
    framer = Framer(found.frame, found.checksum)
    for k in numbers:
        samples = np.rint(wave(k) * 1000).astype("<i2").tobytes()
        yield framer.sealed(bytes([k % 256, 0]) + (20 + k).to_bytes(2, "little") + samples)


@pytest.fixture
def port() -> Iterator[tuple[int, str]]:
    """(our end, the path of theirs) of a pseudo terminal."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_frames_on_a_port_become_one_even_signal(port: tuple[int, str]) -> None:
    async def work() -> None:
        ours, path = port
        found = config(f"serial://{path}", TAGS)
        source = FakeSource("s", [point.tag(f"s.{n}", "s", 0.0) for n, point in found.tags.items()], SystemClock())
        driver = Serial(found, source)
        task = asyncio.ensure_future(driver.run())
        await until(lambda: driver._line is not None)
        temp = source.tags["temp"].id

        async def heard(n: int) -> list[Any]:
            await until(lambda: sum(len(batch) == COUNT for batch in source.batches) >= n)
            return [batch for batch in source.batches if len(batch) == COUNT]

        began = source.clock.utc()
        for k, frame in enumerate(frames(found, range(250, 258))):
            await asyncio.to_thread(os.write, ours, frame)
            await heard(k + 1)
        torn = bytearray(next(frames(found, range(258, 259))))
        torn[300] ^= 4
        await asyncio.to_thread(os.write, ours, bytes(torn))
        await asyncio.to_thread(os.write, ours, next(frames(found, range(259, 260))))
        blocks = await heard(9)
        value, ts = (np.concatenate([getattr(one, name) for one in blocks]) for name in ("value", "ts"))
        assert np.allclose(value, np.concatenate([wave(k) for k in [*range(250, 258), 259]]))
        assert (np.abs(np.diff(ts[: 8 * COUNT]) - SECOND / RATE) <= 0.2 * SECOND / RATE).all(), "as `vibration` asks"
        lost = int(ts[8 * COUNT] - ts[8 * COUNT - 1])
        assert lost == pytest.approx((COUNT + 1) * SECOND / RATE, rel=0.01) and source.counts["lost_blocks"] == 1
        assert source.counts["checksum"] == 1 and abs(int(ts[0]) - began) < 60 * SECOND
        slow = [b for b in source.batches if temp in b.tag and not b.worst]
        said = [float(b.value[b.tag == temp][0]) for b in slow]
        assert said == [20 + k for k in [*range(250, 258), 259]], "slow values beside it"
        await ended(task)

    run(work)


def test_a_block_that_is_asked_for_is_shown_in_one_line() -> None:
    async def work() -> None:
        rest = {**ACCEL, "at": 0, "block": {"rate": 1000}}
        found = config(
            f"tcp://127.0.0.1:{free_port()}", {"accel": rest}, ask="G", frame={"length": 202}, checksum={"type": "sum8"}
        )
        sim = SerialSim("s", found)
        await sim.start()
        sim.set("accel", 2.0)
        source = FakeSource("s", [point.tag(f"s.{n}", "s", 0.0) for n, point in found.tags.items()], SystemClock())
        assert await Serial(found, source).probe() == ["accel: 100 samples, 1 to 3"]
        (batch,) = source.batches
        assert batch.value.mean() == pytest.approx(2, abs=0.01) and np.diff(batch.ts).tolist() == [SECOND // 1000] * 99
        await sim.stop()

    run(work)


def test_the_simulator_speaks_as_fast_as_the_signal(tmp_path: Path) -> None:
    async def work() -> None:
        found = config(f"serial://{tmp_path / 'port'}", TAGS)
        sim = SerialSim("s", found)
        await sim.start()
        source = FakeSource("s", [point.tag(f"s.{n}", "s", 0.0) for n, point in found.tags.items()], SystemClock())
        task = asyncio.ensure_future(Serial(found, source).run())
        await until(lambda: sum(len(batch) > 1 for batch in source.batches) >= 20)
        fast = [batch for batch in source.batches if len(batch) > 1]
        assert abs(np.concatenate([batch.value for batch in fast])).max() == pytest.approx(1, abs=0.01)
        assert not source.counts["lost_blocks"] and not source.counts["shape"]
        await ended(task)
        await sim.stop()

    run(work)


def test_the_checksum_of_a_long_frame_is_that_of_its_bits() -> None:
    rng = random.Random(5)
    for n in (0, 1, 2, 3, 8, 63, 64, 65, 1000, 4096):
        data = rng.randbytes(n)
        assert crc16(data) == crc(data), n


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        ("{block: {rate: 5}}", "stands `at` a byte"),
        (
            "{at: 0, type: int16, block: {rate: 5}, write: 'S{value}', confirm: '', writable: {range: [0, 1]}}",
            "never written",
        ),
        ("{at: 0, type: int16, block: {rate: 5, count: 40}}", "lies behind the frame's 64 bytes"),
        ("{at: 0, type: int16, block: {rate: 5, number: 62, number_size: 4}}", "lies behind the frame's 64 bytes"),
        ("{at: 0, type: int16, block: {rate: 0}}", "greater than 0"),
    ],
)
def test_faults_of_a_block(tag: str, told: str) -> None:
    line = "driver: serialport, url: 'tcp://h:1', frame: {length: 64, start: A}"
    site = f"device: {{id: d}}\ndrivers:\n  s: {{{line}, tags: {{a: {tag}}}}}\n"
    assert [told in str(problem) for problem in load_text(site).problems] == [True], load_text(site).problems


def test_a_frame_that_is_too_short_is_no_data(port: tuple[int, str]) -> None:
    found = config(
        "tcp://h:1", {"accel": {**ACCEL, "block": {**BLOCK, "count": 400}}}, frame={"delimiter": "\n"}, checksum=None
    )
    source = FakeSource("s", [point.tag(f"s.{n}", "s", 0.0) for n, point in found.tags.items()], SystemClock())
    driver = Serial(found, source)
    assert driver._taken([b"short"], SECOND) == [] and source.counts["shape"] == 1
    (whole,) = driver._taken([bytes(806)], SECOND)
    assert len(whole) == 400
