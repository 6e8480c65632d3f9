"""`lineside run SITE`: the daemon."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import heap, release, service
from ..app import Daemon
from ..batch import TRUSTED, Batch
from ..config.check import raise_if_faulty
from ..config.load import load
from ..config.site import Config
from ..control import Control, status
from ..log import Aside, log, to_memory, to_stderr
from ..sent import Sent
from ..state import state_folder
from ..status import Screen
from .arguments import site_and_state

HELP = "run a site: read, judge, act, keep, deliver"


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser, site="site file (YAML)")
    parser.add_argument("--say-first", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--service", action="store_true", help="run under systemd: notify, watchdog, plain log")


def run(options: argparse.Namespace) -> int:
    heap.one()
    own = load(options.site)
    to_stderr(timestamps=not options.service, aside=True)
    folder = state_folder(own.device.id, options.state)
    release.hand_over(own, folder, sys.argv[1:])
    sent = Sent(folder, options.site)
    config = raise_if_faulty(sent.chosen(own))
    screen = sys.stdout.isatty() and not options.service
    if asyncio.run(serve(config, folder, screen=screen, say_first=options.say_first, sent=sent)):
        release.again(sys.argv[1:])
    return 0


async def serve(
    config: Config, folder: Path, *, screen: bool = False, say_first: bool = False, sent: Sent | None = None
) -> bool:
    """Run until SIGINT or SIGTERM; ends within 5 s with everything durable. Whether another release is to go on."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    daemon, restarts = Daemon(config, folder, sent=sent), asyncio.Event()

    def restart() -> None:
        restarts.set()
        ended.set()

    daemon.restart = restart
    control = Control(daemon)
    show: list[asyncio.Task[None]] = []
    try:
        if say_first:
            daemon.listeners.add(_first(daemon))
        await daemon.start()
        await control.start()
        log.info("%s runs; its journal is %s", config.device.id, daemon.journal.path)
        service.notify("READY=1")
        show = [asyncio.create_task(_screen(daemon) if screen else _lines(daemon))]
        guards = [asyncio.create_task(service.watchdog(daemon)), asyncio.create_task(release.watch(daemon))]
        await ended.wait()
        service.notify("STOPPING=1")
        for guard in guards:
            guard.cancel()
    finally:
        for task in show:
            task.cancel()
        await control.stop()
        await daemon.stop()
        log.info("%s stopped; %d samples durable", config.device.id, daemon.journal.totals.durable)
    return restarts.is_set()


def _first(daemon: Daemon) -> Callable[[Any], None]:
    def listen(item: Any) -> None:
        if isinstance(item, Batch) and (item.quality <= TRUSTED).any():
            log.info("first good sample")
            daemon.listeners.discard(listen)

    return listen


async def _screen(daemon: Daemon) -> None:
    screen = Screen()
    said: Sequence[str] = to_memory() if sys.stderr.isatty() else ()  # else log lines and screen overwrite each other
    out = Aside(sys.stdout.fileno(), 2, tell=False)
    out.write("\x1b[2J")
    try:
        while True:
            out.write(below(screen.text(await status(daemon)), said))
            await asyncio.sleep(1)
    finally:
        out.close(0.2)
        if sys.stderr.isatty():
            to_stderr(aside=True)


def below(screen: str, said: Sequence[str]) -> str:
    """The screen with the last log lines under it, as far as the terminal has room for them."""
    width, height = shutil.get_terminal_size()
    room = max(0, height - 2 - screen.count("\n"))
    lines = [line[: width - 1] for line in said][-room:] if room else []
    return screen + "".join(f"{line}\x1b[K\n" for line in lines)


async def _lines(daemon: Daemon) -> None:
    """One line a minute, so that a log shows that it lives."""
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(60)
            now = await status(daemon)
            log.info("%d samples, %d durable, %d given up", now["samples"], now["durable"], now["dropped"])
