"""One run of requests, whatever the line: how each may end, and what an answer must be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from edge import AnswerContradicts, DeviceLost, DeviceRefused, reason_of

from .line_units import Units
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
NOT_DONE_YET = 5
CONFIRMED_OTHER = "the device confirmed something else than was written"
# In place of a code: asked and not answered in time; its turn did not come; what came is no answer to it.
ASKED, WAITED, BROKEN = -1, -2, -3


class Scan:
    """One run of requests: where the answers go, which are still out, and how each ended."""

    __slots__ = (
        "began",
        "codes",
        "dead",
        "done",
        "hurried",
        "left",
        "misses",
        "requests",
        "short",
        "stamps",
        "why",
        "within",
        "words",
    )

    def __init__(
        self,
        requests: Sequence[Request],
        words: np.ndarray,
        done: asyncio.Future[None],
        within: float | None = None,
    ) -> None:
        self.requests, self.words, self.done, self.within = requests, words, done, within
        self.left = len(requests)
        self.short: ShortAnswer | None = None  # where the connection outlived one
        self.why = ""  # of the last one that is BROKEN
        self.began = done.get_loop().time()
        self.misses = 0  # units that did not answer
        self.hurried = False  # they kept the others waiting for long enough
        self.dead = False  # nobody answers at all
        self.codes = [0] * self.left
        self.stamps = [0] * self.left

    def limit(self, units: Units, unit: int) -> float:
        """Seconds that an answer of this unit may take."""
        return units.limit(unit, self.hurried) if self.within is None else self.within

    def missed(self, units: Units, number: int, now: float) -> bool:
        """Note that a unit did not answer. True when it was not the first and nobody did since the scan began: the bus is silent,
        and whoever was not asked yet ends as WAITED."""
        if self.within is None:  # else a tool asked, maybe for a unit that is not there
            units.missed(number, now)
        self.misses += 1
        self.dead = units.dead(self.misses, self.began)
        return self.dead

    def end(self, index: int, code: int, stamp: int) -> None:
        self.codes[index], self.stamps[index] = code, stamp
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


def write_refused(code: int) -> DeviceRefused:
    """Why the device did not do it (yet)."""
    if code == NOT_DONE_YET:
        return DeviceRefused("the device took the write and is not done with it: read the tag to see whether it is")
    return DeviceRefused(f"the device refused the write: {EXCEPTIONS.get(code, f'exception {code}')}")


P = TypeVar("P", bound=asyncio.Protocol)


async def dial(protocol: Callable[[], P], host: str, port: int) -> P:
    """A TCP connection under this protocol. Raises DeviceLost."""
    try:
        _, made = await asyncio.get_running_loop().create_connection(protocol, host, port)
    except (OSError, UnicodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "that is no host name"
        raise DeviceLost(
            f"cannot connect to {host}:{port}: {reason}", hint="check address, cable and firewall"
        ) from None
    return made


def fill(words: np.ndarray, request: Request, pdu: memoryview) -> None:
    """The words of an answer whose unit and function fit. Raises AnswerContradicts unless its length fits exactly."""
    bits = request.function <= 2
    size = (request.count + 7) // 8 if bits else 2 * request.count
    if len(pdu) < 2:
        raise AnswerContradicts(f"{request}: answered with a function and nothing else")
    if len(pdu) != size + 2 or pdu[1] != size:
        if len(pdu) == pdu[1] + 2 < size + 2:
            raise ShortAnswer(request, pdu[1] * 8 if bits else pdu[1] // 2)
        raise AnswerContradicts(f"{request}: answered {len(pdu) - 2} bytes, counted as {pdu[1]}, where {size} belong")
    at = slice(request.at, request.at + request.count)
    if bits:
        words[at] = np.unpackbits(np.frombuffer(pdu[2:], np.uint8), count=request.count, bitorder="little")
    else:
        words[at] = np.frombuffer(pdu[2:], ">u2")
