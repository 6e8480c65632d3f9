"""A daemon whose driver is there and has nothing to read, for readers that listen on a port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from edge.app import Daemon
from edge.bench.process import free_port
from edge.config.load import load_text

from .waiting import run, until


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
