"""`lineside read | write | apply`: ask the running daemon through its local socket, or the devices where none runs."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
from collections.abc import Sequence
from typing import Any

from ..apply import raise_if_no_trial
from ..batch import shown
from ..config.load import folder_of, load
from ..control import PATIENCE, NoDaemon, ask
from ..errors import LinesideError
from ..log import log
from ..trial import long_enough
from .arguments import site_and_state
from .bus import Bus


def _ask(options: argparse.Namespace, timeout: float = 30.0, **request: Any) -> dict[str, Any]:
    return ask(folder_of(options.site, options.state), request, timeout)


def _bus(options: argparse.Namespace) -> Bus:
    log.info("no daemon runs: the devices are asked directly")
    return Bus(load(options.site), options.state)


class Read:
    HELP = "show the newest values: of the running daemon, else of the devices themselves"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        site_and_state(parser)
        parser.add_argument("tag", nargs="*", help="full name, as in plc.oil_temp (default: all)")
        parser.add_argument("--json", action="store_true", help="one JSON object per tag on standard output")

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        try:
            rows = _ask(options, do="read", tags=options.tag)["values"]
        except NoDaemon:
            rows = asyncio.run(_bus(options).read(options.tag))
        for row in rows:
            value = row["value"]
            value = "-" if value is None else value if isinstance(value, str) else row["label"] or shown(value)
            plain = f"{row['tag']:<32} {value:>14} {row['unit']:<8} {row['quality']}"
            print(json.dumps(row, ensure_ascii=False) if options.json else plain)
        return 0 if not rows or any(row["value"] is not None for row in rows) else 1


class Write:
    HELP = "set writable tags: through the running daemon, else on the device itself"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        site_and_state(parser)
        told = "full name of a tag that is `writable` and a number in its unit (0 or 1 for a bit) or its text, as in plc.stop=1"
        parser.add_argument("order", nargs="+", metavar="TAG=VALUE", help=told)
        parser.add_argument("--json", action="store_true", help="one JSON object per tag on standard output")

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        words = orders(options.order)
        by = getpass.getuser()
        try:
            values = _ask(options, 10 + PATIENCE * len(words), do="write", values=words, by=by)["values"]
        except NoDaemon:
            values = asyncio.run(_bus(options).write(words, f"user {by}", folder_of(options.site, options.state)))
        for tag, value in values.items():
            plain = f"{tag} = {value if isinstance(value, str) else shown(value)}"
            print(json.dumps({"tag": tag, "value": value}, ensure_ascii=False) if options.json else plain)
        return 0


def orders(words: Sequence[str]) -> dict[str, str]:
    """`TAG=VALUE ...`, or one `TAG VALUE`. Raises LinesideError."""
    pairs = [tuple(words)] if len(words) == 2 and not any("=" in word for word in words) else None
    found: dict[str, str] = {}
    for tag, value in pairs or [word.partition("=")[::2] for word in words]:
        if not tag or not value:
            raise LinesideError(f"{tag + value!r} is no order", hint="write TAG=VALUE, as in plc.stop=1")
        if tag in found:
            raise LinesideError(f"{tag} stands there twice", hint="one value per tag")
        found[tag] = value
    return found


class Apply:
    HELP = "change the site of the running daemon; rolls back alone when the new one does worse"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        site_and_state(parser)
        told = "how long the new site is judged by its data (default: 10)"
        parser.add_argument("--trial", type=float, default=10.0, metavar="SECONDS", help=told)

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        raise_if_no_trial(options.trial)
        path = str(options.site.resolve())
        longest = long_enough(options.trial, load(options.site).drivers.values())
        done = _ask(options, longest + 60, do="apply", site=path, trial=options.trial, by=getpass.getuser())["done"]
        print("\n".join(done) or "nothing had to begin anew; its rules are those of the site now")
        return 0


class Normal:
    HELP = "tell a detector of the running daemon that what its machine does now is normal; or take that back"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        site_and_state(parser)
        parser.add_argument("stage", help="name under `stages:`, of a stage `anomaly`")
        ways = parser.add_mutually_exclusive_group()
        told = "and learn anew from the next so many rows without an alarm, as after a change of the set-up"
        ways.add_argument("--learn", type=int, default=0, metavar="ROWS", help=told)
        ways.add_argument("--back", action="store_true", help="normal is again what it was before")

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        said = {"stage": options.stage, "back": options.back, "learn": options.learn, "by": getpass.getuser()}
        print(_ask(options, do="normal", **said)["told"])
        return 0
