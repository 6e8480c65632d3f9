"""The Modbus driver: one connection, its units, their tags."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from edge import (
    Batch,
    ConfigFault,
    DeviceLost,
    DeviceSilent,
    DriverConfig,
    Duration,
    Identifier,
    Period,
    Point,
    Poller,
    Quality,
    Source,
    Write,
    log,
)

from .address import WORDS, Address, parse_address
from .client import ASKED, EXCEPTIONS, WAITED, Client, Scan
from .plan import Item, Plan, encode_value

Type = Literal["bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
SHARE = 0.9  # of the time-out that one scan may take, so that what did answer is delivered before it
EARLIEST, LATEST = 31_536_000 * 10**9, 2**63 - 2**60  # a device clock outside 1971 to 2225 is not set
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
AddressText = Annotated[
    Address,
    BeforeValidator(parse_address),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["holding:100"]}),
]


class ModbusPoint(Point):
    """One tag of a device."""

    model_config = {"extra": "forbid", "frozen": True, "arbitrary_types_allowed": True}
    address: AddressText = Field(
        description="holding:100, input:7, coil:0, discrete:3, holding:100.3 (a bit), or 40101"
    )
    type: Type | None = Field(None, description="how the device stores it (uint16; bool for coils and bits)")
    order: Order = Field("ABCD", description="order of bytes and words; CDAB: low word first")
    scale: float = Field(1.0, description="the raw number times this ...")
    offset: float = Field(0.0, description="... plus this is the value")

    @model_validator(mode="after")
    def _fits(self) -> ModbusPoint:
        single = self.address.bits or self.address.bit is not None
        if single and self.type not in (None, "bool"):
            raise ValueError(f"{self.address} is a single bit; its type can only be bool")
        if not single and self.type == "bool" and self.address.bit is None:
            raise ValueError(f"say which bit: {self.address}.0")
        if self.scale == 0:
            raise ValueError("a scale of 0 makes every value 0")
        if not 1e-100 < abs(self.scale) < 1e100:
            raise ValueError(f"a scale of {self.scale:g} makes no usable value")
        if self.address.number + WORDS[self.stored] > 65536:
            raise ValueError(f"{self.stored} at {self.address} runs past the last register")
        if self.writable and self.address.table in ("input", "discrete"):
            raise ValueError(f"{self.address} cannot be written; {self.address.table} is a read-only table")
        if self.writable and self.address.bit is not None:
            raise ValueError(f"{self.address}: a bit of a register cannot be written alone")
        for bound in self.writable.range if self.writable else ():
            encode_value(self.item(0), bound)
        return self

    @property
    def stored(self) -> str:
        return self.type or ("bool" if self.address.bits or self.address.bit is not None else "uint16")

    def value_type(self) -> str:
        return self.stored

    def item(self, unit: int) -> Item:
        return Item(unit, self.address, self.stored, self.order, self.scale, self.offset)


class DeviceTime(BaseModel):
    """A clock in the device's registers: samples of the same request carry its time."""

    model_config = {"extra": "forbid", "frozen": True, "arbitrary_types_allowed": True}
    address: AddressText = Field(description="where its first register is, as in holding:200")
    type: Literal["unix_s", "unix_ms"] = Field(
        "unix_ms", description="32-bit seconds or 64-bit milliseconds since 1970"
    )
    order: Order = Field("ABCD", description="order of bytes and words; CDAB: low word first")

    @model_validator(mode="after")
    def _fits(self) -> DeviceTime:
        if self.address.bits or self.address.bit is not None:
            raise ValueError(f"{self.address} is a single bit; the time is in registers, as in holding:200")
        if self.item(0).span[1] > 65536:
            raise ValueError(f"{self.type} at {self.address} runs past the last register")
        return self

    def item(self, unit: int) -> Item:
        return Item(unit, self.address, "uint32" if self.type == "unix_s" else "uint64", self.order)


class UnitConfig(BaseModel):
    """One unit (slave) below the connection."""

    model_config = {"extra": "forbid", "frozen": True}
    unit: int = Field(ge=0, le=255, description="unit number (slave address)")
    time: DeviceTime | None = Field(None, description="device time, read in the same request")
    tags: dict[Identifier, ModbusPoint] = Field(default_factory=dict, description="tags of this unit, by name")


def _url(text: Any) -> str:
    parts = urlsplit(str(text))
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    if parts.scheme != "tcp" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError(f"{text!r} is no address of a device; write tcp://192.168.1.10:502")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"tcp://{host}:{port or 502}"


