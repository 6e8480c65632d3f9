"""Addresses as people write them, and types as devices store them."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

TABLES = ("coil", "discrete", "holding", "input")
BITS = ("coil", "discrete")  # those that hold single bits
_CLASSIC = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
WORDS = {
    "bool": 1,
    "int16": 1,
    "uint16": 1,
    "int32": 2,
    "uint32": 2,
    "float32": 2,
    "int64": 4,
    "uint64": 4,
    "float64": 4,
    "signmag16": 1,
    "signmag32": 2,
}
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A place in a device's memory, zero-based: `holding:100`, `holding:100.3` for a bit of a register, `holding:100.8..11` for
    a number in some of its bits."""

    table: str
    number: int
    bit: int | None = None
    last: int | None = None  # bit, of a number in several

    @property
    def bits(self) -> bool:
        """Whether the table itself holds single bits."""
        return self.table in BITS

    @property
    def single(self) -> bool:
        """Whether one bit is all it is."""
        return self.bits or (self.bit is not None and self.last is None)

    @property
    def top(self) -> int:
        """The largest number that the bits of a register hold."""
        return (2 << ((self.last or self.bit or 0) - (self.bit or 0))) - 1

    def __str__(self) -> str:
        bit = "" if self.bit is None else f".{self.bit}" if self.last is None else f".{self.bit}..{self.last}"
        return f"{self.table}:{self.number}{bit}"


def parse_address(text: Any) -> Address:
    """`holding:100`, `holding:100.3`, `holding:100.8..11`, or the classic 40101 / 400101 (one-based, quoted or not). Raises
    ValueError."""
    if isinstance(text, Address):
        return text
    text = str(text).strip()
    named = re.fullmatch(r"([a-z]+):(\d{1,5})(?:\.(\d{1,2})(?:\.\.(\d{1,2}))?)?", text)
    if named and named[1] in TABLES:
        bit, last = (None if part is None else int(part) for part in named.groups()[2:])
        address = Address(sys.intern(named[1]), int(named[2]), bit, None if last == bit else last)
    elif re.fullmatch(r"[0134]\d{4,5}", text):
        address = Address(_CLASSIC[text[0]], int(text[1:]) - 1)
        if address.number < 0:
            raise ValueError(f"{text!r} does not exist: classic addresses count from one ({text[:-1]}1)")
    else:
        raise ValueError(
            f"{text!r} is no address; write holding:100, input:7, coil:0, discrete:3, holding:100.3 or 40101"
        )
    if address.number > 65535:
        raise ValueError(f"{text!r} is past the last address, 65535")
    if address.bit is not None and (address.bits or max(address.bit, address.last or 0) > 15):
        raise ValueError(f"{text!r}: bits 0 to 15 exist in holding and input registers only")
    if address.last is not None and address.last < (address.bit or 0):
        raise ValueError(f"{text!r} runs backwards; write the lower bit first, as in holding:100.8..11")
    return address


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Addresses of one table, from `first` to before `end`: `holding:120..139`."""

    table: str
    first: int
    end: int

    def __str__(self) -> str:
        last = "" if self.end == self.first + 1 else f"..{self.end - 1}"
        return f"{self.table}:{self.first}{last}"


def parse_span(text: Any) -> Span:
    """`holding:120..139` (both ends belong to it), `40121..40140`, or one address. Raises ValueError."""
    if isinstance(text, Span):
        return text
    first, dots, last = (part.strip() for part in str(text).partition(".."))
    begin = parse_address(first)
    bare = ":" in first and last.isdecimal()
    until = parse_address(f"{begin.table}:{last}" if bare else last) if dots else begin
    if begin.table != until.table or begin.bit is not None or until.bit is not None:
        raise ValueError(f"{text!r} is no range of addresses; write holding:120..139")
    if until.number < begin.number:
        raise ValueError(f"{text!r} runs backwards")
    return Span(begin.table, begin.number, until.number + 1)


@cache
def ratio(scale: float) -> tuple[float, float]:
    """A scale as numerator and denominator, so that 1234 at 0.1 becomes 123.4 and not 123.4000000001."""
    exact = Fraction(repr(scale))
    return float(exact.numerator), float(exact.denominator)
