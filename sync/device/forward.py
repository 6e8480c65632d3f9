"""A reader that brings what is sealed to any MQTT broker, as JSON or as the journal's own frames."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from edge import (
    CodecFault,
    Cursor,
    Host,
    Quality,
    Record,
    decode,
    decode_event,
    last_numbers,
    log,
    plain_data,
    tag_name,
    tag_names,
)

from .. import wire
from ..broker import BrokerConfig
from ..either import either
from ..mqtt_line import UNANSWERED, Line, trusting

NAME = "forward"
Names = dict[int, tuple[str, str, str]]  # of a tag: name, type, unit
AT_ONCE = 32  # records read together
MOST_SAMPLES = (
    2_000  # in one JSON message: below the 128 kB that some brokers take, and no stop of the loop that others feel
)
HEAD = 32  # bytes of a message beside topic and body, at most


class ForwardConfig(BrokerConfig):
    """Which broker gets a copy of everything. It is told to keep it (quality of service 1); whether it does is its own affair."""

    topic: str = Field(
        "lineside/{device}/{source}", description="`{device}` and `{source}` are filled in; events: source `event`"
    )
    format: Literal["json", "frames"] = Field(
        "json", description="json: columns for anybody; frames: the bytes that the plane gets, the smallest"
    )

    @field_validator("topic")
    @classmethod
    def _place(cls, text: str) -> str:
        try:
            shown = text.format(device="d", source="s")
        except (KeyError, IndexError, ValueError, AttributeError):
            raise ValueError("only {device} and {source} are filled in") from None
        if not 0 < len(shown.encode()) < 1000 or set(shown) & set("#+\0"):
            raise ValueError("a topic to publish to is 1 to 1,000 bytes long and has no # and no +")
        return text


class Forward:
    """Tags, texts, events and samples in that order; the cursor moves, durably, only after the broker answered. A stop in
    between sends the last ones again: `epoch`, `stream` and `seq` tell them apart."""

    def __init__(self, config: ForwardConfig, host: Host) -> None:
        self.config, self.host = config, host
        self.cursors: dict[str, Cursor] = {}
        self._names: Names = {}

    async def run(self) -> None:
        self.cursors = await self.host.journal.cursors(NAME)
        if self.config.format == "json":  # frames bring their names themselves
            self._names = await self.host.journal.ask(tag_names)
        c, device = self.config, self.host.config.device.id
        context = trusting(c.ca, c.certificate, c.key) if c.url.startswith("mqtts:") else None
        line = Line(c.url, f"lineside-{device}-{self.host.journal.epoch[:6]}", c.user, c.password, context)
        try:
            await line.open()
            self.host.health.state(NAME, "running")
            while True:
                news = self.host.journal.news  # taken before we look
                if not await self._round(line):
                    await either(news, line.broken)
        finally:
            line.close()

    async def _round(self, line: Line) -> bool:
        """Send what is next of every stream, names and strings before the samples that use them; false when there was nothing."""
        journal, found = self.host.journal, False
        sealed = await journal.streams()  # first: what is sealed while we read may use newer names
        self.cursors.setdefault("picture", Cursor())
        newest = await journal.ask(last_numbers)
        self._move("picture", newest.get("picture", 0))  # none is kept for a reader that sends none
        for stream in ("tag", "text", "event", *sorted(sealed)):
            after = self.cursors.setdefault(stream, Cursor()).watermark
            most = wire.MOST_FRAMES if stream in ("tag", "text") else AT_ONCE
            records = [r for r in await journal.read(stream, after, most) if r.seq <= sealed.get(stream, r.seq)]
            if not records:
                continue
            found = True
            if stream == "tag" and self.config.format == "json":
                self._names |= {r.seq: tag_name(r.body) for r in records}
            await self._send(line, stream, records)
            if stream in ("tag", "text") and len(records) == most:
                break  # there may be more of them
        if found:
            await journal.commit()
        return found

    async def _send(self, line: Line, stream: str, records: list[Record]) -> None:
        """Publish what these records become, about UNANSWERED bytes at a time; the cursor follows the answers."""
        under_way: deque[tuple[int, int, asyncio.Task[bool]]] = deque()  # number of a record, bytes, publication

        async def answered() -> None:
            number, _, publication = under_way.popleft()
            await publication
            self._move(stream, number - 1)  # of its own record more may follow

        try:
            for number, topic, body in self._messages(stream, records):
                if line.most and len(body) + len(topic.encode()) + HEAD > line.most:
                    self._leave_out(f"{stream} {number}: {len(body):,} bytes, and the broker takes {line.most:,}")
                    body = self._lack(stream, number, "too_large", bytes=len(body))
                    if not body or len(body) + len(topic.encode()) + HEAD > line.most:
                        continue
                while under_way and sum(size for _, size, _ in under_way) + len(body) > UNANSWERED:
                    await answered()
                under_way.append((number, len(body), asyncio.create_task(line.publish(topic, body))))
                await asyncio.sleep(0)  # others have their turn between two messages
            while under_way:
                await answered()
        finally:
            left = [publication for _, _, publication in under_way]
            for publication in left:
                publication.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        self._move(stream, records[-1].seq)

    def _leave_out(self, words: str) -> None:
        """It would come again for ever, and nothing after it."""
        self.host.health.count(NAME, "too_large")
        log.warning("%s: a message is left out, it is too large: %s", NAME, words)

    def _lack(self, stream: str, number: int, why: str, **more: Any) -> bytes:
        """What is said in place of a record that does not come; empty where only frames are understood."""
        if self.config.format == "frames":
            return b""
        place = {
            "device": self.host.config.device.id,
            "epoch": self.host.journal.epoch,
            "stream": stream,
            "seq": number,
        }
        return _json({**place, "left_out": why, **more})

    def _move(self, stream: str, number: int) -> None:
        if number > self.cursors[stream].watermark:
            self.cursors[stream] = Cursor(number)
            self.host.journal.moved(NAME, stream, self.cursors[stream])

    def _messages(self, stream: str, records: list[Record]) -> Iterator[tuple[int, str, bytes]]:
        """(number of the record, topic, body) of all that these records become."""
        device, epoch = self.host.config.device.id, self.host.journal.epoch
        topic = self.config.topic.format(device=device, source=stream.removeprefix("samples:"))
        if self.config.format == "frames":
            yield from ((group[0].seq, topic, wire.pack(epoch, group)) for group in _groups(records))
        elif stream not in ("tag", "text"):  # what they say comes with the samples
            for record in records:
                head = {"device": device, "epoch": epoch, "stream": stream, "seq": record.seq}
                try:
                    for content in self._shown(record):
                        yield record.seq, topic, _json(head | content)
                except CodecFault as fault:
                    self.host.health.count(NAME, "unreadable")
                    log.warning("%s: %s %d is left out: %s", NAME, stream, record.seq, fault)
                    span = {"from": record.t0, "to": record.t1, "samples": record.n}
                    yield record.seq, topic, self._lack(stream, record.seq, "unreadable", **span)

    def _shown(self, record: Record) -> Iterator[dict[str, Any]]:
        if record.stream == "event":
            yield shown_event(record.body)
        else:
            parts = columns(record, self._names, self.host.journal.texts.show)
            yield from ({"part": part, "tags": tags} for part, tags in enumerate(parts))


def _groups(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Runs of records that fit into half of UNANSWERED, or of one that does not."""
    group: list[Record] = []
    size = 0
    for record in records:
        if group and size + len(record.body) > UNANSWERED // 2:
            yield group
            group, size = [], 0
        group.append(record)
        size += len(record.body)
    yield group


