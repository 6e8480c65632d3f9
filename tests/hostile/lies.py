"""What a device holds, what it is asked, and answers that contradict the question in one point each.

Every lie carries values that no register holds, so that one that is taken for data shows. What no reader can tell, and is
therefore not among them: an answer of the right transaction, unit, function and length with other values in it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

UNITS = (1, 7)
READS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}


class Memory:
    """What every unit's tables hold, as bytes on the wire, and beside them other values for each of them."""

    def __init__(self) -> None:
        self.true: dict[tuple[int, int], bytes] = {}
        for unit in UNITS:
            for function in (3, 4):
                words = (np.arange(200) * 40503 + unit * 7919 + function * 104729 + 1) % 65521
                self.true[unit, function] = words.astype(">u2").tobytes()
            real = struct.pack(">f", 230.25 + unit)
            self.true[unit, 3] = self.true[unit, 3][:28] + real + self.true[unit, 3][32:]
            for function in (1, 2):
                bits = (np.arange(400) * 7 + unit + function) % 3 == 0
                self.true[unit, function] = np.packbits(bits, bitorder="little").tobytes()
        self.false = {key: bytes(b ^ 0xFF for b in body) for key, body in self.true.items()}

    def expected(self, unit: int, table: str, start: int, kind: str) -> float:
        body = self.true[unit, READS[table]]
        if kind == "bool":
            return float(body[start // 8] >> start % 8 & 1)
        form = {"uint16": ">H", "uint32": ">I", "float32": ">f"}[kind]
        return float(struct.unpack_from(form, body, 2 * start)[0])


MEMORY = Memory()


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    transaction: int
    unit: int
    function: int
    start: int
    count: int

    @property
    def size(self) -> int:
        """Bytes of data that belong into its answer."""
        return (self.count + 7) // 8 if self.function <= 2 else 2 * self.count

    def data(self, kind: dict[tuple[int, int], bytes], size: int | None = None) -> bytes:
        size = self.size if size is None else size
        body = kind[self.unit, self.function]
        if self.function > 2:
            return body[2 * self.start : 2 * self.start + size]
        bits = np.unpackbits(np.frombuffer(body, np.uint8), bitorder="little")[self.start :]
        return np.packbits(bits[: min(self.count, 8 * size)], bitorder="little").tobytes()

    def frame(self, pdu: bytes, **other: int) -> bytes:
        """An answer; `transaction`, `protocol`, `length`, `unit` in place of the right ones."""
        head = {"transaction": self.transaction, "protocol": 0, "length": len(pdu) + 1, "unit": self.unit} | other
        return struct.pack(">HHHB", *head.values()) + pdu

    def pdu(self, data: bytes, count: int | None = None) -> bytes:
        return bytes([self.function, len(data) if count is None else count]) + data

    @property
    def truth(self) -> bytes:
        return self.frame(self.pdu(self.data(MEMORY.true)))

    @property
    def lie(self) -> bytes:
        """What belongs there in form, with values that no register holds."""
        return self.pdu(self.data(MEMORY.false))


def heard(data: bytes) -> list[Asked]:
    """The requests in what a reader sent."""
    out, at = [], 0
    while at < len(data):
        transaction, _, length, unit = struct.unpack_from(">HHHB", data, at)
        out.append(Asked(transaction, unit, *struct.unpack_from(">BHH", data, at + 7)))
        at += 6 + length
    return out


# Lies about one answer: each contradicts its request in one point

Lie = Callable[[random.Random, Asked], bytes]


def other(rng: random.Random, right: int, most: int = 255, least: int = 0) -> int:
    """A number that is not `right`: often a near one."""
    found = right
    while found == right:
        found = rng.choice((right ^ 1 << rng.randrange(8), right + 1, right - 1, rng.randint(least, most)))
        found = found if least <= found <= most else right
    return found


def wrong_unit(rng: random.Random, asked: Asked) -> bytes:
    return asked.frame(asked.lie, unit=other(rng, asked.unit))


def wrong_function(rng: random.Random, asked: Asked) -> bytes:
    return asked.frame(bytes([other(rng, asked.function)]) + asked.lie[1:])


def short(rng: random.Random, asked: Asked) -> bytes:
    size = rng.randrange(asked.size)
    return asked.frame(asked.pdu(asked.data(MEMORY.false, size)))


def long(rng: random.Random, asked: Asked) -> bytes:
    return asked.frame(asked.pdu(asked.data(MEMORY.false) + rng.randbytes(rng.randint(1, 40))))


def byte_count(rng: random.Random, asked: Asked) -> bytes:
    return asked.frame(asked.pdu(asked.data(MEMORY.false), count=other(rng, asked.size)))


def wrong_transaction(rng: random.Random, asked: Asked) -> bytes:
    return asked.frame(asked.lie, transaction=asked.transaction + rng.randint(1000, 20_000) & 0xFFFF)


def wrong_protocol(rng: random.Random, asked: Asked) -> bytes:
    return asked.frame(asked.lie, protocol=other(rng, 0, 65535))


def wrong_length(rng: random.Random, asked: Asked) -> bytes:
    return asked.frame(asked.lie, length=other(rng, len(asked.lie) + 1, 65535))


def odd_exception(rng: random.Random, asked: Asked) -> bytes:
    code = rng.choice((0, 7, 9, 12, *range(13, 256)))
    function = rng.choice((asked.function | 0x80, asked.function | 0x80, other(rng, asked.function | 0x80, 255, 128)))
    return asked.frame(rng.choice((bytes([function, code]), bytes([function]), bytes([function, code]) + asked.lie)))


def bare(rng: random.Random, asked: Asked) -> bytes:
    return asked.frame(bytes([asked.function]))


def echo(rng: random.Random, asked: Asked) -> bytes:
    return asked.frame(struct.pack(">BHH", asked.function, asked.start, asked.count))


def garbage(rng: random.Random, asked: Asked) -> bytes:
    return rng.randbytes(rng.randint(1, 260))


def garbled(rng: random.Random, asked: Asked) -> bytes:
    """The right header, then anything that is no answer."""
    pdu = asked.lie
    while pdu[:2] == asked.lie[:2] and len(pdu) == asked.size + 2:
        pdu = rng.randbytes(rng.choice((asked.size + 2, rng.randint(1, 253))))
    return asked.frame(pdu)


LIES: dict[str, Lie] = {
    "wrong unit": wrong_unit,
    "wrong function": wrong_function,
    "short": short,
    "long": long,
    "byte count": byte_count,
    "wrong transaction": wrong_transaction,
    "wrong protocol": wrong_protocol,
    "wrong length": wrong_length,
    "odd exception": odd_exception,
    "bare function": bare,
    "echo": echo,
    "garbage": garbage,
    "garbled": garbled,
}
