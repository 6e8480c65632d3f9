"""Fast signals over MQTT: many samples in a message, on a real mosquitto and into the stage `vibration`."""

from __future__ import annotations

import base64
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.mqtt.blocks import Reading
from drivers.mqtt.options import MqttBlock
from drivers.mqtt.sim import MqttSim
from edge import SECOND, AnswerContradicts, Batch, Quality, Setting, Tag, TagTable
from edge.bench.process import free_port
from edge.config.load import load_text
from models.series.vibration import Vibration, VibrationConfig
from tests.broker import Broker
from tests.drivers.test_mqtt import NOW, Publisher, config, ended, started
from tests.waiting import run, until

RATE, N = 50_000, 2000
FORMS: dict[str, dict[str, Any]] = {
    "numbers": {},
    "base64": {"rate": RATE, "type": "int16", "scale": 0.001, "number": "n"},
    "raw": {"rate": RATE, "type": "int16", "order": "big", "scale": 0.001, "raw": True, "head": 12, "clock": "us"},
}


def wave(k: int) -> np.ndarray:
    """The k-th block of 1 kHz at 0.5."""
    return np.round(0.5 * np.sin(2 * np.pi * 1000 * (np.arange(N) + k * N) / RATE), 3)


def said(form: str, k: int) -> bytes:
    start, stored = NOW + k * N * SECOND // RATE, np.rint(wave(k) * 1000)
    if form == "raw":
        return struct.pack(">QI", start // 1000, k) + stored.astype(">i2").tobytes()
    if form == "base64":
        body = {"values": base64.b64encode(stored.astype("<i2").tobytes()).decode(), "start": start // 10**6, "n": k}
    else:
        body = {"values": wave(k).tolist(), "start": start / 1e9, "step": 1 / RATE}
    return json.dumps(body).encode()


@pytest.mark.parametrize("form", FORMS)
def test_blocks_of_every_form_become_one_even_signal(form: str, tmp_path: Path) -> None:
    async def work() -> None:
        with Broker(tmp_path / "broker") as broker:
            tags = {"accel": {"topic": "fan/accel", "block": FORMS[form]}, "level": {"topic": "level"}}
            _, source, task = await started(config(broker.port, tags))
            say = Publisher(broker.port)
            for k in range(6):
                say("fan/accel", said(form, k))
            say("fan/accel", b"\xff" if form == "raw" else b'{"values": 7, "start": 0}')
            say("level", 3)
            await until(lambda: len(source.batches) == 7)
            *blocks, level = source.batches
            assert level.value.tolist() == [3] and source.counts["unreadable"] == 1 and not source.counts["restarted"]
            value, ts = (np.concatenate([getattr(one, name) for one in blocks]) for name in ("value", "ts"))
            assert np.allclose(value, np.concatenate([wave(k) for k in range(6)])) and blocks[0].worst == Quality.GOOD
            assert abs(int(ts[0]) - NOW) < 1000 and (np.diff(ts) == SECOND // RATE).all()
            assert blocks[0].tag is blocks[5].tag, "stages keep what they worked out for a column by its identity"
            told = vibration(blocks, int(source.tags["accel"].id))
            assert len(told) == 2 and told[0]["rms"] == pytest.approx(0.5 / np.sqrt(2), rel=0.01)
            assert told[1]["dropped"] == 0 and told[1]["kilohertz"] == pytest.approx(told[1]["rms"], rel=0.01)
            say.close()
            await ended(task)

    run(work)


def vibration(batches: list[Batch], tag: int) -> list[dict[str, float]]:
    stage = {"stage": "vibration", "tag": "m.accel", "rate": RATE, "block": 4096, "bands": {"kilohertz": (900, 1100)}}
    options = VibrationConfig.model_validate(stage)
    made = [Tag(f"v.{name}", i, source="v") for i, name in enumerate(options.points(), 100)]
    judge = Vibration(options, Setting("v", TagTable([Tag("m.accel", tag, source="m"), *made]), Path()))
    return [dict(zip(options.points(), one.value, strict=True)) for batch in batches for one in judge(batch)]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"values": [1, 2]}, "say `rate`"),
        ({"values": [1], "step": 0}, "is no number of seconds"),
        ({"values": [1], "step": math.inf}, "is no number of seconds"),
        ({"values": [1], "step": "soon"}, "is no number of seconds"),
        ({"values": [1, "x"], "step": 1}, "is no number"),
        ({"values": [[1, 2]], "step": 1}, "takes one to"),
        ({"values": [], "step": 1}, "a block of 0 samples"),
        ({"values": "AAA=", "step": 1}, "no list; for base64"),
        ({"values": [0] * 100_001, "step": 1}, "more than 100,000"),
        ({"values": [1], "step": 1, "start": "yesterday"}, "no time between"),
        ({"values": [10**400], "step": 1}, "is no number"),
    ],
)
def test_what_is_no_block_is_refused(data: Any, told: str) -> None:
    with pytest.raises(AnswerContradicts, match=told):
        Reading(MqttBlock()).json(data, ())


