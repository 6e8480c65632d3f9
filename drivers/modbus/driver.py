"""The Modbus driver: one connection, its units, their tags."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from edge import Batch, ConfigFault, DeviceLost, DeviceRefused, DeviceSilent, Poller, Quality, Source, Write, log

from .client import ASKED, EXCEPTIONS, WAITED, Client, Scan
from .cost import Cost
from .learned import After, Learned
from .options import ModbusConfig
from .plan import Plan, ShortAnswer, encode_value
from .tape import Tape
from .text import TextColumns
from .tool import serve

MOST_SAID = 1000  # different refusals that are logged
SHARE = 0.9  # of the time-out that one scan may take, so that what did answer is delivered before it
EARLIEST, LATEST = 31_536_000 * 10**9, 2**63 - 2**60  # a device clock outside 1971 to 2225 is not set


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
        self._measures = config.gap == "auto" and config.in_flight == 1
        self._said: set[str] = set()
        self._silent: list[int] = []  # units that did not answer; asked last, in turn, they hold up only themselves
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self.tape = Tape(source.clock)
        self._replan()

    def _replan(self) -> None:
        self._stale = False
        self.plan = self.config.plan(self._learned)
        self._attentive = self._learned.attends(self.plan)
        self._cost = Cost(self.plan.requests) if self._measures else None
        self._words = np.zeros(self.plan.words, np.uint16)
        self._tag_request = self.plan.request_of[: len(self.ids)]
        self._texts = TextColumns(self.plan, self.ids, self.source)

    async def connect(self) -> None:
        parts = urlsplit(self.config.url)
        self._client = await Client.connect(
            parts.hostname or "", parts.port or 502, self.source.clock, self.config.in_flight
        )
        if self.config.pause:
            await asyncio.sleep(self.config.pause)

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _line(self) -> Client:
        """The connection. One that the device closed while it was quiet, as many gateways do, is made anew: no failure."""
        async with self._opening:
            if self._client is None:
                raise DeviceLost("not connected")
            if self._client.quiet_end and not self.config.pause:
                self.source.count("reconnects")
                await self.connect()
            return self._client

    async def poll(self) -> Batch:
        client = await self._line()
        if self._stale:
            self._replan()
        self.source.count("late_answers", client.late)
        client.late = 0
        began = self.source.clock.utc()
        try:
            scan = await self._scan(client)
        except ShortAnswer as error:
            self._stale |= self._learned.short(error.request, error.given)
            self._attentive = True
            self._remember()
            raise
        value, quality = self.plan.decode(self._words)
        n, stamps = len(self.ids), np.array(scan.stamps, np.int64)
        ts = stamps[self._tag_request] if len(stamps) > 1 else np.full(n, stamps[0] if len(stamps) else 0)
        refused = np.array(scan.codes)
        if (self._attentive or (refused > 0).any()) and self._learn(scan.codes):
            return await self.poll()  # with shorter requests: what the device has costs no sample
        if self._cost and self._cost.wanted and not refused.any() and not self._silent:
            self._measure(self._cost, began, scan.stamps)
        codes = refused[self._tag_request] if refused.any() else None
        self._texts(self._words, value, quality, codes)
        keep: np.ndarray | None = None
        if self._clocks:
            ts, keep = self._device_time(value, quality, ts, refused)
        if codes is not None:
            value[:n][codes != 0] = np.nan
            quality[:n][codes > 0], quality[:n][codes < 0] = Quality.EXCEPTION, Quality.TIMEOUT
            self.plan.spread(value, quality)
            ts = np.where(codes < 0, self.source.clock.utc(), ts)
            keep = (keep if keep is not None else True) & (codes != WAITED)
        batch = Batch.of(self.source.name, self.ids, value[:n], ts, quality[:n])
        return batch if keep is None or keep.all() else batch.where(keep)

    async def _scan(self, client: Client) -> Scan:
        """One run of the plan's requests. Of several units one that is silent takes the time that is left, not the others'
        values."""
        requests = self.plan.requests
        if len({request.unit for request in requests}) < 2:
            return await client.scan(requests, self._words)
        order = list(range(len(requests)))
        if self._silent:
            turn = {unit: k for k, unit in enumerate(self._silent, 1)}
            order.sort(key=lambda i: turn.get(requests[i].unit, 0))
        scan = await client.scan([requests[i] for i in order], self._words, SHARE * self.config.timeout)
        asked = {requests[i].unit for i, code in zip(order, scan.codes, strict=True) if code == ASKED}
        heard = {requests[i].unit for i, code in zip(order, scan.codes, strict=True) if code >= 0} - asked
        for unit in sorted(asked - set(self._silent)):
            log.warning("%s: unit %d does not answer; it is asked after the others", self.source.name, unit)
        for unit in sorted(heard & set(self._silent)):
            log.info("%s: unit %d answers again", self.source.name, unit)
        self._silent = [u for u in self._silent if u not in asked | heard] + sorted(asked)
        if not heard:
            raise DeviceSilent(f"no answer within {self.config.timeout:g} s")
        self.source.count("timeout", len(asked))
        back = np.argsort(order)
        scan.codes, scan.stamps = [scan.codes[k] for k in back], [scan.stamps[k] for k in back]
        return scan

    def _device_time(
        self, value: np.ndarray, quality: np.ndarray, ts: np.ndarray, refused: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Stamps from the device, where a tag came in one answer with a clock that is set; else CLOCK_UNSURE. A unit whose
        clock did not move since the last scan gave nothing new: left out, counted."""
        ts, keep = ts.copy(), np.ones(len(self.ids), bool)
        for i, (_, clock, tags) in enumerate(self._clocks):
            part, request = slice(tags.start, tags.stop), self.plan.request_of[clock]
            stamp = round(value[clock]) * self._factors[i]
            told = not refused[request] and EARLIEST <= stamp < LATEST
            same = (self._tag_request[part] == request) & told
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

    def _learn(self, codes: list[int]) -> bool:
        """Take what a scan teaches into the plans to come. True when it is to be repeated at once."""
        after = self._learned.heard(self.plan, codes, self.source.clock.utc())
        if after is After.REPEAT:
            self.source.count("reads_split")
            self._replan()
            return True
        self._stale |= after is After.REPLAN
        self._attentive = self._learned.attends(self.plan)
        self._remember()
        for index in np.flatnonzero(np.array(codes) > 0).tolist():
            self.source.count("exception")
            if after is After.NOTHING:
                self._say(index, codes[index])
        return False

    def _say(self, index: int, code: int) -> None:
        """That a request is refused: once, with some of the tags that this concerns."""
        names = [self._names[i] for i in self.plan.members(index) if i < len(self._names)] or ["the device time"]
        some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        why = EXCEPTIONS.get(code, code)
        said = f"{self.source.name}: the device refuses {self.plan.requests[index]} ({why}): {some}"
        if said not in self._said and len(self._said) < MOST_SAID:
            self._said.add(said)
            log.warning("%s; check address and table in the device's manual", said)

    def _measure(self, cost: Cost, began: int, stamps: list[int]) -> None:
        """Look at the times of some scans, once in a run: does it pay to read more along?"""
        if cost.scan(began, stamps):
            self._measures = False
            self._stale |= self._learned.measured(cost.overheads())
            self._remember()

    def _remember(self) -> None:
        if self._learned.news:
            self.source.remember(self._learned.facts())

    async def probe(self) -> Sequence[str]:
        """As every poller's; a unit that is silent hides none of the others."""
        lines: dict[str, str] = {}
        for left in reversed(range(len({request.unit for request in self.plan.requests}))):
            try:
                lines |= {line.partition(" = ")[0]: line for line in await super().probe()}
            except DeviceSilent:
                if not left and not lines:
                    raise
            if len(lines) == len(self.ids):
                break
        return list(lines.values())

    async def read(self, tag: int) -> float:
        """One tag, in a request of its own."""
        plan = Plan([self.plan.items[self._items[tag]]])
        words = np.zeros(plan.words, np.uint16)
        async with asyncio.timeout(self.config.timeout):
            scan = await (await self._line()).scan(plan.requests, words)
        if (code := scan.codes[0]) < 0:
            raise DeviceSilent("no answer")
        if code:
            raise DeviceRefused(f"the device refuses to read it: {EXCEPTIONS.get(code, code)}")
        return float(plan.decode(words)[0][0])

    async def write(self, write: Write) -> float:
        """Write one coil or the registers of one tag: functions 5, 6 and 16. Returns what the registers then stand for."""
        item = self.plan.items[self._items[write.tag]]
        try:
            words = encode_value(item, write.value)
        except ValueError as error:
            raise ConfigFault(str(error)) from None
        number = item.address.number
        if item.address.bits:
            pdu = struct.pack(">BHH", 5, number, 0xFF00 if words[0] else 0)
        elif len(words) == 1:
            pdu = struct.pack(">BHH", 6, number, words[0])
        else:
            pdu = struct.pack(f">BHHB{len(words)}H", 16, number, len(words), 2 * len(words), *words)
        async with asyncio.timeout(self.config.timeout):
            await (await self._line()).write(item.unit, pdu)
        return float(Plan([item]).decode(np.array(words, np.uint16))[0][0])

    async def tool(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What `lineside decode`, `probe` and `doctor` ask while the driver runs."""
        return await serve(self, request)


def _part(config: ModbusConfig, path: tuple[str, ...]) -> Any:
    return config if not path else config.units[path[1]]
