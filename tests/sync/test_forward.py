"""Everything reaches a real broker, whatever becomes of it in between."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge import SECOND, Batch, ConfigFault, Cursor, DeviceLost, Event, Quality, decode, retention, rows
from edge.apply import apply_site
from edge.config.load import load_text
from edge.tags import Tag
from sync import wire
from sync.device.forward import MOST_SAMPLES
from sync.mqtt_line import Line, trusting
from tests import northbound
from tests.broker import Broker, certificates
from tests.northbound import PLC
from tests.relay import Relay

pytestmark = pytest.mark.system
SITE = (
    PLC
    + """\
      bad: {{address: "holding:9", type: float32}}
journal: {{block: 200ms, durable_within: 50ms}}
forward: {{url: "mqtt://127.0.0.1:{broker}"{more}}}
"""
)


START = 1_800_000_000 * SECOND


class Listener:
    """A durable subscriber: what came, by topic."""

    def __init__(self, port: int) -> None:
        self.came: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda c, *_: c.subscribe("#", 1)
        ready: list[int] = []
        self._client.on_subscribe = lambda *_: ready.append(1)
        self._client.on_message = lambda c, u, m: self.came.append((m.topic, m.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.ready = ready

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in list(self.came)]

    def samples(self, tag: str) -> Counter[int]:
        """How often each time stamp of a tag came."""
        return Counter(
            t for m in self.messages() for tags in m.get("tags", ()) if tags["tag"] == tag for t in tags["t"]
        )

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Rig(northbound.Rig):
    """With a listener at the broker."""

    async def far_side(self) -> int:
        self.listener = await asyncio.to_thread(Listener, self.broker.port)
        await self.until(lambda: self.listener.ready)
        return self.broker.port

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        await asyncio.to_thread(self.listener.close)

    async def whole(self) -> Counter[int]:
        """Stop reading and wait until as many samples came as the journal holds."""
        await self.daemon._end(self.daemon.drivers.values())
        await self.daemon.journal.commit(seal=True)
        sealed = await self.daemon.journal.ask(lambda db: next(db.execute("SELECT sum(n) FROM block"))[0])
        await self.until(
            lambda: len(self.listener.samples("plc.temp")) + len(self.listener.samples("plc.bad")) == sealed
        )
        return self.listener.samples("plc.temp")


def rig(folder: Path, broker: Broker, work: Callable[[Rig], Awaitable[None]], more: str = "") -> None:
    async def main() -> None:
        async with Rig(folder, broker, SITE, more) as it:
            await work(it)

    asyncio.run(main())


def test_samples_and_events_come_as_json(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        it.sim.set("temp", 21)
        it.sim.units[1].words["holding"][9] = 0x7FC0  # no number
        it.daemon.accept(Event("note", "hand", "said", text="schön", data={"score": float("nan")}))
        await it.until(lambda: any(m.get("key") == "hand" for m in it.listener.messages()))
        await it.until(lambda: any(21 in t["v"] for m in it.listener.messages() for t in m.get("tags", ())))
        times = await it.whole()
        assert set(times.values()) == {1}
        topics = {topic for topic, _ in it.listener.came}
        assert topics == {"lineside/press-4/plc", "lineside/press-4/event"}
        note = next(m for m in it.listener.messages() if m.get("key") == "hand")
        assert note["data"] == {"score": None}
        assert note["text"] == "schön" and note["stream"] == "event" and note["device"] == "press-4"
        last = [m for m in it.listener.messages() if "tags" in m][-1]
        temp, bad = sorted(last["tags"], key=lambda t: t["tag"], reverse=True)
        assert (temp["tag"], temp["unit"], temp["q"]) == ("plc.temp", "°C", "GOOD")
        assert len(temp["t"]) == len(temp["v"]) and bad["v"][-1] is None and bad["q"] == "RANGE"

    rig(tmp_path, broker, work)


def test_a_broker_that_goes_and_a_daemon_that_restarts_lose_nothing(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        await it.until(lambda: it.listener.samples("plc.temp"))
        await asyncio.to_thread(broker.stop)
        await it.until(lambda: it.daemon.health.part("forward").state == "waiting")
        before = it.daemon.journal.totals.durable
        await it.until(lambda: it.daemon.journal.totals.durable > before + 60)
        await it.daemon.stop()
        await it.starts()
        await asyncio.to_thread(broker.start)
        times = await it.whole()
        assert len(times) > 20

    rig(tmp_path, broker, work)


def test_frames_are_the_bytes_that_the_plane_gets(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        def blocks() -> list[wire.Frame]:
            frames = [frame for _, body in list(it.listener.came) for frame in wire.unpack(body)]
            return [frame for frame in frames if frame.stream == "samples:plc"]

        await it.until(lambda: len(blocks()) >= 2)
        first = blocks()[0]
        assert first.seq == 1 and first.epoch == it.daemon.journal.epoch
        assert len(decode("plc", first.body)) == first.n

    rig(tmp_path, broker, work, ', format: frames, topic: "a/{source}"')


def test_large_blocks_go_in_small_messages_and_the_cursor_follows_each(tmp_path: Path, broker: Broker) -> None:
    """No message is above the 128 kB that some brokers take, all parts come in order."""

    async def work(it: Rig) -> None:
        await it.until(lambda: it.listener.samples("plc.temp"))
        await it.daemon._end([*it.daemon.drivers.values(), *it.daemon.readers.values()])
        journal, moved, n = it.daemon.journal, [], 50_000
        await journal.commit(seal=True)  # what was read before is in no block of these
        numbers = np.arange(n)
        for k in range(3):
            at = START + 1_000_000 * (numbers + k * n)
            batch = Batch.of("plc", np.full(n, it.daemon.table["plc.temp"].id), numbers + 0.1, at, numbers % 3)
            journal.append([batch])
            await journal.commit(seal=True)
        last, keep = (await journal.streams())["samples:plc"], journal.moved
        journal.moved = lambda name, stream, cursor: (  # type: ignore[method-assign]
            moved.append(cursor.watermark) if stream == "samples:plc" else None,
            keep(name, stream, cursor),
        )
        it.daemon._start_reader("forward")
        await it.until(lambda: last in moved)
        assert {last - 2, last - 1} <= set(moved) and moved == sorted(moved)

        def parts() -> list[tuple[int, int]]:
            blocks = [m for m in it.listener.messages() if m.get("tags") and m["tags"][0]["t"][0] >= START]
            return [(m["seq"], m["part"]) for m in blocks]

        await it.until(lambda: len(parts()) >= 3 * n // MOST_SAMPLES)
        assert parts() == [(last - 2 + k, part) for k in range(3) for part in range(n // MOST_SAMPLES)]
        assert max(len(body) for _, body in it.listener.came) < 128_000

    rig(tmp_path, broker, work)


def test_the_cursor_waits_for_the_answer_and_what_is_repeated_can_be_told(tmp_path: Path, broker: Broker) -> None:
    """The broker takes a block and hands it on; its answer does not come back."""

    async def work(it: Rig) -> None:
        await it.until(lambda: it.listener.samples("plc.temp"))
        await it.daemon._end([*it.daemon.drivers.values(), *it.daemon.readers.values()])
        journal, temp = it.daemon.journal, it.daemon.table["plc.temp"].id
        relay = Relay(it.broker.port)
        await relay.start()
        journal.append([Batch.of("plc", [temp], [1.0], START)])
        await journal.commit(seal=True)

        async def stands() -> int:
            await journal.commit()
            return (await journal.cursors("forward")).get("samples:plc", Cursor()).watermark

        last, before = (await journal.streams())["samples:plc"], await stands()
        url = {"url": f"mqtt://127.0.0.1:{relay.port}"}
        it.daemon.config.sections["forward"] = it.site.sections["forward"].model_copy(update=url)
        publish = Line.publish

        async def muted(self: Line, topic: str, *rest: Any) -> bool:
            if topic.endswith("/plc"):
                relay.mute.clear()
            return await publish(self, topic, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Line, "publish", muted)
            it.daemon._start_reader("forward")
            await it.until(lambda: it.listener.samples("plc.temp")[START] == 1)
            assert await stands() == before < last
            await it.daemon._end(it.daemon.readers.values())
            relay.cut()
            relay.mute.set()
        relay.mend()
        it.daemon._start_reader("forward")
        await it.until(lambda: it.listener.samples("plc.temp")[START] == 2)
        async with asyncio.timeout(120):
            while await stands() < last:
                await asyncio.sleep(0.02)
        blocks = [m for m in it.listener.messages() if m.get("tags") and START in m["tags"][0]["t"]]
        first, again = [(m["epoch"], m["stream"], m["seq"], m["part"]) for m in blocks]
        assert first == again
        relay.close()

    rig(tmp_path, broker, work)


def test_a_broker_that_is_frozen_holds_up_nobody_else(tmp_path: Path, broker: Broker) -> None:
    other = Broker(tmp_path / "other")
    other.start()

    async def work(it: Rig) -> None:
        listener = await asyncio.to_thread(Listener, other.port)
        await it.until(lambda: it.listener.samples("plc.temp") and listener.ready)
        broker.freeze()
        try:
            slot = it.daemon.table.slot("plc.temp")
            for value in range(100, 103):
                count = len(listener.came)
                it.sim.set("temp", value)
                await it.until(lambda value=value: it.daemon.live.value[slot] == value)
                await it.until(lambda count=count: any("DDATA" in topic for topic, _ in listener.came[count:]))
            assert (await it.daemon.journal.backlog("forward"))["samples"] > 0
        finally:
            broker.thaw()
            await asyncio.to_thread(listener.close)

    try:
        rig(tmp_path, broker, work, f'}}\nsparkplug: {{url: "mqtt://127.0.0.1:{other.port}", every: 50ms')
    finally:
        other.stop()


def test_what_the_journal_gave_up_before_it_went_is_told(tmp_path: Path, broker: Broker) -> None:
    def lose(db: Any) -> None:
        rows.add_events(db, retention.give_up(db, {"forward"}, START, lambda: False), START)

    async def work(it: Rig) -> None:
        await it.until(lambda: it.listener.samples("plc.temp"))
        await it.daemon._end([*it.daemon.drivers.values(), *it.daemon.readers.values()])
        journal, temp = it.daemon.journal, it.daemon.table["plc.temp"].id
        journal.append([Batch.of("plc", [temp] * 3, [1, 2, 3], START + np.arange(3) * SECOND)])
        await journal.commit(seal=True)
        await journal.on_writer(lose)
        it.daemon._start_reader("forward")
        await it.until(lambda: [m for m in it.listener.messages() if m.get("kind") == "gap" and m["key"] == "plc"])
        gap = next(m for m in it.listener.messages() if m.get("kind") == "gap" and m["key"] == "plc")
        assert gap["state"] == "evicted" and gap["data"]["to"] == START + 2 * SECOND and gap["data"]["samples"] >= 3

    rig(tmp_path, broker, work)


def test_values_that_json_has_no_word_for_are_null_and_times_are_as_they_were(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        await it.until(lambda: it.listener.samples("plc.temp"))
        await it.daemon._end(it.daemon.drivers.values())
        temp = it.daemon.table["plc.temp"].id
        value = [0.1, -0.0, 1e300, np.inf, -np.inf, np.nan, 2.0**53, 5e-324]
        times = [-1, -(10**18), START, START + 1, START - 5, 0, 1, 2]
        quality = [0, 1, 2, 4, 4, 8, 0, 3]
        it.daemon.journal.append([Batch.of("plc", [temp] * 8, value, times, quality)])
        await it.daemon.journal.commit(seal=True)

        def found() -> list[dict[str, Any]]:
            return [tags for m in it.listener.messages() for tags in m.get("tags", ()) if -1 in tags["t"]]

        await it.until(found)
        (tags,) = found()
        assert tags["t"][-8:] == times and tags["v"][-8:] == [0.1, -0.0, 1e300, None, None, None, 2.0**53, 5e-324]
        assert tags["q"][-8:] == [Quality(q).name for q in quality]

    rig(tmp_path, broker, work)


def test_a_record_that_cannot_be_read_is_told(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        await it.until(lambda: it.listener.samples("plc.temp"))
        await it.daemon._end([*it.daemon.drivers.values(), *it.daemon.readers.values()])
        journal, body = it.daemon.journal, b"of a version that is not known here"
        journal.append([Batch.of("plc", [it.daemon.table["plc.temp"].id], [1.0], START)])
        await journal.commit(seal=True)
        last = (await journal.streams())["samples:plc"]
        other = (body, zlib.crc32(body), last)
        await journal.on_writer(lambda db: db.execute("UPDATE block SET body = ?, crc = ? WHERE seq = ?", other))
        it.daemon._start_reader("forward")
        await it.until(lambda: any("left_out" in m for m in it.listener.messages()))
        (told,) = [m for m in it.listener.messages() if "left_out" in m]
        assert (told["stream"], told["seq"], told["left_out"]) == ("samples:plc", last, "unreadable")
        assert told["from"] <= told["to"] and told["samples"] > 0
        assert it.daemon.health.part("forward").counts["unreadable"] == 1

    rig(tmp_path, broker, work)


def test_samples_wait_for_the_names_of_their_tags(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        await it.until(lambda: it.listener.samples("plc.temp"))
        await it.daemon._end(it.daemon.drivers.values())
        journal, n = it.daemon.journal, wire.MOST_FRAMES + 50
        ids = await asyncio.to_thread(journal.tag_ids, [Tag(f"many.t{i}", source="many") for i in range(n)])
        journal.append([Batch.of("many", ids, np.arange(n), START)])
        await journal.commit(seal=True)

        def names() -> list[str]:
            return [tags["tag"] for m in it.listener.messages() if m["stream"] == "samples:many" for tags in m["tags"]]

        await it.until(lambda: len(names()) >= n)
        assert sorted(names()) == sorted(f"many.t{i}" for i in range(n))

    rig(tmp_path, broker, work)


def test_a_broker_whose_certificate_is_not_trusted_is_named(tmp_path: Path) -> None:
    certificates(tmp_path)
    keys = (("cafile", "ca.pem"), ("certfile", "broker.pem"), ("keyfile", "broker.key"))
    broker = Broker(tmp_path / "broker", *(f"{k} {tmp_path / v}" for k, v in keys), "require_certificate true")

    async def work() -> None:
        with pytest.raises(DeviceLost, match=r"the broker at .* is not trusted: .*check `ca`"):
            await Line(f"mqtts://127.0.0.1:{broker.port}", "a").open()
        with pytest.raises(DeviceLost, match="the broker at"):  # wants a certificate of ours
            line = Line(f"mqtts://127.0.0.1:{broker.port}", "a", context=trusting(str(tmp_path / "ca.pem")))
            await line.open()
            await line.publish("a", b"1")
        ours = (str(tmp_path / name) for name in ("ca.pem", "broker.pem", "broker.key"))
        line = Line(f"mqtts://127.0.0.1:{broker.port}", "a", context=trusting(*ours))
        await line.open()
        await line.publish("a", b"1")
        line.close()
        (tmp_path / "odd.pem").write_text("nothing")
        with pytest.raises(ConfigFault, match=r"the certificates cannot be read: .*check `ca`"):
            trusting(str(tmp_path / "odd.pem"))
        with pytest.raises(DeviceLost, match=r"at 127\.0\.0\.1:1: Connection refused"):
            await Line("mqtt://127.0.0.1:1", "a").open()

    with broker:
        asyncio.run(work())


def test_what_is_larger_than_the_broker_takes_is_left_out_and_said(tmp_path: Path, caplog: Any) -> None:
    async def work(it: Rig) -> None:
        it.daemon.accept(Event("note", "large", "said", data={"much": "x" * 30_000}))
        it.daemon.accept(Event("note", "small", "said"))
        await it.until(lambda: any(m.get("key") == "small" for m in it.listener.messages()))
        assert it.daemon.health.part("forward").counts["too_large"] == 1
        assert not any(m.get("key") == "large" for m in it.listener.messages())
        (told,) = [m for m in it.listener.messages() if "left_out" in m]
        assert (told["stream"], told["left_out"], told["bytes"] > 30_000) == ("event", "too_large", True)
        assert "too large: event" in caplog.text and "the broker takes 20,000" in caplog.text

    with Broker(tmp_path / "broker", "max_packet_size 20000") as broker:
        rig(tmp_path, broker, work)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("password: x", "a password without a user"),
        ("ca: setup.cfg", "certificates say nothing without TLS"),
        ("certificate: setup.cfg", "certificate and key belong together"),
        ("key: none.pem", "there is no none.pem"),
        ('topic: "{device.x}"', "only {device} and {source} are filled in"),
    ],
)
def test_options_that_cannot_be(options: str, words: str) -> None:
    (problem,) = load_text(f'device: {{id: a}}\nforward: {{url: "mqtt://x", {options}}}\n').problems
    assert words in str(problem)


def test_apply_names_a_reader_that_comes_and_goes(tmp_path: Path, broker: Broker) -> None:
    async def work(it: Rig) -> None:
        path = tmp_path / "site.yaml"
        text = SITE.format(sim=it.sim.port, broker=broker.port, more="")
        path.write_text(text.partition("forward:")[0])
        assert await apply_site(it.daemon, path, trial=0) == ["forward: stopped"]
        path.write_text(text)
        assert await apply_site(it.daemon, path, trial=0) == ["forward: started"]

    rig(tmp_path, broker, work)


def test_a_broker_that_refuses_says_so(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic read #\n")

    async def work(it: Rig) -> None:
        def reason() -> str:
            return it.daemon.health.part("forward").reason

        await it.until(lambda: "does not take it: Not authorized (check its access rules)" in reason())
        assert await it.daemon.journal.backlog("forward") != {"records": 0, "samples": 0}

    with Broker(tmp_path / "broker", f"acl_file {tmp_path / 'acl'}") as broker:
        rig(tmp_path, broker, work)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("http://x", "is no broker; write mqtt://"),
        ("mqtt://x:99999", "is no broker"),
        ("mqtt://me:pw@x", "user and password have options of their own"),
    ],
)
def test_an_url_that_is_none_is_refused(option: str, words: str) -> None:
    (problem,) = load_text(f'device: {{id: a}}\nforward: {{url: "{option}"}}\n').problems
    assert words in str(problem) and ":2:" in str(problem) and "pw" not in str(problem).replace("password", "")


def test_a_topic_nobody_can_publish_to_is_refused() -> None:
    (problem,) = load_text('device: {id: a}\nforward: {url: "mqtt://x", topic: "a/#"}\n').problems
    assert "has no # and no +" in str(problem)
