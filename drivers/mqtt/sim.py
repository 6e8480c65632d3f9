"""A small broker with the publishing devices in it, made from the same YAML as the driver that reads them, on a real socket.

It serves those who subscribe to what the site names, at quality of service 0 (MQTT 3.1.1 and 5), and is no broker for other uses.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from edge import AnswerContradicts, LinesideError, SystemClock, log

from .blocks import SIMULATED, message
from .options import MqttBlock, MqttConfig
from .payload import BOOLEAN, Metric, Payload, decode_payload, encode_payload
from .sparkplug import NAMESPACE, REBIRTH
from .values import MOST_SAMPLES, VALUE, number_of, parse_path

PERIOD = 0.5  # seconds between two publications of everything
MOST = 65536  # bytes of a packet that a client may send
DOUBLE, STRING = 10, 12


class MqttSim:
    """`set(tag, value)` moves a tag; all are published twice a second. A node is born when somebody comes or asks for it."""

    def __init__(self, name: str, config: MqttConfig) -> None:
        self.name, self.config = name, config
        parts = urlsplit(config.url)
        self.host, self.port, self._secured = parts.hostname or "", parts.port or 1883, parts.scheme == "mqtts"
        self._values: list[Any] = ["" if point.type == "text" else 0.0 for point in config.tags.values()]
        self._index = {tag: i for i, tag in enumerate(config.tags)}
        self._metrics = list(config.metrics().items())
        self._seq = {node: -1 for (node, _, _), _ in self._metrics}
        self._clock = SystemClock()
        self._began = self._clock.utc()
        self._sent = dict.fromkeys((i for i, point in enumerate(config.tags.values()) if point.block), 0)  # samples
        self._clients: dict[asyncio.StreamWriter, int] = {}  # those who subscribed, and their version
        self._server: asyncio.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.births = 0

    def set(self, tag: str, value: float | str) -> None:
        self._values[self._index[tag]] = value

    async def start(self) -> None:
        """Listen; port 0 picks a free one."""
        if self._secured:
            raise LinesideError(
                "a broker with TLS is not simulated", hint="to try the site, write mqtt:// into its url"
            )
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self._task = asyncio.ensure_future(self._publish_on())
        log.info("%s: simulated broker on mqtt://%s:%d", self.name, self.host, self.port)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._server is not None:
            self._server.close()
            self._server = None
        self.hang_up()

    def hang_up(self) -> None:
        for writer in list(self._clients):
            writer.transport.abort()

    # What is published

    def documents(self) -> dict[str, Any]:
        """The JSON under each topic, with every tag at its path."""
        out: dict[str, Any] = {}
        points = list(self.config.tags.values())
        for topic, tags in self.config.topics().items():
            document: Any = None
            for i in tags:
                if (how := points[i].block) is not None:
                    for at, value in self._block(i, how).items() if not how.raw else ():
                        document = _put(document, (*parse_path(points[i].path), *parse_path(at)), value)
                    continue
                document = _put(document, parse_path(points[i].path), self._values[i])
                time = parse_path(self.config.time if points[i].time is None else points[i].time or "")
                if time:
                    document = _put(document, time, self._clock.utc() / 1e9)
            if document is not None:
                out[_plain(topic)] = document
        return out

    def _block(self, i: int, how: MqttBlock) -> Any:
        """The next message of a fast signal: what was set, and 50 Hz over it."""
        rate = how.rate or SIMULATED
        n = min(round(rate * PERIOD), MOST_SAMPLES // 4)
        at = (self._sent[i] + np.arange(n)) / rate
        start = self._began + round(self._sent[i] * 1e9 / rate)
        self._sent[i] += n
        return message(how, float(self._values[i]) + np.sin(100 * np.pi * at), start, self._sent[i] // n)

    def _born(self) -> None:
        self.births += 1
        for node in self._seq:
            self._seq[node] = -1
            session = Metric("bdSeq", datatype=8, kind="long", value=0)
            self._say(node, "", "BIRTH", [session, *self._said(node, "", born=True)])
            for device in sorted({d for (n, d, _), _ in self._metrics if n == node and d}):
                self._say(node, device, "BIRTH", self._said(node, device, born=True))

    def _said(self, node: str, device: str, *, born: bool = False) -> list[Metric]:
        now = self._clock.utc() // 10**6
        out = []
        for alias, ((owner, below, name), tags) in enumerate(self._metrics):
            if (owner, below) == (node, device):
                text = isinstance(value := self._values[tags[0]], str)
                kind, datatype = ("string", STRING) if text else ("double", DOUBLE)
                out.append(Metric(name if born else "", alias, now, datatype if born else 0, kind=kind, value=value))
        return out

    def _say(self, node: str, device: str, kind: str, metrics: list[Metric]) -> None:
        self._seq[node] = (self._seq[node] + 1) % 256
        group, name = node.split("/")
        topic = f"{NAMESPACE}/{group}/{'D' if device else 'N'}{kind}/{name}" + (f"/{device}" if device else "")
        self.publish(topic, encode_payload(Payload(self._clock.utc() // 10**6, self._seq[node], metrics)))

    def publish(self, topic: str, payload: bytes) -> None:
        """To everybody who subscribed."""
        head = len(topic.encode()).to_bytes(2, "big") + topic.encode()
        for writer, version in self._clients.items():
            body = head + (b"\0" if version == 5 else b"") + payload
            writer.write(b"\x30" + _length(len(body)) + body)

    async def _publish_on(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            self.publish_all()

    def publish_all(self) -> None:
        for topic, document in self.documents().items():
            self.publish(topic, json.dumps(document).encode())
        for i, point in enumerate(self.config.tags.values()):
            if point.block and point.block.raw:
                self.publish(_plain(point.topic or self.config.topic), self._block(i, point.block))
        for node, device in sorted({(node, device) for (node, device, _), _ in self._metrics}):
            self._say(node, device, "DATA", self._said(node, device))

    # What clients say (MQTT 3.1.1 and 5, chapter 3)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = 4
        try:
            while True:
                kind, body = await _packet(reader)
                if kind >> 4 == 1:
                    version = body[6]
                    writer.write(b"\x20\x03\0\0\0" if version == 5 else b"\x20\x02\0\0")
                elif kind >> 4 == 8:
                    answer = body[:2] + (b"\0" if version == 5 else b"") + b"\0" * _filters(body, version)
                    writer.write(b"\x90" + _length(len(answer)) + answer)
                    self._clients[writer] = version
                    self._born()
                    self.publish_all()
                elif kind >> 4 == 3:
                    if number := self._ordered(body, version, kind >> 1 & 3):
                        writer.write(b"\x40\x02" + number)
                elif kind >> 4 == 12:
                    writer.write(b"\xd0\0")
                elif kind >> 4 == 14:
                    return
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, IndexError, ValueError):
            pass
        finally:
            self._clients.pop(writer, None)
            writer.close()

    def _ordered(self, body: bytes, version: int, quality: int) -> bytes:
        """What somebody publishes: an order. Returns the number that an answer to it carries, empty where none is wanted."""
        size = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        number, rest = (rest[:2], rest[2:]) if quality else (b"", rest)
        payload = rest[1 + rest[0] :] if version == 5 else rest
        if "/NCMD/" in topic or "/DCMD/" in topic:
            self._commanded(topic, payload)
        for tag, point in self.config.tags.items():
            said = re.escape(point.payload).replace(re.escape(VALUE), "(.*)")
            if topic == point.command and (found := re.fullmatch(said, payload.decode(errors="replace"))):
                value = found[1] if point.type == "text" else number_of(found[1])[0]
                self.set(tag, value)
                self.publish_all()
        return number

    def _commanded(self, topic: str, payload: bytes) -> None:
        """An order to a Sparkplug node or device."""
        try:
            metrics = decode_payload(payload).metrics
        except AnswerContradicts:
            return
        if any(m.name == REBIRTH and m.datatype == BOOLEAN and m.value for m in metrics):
            self._born()
        _, group, _, node, *device = topic.split("/")
        named = {metric.name: metric.value for metric in metrics}
        for (owner, below, name), tags in self._metrics:
            if (owner, below) == (f"{group}/{node}", "/".join(device)) and name in named:
                self._values[tags[0]] = named[name]
                self.publish_all()


def _plain(topic: str) -> str:
    return topic.replace("#", "sim").replace("+", "sim")


def _put(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return {**document, "value": value} if isinstance(document, dict) else value
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        items = list(document) if isinstance(document, list) else []
        items += [None] * (step + 1 - len(items))
        items[step] = _put(items[step], rest, value)
        return items
    found = document if isinstance(document, dict) else {} if document is None else {"value": document}
    return {**found, step: _put(found.get(step), rest, value)}


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind, size = (await reader.readexactly(1))[0], 0
    for k in range(4):
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            break
    if size > MOST:
        raise ValueError("a packet larger than any that a reader of this broker sends")
    return kind, await reader.readexactly(size)


def _filters(body: bytes, version: int) -> int:
    """How many topics a client subscribes to."""
    at, n = 2 + (1 + body[2] if version == 5 else 0), 0
    while at < len(body):
        at += 3 + int.from_bytes(body[at : at + 2], "big")
        n += 1
    return n


def _length(number: int) -> bytes:
    out = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)
