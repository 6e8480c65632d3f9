"""`lineside causes SITE`: what goes with bad parts, ranked."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import TypeAdapter, ValidationError

from edge import SECOND, LinesideError, Period, between, load_site, since_until, site_and_state, state_folder

from ..process.report import write
from .confounded import rivals
from .journal import Asked, from_journal
from .page import page
from .parts import Parts
from .rank import Ranking, ranked
from .table import of_table, save
from .words import as_json, words

HELP = "what goes with bad parts: process tags, lots, recipes, shifts and hours, ranked, with what chance would bring"


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser, needed=False)
    since_until(parser)
    table = parser.add_argument_group("a table in place of a site")
    told = "a CSV file with a line for each part, in place of a device's journal"
    table.add_argument("--table", type=Path, metavar="FILE.csv", help=told)
    table.add_argument("--target", metavar="COLUMN", help="which column says what became of the part")
    told = "a value of it that is NG, and a kind of its own (may be given again)"
    table.add_argument("--ng", action="append", default=[], metavar="VALUE", help=told)
    told = "which column says when it was made (ISO 8601); without one nobody knows what came in heaps"
    table.add_argument("--time", metavar="COLUMN", help=told)
    parser.add_argument("--stage", help="only what this one inspected (default: each by itself)")
    again = "(may be given again)"
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help=f"look at this tag alone {again}")
    parser.add_argument("--without", action="append", default=[], metavar="TAG", help=f"leave this tag out {again}")
    told = f"its value names a lot, a recipe, a mould: each counts by itself {again}; texts and tags with `labels` do anyway"
    parser.add_argument("--lot", "--code", action="append", default=[], metavar="TAG", help=told)
    told = "how long before its inspection a part went through the process, as 40s (default: 0s)"
    parser.add_argument("--delay", type=_period, default=0, metavar="TIME", help=told)
    told = "what a tag counts for: its mean since the part before (default), or its last value"
    parser.add_argument("--at", choices=("mean", "last"), default="mean", help=told)
    told = "when shifts begin (default: 06:00,14:00,22:00)"
    parser.add_argument("--shifts", type=_shifts, default=(360, 840, 1320), metavar="TIMES", help=told)
    told = "by whose clock hours and shifts are, as Europe/Berlin (default: that of this machine)"
    parser.add_argument("--zone", type=_zone, default=None, help=told)
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write it as one page with pictures, too")
    told = "write what was looked at: a line for each part, as `lineside fit --table` reads it"
    parser.add_argument("--parts", type=Path, metavar="FILE.csv", help=told)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(options: argparse.Namespace) -> int:
    if (options.site is None) == (options.table is None):
        raise LinesideError(
            "look where?", hint="`lineside causes SITE`, or `--table FILE.csv --target COLUMN --ng VALUE`"
        )
    if both := sorted({*options.tag, *options.lot} & {*options.without}):
        raise LinesideError(f"{both[0]} is asked for and left out", hint="--tag and --lot, or --without")
    parts, of = _of_table(options) if options.table else _of_journal(options)
    told = {stage: (each, told_of(each)) for stage, each in parts.items()}
    if options.parts:
        save(options.parts, parts)
    if options.report:
        write(options.report, page(told, f"What goes with NG: {of}"))
    if options.json:
        print(json.dumps({"stages": {stage: as_json(one) for stage, (_, one) in told.items()}}, ensure_ascii=False))
    else:
        print("\n".join(line for stage, (_, one) in told.items() for line in words(stage, one)))
    return 0


def _of_journal(options: argparse.Namespace) -> tuple[dict[str, Parts], str]:
    config = load_site(options.site)
    out = {*options.without, *(_made_by_inspections(config) - {*options.tag, *options.lot})}
    t0, t1 = between(options)
    zone = options.zone or datetime.now().astimezone().tzinfo or UTC
    tags, lots = frozenset(options.tag), frozenset(options.lot)
    labels = {tag.name: tag.labels for tag in config.tags() if tag.labels}
    asked = Asked(t0, t1, zone, tags, frozenset(out), lots, options.delay, options.at, options.shifts, labels)
    journal = state_folder(config.device.id, options.state) / "journal.db"
    return from_journal(journal, asked, options.stage), config.device.id


def _of_table(options: argparse.Namespace) -> tuple[dict[str, Parts], str]:
    if not options.target or not options.ng:
        raise LinesideError(
            "--table goes with --target COLUMN and --ng VALUE", hint="which column says what is NG, and how?"
        )
    of = of_table(options.table, options.target, options.ng, options.time, options.lot, options.without)
    there = [*(c.name for c in of.columns), *of.left_out]
    if missing := sorted({*options.tag, *options.lot} - {*there}):
        what = f"{options.table}: there is no {missing[0]!r} to look at"
        raise LinesideError(what, hint=f"there are {', '.join(there[:8]) or 'none'}")
    columns = [c for c in of.columns if not options.tag or c.name in {*options.tag, *options.lot}]
    return {"": replace(of, columns=columns)}, options.table.name


def told_of(parts: Parts) -> Ranking:
    """The ranking, and which finds stand for each other."""
    told = ranked(parts)
    bad = [parts.kind == one.kind if one.kind else parts.ng for one in told.found]
    told.rivals.update(rivals(told.found, bad))
    return told


def _made_by_inspections(config: object) -> set[str]:
    """Tags that follow from a verdict, or tell of the machinery around it: they are not its causes."""
    made: set[str] = set()
    for name, entry in getattr(config, "stages", {}).items():
        lines = getattr(entry, "plc", None)
        wrote = {tag for orders in entry.orders().values() for tag in orders}
        if lines is not None:
            wrote |= {*lines.written().values(), *(tag for key, tag in lines.read().items() if key != "product")}
        if wrote or lines is not None:
            made |= wrote | {f"{name}.{tag}" for tag in entry.points()}
    for name, driver in getattr(config, "drivers", {}).items():
        made |= {f"{name}.{tag}" for tag in driver.points() if tag == "trigger" and driver.driver == "camera"}
    return made


def _period(text: str) -> int:
    try:
        return max(0, round(TypeAdapter(Period).validate_python(text) * SECOND))
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.errors()[0]['msg']}") from None


def _shifts(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d(,([01]\d|2[0-3]):[0-5]\d)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} are no times of the day; write 06:00,14:00,22:00")
    return tuple(int(at[:2]) * 60 + int(at[3:]) for at in text.split(","))


def _zone(text: str) -> tzinfo:
    try:
        return UTC if text == "UTC" else ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise argparse.ArgumentTypeError(f"no time zone is called {text!r}; write one as Europe/Berlin") from None
