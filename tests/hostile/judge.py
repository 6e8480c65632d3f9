"""The real driver before a peer that lies, and a judge that knows what each register holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from drivers.modbus.driver import Modbus
from drivers.modbus.options import ModbusConfig
from edge import TRUSTED, Batch, LinesideError, Tag
from edge.testing import FakeSource, VirtualLoop

from .lies import MEMORY
from .peer import TIMEOUT

TAGS: dict[int, dict[str, tuple[str, int, str]]] = {
    1: {
        **{f"h{i}": ("holding", i, "uint16") for i in range(12)},
        "wide": ("holding", 12, "uint32"),
        "real": ("holding", 14, "float32"),
        **{f"i{i}": ("input", i, "uint16") for i in range(3)},
        **{f"c{i}": ("coil", i, "bool") for i in range(10)},
    },
    7: {**{f"h{i}": ("holding", i, "uint16") for i in range(7)}, "d": ("discrete", 5, "bool")},
}


class Enough(Exception):
    """As many answers as wanted."""


class Judge(FakeSource):
    """What the driver is given: holds each value that rules would trust against what its register holds."""

    def __init__(
        self, peer: Any, answers: int, clock: Any = None, step: Callable[[Judge], None] = lambda judge: None
    ) -> None:
        names = [(f"u{unit}.{name}", unit, *what) for unit, tags in TAGS.items() for name, what in tags.items()]
        super().__init__("plc", [Tag(f"plc.{name}", source="plc") for name, *_ in names], clock)
        self.peer, self.answers, self._step = peer, answers, step
        self.expected = np.full(len(names) + 1, np.nan)
        for name, *what in names:
            self.expected[self.tags[name].id] = MEMORY.expected(*what)
        self.good = self.wrong = self.batches_seen = 0
        self.first_wrong = ""

    def emit(self, batch: Batch) -> None:
        trusted = batch.quality <= TRUSTED
        wrong = trusted & (batch.value != self.expected[batch.tag])
        self.good += int(trusted.sum())
        self.batches_seen += 1
        if wrong.any():
            self.wrong += int(wrong.sum())
            i = int(np.flatnonzero(wrong)[0])
            tag = self.table.by_id(int(batch.tag[i]))
            self.first_wrong = self.first_wrong or (
                f"{tag.name} = {batch.value[i]:g}, it holds {self.expected[batch.tag[i]]:g} (manner: {self.peer.manner})"
            )

    def ready(self) -> bool:
        self._step(self)
        if self.peer.told.total() >= self.answers:
            raise Enough
        return True


def site(port: int, **more: Any) -> ModbusConfig:
    units = {
        f"u{unit}": {"unit": unit, "tags": {n: {"address": f"{t}:{a}", "type": k} for n, (t, a, k) in tags.items()}}
        for unit, tags in TAGS.items()
    }
    options = {
        "url": f"tcp://127.0.0.1:{port}",
        "every": "300ms",
        "timeout": f"{round(TIMEOUT * 1000)}ms",
        "in_flight": 16,
        "gap": 0,
    }
    return ModbusConfig(driver="modbus", units=units, **options | more)


async def read_on(judge: Judge, config: ModbusConfig) -> None:
    """Run the driver, again after each break as the supervisor would, until the judge has enough."""
    breaks = 0
    driver = Modbus(config, judge)
    while True:
        try:
            await driver.run()
        except LinesideError:
            breaks += 1
            if breaks % 500 == 0:  # what it learned of a liar costs requests
                driver = Modbus(config, judge)
        except Enough:
            return


# Without a socket


class Wire(asyncio.Transport):
    """A connection between the driver and a peer in this process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, peer: Any) -> None:
        super().__init__()
        self._loop, self._protocol, self._peer, self._open = loop, protocol, peer, True

    def write(self, data: Any) -> None:
        for piece in self._peer.hear(bytes(data), self._loop.time()):
            if isinstance(piece, bytes):
                self._loop.call_soon(self._deliver, piece)
            else:
                self._loop.call_later(piece.after, lambda late=piece: self._deliver(late.now()))

    def _deliver(self, piece: bytes) -> None:
        if self._open and piece:
            try:
                self._protocol.data_received(piece)
            except Exception as error:  # asyncio would print it and close
                self._peer.broke = self._peer.broke or f"{type(error).__name__}: {error} (manner: {self._peer.manner})"
                self.abort()

    def abort(self) -> None:
        if self._open:
            self._open = False
            self._loop.call_soon(self._protocol.connection_lost, None)

    close = abort

    def is_closing(self) -> bool:
        return not self._open


class Loop(VirtualLoop):
    """Every connection goes to one peer; time-outs take no time."""

    def __init__(self, peer: Any) -> None:
        super().__init__()
        self.peer = peer

    async def create_connection(self, factory: Any, *where: Any, **more: Any) -> Any:  # type: ignore[override]
        protocol = factory()
        self.peer.connected()
        line = Wire(self, protocol, self.peer)
        protocol.connection_made(line)
        return line, protocol


def judge(answers: int, peer: Any, step: Callable[[Judge], None] = lambda judge: None) -> Judge:
    """Let a peer tell that many contradicting answers; returns what was made of them."""

    async def main() -> Judge:
        it = Judge(peer, answers, step=step)
        await read_on(it, site(502, **peer.options))
        return it

    with asyncio.Runner(loop_factory=lambda: Loop(peer)) as runner:
        return runner.run(main())
