"""A disturbed line, a device that answers in time, readers that give up at any moment: no answer goes to another request."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from drivers.modbus.line import Line
from drivers.modbus.line_units import Units
from drivers.modbus.line_url import parse_url
from drivers.modbus.plan import Request
from edge import LinesideError
from edge.testing import VirtualClock, virtual_run
from tests.drivers.test_modbus_line import SLOW, Far
from tests.drivers.test_modbus_turn import SIX, STRIP, as_a_device

TIMEOUT = 0.5


def disturbed(rng: random.Random, echo: bool) -> Callable[[bytes], list[tuple[float, bytes]]]:
    """Noise at any time, answers that are lost, cut, damaged, glued to noise or in pieces; registers hold their own address."""

    def answer(frame: bytes) -> list[tuple[float, bytes]]:
        out = [(0.001, frame)] if echo else []
        if rng.random() < 0.2:
            out.append((rng.random() * 0.3, rng.randbytes(rng.choice((1, 1, 2, 3, 7, 9, 20)))))
        good, fate, at = as_a_device(frame), rng.random(), 0.01 + rng.random() * 0.45
        if fate < 0.1:
            return out
        if fate < 0.2:
            good = good[:-1]
        elif fate < 0.25:
            good = good[:3] + bytes([good[3] ^ 1]) + good[4:]
        elif fate < 0.3:
            good = b"\0" + good
        cut = rng.randrange(1, len(good)) if rng.random() < 0.3 else len(good)
        return [*out, (at, good[:cut]), *([(at + rng.random() * 0.03, good[cut:])] if cut < len(good) else [])]

    return answer


@pytest.mark.parametrize("url", [SLOW, STRIP, "rtu+tcp://10.0.0.7:4196"])
def test_no_answer_goes_to_another_request(url: str) -> None:
    """All requests have one form, so that nothing but the order tells their answers apart."""
    ends: Counter[str] = Counter()

    async def scan(line: Line, rng: random.Random) -> None:
        size = rng.randint(1, 4)
        requests = [
            Request(rng.choice((7, 7, 8)), rng.choice((3, 3, 4)), 2 * rng.randrange(500), 2, 2 * k) for k in range(size)
        ]
        words = np.zeros(2 * size, np.uint16)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rng.choice((0.05, 0.2, 1, 10, 10))):
                found = await line.scan(requests, words, ahead=rng.random() < 0.2)
                for request, code in zip(requests, found.codes, strict=True):
                    ends["read"] += code == 0
                    assert code or list(words[request.at : request.at + 2]) == [request.start, request.start + 1]

    async def write(line: Line, rng: random.Random) -> None:
        with contextlib.suppress(TimeoutError, LinesideError):
            async with asyncio.timeout(rng.choice((0.05, 1, 10))):
                await line.write(7, SIX)
                ends["written"] += 1

    async def main(seed: int) -> None:
        rng = random.Random(seed)
        line = Line(parse_url(url), VirtualClock(), Units(TIMEOUT, 1.0), 0.1)
        Far(line, disturbed(rng, "echo" in url))
        for _ in range(60):
            writing = [write(line, rng)] if rng.random() < 0.3 else []
            await asyncio.gather(*(scan(line, rng) for _ in range(rng.randint(1, 3))), *writing)
            await asyncio.sleep(rng.choice((0, 0, rng.random() * 2)))

    for seed in range(25):
        virtual_run(main(seed))
    assert ends["read"] > 1000 and ends["written"] > 50
