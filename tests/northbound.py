"""A daemon with one reader. For readers that listen on a port its driver has nothing to read; for those that talk to a broker it
reads a simulated PLC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from drivers.modbus.sim import ModbusSim
from edge.app import Daemon
from edge.bench.process import free_port
from edge.config.load import load_text

from .broker import Broker
from .waiting import run, until

PLC = """
device: {{id: press-4}}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:{sim}
    every: 50ms
    tags:
      temp: {{address: "holding:0", type: int16, unit: "°C"}}
"""


def with_reader(
    name: str, site: str, folder: Path, work: Callable[[Daemon, int], Awaitable[None]], more: str = ""
) -> None:
    """`work(daemon, port)` while the reader of this name runs; `site` has places for `port` and `more`."""

    async def main() -> None:
        port = free_port()
        config = load_text(site.format(port=port, more=more))
        assert not config.problems
        daemon = Daemon(config, folder)
        await daemon.start()
        try:
            await until(lambda: daemon.health.part(name).state == "running")
            await until(lambda: daemon.health.part("plc").state == "waiting")
            await daemon._end(daemon.drivers.values())  # else it says again and again that nothing comes
            await work(daemon, port)
        finally:
            await daemon.stop()

    run(main)


def port_is_taken(name: str, site: str, folder: Path) -> str:
    """What the reader of this name says where its port is taken, after "cannot listen on ...: "; it runs once the port is free."""
    said: list[str] = []

    async def main() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        daemon = Daemon(load_text(site.format(port=port, more="")), folder)
        await daemon.start()
        part = daemon.health.part(name)
        await until(lambda: part.state == "waiting")
        before, where, why = part.reason.partition(f"cannot listen on 127.0.0.1:{port}: ")
        assert where and not before
        said.append(why)
        server.close()
        await server.wait_closed()
        await until(lambda: part.state == "running")
        await daemon.stop()

    run(main)
    return said[0]


class Rig:
    """A simulated PLC, and the daemon that brings it to a broker. `site` begins with PLC, with places for `broker` and `more`."""

    def __init__(self, folder: Path, broker: Broker, site: str, more: str = "") -> None:
        self.folder, self.broker, self._site, self._more, self.ended = folder, broker, site, more, False

    async def __aenter__(self) -> Self:
        config = load_text(self._site.format(sim=1, broker=1, more=""))
        self.sim = ModbusSim("plc", config.drivers["plc"])  # type: ignore[arg-type]
        self.sim.port = 0
        await self.sim.start()
        self.site = load_text(self._site.format(sim=self.sim.port, broker=await self.far_side(), more=self._more))
        assert not self.site.problems
        await self.starts()
        return self

    async def far_side(self) -> int:
        """What has to be there before the daemon starts; returns the port at which that finds its broker."""
        return self.broker.port

    async def starts(self) -> None:
        self.daemon = Daemon(self.site, self.folder / "state")
        await self.daemon.start()

    async def ends(self) -> None:
        if not self.ended:
            self.ended = True
            await self.daemon.stop()

    async def __aexit__(self, *_: object) -> None:
        await self.ends()
        await self.sim.stop()

    async def until(self, true: Callable[[], Any], seconds: float = 120) -> None:
        async with asyncio.timeout(seconds):
            await until(true)
