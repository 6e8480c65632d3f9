"""`lineside plane model list|promote|retire`. Works beside a running plane."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
from typing import Any

from edge import LinesideError

from .model_stages import STAGES, listed, move
from .store import Store
from .updates import Updates
from .verb import Verb
from .where import Where, beside

DOES = ("list", "promote", "retire")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("do", choices=DOES, metavar="DO", help=", ".join(DOES))
    parser.add_argument("what", nargs="?", default="", help="NAME-VERSION as in washer-3; `list` takes none")
    parser.add_argument(
        "--to", default="", metavar="STAGE", help="the stage after its own, to be sure which one that is"
    )
    parser.add_argument("--note", default="", help="what speaks for it; `validated` needs one")
    parser.add_argument("--json", action="store_true", help="`list` as JSON, a line each")


def run(where: Where, options: argparse.Namespace) -> int:
    """Raises LinesideError."""
    if options.do != "list" and not options.what:
        raise LinesideError(f"{options.do} which version?", hint="`lineside plane model list` shows them")
    if options.to and (options.do != "promote" or options.to not in STAGES):
        raise LinesideError(f"--to {options.to} is for no such step", hint=f"`promote` goes to {', '.join(STAGES[1:])}")
    with beside(where) as store:
        asyncio.run(_run(store, options, Updates(where.folder).names("model")))
    return 0


async def _run(store: Store, options: argparse.Namespace, published: list[str]) -> None:
    if options.do == "list":
        for said in await store.read(lambda c: listed(c, published)):
            print(json.dumps(said) if options.json else line(said))
        return
    to, who = "retired" if options.do == "retire" else options.to, getpass.getuser()
    moved = await store.write(lambda c: move(c, options.what, to, who, options.note, published))
    print(f"model/{moved.name}-{moved.version} is {moved.stage} now")


def line(said: dict[str, Any]) -> str:
    """One version, for people."""
    by = f"by {said['by']}" if said["by"] else ""
    told = [f"{said['running']} run it"] if said["running"] else []
    told += [f"{said['in_shadow']} have it in shadow"] if said["in_shadow"] else []
    if said["shadow_parts"]:
        told.append(
            f"agrees on {said['shadow_agreed']} of {said['shadow_parts']} parts, {said['shadow_p95_ms']:g} ms at p95"
        )
    told += [f"{len(said['failed'])} refused it or went back"] if said["failed"] else []
    return f"{said['what']:24} {said['stage']:11} {by:12} {'; '.join(told)}".rstrip()


def _changes(options: argparse.Namespace) -> bool:
    return options.do != "list"


VERBS = {"model": Verb("move a version of a model from stage to stage", run, arguments, _changes)}
