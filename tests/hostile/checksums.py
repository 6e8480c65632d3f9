"""What the checksums of lines can and cannot tell: the CRC of RTU, the LRC of ASCII (Modbus over Serial Line 1.02, 6.2)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from drivers.modbus.line_frames import FRAMINGS, WHOLE, BrokenFrame

from .line import LineAsked, crc, flipped


def crc_misses(longest: int = 256) -> dict[str, int]:
    """How many errors of each kind the CRC misses in a frame of `longest` bytes: every 1, 2 and 3 flipped bits, every burst of up
    to 16 bits, in the order in which they are on the line. The CRC is linear: an error is missed if and only if its own syndrome
    is 0, whatever the frame holds; and the errors of a shorter frame are among those at the end of this one."""
    n, empty = 8 * longest, crc(bytes(longest))
    one = np.array([crc(flipped(bytes(longest), 1, at)) ^ empty for at in range(n)], np.uint16)
    pairs = (one[:, None] ^ one[None, :])[np.triu_indices(n, 1)]
    undoes = np.zeros(65536, bool)
    undoes[one] = True
    bursts = 0
    for at in range(n):
        syndromes = one[at : at + 1]  # all that begin with this very bit
        for bit in one[at + 1 : at + 16]:
            syndromes = np.concatenate((syndromes, syndromes ^ bit))
        bursts += int((syndromes == 0).sum())
    return {
        "1 bit": int((one == 0).sum()),
        "2 bits": int((pairs == 0).sum()),
        "3 bits": int(undoes[pairs].sum()),
        "bursts to 16 bits": bursts,
    }


def taken(asked: LineAsked, frame: bytes, scheme: str = "rtu") -> bytes | None:
    """What the reader's framing makes of it: the PDU, or None where it is no answer in form."""
    framing, request = FRAMINGS[scheme], asked.request
    try:
        if framing.verdict(frame, asked.unit, request) != WHOLE:
            return None
        unit, pdu = framing.open(frame)
    except BrokenFrame:
        return None
    right = unit == asked.unit and pdu[0] == asked.function and len(pdu) == asked.size + 2 and pdu[1] == asked.size
    return pdu if right else None


def random_frames(frames: int, seed: int) -> dict[str, Any]:
    """Answers right in unit, function, count and length, with any data and any checksum: one in 65,536 has to pass."""
    rng, asked, passed = random.Random(seed), LineAsked(0, 1, 3, 0, 4), 0
    head = bytes([asked.unit, asked.function, asked.size])
    for _ in range(frames):
        passed += taken(asked, head + rng.randbytes(asked.size + 2)) is not None
    low, high = poisson(passed, 1.96)
    least, most = poisson(passed, 3.9)
    expected = frames / 65536
    return {
        "frames": frames,
        "taken": passed,
        "interval_95": [round(low, 1), round(high, 1)],
        "expected": round(expected, 1),
        "as_expected": least <= expected <= most,
    }


def poisson(count: int, z: float) -> tuple[float, float]:
    """The interval for the mean behind a count, by Byar's approximation."""
    low = count * (1 - 1 / (9 * count) - z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    above = count + 1
    return max(0.0, low), above * (1 - 1 / (9 * above) + z / (3 * math.sqrt(above))) ** 3


def lrc_misses(registers: int = 4) -> dict[str, str]:
    """Errors in an ASCII answer of some registers that the reader takes for other data, of all there are: on a line of seven bits
    without parity, and with it (where a single flipped bit in a character is seen)."""
    asked = LineAsked(0, 1, 3, 0, registers)
    right = asked.pdu(random.Random(1).randbytes(asked.size))
    frame = FRAMINGS["ascii"].frame(asked.unit, right)
    bits = [8 * char + bit for char in range(len(frame)) for bit in range(7)]

    def missed(errors: Iterator[tuple[int, ...]]) -> str:
        found = total = 0
        for error in errors:
            pdu = taken(asked, flipped(frame, sum(1 << at for at in error), 0), "ascii")
            found, total = found + (pdu is not None and pdu != right), total + 1
        return f"{found} of {total}"

    def exchanged() -> Iterator[tuple[int, ...]]:
        """Two bytes of data, each two characters, in each other's place."""
        for a, b in combinations(range(asked.size), 2):
            one, other = frame[7 + 2 * a : 9 + 2 * a], frame[7 + 2 * b : 9 + 2 * b]
            if one != other:
                turn = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
                yield tuple(8 * (7 + 2 * at) + bit for at in (a, b) for bit in range(16) if turn >> bit & 1)

    return {
        "1 bit": missed((at,) for at in bits),
        "2 bits": missed(combinations(bits, 2)),
        "2 bits of one character, which parity does not see": missed(
            pair for pair in combinations(bits, 2) if pair[0] // 8 == pair[1] // 8
        ),
        "two bytes exchanged": missed(exchanged()),
    }
