"""What hosts say to a Sparkplug B node: whether they are online, that everything is to be told anew, and orders (specification 3.0,
chapters 5 and 6). Read strictly and with bounds; knows no broker."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

from edge import CodecFault

from .sparkplug_payload import BITS, BOOLEAN, DOUBLE, EXACT, FLOAT, REBIRTH, SIGNED, STRING

MOST_COMMAND = 65_536  # bytes of a message of a host
MOST_ORDERS = 64  # metrics of one message
INT, LONG, FLOATING, DOUBLED, TRUTH, WORDS = range(10, 16)  # fields of a metric that hold a value


class Order(NamedTuple):
    """One metric of a DCMD: by `name` or `alias`, with the `field` that its value came in."""

    name: str
    alias: int
    field: int
    value: float | str


def orders(body: bytes) -> list[Order]:
    """The metrics of a DCMD that have a value. Raises CodecFault."""
    return [order for metric in _metrics(body) if (order := _order(metric)) is not None]


def asks_rebirth(body: bytes) -> bool:
    """Whether an NCMD sets `Node Control/Rebirth`. Raises CodecFault for what is no payload."""
    for metric in _metrics(body):
        said = dict(_fields(metric))
        if said.get(1) == REBIRTH.encode() and said.get(TRUTH) == 1:
            return True
    return False


def host_state(body: bytes) -> tuple[bool, int]:
    """(online, time in ms) of what a host says under STATE (JSON, since 3.0). Raises CodecFault."""
    try:
        said = json.loads(body[:MOST_COMMAND])
        online, at = said["online"], said["timestamp"]
        if not isinstance(online, bool) or not isinstance(at, int):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CodecFault(f"{body[:80]!r} is no state of a host of Sparkplug 3.0") from None
    return online, at


def value_of(order: Order, datatype: int) -> float | str | None:
    """What an order wants of a metric that was born as `datatype`; None where it is of another kind. A whole number may come for
    a Double, and either number field for either width, as clients do."""
    given = order.value
    if datatype == STRING or isinstance(given, str):
        return given if datatype == STRING and isinstance(given, str) else None
    if datatype == BOOLEAN:
        return given if given in (0, 1) else None
    if order.field == TRUTH:
        return None
    if datatype in BITS and order.field in (INT, LONG):
        whole, bits = int(given), BITS[datatype]
        whole = _signed(whole, 32 if order.field == INT else 64, bits) if datatype in SIGNED else whole
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if datatype in SIGNED else (0, (1 << bits) - 1)
        return float(whole) if low <= whole <= high and abs(whole) <= EXACT else None
    if datatype in BITS:
        return None
    return float(given) if datatype in (FLOAT, DOUBLE) and math.isfinite(given) else None


def _signed(whole: int, *widths: int) -> int:
    """Two's complement in one of these widths: clients send it in that of the field, or in the type's own."""
    for bits in widths:
        if whole > 0 and whole >> (bits - 1) == 1:
            return whole - (1 << bits)
    return whole


def _order(metric: bytes) -> Order | None:
    name, alias, kind = "", 0, 0
    found: tuple[int, float | str] | None = None
    for field, value in _fields(metric):
        if field == 1 and isinstance(value, bytes):
            name = value[:1000].decode(errors="replace")
        elif field == 2 and isinstance(value, int):
            alias = value
        elif field == 4 and isinstance(value, int):
            kind = value
        elif field in (INT, LONG, TRUTH) and isinstance(value, int):
            found = field, value
        elif field == FLOATING and isinstance(value, bytes) and len(value) == 4:
            found = field, struct.unpack("<f", value)[0]
        elif field == DOUBLED and isinstance(value, bytes) and len(value) == 8:
            found = field, struct.unpack("<d", value)[0]
        elif field == WORDS and isinstance(value, bytes):
            found = field, value.decode(errors="replace")
    if found is None:
        return None
    field, held = found
    if kind in SIGNED and field in (INT, LONG):  # as its sender says, whatever it was born as
        held = _signed(int(held), 32 if field == INT else 64, BITS[kind])
    return Order(name, alias, field, held)


def _metrics(body: bytes) -> Iterator[bytes]:
    if len(body) > MOST_COMMAND:
        raise CodecFault(f"an order of {len(body):,} bytes")
    count = 0
    for field, metric in _fields(body):
        if field == 2 and isinstance(metric, bytes):
            count += 1
            if count > MOST_ORDERS:
                raise CodecFault(f"more than {MOST_ORDERS} metrics in one order")
            yield metric


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size, at = _varint(data, at) if key & 7 == 2 else ({1: 8, 5: 4}.get(key & 7, len(data)), at)
        if at + size > len(data):
            raise CodecFault("a field that is cut off: that is no Sparkplug payload")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    out = 0
    for k, byte in enumerate(data[at : at + 10]):
        out |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            return out & 0xFFFF_FFFF_FFFF_FFFF, at + k + 1
    raise CodecFault("a number that does not end: that is no Sparkplug payload")
