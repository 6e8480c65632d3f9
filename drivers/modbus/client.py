"""Modbus TCP, strictly: every answer must fit its request in transaction, unit, function and length, or it is no data.

Frames follow the Modbus Messaging Implementation Guide 1.0b (MBAP header: transaction, protocol 0, length, unit).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence

import numpy as np

from edge import AnswerContradicts, Clock, DeviceLost, DeviceRefused, reason_of

from .plan import Request, ShortAnswer

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledged, not done yet",
    6: "device busy",
    8: "memory parity error",
    10: "gateway has no path",
    11: "gateway's target does not answer",
}
LONGEST_PDU = 253
ASKED, WAITED = -1, -2  # in place of a code: asked and not answered in time; its turn did not come
_HEADER = struct.Struct(">HHHB")


class Scan:
    """One run of requests: where the answers go, which are still out, and how each ended."""

    __slots__ = ("codes", "done", "left", "requests", "stamps", "words")

    def __init__(self, requests: Sequence[Request], words: np.ndarray, done: asyncio.Future[None]) -> None:
        self.requests, self.words, self.done = requests, words, done
        self.left = len(requests)
        self.codes = [0] * self.left
        self.stamps = [0] * self.left


class Client(asyncio.Protocol):
    """One connection. `scan()` keeps at most `in_flight` requests on the wire; a late answer to a request given up is dropped
    by its transaction number and counted."""

    def __init__(self, clock: Clock, in_flight: int = 1) -> None:
        self._clock, self._in_flight = clock, in_flight
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._transaction = 0
        self._out: dict[int, tuple[Scan, int]] = {}
        self._waiting: list[tuple[Scan, int]] = []
        self._writing: dict[int, tuple[bytes, int, asyncio.Future[None]]] = {}
        self.late = 0
        self.quiet_end = False  # the device hung up while nothing was asked
        self.lost: Exception | None = None

    @classmethod
    async def connect(cls, host: str, port: int, clock: Clock, in_flight: int = 1) -> Client:
        """Raises DeviceLost."""
        loop = asyncio.get_running_loop()
        try:
            _, client = await loop.create_connection(lambda: cls(clock, in_flight), host, port)
        except (OSError, UnicodeError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "that is no host name"
            raise DeviceLost(
                f"cannot connect to {host}:{port}: {reason}", hint="check address, cable and firewall"
            ) from None
        return client

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

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
                    raise AnswerContradicts("the device sent something that is not Modbus TCP")
                if end - at < 6 + length:
                    break
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

    # Reading

    async def scan(self, requests: Sequence[Request], words: np.ndarray, within: float | None = None) -> Scan:
        """Send all requests; returns when each is answered. `codes` holds 0 or the exception the device answered with, and
        ASKED or WAITED for what has no answer when `within` seconds are over. Raises DeviceLost or AnswerContradicts; on
        cancellation (a time-out) what is still out is forgotten."""
        if self.lost:
            raise self.lost
        scan = Scan(requests, words, asyncio.get_running_loop().create_future())
        if not requests:
            return scan
        self._waiting.extend((scan, index) for index in range(len(requests)))
        self._send()
        try:
            async with asyncio.timeout(within):
                await scan.done
        except TimeoutError:
            for asked, code in ((self._out.values(), ASKED), (self._waiting, WAITED)):
                for _, index in (out for out in asked if out[0] is scan):
                    scan.codes[index] = code
        finally:
            if scan.left:
                self._waiting = [w for w in self._waiting if w[0] is not scan]
                self._out = {t: o for t, o in self._out.items() if o[0] is not scan}
        return scan

    def _send(self) -> None:
        room = self._in_flight - len(self._out)
        if room <= 0 or not self._waiting:
            return
        sent, self._waiting = self._waiting[:room], self._waiting[room:]
        parts = []
        for scan, index in sent:
            request = scan.requests[index]
            parts.append(_HEADER.pack(self._number(), 0, 6, request.unit) + request.pdu)
            self._out[self._transaction] = (scan, index)
        assert self._transport is not None
        self._transport.write(b"".join(parts))

    def _number(self) -> int:
        self._transaction = self._transaction % 0xFFFF + 1
        return self._transaction

    def _answer(self, transaction: int, unit: int, pdu: memoryview, now: int) -> None:
        found = self._out.get(transaction)
        if found is None:
            self._other_answer(transaction, unit, pdu)
            return
        scan, index = found
        request = scan.requests[index]
        function = pdu[0]
        if unit != request.unit:
            raise AnswerContradicts(f"{request}: answered by unit {unit}")
        if function == request.function | 0x80 and len(pdu) == 2:
            scan.codes[index] = pdu[1] or 4
        elif function != request.function:
            raise AnswerContradicts(f"{request}: answered with function {function}")
        else:
            self._fill(scan.words, request, pdu)
        del self._out[transaction]  # not before: whoever waits for an answer that contradicts has to be told
        scan.stamps[index] = now
        scan.left -= 1
        if not scan.left and not scan.done.done():
            scan.done.set_result(None)
        if self._waiting:
            self._send()

    @staticmethod
    def _fill(words: np.ndarray, request: Request, pdu: memoryview) -> None:
        bits = request.function <= 2
        size = (request.count + 7) // 8 if bits else 2 * request.count
        if len(pdu) != size + 2 or pdu[1] != size:
            if len(pdu) == pdu[1] + 2 < size + 2:
                raise ShortAnswer(request, pdu[1] * 8 if bits else pdu[1] // 2)
            raise AnswerContradicts(
                f"{request}: answered {len(pdu) - 2} bytes, counted as {pdu[1]}, where {size} belong"
            )
        at = slice(request.at, request.at + request.count)
        if bits:
            words[at] = np.unpackbits(np.frombuffer(pdu[2:], np.uint8), count=request.count, bitorder="little")
        else:
            words[at] = np.frombuffer(pdu[2:], ">u2")

    # Writing

    async def write(self, unit: int, pdu: bytes) -> None:
        """Send a write ahead of reads that wait and return when the device confirmed it. Raises DeviceRefused."""
        if self.lost:
            raise self.lost
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number = self._number()
        self._writing[number] = (pdu, unit, done)
        assert self._transport is not None
        self._transport.write(_HEADER.pack(number, 0, len(pdu) + 1, unit) + pdu)
        try:
            await done
        finally:
            self._writing.pop(number, None)

    def _other_answer(self, transaction: int, unit: int, pdu: memoryview) -> None:
        found = self._writing.pop(transaction, None)
        if found is None:
            self.late += 1
            return
        sent, wanted, done = found
        if done.done():
            return
        if unit == wanted and pdu[0] == sent[0] | 0x80 and len(pdu) == 2:
            done.set_exception(DeviceRefused(f"the device refused the write: {EXCEPTIONS.get(pdu[1], pdu[1])}"))
        elif unit == wanted and bytes(pdu) == sent[:5]:
            done.set_result(None)
        else:
            done.set_exception(AnswerContradicts("the device confirmed something else than was written"))

    # The end

    def _break(self, error: Exception) -> None:
        self.lost = error
        if self._transport is not None:
            self._transport.abort()
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.lost = self.lost or error
        for scan in {id(s): s for s, _ in (*self._out.values(), *self._waiting)}.values():
            if not scan.done.done():
                scan.done.set_exception(error)
        for _, _, done in self._writing.values():
            if not done.done():
                done.set_exception(error)
        self._out, self._waiting, self._writing = {}, [], {}

    def close(self) -> None:
        """Hang up; whoever still waits gets DeviceLost."""
        self._break(DeviceLost("closed"))
