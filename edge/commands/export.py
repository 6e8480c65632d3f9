"""`lineside export` and `lineside tail`: what the journal holds, as CSV, or as it grows, as JSON lines."""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

from ..batch import Batch, Quality
from ..codec import decode, decode_event
from ..config.load import load
from ..records import journal_of
from ..state import state_folder

HELP = "write samples from the journal as CSV to standard output"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, help="the site file whose journal it is")
    parser.add_argument("--state", type=Path, help="folder of the journal, if not the usual one")
    parser.add_argument("--tag", action="append", default=[], help="only this tag (may be given again)")
    parser.add_argument("--since", type=datetime.datetime.fromisoformat, help="first time (ISO 8601, UTC)")
    parser.add_argument("--until", type=datetime.datetime.fromisoformat, help="last time (ISO 8601, UTC)")


def run(options: argparse.Namespace) -> int:
    db = journal_of(_journal(options))
    names = tag_names(db)
    t0, t1 = _ns(options.since, 0), _ns(options.until, 2**63 - 1)
    out = csv.writer(sys.stdout)
    out.writerow(["time", "tag", "value", "unit", "quality"])
    for batch in batches(db, t0, t1):
        for tag, ts, value, quality in zip(batch.tag, batch.ts, batch.value, batch.quality, strict=True):
            name, unit = names.get(int(tag), (str(tag), ""))
            if t0 <= ts <= t1 and (not options.tag or name in options.tag):
                shown = "" if value != value else repr(float(value))
                out.writerow([iso(int(ts)), name, shown, unit, Quality(int(quality)).name])
    return 0


def _journal(options: argparse.Namespace) -> Path:
    return state_folder(load(options.site).device.id, options.state) / "journal.db"


def _ns(when: datetime.datetime | None, missing: int) -> int:
    if when is None:
        return missing
    return round((when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp() * 1e9)


def iso(ts: int) -> str:
    """Nanoseconds as 2026-01-31T12:00:00.000000Z."""
    return datetime.datetime.fromtimestamp(ts // 10**9, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + (
        f"{ts % 10**9 // 1000:06d}Z"
    )


def tag_names(db: Any) -> dict[int, tuple[str, str]]:
    return {number: tuple(msgpack.unpackb(body)[0:3:2]) for number, body in db.execute("SELECT id, body FROM tag")}


def batches(db: Any, t0: int = 0, t1: int = 2**63 - 1) -> Iterator[Batch]:
    """Sealed blocks that touch the span, then the tail."""
    sealed = "SELECT stream, body FROM block WHERE t1 >= ? AND t0 <= ? ORDER BY stream, seq"
    for stream, body in (*db.execute(sealed, (t0, t1)), *db.execute("SELECT stream, body FROM tail ORDER BY id")):
        yield decode(stream.removeprefix("samples:"), body)


class Tail:
    HELP = "follow events and samples of a journal as JSON lines"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("site", type=Path, help="the site file whose journal it is")
        parser.add_argument("--state", type=Path, help="folder of the journal, if not the usual one")
        parser.add_argument("--events", action="store_true", help="events only")
        parser.add_argument("--once", action="store_true", help="what is there now, then end")

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        db = journal_of(_journal(options))
        names = tag_names(db)
        event, sample = (0, 0) if options.once else _ends(db)
        while True:
            for seq, body in list(db.execute("SELECT seq, body FROM event WHERE seq > ? ORDER BY seq", (event,))):
                event = seq
                print(json.dumps(shown_event(body), ensure_ascii=False), flush=True)
            fresh = (
                [] if options.events else list(db.execute("SELECT id, stream, body FROM tail WHERE id > ?", (sample,)))
            )
            for number, stream, body in fresh:
                sample = max(sample, number)
                for row in shown_batch(decode(stream.removeprefix("samples:"), body), names):
                    print(json.dumps(row, ensure_ascii=False), flush=True)
            if options.once:
                return 0
            time.sleep(0.5)


def _ends(db: Any) -> tuple[int, int]:
    newest = "SELECT (SELECT coalesce(max(seq), 0) FROM event), (SELECT coalesce(max(id), 0) FROM tail)"
    event, sample = next(db.execute(newest))
    return int(event), int(sample)


def shown_event(body: bytes) -> dict[str, Any]:
    event = decode_event(body)
    return {
        "time": iso(event.ts),
        "kind": event.kind,
        "key": event.key,
        "state": event.state,
        "severity": event.severity,
        "text": event.text,
        "data": dict(event.data),
    }


def shown_batch(batch: Batch, names: dict[int, tuple[str, str]]) -> Iterator[dict[str, Any]]:
    for tag, ts, value, quality in zip(batch.tag, batch.ts, batch.value, batch.quality, strict=True):
        name, unit = names.get(int(tag), (str(tag), ""))
        shown = None if value != value else float(value)
        yield {"time": iso(int(ts)), "tag": name, "value": shown, "unit": unit, "quality": Quality(int(quality)).name}
