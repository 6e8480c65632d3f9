"""MQTT: plain JSON and Sparkplug B, on a real mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from drivers.mqtt.driver import Mqtt
from drivers.mqtt.options import MqttConfig
from drivers.mqtt.payload import Metric, Payload, decode_payload, encode_payload
from drivers.mqtt.sim import MqttSim
from drivers.mqtt.sparkplug import Nodes, number_of
from drivers.mqtt.values import number_of as json_number
from drivers.mqtt.values import parse, parse_path, picked, time_of
from edge import (
    SECOND,
    AnswerContradicts,
    DeviceLost,
    DeviceRefused,
    Quality,
    SystemClock,
    Write,
    WriteRefused,
)
from edge.bench.process import free_port
from edge.config.load import load_text
from edge.testing import FakeSource
from tests.broker import Broker, certificates
from tests.waiting import run, until

RANGE: dict[str, Any] = {"writable": {"range": [0, 100]}}
NOW = 1_700_000_000 * SECOND
DOUBLE = 10


# Plain JSON


def test_paths_and_what_stands_there() -> None:
    data = {"a": {"b": [1, {"c d": 2}]}, "t": True}
    for text, found in (("a.b[0]", 1), ('$.a.b[1]["c d"]', 2), ("$['t']", True), ("", data), ("$", data)):
        assert picked(data, parse_path(text)) == found
    for text in ("a.", "a..b", "[x]", "a b", "$$", "a[-1]"):
        with pytest.raises(ValueError, match="is no path"):
            parse_path(text)
    for text in ("x", "a[0]", "a.b[9]", "t.x", "a.b.c"):
        with pytest.raises(LookupError):
            picked(data, parse_path(text))


@pytest.mark.parametrize(
    ("value", "number", "quality"),
    [
        (1.5, 1.5, Quality.GOOD),
        (True, 1, Quality.GOOD),
        ("12.5", 12.5, Quality.GOOD),
        ("OFF", 0, Quality.GOOD),
        ("open", math.nan, Quality.BAD),
        (None, math.nan, Quality.BAD),
        ([1], math.nan, Quality.BAD),
        ("nan", math.nan, Quality.BAD),
        ("1_0", math.nan, Quality.BAD),
        (float("inf"), math.nan, Quality.RANGE),
        (2**53 + 1, math.nan, Quality.RANGE),
        ("1e999", math.nan, Quality.RANGE),
    ],
)
def test_what_is_a_number(value: Any, number: float, quality: Quality) -> None:
    assert json_number(value) == (pytest.approx(number, nan_ok=True), quality)


def test_times_in_every_usual_form() -> None:
    for value in (
        1700000000,
        1700000000.0,
        1700000000000,
        1.7e15,
        NOW,
        "1700000000",
        "2023-11-14T22:13:20Z",
        "2023-11-14 22:13:20",
    ):
        assert time_of(value) == NOW
    assert time_of("2023-11-14T23:13:20.250+01:00") == NOW + SECOND // 4
    for value in (
        0,
        -1,
        17,
        "noon",
        "",
        None,
        True,
        [],
        10**40,
        float("nan"),
        float("inf"),
        "9999-12-31",
        "0001-01-01T00:00:00+23:00",
    ):
        assert time_of(value) is None


@pytest.mark.parametrize(
    "payload",
    [b"\xff\xfe", b"{", b'{"a":', b"[" * 100_000, b'{"a":' * 100_000, b"1" * 2_000_000, b'"x'],
)
def test_what_is_no_json_is_refused(payload: bytes) -> None:
    with pytest.raises(AnswerContradicts):
        parse(payload)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_refused(payload: bytes) -> None:
    try:
        value, quality = json_number(parse(payload))
    except AnswerContradicts:
        return
    assert math.isfinite(value) == (quality == Quality.GOOD)


@pytest.mark.parametrize("text", ["1" * 900_000 + "x", "1." + "1" * 900_000 + "x", "1e" + "1" * 900_000 + "x"])
def test_a_long_text_that_begins_like_a_number_holds_nobody_up(text: str) -> None:
    """Steps that grow with the square of its length would take hours here."""
    assert json_number(text) == (pytest.approx(math.nan, nan_ok=True), Quality.BAD) and time_of(text) is None


# Sparkplug payloads


def reference(data: Path) -> Any:
    """The Payload class that the protobuf package makes of the published definition."""
    pytest.importorskip("google.protobuf", reason="needs protobuf (the vision extra brings it)")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    text = re.sub(r"//.*", "", (data / "sparkplug" / "sparkplug_b.proto").read_text())
    words = re.findall(r"[\w.]+|[{}=;]", text[text.index("message Payload") :])
    kinds = ["double", "float", "", "uint64", "int32", "", "", "bool", "string", "", "", "bytes", "uint32"]
    file = descriptor_pb2.FileDescriptorProto(name="s.proto", package="s", syntax="proto2")

    def message(made: Any, at: int) -> int:
        """Fill `made` from the word after `message`; gives the place after its closing brace."""
        made.name, at, depth = words[at], at + 2, 1
        while depth:
            word = words[at]
            if word == "message":
                at = message(made.nested_type.add(), at + 1)
            elif word == "oneof":
                made.oneof_decl.add(name=words[at + 1])
                depth, at = depth + 1, at + 3
            elif word == "extensions":
                at = words.index(";", at) + 1
            elif word == "}":
                depth, at = depth - 1, at + 1
            else:
                rule = word if word in ("optional", "repeated") else ""
                kind, name, _, number = words[at + bool(rule) : at + bool(rule) + 4]
                field = made.field.add(name=name, number=int(number), label=3 if rule == "repeated" else 1)
                field.type = kinds.index(kind) + 1 if kind in kinds else 11
                if field.type == 11:
                    field.type_name = kind
                if depth == 2:
                    field.oneof_index = 0
                at += bool(rule) + 5
        return at

    message(file.message_type.add(), 1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("s.Payload"))


def test_it_reads_what_the_published_definition_writes(data: Path) -> None:
    made, rng = reference(data), random.Random(3)
    for _ in range(300):
        theirs = made(timestamp=rng.getrandbits(40), seq=rng.randrange(256), uuid="u", body=b"b")
        for _ in range(rng.randrange(6)):
            metric = theirs.metrics.add(name=rng.choice(["", "Tempé/1"]), alias=rng.getrandbits(rng.choice([3, 64])))
            metric.datatype, metric.is_historical, metric.is_null = (
                rng.randrange(35),
                rng.random() < 0.5,
                rng.random() < 0.5,
            )
            metric.properties.keys.extend(["engUnit", "Quality"])
            metric.properties.values.add(type=12, string_value="bar")
            metric.properties.values.add(type=3, int_value=192)
            kind = rng.choice(
                ["int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value"]
            )
            value: Any = {
                "float_value": 1.5,
                "double_value": rng.random(),
                "boolean_value": True,
                "string_value": "x",
            }.get(kind)
            setattr(metric, kind, rng.getrandbits(32) if value is None else value)
        if rng.random() < 0.3:
            theirs.metrics.add(name="set").dataset_value.columns.append("c")
        ours = decode_payload(theirs.SerializeToString())
        assert (ours.timestamp, ours.seq, len(ours.metrics)) == (theirs.timestamp, theirs.seq, len(theirs.metrics))
        for mine, metric in zip(ours.metrics, theirs.metrics, strict=True):
            assert (mine.name, mine.datatype, mine.historical, mine.null) == (
                metric.name, metric.datatype, metric.is_historical, metric.is_null)  # fmt: skip
            which = metric.WhichOneof("value") if metric.name != "set" else None
            assert mine.value == (getattr(metric, which) if which else None)
            assert which is None or (mine.alias, mine.quality) == (metric.alias, 192)
        again = made()
        again.ParseFromString(encode_payload(ours))
        assert [m.name for m in again.metrics] == [m.name for m in theirs.metrics]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_payload_or_refused(data: bytes) -> None:
    with contextlib.suppress(AnswerContradicts):
        decode_payload(data)


def test_a_payload_with_flipped_bits_or_cut_off_never_raises_another_error() -> None:
    whole = encode_payload(Payload(5, 1, [Metric("a", 3, 5, DOUBLE, kind="double", value=1.5, quality=192)] * 5))
    rng = random.Random(1)
    for _ in range(3000):
        torn = bytearray(whole[: rng.randrange(1, len(whole) + 1)])
        for _ in range(rng.randrange(4)):
            torn[rng.randrange(len(torn))] ^= 1 << rng.randrange(8)
        with contextlib.suppress(AnswerContradicts):
            decode_payload(bytes(torn))


def test_one_that_claims_too_much_is_refused() -> None:
    for data in (b"\x12\xff\xff\xff\xff\x0f", b"\x08" + b"\xff" * 11, b"\x0b", b"\x12\x00" * 20_001, b"\x00\x00"):
        with pytest.raises(AnswerContradicts):
            decode_payload(data)


@pytest.mark.parametrize(
    ("kind", "datatype", "value", "number"),
    [
        ("int", 1, 0xFF, -1),
        ("int", 1, 0xFFFFFFFF, -1),
        ("int", 2, 0x8000, -32768),
        ("int", 3, 0x80000000, -(2**31)),
        ("long", 4, 2**64 - 5, -5),
        ("int", 5, 255, 255),
        ("long", 8, 2**64 - 1, 2**64 - 1),
        ("bool", 11, True, 1),
        ("long", 13, 1700000000000, 1700000000000),
        ("float", 9, 1.5, 1.5),
        ("int", 0, 5, None),
        ("string", 12, "x", None),
        ("other", 16, None, None),
    ],
)
def test_datatypes(kind: str, datatype: int, value: Any, number: float | None) -> None:
    assert number_of(Metric(kind=kind, datatype=datatype, value=value), datatype) == number


# A node's life


def metric(name: str = "", alias: int | None = None, value: float = 0.0, **more: Any) -> Metric:
    return Metric(name, alias, NOW // 10**6, DOUBLE if name else 0, kind="double", value=value, **more)


def life() -> tuple[Nodes, Callable[..., list[tuple[int, float, Quality]]]]:
    nodes = Nodes({("G/N", "", "temp"): [0], ("G/N", "D", "bar"): [1]})

    def say(kind: str, seq: int | None, *metrics: Metric) -> list[tuple[int, float, Quality]]:
        topic = f"spBv1.0/G/{kind}/N" + ("/D" if kind.startswith("D") else "")
        heard = nodes.heard(topic, Payload(NOW // 10**6, seq, list(metrics)), NOW + 5)
        return [(i, value, Quality(quality)) for i, _, value, quality in heard]

    return nodes, say


def test_birth_data_and_death() -> None:
    nodes, say = life()
    session = Metric("bdSeq", datatype=8, kind="long", value=4)
    assert say("NBIRTH", 0, session, metric("temp", 1, 20)) == [(0, 20, Quality.GOOD)]
    assert say("DBIRTH", 1, metric("bar", 2, 5)) == [(1, 5, Quality.GOOD)]
    assert say("NDATA", 2, metric(alias=1, value=21)) == [(0, 21, Quality.GOOD)]
    assert say("DDATA", 3, metric(alias=2, value=6, historical=True)) == [(1, 6, Quality.LATE)]
    assert say("DDATA", 4, metric(alias=2, value=6, quality=500))[0][2] == Quality.STALE
    assert say("DDATA", 5, metric(alias=2, value=6, null=True))[0][2] == Quality.BAD
    assert say("DDATA", 6, metric(alias=1, value=6)) == [] and nodes.counts["unknown_alias"] == 1
    assert [(i, q) for i, _, q in say("DDEATH", 7)] == [(1, Quality.TIMEOUT)]
    old = Metric("bdSeq", datatype=8, kind="long", value=3)
    assert say("NDEATH", None, old) == [] and nodes.counts["old_will"] == 1
    assert [(i, q) for i, _, q in say("NDEATH", None, session)] == [(0, Quality.TIMEOUT), (1, Quality.TIMEOUT)]
    assert nodes.counts["sequence_gap"] == 0 and nodes.wanted == set()


def test_after_a_gap_an_alias_is_no_data_until_the_next_birth() -> None:
    nodes, say = life()
    say("NBIRTH", 0, metric("temp", 1, 20))
    assert say("NDATA", 2, metric(alias=1, value=99))[0][2] == Quality.STALE
    assert nodes.counts["sequence_gap"] == 1 and nodes.wanted == {"G/N"}
    assert say("NDATA", 3, metric("temp", None, 21)) == [(0, 21, Quality.GOOD)]
    assert say("NBIRTH", 0, metric("temp", 7, 22)) == [(0, 22, Quality.GOOD)] and nodes.wanted == set()
    assert say("NDATA", 1, metric(alias=1, value=99)) == []
    assert say("NDATA", 2, metric(alias=7, value=23)) == [(0, 23, Quality.GOOD)]


def test_the_sequence_goes_round_and_a_strange_node_is_nobodys() -> None:
    nodes, say = life()
    say("NBIRTH", 0, metric("temp", 1, 20))
    for k in range(1, 600):
        assert say("NDATA", k % 256, metric(alias=1, value=k)) == [(0, k, Quality.GOOD)]
    for topic in (
        "spBv1.0/G/NDATA/X",
        "spBv1.0/G/NDATA/N/D",
        "spBv1.0/G/DDATA/N",
        "spBv1.0/STATE/x",
        "spBv1.0/G/N",
        "a/b",
    ):
        assert nodes.heard(topic, Payload(), NOW) == []


def test_a_message_that_comes_twice_is_taken_once_and_is_no_gap() -> None:
    nodes, say = life()
    say("NBIRTH", 0, metric("temp", 1, 20))
    assert say("NDATA", 1, metric(alias=1, value=21)) == [(0, 21, Quality.GOOD)]
    assert say("NDATA", 1, metric(alias=1, value=21)) == [] and nodes.counts == {"repeated": 1}
    assert say("NDATA", 2, metric(alias=1, value=22)) == [(0, 22, Quality.GOOD)]


def test_a_time_that_no_clock_shows_is_ours_and_unsure() -> None:
    nodes, say = life()
    late = metric("temp", 1, 20)
    late.timestamp = 17
    assert say("NBIRTH", 0, late) == [(0, 20, Quality.CLOCK_UNSURE)] and nodes.counts["no_time"] == 1


# A site


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("url: 'http://h'", "is no broker"),
        ("url: 'mqtt://h:99999'", "is no broker"),
        ("url: 'mqtt://me:pw@h'", "do not belong into the url"),
        ("url: 'mqtt://h', topic: 'a#'", "is no topic"),
        ("url: 'mqtt://h', topic: ''", "has no topic"),
        ("url: 'mqtt://h', password: x", "a password without a user"),
        ("url: 'mqtt://h', ca: ca.pem", "says nothing without TLS"),
        ("url: 'mqtts://h', ca: none.pem", "there is no file none.pem"),
        ("url: 'mqtt://h', rebirth: true", "only a Sparkplug node can be born again"),
        ("url: 'mqtt://h', edge: 'G'", "names no node"),
    ],
)
def test_faults_of_a_site(options: str, said: str) -> None:
    topic = "" if "topic" in options else ", topic: a"
    site = f"device: {{id: d}}\ndrivers:\n  s: {{driver: mqtt, {options}{topic}, tags: {{a: {{}}}}}}\n"
    assert [said in str(problem) for problem in load_text(site).problems] == [True], load_text(site).problems


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("path: 'a..b'", "is no path"),
        ("metric: x, topic: y", "a metric has neither"),
        ("metric: x", "has no node"),
        ("edge: G/N", "say which metric"),
        ("writable: {range: [0, 1]}", "say where an order for it is published"),
        ("command: a/set", "says nothing without `writable`"),
        ("command: a/+, writable: {range: [0, 1]}", "an order goes to one topic"),
        ("command: a, payload: on, writable: {range: [0, 1]}", "write {value} once"),
        ('command: a, payload: \'{"v": "{value}}\', writable: {range: [0, 1]}', "and is none with a value in it"),
        ("type: text, command: a, payload: '{\"v\": {value}}', writable: {one_of: [A]}", '"{value}", in quotes'),
        ("edge: G/N, metric: m, command: a, writable: {range: [0, 1]}", "a metric has no `command`"),
    ],
)
def test_faults_of_a_tag(tag: str, said: str) -> None:
    site = f"device: {{id: d}}\ndrivers:\n  s: {{driver: mqtt, url: 'mqtt://h', topic: t, tags: {{a: {{{tag}}}}}}}\n"
    assert [said in str(problem) for problem in load_text(site).problems] == [True], load_text(site).problems


# On a real broker


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Starts a broker with these lines of configuration."""
    brokers: list[Broker] = []

    def start(*lines: str) -> Broker:
        brokers.append(Broker(tmp_path / "broker", *lines))
        brokers[-1].start()
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.stop()