def test_what_are_no_samples_is_refused() -> None:
    reading = Reading(MqttBlock(type="int16", rate=1, number="n"))
    for data, told in (([1], "no base64"), ("A", "no base64"), ("AAAA", "3 bytes are no whole"), ("", "0 samples")):
        with pytest.raises(AnswerContradicts, match=told):
            reading.json({"values": data}, ())
    with pytest.raises(AnswerContradicts, match="the number of a block"):
        reading.json({"values": "AAA=", "n": "first"}, ())
    assert reading.json({"other": 1}, ()) is None and reading.json({"values": "AAA="}, ("deeper",)) is None
    raw = Reading(MqttBlock(type="int16", rate=1, raw=True, head=8, clock="ms"))
    for payload, told in ((b"12345678", "its head"), (b"\0" * 10, "none between"), (b"\0" * 11, "none between")):
        with pytest.raises(AnswerContradicts, match=told):
            raw.raw(payload)
    found = Reading(MqttBlock()).json({"values": [1, None, 3], "step": 0.5}, ())
    assert found is not None and found.rate == 2 and np.isnan(found.value).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("{raw: true, rate: 5}", "`raw` takes `type` and `rate`"),
        ("{raw: true, rate: 5, type: int16, start: t}", "`start` is a path in JSON"),
        ("{head: 8}", "`head` belongs to a `raw` message"),
        ("{raw: true, rate: 5, type: int16, head: 4, clock: ms}", "the first 8 bytes"),
        ("{scale: 2}", "`scale` says nothing without `type`"),
        ("{rate: 5}, time: ts", "has neither"),
        ("{rate: 5}, type: text", "has neither"),
    ],
)
def test_faults_of_a_block(block: str, told: str) -> None:
    site = f"device: {{id: d}}\ndrivers:\n  s: {{driver: mqtt, url: 'mqtt://h', topic: t, tags: {{a: {{block: {block}}}}}}}\n"
    assert [told in str(problem) for problem in load_text(site).problems] == [True], load_text(site).problems


def test_the_simulator_publishes_blocks_that_the_driver_hears() -> None:
    async def work() -> None:
        tags = {
            "plain": {"topic": "a", "path": "deep", "block": {"rate": 500}},
            "packed": {"topic": "b", "block": FORMS["base64"]},
            "raw": {"topic": "c", "block": FORMS["raw"]},
            "level": {"topic": "a", "path": "level"},
        }
        found = config(free_port(), tags)
        sim = MqttSim("s", found)
        await sim.start()
        sim.set("plain", 5.0)
        _, source, task = await started(found)
        ids = {name: tag.id for name, tag in source.tags.items()}
        await until(lambda: sum(ids["raw"] in b.tag for b in source.batches) > 1)
        first = {name: next(b for b in source.batches if ids[name] in b.tag) for name in ids}
        assert first["plain"].value.mean() == pytest.approx(5, abs=0.01) and len(first["plain"]) == 250
        assert all(abs(first[name].value).max() == pytest.approx(1, abs=0.01) for name in ("packed", "raw"))
        assert not source.counts["unreadable"] and not source.counts["restarted"]
        await sim.stop()
        await ended(task)

    run(work)
