"""A Modbus RTU device on a disturbed line: flipped bits, bursts, noise and lies with a right checksum.

On a line no number says which request an answer belongs to. An answer that comes after the reader gave up is told from the next
one's only by the quiet that the reader keeps, or by its form; one of the same form that comes later still is beyond any reader.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .lies import LIES, Asked
from .peer import TIMEOUT

PATIENCE = TIMEOUT + 0.001  # seconds after which the reader has given an answer up
QUIET = 0.05  # seconds of quiet that it keeps then


def crc(data: bytes) -> int:
    """CRC-16/MODBUS bit by bit, as Modbus over Serial Line 1.02, 6.2.2 tells it; not the reader's own."""
    found = 0xFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0xA001 if found & 1 else 0)
    return found


class LineAsked(Asked):
    """One request on a line."""

    __slots__ = ()

    @property
    def request(self) -> bytes:
        """Its PDU."""
        return bytes([self.function]) + self.start.to_bytes(2) + self.count.to_bytes(2)

    def frame(self, pdu: bytes, **other: int) -> bytes:
        body = bytes([other.get("unit", self.unit)]) + pdu
        return body + crc(body).to_bytes(2, "little")


def flipped(frame: bytes, pattern: int, at: int) -> bytes:
    """A frame with the bits of `pattern` turned over from bit `at` on, in the order in which they are on the line (the lowest
    bit of each byte first)."""
    bits = int.from_bytes(frame, "little") ^ pattern << at
    return (bits & (1 << 8 * len(frame)) - 1).to_bytes(len(frame), "little")


def flips(rng: random.Random, frame: bytes, most: int = 3) -> bytes:
    pattern = sum(1 << at for at in rng.sample(range(8 * len(frame)), rng.randint(1, most)))
    return flipped(frame, pattern, 0)


def burst(rng: random.Random, frame: bytes, most: int = 16) -> bytes:
    length = rng.randint(2, most)
    pattern = 1 | rng.getrandbits(length) | 1 << length - 1
    return flipped(frame, pattern & (1 << length) - 1, rng.randrange(8 * len(frame) - length + 1))


@dataclass(frozen=True)
class Late:
    """A piece that comes `after` some seconds, if it may then."""

    after: float
    now: Callable[[], bytes]


LINE_LIES = {
    name: LIES[name]
    for name in (
        "wrong unit",
        "wrong function",
        "short",
        "long",
        "byte count",
        "odd exception",
        "bare function",
        "echo",
    )
}
NOISES = ("flips", "burst", "cut", "noise before", "noise after", "garbage", "random frame")
LINE_MANNERS = (*LINE_LIES, *NOISES, "late", "silence", "honest", "honest dribble")
LINE_PLANTS = ("unit", "function", "byte count", "length", "checksum")


class LinePeer:
    """As `Peer`, on a line: one request at a time."""

    def __init__(self, rng: random.Random, blind: str = "", manners: Sequence[str] = LINE_MANNERS) -> None:
        self.rng, self.blind, self.manners = rng, blind, manners
        self.told: Counter[str] = Counter()
        self.manner = self.broke = ""
        self.options = {"url": "rtu+tcp://127.0.0.1:502", "turnaround": f"{round(1000 * QUIET)}ms"}
        self._asked: Asked | None = None

    def connected(self) -> None:
        self._asked = None

    def hear(self, data: bytes, now: float) -> Sequence[bytes | Late]:
        start, count = int.from_bytes(data[2:4]), int.from_bytes(data[4:6])
        asked = self._asked = LineAsked(0, data[0], data[1], start, count)
        self.manner = manner = self.rng.choice(self.manners)
        if manner == "silence":
            return []
        if manner == "honest":
            return [asked.truth]
        if manner == "honest dribble":
            return [bytes([byte]) for byte in asked.truth]
        if manner == "late":
            return [Late(PATIENCE + self.rng.random() * 2 * QUIET, lambda: self._late(asked))]
        self.told[manner] += 1
        return self._pieces(self._lie(asked, manner))

    def _lie(self, asked: Asked, manner: str) -> bytes:
        rng, truth = self.rng, asked.truth
        if manner in LINE_LIES:
            frame = LINE_LIES[manner](rng, asked)
        elif manner in ("flips", "burst"):
            frame = flips(rng, truth) if manner == "flips" else burst(rng, truth)
        elif manner == "random frame":  # right but for its data and its checksum, which are anything
            frame = truth[:3] + rng.randbytes(len(truth) - 3)
            frame = flipped(frame, 1, 8 * len(frame) - 1) if crc(frame) == 0 else frame
        else:
            noise = rng.randbytes(rng.randint(1, 40))
            frame = {
                "cut": truth[: rng.randrange(1, len(truth))],
                "noise before": noise + asked.frame(asked.lie),
                "noise after": asked.frame(asked.lie) + noise,
                "garbage": noise + rng.randbytes(220),
            }[manner]
        return put_right(asked, frame, self.blind) if self.blind else frame

    def _pieces(self, frame: bytes) -> list[bytes]:
        """In one piece, unless what follows the first would make a lie of it: that has to come together."""
        if self.manner in ("noise before", "noise after", "long") or self.rng.random() < 0.7:
            return [frame]
        cut = self.rng.randrange(len(frame))
        return [piece for piece in (frame[:cut], frame[cut:]) if piece]

    def _late(self, asked: Asked) -> bytes:
        """Values that no register holds, in form the answer to a request that was given up; none where the connection is another
        one by now, or the next request, of the same form, is out already."""
        out = self._asked
        if out is None:
            return b""
        if out is not asked and (out.unit, out.function, out.size) == (asked.unit, asked.function, asked.size):
            return b""
        self.told["late"] += 1
        return asked.frame(asked.lie)


def put_right(asked: Asked, frame: bytes, check: str) -> bytes:
    """What a reader without this check makes of a frame: the point that it does not look at is as it should be."""
    if len(frame) < 5:
        return frame
    body, end = frame[:-2], frame[-2:]
    if check == "checksum":
        return body + crc(body).to_bytes(2, "little")
    if crc(body) != int.from_bytes(end, "little"):
        return frame
    if check == "unit":
        body = bytes([asked.unit]) + body[1:]
    elif check == "function":
        body = body[:1] + bytes([asked.function]) + body[2:]
    elif check == "byte count":
        body = body[:2] + bytes([asked.size]) + body[3:]
    elif check == "length":
        body = body[:2] + bytes([asked.size]) + (body[3:] + b"\xee" * asked.size)[: asked.size]
    return body + crc(body).to_bytes(2, "little")
