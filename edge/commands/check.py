"""`lineside check SITE`: every fault of a site at once, before anything runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ..config.load import load
from ..config.places import Problem
from ..config.site import Config
from ..memory import remembered
from ..probing import probe
from ..state import state_folder
from ..tags import TagTable
from ..wiring import build
from .arguments import state_option

HELP = "check a site: every fault with its place; --plan shows the requests, --connect reads each device once"


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


async def connect(config: Config, state: Path | None = None) -> list[tuple[str, str, bool]]:
    """Probe every driver, all at once: (name, what it said, whether that is a fault), in the order of the site."""
    table, folder = TagTable.numbered(config.tags()), state_folder(config.device.id, state)
    found = await asyncio.gather(*(probe(name, part, table, folder) for name, part in config.drivers.items()))
    out: list[tuple[str, str, bool]] = []
    for name, probed in zip(config.drivers, found, strict=True):
        out += [(name, line, False) for line in probed.lines]
        out += [(name, probed.fault, True)] if probed.fault else []
    return out
