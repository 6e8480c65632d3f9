"""`lineside test SITE`: run the site's own tests."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..config.load import load
from ..rehearse import rehearse

HELP = "run the tests of a site on virtual time"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, nargs="+")


def run(options: argparse.Namespace) -> int:
    failed = 0
    for path in options.site:
        config = load(path)
        if config.problems:
            print(*config.problems, sep="\n", file=sys.stderr)
            return 1
        for test in config.tests:
            outcome = rehearse(config, test)
            print(f"{path}: {'FAILED' if outcome.faults else 'ok'}: {test.name}")
            for fault in outcome.faults:
                print(f"    {fault}")
            failed += bool(outcome.faults)
        if not config.tests:
            print(f"{path}: has no `tests:`", file=sys.stderr)
    return 1 if failed else 0
