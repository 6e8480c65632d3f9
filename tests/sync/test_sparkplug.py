"""The Sparkplug B edge node against the specification (3.0), on a real mosquitto; our own MQTT driver is a second reader of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from drivers.mqtt.payload import Metric, Payload, decode_payload, encode_payload
from edge import SECOND, Batch, CodecFault, Cursor, Quality, decode, decode_event, last_numbers, retention, rows
from edge.app import Daemon
from edge.config.load import load_text
from sync.device import sparkplug_heard as heard
from sync.device import sparkplug_payload as say
from sync.device.sparkplug import Sparkplug
from sync.device.sparkplug_said import Said, Told
from tests import northbound
from tests.broker import Broker
from tests.northbound import PLC
from tests.relay import Relay

pytestmark = pytest.mark.system
SITE = (
    PLC
    + """\
      bad: {{address: "holding:9", type: float32}}
    units:
      part: {{unit: 2, tags: {{count: {{address: "holding:1"}}}}}}
tags:
  excess: {{expression: "plc.temp - 60", unit: K}}
journal: {{block: 300ms, durable_within: 50ms}}
sparkplug: {{url: "mqtt://127.0.0.1:{broker}", group: hall{more}}}
"""
)
INT16, INT64, UINT16, FLOAT, DOUBLE, BOOLEAN = 2, 4, 6, 9, 10, 11
START = 1_800_000_000 * SECOND


class Message(NamedTuple):
    kind: str
    device: str
    qos: int
    retain: bool
    payload: Payload


class Host:
    """Subscribes like a host application and keeps what came, in order."""

    def __init__(self, port: int) -> None:
        self.came: list[Message] = []
        self.ready: list[int] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda c, *_: c.subscribe("spBv1.0/#", 1)
        self.client.on_subscribe = lambda *_: self.ready.append(1)
        self.client.on_message = self._took
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _took(self, client: Any, user: Any, message: Any) -> None:
        parts = message.topic.split("/")
        if parts[1] == "hall" and parts[2] != "NCMD":
            device = parts[4] if len(parts) > 4 else ""
            self.came.append(Message(parts[2], device, message.qos, message.retain, decode_payload(message.payload)))

    def order(self, *metrics: Metric) -> None:
        body = encode_payload(Payload(1, None, list(metrics)))
        self.client.publish("spBv1.0/hall/NCMD/press-4", body, 0)

    def of(self, kind: str, device: str | None = None) -> list[Message]:
        return [m for m in list(self.came) if m.kind == kind and device in (None, m.device)]

    def aliases(self) -> dict[int, str]:
        births = [*self.of("NBIRTH"), *self.of("DBIRTH")]
        return {m.alias: m.name for birth in births for m in birth.payload.metrics if m.alias is not None}

    def samples(self, name: str) -> list[tuple[int, Any, bool]]:
        """(ms, value, historical) of one metric, as data messages brought it."""
        names = self.aliases()
        found = [m for data in self.of("DDATA") for m in data.payload.metrics if names[m.alias or 0] == name]
        return [(m.timestamp or 0, None if m.null else m.value, m.historical) for m in found]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Rig(northbound.Rig):
    """With a relay to the broker, and a host at the broker."""

    async def far_side(self) -> int:
        self.sim.units[1].words["holding"][9] = 0x7FC0  # no number
        self.relay = Relay(self.broker.port)
        await self.relay.start()
        self.host = await asyncio.to_thread(Host, self.broker.port)
        await self.until(lambda: self.host.ready)
        return self.relay.port

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        self.relay.close()
        await asyncio.to_thread(self.host.close)

    async def moves(self, name: str, values: range) -> None:
        """Give a tag these values, each only when the one before was read."""
        tag = self.daemon.table.slot(f"plc.{name}")
        for value in values:
            self.sim.set(name, value)
            await self.until(lambda value=value: self.daemon.live.value[tag] == value)

    async def journaled(self, name: str) -> list[tuple[int, float | None]]:
        """Every change of a tag, which has come to rest, as the journal holds it: (ms, value)."""
        await self.daemon.journal.commit(seal=True)
        number, out = self.daemon.table[name].id, []
        records = await self.daemon.journal.read("samples:plc", 0, 10_000, 10**9)
        last: Any = None
        for record in records:
            batch = decode("plc", record.body)
            rows = batch.tag == number
            for ts, value, quality in zip(batch.ts[rows], batch.value[rows], batch.quality[rows], strict=True):
                said = None if quality >= Quality.RANGE else float(value)
                if (said, quality) != last:
                    out.append((int(ts) // 10**6, said))
                last = said, quality
        return out


def rig(
    folder: Path, broker: Broker, work: Callable[[Rig], Awaitable[None]], more: str = ", every: 100ms", text: str = SITE
) -> None:
    async def main() -> None:
        async with Rig(folder, broker, text, more) as it:
            await work(it)

    asyncio.run(main())


def named(message: Message) -> dict[str, Metric]:
    return {m.name: m for m in message.payload.metrics}


def test_births_are_as_the_specification_wants_them(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        it.sim.set("temp", 21)
        await it.until(lambda: it.host.of("DBIRTH", "plc") and it.host.of("DBIRTH", "virtual"))
        first = it.host.came[0]
        assert (first.kind, first.device, first.payload.seq) == ("NBIRTH", "", 0)
        node = named(first)
        assert (node["bdSeq"].datatype, node["bdSeq"].value) == (INT64, 0)
        rebirth = node["Node Control/Rebirth"]
        assert (rebirth.datatype, rebirth.value, rebirth.alias) == (BOOLEAN, False, None)
        device = it.host.of("DBIRTH", "plc")[0]
        plc = named(device)
        assert set(plc) == {"temp", "part/count", "bad"} and set(named(it.host.of("DBIRTH", "virtual")[0])) == {
            "excess"
        }
        assert plc["bad"].null and plc["bad"].quality == 0
        assert all(m.timestamp and m.alias for m in plc.values())
        assert {name: m.datatype for name, m in plc.items()} == {"temp": INT16, "bad": FLOAT, "part/count": UINT16}
        aliases = [m.alias for birth in it.host.of("DBIRTH") for m in birth.payload.metrics]
        assert len(set(aliases)) == len(aliases)
        await it.moves("temp", range(30, 40))
        await it.until(lambda: any(value == 39 for _, value, _ in it.host.samples("temp")))
        for message in list(it.host.came):
            assert (message.qos, message.retain) == (0, False) and message.payload.timestamp
            assert message.kind == "NDEATH" or message.payload.seq is not None
            for m in message.payload.metrics:
                assert m.timestamp
                if message.kind == "DDATA":
                    assert m.alias and not m.name and not m.datatype

    rig(tmp_path, broker, work)


def test_numbers_run_on_without_a_gap_and_go_round(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        count = 0
        while len(it.host.came) < 300:
            await it.moves("temp", range(count, count + 5))
            count += 5
        numbers = [m.payload.seq for m in list(it.host.came)]
        assert numbers == [k % 256 for k in range(len(numbers))]

    rig(tmp_path, broker, work, ", every: 20ms")


def test_everything_comes_once_live_or_as_history(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        await it.moves("temp", range(1, 60))
        wanted = await it.journaled("plc.temp")

        def missing() -> set[tuple[int, Any]]:
            birth = named(it.host.of("DBIRTH", "plc")[0])["temp"]
            came = {(ms, value) for ms, value, _ in it.host.samples("temp")} | {(birth.timestamp, birth.value)}
            return {(ms, value) for ms, value in wanted if value is not None} - came

        await it.until(lambda: not missing())
        twice = [k for k, n in Counter((ms, value) for ms, value, _ in it.host.samples("temp")).items() if n > 1]
        assert twice == []
        flags = {historical for _, _, historical in it.host.samples("temp")}
        assert flags == {True, False}
        live = [ms for ms, _, historical in it.host.samples("temp") if not historical]
        assert live == sorted(live)

    rig(tmp_path, broker, work)


def test_what_came_while_the_line_was_cut_follows_as_history(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        await it.moves("temp", range(1, 10))
        it.relay.cut()
        await it.until(lambda: it.host.of("NDEATH"))  # the will
        await it.until(lambda: it.daemon.health.part("sparkplug").state == "waiting")
        await it.moves("temp", range(100, 130))
        it.relay.mend()
        await it.until(lambda: len(it.host.of("DBIRTH", "plc")) == 2)
        first, second = (named(m)["bdSeq"].value for m in it.host.of("NBIRTH"))
        assert second > first
        (death,) = it.host.of("NDEATH")
        assert named(death)["bdSeq"].value == first and death.payload.seq is None
        wanted = {(ms, value) for ms, value in await it.journaled("plc.temp") if value is not None}
        births = [named(m)["temp"] for m in it.host.of("DBIRTH", "plc")]

        def came() -> set[tuple[int, Any]]:
            return {(ms, value) for ms, value, _ in it.host.samples("temp")} | {(m.timestamp, m.value) for m in births}

        await it.until(lambda: wanted <= came())
        late = {value for _, value, historical in it.host.samples("temp") if historical}
        assert set(range(100, 129)) <= late

    rig(tmp_path, broker, work)


def test_what_the_journal_gave_up_meanwhile_is_told_as_a_gap(tmp_path: Path, broker: Broker) -> None:
    def lose(db: Any) -> None:
        rows.add_events(db, retention.give_up(db, {"sparkplug"}, START, lambda: False), START)

    async def work(it: Rig) -> None:
        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        await it.moves("temp", range(1, 10))
        it.relay.cut()
        await it.until(lambda: it.daemon.health.part("sparkplug").state == "waiting")
        await it.moves("temp", range(100, 130))
        await it.daemon.journal.commit(seal=True)
        await it.daemon.journal.on_writer(lose)
        it.relay.mend()
        await it.until(lambda: len(it.host.of("DBIRTH", "plc")) == 2)
        await it.moves("temp", range(200, 205))
        await it.until(lambda: any(value == 204 for _, value, _ in it.host.samples("temp")))
        gaps = [decode_event(r.body) for r in await it.daemon.journal.read("event", 0, 1000)]
        begins = {gap.data["from"] // 10**6 for gap in gaps if gap.kind == "gap" and gap.key == "plc"}

        def told(name: str) -> list[int]:
            return [ms for ms, value, historical in it.host.samples(name) if value is None and historical]

        await it.until(lambda: begins <= set(told("temp")) and begins <= set(told("part/count")))
        assert begins and it.host.samples("temp")[-1][1] is not None
        numbers = {k for k, name in it.host.aliases().items() if name == "temp"}
        data = [m for message in it.host.of("DDATA") for m in message.payload.metrics if m.alias in numbers]
        assert {m.quality for m in data if m.null and m.historical} == {500}
        assert len(told("temp")) == len(begins)
        newest = (await it.daemon.journal.ask(last_numbers))["event"]

        async def moved() -> bool:
            return bool((await it.daemon.journal.cursors("sparkplug"))["event"].watermark >= newest)

        async with asyncio.timeout(120):
            while not await moved():
                await it.daemon.journal.commit()

    rig(tmp_path, broker, work)


def test_the_cursor_waits_for_the_answer_of_the_broker(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads on and takes everything in, and answers nothing any more."""
    armed: list[Rig] = []
    asked: list[int] = []
    follow, answered = Sparkplug._follow, Sparkplug._answered

    async def watched(self: Sparkplug, *arguments: Any) -> None:
        if armed:
            armed[0].relay.mute.clear()
        await follow(self, *arguments)

    async def noted(self: Sparkplug, *arguments: Any) -> None:
        if armed and not armed[0].relay.mute.is_set():
            asked.append(self.cursors["samples:plc"].watermark)
        await answered(self, *arguments)

    monkeypatch.setattr(Sparkplug, "_follow", watched)
    monkeypatch.setattr(Sparkplug, "_answered", noted)

    async def work(it: Rig) -> None:
        async def stands() -> int:
            await it.daemon.journal.commit(seal=True)
            return (await it.daemon.journal.cursors("sparkplug")).get("samples:plc", Cursor()).watermark

        async def reaches(number: int) -> None:
            async with asyncio.timeout(120):
                while await stands() < number:
                    await asyncio.sleep(0.02)

        await reaches(1)
        armed.append(it)
        await it.until(lambda: asked)
        await it.moves("temp", range(5))
        await stands()
        last = (await it.daemon.journal.streams())["samples:plc"]
        assert await stands() == asked[0] < last and len(asked) == 1
        armed.clear()
        it.relay.mute.set()
        await reaches(last)

    rig(tmp_path, broker, work, ", every: 10min")


