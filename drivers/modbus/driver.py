"""The Modbus driver: one connection, its units, their tags."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from edge import Batch, DeviceLost, DeviceRefused, DeviceSilent, Grid, Poller, Quality, Source, Write, WriteRefused, log

from .client import Client
from .cost import Cost
from .learned import After, Learned
from .line import Line, open_bus
from .line_units import Units
from .options import ModbusConfig
from .plan import Plan, ShortAnswer, encode_value
from .scans import ASKED, BROKEN, EXCEPTIONS, WAITED
from .tape import Tape
from .text import TextColumns, decode_text, encode_text
from .tool import serve
from .window import Window

OVERLOADED = (ASKED, 5, 6)  # no answer, not done yet, busy
WHAT_TO_TRY = {
    **dict.fromkeys((1, 2, 3), "check address and table in the device's manual"),
    **dict.fromkeys((5, 6), "it has too much to do: ask it less often, or for fewer requests at once (`in_flight`)"),
    10: "the gateway knows no line to this unit: check its routing table and the unit's number",
    11: "is the unit on, is its number right, is its cable plugged in?",
}
MOST_SAID = 1000  # different refusals that are logged
EARLIEST, LATEST = 31_536_000 * 10**9, 2**63 - 2**60  # a device clock outside 1971 to 2225 is not set


class Answers(NamedTuple):
    """What came of one scan: `codes` and `stamps` of every request of the plan, as in `Scan`; WAITED: it was not asked."""

    plan: Plan
    words: np.ndarray
    texts: TextColumns
    codes: np.ndarray
    stamps: np.ndarray
    short: ShortAnswer | None
    dead: bool  # the bus: two units did not answer, and nobody else did


class Modbus(Poller):
    """Reads all tags of a connection in the fewest requests, one Batch per scan."""

    Config = ModbusConfig  # type: ignore[assignment]

    def __init__(self, config: ModbusConfig, source: Source) -> None:
        super().__init__(config, source)
        names = list(config.points())
        self.ids = np.array([source.tags[name].id for name in names], np.int32)
        self.ids.flags.writeable = False
        self._items = {source.tags[name].id: i for i, name in enumerate(names)}
        self._names = names
        self._clocks = config.clocks()
        self._factors = [10**9 if _part(config, path).time.type == "unix_s" else 10**6 for path, _, _ in self._clocks]
        self._seen = np.full(len(self._clocks), -1, np.int64)
        self._learned = Learned(config.url, source.memory, source.clock.utc())
        self._stale = False  # the plan: something was learned that makes a better one
        self._unsaid = False  # what was learned last: it may turn out to be otherwise at once
        self._measures = config.gap == "auto" and config.in_flight == 1
        self._window = Window(self._learned.in_flight) if config.in_flight == "auto" else None
        self._said: set[str] = set()
        self._periods = config.periods()
        hold = 0.0 if config.where.numbered else config.turnaround
        alone = len(self._periods) < 2  # a unit that keeps nobody waiting always has its full time
        self.units = Units(config.timeout, math.inf if alone else min(self._periods.values()), hold)
        self._told: set[int] = set()  # units that were said to be silent
        self._client: Client | Line | None = None
        self._opening = asyncio.Lock()
        self.tape = Tape(source.clock)
        self._replan()

    def _replan(self) -> None:
        self._stale = False
        self.plan = self.config.plan(self._learned)
        self._attentive = self._learned.attends(self.plan)
        self._cost = Cost(self.plan.requests) if self._measures else None
        self._words = np.zeros(self.plan.words, np.uint16)
        self._texts = TextColumns(self.plan, self.ids, self.source)

    async def connect(self) -> None:
        self._client = await open_bus(self.config, self.source.clock, self.units)
        self.tape.follow(self._client)
        if self.config.pause:
            await asyncio.sleep(self.config.pause)

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _line(self) -> Client | Line:
        """The connection. One that the device closed while it was quiet, as many gateways do, is made anew: no failure."""
        async with self._opening:
            if self._client is None:
                raise DeviceLost(f"{self.source.name} is not connected", hint="`lineside doctor SITE` says why")
            if self._client.quiet_end:
                self.source.count("reconnects")
                try:
                    async with asyncio.timeout(self.config.timeout + self.config.pause):
                        await self.connect()
                except TimeoutError:
                    raise DeviceSilent(f"no new connection within {self.config.timeout:g} s") from None
            return self._client

    def cycles(self) -> Sequence[Coroutine[Any, Any, None]]:
        """One for each period of the tags, and one for the units that are silent; all share the connection."""
        out, periods = [], np.array([item.every for item in self.plan.items])
        for every in sorted(set(periods.tolist())):
            mine = periods[: len(self.ids)] == every
            ids = self.ids if mine.all() else self.ids[mine]
            out.append(self.cycle(every, partial(self.poll, every), ids))
        return [*out, self._try_silent()] if len(self._periods) > 1 else out

    def patience(self) -> None:
        """Each request has its own limit."""
        return

    async def poll(self, every: float = 0.0) -> Batch:
        """One scan of what has this period (all), without the units that are silent; with them, where none is left that answers."""
        while True:
            if self._stale:
                self._replan()
            out = {unit for unit in self._periods if self.units.out(unit)} if self._answering() else set()
            requests = self.plan.requests
            asked = [k for k, r in enumerate(requests) if r.unit not in out and (not every or r.every == every)]
            began = asyncio.get_running_loop().time()
            answers = await self._scan(asked)
            if self._window and self._too_many(self._window, answers.codes[asked], began):
                continue
            if not self._learn(answers):  # else with shorter requests: what the device has costs no sample
                break
        if ASKED in answers.codes.tolist() and (answers.dead or not self._answering()):
            raise DeviceSilent(f"no answer within {self.config.timeout:g} s")
        return self._batch(answers)

    def _too_many(self, window: Window, codes: np.ndarray, began: float) -> bool:
        """Let the window learn from a scan; true when the device was asked for more at once than it takes."""
        before, seconds = window.size, asyncio.get_running_loop().time() - began
        again = window.scan(seconds, len(codes), whole=not np.isin(codes, OVERLOADED).any())
        if isinstance(self._client, Client):
            self._client.in_flight = window.size
        if window.settled and self._learned.takes(window.size, self.source.clock.utc()):
            self._remember()
        if again:
            self.source.count("overloads")
            log.info("%s: %d requests at once are too many, %d from now on", self.source.name, before, window.size)
        return again

    async def _scan(self, asked: Sequence[int]) -> Answers:
        """Ask these of the plan's requests."""
        plan, words, texts, client = self.plan, self._words, self._texts, await self._line()
        n, began = len(plan.requests), self.source.clock.utc()
        try:
            scan = await client.scan(plan.requests if len(asked) == n else [plan.requests[k] for k in asked], words)
        except ShortAnswer as error:
            self._short(error)
            raise
        if client.late:
            self.source.count("late_answers", client.late)
            client.late = 0
        if len(asked) == n:
            codes, stamps = np.array(scan.codes, np.int64), np.array(scan.stamps, np.int64)
        else:
            codes, stamps = np.full(n, WAITED), np.zeros(n, np.int64)
            codes[asked], stamps[asked] = scan.codes, scan.stamps
        if len(asked) < n or min(scan.codes, default=0) < 0 or self._told:
            self._tell({r.unit for k, r in enumerate(plan.requests) if codes[k] == ASKED})
            self.source.count("broken", scan.codes.count(BROKEN))
            if scan.why and (whose := scan.why.partition(":")[0]) not in self._said:
                self._said.add(whose)
                log.warning("%s: %s; such answers are no data", self.source.name, scan.why)
        elif plan is self.plan and self._cost and self._cost.wanted and not codes.any():
            self._measure(self._cost, began, scan.stamps)
        return Answers(plan, words, texts, codes, stamps, scan.short, scan.dead)

    def _tell(self, asked: set[int]) -> None:
        self.source.count("timeout", len(asked))
        if not self._answering():
            return
        for unit in sorted(self._periods.keys() - self._told):
            if self.units.out(unit):
                self._told.add(unit)
                log.warning("%s: unit %d does not answer; it is tried now and then", self.source.name, unit)
        for unit in sorted(self._told):
            if not self.units[unit].misses:
                self._told.remove(unit)
                log.info("%s: unit %d answers again", self.source.name, unit)

    def _batch(self, answers: Answers) -> Batch:
        """The samples of what was asked."""
        value, quality = answers.plan.decode(answers.words)
        n, codes, stamps = len(self.ids), answers.codes, answers.stamps
        tag_request = answers.plan.request_of[:n]
        ts = stamps[tag_request] if len(stamps) > 1 else np.full(n, stamps[0] if len(stamps) else 0)
        tag_codes = codes[tag_request] if any(codes.tolist()) else None
        answers.texts(answers.words, value, quality, tag_codes)
        keep: np.ndarray | None = None
        if self._clocks:
            ts, keep = self._device_time(answers, value, quality, ts)
        if tag_codes is not None:
            value[:n][tag_codes != 0] = np.nan
            quality[:n][tag_codes > 0], quality[:n][tag_codes < 0] = Quality.EXCEPTION, Quality.TIMEOUT
            quality[:n][tag_codes == BROKEN] = Quality.BAD
            answers.plan.spread(value, quality)
            ts = np.where(tag_codes < 0, self.source.clock.utc(), ts)
            keep = (keep if keep is not None else True) & (tag_codes != WAITED)
        batch = Batch.of(self.source.name, self.ids, value[:n], ts, quality[:n])
        return batch if keep is None or keep.all() else batch.where(keep)

    def _answering(self) -> bool:
        """Whether any unit answered when it was asked last, or was not asked yet."""
        return any(not self.units[unit].misses for unit in self._periods)

    async def _try_silent(self) -> None:
        """Ask the silent unit that is due longest for one request; one unit in each of the shortest periods."""
        grid, loop = Grid(self.units.period, self.source), asyncio.get_running_loop()
        while True:
            await grid.next()
            due = [unit for unit in self._periods if self.units.out(unit) and self.units[unit].due <= loop.time()]
            if due and self._answering() and self.source.ready():
                unit = min(due, key=lambda unit: self.units[unit].due)
                first = next(k for k, request in enumerate(self.plan.requests) if request.unit == unit)
                self.source.emit(self._batch(await self._scan([first])))

    def _device_time(
        self, answers: Answers, value: np.ndarray, quality: np.ndarray, ts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Stamps from the device, where a tag came in one answer with a clock that is set; else CLOCK_UNSURE. A unit whose
        clock did not move since the last scan gave nothing new: left out, counted."""
        ts, keep = ts.copy(), np.ones(len(self.ids), bool)
        request_of, refused = answers.plan.request_of, answers.codes
        for i, (_, clock, tags) in enumerate(self._clocks):
            part, request = slice(tags.start, tags.stop), request_of[clock]
            if refused[request] == WAITED:
                continue
            stamp = round(value[clock]) * self._factors[i]
            told = not refused[request] and EARLIEST <= stamp < LATEST
            same = (request_of[part] == request) & told
            quality[part] = np.where(same, quality[part], np.maximum(quality[part], Quality.CLOCK_UNSURE))
            if not told:
                self.source.count("no_device_time")
                continue
            ts[part][same] = stamp
            if stamp == self._seen[i]:
                keep[part] &= ~same
                self.source.count("unchanged_device_time")
            self._seen[i] = stamp
        return ts, keep

    def _learn(self, answers: Answers) -> bool:
        """Take what a scan teaches into the plans to come. True when it is to be repeated at once."""
        codes = answers.codes.tolist()
        if answers.short:
            self._short(answers.short)
            return False
        if answers.plan is not self.plan or not (self._attentive or max(codes, default=0) > 0):
            return False
        after = self._learned.heard(self.plan, codes, self.source.clock.utc())
        if after is After.REPEAT:
            self.source.count("reads_split")
            self._replan()
            return True
        self._stale |= after is After.REPLAN
        self._attentive = self._learned.attends(self.plan)
        if self._unsaid and after is After.NOTHING:
            self._remember()
        self._unsaid = after is After.REPLAN
        for index in np.flatnonzero(np.array(codes) > 0).tolist():
            self.source.count("exception")
            if after is After.NOTHING:
                self._say(index, codes[index])
        return False

    def _say(self, index: int, code: int) -> None:
        """That a request is refused: once, with some of the tags that this concerns."""
        names = [self._names[i] for i in self.plan.members(index) if i < len(self._names)] or ["the device time"]
        some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        why, todo = EXCEPTIONS.get(code, f"exception {code}"), WHAT_TO_TRY.get(code, "see the device's manual")
        said = f"{self.source.name}: the device refuses {self.plan.requests[index]} ({why}): {some}"
        if said not in self._said and len(self._said) < MOST_SAID:
            self._said.add(said)
            log.warning("%s; %s", said, todo)

    def _measure(self, cost: Cost, began: int, stamps: list[int]) -> None:
        """Look at the times of some scans, once in a run: does it pay to read more along?"""
        if cost.scan(began, stamps):
            self._measures = False
            self._stale |= self._learned.measured(cost.overheads())
            self._remember()

    def _short(self, error: ShortAnswer) -> None:
        self._stale |= self._learned.short(error.request, error.given)
        self._attentive = True
        self._remember()

    def _remember(self) -> None:
        if (news := self._learned.news()) is None:
            return
        self.source.remember(news)
        for line in self._learned.lines():
            if line not in self._said and len(self._said) < MOST_SAID:
                self._said.add(line)
                log.info("%s: learned: %s", self.source.name, line)

    async def probe(self) -> Sequence[str]:
        """As every poller's; each unit gets the full time-out."""
        period, self.units.period = self.units.period, math.inf
        try:
            return await super().probe()
        finally:
            self.units.period = period

    async def read(self, tag: int) -> float | str:
        """One tag, in a request of its own, ahead of those that wait."""
        plan = Plan([self.plan.items[self._items[tag]]])
        words = np.zeros(plan.words, np.uint16)
        scan = await (await self._line()).scan(plan.requests, words, ahead=True)
        if (code := scan.codes[0]) < 0:
            raise DeviceSilent("no answer")
        if code:
            raise DeviceRefused(f"the device refuses to read it: {EXCEPTIONS.get(code, code)}")
        return _held(plan, words)

    async def write(self, write: Write) -> float | str:
        """Write one coil or the registers of one tag: functions 5, 6 and 16. Returns what the registers then stand for."""
        item, value = self.plan.items[self._items[write.tag]], write.value
        try:
            words = encode_text(item, value) if isinstance(value, str) else encode_value(item, value)
        except ValueError as error:
            raise WriteRefused(str(error)) from None
        number = item.address.number
        if item.address.bits:
            pdu = struct.pack(">BHH", 5, number, 0xFF00 if words[0] else 0)
        elif len(words) == 1:
            pdu = struct.pack(">BHH", 6, number, words[0])
        else:
            pdu = struct.pack(f">BHHB{len(words)}H", 16, number, len(words), 2 * len(words), *words)
        await (await self._line()).write(item.unit, pdu)
        return _held(Plan([item]), np.array(words, np.uint16))

    async def tool(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What `lineside decode`, `probe` and `doctor` ask while the driver runs."""
        return await serve(self, request)


def _held(plan: Plan, words: np.ndarray) -> float | str:
    """What the words of a plan of one tag stand for."""
    (item,), first = plan.items, int(plan.first[0])
    return (
        decode_text(item, words[first : first + item.length])
        if item.type == "text"
        else float(plan.decode(words)[0][0])
    )


def _part(config: ModbusConfig, path: tuple[str, ...]) -> Any:
    return config if not path else config.units[path[1]]
