"""What the Sparkplug 3.0 specification wants of an edge node, over one life of a node on a real mosquitto: born, data, asked to be
born again, a device that dies and comes back, a line that is cut, an end. The table in docs/sparkplug.md says which statement
each test holds."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from drivers.mqtt.payload import Metric, Payload, decode_payload, encode_payload
from edge import Cursor, Quality, decode_event
from sync.device.sparkplug import Sparkplug
from tests.broker import Broker
from tests.northbound import PLC
from tests.sync import test_sparkplug as base
from tests.sync.test_sparkplug import Message, Rig, named

pytestmark = pytest.mark.system
SITE = (
    PLC
    + """\
      scaled: {{address: "holding:1", type: int16, scale: 0.1}}
      count: {{address: "holding:2", type: uint32}}
      total: {{address: "holding:4", type: int64}}
      flow: {{address: "holding:8", type: float32}}
      exact: {{address: "holding:10", type: float64}}
      on: {{address: "coil:0"}}
      recipe: {{address: "holding:20", type: text, length: 8, encoding: utf-8}}
      bad: {{address: "holding:30", type: float32}}
      setpoint: {{address: "holding:40", type: int16, writable: {{range: [-50, 80]}}}}
tags: {{excess: {{expression: "plc.temp - 60"}}}}
journal: {{block: 200ms, durable_within: 50ms}}
sparkplug: {{url: "mqtt://127.0.0.1:{broker}", group: hall{more}}}
"""
)
REBIRTH = Metric("Node Control/Rebirth", datatype=11, kind="bool", value=True)
DATA = ("NBIRTH", "DBIRTH", "NDATA", "DDATA")


class Life:
    """What came at a host, in order, and the CONNECT packets."""

    def __init__(self) -> None:
        self.came: list[Message] = []
        self.hellos: list[bytes] = []
        self.kept: list[str] = []  # topics that the broker keeps

    def of(self, *kinds: str) -> list[Message]:
        return [m for m in self.came if m.kind in kinds]

    def born(self) -> list[dict[str, Metric]]:
        """The births of the PLC."""
        return [named(m) for m in self.of("DBIRTH") if m.device == "plc"]

    def sessions(self) -> list[list[Message]]:
        """From each NBIRTH on, up to the next."""
        starts = [k for k, m in enumerate(self.came) if m.kind == "NBIRTH"]
        return [self.came[a:b] for a, b in itertools.pairwise([*starts, len(self.came)])]


async def live(it: Rig, out: Life) -> None:
    host = it.host
    await it.until(lambda: host.of("DBIRTH", "plc") and host.of("DBIRTH", "virtual"))
    it.sim.units[1].words["holding"][30] = 0x7FC0  # no number
    it.sim.set("recipe", "Öl 7")
    it.sim.set("on", 1)
    it.sim.set("total", -5)
    await it.moves("temp", range(1, 40))
    await it.until(lambda: any(value == 39 for _, value, _ in host.samples("temp")))
    host.order(REBIRTH)
    await it.until(lambda: len(host.of("DBIRTH", "plc")) == len(host.of("DBIRTH", "virtual")) == 2)
    port = it.sim.port
    await it.sim.stop()
    await it.until(lambda: host.of("DDEATH", "plc"))
    it.sim.port = port
    await it.sim.start()
    await it.until(lambda: len(host.of("DBIRTH", "plc")) == 3)
    it.relay.cut()
    await it.until(lambda: host.of("NDEATH"))
    await it.moves("temp", range(100, 110))
    it.relay.mend()
    await it.until(lambda: len(host.of("DBIRTH", "plc")) == 4 and len(host.of("DBIRTH", "virtual")) == 3)
    await it.until(lambda: any(value == 108 and historical for _, value, historical in host.samples("temp")))
    await it.moves("temp", range(200, 203))
    await it.until(lambda: any(value == 202 for _, value, _ in host.samples("temp")))
    await it.ends()
    await it.until(lambda: len(host.of("NDEATH")) == 2)
    out.came, out.hellos = list(host.came), list(it.relay.hellos)
    late = await asyncio.to_thread(base.Host, it.broker.port)
    await it.until(lambda: late.ready)
    out.kept = [m.kind for m in late.came]
    await asyncio.to_thread(late.close)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder, out = tmp_path_factory.mktemp("life"), Life()

    async def work(it: Rig) -> None:
        await live(it, out)

    with Broker(folder / "broker") as broker:
        base.rig(folder, broker, work, ", every: 100ms", SITE)
    return out


def will(packet: bytes) -> tuple[int, str, bytes]:
    """(flags, topic, body of the will) of an MQTT 5 CONNECT."""

    def varint(at: int) -> tuple[int, int]:
        value = 0
        for k in range(4):
            value |= (packet[at + k] & 0x7F) << 7 * k
            if packet[at + k] < 0x80:
                return value, at + k + 1
        raise AssertionError

    def block(at: int) -> tuple[bytes, int]:
        size = int.from_bytes(packet[at : at + 2], "big")
        return packet[at + 2 : at + 2 + size], at + 2 + size

    assert packet[0] == 0x10
    _, at = varint(1)
    name, at = block(at)
    assert (name, packet[at]) == (b"MQTT", 5)
    flags, at = packet[at + 1], at + 4
    size, at = varint(at)
    _, at = block(at + size)  # the client's name
    size, at = varint(at)
    topic, at = block(at + size)
    return flags, topic.decode(), block(at)[0]


def bdseq(message: Message) -> Any:
    return named(message)["bdSeq"].value


# The session


def test_the_will_is_the_death_of_this_session(life: Life) -> None:
    births = [session[0] for session in life.sessions()]
    said = [will(packet) for packet in life.hellos]
    assert len(said) == 2
    for (flags, topic, body), birth in zip(said, (births[0], births[-1]), strict=True):
        assert flags >> 2 & 1 and (flags >> 3 & 3, flags >> 5 & 1) == (1, 0)  # a will of QoS 1 that is not kept
        assert topic == "spBv1.0/hall/NDEATH/press-4"
        death = decode_payload(body)
        assert death.seq is None and [m.name for m in death.metrics] == ["bdSeq"]
        assert death.metrics[0].value == bdseq(birth)


def test_a_session_starts_clean(life: Life) -> None:
    assert all(will(packet)[0] >> 1 & 1 for packet in life.hellos)


def test_the_birth_of_the_node_comes_first(life: Life) -> None:
    assert life.came[0].kind == "NBIRTH"
    ends = [k for k, m in enumerate(life.came) if m.kind == "NDEATH"]
    assert life.came[ends[0] + 1].kind == "NBIRTH" and ends[-1] == len(life.came) - 1


def test_bdseq_goes_up_by_one_a_session_and_stays_over_a_rebirth(life: Life) -> None:
    """More than one where attempts to connect failed in between: their wills have numbers too."""
    first, again, last = [bdseq(m) for m in life.of("NBIRTH")]
    assert first == again == 0 < last and [bdseq(m) for m in life.of("NDEATH")] == [0, last]


def test_births_of_devices_follow_that_of_the_node_before_any_data(life: Life) -> None:
    for session in life.sessions():
        kinds = [(m.kind, m.device) for m in session]
        born = [kinds.index(("DBIRTH", device)) for device in ("plc", "virtual")]
        assert max(born) < min(k for k, (kind, _) in enumerate(kinds) if kind in ("DDATA", "NDATA", "NDEATH"))


def test_data_of_a_device_comes_only_while_it_is_born(life: Life) -> None:
    for device in ("plc", "virtual"):
        there = False
        for m in life.came:
            if m.kind in ("NBIRTH", "NDEATH") or (m.kind, m.device) == ("DDEATH", device):
                there = False
            elif (m.kind, m.device) == ("DBIRTH", device):
                there = True
            assert there or (m.kind, m.device) != ("DDATA", device)


def test_a_device_that_is_lost_dies(life: Life) -> None:
    deaths = life.of("DDEATH")
    assert [m.device for m in deaths] == ["plc"]
    assert all(m.payload.timestamp and m.payload.seq is not None and not m.payload.metrics for m in deaths)


def test_a_planned_end_says_its_own_death(life: Life) -> None:
    assert life.came[-1].kind == "NDEATH" and bdseq(life.came[-1]) == bdseq(life.of("NBIRTH")[-1])
    assert life.came[-1].payload.seq is None


# Messages


def test_numbers_start_at_zero_and_go_up_by_one(life: Life) -> None:
    for session in life.sessions():
        numbers = [m.payload.seq for m in session if m.kind != "NDEATH"]
        assert numbers == [k % 256 for k in range(len(numbers))]


def test_only_a_death_of_the_node_has_no_number(life: Life) -> None:
    assert all((m.payload.seq is None) == (m.kind == "NDEATH") for m in life.came)


def test_nothing_is_kept_and_data_goes_at_qos_0(life: Life) -> None:
    assert life.kept == []
    assert all(m.qos == 0 for m in life.came if m.kind != "NDEATH")


def test_every_message_and_metric_has_its_time_in_ms(life: Life) -> None:
    for m in life.came:
        assert 10**12 < (m.payload.timestamp or 0) < 10**13
        if m.kind in DATA:
            assert all(10**12 < (metric.timestamp or 0) < 10**13 for metric in m.payload.metrics)


# Metrics


def test_a_birth_names_metrics_and_data_their_aliases(life: Life) -> None:
    for m in life.of("DBIRTH"):
        assert all(metric.name and metric.alias for metric in m.payload.metrics)
    for m in life.of("DDATA"):
        assert all(metric.alias and not metric.name for metric in m.payload.metrics)


def test_an_alias_is_of_one_metric_of_the_node(life: Life) -> None:
    known: dict[int, tuple[str, str]] = {}
    for m in life.of("NBIRTH", "DBIRTH"):
        for metric in m.payload.metrics:
            if metric.alias is not None:
                assert known.setdefault(metric.alias, (m.device, metric.name)) == (m.device, metric.name)
    assert len(set(known.values())) == len(known) == 11


def test_data_is_only_of_what_the_birth_of_its_device_named(life: Life) -> None:
    names = {m.device: {metric.alias for metric in m.payload.metrics} for m in life.of("DBIRTH")}
    assert all({metric.alias for metric in m.payload.metrics} <= names[m.device] for m in life.of("DDATA"))


def test_a_metric_is_born_as_the_type_of_its_tag(life: Life) -> None:
    assert {name: metric.datatype for name, metric in life.born()[0].items()} == {
        "temp": 2,
        "scaled": 10,
        "count": 7,
        "total": 4,
        "flow": 9,
        "exact": 10,
        "on": 11,
        "recipe": 12,
        "bad": 9,
        "setpoint": 2,
    }


def test_a_value_comes_as_the_type_of_its_birth(life: Life) -> None:
    kinds = {2: "int", 4: "long", 7: "long", 9: "float", 10: "double", 11: "bool", 12: "string"}
    types = {m.alias: m.datatype for birth in life.of("DBIRTH") for m in birth.payload.metrics}
    seen = set()
    for message in life.of("DBIRTH", "DDATA"):
        for m in message.payload.metrics:
            assert m.null or m.kind == kinds[types[m.alias]]
            seen |= set() if m.null else {types[m.alias]}
    assert seen == set(kinds)
    last = life.born()[-1]
    assert (last["recipe"].value, last["on"].value, last["total"].value) == ("Öl 7", True, 2**64 - 5)


def test_a_birth_has_the_values_of_the_moment_and_what_is_none_is_null(life: Life) -> None:
    again = life.born()[1]
    assert again["temp"].value == 39 and not again["temp"].null
    assert (again["bad"].null, again["bad"].quality) == (True, 0)


def test_live_values_of_a_metric_are_in_the_order_of_time(life: Life) -> None:
    last: dict[int | None, int] = {}
    for m in life.of("DBIRTH", "DDATA"):
        for metric in m.payload.metrics:
            if not metric.historical:
                assert (metric.timestamp or 0) >= last.get(metric.alias, 0)
                last[metric.alias] = metric.timestamp or 0
        live = [x.timestamp or 0 for x in m.payload.metrics if not x.historical]
        assert live == sorted(live)


def test_only_what_changed_is_said(life: Life) -> None:
    for device in ("plc", "virtual"):
        last: dict[int | None, tuple[Any, ...]] = {}
        for m in life.came:
            if m.device == device and m.kind in ("DBIRTH", "DDATA"):
                for metric in (x for x in m.payload.metrics if not x.historical):
                    said = metric.value, metric.null, metric.quality
                    assert m.kind == "DBIRTH" or last.get(metric.alias) != said
                    last[metric.alias] = said


def test_what_was_kept_while_the_line_was_cut_is_historical(life: Life) -> None:
    number = life.born()[0]["temp"].alias
    late = [x for m in life.sessions()[-1] if m.kind == "DDATA" for x in m.payload.metrics if x.alias == number]
    assert {x.value for x in late if x.historical} >= set(range(100, 109))
    assert not any(x.historical for m in life.of("DBIRTH") for x in m.payload.metrics)


def test_a_quality_is_a_signed_number_of_three(life: Life) -> None:
    found = {m.quality for message in life.of("DBIRTH", "DDATA") for m in message.payload.metrics}
    assert found <= {None, 0, 500}


# Commands


def test_the_node_is_born_with_a_rebirth_that_is_false_and_has_no_alias(life: Life) -> None:
    for m in life.of("NBIRTH"):
        control = named(m)["Node Control/Rebirth"]
        assert (control.datatype, control.value, control.alias) == (11, False, None)


def test_a_rebirth_is_a_whole_one(life: Life) -> None:
    first, second = life.sessions()[:2]
    assert second[0].kind == "NBIRTH" and not any(m.kind == "NDEATH" for m in first)
    assert [(m.kind, m.device) for m in second[1:3]] == [("DBIRTH", "plc"), ("DBIRTH", "virtual")]


def test_from_a_rebirth_asked_for_to_the_birth_no_data_goes_out(
    tmp_path: Any, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has to wait, since the last birth was just now."""
    spoken: list[str] = []
    asked: list[int] = []
    turn, speak = Sparkplug._turn, Sparkplug._speak

    async def watched(self: Sparkplug, line: Any) -> None:
        if "DDATA" in spoken and not asked:
            asked.append(len(spoken))
            self._born_at = asyncio.get_running_loop().time()
            self._rebirth.set()
        await turn(self, line)

    def noted(self: Sparkplug, line: Any, kind: str, *rest: Any) -> int:
        spoken.append(kind)
        return speak(self, line, kind, *rest)

    monkeypatch.setattr(Sparkplug, "_turn", watched)
    monkeypatch.setattr(Sparkplug, "_speak", noted)

    async def work(it: Rig) -> None:
        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        count = 0
        while len(it.host.of("NBIRTH")) < 2:
            count += 1
            await it.moves("temp", range(count, count + 1))
        assert spoken[asked[0]] == "NBIRTH"

    base.rig(tmp_path, broker, work, ", every: 50ms", SITE)