def test_a_host_asks_for_a_rebirth(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        it.host.order(Metric("Node Control/Rebirth", datatype=BOOLEAN, kind="bool", value=False))
        it.host.order(Metric("Node Control/Reboot", datatype=BOOLEAN, kind="bool", value=True))
        it.host.client.publish("spBv1.0/hall/NCMD/press-4", b"\xff\xff no payload", 0)
        it.host.order(Metric("Node Control/Rebirth", datatype=BOOLEAN, kind="bool", value=True))
        await it.until(lambda: len(it.host.of("DBIRTH", "plc")) == 2 and len(it.host.of("DBIRTH", "virtual")) == 2)
        first, second = it.host.of("NBIRTH")
        assert second.payload.seq == 0 and named(first)["bdSeq"].value == named(second)["bdSeq"].value
        numbers = [m.payload.seq for m in it.host.came]
        again = it.host.came.index(second)
        assert numbers[again:] == [k % 256 for k in range(len(numbers) - again)]
        assert it.host.of("NDEATH") == []

    rig(tmp_path, broker, work)


def test_a_device_dies_and_comes_back(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        port = it.sim.port
        await it.sim.stop()
        await it.until(lambda: it.host.of("DDEATH", "plc"))
        (death,) = it.host.of("DDEATH", "plc")
        assert death.payload.metrics == [] and death.payload.seq is not None and death.payload.timestamp
        it.sim.port = port
        await it.sim.start()
        await it.until(lambda: len(it.host.of("DBIRTH", "plc")) == 2)
        kinds = [m.kind for m in it.host.came if m.device == "plc"]
        assert "DDATA" not in kinds[kinds.index("DDEATH") : len(kinds) - kinds[::-1].index("DBIRTH") - 1]
        assert len(it.host.of("NBIRTH")) == 1

    rig(tmp_path, broker, work)


def test_a_planned_end_says_so_and_a_killed_one_is_told_by_the_broker(
    tmp_path: Path, broker: Broker, process: list[Any]
) -> None:
    async def work(it: Rig) -> None:
        def sessions(kind: str) -> list[int]:
            return [named(m)["bdSeq"].value for m in it.host.of(kind)]

        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        await it.ends()
        await it.until(lambda: it.host.of("NDEATH"))
        site = tmp_path / "site.yaml"
        site.write_text(SITE.format(sim=it.sim.port, broker=it.broker.port, more=""))
        command = [sys.executable, "-m", "edge.cli", "run", site, "--state", tmp_path / "state"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process.append(await asyncio.to_thread(subprocess.Popen, command, text=True, **quiet))
        await it.until(lambda: len(it.host.of("NBIRTH")) == 2)
        process[0].kill()
        await it.until(lambda: 1 in sessions("NDEATH"))
        assert sessions("NBIRTH") == [0, 1]
        assert sorted(set(deaths := sessions("NDEATH"))) == [0, 1] and sorted(deaths) == deaths  # a will may repeat one

    rig(tmp_path, broker, work)


def test_everything_waits_for_the_primary_host(tmp_path: Path, broker: Broker) -> None:
    def state(it: Rig, online: bool, at: int) -> None:
        body = json.dumps({"online": online, "timestamp": at})
        it.host.client.publish("spBv1.0/STATE/scada", body, 1, retain=True)

    async def work(it: Rig) -> None:
        part = it.daemon.health.part("sparkplug")
        await it.until(lambda: part.reason == "the host scada is not online")
        await it.moves("temp", range(1, 5))
        it.host.client.publish("spBv1.0/STATE/scada", b"ONLINE", 1)  # of version 2.2
        before = it.daemon.clock.utc() // 10**6
        state(it, True, 1000)
        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        assert all((m.payload.timestamp or 0) >= before for m in it.host.came)
        state(it, False, 999)  # a last will that comes late
        await it.moves("temp", range(5, 10))
        await it.until(lambda: any(value == 9 for _, value, _ in it.host.samples("temp")))
        assert it.host.of("NDEATH") == []
        state(it, False, 2000)
        await it.until(lambda: it.host.of("NDEATH"))
        state(it, True, 3000)
        await it.until(lambda: len(it.host.of("DBIRTH", "plc")) == 2)
        assert (len(it.host.of("NBIRTH")), len(it.host.of("NDEATH"))) == (2, 1)

    rig(tmp_path, broker, work, ", every: 100ms, host: scada")


def test_our_own_driver_reads_it(tmp_path: Path, broker: Broker) -> None:
    reader = """
device: {{id: reader}}
drivers:
  node:
    driver: mqtt
    url: mqtt://127.0.0.1:{port}
    edge: hall/press-4/plc
    rebirth: true
    tags:
      temp: {{metric: temp}}
      bad: {{metric: bad}}
      excess: {{metric: excess, edge: hall/press-4/virtual}}
"""

    async def work(it: Rig) -> None:
        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        other = Daemon(load_text(reader.format(port=broker.port)), tmp_path / "other")
        await other.start()
        try:
            it.sim.set("temp", 71)
            await it.until(lambda: other.live.show("node.temp")["value"] == 71)
            await it.until(lambda: other.live.show("node.excess")["value"] == 11)
            await it.until(lambda: other.live.show("node.bad")["quality"] == "BAD")
            assert len(it.host.of("NBIRTH")) == 2  # it asked for one
            assert not other.health.part("node").counts["unreadable"]
            await it.ends()
            await it.until(lambda: other.live.show("node.temp")["quality"] == "TIMEOUT")
        finally:
            await other.stop()

    rig(tmp_path, broker, work)


def test_a_broker_that_takes_no_birth_says_so(tmp_path: Path) -> None:

    async def work(it: Rig) -> None:
        part = it.daemon.health.part("sparkplug")
        await it.until(lambda: part.state == "waiting")
        assert "bytes, and the broker takes 1,100 (raise its limit" in part.reason

    with Broker(tmp_path / "broker", "max_packet_size 1100") as broker:
        rig(tmp_path, broker, work)


# Bytes


def columns(rng: random.Random, n: int) -> tuple[np.ndarray, ...]:
    tag = np.array([rng.choice([1, 127, 128, 16383, 16384, 2**31 - 1]) for _ in range(n)], np.int32)
    ts = np.array([START + rng.randrange(10**15) for _ in range(n)], np.int64)
    value = np.array([rng.choice([0.0, -1.5, 1e300, math.nan, math.inf]) for _ in range(n)])
    quality = np.array([rng.choice(list(Quality)) for _ in range(n)], np.uint8)
    return tag, ts, value, quality


def test_columns_are_the_metrics_they_say() -> None:
    rng = random.Random(1)
    for n in (0, 1, 500):
        for historical in (False, True):
            tag, ts, value, quality = columns(rng, n)
            kinds = np.full(n, DOUBLE, np.uint8)
            said = decode_payload(say.payload(START, say.numbers(tag, ts, value, quality, kinds, historical), 7))
            assert (said.seq, said.timestamp, len(said.metrics)) == (7, START // 10**6, n)
            for m, t, at, v, q in zip(said.metrics, tag, ts, value, quality, strict=True):
                good = q <= Quality.SUBSTITUTED and math.isfinite(v)
                assert (m.alias, m.timestamp, m.historical, m.null) == (t, at // 10**6, historical, not good)
                assert m.value == (v if good else None) and not m.name and not m.datatype
                stale = q in (Quality.STALE, Quality.TIMEOUT, Quality.SUBSTITUTED)
                assert m.quality == (500 if stale else None if good else 0)


def test_texts_and_births_are_what_they_say() -> None:
    body = say.string(300, START, "schön", Quality.GOOD, True) + say.string(300, START, None, Quality.TIMEOUT, False)
    (held,) = say.fields(np.array([1.5]), np.array([Quality.GOOD]), np.array([DOUBLE]))
    body += say.birth("a/b", 5, "°C", START, held, Quality.GOOD, DOUBLE)
    body += say.birth("c", 6, "", START, say.words("x"), Quality.STALE, say.STRING)
    body += say.birth("d", 7, "bar", -START, b"", Quality.BAD, DOUBLE)
    first, second, third, fourth, fifth = decode_payload(say.payload(START, body, 1)).metrics
    assert (first.value, first.historical, first.quality) == ("schön", True, None)
    assert (second.null, second.value, second.quality) == (True, None, 500)
    assert (third.name, third.alias, third.datatype, third.value, third.quality) == ("a/b", 5, DOUBLE, 1.5, None)
    assert (fourth.datatype, fourth.value, fourth.quality) == (12, "x", 500)
    assert (fifth.null, fifth.quality, fifth.timestamp) == (True, 0, 0)  # before 1970 there is no time


BIG = 2.0**53
HELD: dict[str, tuple[list[float], list[float]]] = {  # what a type holds, and what it does not
    "bool": ([0, 1], [2, -1, 0.5]),
    "int8": ([-128, -1, 0, 127], [-129, 128, 0.5]),
    "int16": ([-32768, -1, 0, 32767], [-32769, 32768, 0.5]),
    "int32": ([-(2**31), -1, 0, 2**31 - 1], [-(2**31) - 1, 2**31, 0.5]),
    "int64": ([-BIG, -1, 0, BIG], [-BIG - 2, BIG + 2, 2.0**63, 0.5]),
    "uint8": ([0, 255], [-1, 256, 0.5]),
    "uint16": ([0, 65535], [-1, 65536, 0.5]),
    "uint32": ([0, 2**32 - 1], [-1, 2.0**32, 0.5]),
    "uint64": ([0, BIG], [-1, BIG + 2, 2.0**64, 0.5]),
    "float32": ([0, 0.5, -(2.0**127)], [0.1, 1e300, BIG + 2 + 2.0**30 + 2]),
    "float64": ([0, 0.1, 1e300, -1e-300], []),
}


@pytest.mark.parametrize("name", HELD)
def test_a_number_goes_as_its_own_type_or_not_at_all(name: str) -> None:
    yes, no = HELD[name]
    kind, n = say.DATATYPES[name], len(yes) + len(no)
    value, kinds = np.array(yes + no, float), np.full(n, say.DATATYPES[name], np.uint8)
    columns = np.arange(n) + 1, np.full(n, START), value, np.zeros(n, np.uint8), kinds
    came = decode_payload(say.payload(START, say.numbers(*columns, False), 1)).metrics
    bits = 64 if kind == say.INT64 else 32  # of the field
    got = [m.value - 2**bits if kind in say.SIGNED and m.value and m.value >> (bits - 1) else m.value for m in came]
    fields = {
        "float32": "float",
        "float64": "double",
        "bool": "bool",
        "int64": "long",
        "uint64": "long",
        "uint32": "long",
    }
    assert {m.kind for m in came if not m.null} == {fields.get(name, "int")}
    assert got == yes + [None] * len(no)
    assert [(m.null, m.quality) for m in came] == [(False, None)] * len(yes) + [(True, 0)] * len(no)
    assert [bool(held) for held in say.fields(value, np.zeros(n), kinds)] == [not m.null for m in came]


@pytest.mark.parametrize("name", HELD)
def test_an_order_is_understood_as_the_metric_s_type(name: str) -> None:
    yes, _ = HELD[name]
    kinds = np.full(len(yes), say.DATATYPES[name], np.uint8)
    columns = (
        np.arange(len(yes)) + 1,
        np.full(len(yes), START),
        np.array(yes, float),
        np.zeros(len(yes), np.uint8),
        kinds,
    )
    found = heard.orders(say.payload(START, say.numbers(*columns, False)))
    assert [(order.name, order.alias) for order in found] == [("", k + 1) for k in range(len(yes))]
    assert [heard.value_of(order, say.DATATYPES[name]) for order in found] == yes
    assert heard.value_of(heard.Order("x", 0, heard.WORDS, "1"), say.DATATYPES[name]) is None


def test_a_negative_order_is_understood_in_either_width() -> None:
    for field, sent in ((heard.INT, 2**32 - 5), (heard.INT, 2**16 - 5), (heard.LONG, 2**64 - 5)):
        assert heard.value_of(heard.Order("x", 0, field, sent), say.DATATYPES["int16"]) == -5
    (order,) = heard.orders(encode_payload(Payload(1, None, [Metric("x", datatype=4, kind="long", value=2**64 - 5)])))
    assert heard.value_of(order, DOUBLE) == -5
    assert heard.value_of(order, say.DATATYPES["uint16"]) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_an_order_or_refused(body: bytes) -> None:
    for read in (heard.asks_rebirth, heard.host_state, heard.orders):
        with contextlib.suppress(CodecFault):
            read(body)


# What was told


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1.0, 2.0, math.nan]), st.sampled_from(Quality))))
)
def test_only_what_a_host_sees_changed_is_news(blocks: list[list[tuple[int, float, Quality]]]) -> None:
    told, last = Told(4), {}
    for block in blocks:
        slots = np.array([slot for slot, _, _ in block], np.int64)
        batch = Batch.of("s", slots, [v for _, v, _ in block], range(len(block)), [q for _, _, q in block])
        expected = []
        for slot, value, quality in block:
            null = quality >= Quality.RANGE or math.isnan(value)
            stale = quality in (Quality.STALE, Quality.TIMEOUT, Quality.SUBSTITUTED)
            said = None if null else value, 500 if stale else 0 if null else 192
            expected.append(last.get(slot) != said)
            last[slot] = said
        assert told.news(slots, batch).tolist() == expected


