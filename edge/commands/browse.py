"""`lineside browse SITE DRIVER [NODE]`: what a device offers, as lines for `tags:`."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import plugins
from ..config.check import raise_if_faulty
from ..config.load import folder_of, load
from ..config.site import Config
from ..control import NoDaemon, ask
from ..driver import MOST_FOUND
from ..errors import ConfigFault, LinesideError
from ..log import log
from ..probing import ProbeSource
from ..state import state_folder
from ..tags import TagTable
from .arguments import site_and_state

HELP = "list what a device offers, as lines to put under `tags:`"
PATIENCE = 90.0  # seconds for a walk of a slow server


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser)
    parser.add_argument("driver", help="name of the entry under `drivers:`; it needs no tags yet")
    parser.add_argument("node", nargs="?", default="", help="only what is below this, as in ns=2;s=Oven")
    told = f"at most so many (default: 1000; {MOST_FOUND} at most)"
    parser.add_argument("--most", type=int, default=1000, metavar="N", help=told)
    parser.add_argument("--json", action="store_true", help="one JSON object each on standard output")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the lines to a new file, for `tags: !include FILE`"
    )


def run(options: argparse.Namespace) -> int:
    if not 0 < options.most <= MOST_FOUND:
        raise LinesideError(f"--most {options.most} is not within 1 to {MOST_FOUND}")
    words: dict[str, Any] = {"driver": options.driver, "node": options.node, "most": options.most}
    try:
        rows = ask(folder_of(options.site, options.state), {"do": "browse", **words}, PATIENCE)["found"]
    except NoDaemon:
        log.info("no daemon runs: the device is asked directly")
        rows = asyncio.run(directly(load(options.site), options.state, **words))
    lines = [json.dumps(row, ensure_ascii=False) for row in rows] if options.json else list(map(line_of, rows))
    if not rows:
        log.warning("nothing is below %s", options.node or "what it shows")
        return 1
    if options.out is None:
        print("\n".join(lines))
    else:
        with options.out.open("x", encoding="utf-8") as out:
            out.writelines(f"{line}\n" for line in lines)
        log.info("%s: %d tags; use them with `tags: !include %s`", options.out, _tags(rows), options.out.name)
    if len(rows) == options.most:
        log.warning("there may be more: name a node to begin at, or raise --most")
    return 0


def line_of(row: dict[str, Any]) -> str:
    """A line of YAML; what cannot be a tag is a comment."""
    note, options = row["note"], row["tag"]
    if options is None:
        return f"# {row['name']}: {note}" if row["name"] else f"# {note}"
    inner = ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())
    return f"{row['name']}: {{{inner}}}  # {note}"


def _tags(rows: Sequence[dict[str, Any]]) -> int:
    return sum(row["tag"] is not None for row in rows)


async def directly(config: Config, state: Path | None, driver: str, node: str, most: int) -> list[dict[str, Any]]:
    """Open the device for it. A site that has no tags yet will do."""
    part = config.drivers.get(driver)
    if part is None:
        if not config.drivers or any(problem.path[:2] == ("drivers", driver) for problem in config.problems):
            raise_if_faulty(config)
        raise ConfigFault(f"no driver is called {driver!r}", hint=f"there are {', '.join(config.drivers) or 'none'}")
    source = ProbeSource(driver, TagTable.numbered(config.tags()), state_folder(config.device.id, state))
    made = plugins.find("drivers", part.driver)(part, source)
    if not hasattr(made, "browse"):
        raise LinesideError(f"the driver {part.driver!r} cannot list what its device offers")
    found: list[dict[str, Any]] = await made.browse(node, most)
    return found