class ModbusConfig(DriverConfig):
    """One connection to a device or gateway."""

    url: Annotated[str, BeforeValidator(_url)] = Field(description="tcp://host:port (502)")
    unit: int = Field(1, ge=0, le=255, description="unit number of the tags directly below")
    every: Period = Field(1.0, description="how often to read")
    timeout: Period = Field(2.0, description="how long a whole scan may take")
    in_flight: int = Field(
        1, ge=1, le=32, description="requests on the wire at once; more only if the device allows it"
    )
    max_registers: int = Field(125, ge=4, le=125, description="registers the device gives in one answer")
    gap: int = Field(8, ge=0, le=120, description="unused registers read along to save a request")
    pause: Duration = Field(0.0, description="wait after connecting, for slow gateways")
    time: DeviceTime | None = Field(None, description="device time, read in the same request")
    tags: dict[Identifier, ModbusPoint] = Field(default_factory=dict, description="tags of `unit`, by name")
    units: dict[Identifier, UnitConfig] = Field(default_factory=dict, description="several units on this connection")

    def points(self) -> dict[str, Point]:
        out: dict[str, Point] = dict(self.tags)
        for name, unit in self.units.items():
            out |= {f"{name}.{tag}": point for tag, point in unit.tags.items()}
        return out

    def port(self) -> str:
        return self.url

    def faults(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if not self.points():
            yield (), "reads nothing", "add `tags:` or `units:`"
        if self.pause >= max(5.0, 2 * self.timeout):
            yield ("pause",), "as long as a connection may take in all", "shorten it or raise `timeout`"
        seen: dict[int, str] = {}
        for name, unit in self.units.items():
            if unit.unit in seen:
                yield ("units", name, "unit"), f"unit {unit.unit} is {seen[unit.unit]!r} already", "one entry per unit"
            seen[unit.unit] = name
        plan = self.plan()
        for path, clock, tags in self.clocks():
            if len({int(plan.request_of[i]) for i in (clock, *tags)}) > 1:
                yield (
                    (*path, "time"),
                    "does not fit into one request with the tags",
                    "read them as two units or raise `gap`",
                )

    def read_together(self, names: Sequence[str]) -> bool:
        plan, order = self.plan(), list(self.points())
        return len({int(plan.request_of[order.index(name)]) for name in names}) == 1

    def plan(self, cuts: Iterable[tuple[int, str, int]] = ()) -> Plan:
        """Items in the order of `points()`, then the clocks in the order of `clocks()`."""
        items = [point.item(self.unit) for point in self.tags.values()]
        items += [point.item(unit.unit) for unit in self.units.values() for point in unit.tags.values()]
        items += [self.time.item(self.unit)] if self.time else []
        items += [unit.time.item(unit.unit) for unit in self.units.values() if unit.time]
        return Plan(items, self.max_registers, self.gap, set(cuts))

    def clocks(self) -> list[tuple[tuple[str, ...], int, range]]:
        """For each device time: where it stands, its index among the items, and the tags it stamps."""
        index, start = len(self.points()), 0
        out: list[tuple[tuple[str, ...], int, range]] = []
        parts: list[tuple[tuple[str, ...], ModbusConfig | UnitConfig]] = [((), self)]
        parts += [(("units", name), unit) for name, unit in self.units.items()]
        for path, part in parts:
            tags = range(start, start + len(part.tags))
            start += len(part.tags)
            if part.time:
                out.append((path, index, tags))
                index += 1
        return out


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
        self._cuts: set[tuple[int, str, int]] = set()
        self._said: set[str] = set()
        self._silent: list[int] = []  # units that did not answer; asked last, in turn, they hold up only themselves
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self._replan()

    def _replan(self) -> None:
        self.plan = self.config.plan(self._cuts)
        self._words = np.zeros(self.plan.words, np.uint16)
        self._tag_request = self.plan.request_of[: len(self.ids)]

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
        self.source.count("late_answers", client.late)
        client.late = 0
        scan = await self._scan(client)
        value, quality = self.plan.decode(self._words)
        n, stamps = len(self.ids), np.array(scan.stamps, np.int64)
        ts = stamps[self._tag_request] if len(stamps) > 1 else np.full(n, stamps[0] if len(stamps) else 0)
        refused = np.array(scan.codes)
        if (refused > 0).any() and self._learn(scan.codes):
            return await self.poll()  # with shorter requests: what the device has costs no sample
        keep: np.ndarray | None = None
        if self._clocks:
            ts, keep = self._device_time(value, quality, ts, refused)
        if refused.any():
            codes = refused[self._tag_request]
            value[:n][codes != 0] = np.nan
            quality[:n][codes > 0], quality[:n][codes < 0] = Quality.EXCEPTION, Quality.TIMEOUT
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
        """A refused request of several tags is cut in two, until only what the device really lacks is refused. True when it
        cut."""
        changed = False
        for index, code in enumerate(codes):
            if code <= 0:
                continue
            request, members = self.plan.requests[index], self.plan.members(index)
            starts = sorted({self.plan.items[i].address.number for i in members})
            if code in (2, 3) and len(starts) > 1:  # 3: it gives fewer registers at once
                item = self.plan.items[members[0]]
                self._cuts.add((item.unit, item.address.table, starts[len(starts) // 2]))
                changed = True
                self.source.count("reads_split")
                continue
            self.source.count("exception")
            names = ", ".join(self._names[i] for i in members if i < len(self._names)) or "the device time"
            said = f"{self.source.name}: the device refuses {request} ({EXCEPTIONS.get(code, code)}): {names}"
            if said not in self._said:
                self._said.add(said)
                log.warning("%s; check address and table in the device's manual", said)
        if changed:
            self._replan()
        return changed

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

    async def write(self, write: Write) -> None:
        """Write one coil or the registers of one tag: functions 5, 6 and 16."""
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


def _part(config: ModbusConfig, path: tuple[str, ...]) -> Any:
    return config if not path else config.units[path[1]]