class Publisher:
    def __init__(self, port: int, **login: str) -> None:
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        if login:
            self.client.username_pw_set(**login)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.heard: list[bytes] = []
        self.client.on_message = lambda *given: self.heard.append(given[2].payload)

    def __call__(self, topic: str, payload: Any, retain: bool = False) -> None:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.client.publish(topic, body, qos=1, retain=retain).wait_for_publish(20)

    def listen(self, *topics: str) -> None:
        """Returns when the broker knows."""
        known = threading.Event()
        self.client.on_subscribe = lambda *_: known.set()
        self.client.subscribe([(topic, 1) for topic in topics])
        assert known.wait(20)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def config(port: int, tags: dict[str, Any], **more: Any) -> MqttConfig:
    found = MqttConfig(**{"driver": "mqtt", "url": f"mqtt://127.0.0.1:{port}", "tags": tags, **more})
    assert list(found.faults()) == []
    return found


async def started(found: MqttConfig) -> tuple[Mqtt, FakeSource, asyncio.Task[None]]:
    tags = [point.tag(f"m.{name}", "m", 0.0) for name, point in found.tags.items()]
    source = FakeSource("m", tags, SystemClock())
    driver = Mqtt(found, source)
    task = asyncio.ensure_future(driver.run())
    await until(lambda: task.done() or driver._line is not None)
    return driver, source, task


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("version", [3, 5])
def test_json_of_every_form(mosquitto: Callable[..., Broker], version: int) -> None:
    async def work() -> None:
        port = mosquitto().port
        say = Publisher(port)
        say("kept", {"value": 7}, retain=True)
        tags = {
            "temp": {"path": "temp"},
            "bar": {"path": "$.a.b[0]"},
            "level": {"topic": "tank/level", "time": "ts"},
            "kept": {"topic": "kept"},
            "word": {"topic": "word", "type": "text"},
        }
        _, source, task = await started(config(port, tags, topic="press/+", version=version))
        say("press/1", {"temp": 21.5})
        say("press/2", {"temp": "broken", "a": {"b": [4]}})
        say("press/3", b"\xff\xff")
        say("other/1", {"temp": 99})
        for word in ("on", 5, "x" * 300, "ready"):
            say("word", {"value": word})
        say("tank/level", [{"ts": 1700000000, "value": 1}, {"ts": "2023-11-14T22:13:21Z", "value": 2}, {"value": 3}])
        await until(
            lambda: (
                len(source.values("level")) == 3
                and source.values("bar")
                and source.values("kept")
                and len(source.values("word")) == 4
            )
        )
        assert source.values("temp")[0] == 21.5 and source.qualities("temp") == [Quality.GOOD, Quality.BAD]
        assert source.values("bar") == [4] and source.qualities("kept") == [Quality.CLOCK_UNSURE]
        assert source.values("level") == [1, 2, 3]
        assert source.strings("word") == ["on", None, None, "ready"]
        assert source.qualities("word") == [Quality.GOOD, Quality.BAD, Quality.RANGE, Quality.GOOD]
        assert source.qualities("level") == [Quality.GOOD, Quality.GOOD, Quality.CLOCK_UNSURE]
        stamps = [int(t) for b in source.batches for t in b.ts[b.tag == source.tags["level"].id]]
        assert stamps[:2] == [NOW, NOW + SECOND]
        assert source.counts["unreadable"] == 1 and source.counts["no_number"] == 1
        say.close()
        await ended(task)

    run(work)


