"""`lineside plane complete DEVICE TAG`: says it, or names the minutes that are missing. Works beside a running plane."""

from __future__ import annotations

import argparse
import datetime
import json
import time

from edge import SECOND

from .complete import MINUTE, complete
from .database import snapshots
from .verb import Verb, never
from .where import Where, beside

MEANS = {
    "unread": "nothing was read",
    "no_promise": "the device had not told yet how often the tag comes",
    "not_yet": "no later block has come yet",
    "absent": "the tag was not in the site",
    "stopped": "the device did not run",
    "new_journal": "the device began a new journal",
    "not_arrived": "blocks are missing, later ones are here",
    "unreadable": "the block cannot be read",
    "source_lost": "the source did not answer",
    "evicted": "the device's journal was full, the oldest went",
    "journal_full": "the device's disk was full or too slow",
    "damaged": "the device's journal was damaged",
    "rejected": "the plane refused the block",
    "forgotten": "the plane had it and lost it, the device had it no longer",
    "clock_unsure": "the device's clock was not to be trusted",
    "substituted": "a substitute was entered",
    "range": "the value was out of range",
    "stale": "the value no longer moved",
    "timeout": "the device under it did not answer",
    "exception": "the device under it said no",
    "bad": "the source was not connected or made no sense",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device")
    parser.add_argument("tag", help="as in plc.oil_temp")
    for name, which in (
        ("--since", "first time, an hour before the last"),
        ("--until", "last time, this minute"),
    ):
        told = f"{which}: ISO 8601, UTC where it names no zone, as in 2026-01-31T08:00"
        parser.add_argument(name, type=datetime.datetime.fromisoformat, metavar="TIME", help=told)
    parser.add_argument("--json", action="store_true", help="as one line of JSON, times in ms")


def run(where: Where, options: argparse.Namespace) -> int:
    """0 where every minute is complete, else 1. Raises LinesideError."""
    device, tag = options.device, options.tag
    until = _ns(options.until) if options.until else time.time_ns() // MINUTE * MINUTE
    since = _ns(options.since) if options.since else until - 3600 * SECOND
    with beside(where) as store, snapshots(store.engine).connect() as connection:
        facts = complete(connection, device, tag, since, until).facts()
    if options.json:
        print(json.dumps({"device": device, "tag": tag, **facts}))
    else:
        for line in lines(facts):
            print(line)
    return 0 if facts["whole"] else 1


def lines(facts: dict[str, object]) -> list[str]:
    """`Answer.facts` for a person."""
    n, gaps = facts["minutes"], facts["gaps"]
    assert isinstance(gaps, list)
    said = f"complete, {n} minutes" if facts["whole"] else f"{facts['complete']} of {n} minutes are complete"
    out = [f"{_iso(facts['from'])} to {_iso(facts['to'])}: {said}"]
    for gap in gaps:
        cause = gap["cause"]
        means = f": {MEANS[cause]}" if cause in MEANS else ""
        out.append(f"  {_iso(gap['from'])} to {_iso(gap['to'])}  {gap['minutes']} min  {cause}{means}")
    return out


def _iso(ms: object) -> str:
    assert isinstance(ms, int)
    return datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%MZ")


def _ns(when: datetime.datetime) -> int:
    seconds = (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()
    return round(seconds) * SECOND


VERBS = {"complete": Verb("say what is missing of a tag", run, arguments, never)}