def shown_event(body: bytes) -> dict[str, Any]:
    event = decode_event(body)
    fields = ("ts", "kind", "key", "state", "severity", "text")
    data = (
        {} if event.kind == "checkpoint" else plain_data(event.data)
    )  # hashes of thousands of records are for the plane
    return {name: getattr(event, name) for name in fields} | {"data": data, "refs": list(event.refs)}


def columns(record: Record, names: Names, text: Callable[[float], str | None]) -> Iterator[list[dict[str, Any]]]:
    """A block as lists of tags with their columns, at most MOST_SAMPLES together: `t` in ns since 1970, `v` (null for none; of a
    text the strings), and `q`, one name for all or a list."""
    batch = decode(record.stream.removeprefix("samples:"), record.body)
    order = np.argsort(batch.tag, kind="stable")
    starts = np.flatnonzero(np.diff(batch.tag[order], prepend=-1))
    out: list[dict[str, Any]] = []
    room = MOST_SAMPLES
    for rows in np.split(order, starts[1:]):
        for piece in np.split(rows, range(MOST_SAMPLES, len(rows), MOST_SAMPLES)):
            if out and len(piece) > room:
                yield out
                out, room = [], MOST_SAMPLES
            name, kind, unit = names.get(int(batch.tag[piece[0]]), (str(batch.tag[piece[0]]), "", ""))
            value, quality = batch.value[piece], batch.quality[piece]
            same = bool((quality == quality[0]).all())
            shown: list[Any] = [None if bad else v for v, bad in zip(value.tolist(), ~np.isfinite(value), strict=True)]
            shown = [None if v is None else text(v) for v in shown] if kind == "text" else shown
            said = [Quality(int(q)).name for q in quality[: 1 if same else None]]
            out.append(
                {"tag": name, "unit": unit, "t": batch.ts[piece].tolist(), "v": shown, "q": said[0] if same else said}
            )
            room -= len(piece)
    if out:
        yield out


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=str).encode(errors="replace")
