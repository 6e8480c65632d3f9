"""`lineside backtest SITE`: what the journal holds, judged again: by another recipe (`--recipe`), or by the alarms and
detectors that the site has now (`--rules`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge import LinesideError, since_until, site_and_state

HELP = "judge what the journal holds again: parts by another recipe, or samples by the alarms and detectors of the site"


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--recipe", type=Path, metavar="FILE", help="recipe that judges the stored parts now")
    told = "which alarms SITE, as it is written now, would have raised; stages that judge samples (anomaly) run anew"
    which.add_argument("--rules", action="store_true", help=told)
    told = "what judged then: of a recipe, where the site no longer has it (default: found by its digest); of alarms the site as "
    told += "it was (default: the alarms that the journal tells of)"
    parser.add_argument("--before", type=Path, metavar="FILE", help=told)
    since_until(parser)
    parser.add_argument("--page", type=Path, metavar="FILE.html", help="write what changed as one page with pictures")
    parser.add_argument("--most", type=_some, default=100, help="changes on the page at most (default: 100)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    told = "with --rules: alarm that says when something was really wrong (a mark that was recorded, a button): what the others "
    told += "found of it, how late, and how many false ones a day"
    parser.add_argument("--truth", metavar="ALARM", help=told)
    _parts(parser.add_argument_group("with --recipe"))


def _parts(group: argparse._ArgumentGroup) -> None:
    from ..quality.commands import CONFIDENCE, RATE, share

    told = "parts that the recipe of this name judged (default: the same name)"
    group.add_argument("--of", metavar="NAME", help=told)
    group.add_argument("--stage", help="only this station (default: all)")
    group.add_argument("--rate", type=share, default=RATE, help="share of escapes not to be reached (default: 0.004)")
    group.add_argument("--confidence", type=share, default=CONFIDENCE, help="of the bounds (default: 0.95)")


def _some(text: str) -> int:
    if not text.isdecimal() or len(text) > 6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of changes")
    return int(text)


def run(options: argparse.Namespace) -> int:
    if options.rules:
        from . import rules

        return rules.run(options)
    if options.truth:
        raise LinesideError("--truth goes with --rules", hint="parts were reviewed: `lineside audit`")
    if options.recipe is None:
        hint = "`--recipe FILE` judges parts, `--rules` the alarms and detectors of the site as it is written now"
        raise LinesideError("what is to be tried?", hint=hint)
    from . import rejudge  # which needs the vision extra

    return rejudge.run(options)
