"""Modbus TCP, strictly: every answer must fit its request in transaction, unit, function and length, or it is no data.

Frames follow the Modbus Messaging Implementation Guide 1.0b (MBAP header: transaction, protocol 0, length, unit).
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from edge import AnswerContradicts, Clock, DeviceLost, DeviceSilent

from .line_units import NOBODY_THERE, Units
from .plan import Request
from .scans import ASKED, CONFIRMED_OTHER, WAITED, Scan, dial, fill, write_refused

LONGEST_PDU = 253
MOST_GIVEN_UP = 64  # requests whose late answers are known by their unit
_HEADER = struct.Struct(">HHHB")
# Said after each write: acknowledge at once what comes. A device with Nagle's algorithm, such as one on libmodbus, keeps its second
# answer back until the first is acknowledged, for which a system otherwise takes 40 ms (RFC 1122, 4.2.3.2; Linux, tcp(7)).
QUICKACK = getattr(socket, "TCP_QUICKACK", None)


@dataclass(slots=True)
class Order:
    """A write on its way; `timer` runs from when it left."""

    unit: int
    pdu: bytes
    done: asyncio.Future[None]
    timer: asyncio.TimerHandle | None = None


class Client(asyncio.Protocol):
    """One connection. At most `in_flight` requests are on the wire, writes ahead of reads; a late answer to one given up is
    dropped by its transaction number and counted."""

    def __init__(self, clock: Clock, units: Units, in_flight: int = 1) -> None:
        self._clock, self.units, self.in_flight = clock, units, in_flight
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._transaction = 0
        self._out: dict[int, tuple[Scan, int, float]] = {}  # scan, index, the loop's time at which it left
        self._waiting: list[tuple[Scan, int]] = []
        self._given_up: dict[int, tuple[Request, float]] = {}  # and when it was asked
        self._watch: asyncio.TimerHandle | None = None
        self._writing: dict[int, Order] = {}
        self._orders: list[int] = []  # those of them that have not left yet
        self.late = 0
        self.quiet_end = False  # the device hung up while nothing was asked
        self.lost: Exception | None = None
        self.tap: Callable[[str, bytes], None] | None = None  # shown every frame, as ("out" or "in", bytes)

    @classmethod
    async def connect(cls, host: str, port: int, clock: Clock, units: Units, in_flight: int = 1) -> Client:
        """Raises DeviceLost."""
        return await dial(lambda: cls(clock, units, in_flight), host, port)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._socket = transport.get_extra_info("socket")

    def connection_lost(self, error: Exception | None) -> None:
        self.eof_received()
        self._fail(self.lost or DeviceLost("the device closed the connection"))

    def eof_received(self) -> None:
        self.quiet_end |= self.lost is None and not (self._out or self._waiting or self._writing)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at, end, now = 0, len(buffer), self._clock.utc()
        try:
            while end - at >= 8:
                transaction, protocol, length, unit = _HEADER.unpack_from(buffer, at)
                if protocol or not 2 <= length <= LONGEST_PDU + 1:
                    if self.tap:
                        self.tap("in", bytes(buffer[at:]))
                    raise AnswerContradicts("the device sent something that is not Modbus TCP")
                if end - at < 6 + length:
                    break
                if self.tap:
                    self.tap("in", bytes(buffer[at : at + 6 + length]))
                self._answer(transaction, unit, memoryview(buffer)[at + 7 : at + 6 + length], now)
                at += 6 + length
        except AnswerContradicts as error:
            self._buffer = bytearray()
            self._break(error)
            return
        if at == end:
            self._buffer = bytearray()
        elif at:
            self._buffer = buffer[at:]
        if self._waiting or self._orders:
            self._send()

    # Reading

    async def scan(
        self, requests: Sequence[Request], words: np.ndarray, within: float | None = None, *, ahead: bool = False
    ) -> Scan:
        """Send all requests, `ahead` of those that wait; returns when each has ended. `codes` holds 0, the exception the device
        answered with, or ASKED for what had no answer `within` so many seconds (as long as its unit may take); of one unit
        nothing more is asked then, nor after a gateway's word that it is not there, and of none, WAITED, once two did not answer
        and nobody else did.
        Raises DeviceLost or AnswerContradicts; on cancellation what is still out is forgotten."""
        if self.lost:
            raise self.lost
        scan = Scan(requests, words, self._loop.create_future(), within)
        if not requests:
            return scan
        mine = [(scan, index) for index in range(len(requests))]
        self._waiting = [*mine, *self._waiting] if ahead else [*self._waiting, *mine]
        self._send()
        try:
            await scan.done
        finally:
            if scan.left:
                self._waiting = [w for w in self._waiting if w[0] is not scan]
                for transaction, index in [(t, i) for t, (s, i, _) in self._out.items() if s is scan]:
                    self._forget(transaction, scan.requests[index])
                self._send()
        return scan

    def _send(self) -> None:
        room = self.in_flight - len(self._out) - len(self._writing) + len(self._orders)
        while room > 0 and self._orders:
            number, room = self._orders.pop(0), room - 1
            order = self._writing[number]
            order.timer = self._loop.call_later(self.units.timeout, self._unconfirmed, order)
            self._write(_HEADER.pack(number, 0, len(order.pdu) + 1, order.unit) + order.pdu)
        if room <= 0 or not self._waiting:
            return
        sent, self._waiting = self._waiting[:room], self._waiting[room:]
        parts, now, due = [], self._loop.time(), math.inf
        for scan, index in sent:
            request = scan.requests[index]
            parts.append(_HEADER.pack(self._number(), 0, 6, request.unit) + request.pdu)
            self._out[self._transaction] = (scan, index, now)
            due = min(due, now + scan.limit(self.units, request.unit))
        self._write(*parts)
        if self._watch is None or due < self._watch.when():
            self._look_again(due)

    def _look_again(self, due: float) -> None:
        """Look at the loop's time `due` for what is out too long."""
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_at(due, self._give_up)

    def _give_up(self) -> None:
        """End what is out for longer than its unit may take, and what else that scan wants of the unit. The others that are out
        waited behind it in the gateway: their time begins anew."""
        now = self._loop.time()
        late = (o for o in self._out.values() if now >= o[2] + o[0].limit(self.units, o[0].requests[o[1]].unit))
        if found := next(late, None):
            scan, unit = found[0], found[0].requests[found[1]].unit
            dead = scan.missed(self.units, unit, now)
            scan.hurried = scan.misses > 1
            mine = [(t, i) for t, (s, i, _) in self._out.items() if s is scan and s.requests[i].unit == unit]
            for transaction, index in mine:
                self._forget(transaction, scan.requests[index])
                scan.end(index, ASKED, 0)
            self._skip(scan, unit, ASKED, 0)
            if dead:
                self._leave(scan)
            elif self.units.hurry(scan.misses):  # whoever has the full time-out has its turn in the next scan
                for stranger in {scan.requests[i].unit for s, i in self._waiting if s is scan}:
                    if self.units[stranger].stranger:
                        self._skip(scan, stranger, WAITED, 0)
            self._out = {t: (s, i, now) for t, (s, i, _) in self._out.items()}
        self._watch = None
        ends = [at + scan.limit(self.units, scan.requests[index].unit) for scan, index, at in self._out.values()]
        if ends:
            self._look_again(max(now, min(ends)))
        self._send()

    def _skip(self, scan: Scan, unit: int, code: int, stamp: int) -> None:
        """What this scan still wants of the unit is not asked."""
        for _, index in [w for w in self._waiting if w[0] is scan and scan.requests[w[1]].unit == unit]:
            self._waiting.remove((scan, index))
            scan.end(index, code, stamp)

    def _forget(self, transaction: int, request: Request) -> None:
        """Nobody waits for it any more; what comes late is still held against it."""
        self._given_up[transaction] = request, self._out.pop(transaction)[2]
        while len(self._given_up) > MOST_GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]

    def _leave(self, scan: Scan) -> None:
        """Nothing more of this scan is asked or waited for."""
        left = [(t, i) for t, (s, i, _) in self._out.items() if s is scan]
        for transaction, index in left:
            self._forget(transaction, scan.requests[index])
            scan.end(index, WAITED, 0)
        for _, index in [w for w in self._waiting if w[0] is scan]:
            scan.end(index, WAITED, 0)
        self._waiting = [w for w in self._waiting if w[0] is not scan]

    def _write(self, *frames: bytes) -> None:
        if self.tap:
            for frame in frames:
                self.tap("out", frame)
        assert self._transport is not None
        self._transport.write(b"".join(frames))
        if QUICKACK and self._socket is not None:
            with suppress(OSError):  # it closed meanwhile, which is told elsewhere
                self._socket.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)

    def _number(self) -> int:
        self._transaction = self._transaction % 0xFFFF + 1
        return self._transaction

    def _answer(self, transaction: int, unit: int, pdu: memoryview, now: int) -> None:
        found = self._out.get(transaction)
        if found is None:
            self._other_answer(transaction, unit, pdu)
            return
        scan, index, at = found
        request = scan.requests[index]
        function = pdu[0]
        if unit != request.unit:
            raise AnswerContradicts(f"{request}: answered by unit {unit}")
        if function == request.function | 0x80 and len(pdu) == 2:
            scan.codes[index] = pdu[1] or 4
        elif function != request.function:
            raise AnswerContradicts(f"{request}: answered with function {function}")
        else:
            fill(scan.words, request, pdu)
        del self._out[transaction]  # not before: whoever waits for an answer that contradicts has to be told
        heard = self._loop.time()
        self.units.answered(unit, heard, heard - at, scan.codes[index])
        scan.end(index, scan.codes[index], now)
        if scan.codes[index] in NOBODY_THERE:
            self._skip(scan, unit, scan.codes[index], now)

    # Writing

    async def write(self, unit: int, pdu: bytes) -> None:
        """Send a write ahead of reads that wait and return when the device confirmed it. Raises DeviceRefused, DeviceSilent,
        AnswerContradicts; after these two it may have been done."""
        if self.lost:
            raise self.lost
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number = self._number()
        order = self._writing[number] = Order(unit, pdu, done)
        self._orders.append(number)
        self._send()
        try:
            await done
        finally:
            if order.timer is not None:
                order.timer.cancel()
            self._writing.pop(number, None)
            self._orders = [order for order in self._orders if order != number]
            self._send()

    @staticmethod
    def _unconfirmed(order: Order) -> None:
        if not order.done.done():
            order.done.set_exception(DeviceSilent(f"unit {order.unit} does not answer; the write may have been done"))

    def _other_answer(self, transaction: int, unit: int, pdu: memoryview) -> None:
        found = self._writing.pop(transaction, None)
        if found is None:
            self._late_answer(transaction, unit, pdu)
            return
        sent, wanted, done = found.pdu, found.unit, found.done
        if done.done():
            return
        if unit == wanted and pdu[0] == sent[0] | 0x80 and len(pdu) == 2:
            done.set_exception(write_refused(pdu[1]))
        elif unit == wanted and bytes(pdu) == sent[:5]:
            done.set_result(None)
        else:
            done.set_exception(AnswerContradicts(f"{CONFIRMED_OTHER}; the write may have been done"))

    def _late_answer(self, transaction: int, unit: int, pdu: memoryview) -> None:
        """No data any more, but a sign that its unit is there. One that contradicts its request ends the connection as any other
        does: its length may have swallowed the answers that came behind it."""
        self.late += 1
        request, at = self._given_up.pop(transaction, (None, 0.0))
        if request is None:
            return
        refused = pdu[0] == request.function | 0x80 and len(pdu) == 2
        if unit != request.unit or not (refused or pdu[0] == request.function):
            raise AnswerContradicts(f"{request}: answered late by unit {unit}, function {pdu[0]}")
        self.units[unit].late += 1
        if not refused:
            fill(np.empty(request.at + request.count, np.uint16), request, pdu)
            now = self._loop.time()
            self.units.answered(unit, now, now - at, 0)

    # The end

    def _break(self, error: Exception) -> None:
        self.lost = error
        if self._transport is not None:
            self._transport.abort()
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.lost = self.lost or error
        if self._watch is not None:
            self._watch.cancel()
        scans = [scan for scan, _, _ in self._out.values()] + [scan for scan, _ in self._waiting]
        for scan in scans:
            if not scan.done.done():
                scan.done.set_exception(error)
        for order in self._writing.values():
            if not order.done.done():
                order.done.set_exception(error)
        self._out, self._waiting, self._writing, self._orders = {}, [], {}, []

    def close(self) -> None:
        """Hang up; whoever still waits gets DeviceLost."""
        self._break(DeviceLost("closed"))
