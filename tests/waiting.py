"""Running a coroutine on the real clock, and waiting for a state instead of a time."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from edge.bench.process import free_port
from edge.commands.check import connect
from edge.commands.sim import serve
from edge.config.load import load_text
from edge.config.site import Config


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work()`; two minutes are longer than anything here takes on a busy machine."""

    async def main() -> None:
        async with asyncio.timeout(120):
            await work()

    asyncio.run(main())


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.005)


@contextlib.contextmanager
def started(command: Sequence[Any], **how: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive what was done with it: a test that fails has nobody to wait for."""
    with subprocess.Popen(command, text=True, **how) as process:
        try:
            yield process
        finally:
            process.kill()


def on_free_ports(text: str) -> Config:
    """A site with each port on this machine exchanged for a free one."""
    return load_text(re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda _: str(free_port()), text))


def first_reading(config: Config) -> list[tuple[str, str, bool]]:
    """What `check --connect` says of the site's own simulators, once they listen."""

    async def main() -> list[tuple[str, str, bool]]:
        simulator = asyncio.create_task(serve(config))
        try:
            async with asyncio.timeout(120):
                while True:
                    said = await connect(config)
                    if not any("refused" in line for _, line, _ in said) or simulator.done():
                        return said
        finally:
            simulator.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await simulator

    return asyncio.run(main())
