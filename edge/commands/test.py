"""`lineside test SITE`: run the site's own tests."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..config.load import load
from ..rehearse import rehearse_all

HELP = "run the tests of a site on virtual time, and the pictures of its recipes"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, nargs="+", help="site file (YAML) with `tests:`")
    parser.add_argument("--json", action="store_true", help="one JSON object per test on standard output")


def run(options: argparse.Namespace) -> int:
    failed = 0
    for path in options.site:
        config = load(path)
        if config.problems:
            print(*config.problems, sep="\n", file=sys.stderr)
            failed += 1
            continue
        run = 0
        for outcome in rehearse_all(config):
            name, faults = outcome.name, outcome.faults
            run += 1
            failed += bool(faults)
            if options.json:
                said = {"site": str(path), "test": name, "ok": not faults, "faults": faults}
                print(json.dumps(said, ensure_ascii=False))
            else:
                print(f"{path}: {'FAILED' if faults else 'ok'}: {name}", *faults, sep="\n    ")
        if not run:
            print(f"{path}: has no `tests:`", file=sys.stderr)
    return 1 if failed else 0