def test_what_went_live_is_known_until_its_block_has_passed() -> None:
    said, rng = Said(), random.Random(2)
    went: set[tuple[int, int]] = set()
    for _ in range(20):
        tag = np.array(rng.sample(range(1, 50), 10), np.int32)
        ts = START + np.array([rng.randrange(10**9) for _ in range(10)])
        said.add("s", tag, ts)
        went |= set(zip(tag.tolist(), ts.tolist(), strict=True))
    some = [*rng.sample(sorted(went), 50), *((t, at + 1) for t, at in rng.sample(sorted(went), 50))]
    batch = Batch.of("s", [t for t, _ in some], np.zeros(100), [at for _, at in some])
    assert said.has("s", batch).tolist() == [pair in went for pair in some]
    assert not said.has("other", batch).any()
    said.forget("s", START + 10**10)
    assert not said.has("s", batch).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("group: a/b", "group"),
        ("node: 'a+b'", "node"),
        ('host: "a\\0b"', "host"),
        ("password: x", "a password without a user"),
        ("hst: x", "did you mean 'host'"),
    ],
)
def test_options_that_cannot_be(options: str, words: str) -> None:
    (problem,) = load_text(f'device: {{id: a}}\nsparkplug: {{url: "mqtt://x", {options}}}\n').problems
    assert words in str(problem)
