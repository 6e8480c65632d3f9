"""The driver of instruments that speak their own words: asked again and again, or listened to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import numpy as np
import regex

from edge import (
    AnswerContradicts,
    Batch,
    DeviceLost,
    DeviceRefused,
    DeviceSilent,
    Grid,
    Quality,
    Source,
    Write,
    log,
)

from .blocks import FastFields
from .fields import order, shown
from .framing import Framer, compiled, fits, octets
from .line import Line
from .options import SerialConfig

QUIET = 1.0  # seconds of silence that end every frame, so that the next byte begins one
MOST_SILENT = 3  # unanswered rounds after which the line is opened anew


class Serial:
    """One frame, one batch of the tags in it. What is wrong in shape or checksum is counted and never data."""

    Config = SerialConfig

    def __init__(self, config: SerialConfig, source: Source) -> None:
        self.config, self.source = config, source
        self._framer = Framer(config.frame, config.checksum)
        questions = config.asks() or {"": list(config.placed())}
        ids, fast = {name: source.tags[name].id for name in config.placed()}, config.fast()
        self._all = {ask: np.array([ids[name] for name in names], np.int32) for ask, names in questions.items()}
        slow = {ask: [name for name in names if name not in fast] for ask, names in questions.items()}
        self._ids = {ask: np.array([ids[name] for name in names], np.int32) for ask, names in slow.items()}
        self._fields = {
            ask: config.fields(names, self._framer, partial(self._text, names)) for ask, names in slow.items()
        }
        self._fast = {
            ask: FastFields([(ids[name], config.tags[name]) for name in names if name in fast], self._framer, source)
            for ask, names in questions.items()
        }
        self._questions = questions
        self._asks = [ask for ask in questions if ask]
        self._line: Line | None = None
        self._turn = asyncio.Lock()
        self._confirming: tuple[regex.Pattern[bytes], asyncio.Future[None]] | None = None
        self._good = True
        self._said: set[str] = set()

    def _text(self, names: Sequence[str], k: int, text: str) -> float:
        return self.source.text(self.source.tags[names[k]].id, text)

    async def run(self) -> None:
        line = await self._open()
        try:
            self._unknown()
            await (self._ask_on(line) if self._asks else self._listen(line))
        finally:
            self._line = None
            line.close()

    async def _open(self) -> Line:
        try:
            async with asyncio.timeout(max(5.0, 2 * self.config.timeout)):
                self._line = await Line.open(self.config.url, self.source.clock)
        except TimeoutError:
            raise DeviceLost("no connection in time", hint="check address, cable and firewall") from None
        self._framer.reset(inside=not self._asks)
        self._good = True
        return self._line

    def _unknown(self) -> None:
        """What can only be written: nobody knows what the device holds until the next order."""
        only = self.config.only_written()
        ids = [tag.id for name, tag in self.source.tags.items() if name in only]
        if ids:
            nothing = np.full(len(ids), np.nan)
            self.source.emit(Batch.of(self.source.name, ids, nothing, self.source.clock.utc(), Quality.STALE))

    # Asking

    async def _ask_on(self, line: Line) -> None:
        grid, silent = Grid(self.config.every, self.source), 0
        while True:
            self.source.count("overruns", await grid.next())
            if not self.source.ready():
                self.source.count("skipped_journal_full")
                continue
            heard = False
            for ask in self._asks:
                heard |= await self._answered(line, ask)
            silent = 0 if heard else silent + 1
            if silent >= MOST_SILENT:
                raise DeviceLost(f"no answer {silent} times in a row")

    async def _answered(self, line: Line, ask: str) -> bool:
        """Ask once and emit what came of it, data or the reason why there is none. False: no answer at all."""
        try:
            for batch in await self._read(line, ask):
                self._emit(batch)
            return True
        except DeviceSilent:
            self.source.count("timeout")
            self._failed(ask, Quality.TIMEOUT)
            return False
        except AnswerContradicts:
            self._failed(ask, Quality.BAD)
            return True

    async def _read(self, line: Line, ask: str) -> list[Batch]:
        """What answers one question. Raises DeviceSilent, AnswerContradicts, DeviceLost."""
        frame, ts = await self._exchange(line, octets(ask))
        try:
            return [self._batch(ask, *self._fields[ask](frame), ts), *self._fast[ask](frame, ts)]
        except AnswerContradicts as error:
            self._say("shape", str(error))
            self.source.count("shape")
            raise

    async def _exchange(self, line: Line, ask: bytes) -> tuple[bytes, int]:
        """Send, and take the first frame that comes as the answer. After a time-out the line stays quiet for as long again,
        so that an answer that is late is not taken for that of the next question."""
        async with self._turn:
            self._framer.reset()
            self.source.count("unasked", line.drop())
            line.send(ask)
            try:
                async with asyncio.timeout(self.config.timeout):
                    while True:
                        frames = self._framer.feed(await line.some())
                        wrong = self._counted()
                        echo = [frame for frame in frames if ask.startswith(frame) and len(ask) - len(frame) <= 2]
                        self.source.count("echo", len(echo))
                        for frame in frames:
                            if frame not in echo:
                                return frame, line.stamp
                        if wrong:
                            raise AnswerContradicts("the answer has a wrong checksum")
            except TimeoutError:
                await asyncio.sleep(self.config.timeout)
                raise DeviceSilent(f"no answer within {self.config.timeout:g} s") from None

    # Listening

    async def _listen(self, line: Line) -> None:
        """Take frames as they come. The first one is left out where it may have begun before we listened."""
        silent = 0
        while True:
            try:
                async with asyncio.timeout(self.config.timeout or None):
                    batches = await self._hear(line)
            except TimeoutError:
                silent += 1
                self.source.count("timeout")
                self._failed("", Quality.TIMEOUT if self._good else Quality.BAD)
                self._good = True
                if silent >= MOST_SILENT:
                    raise DeviceLost(f"no frame within {silent * self.config.timeout:g} s") from None
                continue
            silent = 0
            for batch in batches:
                if self.source.ready():
                    self._emit(batch)
                else:
                    self.source.count("dropped_journal_full", len(batch))

    async def _hear(self, line: Line) -> list[Batch]:
        """The next data that comes, of all frames that arrived together."""
        while True:
            await asyncio.sleep(0)
            try:
                async with asyncio.timeout(QUIET):
                    data = await line.some()
            except TimeoutError:
                self._framer.give_up()
                continue
            if batches := self._taken(self._framer.feed(data), line.stamp):
                return batches

    def _taken(self, frames: Sequence[bytes], stamp: int) -> list[Batch]:
        """What the frames hold; nothing where none is data. The first wrong one after a good one makes the tags BAD."""
        wrong = self._counted()
        index: list[int] = []
        value: list[float] = []
        quality: list[int] = []
        ts: list[int] = []
        fast: list[Batch] = []
        for k, frame in enumerate(frames):
            if self._confirms(frame):
                continue
            try:
                found, numbers, causes = self._fields[""](frame)
                fast += self._fast[""](frame, stamp)
            except AnswerContradicts as error:
                wrong = True
                self._say("shape", str(error))
                self.source.count("shape")
                continue
            index += found
            value += numbers
            quality += causes
            ts += [stamp - 1000 * (len(frames) - 1 - k)] * len(found)  # in their order; nothing here tells more
        if index or fast:
            self._good = True
            return [*([self._batch("", index, value, quality, ts)] if index else []), *fast]
        if wrong and self._good:
            self._good = False
            self._failed("", Quality.BAD)
        return []

    # Both

    def _batch(self, ask: str, index: list[int], value: list[float], quality: list[int], ts: int | list[int]) -> Batch:
        ids = self._ids[ask]
        picked = ids if index == list(range(len(ids))) else ids[index]
        return Batch.of(self.source.name, picked, value, ts, quality)

    def _emit(self, batch: Batch) -> None:
        self.source.count("no_number", int((batch.quality == Quality.BAD).sum()))
        if len(batch):
            self.source.emit(batch)
        self.source.running()

    def _failed(self, ask: str, quality: Quality) -> None:
        ids = self._all[ask]
        if len(ids):
            self.source.emit(
                Batch.of(self.source.name, ids, np.full(len(ids), np.nan), self.source.clock.utc(), quality)
            )

    def _counted(self) -> bool:
        """Hand the framer's counts on. True if a checksum was wrong."""
        counts = self._framer.counts
        wrong = bool(counts["checksum"])
        for cause, n in counts.items():
            self.source.count(cause, n)
        counts.clear()
        if wrong:
            self._say(
                "checksum", "a frame has a wrong checksum; noise on the line, or `checksum:` does not fit the device"
            )
        return wrong

    def _say(self, cause: str, text: str) -> None:
        """Once per cause; the counters tell the rest."""
        if cause not in self._said:
            self._said.add(cause)
            log.warning("%s: %s", self.source.name, text)

    # Writing and probing

    async def write(self, write: Write) -> float | str:
        """Send the order and wait for the frame that confirms it; the value as the order says it, rounded."""
        line = self._line
        if line is None:
            raise DeviceLost("the line is not open")
        name = next(name for name, tag in self.source.tags.items() if tag.id == write.tag)
        point = self.config.tags[name]
        said = order(point.write, point.raw(write.value))
        if not point.confirm:
            async with self._turn:
                line.send(said)
        elif self._asks:
            frame, _ = await self._exchange(line, said)
            answer = self._framer.payload(frame)
            if not fits(compiled(point.confirm), answer):
                raise DeviceRefused(f"the device answered {shown(answer)}")
        else:
            await self._confirmed(line, said, compiled(point.confirm))
        stored = point.stored(write.value)
        if name not in self.config.placed():
            held = self.source.text(write.tag, stored) if isinstance(stored, str) else stored
            ids = np.array([write.tag], np.int32)
            self.source.emit(Batch.of(self.source.name, ids, [held], self.source.clock.utc(), Quality.SUBSTITUTED))
        return stored

    async def read(self, tag: int) -> float | str:
        """Ask for one tag now."""
        line = self._line
        if line is None:
            raise DeviceLost("the line is not open")
        name = next(name for name, known in self.source.tags.items() if known.id == tag)
        ask = next((ask for ask, names in self._questions.items() if ask and name in names), "")
        if not ask:
            raise DeviceRefused("the device is never asked for it")
        batch = (await self._read(line, ask))[0]
        value = batch.value[(batch.tag == tag) & (batch.quality == Quality.GOOD)]
        if not len(value):
            raise DeviceRefused("its answer holds no value of it")
        if self.config.tags[name].type == "text":
            return self.source.texts.show(float(value[0])) or ""
        return float(value[0])

    async def _confirmed(self, line: Line, said: bytes, pattern: regex.Pattern[bytes]) -> None:
        """On a line that is listened to, the confirmation comes among the data."""
        within = self.config.timeout or 2.0
        async with self._turn:
            confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._confirming = (pattern, confirmed)
            try:
                line.send(said)
                async with asyncio.timeout(within):
                    await confirmed
            except TimeoutError:
                raise DeviceSilent(f"no confirmation within {within:g} s") from None
            finally:
                self._confirming = None

    def _confirms(self, frame: bytes) -> bool:
        if self._confirming is None or not fits(self._confirming[0], self._framer.payload(frame)):
            return False
        if not self._confirming[1].done():
            self._confirming[1].set_result(None)
        return True

    async def probe(self) -> Sequence[str]:
        """Ask each question once, or listen for one frame: a line per tag."""
        line = await self._open()
        lines: list[str] = []
        try:
            for ask in self._ids:
                try:
                    if ask:
                        batches = await self._read(line, ask)
                    else:
                        async with asyncio.timeout(max(2.0, self.config.timeout)):
                            batches = await self._hear(line)
                    for batch in filter(len, batches):
                        self.source.emit(batch)
                        lines += self._lines(batch)
                except (DeviceSilent, AnswerContradicts, TimeoutError) as error:
                    self._failed(ask, Quality.TIMEOUT)
                    lines.append(f"{shown(octets(ask)) if ask else 'listening'}: {str(error) or 'nothing came'}")
        finally:
            self._line = None
            line.close()
        return lines

    def _lines(self, batch: Batch) -> list[str]:
        names = {tag.id: name for name, tag in self.source.tags.items()}

        def said(name: str, value: float) -> str:
            text = self.source.texts.show(value) if self.config.tags[name].type == "text" else None
            return f"{name} = {f'{value:g}' if text is None else repr(text)}"

        if len(batch) and (name := names[int(batch.tag[0])]) in self.config.fast():
            return [f"{name}: {len(batch)} samples, {batch.value.min():g} to {batch.value.max():g}"]
        return [
            f"{said(names[int(tag)], value)} ({Quality(int(quality)).name})"
            for tag, value, quality in zip(batch.tag, batch.value, batch.quality, strict=True)
        ]
