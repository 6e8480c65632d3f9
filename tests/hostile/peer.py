"""A Modbus TCP device that contradicts what it is asked, in every way it can."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Sequence

from .lies import LIES, Asked, heard, wrong_transaction

TIMEOUT = 0.2  # seconds that its reader waits
GIVEN_UP = (
    6 * TIMEOUT
)  # after which it has certainly given a request up: what is out waits for what was asked before it
GENTLE = ("late", "duplicate", "flood", "honest")  # manners that a connection outlives
MANNERS = (*LIES, "late", "duplicate", "flood", "swapped", "dribble", "silence", "honest", "honest dribble")
PLANTS = (
    "unit",
    "function",
    "length",
    "byte count",
    "transaction",
    "late",
    "protocol",
)  # checks a careless reader lacks


class Peer:
    """Hears requests and gives the pieces in which its answers come. `told` counts contradicting answers by manner."""

    def __init__(self, rng: random.Random, blind: str = "", manners: Sequence[str] = MANNERS) -> None:
        """`blind`: a check that the reader is to lack. What it would have found is put right on the way."""
        self.rng, self.blind, self.manners = rng, blind, manners
        self.told: Counter[str] = Counter()
        self.manner = self.broke = ""  # `broke`: what the reader failed with in a way of its own
        self.options: dict[str, str] = {}  # of the reader
        self._late: list[tuple[float, Asked]] = []

    def connected(self) -> None:
        self._late.clear()

    def hear(self, data: bytes, now: float) -> list[bytes]:
        asked = heard(data)
        out = self._come_late(asked, now)
        self.manner = manner = self.rng.choice(GENTLE if self._late and self.rng.random() < 0.9 else self.manners)
        if manner == "silence":
            return out
        if manner == "late":
            self._late.append((now, self.rng.choice(asked)))
            return out + [one.truth for one in asked if one is not self._late[-1][1]]
        if manner == "duplicate":
            again = self.rng.sample(asked, self.rng.randint(1, len(asked)))
            return out + [one.truth for one in asked] + [self._tell(one, one.frame(one.lie)) for one in again]
        if manner == "flood":
            flood = [
                self._tell(one, wrong_transaction(self.rng, one))
                for one in self.rng.choices(asked, k=self.rng.randint(1, 9))
            ]
            return out + flood + [one.truth for one in asked]
        if manner == "swapped":
            return out + self._swapped(asked)
        if manner.startswith("honest"):
            out += [one.truth for one in asked]
        else:
            victim = self.rng.randrange(len(asked))
            lie = LIES[self.rng.choice(list(LIES)) if manner == "dribble" else manner]
            out += [self._tell(a, lie(self.rng, a)) if i == victim else a.truth for i, a in enumerate(asked)]
        if manner.endswith("dribble"):
            return [bytes([byte]) for byte in b"".join(out)]
        return [b"".join(out)] if self.rng.random() < 0.5 else out

    def _come_late(self, asked: list[Asked], now: float) -> list[bytes]:
        """Answers to requests that were given up, with values that no register holds."""
        due = [one for since, one in self._late if now - since >= GIVEN_UP]
        self._late = [(since, one) for since, one in self._late if now - since < GIVEN_UP]
        out = []
        for one in due:
            alike = [a for a in asked if (a.unit, a.function, a.size) == (one.unit, one.function, one.size)]
            self.told["late"] += 1
            number = alike[0].transaction if alike and self.blind == "late" else one.transaction
            out.append(one.frame(one.lie, transaction=number))
        return out

    def _swapped(self, asked: list[Asked]) -> list[bytes]:
        """Two answers under each other's number, where one can be told from the other."""
        a, b = self.rng.choice(asked), self.rng.choice(asked)
        if (a.unit, a.function, a.size) == (b.unit, b.function, b.size):
            return [one.truth for one in asked]
        swap = {a.transaction: b, b.transaction: a}
        out = []
        for one in asked:
            told = swap.get(one.transaction)
            out.append(
                one.truth if told is None else self._tell(one, told.frame(told.lie, transaction=one.transaction))
            )
        return out

    def _tell(self, asked: Asked, frame: bytes) -> bytes:
        self.told[self.manner] += 1
        return put_right(asked, frame, self.blind) if self.blind else frame


def put_right(asked: Asked, frame: bytes, check: str) -> bytes:
    """What a reader without this check makes of a frame: the point that it does not look at is as it should be."""
    if len(frame) < 9:
        return frame
    transaction, protocol, length, unit = struct.unpack_from(">HHHB", frame)
    pdu = frame[7:]
    if check == "transaction":
        transaction = asked.transaction
    elif check == "protocol":
        protocol = 0
    elif check == "unit":
        unit = asked.unit
    elif check == "function":
        pdu = bytes([asked.function]) + pdu[1:]
    elif check == "byte count":
        pdu = pdu[:1] + bytes([asked.size]) + pdu[2:]
    elif check == "length":
        data = (pdu[2:] + b"\xee" * asked.size)[: asked.size]
        pdu, length = bytes([pdu[0], asked.size]) + data, asked.size + 3
    return struct.pack(">HHHB", transaction, protocol, length, unit) + pdu
