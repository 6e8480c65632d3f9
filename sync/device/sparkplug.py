"""A reader that is a Sparkplug B edge node (specification 3.0): what is new goes at once, what nobody saw follows as history."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from edge import CodecFault, Cursor, DeviceLost, Host, Period, Quality, Record, TagTable, decode, last_numbers, log

from ..broker import BrokerConfig
from ..either import either
from ..mqtt_line import HEAD, UNANSWERED, Refused, trusting
from . import sparkplug_heard as heard
from . import sparkplug_payload as say
from .mqtt_node import NodeLine
from .sparkplug_gaps import Gaps
from .sparkplug_orders import Orders
from .sparkplug_said import Said, Told

NAME, NAMESPACE = "sparkplug", "spBv1.0"
AT_ONCE, MOST_BYTES = 8, 32_000  # blocks, and bytes of them, between two answers that move the cursor
MOST_SAMPLES = 2_000  # in one message: below the 128 kB that some brokers take
MOST_TEXTS = 100  # likewise
REBIRTHS = 1.0  # seconds between two births that a host asks for
BORN_AT_ONCE = 500  # metrics of a birth between two turns of others
NOT_CARRIED = ("tag", "text", "picture")
SESSIONS = "bdseq"  # the cursor that counts sessions


class SparkplugConfig(BrokerConfig):
    """Which broker this device is a Sparkplug B edge node of; each source of the site is a device below it."""

    group: str = Field("lineside", pattern=r"^[^/+#\s\x00-\x1f\x7f]{1,64}$", description="group of the node")
    node: str = Field(
        "", pattern=r"^[^/+#\s\x00-\x1f\x7f]{0,64}$", description="name of the node (default: `device: {id}`)"
    )
    host: str = Field(
        "",
        pattern=r"^[^/+#\s\x00-\x1f\x7f]{0,64}$",
        description="primary host: while it is not online, everything waits here",
    )
    every: Period = Field(1.0, description="how often what changed goes out; what lay between follows as history")
    writes: bool = Field(False, description="whether hosts may order what is `writable`, too")


class Sparkplug:
    """Nothing is said twice, except after a stop or a break in between. Messages go at quality of service 0, as the specification
    wants it; whether the broker has them is seen by its answer to a subscription that is sent behind them, and only then the
    cursor moves."""

    def __init__(self, config: SparkplugConfig, host: Host) -> None:
        self.config, self.host = config, host
        self.cursors: dict[str, Cursor] = {}
        self._node = config.node or host.config.device.id
        self._rebirth = asyncio.Event()
        self._live: Any = None  # the newest values, and their tags
        self._table = TagTable()
        self._said, self._told = Said(), Told(0)  # live, and as history
        self._online, self._state_at = asyncio.Event(), 0  # the primary host, and when it said so (ms)
        self._born: set[str] = set()
        self._born_at = self._live_at = 0.0  # by the loop's time
        self._seq = 0
        self._orders, self._gaps = Orders(config.writes, host), Gaps(0)

    def _wire(self, live: Any) -> None:
        self._told = self._told.under(self._table, live.table)
        self._live, self._table = live, live.table
        self._source = np.array([tag.source for tag in live.table], object)
        self._is_text = np.array([tag.type == "text" for tag in live.table], bool)
        self._datatype = np.array([say.DATATYPES.get(tag.fits, say.DOUBLE) for tag in live.table], np.uint8)

    async def run(self) -> None:
        journal, clock, c = self.host.journal, self.host.clock, self.config
        self.cursors = await journal.cursors(NAME)
        begun = self.cursors.get(SESSIONS, Cursor()).watermark
        self._mark(SESSIONS, begun + 1)
        await journal.commit()
        self._session, self._born, self._gaps = begun % 256, set(), Gaps(self._after("event"))
        will = self._topic("NDEATH"), say.payload(clock.utc(), say.session(self._session, clock.utc()))
        context = trusting(c.ca, c.certificate, c.key) if c.url.startswith("mqtts:") else None
        name = f"lineside-{self.host.config.device.id}-node-{journal.epoch[:6]}"
        line = NodeLine(c.url, name, c.user, c.password, context, will, self._heard)
        self._serving = asyncio.create_task(self._orders.serve())
        try:
            await line.open()
            await line.subscribe(self._topic("NCMD"))
            with (
                contextlib.nullcontext() if c.writes else contextlib.suppress(Refused)
            ):  # else only to say that none are taken
                await line.subscribe(self._topic("DCMD", "+"))
            if c.host:
                await self._host_comes(line)
            await self._bear(line)
            self.host.health.state(NAME, "running")
            while self._online.is_set() or not c.host:
                await self._turn(line)
            raise DeviceLost(f"the host {c.host} is not online")
        finally:
            self._serving.cancel()
            if line.lost is None and self._born:  # an end that is wanted: the broker will not publish the will
                line.say(self._topic("NDEATH"), will[1])
            line.close()

    async def _host_comes(self, line: NodeLine) -> None:
        """Births wait for the primary host (5.4); what it said last the broker has kept."""
        self._online.clear()
        self._state_at = 0
        await line.subscribe(f"{NAMESPACE}/STATE/{self.config.host}", kept=True)
        self.host.health.state(NAME, "waiting", f"the host {self.config.host} is not online")
        await either(self._online, line.broken)

    async def _turn(self, line: NodeLine) -> None:
        """Births where they are due, what is new, then some history; where there is none, wait for one of these. From the moment
        in which a host asks for a rebirth until that no data goes out (6.4.19)."""
        news, now = self.host.journal.news, asyncio.get_running_loop().time  # taken before we look
        wanted = self._rebirth.is_set() and now() >= self._born_at + REBIRTHS
        if wanted or self._live is not self.host.live:
            await self._bear(line)
        quiet = self._rebirth.is_set()
        if now() >= self._live_at and not quiet:
            await self._devices(line)
            await self._newest(line)
        if self._serving.done():
            self._serving.result()
        if quiet or not await self._history(line):
            asked = self._rebirth.is_set()
            due = self._born_at + REBIRTHS if asked else self._live_at
            waits = [news, line.broken, self._serving, *([] if asked else [self._rebirth])]
            await either(*waits, timeout=max(0.0, due - now()))

    # Births and deaths (5.4 to 5.6, 6.4.19 to 6.4.26)

    async def _bear(self, line: NodeLine) -> None:
        """The node, then every device that answers."""
        now, self._seq = self.host.clock.utc(), 255
        self._rebirth.clear()
        self._born_at = asyncio.get_running_loop().time()
        if self._live is not self.host.live:  # a new site
            self._wire(self.host.live)
        self._born = {""}
        self._speak(line, "NBIRTH", "", say.session(self._session, now) + say.rebirth(now))
        await self._devices(line)

    async def _devices(self, line: NodeLine) -> None:
        """A DBIRTH for each that came, a DDEATH for each that went."""
        told = []
        for source in sorted(set(self._source)):
            part = self.host.health.parts.get(source)
            there = source not in self.host.config.drivers or (part is not None and part.state == "running")
            if there and source not in self._born:
                told.append((source, *await self._bear_device(line, source)))
            elif not there and source in self._born:
                self._speak(line, "DDEATH", source)
                self._born.discard(source)
        if told:
            await self._answered(line, told)

    async def _bear_device(self, line: NodeLine, source: str) -> tuple[np.ndarray, np.ndarray]:
        """Its tags, and of when the values are that this tells: along time, as in all that is told live (5.16)."""
        live, texts, now = self._live, self._table.texts, self.host.clock.utc()
        slots = np.flatnonzero(self._source == source)
        slots = slots[np.argsort(np.where(live.ts[slots] == 0, now, live.ts[slots]), kind="stable")]
        ts, value, quality, kinds = live.ts[slots], live.value[slots], live.quality[slots], self._datatype[slots]
        self._said.saw(live, slots)
        quality = np.where(ts == 0, np.uint8(Quality.BAD), quality)  # nothing came yet
        null, held = say.is_null(value, quality), say.fields(value, quality, kinds)
        tags, metrics = list(self._table), bytearray()
        for i, tag in enumerate(tags[slot] for slot in slots.tolist()):
            if kinds[i] == say.STRING and not null[i] and (text := texts.show(value[i])) is not None:
                held[i] = say.words(text)
            known, name = int(ts[i]) or now, metric_name(tag.name, source)
            metrics += say.birth(name, tag.id, tag.unit, known, held[i], int(quality[i]), int(kinds[i]))
            if i % BORN_AT_ONCE == BORN_AT_ONCE - 1:
                await asyncio.sleep(0)
        self._speak(line, "DBIRTH", source, bytes(metrics))
        self._born.add(source)
        return live.tag[slots], ts

    async def _answered(self, line: NodeLine, told: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> None:
        """Wait until the broker has all that was said; these (source, tags, times) among it need not be said again."""
        await line.subscribe(self._topic("NCMD"))
        for source, tag, ts in told:
            self._said.add(source, tag, ts)

    def _heard(self, topic: str, body: bytes, kept: bool) -> None:
        try:
            if topic == f"{NAMESPACE}/STATE/{self.config.host}":
                online, at = heard.host_state(body)
                if at >= self._state_at:  # else the last will of an older session, that came late
                    self._state_at = at
                    (self._online.set if online else self._online.clear)()
            elif topic == self._topic("NCMD") and not kept and heard.asks_rebirth(body):
                self._rebirth.set()
            elif topic.startswith(self._topic("DCMD") + "/") and not kept:
                self._orders.take(topic.rpartition("/")[2], heard.orders(body))
        except CodecFault as fault:
            self.host.health.count(NAME, "unreadable")
            log.warning("%s: a message on %s is left out: %s", NAME, topic[:200], fault)

    # What is new

    async def _newest(self, line: NodeLine) -> None:
        """What changed since the last time."""
        self._live_at = asyncio.get_running_loop().time() + self.config.every
        live, told = self._live, []
        slots = self._said.news(live)
        for source in sorted(self._born & set(self._source[slots])):
            rows = slots[self._source[slots] == source]
            rows = rows[np.argsort(live.ts[rows], kind="stable")]
            columns = live.tag[rows], live.ts[rows], live.value[rows], live.quality[rows]
            await self._data(line, source, *columns, historical=False)
            told.append((source, columns[0], columns[1]))
        if told:
            await self._answered(line, told)

    # What nobody saw

    async def _history(self, line: NodeLine) -> bool:
        """Some blocks of every device that is there; false when there was nothing."""
        journal, found = self.host.journal, False
        newest = await journal.ask(last_numbers)
        for stream in NOT_CARRIED:
            self._mark(stream, newest.get(stream, 0))
        known = set(self._source)
        await self._lost(line, newest.get("event", 0), known)
        for stream in sorted(name for name in newest if name.startswith("samples:")):
            source = stream.removeprefix("samples:")
            if source not in known:
                self.host.health.count(NAME, "no_such_tag", newest[stream] - self._after(stream))
                self._mark(stream, newest[stream])  # it left the site: no birth names it
            elif source in self._born and (
                records := await journal.read(stream, self._after(stream), AT_ONCE, MOST_BYTES)
            ):
                found = True
                await self._follow(line, source, records)
        return found

    async def _lost(self, line: NodeLine, newest: int, known: set[str]) -> None:
        """What the journal gave up before this node could say it: the metrics of that device were stale then, as history."""
        gaps = self._gaps
        while gaps.seen < newest and not gaps.full:
            records = await self.host.journal.read("event", gaps.seen, 256)
            gaps.take(records, self._after)
            gaps.seen = gaps.seen if records else newest
        for source in gaps.sources - known:
            gaps.told(source)
        for source in sorted(gaps.sources & self._born):
            slots = np.flatnonzero(self._source == source)
            tag, stale = self._live.tag[slots], np.full(len(slots), Quality.STALE, np.uint8)
            for begins in gaps.of(source):
                ts, none = np.full(len(slots), begins), np.full(len(slots), np.nan)
                await self._data(line, source, tag, ts, none, stale, historical=True)
            await self._answered(line, ())
            self._told.forget(slots)
            gaps.told(source)
        self._mark("event", gaps.done())

    async def _follow(self, line: NodeLine, source: str, records: Sequence[Record]) -> None:
        """Only what was not seen live; so what is newest goes first."""
        await self._newest(line)
        told, under_way = self._told.copy(), 0
        for k, record in enumerate(records):
            if k and self._rebirth.is_set():
                records = records[:k]
                break
            try:
                batch = decode(source, record.body)
            except CodecFault as fault:
                log.warning("%s: %s %d is left out: %s", NAME, record.stream, record.seq, fault)
                continue
            slots = self._table.slots(batch.tag)
            if len(gone := np.flatnonzero(slots < 0)):
                self.host.health.count(NAME, "no_such_tag", len(gone))
            news = told.news(slots, batch) & ~self._said.has(source, batch)
            rows = np.flatnonzero(news & (slots >= 0))
            for start in range(0, len(rows), MOST_SAMPLES):
                part = rows[start : start + MOST_SAMPLES]
                columns = batch.tag[part], batch.ts[part], batch.value[part], batch.quality[part]
                under_way += await self._data(line, source, *columns, historical=True)
                if under_way > UNANSWERED:
                    await self._answered(line, ())
                    under_way = 0
                    if asyncio.get_running_loop().time() >= self._live_at:
                        await self._newest(line)
        await self._answered(line, ())
        self._told = told
        self._said.forget(source, records[-1].t0)
        self._mark(records[-1].stream, records[-1].seq)

    # Saying it

    async def _data(
        self,
        line: NodeLine,
        source: str,
        tag: np.ndarray,
        ts: np.ndarray,
        value: np.ndarray,
        quality: np.ndarray,
        *,
        historical: bool,
    ) -> int:
        """DDATA of these samples; how many bytes. Numbers and texts go apart."""
        size, text = 0, self._is_text[self._table.slots(tag)]
        number = np.flatnonzero(~text)
        for start in range(0, len(number), MOST_SAMPLES):
            rows = number[start : start + MOST_SAMPLES]
            columns = tag[rows], ts[rows], value[rows], quality[rows]
            kinds = self._datatype[self._table.slots(columns[0])]
            size += self._speak(line, "DDATA", source, say.numbers(*columns, kinds, historical))
            await asyncio.sleep(0)  # others have their turn between two messages
        null, texts = say.is_null(value, quality), self._table.texts
        strings = [
            say.string(int(tag[i]), int(ts[i]), None if null[i] else texts.show(value[i]), int(quality[i]), historical)
            for i in np.flatnonzero(text).tolist()
        ]
        for start in range(0, len(strings), MOST_TEXTS):
            size += self._speak(line, "DDATA", source, b"".join(strings[start : start + MOST_TEXTS]))
        return size

    def _speak(self, line: NodeLine, kind: str, source: str, metrics: bytes = b"") -> int:
        self._seq = (self._seq + 1) % 256
        body = say.payload(self.host.clock.utc(), metrics, self._seq)
        if line.most and len(body) + HEAD > line.most:
            told = f"a {kind} of {source or 'the node'} has {len(body):,} bytes, and the broker takes {line.most:,}"
            raise Refused(told, hint="raise its limit (mosquitto: max_packet_size), or make two sources of this one")
        line.say(self._topic(kind, source), body)
        return len(body)

    def _topic(self, kind: str, source: str = "") -> str:
        return f"{NAMESPACE}/{self.config.group}/{kind}/{self._node}" + (f"/{source}" if source else "")

    def _after(self, stream: str) -> int:
        return self.cursors.setdefault(stream, Cursor()).watermark

    def _mark(self, stream: str, number: int) -> None:
        if number > self._after(stream):
            self.cursors[stream] = Cursor(number)
            self.host.journal.moved(NAME, stream, self.cursors[stream])


def metric_name(tag: str, source: str) -> str:
    """`plc.meter07.kwh` of the source `plc` is `meter07/kwh`: slashes make folders (6.4.6)."""
    return tag.removeprefix(f"{source}.").replace(".", "/")
