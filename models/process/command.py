"""`lineside tune SITE`: make a tag better by setting others, trial by trial, inside what is allowed."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edge import LinesideError, NoDaemon, between, load_site, log, since_until, site_and_state, state_folder

from . import history, plan, report
from .course import Course
from .machine import Machine
from .told import Told, told

HELP = "make a tag better by setting others, trial by trial, inside what is allowed"
STARTS = 60.0  # seconds for a daemon to start


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser)
    parser.add_argument("--trials", type=_some, metavar="N", help="how many (default: what the site says, or 25)")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write the course as one page with pictures")
    parser.add_argument("--start", action="store_true", help="start the daemon, for as long as this takes")
    parser.add_argument("--write", action="store_true", help="write the settings, as `write: true` in the site")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the search (default: 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object per trial, then one with the best")
    parser.add_argument(
        "--batch", type=_some, metavar="N", help="no trials: settings of a lot of N samples, see --plan"
    )
    parser.add_argument(
        "--plan", type=Path, metavar="FILE.csv", help="the sheet of a --batch, for what comes out of it"
    )
    parser.add_argument("--results", type=Path, metavar="FILE.csv", help="a sheet that was filled in, to learn from")
    since_until(parser)
    parser.epilog = (
        "--since and --until: learn from what the journal holds of that time, lot by lot, before the first trial."
    )


def _some(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:4]) <= 500:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of trials from 1 to 500")
    return int(text)


def run(options: argparse.Namespace) -> int:
    site = load_site(options.site)
    what = told(site)
    folder = state_folder(site.device.id, options.state)
    if (options.batch is None) != (options.plan is None):
        raise LinesideError("--batch N and --plan FILE.csv go together")
    if (options.batch or 0) > plan.MOST:
        raise LinesideError(f"--batch {options.batch}: {plan.MOST} samples at once are the most")
    if options.results:
        new = plan.results(options.results, what, folder / what.options.kept)
        log.info("%s: %d new trials are kept", options.results, len(new))
    if options.batch is not None:
        rows = history.known(what, site.folder, folder, what.options.kept, _span(options))
        return _plan(options, what, rows)
    if options.results:
        return 0
    if options.report:
        report.writable(options.report)
    with _daemon(options, folder) if options.start else contextlib.nullcontext():
        machine = Machine(folder, what.options.lot, what.options.patience)
        course = Course(what, machine, options, folder / what.options.kept)
        course.remember(history.known(what, site.folder, folder, what.options.kept, _span(options)))
        course.run()
    return 0


def _plan(options: argparse.Namespace, what: Told, rows: list[dict[str, float]]) -> int:
    proposals = plan.planned(what, rows, options.batch, options.seed)
    plan.write(options.plan, what, proposals)
    best = max(one.worth * what.task.aim.sign for one in proposals) * what.task.aim.sign
    unit = what.units.get(what.options.objective, "")
    print(f"{options.plan}: {len(proposals)} settings, up to {best:.4g} {unit} foretold; fill in what they make, then")
    print(f"lineside tune {options.site} --results {options.plan}")
    return 0


def _span(options: argparse.Namespace) -> tuple[int, int] | None:
    """Of the journal, in ns UTC; None where nobody asked for it."""
    return between(options) if options.since or options.until else None


@contextlib.contextmanager
def _daemon(options: argparse.Namespace, folder: Path) -> Iterator[None]:
    """`lineside run SITE` beside us, until the end."""
    if _answers(folder):
        yield
        return
    state = ["--state", str(options.state)] if options.state else []
    command = [sys.executable, "-m", "edge.cli", "run", str(options.site), *state]
    with tempfile.TemporaryFile() as said:  # not a pipe: nobody reads it, and a full one would hold the daemon
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        try:
            end = time.monotonic() + STARTS
            while not _answers(folder):
                if process.poll() is not None:
                    said.seek(0)
                    raise LinesideError(f"the daemon ended: {said.read().decode('utf-8', 'replace').strip()[-500:]}")
                if time.monotonic() > end:
                    raise LinesideError(f"the daemon did not answer within {STARTS:g} s")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait()


def _answers(folder: Path) -> bool:
    from edge import ask_daemon

    try:
        ask_daemon(folder, {"do": "status"})
    except (NoDaemon, OSError):
        return False
    return True
