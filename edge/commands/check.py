"""`lineside check SITE`: every fault of a site at once, before anything runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import plugins
from ..batch import TRUSTED, Batch
from ..clock import SystemClock
from ..config.load import load
from ..config.places import Problem
from ..config.site import Config
from ..driver import DriverConfig
from ..errors import LinesideError
from ..memory import remembered
from ..state import state_folder
from ..tags import TagTable
from ..wiring import build
from .arguments import state_option

HELP = "check a site: every fault with its place; --plan shows the requests, --connect reads each device once"
LONGEST_PROBE = 60.0  # seconds: a long line, or one of which many do not answer


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, nargs="+", help="site file (YAML)")
    parser.add_argument("--connect", action="store_true", help="also connect to every device and read once")
    parser.add_argument(
        "--plan", action="store_true", help="show the requests that each connection's tags are read with"
    )
    state_option(parser)
    parser.add_argument(
        "--json", action="store_true", help="one JSON object per fault, plan or device on standard output"
    )


def run(options: argparse.Namespace) -> int:
    faults = 0
    for path in options.site:
        config = load(path)
        build(config, state=options.state)
        for problem in config.problems:
            print(json.dumps(problem.as_json(), ensure_ascii=False) if options.json else problem)
        faults += len(config.problems)
        for warning in warnings(config):
            print(warning, file=sys.stderr)
        if not config.problems:
            tags = len(config.tags())
            summary = f"{path}: fine; connections: {len(config.drivers)}, tags: {tags}, alarms: {len(config.alarms)}"
            print(summary, file=sys.stderr if options.json else sys.stdout)
            if options.plan:
                show_plans(config, options.json, options.state)
            if options.connect:
                for name, line, fault in asyncio.run(connect(config, options.state)):
                    faults += fault
                    shown = json.dumps({"driver": name, "said": line, "fault": fault}, ensure_ascii=False)
                    print(shown if options.json else f"{name}: {line}")
    return 1 if faults else 0


def show_plans(config: Config, as_json: bool, state: Path | None) -> None:
    """The plan of every connection that has one, with what a daemon of this site remembers: lines, or one JSON object."""
    kinds = {name: part.driver for name, part in config.drivers.items()}
    memories = remembered(state_folder(config.device.id, state) / "journal.db", kinds)
    for name, part in config.drivers.items():
        if (plan := part.shown_plan(memories.get(name, {}))) is None:
            continue
        if as_json:
            print(json.dumps({"driver": name, **plan.facts}, ensure_ascii=False))
        else:
            print("\n".join(f"{name}: {line}" for line in plan.lines))


def warnings(config: Config) -> Iterator[str]:
    for name, part in config.drivers.items():
        for below, message, hint in part.warnings():
            path = ("drivers", name, *below)
            yield f"warning: {Problem(config.tree.place(path), path, message, hint)}"


class ProbeSource:
    """What a driver needs to read once; `bad` tells whether some tag had no good value."""

    def __init__(self, name: str, table: TagTable, folder: Path) -> None:
        self.name, self.tags, self.clock, self.folder = name, table.of_source(name), SystemClock(), folder
        self.texts = table.texts
        self.text = self.texts.value
        self.bad, self.phase = False, 0.0
        self.memory: dict[str, Any] = {}

    def ready(self) -> bool:
        return True

    def emit(self, batch: Batch) -> None:
        self.bad |= bool((batch.quality > TRUSTED).any())

    def frame(self, frame: object) -> None: ...

    def event(self, event: object) -> None: ...

    def count(self, cause: str, n: int = 1) -> None: ...

    def running(self) -> None: ...

    def remember(self, facts: object) -> None: ...


async def connect(config: Config, state: Path | None = None) -> list[tuple[str, str, bool]]:
    """Probe every driver, all at once: (name, what it said, whether that is a fault), in the order of the site."""
    table, folder = TagTable.numbered(config.tags()), state_folder(config.device.id, state)
    found = await asyncio.gather(*(_probe(name, part, table, folder) for name, part in config.drivers.items()))
    return [line for lines in found for line in lines]


async def _probe(name: str, part: DriverConfig, table: TagTable, folder: Path) -> list[tuple[str, str, bool]]:
    source = ProbeSource(name, table, folder)
    try:
        driver = plugins.find("drivers", part.driver)(part, source)
        if not hasattr(driver, "probe"):
            return [(name, "cannot be probed", False)]
        async with asyncio.timeout(LONGEST_PROBE):
            lines = await driver.probe()
    except TimeoutError:
        return [(name, f"no answer within {LONGEST_PROBE:g} s", True)]
    except (LinesideError, OSError) as error:
        return [(name, str(error), True)]
    except Exception as error:  # a stranger's driver: it must not hide what the others say
        return [(name, f"{type(error).__name__}: {error}", True)]
    said = [(name, line, False) for line in lines]
    return [*said, (name, "not every tag has a good value", True)] if source.bad else said
