"""Arguments that several sub-commands take."""

from __future__ import annotations

import argparse
import datetime
import math
from pathlib import Path


def site_and_state(
    parser: argparse.ArgumentParser, *, site: str = "site file (YAML) that the daemon runs", needed: bool = True
) -> None:
    parser.add_argument("site", type=Path, help=site, nargs=None if needed else "?")
    state_option(parser)


def state_option(parser: argparse.ArgumentParser) -> None:
    where = "folder of the journal (default: $LINESIDE_STATE, else ~/.local/state/lineside/DEVICE)"
    parser.add_argument("--state", type=Path, metavar="FOLDER", help=where)


def at_least_one(text: str) -> int:
    """For `type=`: a whole number from 1 on."""
    if not text.isdecimal() or int(text[:19]) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text[:19])


def some_seconds(text: str) -> float:
    """For `type=`: a time that passes and ends."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write seconds, as in 60")
    return number


def since_until(parser: argparse.ArgumentParser) -> None:
    for name, which in (("--since", "first"), ("--until", "last")):
        told = f"{which} time: ISO 8601, UTC where it names no zone, as in 2026-01-31T08:00"
        parser.add_argument(name, type=datetime.datetime.fromisoformat, metavar="TIME", help=told)


def between(options: argparse.Namespace) -> tuple[int, int]:
    """What `since_until` was given, in ns UTC; an end that was not given is open."""
    return _ns(options.since, -(2**63)), _ns(options.until, 2**63 - 1)


def _ns(when: datetime.datetime | None, missing: int) -> int:
    if when is None:
        return missing
    ns = round((when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp() * 1e9)
    return min(max(ns, -(2**63)), 2**63 - 1)  # 9999-12-31 is beyond the journal's numbers, and a fair way to say "open"