def test_a_broker_that_goes_is_lost_and_the_next_run_hears_again(
    mosquitto: Callable[..., Broker],
) -> None:
    async def work() -> None:
        broker = mosquitto()
        port = broker.port
        found = config(port, {"a": {"topic": "a"}})
        driver, _, task = await started(found)
        broker.stop()
        with pytest.raises(DeviceLost, match="the broker hung up"):
            await task
        with pytest.raises(DeviceLost, match=r"no connection to .*: Connection refused"):
            await driver.run()
        broker.start()
        _, source, task = await started(found)
        say = Publisher(port)
        say("a", 5)
        await until(lambda: source.values("a") == [5])
        say.close()
        await ended(task)

    run(work)


def test_password_and_what_is_said_without(mosquitto: Callable[..., Broker], tmp_path: Path) -> None:
    if not shutil.which("mosquitto_passwd"):
        pytest.skip("mosquitto is not installed (make system-packages)")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(tmp_path / "users"), "me", "secret"], check=True)

    async def work() -> None:
        port = mosquitto("allow_anonymous false", f"password_file {tmp_path / 'users'}").port
        for login in ({}, {"user": "me", "password": "wrong"}):
            _, _, task = await started(config(port, {"a": {"topic": "a"}}, **login))
            with pytest.raises(DeviceLost, match="does not let us in"):
                await task
        found = config(port, {"a": {"topic": "a"}}, user="me", password="secret")
        assert "secret" not in repr(found)
        _, source, task = await started(found)
        say = Publisher(port, username="me", password="secret")
        say("a", 5)
        await until(lambda: source.values("a") == [5])
        say.close()
        await ended(task)

    run(work)


