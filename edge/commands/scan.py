"""`lineside scan KIND`: look for devices. Each kind is an entry point of the group `lineside.scans`, made like a sub-command."""

from __future__ import annotations

import argparse

from .. import plugins
from ..errors import LinesideError

HELP = "look for devices: " + ", ".join(plugins.names("scans"))


def arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for name in plugins.names("scans"):
        try:
            kind = plugins.find("scans", name)
        except LinesideError as error:
            kinds.add_parser(name, help=f"(not available: {error})")
            continue
        below = kinds.add_parser(name, help=kind.HELP, description=kind.HELP)
        kind.arguments(below)


def run(options: argparse.Namespace) -> int:
    return int(plugins.find("scans", options.kind).run(options) or 0)
