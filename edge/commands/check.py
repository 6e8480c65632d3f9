"""`lineside check SITE`: every fault of a site at once, before anything runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from .. import plugins
from ..clock import SystemClock
from ..config.load import load
from ..config.site import Config
from ..errors import LinesideError
from ..tags import TagTable

HELP = "check a site: every fault with its place; --connect also reads each device once"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, nargs="+", help="site file (YAML)")
    parser.add_argument("--connect", action="store_true", help="connect to every device and read once")
    parser.add_argument("--json", action="store_true", help="one JSON object per fault on standard output")


def run(options: argparse.Namespace) -> int:
    faults = 0
    for path in options.site:
        config = load(path)
        for problem in config.problems:
            print(json.dumps(problem.as_json(), ensure_ascii=False) if options.json else problem)
        faults += len(config.problems)
        if not config.problems:
            tags = len(config.tags())
            summary = f"{path}: fine: {len(config.drivers)} connections, {tags} tags, {len(config.alarms)} alarms"
            print(summary, file=sys.stderr if options.json else sys.stdout)
            if options.connect:
                faults += asyncio.run(connect(config))
    return 1 if faults else 0


class ProbeSource:
    """What a driver needs to read once, with nothing behind it."""

    def __init__(self, name: str, table: TagTable) -> None:
        self.name, self.tags, self.clock = name, table.of_source(name), SystemClock()

    def ready(self) -> bool:
        return True

    def emit(self, batch: object) -> None: ...

    def frame(self, frame: object) -> None: ...

    def event(self, event: object) -> None: ...

    def count(self, cause: str, n: int = 1) -> None: ...

    def running(self) -> None: ...


async def connect(config: Config) -> int:
    """Probe every driver; returns how many failed. One that hangs is given ten seconds."""
    table = TagTable.numbered(config.tags())
    failed = 0
    for name, part in config.drivers.items():
        driver = plugins.find("drivers", part.driver)(part, ProbeSource(name, table))
        if not hasattr(driver, "probe"):
            continue
        try:
            async with asyncio.timeout(10):
                lines = await driver.probe()
        except TimeoutError:
            lines, failed = ["no answer within 10 s"], failed + 1
        except (LinesideError, OSError) as error:
            lines, failed = [str(error)], failed + 1
        for line in lines:
            print(f"{name}: {line}")
    return failed
