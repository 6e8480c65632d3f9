"""Frames of a connection -> what was asked and what was answered, each answer with its request."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edge import WireFrame

from .client import LONGEST_PDU
from .line_frames import FRAMINGS, BrokenFrame
from .plan import FUNCTIONS
from .scans import EXCEPTIONS

_TABLES = {code: name for name, code in FUNCTIONS.items()}
_WRITES = {5: "coil", 6: "holding", 15: "coil", 16: "holding"}
_HEADER = struct.Struct(">HHHB")
MOST_OPEN = 256  # requests that wait for their answer; a device has far fewer in flight


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer (PDUs; None: none came). `ts` ns UTC of the request, `took` ns to the answer."""

    ts: int
    unit: int
    ask: bytes
    answer: bytes | None = None
    took: int = 0


def exchanges(scheme: str, frames: Iterable[WireFrame], left_out: Counter[str]) -> list[Exchange]:
    """In the order of the requests. What belongs to none is counted in `left_out`, by cause."""
    found = _numbered(frames, left_out) if scheme == "tcp" else _in_turn(scheme, frames, left_out)
    return sorted(found, key=lambda exchange: (exchange.ts, exchange.unit))


def _numbered(frames: Iterable[WireFrame], left_out: Counter[str]) -> Iterator[Exchange]:
    """Modbus TCP: by transaction number."""
    waiting: dict[int, tuple[int, int, bytes]] = {}
    for ts, way, transaction, unit, pdu in adus(frames, left_out):
        if way == "out":
            if transaction in waiting:
                yield Exchange(*waiting.pop(transaction))
            waiting[transaction] = (ts, unit, pdu)
            if len(waiting) > MOST_OPEN:
                yield Exchange(*waiting.pop(next(iter(waiting))))
        elif transaction not in waiting:
            left_out["answers without a request"] += 1
        elif waiting[transaction][1] != unit or waiting[transaction][2][0] != pdu[0] & 0x7F:
            left_out["answers that contradict their request"] += 1
        else:
            asked, unit, ask = waiting.pop(transaction)
            yield Exchange(asked, unit, ask, pdu, max(0, ts - asked))
    for open_ in waiting.values():
        yield Exchange(*open_)


def adus(frames: Iterable[WireFrame], left_out: Counter[str]) -> Iterator[tuple[int, str, int, int, bytes]]:
    """(ns, way, transaction, unit, PDU) of each Modbus TCP frame; frames may come in pieces, or several in one."""
    rest = {"out": b"", "in": b""}
    for ts, way, data in frames:
        buffer, at = rest[way] + data, 0
        while len(buffer) - at >= 8:
            transaction, protocol, length, unit = _HEADER.unpack_from(buffer, at)
            if protocol or not 2 <= length <= LONGEST_PDU + 1:
                left_out["frames that are no Modbus"] += 1
                at = len(buffer)
                break
            if len(buffer) - at < 6 + length:
                break
            yield ts, way, transaction, unit, buffer[at + 7 : at + 6 + length]
            at += 6 + length
        rest[way] = buffer[at:]
    left_out["frames cut off"] += sum(map(bool, rest.values()))


def _in_turn(scheme: str, frames: Iterable[WireFrame], left_out: Counter[str]) -> Iterator[Exchange]:
    """Lines: what came between one request and the next is its answer, if it is a whole frame."""
    framing = FRAMINGS[scheme]
    asked: tuple[int, int, bytes] | None = None
    came, last = b"", 0

    def ended() -> Iterator[Exchange]:
        if asked is None:
            left_out["answers without a request"] += bool(came)
            return
        sent = framing.frame(*asked[1:])
        echoed = came.startswith(sent) and (came != sent or asked[2][0] in _TABLES)  # a write is confirmed with itself
        answer = came[len(sent) :] if echoed else came
        try:
            unit, pdu = framing.open(answer) if answer else (asked[1], b"")
            if answer and (unit != asked[1] or pdu[0] & 0x7F != asked[2][0]):
                left_out["answers that contradict their request"] += 1
                pdu = b""
        except BrokenFrame:
            left_out["answers with a wrong checksum"] += 1
            pdu = b""
        yield Exchange(*asked, pdu or None, last - asked[0] if pdu else 0)

    for ts, way, data in frames:
        if way == "in":
            came, last = (came + data)[:1024], ts
            continue
        yield from ended()
        came = b""
        try:
            asked = (ts, *framing.open(data))
        except BrokenFrame:
            asked = None
            left_out["frames that are no Modbus"] += 1
    yield from ended()


def describe(scheme: str, way: str, data: bytes) -> str:
    """One frame in plain words."""
    try:
        if scheme == "tcp":
            (_, _, _, unit, pdu), *more = adus([WireFrame(0, way, data)], Counter())
        else:
            (unit, pdu), more = FRAMINGS[scheme].open(data), []
        said = f"unit {unit} {_request(pdu) if way == 'out' else _answer(pdu)}"
        return f"{said}, and {len(more)} more" if more else said
    except (ValueError, IndexError, struct.error, BrokenFrame):  # whatever came over the wire
        return "no whole frame" if way == "in" else ""


def _request(pdu: bytes) -> str:
    function = pdu[0]
    start, count = struct.unpack_from(">HH", pdu, 1)
    if function in _TABLES:
        return f"reads {_TABLES[function]}:{start}" + (f"..{start + count - 1}" if count > 1 else "")
    if function in (5, 6):
        return f"writes {_WRITES[function]}:{start} = {count if function == 6 else int(count == 0xFF00)}"
    if function in (15, 16):
        return f"writes {_WRITES[function]}:{start}..{start + count - 1}"
    return f"is asked function {function}"


def _answer(pdu: bytes) -> str:
    if pdu[0] & 0x80:
        return f"refuses: {EXCEPTIONS.get(pdu[1], f'exception {pdu[1]}')}"
    return f"answers {pdu[1]} bytes" if pdu[0] in _TABLES else "confirms" if pdu[0] in _WRITES else "answers"
