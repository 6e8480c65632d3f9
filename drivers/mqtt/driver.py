"""The MQTT driver: what others publish becomes batches, and what is ordered is published."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import paho.mqtt.client as paho

from edge import SECOND, AnswerContradicts, Batch, Blocks, DeviceLost, DeviceRefused, Quality, Source, Write, log

from .blocks import Block, Reading
from .connection import Connection
from .options import MqttConfig
from .payload import decode_payload
from .sparkplug import NAMESPACE, Nodes, rebirth
from .values import (
    MOST_BYTES,
    MOST_READINGS,
    MOST_SAMPLES,
    Sample,
    number_of,
    ordered,
    parse,
    parse_path,
    picked,
    time_of,
)

REBIRTH_EVERY = 10 * SECOND  # between two orders to the same node
MOST_TOPICS = 4096  # whose tags are remembered
LIVES = 5.0  # seconds, of an order that does not say when it is too old


class Mqtt:
    """One connection at a time; a message's samples of one turn of the loop are one batch."""

    Config = MqttConfig

    def __init__(self, config: MqttConfig, source: Source) -> None:
        self.config, self.source = config, source
        self._names = list(config.tags)
        self._ids = np.array([source.tags[name].id for name in self._names], np.int32)
        self._points = list(config.tags.values())
        self._paths = [parse_path(point.path) for point in self._points]
        self._times = [parse_path(config.time if p.time is None else p.time) for p in self._points]
        self._blocks = {
            i: (Reading(point.block), Blocks(source, int(self._ids[i])))
            for i, point in enumerate(self._points)
            if point.block
        }
        self._raw = {i for i, point in enumerate(self._points) if point.block and point.block.raw}
        self._filters = config.topics()
        self._nodes = Nodes(config.metrics())
        self._by_topic: dict[str, list[int]] = {}
        self._arrived: list[Sample] = []
        self._asked: dict[str, int] = {}
        self._said: set[str] = set()
        self._heard: set[int] = set()
        self._answers: dict[
            int, float | str | None
        ] = {}  # of each tag that was ordered: what came since, None for nothing
        self._line: Connection | None = None

    async def run(self) -> None:
        line = await self._connect()
        self._line = line
        try:
            self.source.running()
            self._ask_for_births()
            await line.stay(self._ask_for_births)
        finally:
            self._line = None
            line.close()

    async def _connect(self) -> Connection:
        """Raises DeviceLost, ConfigFault."""
        self._nodes.forget()
        filters = [*self._filters, *(self._nodes.filters() if self._nodes.nodes else ())]
        line = Connection(self.config, filters, self._took)
        await line.open()
        return line

    def _took(self, message: paho.MQTTMessage) -> None:
        if not self.source.ready():
            self.source.count("dropped_journal_full")
            return
        try:
            topic = message.topic
            if topic.startswith(f"{NAMESPACE}/") and self._nodes.nodes:
                self._sparkplug(topic, bytes(message.payload), message.retain)
            else:
                self._json(topic, bytes(message.payload), message.retain)
        except (AnswerContradicts, UnicodeDecodeError) as error:
            self.source.count("unreadable")
            self._say("unreadable", f"a message is left out: {error}")

    # Plain JSON

    def _json(self, topic: str, payload: bytes, retained: bool) -> None:
        tags = self._by_topic.get(topic)
        if tags is None:
            tags = [i for f, found in self._filters.items() if paho.topic_matches_sub(f, topic) for i in found]
            if len(self._by_topic) < MOST_TOPICS:
                self._by_topic[topic] = tags
        now = self.source.clock.utc()
        for i in self._raw.intersection(tags):
            self._block(i, self._blocks[i][0].raw(payload), now, retained)
        tags = [i for i in tags if i not in self._raw] if self._raw else tags
        if not tags:
            return
        data = parse(payload)
        readings = data if isinstance(data, list) and all(isinstance(entry, dict) for entry in data) else [data]
        if len(readings) > MOST_READINGS or len(readings) * len(tags) > MOST_SAMPLES:
            raise AnswerContradicts(f"{len(readings):,} readings for {len(tags):,} tags are too many in one message")
        for reading in readings:
            for i in tags:
                if i not in self._blocks:
                    self._one(i, reading, now, retained)
                elif (block := self._blocks[i][0].json(reading, self._paths[i])) is None:
                    self.source.count("no_such_path")
                else:
                    self._block(i, block, now, retained)

    def _block(self, i: int, block: Block, now: int, retained: bool) -> None:
        """All samples of a message at once."""
        unsure = retained and block.start is None
        quality = Quality.CLOCK_UNSURE if unsure else Quality.GOOD
        batch = self._blocks[i][1](block.value, block.rate, now, block.start, block.number, quality=quality)
        if batch is not None:
            self._heard.add(i)
            self.source.emit(batch)
            self.source.running()

    def _one(self, i: int, data: Any, now: int, retained: bool) -> None:
        """A path that leads nowhere gives no sample: another message brings that tag."""
        path = self._paths[i]
        try:
            found = picked(data, path)
        except LookupError:
            self.source.count("no_such_path")
            return
        if not path and isinstance(found, dict):
            if "value" not in found:
                self.source.count("no_such_path")
                return
            found = found["value"]
        value: float | str = math.nan
        if isinstance(found, str) and self._points[i].type == "text":
            value, quality = found, Quality.GOOD
        else:
            value, quality = number_of(found)
            if quality == Quality.BAD:
                self._odd(i, found)
        ts = None
        if self._times[i]:
            with contextlib.suppress(LookupError):
                ts = time_of(picked(data, self._times[i]))
            self.source.count("no_time", ts is None)
        unsure = ts is None and (retained or bool(self._times[i]))  # kept by the broker: nobody knows how old it is
        self._arrive(i, ts or now, value, Quality.CLOCK_UNSURE if unsure and quality == Quality.GOOD else quality)

    # Sparkplug

    def _sparkplug(self, topic: str, payload: bytes, retained: bool) -> None:
        if retained:  # no node may ask for that (3.0, 6.4): a birth of nobody knows when gives its aliases to others
            self.source.count("retained")
            self._say("retained", f"{topic} is kept by the broker, which no message of a node may be; it is left out")
            return
        if len(payload) > MOST_BYTES:
            raise AnswerContradicts(f"a message of {len(payload):,} bytes, more than {MOST_BYTES:,}")
        for sample in self._nodes.heard(topic, decode_payload(payload), self.source.clock.utc()):
            self._arrive(*sample)
        for cause, n in self._nodes.counts.items():
            self.source.count(cause, n)
        if (self._nodes.counts["after_gap"] or self._nodes.counts["unknown_alias"]) and not self.config.rebirth:
            self._say(
                "after_gap",
                "values by alias are no data until the next birth of their node; `rebirth: true` asks for it",
            )
        self._nodes.counts.clear()
        self._ask_for_births()

    def _ask_for_births(self) -> None:
        if not self.config.rebirth or self._line is None:
            return
        now = self.source.clock.mono()
        for node in self._nodes.wanted:
            if now - self._asked.get(node, -REBIRTH_EVERY) >= REBIRTH_EVERY:
                self._asked[node] = now
                self.source.count("rebirths_asked")
                group, name = node.split("/")
                self._line.say(f"{NAMESPACE}/{group}/NCMD/{name}", rebirth(self.source.clock.utc()))

    # Both

    def _arrive(self, i: int, ts: int, value: float | str, quality: int) -> None:
        """A string belongs to a tag of type text, and nothing else does: what does not fit is BAD."""
        if isinstance(value, str) != (self._points[i].type == "text") and quality <= Quality.LATE:
            self._odd(i, value)
            value, quality = math.nan, Quality.BAD
        if i in self._answers and quality <= Quality.CLOCK_UNSURE:
            self._answers[i] = value
        if isinstance(value, str):
            value = self.source.text(int(self._ids[i]), value)
            quality = Quality.RANGE if math.isnan(value) else quality
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._flush)
        self._arrived.append((i, ts, value, quality))

    def _flush(self) -> None:
        """What came in one turn of the loop, as one batch."""
        arrived, self._arrived = self._arrived, []
        index, ts, value, quality = (np.array(column) for column in zip(*arrived, strict=True))
        self._heard.update(index.tolist())
        self.source.emit(Batch.of(self.source.name, self._ids[index], value, ts, quality.astype(np.uint8)))
        self.source.running()

    def _odd(self, i: int, found: Any) -> None:
        """Counted each time, said once."""
        wanted = self._points[i].type == "text"
        self.source.count("no_text" if wanted else "no_number")
        told = "no text; take `type: text` away" if wanted else "no number; for a string say `type: text`"
        shown = repr(str(found)[:60]) if isinstance(found, str | int | float) else type(found).__name__
        self._say(f"odd {i}", f"{self._names[i]} is {shown}, {told}: its samples are BAD")

    def _say(self, cause: str, text: str) -> None:
        """Once per cause; the counters tell the rest."""
        if cause not in self._said:
            self._said.add(cause)
            log.warning("%s: %s", self.source.name, text)

    # Writing and probing

    async def write(self, write: Write) -> None:
        """Publish an order: done when the broker has taken it. Raises DeviceLost, DeviceRefused, WriteRefused."""
        if self._line is None:
            raise DeviceLost("no connection to the broker")
        i = int(np.flatnonzero(self._ids == write.tag)[0])
        point = self._points[i]
        if point.metric:
            key = next(key for key, tags in self._nodes.tags.items() if i in tags)
            topic, body = self._nodes.order(key, write.value, self.source.clock.utc())
        else:
            topic, body = point.command, ordered(point.payload, write.value)
        self._answers[i] = None
        lives = (write.expires - self.source.clock.mono()) / SECOND if write.expires else LIVES
        await self._line.publish(topic, body, lives)

    async def read(self, tag: int) -> float | str:
        """What was published for a tag since the last order for it. Raises DeviceRefused."""
        i = int(np.flatnonzero(self._ids == tag)[0])
        if (value := self._answers.get(i)) is None:
            raise DeviceRefused("nothing was published for it since the order")
        return value

    async def probe(self) -> Sequence[str]:
        """Listen for as long as `timeout`, or until each tag came once."""
        self._heard.clear()
        line = await self._connect()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.config.timeout):
                    while len(self._heard) < len(self._names) and not line.ended:
                        await asyncio.sleep(0.02)
        finally:
            line.close()
        silent = [name for i, name in enumerate(self._names) if i not in self._heard]
        lines = [f"{len(self._heard)} of {len(self._names)} tags were published within {self.config.timeout:g} s"]
        return lines + [f"{name}: nothing came" for name in silent]
