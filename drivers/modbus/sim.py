"""A Modbus device made from the same YAML as the driver that reads it, on a real socket or a real line."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import numpy as np

from edge import log

from .line_sim import LineDevice, open_far_end
from .line_url import Where
from .options import ModbusConfig
from .plan import Item, encode_value
from .text import decode_text, encode_text

MOST = {1: 2000, 2: 2000, 3: 125, 4: 125}
_TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input", 5: "coil", 6: "holding", 15: "coil", 16: "holding"}


class Memory:
    """The four tables of one unit, 65,536 words each; `known` marks what exists, all else is an illegal address."""

    def __init__(self) -> None:
        self.words = {name: np.zeros(65536, np.uint16) for name in ("coil", "discrete", "holding", "input")}
        self.known = {name: np.zeros(65536, bool) for name in self.words}

    def put(self, item: Item, value: float | str) -> None:
        if isinstance(value, str) != (item.type == "text"):
            raise ValueError(f"{value!r} is no value of {item.type}")
        words = encode_text(item, value) if isinstance(value, str) else encode_value(item, value)
        at, table = item.address, self.words[item.address.table]
        if at.bit is None:
            table[at.number : at.number + len(words)] = words
        else:
            table[at.number] = (int(table[at.number]) & ~(at.top << at.bit)) | (words[0] << at.bit)

    def answer(self, pdu: bytes) -> bytes:
        """The answer to a request, by Modbus Application Protocol 1.1b3, section 6."""
        function = pdu[0]
        table = _TABLES.get(function)
        if table is None or len(pdu) < 5:
            return bytes([function | 0x80, 1])
        start, count = struct.unpack_from(">HH", pdu, 1)
        if function in (5, 6):
            return self._put(pdu, table, start, np.array([1 if count == 0xFF00 else 0] if function == 5 else [count]))
        if not 1 <= count <= MOST.get(function, 123) or start + count > 65536:
            return bytes([function | 0x80, 3 if count > MOST.get(function, 123) or not count else 2])
        if function == 16:
            return self._put(pdu, table, start, np.frombuffer(pdu[6 : 6 + 2 * count], ">u2"))
        if function == 15:
            return self._put(
                pdu, table, start, np.unpackbits(np.frombuffer(pdu[6:], np.uint8), count=count, bitorder="little")
            )
        if not self.known[table][start : start + count].all():
            return bytes([function | 0x80, 2])
        words = self.words[table][start : start + count]
        body = (
            np.packbits(words.astype(bool), bitorder="little").tobytes()
            if function <= 2
            else words.astype(">u2").tobytes()
        )
        return bytes([function, len(body)]) + body

    def _put(self, pdu: bytes, table: str, start: int, values: np.ndarray) -> bytes:
        if not self.known[table][start : start + len(values)].all():
            return bytes([pdu[0] | 0x80, 2])
        self.words[table][start : start + len(values)] = values
        return pdu[:5]


class Device(asyncio.Protocol):
    """One connected reader; answers at once, in order."""

    def __init__(self, answer: Callable[[int, bytes], bytes | None], connected: set[asyncio.Transport]) -> None:
        self._answer, self._connected = answer, connected
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._connected.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connected.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        buffer, at, out = self._buffer + data, 0, []
        while len(buffer) - at >= 8:
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", buffer, at)
            if protocol or not 2 <= length <= 254:
                self._transport.abort()
                return
            if len(buffer) - at < 6 + length:
                break
            pdu = self._answer(unit, buffer[at + 7 : at + 6 + length])
            if pdu is not None:  # a unit that is not there stays silent, as on a line
                out.append(struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu)
            at += 6 + length
        self._buffer = buffer[at:]
        if out:
            self._transport.write(b"".join(out))


class TunnelDevice(LineDevice):
    """A line behind a TCP gateway, for one connected reader."""

    def __init__(
        self, scheme: str, answer: Callable[[int, bytes], bytes | None], connected: set[asyncio.Transport]
    ) -> None:
        super().__init__(scheme, answer)
        self._connected = connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connected.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connected.discard(self._transport)


class Served:
    """Units on a real socket or a serial line; `answer` is theirs."""

    def __init__(self, name: str, where: Where) -> None:
        self.name, self.where = name, where
        self.host, self.port = where.host, where.port
        self._server: asyncio.Server | None = None
        self._hang_up: Callable[[], None] | None = None
        self._connected: set[asyncio.Transport] = set()

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """The PDU of the answer; None for a unit that stays silent."""
        raise NotImplementedError

    async def start(self) -> None:
        """Listen; port 0 picks a free one, then `port` tells which. A serial port is opened at its other end, or made."""
        if self.where.serial:
            self._hang_up = open_far_end(self.where, LineDevice(self.where.scheme, self.answer))
            log.info("%s: simulated Modbus units on %s", self.name, self.where.device)
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._device, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("%s: simulated Modbus device on %s:%d", self.name, self.host, self.port)

    def _device(self) -> asyncio.Protocol:
        if self.where.numbered:
            return Device(self.answer, self._connected)
        return TunnelDevice(self.where.scheme, self.answer, self._connected)

    async def stop(self) -> None:
        if self._hang_up is not None:
            self._hang_up()
            self._hang_up = None
        if self._server is not None:
            self._server.close()
            for transport in list(self._connected):
                transport.abort()
            self._server = None


class ModbusSim(Served):
    """Serves every unit of one driver entry. `set(tag, value)` moves a tag; `get(tag)` shows what was written to it."""

    def __init__(self, name: str, config: ModbusConfig) -> None:
        super().__init__(name, config.where)
        self.units: dict[int, Memory] = {}
        names = list(config.points())
        self.items = dict(zip(names, config.plan().items, strict=False))
        self._powers = {names[tag]: names[power] for tag, power in config.powers()}
        for item in config.plan().items:
            memory = self.units.setdefault(item.unit, Memory())
            memory.known[item.address.table][slice(*item.span)] = True
        for (
            request
        ) in config.plan().requests:  # as of most devices, what lies between is there too, unless `holes` says no
            self.units[request.unit].known[request.table][slice(*request.span)] = True

    def set(self, tag: str, value: float | str) -> None:
        item, power = self.items[tag], self._power(tag)
        if not isinstance(value, str):
            value = value / 10**power if power >= 0 else value * 10**-power
        self.units[item.unit].put(item, value)

    def _power(self, tag: str) -> float:
        return float(self.get(self._powers[tag])) if tag in self._powers else 0.0

    def get(self, tag: str) -> float | str:
        from .plan import Plan

        item = self.items[tag]
        words = self.units[item.unit].words[item.address.table][slice(*item.span)]
        if item.type == "text":
            return decode_text(item, words)
        value, power = float(Plan([item]).decode(words.copy())[0][0]), self._power(tag)
        return value * 10**power if power >= 0 else value / 10**-power

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """None for a unit that is not there: it stays silent, as on a line."""
        memory = self.units.get(unit)
        return None if memory is None else memory.answer(pdu)
