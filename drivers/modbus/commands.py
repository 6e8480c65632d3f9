"""`lineside probe`: what is on the other end of a Modbus connection. Nothing is written."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from edge import ConfigFault, LinesideError

from .address import Address, parse_address
from .probe import Probe, lines
from .reach import reach, target_arguments


class ProbeCommand:
    HELP = "ask a Modbus device which units, tables and block sizes it has, gently"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        target_arguments(parser)
        asking(parser, "1-16")

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        return _run(options, deep=True)


def asking(parser: argparse.ArgumentParser, units: str) -> None:
    told = f"which unit numbers, as in 1-32 or 1,7,247 (default: {units})"
    parser.add_argument("--units", default=units, metavar="UNITS", help=told)
    told = "what each unit is asked for, a register that should be there (default: holding:0)"
    parser.add_argument("--first", default="holding:0", metavar="ADDRESS", help=told)
    told = "for each answer; silence takes as long (default: 0.5)"
    parser.add_argument("--timeout", type=float, default=0.5, metavar="SECONDS", help=told)
    parser.add_argument(
        "--pause", type=float, default=0.05, metavar="SECONDS", help="after each request (default: 0.05)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per unit on standard output")


def _run(options: argparse.Namespace, *, deep: bool) -> int:
    units, first = checked(options)
    line, _ = reach(options.target, options.state, options.timeout)
    probe = Probe(line, units, options.pause, progress)
    why = ""
    try:
        asyncio.run(_to_its_end(probe, deep, first))
    except KeyboardInterrupt:
        why = "stopped"
    except LinesideError as error:
        if not probe.found:
            raise
        why = str(error)
    finally:
        progress("")
    for unit in probe.found if options.json else []:
        print(json.dumps(unit.as_json(), ensure_ascii=False))
    if not options.json:
        print(*lines(probe), sep="\n")
    if why:
        print(f"{why}; this is what was found until then", file=sys.stderr)
        return 130 if why == "stopped" else 2
    return 0 if probe.found else 1


def checked(options: argparse.Namespace) -> tuple[list[int], Address]:
    """The units and the register to ask for. Raises ConfigFault."""
    units, first = numbers(options.units), _register(options.first)
    if not 0.01 <= options.timeout <= 30 or not 0 <= options.pause <= 10:
        raise ConfigFault("the time-out or the pause is out of range", hint="0.01 to 30 s, and 0 to 10 s")
    return units, first


async def _to_its_end(probe: Probe, deep: bool, first: Address) -> None:
    try:
        await probe.run(deep=deep, first=first)
    finally:
        await probe.line.close()


def _register(text: str) -> Address:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise ConfigFault(str(error)) from None
    if address.bit is not None:
        raise ConfigFault(f"{address}: name the register, not a bit of it")
    return address


def numbers(text: str) -> list[int]:
    """`1-32`, `1,7,100-110`. Raises ConfigFault."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last] if dash else [first, first]
        if not all(end.isascii() and end.isdigit() and int(end) <= 255 for end in ends) or int(ends[0]) > int(ends[1]):
            raise ConfigFault(f"{text!r} are no unit numbers", hint="write 1-32, or 1,7,247; 0 to 255")
        found += range(int(ends[0]), int(ends[1]) + 1)
    return list(dict.fromkeys(found))


def progress(text: str) -> None:
    """One line that is written over, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
