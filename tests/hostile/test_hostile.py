"""No answer that contradicts its request becomes a value that rules trust. The million: `make hostile`."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import SystemClock

from .judge import Judge, judge, read_on, site
from .lies import LIES
from .peer import MANNERS, PLANTS, Peer
from .torn import moving, read_whole


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # it has much to say of such a device
    yield
    logging.disable(logging.NOTSET)


def test_lies_become_no_data_and_the_truth_between_them_does() -> None:
    it = judge(20_000, Peer(random.Random(20261126)))
    assert it.wrong == 0, it.first_wrong
    assert not it.peer.broke
    assert it.good > 20_000, "honest answers are read"
    silent = {"silence", "honest", "honest dribble"}
    assert set(it.peer.told) == set(MANNERS) - silent and min(it.peer.told.values()) > 100


@pytest.mark.parametrize("check", PLANTS)
def test_a_reader_that_lacks_a_check_is_found(check: str) -> None:
    assert judge(3000, Peer(random.Random(1), check)).wrong > 0


class Serving(asyncio.Protocol):
    """A peer on a real socket; what it says goes out piece by piece."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def connection_made(self, transport: Any) -> None:
        self._line = transport
        self._peer.connected()

    def data_received(self, data: bytes) -> None:
        for piece in self._peer.hear(data, asyncio.get_running_loop().time()):
            self._line.write(piece)


def test_on_a_real_socket() -> None:
    slow = ["wrong transaction", "wrong length", "garbage", "late"]  # end in a time-out
    quick = [*(set(LIES) - set(slow)), "duplicate", "flood", "swapped", "honest"]
    peer = Peer(random.Random(20261127), manners=sorted(quick) * 50 + slow)

    async def main() -> Judge:
        server = await asyncio.get_running_loop().create_server(lambda: Serving(peer), "127.0.0.1", 0)
        it = Judge(peer, 6000, SystemClock())
        await read_on(it, site(server.sockets[0].getsockname()[1], every="1ms", timeout="50ms"))
        server.close()
        return it

    it = asyncio.run(main())
    assert it.wrong == 0 and it.good > 3000, it.first_wrong


def test_no_value_of_several_registers_is_half_old(libmodbus: Path, tmp_path: Path) -> None:
    """`libmodbus` says where it cannot be built."""
    with moving(tmp_path) as port:
        it = asyncio.run(read_whole(port, 20_000))
        assert it.torn == 0 and len(it.turns) > 100
        assert asyncio.run(read_whole(port, 2000, halved=True)).torn > 0, "the device does change between two answers"
