"""Modbus frames on lines without request numbers: RTU with its CRC, ASCII with its LRC (Modbus over Serial Line 1.02, 2.5)."""

from __future__ import annotations

import binascii
from typing import Protocol

MORE, WHOLE, WRONG = "more", "whole", "wrong"  # what a beginning may still become


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC = _crc_table()


def crc16(data: bytes) -> int:
    """The checksum of RTU frames (polynomial 0x8005 reflected, start 0xFFFF); it is sent low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def lrc(data: bytes) -> int:
    """The checksum of ASCII frames: the bytes and it add up to 0."""
    return -sum(data) & 0xFF


def answer_size(pdu: bytes) -> int:
    """Bytes of the one right answer's PDU to this request, where the device does not refuse it."""
    count = int.from_bytes(pdu[3:5])
    return {1: 2 + (count + 7) // 8, 2: 2 + (count + 7) // 8, 3: 2 + 2 * count, 4: 2 + 2 * count}.get(pdu[0], 5)


class BrokenFrame(Exception):
    """What came is no frame: its checksum or its form is wrong."""


class Framing(Protocol):
    """How a PDU travels. `longest` is the most bytes of a frame."""

    longest: int

    def frame(self, unit: int, pdu: bytes) -> bytes: ...

    def size(self, pdu: bytes) -> int:
        """Bytes on the line of a frame around this many bytes of PDU: of request and right answer together."""
        ...

    def verdict(self, got: bytes, unit: int, pdu: bytes) -> str:
        """Whether `got` can become the answer to `pdu` (MORE), may be it (WHOLE), or cannot be (WRONG)."""
        ...

    def head(self, unit: int) -> bytes:
        """What every frame of this unit begins with."""
        ...

    def came(self, got: bytes, unit: int, pdu: bytes) -> bool:
        """Whether what came, though it is no answer, has the length and the beginning of one, so that no other is to come."""
        ...

    def open(self, got: bytes) -> tuple[int, bytes]:
        """Unit and PDU of exactly one whole frame. Raises BrokenFrame."""
        ...


class Rtu:
    longest = 256

    def frame(self, unit: int, pdu: bytes) -> bytes:
        body = bytes([unit]) + pdu
        return body + crc16(body).to_bytes(2, "little")

    def size(self, pdu: bytes) -> int:
        return len(pdu) + answer_size(pdu) + 6

    def verdict(self, got: bytes, unit: int, pdu: bytes) -> str:
        if got[0] != unit:
            return WRONG
        if len(got) == 1:
            return MORE
        refused = got[1] == pdu[0] | 0x80
        size = 5 if refused else answer_size(pdu) + 3
        told = pdu[0] <= 4 and not refused and len(got) > 2 and got[2] != size - 5
        if got[1] & 0x7F != pdu[0] or told or len(got) > size:
            return WRONG
        return WHOLE if len(got) == size else MORE

    def head(self, unit: int) -> bytes:
        return bytes([unit])

    def came(self, got: bytes, unit: int, pdu: bytes) -> bool:
        heads = (bytes([unit, pdu[0]]), bytes([unit, pdu[0] | 0x80]))
        return len(got) >= answer_size(pdu) + 3 and any(head in got for head in heads)

    def open(self, got: bytes) -> tuple[int, bytes]:
        if not 4 <= len(got) <= self.longest or crc16(got):
            raise BrokenFrame
        return got[0], got[1:-2]


class Ascii:
    longest = 513

    def frame(self, unit: int, pdu: bytes) -> bytes:
        body = bytes([unit]) + pdu
        return b":" + (body + bytes([lrc(body)])).hex().upper().encode() + b"\r\n"

    def size(self, pdu: bytes) -> int:
        return 2 * (len(pdu) + answer_size(pdu)) + 14

    def verdict(self, got: bytes, unit: int, pdu: bytes) -> str:
        end = got.find(b"\n")
        if not got.startswith(b":") or -1 < end < len(got) - 1 or len(got) > 2 * answer_size(pdu) + 7:
            return WRONG
        return MORE if end < 0 else WHOLE

    def head(self, unit: int) -> bytes:
        return b":%02X" % unit

    def came(self, got: bytes, unit: int, pdu: bytes) -> bool:
        heads = (b"%02X%02X" % (unit, pdu[0]), b"%02X%02X" % (unit, pdu[0] | 0x80))
        return len(got) >= 2 * answer_size(pdu) + 7 and any(head in got.upper() for head in heads)

    def open(self, got: bytes) -> tuple[int, bytes]:
        try:
            body = binascii.unhexlify(got[1:-2])
        except ValueError:
            raise BrokenFrame from None
        if got[:1] != b":" or got[-2:] != b"\r\n" or not 3 <= len(body) <= 255 or sum(body) & 0xFF:
            raise BrokenFrame
        return body[0], body[1:-1]


FRAMINGS: dict[str, Framing] = {"rtu": Rtu(), "rtu+tcp": Rtu(), "ascii": Ascii()}