def test_tls_with_an_authority_of_ones_own(mosquitto: Callable[..., Broker], tmp_path: Path) -> None:
    certificates(tmp_path)

    async def work() -> None:
        port = mosquitto("allow_anonymous true", *(f"{k} {tmp_path / v}" for k, v in (
            ("cafile", "ca.pem"), ("certfile", "broker.pem"), ("keyfile", "broker.key")))).port  # fmt: skip
        url = f"mqtts://127.0.0.1:{port}"
        with pytest.raises(DeviceLost, match="its certificate is not trusted"):
            await Mqtt(config(port, {"a": {"topic": "a"}}, url=url), FakeSource("m", ["a"], SystemClock())).run()
        found = config(port, {"a": {"topic": "a"}}, url=url, ca=str(tmp_path / "ca.pem"))
        _, source, task = await started(found)
        other = paho.Client(CallbackAPIVersion.VERSION2)
        other.tls_set(str(tmp_path / "ca.pem"))
        other.connect("127.0.0.1", port)
        other.loop_start()
        for k in range(50):
            other.publish("a", str(k), qos=1).wait_for_publish(20)
        await until(lambda: source.values("a") == list(range(50)))
        other.disconnect()
        other.loop_stop()
        await ended(task)

    run(work)


def test_sparkplug_on_a_broker_with_a_gap_and_a_rebirth(mosquitto: Callable[..., Broker]) -> None:
    async def work() -> None:
        port = mosquitto().port
        tags = {"temp": {"edge": "G/N", "metric": "temp"}}
        _, source, task = await started(config(port, tags, rebirth=True))
        node = Publisher(port)
        node.client.subscribe("spBv1.0/G/NCMD/N")

        def say(kind: str, seq: int, *metrics: Metric) -> None:
            node(f"spBv1.0/G/{kind}/N", encode_payload(Payload(NOW // 10**6, seq, list(metrics))))

        say("NBIRTH", 0, metric("temp", 1, 20))
        say("NDATA", 1, metric(alias=1, value=21))
        await until(lambda: 21 in source.values("temp"))
        say("NDATA", 9, metric(alias=1, value=22))
        await until(lambda: Quality.STALE in source.qualities("temp"))
        say("NBIRTH", 0, metric("temp", 2, 23))
        node("spBv1.0/G/NDEATH/N", encode_payload(Payload()))
        await until(lambda: source.qualities("temp")[-1:] == [Quality.TIMEOUT])
        assert [v for v in source.values("temp") if v == v] == [20, 21, 23]
        node.close()
        await ended(task)

    run(work)


@pytest.mark.parametrize("version", [3, 5])
def test_orders_are_done_when_the_broker_took_them_and_read_back_from_what_is_published(
    mosquitto: Callable[..., Broker], version: int
) -> None:
    async def work() -> None:
        port = mosquitto().port
        tags = {
            "level": {"topic": "t/state", "path": "v", "command": "t/set", "payload": '{"v": {value}}', **RANGE},
            "mode": {
                "topic": "t/mode", "type": "text", "command": "t/mode/set", "payload": '{"m": "{value}"}',
                "writable": {"longest": 20},
            },
            "plain": {"topic": "t/plain", "type": "text", "command": "t/plain/set", "writable": {"longest": 20}},
        }  # fmt: skip
        driver, source, task = await started(config(port, tags, version=version))
        device = Publisher(port)
        device.listen("t/+/set", "t/set")
        level, mode = source.tags["level"].id, source.tags["mode"].id
        with pytest.raises(DeviceRefused, match="nothing was published for it since the order"):
            await driver.read(level)
        await driver.write(Write(level, 21.5))
        await driver.write(Write(level, 3.0))
        await driver.write(Write(mode, 'say "配方"'))
        await driver.write(Write(source.tags["plain"].id, 'say "配方"'))
        await until(lambda: len(device.heard) == 4)
        assert [json.loads(body) for body in device.heard[:3]] == [{"v": 21.5}, {"v": 3}, {"m": 'say "配方"'}]
        assert device.heard[3].decode() == 'say "配方"'
        with pytest.raises(DeviceRefused, match="nothing was published for it since the order"):
            await driver.read(level)
        device("t/state", {"v": 3})
        device("t/mode", "A7")
        await until(lambda: source.strings("mode") == ["A7"])
        assert await driver.read(level) == 3 and await driver.read(mode) == "A7"
        device.close()
        await ended(task)
        with pytest.raises(DeviceLost, match="no connection"):
            await driver.write(Write(level, 1.0))

    run(work)


def test_an_order_does_not_reach_a_device_that_comes_too_late(mosquitto: Callable[..., Broker]) -> None:
    """The broker keeps orders for a device that is away, and knows how long each is good."""

    async def work() -> None:
        port = mosquitto().port
        tags = {"a": {"topic": "a", "command": "a/set", **RANGE}, "b": {"topic": "b", "command": "b/set", **RANGE}}
        driver, source, task = await started(config(port, tags))
        away = paho.Client(CallbackAPIVersion.VERSION2, "device", clean_session=False)
        known, heard = threading.Event(), []
        away.on_subscribe = lambda *_: known.set()
        away.on_message = lambda *given: heard.append(given[2].payload)
        away.connect("127.0.0.1", port)
        away.loop_start()
        away.subscribe([("a/set", 1), ("b/set", 1)])
        assert await asyncio.to_thread(known.wait, 20)
        away.disconnect()
        away.loop_stop()
        now = source.clock.mono()
        await driver.write(Write(source.tags["a"].id, 1.0, expires=now + SECOND))
        await driver.write(Write(source.tags["b"].id, 2.0, expires=now + 600 * SECOND))
        await until(lambda: source.clock.mono() > now + 2.5 * SECOND)
        away.connect("127.0.0.1", port)
        away.loop_start()
        await until(lambda: heard)
        assert heard == [b"2"]
        away.disconnect()
        away.loop_stop()
        await ended(task)

    run(work)


def test_an_order_that_the_broker_refuses_is_told(mosquitto: Callable[..., Broker], tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic read #\n")

    async def work() -> None:
        port = mosquitto(f"acl_file {tmp_path / 'acl'}").port
        driver, source, task = await started(config(port, {"a": {"topic": "a", "command": "a/set", **RANGE}}))
        with pytest.raises(DeviceRefused, match="the broker refuses the order: Not authorized"):
            await driver.write(Write(source.tags["a"].id, 1.0))
        await ended(task)

    run(work)


def test_an_order_to_a_metric_goes_as_the_type_of_its_birth() -> None:
    nodes, say = life()
    key = ("G/N", "", "temp")
    with pytest.raises(DeviceRefused, match="no birth of G/N told what temp is"):
        nodes.order(key, 1.0, NOW)
    for datatype, value, field, stored in (
        (DOUBLE, 1.5, "double", 1.5), (9, 1.5, "float", 1.5), (11, 1.0, "bool", True), (12, "A", "string", "A"),
        (3, -2.0, "int", 2**32 - 2), (4, -2.0, "long", -2), (8, 2.0**40, "long", 2**40), (5, 255.0, "int", 255),
    ):  # fmt: skip
        say("NBIRTH", 0, Metric("temp", 1, datatype=datatype))
        topic, body = nodes.order(key, value, NOW)
        (told,) = decode_payload(body).metrics
        assert (topic, told.name, told.datatype, told.kind) == ("spBv1.0/G/NCMD/N", "temp", datatype, field)
        assert told.value in (stored, stored + 2**64 if field == "long" else stored)
        assert field == "string" or number_of(told, datatype) == value
    wrongs: list[tuple[int, Any]] = [
        (12, 1.0),
        (DOUBLE, "A"),
        (9, 1e40),
        (11, 2.0),
        (5, 256.0),
        (5, -1.0),
        (3, 1.5),
        (13, 1.0),
    ]
    for datatype, wrong in wrongs:
        say("NBIRTH", 0, Metric("temp", 1, datatype=datatype))
        with pytest.raises(WriteRefused):
            nodes.order(key, wrong, NOW)
    say("DBIRTH", 1, Metric("bar", 2, datatype=DOUBLE))
    assert nodes.order(("G/N", "D", "bar"), 1.0, NOW)[0] == "spBv1.0/G/DCMD/N/D"
    nodes.forget()
    with pytest.raises(DeviceRefused, match="no birth"):
        nodes.order(key, 1.0, NOW)


def test_a_birth_that_the_broker_kept_names_no_alias(mosquitto: Callable[..., Broker]) -> None:
    async def work() -> None:
        port = mosquitto().port
        node = Publisher(port)

        def say(kind: str, seq: int, *metrics: Metric, retain: bool = False) -> None:
            node(f"spBv1.0/G/{kind}/N", encode_payload(Payload(NOW // 10**6, seq, list(metrics))), retain)

        say("NBIRTH", 0, metric("temp", 1, 20), retain=True)
        _, source, task = await started(config(port, {"temp": {"edge": "G/N", "metric": "temp"}}))
        await until(lambda: source.counts["retained"])
        say("NDATA", 1, metric(alias=1, value=99))
        await until(lambda: source.counts["unknown_alias"])
        say("NBIRTH", 0, metric("temp", 2, 21))
        await until(lambda: source.values("temp"))
        assert source.values("temp") == [21]
        node.close()
        await ended(task)

    run(work)


def test_deep_and_odd_json_is_bad_or_left_out_and_the_next_message_counts(mosquitto: Callable[..., Broker]) -> None:
    async def work() -> None:
        port = mosquitto().port
        _, source, task = await started(config(port, {"a": {"topic": "a", "path": "x"}}))
        say = Publisher(port)
        for depth in (10, *range(900, 1010), 50_000):
            say("a", b'{"x":' + b"[" * depth + b"]" * depth + b"}")
        say("a", b"[" + b'{"x":1},' * 20_000 + b'{"x":1}]')
        say("a", {"x": 5})
        await until(lambda: 5 in source.values("a"))
        assert set(source.qualities("a")[:-1]) == {Quality.BAD} and source.counts["unreadable"] >= 2
        say.close()
        await ended(task)

    run(work)


def test_a_flood_larger_than_a_message_may_be_does_not_reach_us(mosquitto: Callable[..., Broker]) -> None:
    async def work() -> None:
        port = mosquitto().port
        _, source, task = await started(config(port, {"a": {"topic": "a"}}))
        say = Publisher(port)
        say("a", b"9" * 3_000_000)
        say("a", 5)
        await until(lambda: source.values("a"))
        assert source.values("a") == [5]
        say.close()
        await ended(task)

    run(work)


# The simulator


TAGS = {
    "temp": {"topic": "press", "path": "temp", "command": "press/set", "payload": '{"t": {value}}', **RANGE},
    "bar": {"topic": "press", "path": "a.b[1]"},
    "recipe": {"topic": "press", "path": "recipe", "type": "text"},
    "level": {"topic": "tank/+"},
    "state": {"edge": "G/N", "metric": "State", "type": "text", "writable": {"one_of": ["ON", "OFF"]}},
    "oven": {"edge": "G/N", "metric": "Temp"},
    "zone": {"edge": "G/N/D", "metric": "Temp", **RANGE},
}


@pytest.mark.parametrize("version", [3, 5])
def test_the_simulator_publishes_what_the_driver_hears_and_is_born_again_when_asked(version: int) -> None:
    async def work() -> None:
        port = free_port()
        found = config(port, TAGS, rebirth=True, version=version)
        sim = MqttSim("m", found)
        await sim.start()
        texts = {tag for tag, point in TAGS.items() if point.get("type") == "text"}
        numbers = {tag: k + 0.5 for k, tag in enumerate(TAGS) if tag not in texts}
        for tag in TAGS:
            sim.set(tag, numbers.get(tag, f"{tag} of Größe"))
        driver, source, task = await started(found)
        await until(lambda: all(source.values(tag).count(value) >= 2 for tag, value in numbers.items()))
        assert {tag: set(source.strings(tag)) for tag in texts} == {tag: {f"{tag} of Größe"} for tag in texts}
        assert {q for tag in TAGS for q in source.qualities(tag)} == {Quality.GOOD}
        orders: dict[str, float | str] = {"temp": 7.25, "zone": 12.5, "state": "OFF"}
        for tag, value in orders.items():
            await driver.write(Write(source.tags[tag].id, value))
        await until(lambda: source.values("temp")[-1] == 7.25 and source.values("zone")[-1] == 12.5)
        await until(lambda: source.strings("state")[-1] == "OFF")
        assert [await driver.read(source.tags[tag].id) for tag in orders] == list(orders.values())
        births = sim.births
        sim._seq["G/N"] += 5
        sim.publish_all()
        await until(lambda: sim.births > births or driver._asked)
        sim.hang_up()
        with pytest.raises(DeviceLost):
            await task
        assert (await driver.probe())[0] == "7 of 7 tags were published within 5 s"
        await sim.stop()

    run(work)