def test_bdseq_goes_up_by_one_and_from_255_to_0(tmp_path: Any, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        await it.until(lambda: it.host.of("NBIRTH"))
        it.daemon.journal.moved("sparkplug", "bdseq", Cursor(254))
        for n in (1, 2, 3):
            await it.daemon.stop()
            await it.until(lambda n=n: len(it.host.of("NDEATH")) == n)
            await it.starts()
            await it.until(lambda n=n: len(it.host.of("NBIRTH")) == n + 1)
        assert [bdseq(m) for m in it.host.of("NBIRTH")] == [0, 254, 255, 0]
        assert [bdseq(m) for m in it.host.of("NDEATH")] == [0, 254, 255]

    base.rig(tmp_path, broker, work, ", every: 100ms", SITE)


def order(it: Rig, device: str, *metrics: Metric, retain: bool = False) -> None:
    body = encode_payload(Payload(1, None, list(metrics)))
    it.host.client.publish(f"spBv1.0/hall/DCMD/press-4/{device}", body, 0, retain)


async def written(it: Rig, n: int) -> list[tuple[str, str, Any]]:
    """(tag, state, value) of the first `n` events of writes."""
    found: list[tuple[str, str, Any]] = []

    async def look() -> bool:
        records = await it.daemon.journal.read("event", 0, 1000)
        events = [e for e in (decode_event(r.body) for r in records) if e.kind == "write"]
        found[:] = [(e.key, e.state, e.data.get("value")) for e in events]
        return len(found) >= n

    async with asyncio.timeout(120):
        while not await look():
            await asyncio.sleep(0.02)
    return found


def test_an_order_to_a_device_is_carried_out_where_the_site_allows_it(tmp_path: Any, broker: Broker) -> None:
    def point(name: str = "setpoint", **more: Any) -> Metric:
        return Metric(name, **({"datatype": 2, "kind": "int"} | more))

    async def work(it: Rig) -> None:
        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        alias = next(k for k, name in it.host.aliases().items() if name == "setpoint")
        slot = it.daemon.table.slot("plc.setpoint")
        order(it, "plc", point(value=42))
        await it.until(lambda: it.daemon.live.value[slot] == 42)
        order(it, "plc", point("", alias=alias, datatype=0, value=2**16 - 7))
        await it.until(lambda: it.daemon.live.value[slot] == -7)
        await it.until(lambda: any(value == 2**32 - 7 for _, value, _ in it.host.samples("setpoint")))
        for metric in (
            point(value=90),
            point("temp", value=1),
            point("nothing", value=1),
            point(kind="string", datatype=12, value="x"),
        ):
            order(it, "plc", metric)
        order(it, "virtual", point(value=3))
        found = await written(it, 7)
        assert found[:2] == [("plc.setpoint", "done", 42.0), ("plc.setpoint", "done", -7.0)]
        assert {state for _, state, _ in found[2:]} == {"refused"}
        keys = ["plc.nothing", "plc.setpoint", "plc.setpoint", "plc.temp", "virtual.setpoint"]
        assert sorted(key for key, _, _ in found[2:]) == keys
        order(it, "plc", point(value=5), retain=True)  # not kept yet: an order like any other
        await it.until(lambda: it.daemon.live.value[slot] == 5)
        order(it, "plc", point(value=6))
        await it.until(lambda: it.daemon.live.value[slot] == 6)
        it.relay.cut()
        await it.until(lambda: it.host.of("NDEATH"))
        it.relay.mend()
        await it.until(lambda: len(it.host.of("DBIRTH", "plc")) == 2)
        await it.moves("temp", range(700, 705))
        assert it.daemon.live.value[slot] == 6  # the broker kept one, which is of another time

    base.rig(tmp_path, broker, work, ", every: 100ms, writes: true", SITE)


def test_an_order_is_refused_and_told_where_the_site_allows_none(tmp_path: Any, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        await it.until(lambda: it.host.of("DBIRTH", "plc"))
        for value in (42, 43, 44):
            order(it, "plc", Metric("setpoint", datatype=2, kind="int", value=value))
        part = it.daemon.health.part("sparkplug")
        await it.until(lambda: part.counts["orders_refused"] == 3)
        assert await written(it, 1) == [("plc.setpoint", "refused", 42)]
        assert it.daemon.live.quality[it.daemon.table.slot("plc.setpoint")] == Quality.GOOD
        assert it.sim.units[1].words["holding"][40] == 0

    base.rig(tmp_path, broker, work, ", every: 100ms", SITE)
