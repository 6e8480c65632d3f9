"""`lineside wire` and `lineside record`: the frames of one connection, to look at and to take along."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from ..config.check import raise_if_faulty
from ..config.load import load
from ..control import NoDaemon, ask
from ..errors import LinesideError
from ..log import log
from ..recording import LARGEST, RecordingFile, WireFrame
from ..state import state_folder
from .arguments import at_least_one, some_seconds, state_option
from .bus import Bus
from .export import iso

AT_ONCE = 500  # frames in one answer
LOOK_EVERY = 0.3  # seconds
MOST_RECORDED = LARGEST - 10_000_000  # bytes
Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Wire:
    HELP = "show the frames of one connection in hex, as they go over the wire"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        _which(parser)
        parser.add_argument("--json", action="store_true", help="one JSON object per frame on standard output")

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        return asyncio.run(_show(options))


class Record:
    HELP = "record the frames of one connection into a file, which `lineside replay` serves again"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        _which(parser)
        parser.add_argument(
            "--out", type=Path, required=True, metavar="FILE", help="the recording; must not be there yet"
        )

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        try:
            return asyncio.run(_record(options))
        except asyncio.CancelledError as stopped:  # by Ctrl-C, or as by `timeout 600 lineside record ...`
            return 128 + int(str(stopped) or signal.SIGINT)


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, help="site file (YAML)")
    parser.add_argument("driver", help="an entry below its `drivers:`")
    state_option(parser)
    parser.add_argument("--seconds", type=some_seconds, metavar="S", help="how long (default: until Ctrl-C)")
    parser.add_argument("--most", type=at_least_one, metavar="N", help="end after so many frames")


async def _show(options: argparse.Namespace) -> int:
    shown, most = 0, options.most or 2**63
    async with _asking(options) as question:
        async for _, rows, missed in _frames(question, options.seconds, plain=True):
            if missed:
                log.warning("%d frames came faster than they were shown and are left out", missed)
            for ts, way, data, said in rows[: most - shown]:
                told = {"time": iso(ts), "way": way, "hex": data, "said": said}
                spaced = " ".join(data[i : i + 2] for i in range(0, len(data), 2))
                plain = f"{iso(ts)[11:23]} {'->' if way == 'out' else '<-'} {spaced}  ({said})"
                print(json.dumps(told, ensure_ascii=False) if options.json else plain, flush=True)
            shown += len(rows)
            if shown >= most:
                break
    return 0


async def _record(options: argparse.Namespace) -> int:
    """The file gets its end at Ctrl-C and SIGTERM too; a file without one was cut off, and is refused at the replay."""
    taped, most = None, options.most or 2**63
    me = asyncio.current_task()
    assert me is not None
    with contextlib.suppress(RuntimeError):  # only the main thread hears signals
        for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us with SIGINT ignored
            asyncio.get_running_loop().add_signal_handler(number, me.cancel, str(int(number)))
    with contextlib.ExitStack() as files:
        try:
            async with _asking(options) as question:
                async for about, rows, missed in _frames(question, options.seconds, plain=False):
                    if taped is None:
                        out = files.enter_context(options.out.open("xb"))
                        taped = RecordingFile(out, {"entry": options.driver, **about})
                        log.info("recording into %s", options.out)
                    taped.add(
                        (WireFrame(ts, way, bytes.fromhex(data)) for ts, way, data in rows[: most - taped.frames]),
                        missed,
                    )
                    if taped.frames >= most:
                        break
                    if taped.size > MOST_RECORDED:
                        log.warning("%s is as large as a recording may be; it ends here", options.out)
                        break
        finally:
            if taped is not None:
                taped.close()
                left = f"; {taped.missed} came too fast and are missing" if taped.missed else ""
                log.info("%s: %d frames%s", options.out, taped.frames, left)
    return 0 if taped is not None and taped.frames else 1


async def _frames(
    question: Ask, seconds: float | None, *, plain: bool
) -> AsyncIterator[tuple[dict[str, Any], list[Any], int]]:
    """(about the connection, frames, missed), until the time is over."""
    number: int | None = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                said = await question({"want": "frames", "after": number, "most": AT_ONCE, "plain": plain})
                number = said["next"]
                yield said["about"], said["frames"], said["missed"]
                if len(said["frames"]) < AT_ONCE:
                    await asyncio.sleep(LOOK_EVERY)


@contextlib.asynccontextmanager
async def _asking(options: argparse.Namespace) -> AsyncIterator[Ask]:
    """Ask the driver of the running daemon; where none runs, the driver runs here for as long as it takes."""
    config = raise_if_faulty(load(options.site))
    name = options.driver
    if name not in config.drivers:
        raise LinesideError(f"no driver is called {name!r}", hint=f"there are {', '.join(config.drivers)}")
    folder = state_folder(config.device.id, options.state)

    async def of_daemon(request: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(ask, folder, {"do": "tool", "driver": name, **request}, 40)

    try:
        await asyncio.to_thread(ask, folder, {"do": "status"}, 10)
    except NoDaemon:
        log.info("no daemon runs: %s is read from here", name)
    else:
        yield of_daemon
        return
    async with Bus(config, options.state).serving(name) as driver:
        if not hasattr(driver, "tool"):
            raise LinesideError(f"{name} has nothing for tools", hint="wire frames are of Modbus connections")
        yield driver.tool
